//! A generated organization and a request to it, from a fixed random seed.

use std::borrow::Cow;
use std::ops::Range;
use uuid::Uuid;

use super::{Seed, SeedError};
use crate::contact::{Contact, ContactState, Email, PhoneNumber};
use crate::ids::{
    ChannelId, ContactId, ConversationId, CustomObjectId, OrganizationId, RunId, SequenceId, StepContactId, StepId,
};
use crate::model::{
    Channel, ChannelKind, CommunicationPreference, Conversation, ConversationStatus, CustomObject, CustomProperty,
    MaxAdds, OnReAdd, PropertyKind, Resource, Run, RunStatus, Sequence, Step, StepContact, StepContactStatus,
};
use crate::request::{CustomData, EnrollmentRequest, MAX_RECIPIENTS, Recipient, WireAddress, WireBirthDate};
use crate::time::{Timestamp, TimestampError};
use crate::value::Value;

/// A generated organization, and a request with 4000 realistic recipients.
///
/// The recipients have phone numbers of 54 countries in many spellings. 10 % have an invalid phone, some are duplicates,
/// and some are contacts of the organization in different steps of its sequence.
///
/// The demo is the same each time and on every machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Demo {
    /// The organization with its contacts.
    pub given: Seed,
    /// The sequence that the request is for: three steps of kind `phone`.
    pub sequence_id: SequenceId,
    /// The request.
    pub request: EnrollmentRequest<'static>,
    /// The instant of the request.
    pub at: Timestamp,
}

impl Demo {
    /// Generates the demo.
    ///
    /// # Errors
    /// [`SeedError`] if the generated organization is invalid. A test checks that it never is.
    pub fn new() -> Result<Self, SeedError> {
        let at = instant("2026-02-01T15:00:00Z".parse())?;
        let mut random = Random(0x0e11_0e11);
        let phones: Vec<String> = numbers(&mut random);
        let given = organization(at, &phones, &mut random)?;
        given.check_unique()?;
        let mut request = EnrollmentRequest::new(entries(&phones, &mut random));
        request.custom_data = Some(CustomData { custom_object_id: OBJECT, resource: Resource::Contact });
        Ok(Self { given, sequence_id: SEQUENCE, request, at })
    }

    /// Returns recipients that match no contact of the organization. They have numbers of the same countries and
    /// spellings, a name and an email address.
    ///
    /// Recipient `n` is the same each time, and differs from all others up to 380,000.
    #[must_use]
    pub fn strangers(people: Range<usize>) -> EnrollmentRequest<'static> {
        let stranger = |n: usize| {
            let mut random = Random(n as u64);
            let mut recipient = Recipient::new(spelled(&strange_number(n), &mut random));
            recipient.name = Some(Cow::Owned(name(&mut random)));
            recipient.email = Some(Cow::Owned(format!("Stranger{n}@Example.com")));
            recipient
        };
        EnrollmentRequest::new(people.map(stranger))
    }

    /// Returns recipients of a large organization in the United States, in no order, each with a name and an email
    /// address.
    ///
    /// Recipient `n` is the same each time, and differs from all others up to 8,000,000 and from all
    /// [strangers](Self::strangers).
    #[must_use]
    pub fn crowd(people: Range<usize>) -> EnrollmentRequest<'static> {
        let member = |n: usize| {
            let mut random = Random(n as u64);
            // The factor and the modulus are coprime, so each number occurs once.
            let number = n * 5_000_011 % 8_000_000;
            let mut recipient = Recipient::new(format!("+1212{}", 2_000_000 + number));
            recipient.name = Some(Cow::Owned(name(&mut random)));
            recipient.email = Some(Cow::Owned(format!("p{number}@mail{}.example", random.below(50))));
            recipient
        };
        EnrollmentRequest::new(people.map(member))
    }
}

