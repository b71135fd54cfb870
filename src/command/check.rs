//! Request and reference data in; a command, or everything that is wrong, out (SPEC 3).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::{ChannelUsed, Checked, CheckedRecipient, Engine, Enrollment, EnrollmentCommand};
use crate::contact::{Address, BirthDate, Email, PhoneNormalizer, PhoneNumber, Region};
use crate::fault::{Fault, FaultCode, Path, Rejection};
use crate::format::V1;
use crate::ids::{CallFlowId, CustomObjectId, SequenceId, StepId};
use crate::model::{Channel, ChannelKind, Sequence, SequenceStatus, Step};
use crate::request::{EnrollmentRequest, MAX_RECIPIENTS, NUL, Recipient, in_body_order};
use crate::snapshot::ReferenceData;
use crate::text::{Text, non_blank};
use crate::value::{Properties, Value};

/// The most characters of a name or an email (D13).
const MAX_CHARACTERS: usize = 255;

impl EnrollmentCommand {
    /// Checks a request against its reference data (SPEC 3): the command that it asks for, or everything that is wrong
    /// with it, each fault with its path and code.
    ///
    /// Pure: the same arguments give the same answer. Whether the enrollment was done before is asked first, with
    /// [`Enrollment::standing`].
    ///
    /// # Errors
    /// [`Rejection`] holds every fault of one status (404 before 409 before 422), in the order of the body, the
    /// body's own before what it refers to.
    pub fn check(
        enrollment: &Enrollment<'_>,
        reference: &ReferenceData,
        engine: &Engine<'_>,
    ) -> Result<Self, Rejection> {
        let Enrollment { organization_id, sequence_id, at, request, .. } = *enrollment;
        let mut faults = Faults::of(request);

        let enrollment_id = enrollment.id();
        if enrollment_id.is_none() {
            let description = "the idempotency key must be 1 to 255 visible ASCII characters";
            faults.own.push(Fault::new(FaultCode::InvalidIdempotencyKey, "", description));
        }
        let fingerprint = request.fingerprint(sequence_id);
        let stands = enrollment_id.and_then(|id| reference.enrollments.get(&id));
        if stands.is_some_and(|stored| Some(stored.fingerprint) != fingerprint) {
            faults.referred.push(Self::conflict());
        }

        if request.body.is_none() {
            well_formed(request, &mut faults.own);
        }
        let step = find_step(reference, sequence_id, request, &mut faults);
        let channel = find_channel(reference, step, request, engine.phones, &mut faults);
        let region = engine.policy.default_region.or_else(|| region(reference, channel, engine.phones));
        faults.referred.extend(request.custom_object_id().and_then(|id| custom_object_fault(reference, id)));
        if let Some(options) = request.voice_options {
            faults.referred.extend(call_flow_fault(reference, options.default_call_flow_id));
        }

        if request.to.is_empty() && !faults.stands_at("/to") && !faults.stands_at("") {
            faults.own.push(Fault::new(FaultCode::TooFew, "/to", "`to` has no entries"));
        }
        if request.to.len() > MAX_RECIPIENTS {
            let description = format!("`to` has {} entries; at most {MAX_RECIPIENTS} are allowed", request.to.len());
            faults.own.retain(|fault| !fault.path.starts_with("/to/"));
            faults.own.push(Fault::new(FaultCode::TooMany, "/to", description));
            return Err(faults.into_rejection(request));
        }
        let check = CheckRecipient { engine, region, custom_data: request.custom_data.is_some() };
        let recipients: Vec<_> =
            request.to.iter().enumerate().map(|(index, entry)| check.recipient(index, entry, &mut faults)).collect();

        match (faults.is_empty(), enrollment_id, fingerprint, step) {
            (true, Some(enrollment_id), Some(fingerprint), Some(step)) => Ok(Self {
                v: V1,
                organization_id,
                sequence_id,
                enrollment_id,
                fingerprint,
                at,
                step_id: step.id,
                channel: channel.map(|channel| ChannelUsed {
                    id: channel.id,
                    from_request: non_blank(request.from.as_ref()).is_some(),
                }),
                region,
                policy: engine.policy.clone(),
                schedule_at: request.schedule_at,
                custom_data: request.custom_data.map(|data| (data.custom_object_id, data.resource)),
                call_flow_id: request.voice_options.map(|options| options.default_call_flow_id),
                recipients,
            }),
            _ => Err(faults.into_rejection(request)),
        }
    }
}

/// What is wrong: with the body itself, and with what it refers to.
struct Faults {
    own: Vec<Fault>,
    referred: Vec<Fault>,
    /// Where reading the body found faults.
    read_at: HashSet<String>,
}

