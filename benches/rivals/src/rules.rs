//! The rules as ordinary code, shared by the row-by-row and the batched rivals: the outcome of one recipient, from the
//! rows of the contact that its keys find. Only the default policy.

use enroll::contact::{BirthDate, Email, KeyKind};
use enroll::model::{ChannelKind, OnReAdd, PropertyKind};
use enroll::report::{PropertyFault, PropertyProblem};
use enroll::{Disposition, Note, Reason};
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
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
pub struct RelatedRows {
    /// Whether the contact opted out of the channel used.
    pub opted_out: bool,
    /// The runs in the sequence.
    pub runs: Vec<Run>,
    /// The step contacts in the sequence.
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

/// The owner of a key of an entry, other than the contact that the entry found.
#[derive(Clone, Copy, Debug, Default)]
pub enum KeyOwner {
    #[default]
    NoContact,
    Contact {
        id: Uuid,
        /// The recipient of this request that assigned the key to the contact.
        assigned_by: Option<usize>,
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
    /// Returns the report of the outcomes. It has the tag only if a recipient is enrolled.
    #[must_use]
    pub fn new(target: Target, outcomes: Vec<Outcome>) -> Self {
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

/// The outcome of one recipient.
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
    /// Returns an ignored outcome, with the reasons why the step's channel cannot reach the entry (4.2).
    #[must_use]
    pub fn new(index: usize, entry: &Entry, kind: ChannelKind) -> Self {
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

    /// Marks a duplicate of the recipient that reserved the contact (4.4). A recipient that fails 4.2 stays ignored.
    pub fn set_duplicate(&mut self, reserved_by: usize) {
        if self.reasons.is_empty() {
            self.disposition = Disposition::Duplicate;
            self.duplicate_of = Some(reserved_by);
        }
    }

    /// Adds a note if the organization does not have the default channel.
    pub fn note_default_channel(&mut self, entry: &Entry, target: &Target) {
        if let Some(id) = entry.default_channel_id.filter(|id| !target.channels.contains(id)) {
            self.notes.insert(0, Note::DefaultChannelUnknown { channel_id: id.into() });
        }
    }
}

/// Returns a new contact with all fields of the entry.
#[must_use]
pub fn new_contact(entry: &Entry, target: &Target) -> Contact {
    let mut contact = Contact { id: Uuid::now_v7(), state: "open".to_owned(), ..Contact::default() };
    update_profile(&mut contact, entry, target);
    contact.external_id.clone_from(&entry.external_id);
    contact.phone = entry.key(KeyKind::Phone).map(str::to_owned);
    if let Some(Ok(email)) = &entry.email {
        set_email(&mut contact, email);
    }
    contact
}

/// The changes of an entry to an existing contact.
#[derive(Debug)]
pub struct ContactUpdate {
    pub contact: Contact,
    pub changed: bool,
    /// The keys that the contact did not have.
    pub new_keys: Vec<KeyKind>,
}

/// The outcome for an existing contact.
#[derive(Debug)]
pub enum Decision {
    /// The contact is added, or added again: it gets a run and a step contact.
    Add(Disposition),
    /// The step contact and its run are processed again.
    Reprocess { step_contact_id: Uuid, run_id: Uuid },
}

/// Checks all gates of an unreserved contact (4.3, 4.5, 4.6), and adds every reason to the outcome. Returns `None` if the
/// recipient is ignored.
pub fn check_existing(
    outcome: &mut Outcome,
    entry: &Entry,
    contact: &Contact,
    related: &RelatedRows,
    owners: [KeyOwner; 3],
    target: &Target,
) -> Option<(ContactUpdate, Decision)> {
    let eligible = outcome.reasons.is_empty();
    let update = reconcile(outcome, entry, contact, owners, target);
    if eligible {
        outcome.reasons.extend(unreachable(&update.contact, owners, target.kind));
    }
    // 4.5
    if contact.state == "blocked" {
        outcome.reasons.push(Reason::Blocked);
    }
    if let (Some(channel_id), true) = (target.channel_id, related.opted_out) {
        outcome.reasons.push(Reason::OptedOut { channel_id: channel_id.into() });
    }
    match decide(related, target) {
        Ok(decision) if outcome.reasons.is_empty() => Some((update, decision)),
        Ok(_) => None,
        Err(reason) => {
            outcome.reasons.push(reason);
            None
        }
    }
}

/// 4.3: fills blank fields, and overwrites nothing.
fn reconcile(
    outcome: &mut Outcome,
    entry: &Entry,
    stored: &Contact,
    owners: [KeyOwner; 3],
    target: &Target,
) -> ContactUpdate {
    let mut contact = stored.clone();
    let mut new_keys = Vec::new();
    for kind in KeyKind::ALL {
        let Some(given) = entry.key(kind) else { continue };
        let stored_key = key(stored, kind);
        if stored_key == Some(given) {
            continue;
        }
        match owners[kind as usize] {
            KeyOwner::Contact { id, assigned_by: Some(recipient) } => {
                outcome.notes.push(Note::KeyTaken { key: kind, contact_id: id.into(), recipient });
            }
            KeyOwner::Contact { id, assigned_by: None } => {
                outcome.notes.push(Note::IdentityConflict { key: kind, contact_id: id.into() });
            }
            KeyOwner::NoContact if stored_key.is_some() => outcome.notes.push(Note::KeyMismatch { key: kind }),
            KeyOwner::NoContact => {
                new_keys.push(kind);
                match (kind, &entry.email) {
                    (KeyKind::ExternalId, _) => contact.external_id = Some(given.to_owned()),
                    (KeyKind::Phone, _) => contact.phone = Some(given.to_owned()),
                    (KeyKind::Email, Some(Ok(email))) => set_email(&mut contact, email),
                    (KeyKind::Email, _) => {}
                }
            }
        }
    }
    let changed = update_profile(&mut contact, entry, target) || !new_keys.is_empty();
    ContactUpdate { contact, changed, new_keys }
}

/// Fills the fields that are not keys. Returns whether a field changed.
fn update_profile(contact: &mut Contact, entry: &Entry, target: &Target) -> bool {
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
    let no_birth_date = [contact.birth_day, contact.birth_month, contact.birth_year] == [None; 3];
    if let (true, Some(BirthDate { day, month, year, .. })) = (no_birth_date, entry.birth_date) {
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

/// 4.3: returns the reason why the channel cannot reach the contact.
fn unreachable(contact: &Contact, owners: [KeyOwner; 3], kind: ChannelKind) -> Option<Reason> {
    let required_key = if kind.is_phone() { KeyKind::Phone } else { KeyKind::Email };
    if key(contact, required_key).is_some() {
        return None;
    }
    Some(match (owners[required_key as usize], required_key) {
        (KeyOwner::Contact { id, .. }, key) => Reason::AddressTaken { key, contact_id: id.into() },
        (KeyOwner::NoContact, KeyKind::Email) => Reason::MissingEmail,
        (KeyOwner::NoContact, _) => Reason::MissingPhone,
    })
}

/// Returns a key of a contact, unless it is blank.
#[must_use]
pub fn key(contact: &Contact, kind: KeyKind) -> Option<&str> {
    let text = match kind {
        KeyKind::ExternalId => &contact.external_id,
        KeyKind::Phone => &contact.phone,
        KeyKind::Email => &contact.email_key,
    };
    text.as_deref().filter(|text| !text.trim().is_empty())
}

/// 4.6: the first row whose condition is true decides.
fn decide(related: &RelatedRows, target: &Target) -> Result<Decision, Reason> {
    let RelatedRows { runs, step_contacts, .. } = related;
    let newest = |fits: &dyn Fn(&StepContact) -> bool| {
        let started = |row: &StepContact| runs.iter().find(|run| run.id == row.run_id).map(|run| run.started_at);
        step_contacts.iter().filter(|row| fits(row)).max_by_key(|row| (started(row), row.id))
    };
    let in_step = |row: &StepContact| row.step_id == target.step_id;
    let live = |row: &StepContact| row.status == "active" || row.status == "pending";
    if let Some(row) = newest(&|row| !in_step(row) && row.status == "active") {
        return Err(Reason::ActiveInOtherStep { step_id: row.step_id.into(), step_contact_id: row.id.into() });
    }
    if let Some(row) = newest(&|row| !in_step(row) && row.status == "pending") {
        return Err(Reason::PendingInOtherStep { step_id: row.step_id.into(), step_contact_id: row.id.into() });
    }
    if let Some(row) = newest(&|row| in_step(row) && live(row)).or_else(|| newest(&in_step)) {
        return Ok(Decision::Reprocess { step_contact_id: row.id, run_id: row.run_id });
    }
    if step_contacts.is_empty() {
        return Ok(Decision::Add(Disposition::Added));
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
    Ok(Decision::Add(Disposition::ReAdded))
}

/// 4.8: returns the values of a record after the given ones are merged into the stored ones.
///
/// # Errors
/// Returns a note with all invalid values.
pub fn merge(object: &Object, stored: Option<&str>, given: &Map<String, Value>) -> Result<String, Note> {
    let definition = |key: &str| object.properties.iter().find(|property| property.key == key);
    let mut values: Map<String, Value> =
        stored.and_then(|stored| serde_json::from_str(stored).ok()).unwrap_or_default();
    values.retain(|_, value| !value.is_null());
    let mut faults = BTreeMap::new();
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
        faults.insert(key, (problem, Some(enroll::value::Value::from(value.clone()))));
    }
    for Property { key, kind, default, .. } in object.properties.iter().filter(|property| property.required) {
        if values.contains_key(key) || faults.contains_key(key) {
            continue;
        }
        match default.as_ref().filter(|default| fits(*kind, default)) {
            Some(default) => {
                values.insert(key.clone(), default.clone());
            }
            None => {
                faults.insert(key, (PropertyProblem::MissingRequired, None));
            }
        }
    }
    if faults.is_empty() {
        return Ok(Value::Object(values).to_string());
    }
    let more = faults.len().saturating_sub(PropertyFault::MAX_LISTED);
    let listed = faults.iter().take(PropertyFault::MAX_LISTED).map(|(key, (problem, given))| {
        PropertyFault::new(key, *problem, given.as_ref(), definition(key).map(|property| property.kind))
    });
    Err(Note::CustomDataInvalid { faults: listed.collect(), more })
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