/// As in [`numbers`], every third number is of the United States.
fn strange_number(n: usize) -> String {
    let (third, rest) = (n / 3, n % 3);
    if rest == 0 {
        return format!("+1202{}{:04}", 200 + third / 10_000 % 355, third % 10_000);
    }
    // The last digits differ from those of all numbers in the demo request.
    let other = third * 2 + rest - 1;
    format!("{}{}", STEMS[other % STEMS.len()], KNOWN + MAX_RECIPIENTS + other / STEMS.len() % 4800)
}

fn instant(at: Result<Timestamp, TimestampError>) -> Result<Timestamp, SeedError> {
    at.map_err(|e| SeedError { path: String::new(), message: e.to_string() })
}

const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(0x5e9));
const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(0x0a9));
const PHONE: ChannelId = ChannelId::from_uuid(Uuid::from_u128(0xc1));
const EMAIL: ChannelId = ChannelId::from_uuid(Uuid::from_u128(0xc2));
const STEPS: [StepId; 3] = [
    StepId::from_uuid(Uuid::from_u128(0x51)),
    StepId::from_uuid(Uuid::from_u128(0x52)),
    StepId::from_uuid(Uuid::from_u128(0x53)),
];
const OBJECT: CustomObjectId = CustomObjectId::from_uuid(Uuid::from_u128(0x0b));

/// The number of contacts of the organization.
const KNOWN: usize = 1200;

/// Numbers of 54 countries without their last four digits. Any four digits make a valid number.
const STEMS: [&str; 54] = [
    "+1201555",
    "+1506234",
    "+44740012",
    "+3361234",
    "+491512345",
    "+3461234",
    "+39312345",
    "+3161234",
    "+3245000",
    "+4178123",
    "+4366412",
    "+4670123",
    "+474061",
    "+453441",
    "+35841234",
    "+4851234",
    "+42060112",
    "+35191234",
    "+35385012",
    "+30691234",
    "+4071203",
    "+3620123",
    "+3594301",
    "+38592123",
    "+90501234",
    "+97250234",
    "+97150123",
    "+96651234",
    "+20100123",
    "+2771123",
    "+234802123",
    "+25471212",
    "+25072012",
    "+23323123",
    "+21265012",
    "+91812345",
    "+92301234",
    "+880181234",
    "+9471234",
    "+6681234",
    "+8491234",
    "+6012345",
    "+658123",
    "+6281234",
    "+63905123",
    "+81901234",
    "+82102000",
    "+6141234",
    "+6421123",
    "+551196123",
    "+52222123",
    "+57321123",
    "+5622123",
    "+5191234",
];
const FIRST: [&str; 16] = [
    "Ann", "José", "Li", "Fatima", "Søren", "Amara", "Yuki", "Priya", "Tomasz", "Zoë", "Kwame", "Ingrid", "Mehmet",
    "Chloé", "Ravi", "Nia",
];
const LAST: [&str; 16] = [
    "Lee", "García", "Wang", "Haddad", "Nielsen", "Okafor", "Tanaka", "Sharma", "Kowalski", "Müller", "Mensah", "Berg",
    "Yılmaz", "Dubois", "Patel", "Smith",
];
const JUNK: [&str; 8] =
    ["12", "n/a", "555-CALL", "+1 202", "0000000000", "+999123456789", "see notes", "(202) 555-01234567"];

/// Returns different numbers, one for each contact and each recipient. A third of them are of the United States.
fn numbers(random: &mut Random) -> Vec<String> {
    let mut numbers = Vec::with_capacity(KNOWN + MAX_RECIPIENTS);
    for n in 0..KNOWN + MAX_RECIPIENTS {
        // The last digits make the numbers different.
        let last = n % 10_000;
        let stem = if random.one_in(3) { "+1202555" } else { STEMS[random.below(STEMS.len())] };
        numbers.push(format!("{stem}{last:04}"));
    }
    numbers
}