impl Faults {
    fn of(request: &EnrollmentRequest<'_>) -> Self {
        let read_at = request.faults.iter().map(|fault| fault.path.clone()).collect();
        Self { own: request.faults.clone(), referred: Vec::new(), read_at }
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.referred.is_empty()
    }

    /// Whether reading the body already found the value at `path` faulty.
    fn stands_at(&self, path: &str) -> bool {
        self.read_at.contains(path)
    }

    fn into_rejection(mut self, request: &EnrollmentRequest<'_>) -> Rejection {
        in_body_order(request.body, &mut self.own);
        in_body_order(request.body, &mut self.referred);
        self.own.append(&mut self.referred);
        let fallback = || Fault::new(FaultCode::InvalidType, "", "the request cannot be read");
        Rejection::of(self.own).unwrap_or_else(|| fallback().into())
    }
}

/// The step that contacts are added to: the given one, else the first. Also of a sequence that takes nobody, so
/// that what else is wrong can be told.
fn find_step<'c>(
    reference: &'c ReferenceData,
    sequence_id: SequenceId,
    request: &EnrollmentRequest<'_>,
    faults: &mut Faults,
) -> Option<&'c Step> {
    let sequence = match reference.sequences.get(&sequence_id) {
        Some(sequence) => &*sequence.value,
        None => {
            faults.referred.push(sequence_not_found(sequence_id));
            return None;
        }
    };
    faults.referred.extend(sequence_fault(sequence, request.step_id));
    match request.step_id {
        Some(id) => sequence.step(id),
        None => sequence.first_step(),
    }
}

pub(crate) fn sequence_not_found(id: SequenceId) -> Fault {
    Fault::new(FaultCode::SequenceNotFound, "", format!("there is no sequence `{id}`"))
}

/// The first that holds: the sequence takes nobody, has no steps, or does not have the one that is asked for.
pub(crate) fn sequence_fault(sequence: &Sequence, step_id: Option<StepId>) -> Option<Fault> {
    let id = sequence.id;
    if sequence.status != SequenceStatus::Active {
        let description = format!("sequence `{id}` is not active but {}", sequence.status.as_str());
        return Some(Fault::new(FaultCode::SequenceNotActive, "", description));
    }
    if sequence.steps.is_empty() {
        return Some(Fault::new(FaultCode::SequenceHasNoSteps, "", format!("sequence `{id}` has no steps")));
    }
    let step_id = step_id.filter(|step_id| sequence.step(*step_id).is_none())?;
    let description = format!("sequence `{id}` has no step `{step_id}`");
    Some(Fault::new(FaultCode::StepNotFound, "/step_id", description))
}

/// The channel used: the one that `from` names, else the step's own, else none.
fn find_channel<'c>(
    reference: &'c ReferenceData,
    step: Option<&Step>,
    request: &EnrollmentRequest<'_>,
    phones: &dyn PhoneNormalizer,
    faults: &mut Faults,
) -> Option<&'c Channel> {
    if faults.stands_at("/from") {
        return None;
    }
    let kind = step.map(|step| step.channel_kind);
    let Some(from) = non_blank(request.from.as_ref()) else {
        let id = step?.channel_id?;
        let channel = reference.channels.get(&id).map(|channel| &*channel.value);
        return found(channel, kind, "/step_id", &format!("channel `{id}` of the step"), faults);
    };
    let address = ChannelAddress::read(from, phones);
    let shared: Vec<&Channel> =
        reference.channels.values().map(|channel| &*channel.value).filter(|channel| address.is_of(channel)).collect();
    let fits = |channel: &&&Channel| channel.enabled && kind.is_none_or(|kind| channel.kind == kind);
    // One that fits, else an enabled one of another kind, else any; of equals the smallest id.
    let best = shared.iter().find(fits).or_else(|| shared.iter().find(|c| c.enabled)).or_else(|| shared.first());
    found(best.copied(), kind, "/from", &format!("channel `{from}`"), faults)
}

fn found<'c>(
    channel: Option<&'c Channel>,
    kind: Option<ChannelKind>,
    path: &str,
    what: &str,
    faults: &mut Faults,
) -> Option<&'c Channel> {
    let fault = channel_fault(channel, kind, path, what);
    let ok = fault.is_none();
    faults.referred.extend(fault);
    channel.filter(|_| ok)
}

