//! spec 3: the check of a request. It returns a command, or all faults of the request.

use chrono::Datelike;
use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

use super::{ChannelUsed, Checked, CheckedRecipient, CommandVersion, Engine, Enrollment, EnrollmentCommand};
use crate::contact::{Address, BirthDate, Email, PhoneNormalizer, PhoneNumber, Profile, Region};
use crate::fault::{Fault, FaultCode, Path, Rejection};
use crate::ids::SequenceId;
use crate::model::{Channel, ChannelKind, Step};
use crate::policy::UnknownKeys;
use crate::reference_checks::{
    ChannelRole, call_flow_fault, channel_fault, custom_object_fault, sequence_fault, sequence_not_found,
};
use crate::report::Warning;
use crate::request::{EnrollmentRequest, MAX_RECIPIENTS, NUL, Recipient, WireBirthDate, in_body_order};
use crate::snapshot::ReferenceData;
use crate::text::{Text, non_blank};
use crate::value::{Properties, Value};

/// The maximum length of a name or an email (D13).
const MAX_CHARACTERS: usize = 255;

impl EnrollmentCommand {
    /// Checks a request against its reference data (spec 3). It also normalizes phones and emails (spec 4.1).
    ///
    /// The same arguments always give the same result. Call [`Enrollment::previous`] first: a repeated request needs no
    /// check.
    ///
    /// # Errors
    /// Returns a [`Rejection`] with all faults of one status: 404 comes before 409, and 409 before 422. The faults are
    /// in the order of the body. Faults of the body come before faults of the rows that it refers to.
    pub fn check(
        enrollment: &Enrollment<'_>,
        reference: &ReferenceData,
        engine: &Engine<'_>,
    ) -> Result<Self, Rejection> {
        let Enrollment { organization_id, sequence_id, at, list, request, .. } = *enrollment;
        let mut faults = Faults::new(request);

        let enrollment_id = enrollment.id();
        if enrollment_id.is_none() {
            let description =
                "the idempotency key is not 1 to 255 visible ASCII characters; send a shorter or plainer key";
            faults.of_body.push(Fault::new(FaultCode::InvalidIdempotencyKey, "", description));
        }
        let fingerprint = request.fingerprint(sequence_id);
        let stored = enrollment_id.and_then(|id| reference.enrollments.get(&id));
        // A body that is not an object has nothing to compare.
        if !faults.has_fault_at("") && stored.is_some_and(|stored| Some(stored.fingerprint) != fingerprint) {
            faults.of_references.push(Self::conflict());
        }

        if engine.policy.unknown_keys == UnknownKeys::Reject {
            faults.of_body.extend(request.unknown_keys.listed.iter().map(|path| unknown_key(path)));
        }
        if request.body.is_none() {
            check_values(request, &mut faults.of_body);
        }
        let step = find_step(reference, sequence_id, request, &mut faults);
        let channel = find_channel(reference, step, request, engine, &mut faults);
        let region = engine.region(reference, channel);
        faults.of_references.extend(request.custom_object_id().and_then(|id| custom_object_fault(reference, id)));
        if let Some(options) = request.voice_options {
            faults.of_references.extend(call_flow_fault(reference, options.default_call_flow_id));
        }

        if request.to.is_empty() && !faults.has_fault_at("/to") && !faults.has_fault_at("") {
            faults.of_body.push(Fault::new(FaultCode::TooFew, "/to", "`to` has no entries; add at least one"));
        }
        if request.to.len() > MAX_RECIPIENTS {
            let description =
                format!("`to` has {} entries; send at most {MAX_RECIPIENTS} in one request", request.to.len());
            faults.of_body.retain(|fault| !fault.path.starts_with("/to/"));
            faults.of_body.push(Fault::new(FaultCode::TooMany, "/to", description));
            return Err(faults.into_rejection(request));
        }
        let check = CheckRecipient {
            engine,
            region,
            year: at.as_datetime().year(),
            custom_data: request.custom_data.is_some(),
        };
        let recipients: Vec<_> =
            request.to.iter().enumerate().map(|(index, entry)| check.recipient(index, entry, &mut faults)).collect();

        match (faults.is_empty(), enrollment_id, fingerprint, step) {
            (true, Some(enrollment_id), Some(fingerprint), Some(step)) => Ok(Self {
                v: CommandVersion::FIRST,
                organization_id,
                sequence_id,
                enrollment_id,
                fingerprint,
                at,
                list,
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
                warnings: Warning::list(request, engine.policy),
                recipients,
                erased: None,
            }
            .versioned()),
            _ => Err(faults.into_rejection(request)),
        }
    }
}

/// The faults of a request.
struct Faults {
    of_body: Vec<Fault>,
    /// Faults of the rows that the body refers to.
    of_references: Vec<Fault>,
    /// The paths of the faults that reading the body found.
    paths_read: HashSet<String>,
}

