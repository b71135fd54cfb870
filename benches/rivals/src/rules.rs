//! The rules as ordinary code, shared by the row-by-row and the batched rivals: what becomes of one recipient, given
//! the rows of the contact that its keys found. The default policy alone.

use enroll::contact::{BirthDate, Email, KeyKind};
use enroll::model::{ChannelKind, OnReAdd, PropertyKind};
use enroll::report::{PropertyFault, PropertyProblem};
use enroll::{Disposition, Note, Reason};
use serde::Serialize;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::body::Entry;
use crate::target::{Object, Property, Target};

/// A contact as stored.
#[derive(Clone, Debug, Default, sqlx::FromRow)]
pub struct Contact {
    pub id: Uuid,
    pub external_id: Option<String>,
    pub phone: Option<String>,
    pub email: Option<String>,
    pub email_key: Option<String>,
    pub name: Option<String>,
    pub language: Option<String>,
    pub default_channel_id: Option<Uuid>,
    /// As JSON.
    pub address: Option<String>,
    pub birth_day: Option<i32>,
    pub birth_month: Option<i32>,
    pub birth_year: Option<i32>,
    pub state: String,
}

/// The related rows of a contact that the rules need.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// Of the channel used.
    pub opted_out: bool,
    /// In the sequence.
    pub runs: Vec<Run>,
    /// In the sequence.
    pub step_contacts: Vec<StepContact>,
}

#[derive(Clone, Copy, Debug)]
pub struct Run {
    pub id: Uuid,
    pub started_at: i64,
}

#[derive(Clone, Debug, sqlx::FromRow)]
pub struct StepContact {
    pub id: Uuid,
    pub run_id: Uuid,
    pub step_id: Uuid,
    pub status: String,
}

/// A record of the custom object.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct Record {
    pub id: Uuid,
    /// As JSON.
    pub properties: String,
}

/// Who holds a key that an entry gives, other than the contact that it found.
#[derive(Clone, Copy, Debug, Default)]
pub enum Holder {
    #[default]
    Nobody,
    Contact {
        id: Uuid,
        /// The recipient of this request that brought the key there.
        brought_by: Option<usize>,
    },
}

/// The report of an enrollment.
#[derive(Debug, Serialize)]
pub struct Report {
    pub enrollment_id: Uuid,
    pub at: enroll::Timestamp,
    pub sequence_id: Uuid,
    pub step_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upload_tag: Option<UploadTag>,
    pub outcomes: Vec<Outcome>,
}

impl Report {
    /// The report of the outcomes. It has the tag if a contact has it.
    #[must_use]
    pub fn of(target: Target, outcomes: Vec<Outcome>) -> Self {
        let enrolled = outcomes.iter().any(|outcome| outcome.disposition.is_enrolled());
        Self {
            enrollment_id: target.enrollment_id,
            at: target.at,
            sequence_id: target.sequence_id,
            step_id: target.step_id,
            channel_id: target.channel_id,
            upload_tag: target.upload_tag.filter(|_| enrolled),
            outcomes,
        }
    }
}

/// The tag of one request.
#[derive(Clone, Debug, Serialize)]
pub struct UploadTag {
    pub id: Uuid,
    pub name: String,
}

/// What became of one recipient.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub index: usize,
    pub disposition: Disposition,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contact_id: Option<Uuid>,
    pub contact_created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_contact_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<Uuid>,
    pub conversation_created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_id: Option<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_of: Option<usize>,
}