fn organization(at: Timestamp, phones: &[String], random: &mut Random) -> Result<Seed, SeedError> {
    let mut given = Seed::new(ORGANIZATION);
    given.now = Some(at);
    given.name_organization(ORGANIZATION, "Acme");
    given.channels.push(Channel::new(PHONE, ChannelKind::Phone, "+12025550100").into());
    given.channels.push(Channel::new(EMAIL, ChannelKind::Email, "hello@acme.example").into());

    let steps = STEPS.into_iter().zip(1..).map(|(id, position)| {
        let mut step = Step::new(id, position, ChannelKind::Phone);
        step.channel_id = Some(PHONE);
        step
    });
    let mut sequence = Sequence::new(SEQUENCE, "Spring outreach", steps.collect());
    sequence.settings.on_re_add = OnReAdd::Include;
    sequence.settings.max_runs = Some(3);
    sequence.settings.max_adds_per_period = Some(MaxAdds { count: 2, seconds: 7 * 24 * 3600 });
    given.sequences.push(sequence.into());

    let mut source = CustomProperty::new("source", PropertyKind::Text);
    source.required = true;
    source.default = Some("import".to_owned().into());
    let score = CustomProperty::new("score", PropertyKind::Number);
    let since = CustomProperty::new("customer_since", PropertyKind::Date);
    given.custom_objects.push(CustomObject::new(OBJECT, "lead", vec![source, score, since]).into());

    for (n, phone) in phones.iter().take(KNOWN).enumerate() {
        known_contact(&mut given, n, phone, at, random)?;
    }
    Ok(given)
}

/// Adds a contact with its related rows, at some point of the sequence.
fn known_contact(given: &mut Seed, n: usize, phone: &str, at: Timestamp, random: &mut Random) -> Result<(), SeedError> {
    let base = 0x1_0000 + (n as u128) * 16;
    let id = |k: u128| Uuid::from_u128(base + k);
    let ago = |seconds: i64| instant(Timestamp::from_millis(at.millis() - seconds * 1000));
    let mut contact = Contact::new(ContactId::from_uuid(id(0)));
    contact.phone = PhoneNumber::from_e164(phone).map(Into::into);
    contact.profile.name = Some(name(random).into());
    contact.email = random.one_in(2).then(|| Email::stored(&format!("known{n}@example.com")));
    contact.external_id = random.one_in(3).then(|| format!("crm-{n}").into());
    contact.created_at = Some(ago(90 * 24 * 3600)?);
    contact.state = match n % 40 {
        0 => ContactState::Blocked,
        1 => ContactState::Archived,
        2 => ContactState::Merged,
        _ => ContactState::Open,
    };
    let contact_id = contact.id;
    given.contacts.push(contact.into());
    if n % 20 == 3 {
        given.communication_preferences.push(CommunicationPreference::new(contact_id, PHONE, false).into());
    }
    if random.one_in(2) {
        let mut conversation = Conversation::new(ConversationId::from_uuid(id(1)), contact_id, PHONE);
        conversation.status = ConversationStatus::Closed;
        given.conversations.push(conversation.into());
    }
    // The step, the status and the number of runs.
    let (step, status, runs) = match n % 8 {
        0 => (0, StepContactStatus::Active, 1),
        1 => (1, StepContactStatus::Active, 1),
        2 => (2, StepContactStatus::Pending, 1),
        3 => (0, StepContactStatus::Finished, 2),
        4 => (2, StepContactStatus::Finished, 1),
        5 => (1, StepContactStatus::Moved, 3),
        _ => return Ok(()),
    };
    for k in 0..runs {
        let days = 10 * i64::from(u8::try_from(runs - k).unwrap_or(u8::MAX));
        let mut run = Run::new(RunId::from_uuid(id(2 + k)), SEQUENCE, contact_id, ago(days * 24 * 3600)?);
        let last = k + 1 == runs;
        run.status = if last && status.is_live() { RunStatus::Active } else { RunStatus::Finished };
        let mut step_contact = StepContact::new(StepContactId::from_uuid(id(8 + k)), &run, STEPS[step]);
        step_contact.status = if last { status } else { StepContactStatus::Finished };
        step_contact.channel_id = Some(PHONE);
        given.runs.push(run.into());
        given.step_contacts.push(step_contact.into());
    }
    Ok(())
}

