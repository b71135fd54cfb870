//! Erasing a person: which contact is meant, and what is personal in stored requests and reports.
//!
//! The adapters remove the rows of the person. Each has a function `erase`; the functions here are what they share.

use serde::Serialize;
use uuid::Uuid;

use crate::command::{EnrollmentCommand, StoredCommand};
use crate::contact::{ContactKeys, ContactState, Email, KeyKind, PhoneNumber};
use crate::ids::{ContactId, EnrollmentId, StepContactId};
use crate::report::{Note, Outcome, Reason};
use crate::repository::RepositoryError;
use crate::text::Text;

/// How a host names the person to erase: by a contact's id, or by keys. A contact with one of them is meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PersonQuery {
    /// The id of the contact.
    pub id: Option<ContactId>,
    /// The external id.
    pub external_id: Option<Text>,
    /// The phone, as it is read from text.
    pub phone: Option<PhoneNumber>,
    /// The email. Emails are compared by their key.
    pub email: Option<Email>,
}

impl PersonQuery {
    /// Returns a query with every meaning that the text can have: an id, an external id, a phone with `+`, an email.
    ///
    /// ```
    /// use enroll::erase::PersonQuery;
    ///
    /// let query = PersonQuery::any("+1 (202) 555-0123");
    /// assert_eq!(query.phone.unwrap().as_str(), "+12025550123");
    /// assert_eq!(query.email, None);
    /// ```
    #[must_use]
    pub fn any(text: &str) -> Self {
        let text = text.trim();
        Self {
            id: text.parse().ok(),
            external_id: (!text.is_empty()).then(|| text.into()),
            phone: PhoneNumber::parse(text, None).ok(),
            email: Email::parse(text).ok(),
        }
    }

    /// Returns the key of a kind.
    #[must_use]
    pub fn key(&self, kind: KeyKind) -> Option<&str> {
        match kind {
            KeyKind::ExternalId => self.external_id.as_deref(),
            KeyKind::Phone => self.phone.as_ref().map(PhoneNumber::as_str),
            KeyKind::Email => self.email.as_ref().map(Email::key),
        }
    }
}

/// The person to erase, as a repository found it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    contact_id: Option<ContactId>,
    keys: ContactKeys,
}

impl Person {
    /// Creates a person from the contact, if one exists, and from the keys of the contact and of the query that belong to
    /// no other contact.
    #[must_use]
    pub fn new(contact_id: Option<ContactId>, keys: ContactKeys) -> Self {
        Self { contact_id, keys }
    }

    /// Returns the id of the contact, if one exists.
    #[must_use]
    pub fn contact_id(&self) -> Option<ContactId> {
        self.contact_id
    }

    /// Removes the person from a stored command. Returns the command and the number of removed recipients, or `None` if
    /// the person is not in it.
    ///
    /// # Errors
    /// [`EraseError::Unreadable`] if this build cannot read the command.
    pub fn erase_from_json(
        &self,
        enrollment_id: EnrollmentId,
        json: &[u8],
    ) -> Result<Option<(EnrollmentCommand, usize)>, EraseError> {
        let Ok(StoredCommand::Known(mut command)) = StoredCommand::from_json(json) else {
            return Err(EraseError::Unreadable(enrollment_id));
        };
        let removed = command.erase(&self.keys);
        Ok((removed > 0).then_some((*command, removed)))
    }

    /// Removes the person from outcomes. Returns the number of outcomes that changed.
    ///
    /// An outcome of the person keeps its index, its disposition and the codes of its reasons and notes, so that the counts
    /// of the report stay true. It loses all ids, and the values that its notes quote. In the outcomes of other people, the
    /// nil id replaces the id of the person.
    pub fn erase_from_outcomes(&self, outcomes: &mut [Outcome]) -> usize {
        let Some(contact_id) = self.contact_id else { return 0 };
        outcomes.iter_mut().filter_map(|outcome| erase_from_outcome(outcome, contact_id).then_some(())).count()
    }
}

fn erase_from_outcome(outcome: &mut Outcome, erased: ContactId) -> bool {
    let nil = ContactId::from_uuid(Uuid::nil());
    let is_own = outcome.contact_id == Some(erased);
    if is_own {
        outcome.contact_id = None;
        outcome.step_contact_id = None;
        outcome.conversation_id = None;
        outcome.record_id = None;
    }
    let mut changed = is_own;
    let mut replace = |id: &mut ContactId| {
        if *id == erased {
            *id = nil;
            changed = true;
        }
    };
    for reason in &mut outcome.reasons {
        match reason {
            Reason::IdentityConflict { contact_id, .. } | Reason::AddressTaken { contact_id, .. } => {
                replace(contact_id);
            }
            Reason::ActiveInOtherStep { step_contact_id, .. } | Reason::PendingInOtherStep { step_contact_id, .. }
                if is_own =>
            {
                *step_contact_id = StepContactId::from_uuid(Uuid::nil());
            }
            _ => {}
        }
    }
    for note in &mut outcome.notes {
        match note {
            Note::IdentityConflict { contact_id, .. } | Note::KeyTaken { contact_id, .. } => replace(contact_id),
            Note::CustomDataInvalid { faults, more } if is_own => {
                *more += faults.len();
                faults.clear();
            }
            _ => {}
        }
    }
    changed
}

/// Whether an erasure is real.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EraseMode {
    /// Counts what would be removed. Writes nothing.
    Preview,
    /// Removes it.
    Confirmed,
}

/// The number of rows that an erasure removed, and of stored texts from which it removed the person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Erased {
    /// Contacts: one, or none if the person is only in stored requests.
    pub contacts: u64,
    /// Opt-ins and opt-outs. A later request can enroll the person again.
    pub communication_preferences: u64,
    /// Conversations.
    pub conversations: u64,
    /// Runs.
    pub runs: u64,
    /// Step contacts.
    pub step_contacts: u64,
    /// Tags of the contact.
    pub contact_tags: u64,
    /// Custom records of the contact and of its step contacts.
    pub custom_records: u64,
    /// Recipients of requests that wait, or failed.
    pub recipients: u64,
    /// Outcomes in reports.
    pub outcomes: u64,
}

/// Why nothing was erased.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EraseError {
    /// No contact has the id or one of the keys, and no stored request has one of the keys.
    #[error("no contact and no stored request has this id, phone, email or external id")]
    NotFound,
    /// Several contacts have the id or one of the keys.
    #[error("{} contacts match: {}; erase each one by its id", .0.len(), list(.0))]
    Several(Vec<(ContactId, ContactState)>),
    /// This build cannot read the command of an enrollment, so it does not know whether the person is in it.
    #[error(
        "the command of enrollment `{0}` cannot be read by this build; erase with the build that accepted it, or delete the enrollment"
    )]
    Unreadable(EnrollmentId),
    /// The repository failed. Nothing was erased, unless the storage became unavailable during the commit.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

fn list(contacts: &[(ContactId, ContactState)]) -> String {
    let names = contacts.iter().map(|(id, state)| format!("`{id}` ({state})"));
    names.collect::<Vec<_>>().join(", ")
}