impl Outcome {
    /// Ignored, until it is known better; and for a reason, if the entry cannot be reached on the step's channel (4.2).
    #[must_use]
    pub fn of(index: usize, entry: &Entry, kind: ChannelKind) -> Self {
        let mut outcome = Self {
            index,
            disposition: Disposition::Ignored,
            contact_id: None,
            contact_created: false,
            step_contact_id: None,
            conversation_id: None,
            conversation_created: false,
            record_id: None,
            reasons: Vec::new(),
            notes: Vec::new(),
            duplicate_of: None,
        };
        let needs_phone = kind.is_phone();
        match &entry.phone {
            None if needs_phone => outcome.reasons.push(Reason::MissingPhone),
            Some(Err(fault)) if needs_phone => outcome.reasons.push(Reason::InvalidPhone { fault: *fault }),
            Some(Err(fault)) => outcome.notes.push(Note::PhoneDropped { fault: *fault }),
            _ => {}
        }
        match &entry.email {
            None if !needs_phone => outcome.reasons.push(Reason::MissingEmail),
            Some(Err(fault)) if !needs_phone => outcome.reasons.push(Reason::InvalidEmail { fault: *fault }),
            Some(Err(fault)) => outcome.notes.push(Note::EmailDropped { fault: *fault }),
            _ => {}
        }
        outcome
    }

    /// The contact was taken by an earlier recipient (4.4). One that fails 4.2 stays ignored.
    pub fn taken(&mut self, by: usize) {
        if self.reasons.is_empty() {
            self.disposition = Disposition::Duplicate;
            self.duplicate_of = Some(by);
        }
    }

    /// The default channel is unknown in the organization.
    pub fn note_default_channel(&mut self, entry: &Entry, target: &Target) {
        if let Some(id) = entry.default_channel_id.filter(|id| !target.channels.contains(id)) {
            self.notes.insert(0, Note::DefaultChannelUnknown { channel_id: id.into() });
        }
    }
}

/// A new contact of everything that the entry gives.
#[must_use]
pub fn new_contact(entry: &Entry, target: &Target) -> Contact {
    let mut contact = Contact { id: Uuid::now_v7(), state: "open".to_owned(), ..Contact::default() };
    fill_plain(&mut contact, entry, target);
    contact.external_id.clone_from(&entry.external_id);
    contact.phone = entry.key(KeyKind::Phone).map(str::to_owned);
    if let Some(Ok(email)) = &entry.email {
        set_email(&mut contact, email);
    }
    contact
}

/// The changes of an entry to an existing contact.
#[derive(Debug)]
pub struct Filled {
    pub contact: Contact,
    pub changed: bool,
    /// The keys that it did not have.
    pub brings: Vec<KeyKind>,
}

/// The outcome for an existing contact.
#[derive(Debug)]
pub enum Decision {
    /// Added, or added again: a run and a step contact.
    Enter(Disposition),
    /// The step contact and its run, once more.
    Reprocess { step_contact_id: Uuid, run_id: Uuid },
}

/// Checks all gates of an unreserved contact (4.3, 4.5, 4.6), and adds every reason to the outcome. Returns `None` if the
/// recipient is ignored.
pub fn consider(
    outcome: &mut Outcome,
    entry: &Entry,
    contact: &Contact,
    around: &Around,
    holders: [Holder; 3],
    target: &Target,
) -> Option<(Filled, Decision)> {
    let eligible = outcome.reasons.is_empty();
    let filled = fill(outcome, entry, contact, holders, target);
    if eligible {
        outcome.reasons.extend(unreachable(&filled.contact, holders, target.kind));
    }
    // 4.5
    if contact.state == "blocked" {
        outcome.reasons.push(Reason::Blocked);
    }
    if let (Some(channel_id), true) = (target.channel_id, around.opted_out) {
        outcome.reasons.push(Reason::OptedOut { channel_id: channel_id.into() });
    }
    match decide(around, target) {
        Ok(decision) if outcome.reasons.is_empty() => Some((filled, decision)),
        Ok(_) => None,
        Err(reason) => {
            outcome.reasons.push(reason);
            None
        }
    }
}