/// What keeps a channel from being used for a step of a kind.
pub(crate) fn channel_fault(
    channel: Option<&Channel>,
    kind: Option<ChannelKind>,
    path: &str,
    what: &str,
) -> Option<Fault> {
    let Some(channel) = channel else {
        return Some(Fault::new(FaultCode::ChannelNotFound, path, format!("{what} does not exist")));
    };
    if !channel.enabled {
        return Some(Fault::new(FaultCode::ChannelDisabled, path, format!("{what} is disabled")));
    }
    let kind = kind.filter(|kind| *kind != channel.kind)?;
    let description = format!("{what} is of kind {}, but the step needs {kind}", channel.kind);
    Some(Fault::new(FaultCode::ChannelKindMismatch, path, description))
}

pub(crate) fn custom_object_fault(reference: &ReferenceData, id: CustomObjectId) -> Option<Fault> {
    let path = "/custom_data/custom_object_id";
    (!reference.custom_objects.contains_key(&id))
        .then(|| Fault::new(FaultCode::CustomObjectNotFound, path, format!("there is no custom object `{id}`")))
}

pub(crate) fn call_flow_fault(reference: &ReferenceData, id: CallFlowId) -> Option<Fault> {
    let path = "/voice_options/default_call_flow_id";
    (!reference.call_flows.contains_key(&id))
        .then(|| Fault::new(FaultCode::CallFlowNotFound, path, format!("there is no call flow `{id}`")))
}

/// What `from` names a channel by.
enum ChannelAddress {
    Phone(PhoneNumber),
    Email(Email),
    None,
}

impl ChannelAddress {
    fn read(from: &str, phones: &dyn PhoneNormalizer) -> Self {
        if from.contains('@') {
            return Self::Email(Email::stored(from));
        }
        let phone = PhoneNumber::from_e164(from)
            .or_else(|| from.starts_with(['+', FULLWIDTH_PLUS]).then(|| phones.normalize(from, None).ok())?);
        phone.map_or(Self::None, Self::Phone)
    }

    fn is_of(&self, channel: &Channel) -> bool {
        match self {
            Self::Phone(phone) => channel.kind.is_phone() && *channel.address == *phone.as_str(),
            Self::Email(email) => !channel.kind.is_phone() && Email::stored(&channel.address).key() == email.key(),
            Self::None => false,
        }
    }
}

const FULLWIDTH_PLUS: char = '\u{ff0b}';

/// The region in which phones without `+` are read: of the channel used, else of the first enabled phone channel.
fn region(reference: &ReferenceData, channel: Option<&Channel>, phones: &dyn PhoneNormalizer) -> Option<Region> {
    let region_of = |channel: &Channel| {
        let phone = PhoneNumber::from_e164(&channel.address).filter(|_| channel.kind.is_phone())?;
        phones.region(&phone)
    };
    channel.and_then(region_of).or_else(|| {
        let mut channels = reference.channels.values().map(|channel| &*channel.value);
        channels.find(|channel| channel.enabled && channel.kind == ChannelKind::Phone).and_then(region_of)
    })
}

/// Whether a request that was built in code is one that JSON could have said; one that was read from JSON is.
fn well_formed(request: &EnrollmentRequest<'_>, faults: &mut Vec<Fault>) {
    too_deep(request, faults);
    if faults.is_empty() {
        no_nul(request, faults);
    }
}

/// What is nested more deeply could be stored, and never be read again.
fn too_deep(request: &EnrollmentRequest<'_>, faults: &mut Vec<Fault>) {
    fn deeper_than(levels: usize, value: &Value) -> bool {
        match value {
            Value::List(items) => levels == 0 || items.iter().any(|item| deeper_than(levels - 1, item)),
            Value::Map(members) => levels == 0 || members.values().any(|value| deeper_than(levels - 1, value)),
            _ => false,
        }
    }
    let to = Path::Root.member("to");
    for (index, entry) in request.to.iter().enumerate() {
        for (key, _) in entry.properties.iter().filter(|(_, value)| deeper_than(MAX_LEVELS, value)) {
            let at = to.item(index);
            let path = at.member("properties").member(key).pointer();
            let description = format!("a value is nested more than {MAX_LEVELS} levels deep");
            faults.push(Fault::new(FaultCode::InvalidType, path, description));
        }
    }
}

/// How deep lists and maps of a property may be nested: a body of JSON, read to 128 levels, cannot say more.
const MAX_LEVELS: usize = 120;

