//! The expected forms of the values in a body.

use serde::de::{MapAccess, SeqAccess};
use std::borrow::Cow;
use std::str::FromStr;

use super::{Faults, Field, Form, Member, Object, Skip, fill};
use crate::fault::{FaultCode, Path};
use crate::model::Resource;
use crate::request::{
    CustomData, EnrollmentRequest, MAX_RECIPIENTS, Recipient, VoiceOptions, WireAddress, WireBirthDate,
};
use crate::time::Timestamp;
use crate::value::Properties;

pub(super) struct Body;

impl Body {
    pub(super) const WHAT: &'static str = "an object";
}

impl<'de> Form<'de> for Body {
    type Out = EnrollmentRequest<'de>;
    const WHAT: &'static str = Self::WHAT;

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut parts = BodyParts::default();
        fill(&mut parts, members, at, faults)?;
        let mut request = parts.request;
        match parts.to {
            Some(to) => request.to = to,
            None => required(at, "to", faults),
        }
        Ok(Some(request))
    }
}

#[derive(Default)]
struct BodyParts<'de> {
    to: Option<Vec<Recipient<'de>>>,
    request: EnrollmentRequest<'de>,
}

impl<'de> Object<'de> for BodyParts<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        let request = &mut self.request;
        match key {
            "to" => self.to = value.read(To)?,
            "from" => request.from = value.read(Text)?,
            "step_id" => request.step_id = value.read(Id::new())?,
            "schedule_at" => request.schedule_at = value.read(Instant)?,
            "custom_data" => {
                let parts = value.read(CustomDataForm)?.unwrap_or_default();
                request.named_object = parts.custom_object_id;
                request.custom_data = parts.whole();
            }
            "voice_options" => request.voice_options = value.read(VoiceOptionsForm)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// Adds a fault for a missing member, unless the member exists and has a fault already.
fn required(at: &Path<'_>, key: &str, faults: &Faults) {
    let path = at.member(key);
    let pointer = path.pointer();
    if !faults.faults.borrow().iter().any(|fault| fault.path == pointer) {
        faults.push(FaultCode::Required, &path, format!("`{key}` is required"));
    }
}

struct To;

impl<'de> Form<'de> for To {
    type Out = Vec<Recipient<'de>>;
    const WHAT: &'static str = "an array";

    fn items<A: SeqAccess<'de>>(
        self,
        mut items: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut to = Vec::new();
        let before = faults.len();
        while to.len() < MAX_RECIPIENTS {
            let at = at.item(to.len());
            to.push(Recipient::default());
            let Some(recipient) = to.last_mut() else { break };
            let entry = Field { at, faults, form: Entry(recipient) };
            if items.next_element_seed(entry)?.is_none() {
                to.pop();
                return Ok(Some(to));
            }
        }
        let mut more = 0_usize;
        while items.next_element_seed(Skip)?.is_some() {
            more += 1;
        }
        if more > 0 {
            faults.split_off(before);
            let given = MAX_RECIPIENTS + more;
            faults.push(
                FaultCode::TooMany,
                at,
                format!("`to` has {given} entries; at most {MAX_RECIPIENTS} are allowed"),
            );
            to.clear();
        }
        Ok(Some(to))
    }
}

/// Reads into a recipient, since it is large and a move costs time.
struct Entry<'r, 'de>(&'r mut Recipient<'de>);

impl<'de> Form<'de> for Entry<'_, 'de> {
    type Out = ();
    const WHAT: &'static str = "an object";

    fn text(self, _: Cow<'de, str>, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        faults.wrong_type(at, Self::WHAT);
        None
    }

    fn absent(self, at: &Path<'_>, faults: &Faults) {
        faults.wrong_type(at, Self::WHAT);
    }

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        fill(self.0, members, at, faults)?;
        Ok(Some(()))
    }
}

impl<'de> Object<'de> for Recipient<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        match key {
            "default_channel_id" => self.default_channel_id = value.read(Id::new())?,
            "address" => self.address = value.read(AddressForm)?,
            "birth_date" => self.birth_date = value.read(BirthDateForm)?,
            "properties" => self.properties = value.read(PropertiesForm)?.unwrap_or_default(),
            _ => match self.text_mut(key) {
                Some(text) => *text = value.read(Text)?,
                None => value.skip()?,
            },
        }
        Ok(())
    }
}

struct AddressForm;

impl<'de> Form<'de> for AddressForm {
    type Out = Box<WireAddress<'de>>;
    const WHAT: &'static str = "an object";

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut address = Box::<WireAddress>::default();
        fill(&mut *address, members, at, faults)?;
        Ok(Some(address))
    }
}

impl<'de> Object<'de> for WireAddress<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        match key {
            "address_line_one" => self.address_line_one = value.read(Text)?,
            "address_line_two" => self.address_line_two = value.read(Text)?,
            "city" => self.city = value.read(Text)?,
            "state" => self.state = value.read(Text)?,
            "post_code" | "postal_code" => self.post_code = value.read(Text)?,
            "country" => self.country = value.read(Text)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct BirthDateForm;

impl<'de> Form<'de> for BirthDateForm {
    type Out = WireBirthDate;
    const WHAT: &'static str = "an object";

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut object = WireBirthDate::default();
        fill(&mut object, members, at, faults)?;
        Ok(Some(object))
    }
}