/// 4.3: blank fields are filled, and nothing is overwritten.
fn fill(outcome: &mut Outcome, entry: &Entry, stored: &Contact, holders: [Holder; 3], target: &Target) -> Filled {
    let mut contact = stored.clone();
    let mut brings = Vec::new();
    for kind in KeyKind::ALL {
        let Some(given) = entry.key(kind) else { continue };
        let held = key(stored, kind);
        if held == Some(given) {
            continue;
        }
        match holders[kind as usize] {
            Holder::Contact { id, brought_by: Some(recipient) } => {
                outcome.notes.push(Note::KeyTaken { key: kind, contact_id: id.into(), recipient });
            }
            Holder::Contact { id, brought_by: None } => {
                outcome.notes.push(Note::IdentityConflict { key: kind, contact_id: id.into() });
            }
            Holder::Nobody if held.is_some() => outcome.notes.push(Note::KeyMismatch { key: kind }),
            Holder::Nobody => {
                brings.push(kind);
                match (kind, &entry.email) {
                    (KeyKind::ExternalId, _) => contact.external_id = Some(given.to_owned()),
                    (KeyKind::Phone, _) => contact.phone = Some(given.to_owned()),
                    (KeyKind::Email, Some(Ok(email))) => set_email(&mut contact, email),
                    (KeyKind::Email, _) => {}
                }
            }
        }
    }
    let changed = fill_plain(&mut contact, entry, target) || !brings.is_empty();
    Filled { contact, changed, brings }
}

/// Fills the fields that are not keys. Returns whether a field changed.
fn fill_plain(contact: &mut Contact, entry: &Entry, target: &Target) -> bool {
    let mut changed = false;
    let mut text = |stored: &mut Option<String>, given: &Option<String>| {
        if given.is_some() && stored.as_ref().is_none_or(|stored| stored.trim().is_empty()) {
            stored.clone_from(given);
            changed = true;
        }
    };
    text(&mut contact.name, &entry.name);
    text(&mut contact.language, &entry.language);
    text(&mut contact.address, &entry.address);
    let default_channel_id = entry.default_channel_id.filter(|id| target.channels.contains(id));
    if contact.default_channel_id.is_none() && default_channel_id.is_some() {
        contact.default_channel_id = default_channel_id;
        changed = true;
    }
    let undated = [contact.birth_day, contact.birth_month, contact.birth_year] == [None; 3];
    if let (true, Some(BirthDate { day, month, year, .. })) = (undated, entry.birth_date) {
        contact.birth_day = day.map(i32::from);
        contact.birth_month = month.map(i32::from);
        contact.birth_year = year.map(i32::from);
        changed = true;
    }
    changed
}

fn set_email(contact: &mut Contact, email: &Email) {
    contact.email = Some(email.as_str().to_owned());
    contact.email_key = Some(email.key().to_owned());
}

/// 4.3: a contact that cannot be reached is not enrolled.
fn unreachable(contact: &Contact, holders: [Holder; 3], kind: ChannelKind) -> Option<Reason> {
    let needed = if kind.is_phone() { KeyKind::Phone } else { KeyKind::Email };
    if key(contact, needed).is_some() {
        return None;
    }
    Some(match (holders[needed as usize], needed) {
        (Holder::Contact { id, .. }, key) => Reason::AddressTaken { key, contact_id: id.into() },
        (Holder::Nobody, KeyKind::Email) => Reason::MissingEmail,
        (Holder::Nobody, _) => Reason::MissingPhone,
    })
}

/// What a contact is found by; none where it is blank.
#[must_use]
pub fn key(contact: &Contact, kind: KeyKind) -> Option<&str> {
    let text = match kind {
        KeyKind::ExternalId => &contact.external_id,
        KeyKind::Phone => &contact.phone,
        KeyKind::Email => &contact.email_key,
    };
    text.as_deref().filter(|text| !text.trim().is_empty())
}