/// U+0000 anywhere.
fn no_nul(request: &EnrollmentRequest<'_>, faults: &mut Vec<Fault>) {
    let mut look = |text: &str, path: &Path<'_>| {
        if text.contains(NUL) {
            faults.push(Fault::new(FaultCode::InvalidCharacter, path.pointer(), "U+0000 is not allowed in text"));
        }
    };
    if let Some(from) = &request.from {
        look(from, &Path::Root.member("from"));
    }
    let to = Path::Root.member("to");
    for (index, entry) in request.to.iter().enumerate() {
        let at = to.item(index);
        let texts = [
            ("phone", &entry.phone),
            ("email", &entry.email),
            ("name", &entry.name),
            ("external_id", &entry.external_id),
            ("language", &entry.language),
        ];
        for (name, text) in texts {
            text.iter().for_each(|text| look(text, &at.member(name)));
        }
        let address = at.member("address");
        for (name, part) in entry.address.iter().flat_map(|address| address.parts()) {
            part.iter().for_each(|part| look(part, &address.member(name)));
        }
        let properties = at.member("properties");
        for (key, value) in &entry.properties {
            let at = properties.member(key);
            look(key, &at);
            no_nul_in(value, &at, &mut look);
        }
    }
}

fn no_nul_in(value: &Value, at: &Path<'_>, look: &mut dyn FnMut(&str, &Path<'_>)) {
    match value {
        Value::Text(text) => look(text, at),
        Value::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| no_nul_in(item, &at.item(index), look));
        }
        Value::Map(members) => {
            for (key, value) in members {
                let at = at.member(key);
                look(key, &at);
                no_nul_in(value, &at, look);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {}
    }
}

/// Judges one entry of `to`, and normalizes it.
struct CheckRecipient<'e> {
    engine: &'e Engine<'e>,
    region: Option<Region>,
    custom_data: bool,
}

impl CheckRecipient<'_> {
    fn recipient(&self, index: usize, entry: &Recipient<'_>, faults: &mut Faults) -> CheckedRecipient {
        let to = Path::Root.member("to");
        let at = to.item(index);
        if entry.phone.is_none() && self.engine.policy.phone_required {
            let path = at.member("phone").pointer();
            if !faults.stands_at(&path) && !faults.stands_at(&at.pointer()) {
                faults.own.push(Fault::new(FaultCode::Required, path, "`phone` is required"));
            }
        }
        for (name, text) in [("name", &entry.name), ("email", &entry.email)] {
            if let Some(text) = text.as_ref().filter(|text| text.len() > MAX_CHARACTERS) {
                let characters = text.chars().count();
                if characters > MAX_CHARACTERS {
                    let description =
                        format!("`{name}` has {characters} characters; at most {MAX_CHARACTERS} are allowed");
                    faults.own.push(Fault::new(FaultCode::TooLong, at.member(name).pointer(), description));
                }
            }
        }
        let birth_date = entry.birth_date.and_then(|date| {
            let checked = BirthDate::new(date.day, date.month, date.year);
            if checked.is_none() {
                let path = at.member("birth_date").pointer();
                faults.own.push(Fault::new(FaultCode::InvalidDate, path, "there is no such date"));
            }
            checked.filter(|date| !date.is_empty())
        });
        CheckedRecipient {
            phone: checked(non_blank(entry.phone.as_ref()), |text| {
                self.engine.phones.normalize(text, self.region.as_ref())
            }),
            email: checked(non_blank(entry.email.as_ref()), Email::parse),
            external_id: text(entry.external_id.as_ref()),
            name: text(entry.name.as_ref()),
            language: text(entry.language.as_ref()),
            default_channel_id: entry.default_channel_id,
            address: entry.address.as_ref().and_then(|wire| {
                let address = Address {
                    address_line_one: text(wire.address_line_one.as_ref()),
                    address_line_two: text(wire.address_line_two.as_ref()),
                    city: text(wire.city.as_ref()),
                    state: text(wire.state.as_ref()),
                    post_code: text(wire.post_code.as_ref()),
                    country: text(wire.country.as_ref()),
                };
                (!address.is_empty()).then(|| Arc::new(address))
            }),
            birth_date,
            // Without custom data they are not used.
            properties: if self.custom_data { properties(entry) } else { Properties::new() },
        }
    }
}

fn checked<T, E>(text: Option<&str>, parse: impl FnOnce(&str) -> Result<T, E>) -> Checked<T, E> {
    match text.map(parse) {
        None => Checked::Absent,
        Some(Ok(value)) => Checked::Valid(value),
        Some(Err(fault)) => Checked::Invalid(fault),
    }
}

fn text(text: Option<&Cow<'_, str>>) -> Option<Text> {
    non_blank(text).map(Text::from)
}

fn properties(entry: &Recipient<'_>) -> Properties {
    // Most are as they are stored already, and shared.
    if entry.properties.values().all(|value| value.is_trimmed() && !value.is_blank()) {
        return entry.properties.clone();
    }
    let given = entry.properties.iter().filter(|(_, value)| !value.is_blank());
    given.map(|(key, value)| (key.clone(), value.trimmed())).collect()
}