impl Faults {
    fn new(request: &EnrollmentRequest<'_>) -> Self {
        let paths_read = request.faults.iter().map(|fault| fault.path.clone()).collect();
        Self { of_body: request.faults.clone(), of_references: Vec::new(), paths_read }
    }

    fn is_empty(&self) -> bool {
        self.of_body.is_empty() && self.of_references.is_empty()
    }

    /// Returns true if reading the body found a fault at the path.
    fn has_fault_at(&self, path: &str) -> bool {
        self.paths_read.contains(path)
    }

    fn into_rejection(mut self, request: &EnrollmentRequest<'_>) -> Rejection {
        in_body_order(request.body.as_deref(), &mut self.of_body);
        in_body_order(request.body.as_deref(), &mut self.of_references);
        self.of_body.append(&mut self.of_references);
        let fallback = || Fault::new(FaultCode::InvalidType, "", "the body is not readable; send a JSON object");
        Rejection::from_faults(self.of_body).unwrap_or_else(|| fallback().into())
    }
}

/// Returns the given step, or the first step if none is given.
///
/// It also returns a step of a sequence that is not active, so that the check finds the remaining faults.
fn find_step<'c>(
    reference: &'c ReferenceData,
    sequence_id: SequenceId,
    request: &EnrollmentRequest<'_>,
    faults: &mut Faults,
) -> Option<&'c Step> {
    let sequence = match reference.sequences.get(&sequence_id) {
        Some(sequence) => &*sequence.value,
        None => {
            faults.of_references.push(sequence_not_found(sequence_id));
            return None;
        }
    };
    faults.of_references.extend(sequence_fault(sequence, request.step_id));
    match request.step_id {
        Some(id) => sequence.step(id),
        None => sequence.first_step(),
    }
}

/// Returns the channel used: the channel of `from`, or else the step's channel, if it has one (spec 3).
fn find_channel<'c>(
    reference: &'c ReferenceData,
    step: Option<&Step>,
    request: &EnrollmentRequest<'_>,
    engine: &Engine<'_>,
    faults: &mut Faults,
) -> Option<&'c Channel> {
    if faults.has_fault_at("/from") {
        return None;
    }
    let kind = step.map(|step| step.channel_kind);
    let Some(from) = non_blank(request.from.as_ref()) else {
        let id = step?.channel_id?;
        let channel = reference.channels.get(&id).map(|channel| &*channel.value);
        return usable(channel, kind, ChannelRole::Step, format_args!("`{id}`"), faults);
    };
    let address = ChannelAddress::read(from, engine.phones);
    let shared: Vec<&Channel> = reference
        .channels
        .values()
        .map(|channel| &*channel.value)
        .filter(|channel| address.matches(channel, engine.phones))
        .collect();
    if let (ChannelAddress::Dialled(_), Some((first, others))) = (&address, shared.split_first())
        && let Some(other) = others.iter().find(|channel| channel.address != first.address)
    {
        let description = format!(
            "`{from}` is the number of several channels: `{}` and `{}`; send one of these",
            first.address, other.address
        );
        faults.of_references.push(Fault::new(FaultCode::ChannelAmbiguous, "/from", description));
        return None;
    }
    let fits = |channel: &&&Channel| channel.enabled && kind.is_none_or(|kind| channel.kind == kind);
    // A channel that fits, else an enabled one of another kind, else any. The iteration is in the order of ids.
    let best = shared.iter().find(fits).or_else(|| shared.iter().find(|c| c.enabled)).or_else(|| shared.first());
    let number = address.number(|| engine.region(reference, None), engine.phones);
    let number = number.filter(|number| number.as_str() != from);
    let read_as = number.map(|number| format!(", read as `{number}`,")).unwrap_or_default();
    usable(best.copied(), kind, ChannelRole::From, format_args!("`{from}`{read_as}"), faults)
}

/// Returns the channel if it is usable for the step. Otherwise it adds the fault.
fn usable<'c>(
    channel: Option<&'c Channel>,
    kind: Option<ChannelKind>,
    role: ChannelRole,
    name: impl Display,
    faults: &mut Faults,
) -> Option<&'c Channel> {
    let fault = channel_fault(channel, kind, role, name);
    let usable = fault.is_none();
    faults.of_references.extend(fault);
    channel.filter(|_| usable)
}

/// The text of `from`, read as the address of a channel.
enum ChannelAddress<'t> {
    Phone(PhoneNumber),
    /// A phone without `+`. Only the address of a channel says which number is meant.
    Dialled(&'t str),
    Email(Email),
    None,
}

