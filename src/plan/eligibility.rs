//! spec 4.2: the address that the step needs.

use super::key_index::WorkingContact;
use crate::command::{Checked, CheckedRecipient};
use crate::contact::KeyKind;
use crate::model::ChannelKind;
use crate::policy::{AddressSource, EnrollmentPolicy};
use crate::report::{Note, Reason};

/// The result of the check: a reason if the recipient is not eligible, and notes about dropped addresses.
pub(super) struct Eligibility {
    pub(super) reason: Option<Reason>,
    pub(super) notes: Vec<Note>,
}

/// Returns the key that a contact needs for a step of a kind.
pub(super) fn required_key(kind: ChannelKind) -> KeyKind {
    if kind.is_phone() { KeyKind::Phone } else { KeyKind::Email }
}

/// Checks the addresses of an entry. Under `EntryThenContact`, an address of the contact that was found also counts.
pub(super) fn check(
    recipient: &CheckedRecipient,
    kind: ChannelKind,
    policy: &EnrollmentPolicy,
    found: Option<&WorkingContact<'_>>,
) -> Eligibility {
    let required = required_key(kind);
    let contact_has_address = policy.address_source == AddressSource::EntryThenContact
        && found.is_some_and(|contact| contact.key(required).is_some());
    let entry_must_have = |key| key == required && !contact_has_address;
    let (mut reason, mut notes) = (None, Vec::new());
    match recipient.phone {
        Checked::Absent if entry_must_have(KeyKind::Phone) => reason = Some(Reason::MissingPhone),
        Checked::Invalid(fault) if entry_must_have(KeyKind::Phone) => reason = Some(Reason::InvalidPhone { fault }),
        Checked::Invalid(fault) => notes.push(Note::PhoneDropped { fault }),
        _ => {}
    }
    match recipient.email {
        Checked::Absent if entry_must_have(KeyKind::Email) => reason = Some(Reason::MissingEmail),
        Checked::Invalid(fault) if entry_must_have(KeyKind::Email) => reason = Some(Reason::InvalidEmail { fault }),
        Checked::Invalid(fault) => notes.push(Note::EmailDropped { fault }),
        _ => {}
    }
    Eligibility { reason, notes }
}