impl<'de> Object<'de> for WireBirthDate {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        match key {
            "day" => self.day = value.read(Integer)?,
            "month" => self.month = value.read(Integer)?,
            "year" => self.year = value.read(Integer)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct CustomDataForm;

impl<'de> Form<'de> for CustomDataForm {
    type Out = CustomDataParts;
    const WHAT: &'static str = "an object";

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut parts = CustomDataParts::default();
        let before = faults.len();
        fill(&mut parts, members, at, faults)?;
        if parts.is_blank() && faults.len() == before {
            return Ok(None);
        }
        if parts.custom_object_id.is_none() {
            required(at, "custom_object_id", faults);
        }
        if parts.resource.is_none() {
            required(at, "resource", faults);
        }
        Ok(Some(parts))
    }
}

#[derive(Default)]
struct CustomDataParts {
    custom_object_id: Option<crate::ids::CustomObjectId>,
    resource: Option<Resource>,
}

impl CustomDataParts {
    fn is_blank(&self) -> bool {
        self.custom_object_id.is_none() && self.resource.is_none()
    }

    fn whole(self) -> Option<CustomData> {
        let Self { custom_object_id, resource } = self;
        custom_object_id.zip(resource).map(|(custom_object_id, resource)| CustomData { custom_object_id, resource })
    }
}

impl<'de> Object<'de> for CustomDataParts {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        match key {
            "custom_object_id" => self.custom_object_id = value.read(Id::new())?,
            "resource" => self.resource = value.read(ResourceForm)?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct VoiceOptionsForm;

impl<'de> Form<'de> for VoiceOptionsForm {
    type Out = VoiceOptions;
    const WHAT: &'static str = "an object";

    fn members<A: MapAccess<'de>>(
        self,
        members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        let mut parts = VoiceOptionsParts::default();
        fill(&mut parts, members, at, faults)?;
        // Its only member is blank, so it is absent, or it has a fault.
        let VoiceOptionsParts(call_flow) = parts;
        Ok(call_flow.map(|default_call_flow_id| VoiceOptions { default_call_flow_id }))
    }
}

#[derive(Default)]
struct VoiceOptionsParts(Option<crate::ids::CallFlowId>);

impl<'de> Object<'de> for VoiceOptionsParts {
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error> {
        match key {
            "default_call_flow_id" => self.0 = value.read(Id::new())?,
            _ => value.skip()?,
        }
        Ok(())
    }
}

struct PropertiesForm;

impl<'de> Form<'de> for PropertiesForm {
    type Out = Properties;
    const WHAT: &'static str = "an object";

    fn members<A: MapAccess<'de>>(self, members: A, _: &Path<'_>, _: &Faults) -> Result<Option<Self::Out>, A::Error> {
        Properties::read(members).map(Some)
    }
}

struct Text;

impl<'de> Form<'de> for Text {
    type Out = Cow<'de, str>;
    const WHAT: &'static str = "a string";

    fn text(self, text: Cow<'de, str>, _: &Path<'_>, _: &Faults) -> Option<Self::Out> {
        Some(text)
    }
}

struct Integer;

impl Form<'_> for Integer {
    type Out = i64;
    const WHAT: &'static str = "an integer";

    fn integer(self, number: i64, _: &Path<'_>, _: &Faults) -> Option<Self::Out> {
        Some(number)
    }
}

struct Id<T>(std::marker::PhantomData<T>);

impl<T> Id<T> {
    const fn new() -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: FromStr> Form<'_> for Id<T> {
    type Out = T;
    const WHAT: &'static str = "a uuid";

    fn text(self, text: Cow<'_, str>, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        parsed(&text, |text| text.parse().ok(), || faults.wrong_type(at, Self::WHAT))
    }
}

struct Instant;

impl Form<'_> for Instant {
    type Out = Timestamp;
    const WHAT: &'static str = "a date-time as a string";

    fn text(self, text: Cow<'_, str>, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        let text = text.trim();
        match text.parse() {
            _ if text.is_empty() => None,
            Ok(instant) => Some(instant),
            Err(why) => {
                faults.push(FaultCode::InvalidDateTime, at, format!("`{}` is {why}", excerpt(text)));
                None
            }
        }
    }
}

struct ResourceForm;

impl Form<'_> for ResourceForm {
    type Out = Resource;
    const WHAT: &'static str = "a string";

    fn text(self, text: Cow<'_, str>, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        parsed(
            &text,
            |text| text.parse().ok(),
            || {
                let given = excerpt(text.trim());
                faults.push(
                    FaultCode::InvalidResource,
                    at,
                    format!("`{given}` is neither `contact` nor `step_contact`"),
                );
            },
        )
    }
}

/// Parses trimmed text. Blank text is absent. Calls `otherwise` if the text is not known.
fn parsed<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>, otherwise: impl FnOnce()) -> Option<T> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    let value = parse(text);
    if value.is_none() {
        otherwise();
    }
    value
}

/// Returns the start of a text, for a message.
fn excerpt(text: &str) -> String {
    let mut excerpt: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
    if text.chars().nth(40).is_some() {
        excerpt.push('…');
    }
    excerpt
}