impl<'t> ChannelAddress<'t> {
    fn read(from: &'t str, phones: &dyn PhoneNormalizer) -> Self {
        if from.contains('@') {
            Self::Email(Email::stored(from))
        } else if !from.starts_with(['+', FULLWIDTH_PLUS]) {
            Self::Dialled(from)
        } else {
            let phone = PhoneNumber::from_e164(from).or_else(|| PhoneNumber::read(from, None, phones).ok());
            phone.map_or(Self::None, Self::Phone)
        }
    }

    fn matches(&self, channel: &Channel, phones: &dyn PhoneNormalizer) -> bool {
        match self {
            Self::Phone(phone) => channel.kind.is_phone() && *channel.address == *phone.as_str(),
            Self::Dialled(text) if channel.kind.is_phone() => {
                let is_address = |phone: PhoneNumber| *phone.as_str() == *channel.address;
                let dialled = || {
                    let address = PhoneNumber::from_e164(&channel.address)?;
                    PhoneNumber::read(text, Some(&phones.region(&address)?), phones).ok()
                };
                with_plus(text).is_some_and(is_address) || dialled().is_some_and(is_address)
            }
            Self::Email(email) => !channel.kind.is_phone() && Email::stored(&channel.address).key() == email.key(),
            Self::Dialled(_) | Self::None => false,
        }
    }

    /// Returns the number that was read, for a message. `region` is the region of phones without `+`.
    fn number(&self, region: impl FnOnce() -> Option<Region>, phones: &dyn PhoneNormalizer) -> Option<PhoneNumber> {
        match self {
            Self::Phone(phone) => Some(phone.clone()),
            Self::Dialled(text) => {
                let dialled = region().and_then(|region| PhoneNumber::read(text, Some(&region), phones).ok());
                dialled.or_else(|| with_plus(text))
            }
            Self::Email(_) | Self::None => None,
        }
    }
}

/// Returns the number that the digits of a text make after a `+`. It does not check the numbering plan, since a host can
/// have channels outside of it.
fn with_plus(text: &str) -> Option<PhoneNumber> {
    let is_separator = |character: char| matches!(character, ' ' | '-' | '(' | ')' | '.');
    PhoneNumber::from_e164(&format!("+{}", text.replace(is_separator, "")))
}

const FULLWIDTH_PLUS: char = '\u{ff0b}';

impl Engine<'_> {
    /// Returns the region in which phones without `+` are read (spec 4.1), if the request uses this channel.
    #[must_use]
    pub fn region(&self, reference: &ReferenceData, channel: Option<&Channel>) -> Option<Region> {
        let region_of = |channel: &Channel| {
            let phone = PhoneNumber::from_e164(&channel.address).filter(|_| channel.kind.is_phone())?;
            self.phones.region(&phone)
        };
        self.policy.default_region.or_else(|| channel.and_then(region_of)).or_else(|| {
            let mut channels = reference.channels.values().map(|channel| &*channel.value);
            channels.find(|channel| channel.enabled && channel.kind.is_phone()).and_then(region_of)
        })
    }
}

/// Finds values that a request in JSON cannot have: too many levels, and U+0000. Only requests that are built in code
/// need this check.
fn check_values(request: &EnrollmentRequest<'_>, faults: &mut Vec<Fault>) {
    too_deep(request, faults);
    if faults.is_empty() {
        find_nul(request, faults);
    }
}

/// Finds values with too many levels: a repository could store them, but not read them again.
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
            let description = format!("the value has more than {MAX_LEVELS} levels of lists and maps; nest it less");
            faults.push(Fault::new(FaultCode::InvalidType, path, description));
        }
    }
}

/// The maximum number of nested lists and maps in a property. The JSON reader stops at 128 levels of the whole body.
const MAX_LEVELS: usize = 120;

/// Finds U+0000 in texts and keys.
fn find_nul(request: &EnrollmentRequest<'_>, faults: &mut Vec<Fault>) {
    let mut check_text = |text: &str, path: &Path<'_>| {
        if text.contains(NUL) {
            faults.push(Fault::new(FaultCode::InvalidCharacter, path.pointer(), "the text contains U+0000; remove it"));
        }
    };
    if let Some(from) = &request.from {
        check_text(from, &Path::Root.member("from"));
    }
    let to = Path::Root.member("to");
    for (index, entry) in request.to.iter().enumerate() {
        let at = to.item(index);
        for (name, text) in entry.texts() {
            text.iter().for_each(|text| check_text(text, &at.member(name)));
        }
        let address = at.member("address");
        for (name, part) in entry.address.iter().flat_map(|address| address.parts()) {
            part.iter().for_each(|part| check_text(part, &address.member(name)));
        }
        let properties = at.member("properties");
        for (key, value) in &entry.properties {
            let at = properties.member(key);
            check_text(key, &at);
            find_nul_in(value, &at, &mut check_text);
        }
    }
}