/// 4.6: the first row that holds decides.
fn decide(around: &Around, target: &Target) -> Result<Decision, Reason> {
    let Around { runs, step_contacts, .. } = around;
    let newest = |fits: &dyn Fn(&StepContact) -> bool| {
        let started = |row: &StepContact| runs.iter().find(|run| run.id == row.run_id).map(|run| run.started_at);
        step_contacts.iter().filter(|row| fits(row)).max_by_key(|row| (started(row), row.id))
    };
    let here = |row: &StepContact| row.step_id == target.step_id;
    let live = |row: &StepContact| row.status == "active" || row.status == "pending";
    if let Some(row) = newest(&|row| !here(row) && row.status == "active") {
        return Err(Reason::ActiveInOtherStep { step_id: row.step_id.into(), step_contact_id: row.id.into() });
    }
    if let Some(row) = newest(&|row| !here(row) && row.status == "pending") {
        return Err(Reason::PendingInOtherStep { step_id: row.step_id.into(), step_contact_id: row.id.into() });
    }
    if let Some(row) = newest(&|row| here(row) && live(row)).or_else(|| newest(&here)) {
        return Ok(Decision::Reprocess { step_contact_id: row.id, run_id: row.run_id });
    }
    if step_contacts.is_empty() {
        return Ok(Decision::Enter(Disposition::Added));
    }
    let settings = &target.settings;
    if settings.on_re_add == OnReAdd::Exclude {
        return Err(Reason::ReAddExcluded);
    }
    if let Some(max_runs) = settings.max_runs.filter(|max| runs.len() >= *max as usize) {
        return Err(Reason::MaxRunsReached { runs: runs.len(), max_runs });
    }
    if let Some(cap) = settings.max_adds_per_period {
        let until = target.at.millis();
        let since = until.saturating_sub(i64::try_from(cap.seconds).unwrap_or(i64::MAX).saturating_mul(1000));
        let adds = runs.iter().filter(|run| since < run.started_at && run.started_at <= until).count();
        if adds >= cap.count as usize {
            return Err(Reason::MaxAddsReached { adds, count: cap.count, seconds: cap.seconds });
        }
    }
    Ok(Decision::Enter(Disposition::ReAdded))
}

/// 4.8: returns the values of a record after the given ones are merged into the stored ones.
///
/// # Errors
/// The note of all that does not fit.
pub fn merged(object: &Object, standing: Option<&str>, given: &Map<String, Value>) -> Result<String, Note> {
    let definition = |key: &str| object.properties.iter().find(|property| property.key == key);
    let mut values: Map<String, Value> =
        standing.and_then(|standing| serde_json::from_str(standing).ok()).unwrap_or_default();
    values.retain(|_, value| !value.is_null());
    let mut faults = Vec::new();
    for (key, value) in given {
        let problem = match (definition(key), value) {
            (None, _) => PropertyProblem::UnknownKey,
            (Some(property), Value::Null) if property.required => PropertyProblem::NullForRequired,
            (Some(_), Value::Null) => {
                values.remove(key);
                continue;
            }
            (Some(property), value) if !fits(property.kind, value) => PropertyProblem::WrongType,
            (Some(_), value) => {
                values.insert(key.clone(), value.clone());
                continue;
            }
        };
        faults.push(PropertyFault::new(key.clone(), problem));
    }
    for Property { key, kind, default, .. } in object.properties.iter().filter(|property| property.required) {
        if values.contains_key(key) || faults.iter().any(|fault| fault.key == *key) {
            continue;
        }
        match default.as_ref().filter(|default| fits(*kind, default)) {
            Some(default) => {
                values.insert(key.clone(), default.clone());
            }
            None => faults.push(PropertyFault::new(key.clone(), PropertyProblem::MissingRequired)),
        }
    }
    if faults.is_empty() {
        return Ok(Value::Object(values).to_string());
    }
    faults.sort_by(|a, b| a.key.cmp(&b.key));
    let mut accepted: Vec<String> = object.properties.iter().map(|property| property.key.clone()).collect();
    accepted.sort();
    Err(Note::CustomDataInvalid { faults, accepted })
}

fn fits(kind: PropertyKind, value: &Value) -> bool {
    match kind {
        PropertyKind::Text => value.is_string(),
        PropertyKind::Number => value.is_i64(),
        PropertyKind::Float => value.is_number(),
        PropertyKind::Boolean => value.is_boolean(),
        PropertyKind::List => value.is_array(),
        PropertyKind::Map => value.is_object(),
        PropertyKind::Date => value.as_str().is_some_and(is_date),
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}