/// Returns 4000 realistic entries.
fn entries(phones: &[String], random: &mut Random) -> Vec<Recipient<'static>> {
    let mut entries: Vec<Recipient<'static>> = Vec::with_capacity(MAX_RECIPIENTS);
    for n in 0..MAX_RECIPIENTS {
        let mut entry = match random.below(100) {
            0..10 => Recipient::new(JUNK[random.below(JUNK.len())]),
            10..15 if n > 0 => again(&entries[random.below(n)], random),
            15..40 => Recipient::new(spelled(&phones[random.below(KNOWN)], random)),
            _ => Recipient::new(spelled(&phones[KNOWN + n], random)),
        };
        if entry.name.is_none() {
            entry.name = Some(Cow::Owned(name(random)));
        }
        match random.below(20) {
            0 => entry.email = Some("not an address".into()),
            1..12 => entry.email = Some(Cow::Owned(format!("Person{n}@Example.com"))),
            _ => {}
        }
        if random.one_in(3) {
            entry.address = Some(Box::new(address(n)));
        }
        if random.one_in(5) {
            entry.birth_date = Some(WireBirthDate::new(Some(29), Some(2), random.one_in(2).then_some(1988)));
        }
        entry.language = random.one_in(4).then(|| "en".into());
        let score =
            if random.one_in(40) { Value::from("high") } else { Value::from(i64::try_from(n % 100).unwrap_or(0)) };
        entry.properties.insert("score", score);
        if random.one_in(2) {
            entry.properties.insert("source", "webinar".into());
        }
        entries.push(entry);
    }
    entries
}

/// Returns the same person with another spelling.
fn again(earlier: &Recipient<'static>, random: &mut Random) -> Recipient<'static> {
    let mut entry = earlier.clone();
    entry.name = Some(Cow::Owned(name(random)));
    entry.phone = earlier.phone.as_ref().map(|phone| Cow::Owned(format!(" {phone} ")));
    entry.properties = crate::value::Properties::new();
    entry
}

/// Returns the number in a spelling that lists contain: E.164, with spaces, in brackets, or in a national format.
fn spelled(phone: &str, random: &mut Random) -> String {
    if let Some(national) = phone.strip_prefix("+1") {
        let (area, rest) = national.split_at(3);
        let (exchange, line) = rest.split_at(3);
        match random.below(4) {
            0 => return format!("({area}) {exchange}-{line}"),
            1 => return format!("{area}.{exchange}.{line}"),
            2 => return format!("1-{area}-{exchange}-{line} ext. 12"),
            _ => {}
        }
    }
    let (country, rest) = phone.split_at(3);
    match random.below(3) {
        0 => format!("{country} {rest}"),
        1 => format!("00 {}", &phone[1..]).replacen("00", "011", 1),
        _ => phone.to_owned(),
    }
}

fn address(n: usize) -> WireAddress<'static> {
    WireAddress {
        address_line_one: Some(Cow::Owned(format!("{} Main Street", n + 1))),
        city: Some("Springfield".into()),
        post_code: Some(Cow::Owned(format!("{:05}", n * 7 % 100_000))),
        country: Some("US".into()),
        ..WireAddress::default()
    }
}

fn name(random: &mut Random) -> String {
    format!("{} {}", FIRST[random.below(FIRST.len())], LAST[random.below(LAST.len())])
}

/// `SplitMix64`: returns the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap_or(0)
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contact::Region;
    use std::collections::HashSet;

    #[test]
    fn all_recipients_have_different_valid_phones() {
        let demo = Demo::new().unwrap();
        let us = Region::new("US").unwrap();
        let read = |person: &Recipient<'_>| PhoneNumber::parse(person.phone.as_deref().unwrap_or_default(), Some(&us));
        let known = demo.request.to.iter().filter_map(|person| read(person).ok());
        let mut seen: HashSet<PhoneNumber> = known.collect();
        for request in [Demo::strangers(0..20_000), Demo::strangers(379_000..380_000), Demo::crowd(0..20_000)] {
            for person in &request.to {
                let phone = read(person).unwrap_or_else(|e| panic!("{person:?}: {e}"));
                assert!(seen.insert(phone), "{person:?}");
            }
        }
    }
}