fn find_nul_in(value: &Value, at: &Path<'_>, check_text: &mut dyn FnMut(&str, &Path<'_>)) {
    match value {
        Value::Text(text) => check_text(text, at),
        Value::List(items) => {
            items.iter().enumerate().for_each(|(index, item)| find_nul_in(item, &at.item(index), check_text));
        }
        Value::Map(members) => {
            for (key, value) in members {
                let at = at.member(key);
                check_text(key, &at);
                find_nul_in(value, &at, check_text);
            }
        }
        Value::Null | Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {}
    }
}

/// Checks and normalizes the entries of `to`.
struct CheckRecipient<'e> {
    engine: &'e Engine<'e>,
    region: Option<Region>,
    /// The year of the request.
    year: i32,
    custom_data: bool,
}

impl CheckRecipient<'_> {
    fn recipient(&self, index: usize, entry: &Recipient<'_>, faults: &mut Faults) -> CheckedRecipient {
        let to = Path::Root.member("to");
        let at = to.item(index);
        if entry.phone.is_none() && self.engine.policy.phone_required {
            let path = at.member("phone").pointer();
            if !faults.has_fault_at(&path) && !faults.has_fault_at(&at.pointer()) {
                faults.of_body.push(Fault::new(FaultCode::Required, path, "`phone` is required; add it"));
            }
        }
        let mut too_long = |name: &str, what: &str, text: &str| {
            let characters = if text.len() > MAX_CHARACTERS { text.chars().count() } else { 0 };
            if characters > MAX_CHARACTERS {
                let description = format!("`{what}` has {characters} characters; shorten it to {MAX_CHARACTERS}");
                faults.of_body.push(Fault::new(FaultCode::TooLong, at.member(name).pointer(), description));
            }
            characters > MAX_CHARACTERS
        };
        let fields = [
            ("name", &entry.name),
            ("first_name", &entry.first_name),
            ("last_name", &entry.last_name),
            ("email", &entry.email),
        ];
        let mut name_is_too_long = false;
        for (name, text) in fields {
            if let Some(text) = text {
                name_is_too_long |= too_long(name, name, text) && name != "email";
            }
        }
        let name = entry.full_name();
        // A name that is not joined was checked above.
        if let (Some(Cow::Owned(joined)), false) = (&name, name_is_too_long) {
            too_long("first_name", "first_name last_name", joined);
        }
        let birth_date = entry.birth_date.and_then(|date| {
            let checked = BirthDate::new(date.day, date.month, date.year);
            let problem = match checked {
                None => Some(impossible_date(date)),
                Some(_) => date.year.filter(|year| !(FIRST_BIRTH_YEAR..=self.year.into()).contains(year)).map(|year| {
                    format!("the year {year} is not between {FIRST_BIRTH_YEAR} and {}; correct or omit it", self.year)
                }),
            };
            if let Some(problem) = problem {
                let path = at.member("birth_date").pointer();
                faults.of_body.push(Fault::new(FaultCode::InvalidDate, path, problem));
            }
            checked.filter(|date| !date.is_empty())
        });
        CheckedRecipient {
            phone: checked(non_blank(entry.phone.as_ref()), |text| {
                PhoneNumber::read(text, self.region.as_ref(), self.engine.phones)
            }),
            email: checked(non_blank(entry.email.as_ref()), Email::parse),
            external_id: text(entry.external_id.as_ref()),
            profile: Profile {
                name: name.map(Text::from),
                first_name: text(entry.first_name.as_ref()),
                last_name: text(entry.last_name.as_ref()),
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
            },
            // spec 4.8: `properties` are used with `custom_data` only.
            properties: if self.custom_data { properties(entry) } else { Properties::new() },
        }
    }
}

fn unknown_key(path: &str) -> Fault {
    Fault::new(FaultCode::UnknownKey, path, "no field has this key; correct or remove it")
}

/// The first year that a birth date may have.
const FIRST_BIRTH_YEAR: i64 = 1900;

fn impossible_date(WireBirthDate { day, month, year }: WireBirthDate) -> String {
    let parts = [("day", day), ("month", month), ("year", year)];
    let given: Vec<String> = parts.iter().filter_map(|(name, part)| Some(format!("{name} {}", (*part)?))).collect();
    format!("{} is not a possible date; correct or omit it", given.join(", "))
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
    // Most properties need no trimming. They share the memory of the request.
    if entry.properties.values().all(|value| value.is_trimmed() && !value.is_blank()) {
        return entry.properties.clone();
    }
    let given = entry.properties.iter().filter(|(_, value)| !value.is_blank());
    given.map(|(key, value)| (key.clone(), value.trimmed())).collect()
}
