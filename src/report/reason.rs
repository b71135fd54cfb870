//! Reasons and notes: why a recipient was ignored, and what a caller should know about it.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::contact::{EmailError, KeyKind, PhoneError};
use crate::ids::{ChannelId, ContactId, StepContactId, StepId};
use crate::model::PropertyKind;
use crate::text::cut;
use crate::value::Value;

macro_rules! coded {
    ($(#[$doc:meta])* $name:ident: $what:literal {
        $($(#[$variant_doc:meta])* $variant:ident $({ $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? })? = $code:literal, $meaning:literal;)*
    }) => {
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(tag = "code", rename_all = "snake_case")]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        $(#[$doc])*
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* #[doc = $meaning] $variant $({ $($(#[$field_doc])* $field: $type),* })?,)*
        }

        impl $name {
            #[doc = concat!("Every code of a ", $what, " with what it means, in the order of spec 4.")]
            pub const CODES: &'static [(&'static str, &'static str)] = &[$(($code, $meaning)),*];

            #[doc = concat!("The stable code of the ", $what, ".")]
            #[must_use]
            pub const fn code(&self) -> &'static str {
                match self {
                    $(Self::$variant $({ $($field: _),* })? => $code,)*
                }
            }
        }
    };
}

coded! {
    /// Why a recipient was ignored.
    ///
    /// It serializes as `{"code": "...", ...}` and displays as text.
    #[cfg_attr(feature = "schema", schema(description = "Why a recipient was ignored: a stable code, with its parameters."))]
    Reason: "reason" {
        MissingPhone = "missing_phone", "The step needs a phone number, and the recipient brings none.";
        InvalidPhone {
            /// What is wrong with it.
            fault: PhoneError,
        } = "invalid_phone", "The step needs a phone number, and the recipient's is not valid.";
        MissingEmail = "missing_email", "The step needs an email address, and the recipient brings none.";
        InvalidEmail {
            /// What is wrong with it.
            fault: EmailError,
        } = "invalid_email", "The step needs an email address, and the recipient's is not valid.";
        IdentityConflict {
            /// The key that names another contact.
            key: KeyKind,
            /// The contact that holds it.
            contact_id: ContactId,
        } = "identity_conflict", "The recipient's keys name different contacts, and the policy refuses that.";
        AddressTaken {
            /// The address, as a key.
            key: KeyKind,
            /// The contact that holds it.
            contact_id: ContactId,
        } = "address_taken", "The contact lacks the address that the step needs, and the recipient's belongs to another contact.";
        Blocked = "blocked", "The contact is blocked.";
        OptedOut {
            /// The channel used.
            channel_id: ChannelId,
        } = "opted_out", "The contact opted out of the channel.";
        ActiveInOtherStep {
            /// The other step.
            step_id: StepId,
            /// The contact's step contact there.
            step_contact_id: StepContactId,
        } = "active_in_other_step", "The contact is active in another step of the sequence.";
        PendingInOtherStep {
            /// The other step.
            step_id: StepId,
            /// The contact's step contact there.
            step_contact_id: StepContactId,
        } = "pending_in_other_step", "The contact is pending in another step of the sequence.";
        ReAddExcluded = "re_add_excluded", "The contact was in the sequence before, and the sequence adds no contact again.";
        MaxRunsReached {
            /// The contact's runs in the sequence.
            runs: usize,
            /// How many it may have.
            max_runs: u32,
        } = "max_runs_reached", "The contact has had all the runs that the sequence allows.";
        MaxAddsReached {
            /// The contact's adds within the period.
            adds: usize,
            /// How many it may have.
            count: u32,
            /// The length of the period.
            seconds: u64,
        } = "max_adds_reached", "The contact has had all the adds that the sequence allows within its period.";
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingPhone => f.write_str("has no phone number, which the step needs"),
            Self::InvalidPhone { fault } => write!(f, "phone number is not valid: {fault}"),
            Self::MissingEmail => f.write_str("has no email address, which the step needs"),
            Self::InvalidEmail { fault } => write!(f, "email address is not valid: {fault}"),
            Self::IdentityConflict { key, contact_id } => {
                write!(f, "{key} belongs to another contact, `{contact_id}`")
            }
            Self::AddressTaken { key, contact_id } => {
                write!(f, "would have no {key}: the given one belongs to contact `{contact_id}`")
            }
            Self::Blocked => f.write_str("is blocked"),
            Self::OptedOut { channel_id } => write!(f, "opted out of channel `{channel_id}`"),
            Self::ActiveInOtherStep { step_id, .. } => {
                write!(f, "is active in another step, `{step_id}`")
            }
            Self::PendingInOtherStep { step_id, .. } => {
                write!(f, "is pending in another step, `{step_id}`")
            }
            Self::ReAddExcluded => f.write_str("was in the sequence before, and the sequence adds no contact again"),
            Self::MaxRunsReached { runs, max_runs } => {
                write!(f, "has had {runs} of at most {max_runs} runs")
            }
            Self::MaxAddsReached { adds, count, seconds } => {
                write!(f, "was added {adds} of at most {count} times within {seconds} s")
            }
        }
    }
}

coded! {
    /// A fact that the sender should know about a recipient, with any disposition.
    ///
    /// It serializes as `{"code": "...", ...}` and displays as text.
    #[cfg_attr(feature = "schema", schema(description = "A fact that the sender should know about a recipient: a stable code, with its parameters."))]
    Note: "note" {
        DefaultChannelUnknown {
            /// The id that was given.
            channel_id: ChannelId,
        } = "default_channel_unknown", "The organization does not have the default channel; it was left out.";
        PhoneDropped {
            /// What is wrong with it.
            fault: PhoneError,
        } = "phone_dropped", "The phone number is not valid; the step does not need it, and it was left out.";
        EmailDropped {
            /// What is wrong with it.
            fault: EmailError,
        } = "email_dropped", "The email address is not valid; the step does not need it, and it was left out.";
        IdentityConflict {
            /// The key that names another contact.
            key: KeyKind,
            /// The contact that holds it.
            contact_id: ContactId,
        } = "identity_conflict", "A key belongs to another contact and stayed there.";
        KeyTaken {
            /// The key that was left out.
            key: KeyKind,
            /// The contact that holds it now.
            contact_id: ContactId,
            /// The recipient that brought it there.
            recipient: usize,
        } = "key_taken", "An earlier recipient of the request brought this key to another contact; it was left out.";
        KeyMismatch {
            /// The key that differs.
            key: KeyKind,
        } = "key_mismatch", "A key differs from the one that the contact has; only the policy `overwrite` replaces it.";
        CustomDataInvalid {
            /// The first faulty keys, in order.
            faults: Vec<PropertyFault>,
            /// The number of faulty keys that are not listed.
            #[serde(default, skip_serializing_if = "is_zero")]
            more: usize,
        } = "custom_data_invalid", "The custom data does not fit the custom object; no record was written.";
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DefaultChannelUnknown { channel_id } => {
                write!(f, "default channel `{channel_id}` is unknown, left out")
            }
            Self::PhoneDropped { fault } => write!(f, "phone number left out: {fault}"),
            Self::EmailDropped { fault } => write!(f, "email address left out: {fault}"),
            Self::IdentityConflict { key, contact_id } => {
                write!(f, "{key} belongs to another contact, `{contact_id}`, and stayed there")
            }
            Self::KeyTaken { key, recipient, .. } => {
                write!(f, "{key} left out: recipient {recipient} brought it to another contact")
            }
            Self::KeyMismatch { key } => write!(f, "{key} differs from the contact's own"),
            // The keys of a person who was erased are not listed.
            Self::CustomDataInvalid { faults, more } if faults.is_empty() => {
                write!(f, "custom data left out: {more} keys do not fit")
            }
            Self::CustomDataInvalid { faults, more } => {
                f.write_str("custom data left out: ")?;
                for (n, fault) in faults.iter().enumerate() {
                    write!(f, "{}{fault}", if n == 0 { "" } else { "; " })?;
                }
                if *more == 0 { Ok(()) } else { write!(f, "; and {more} more keys") }
            }
        }
    }
}

/// A key of custom data that does not fit.
///
/// Its texts are cut at 64 characters, so that the size of a report is bounded by the number of recipients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(utoipa::ToSchema),
    schema(description = "A key of custom data that does not fit.")
)]
#[non_exhaustive]
pub struct PropertyFault {
    /// The key.
    pub key: String,
    /// What is wrong with it.
    pub problem: PropertyProblem,
    /// The value given, as JSON. Absent if the recipient does not have the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub given: Option<String>,
    /// The type of the property. Absent if the object has no such property.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub wanted: Option<PropertyKind>,
}

impl PropertyFault {
    /// The number of faulty keys that a note lists.
    pub const MAX_LISTED: usize = 10;

    /// Creates a fault of a key.
    #[must_use]
    pub fn new(key: &str, problem: PropertyProblem, given: Option<&Value>, wanted: Option<PropertyKind>) -> Self {
        // A `Value` has no part that JSON cannot have.
        let json = |value: &Value| serde_json::to_string(value).unwrap_or_default();
        Self { key: cut(key), problem, given: given.map(|value| cut(&json(value))), wanted }
    }
}

impl fmt::Display for PropertyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.key, self.problem)?;
        match (&self.given, self.wanted) {
            (Some(given), Some(wanted)) => write!(f, " (given `{given}`, wanted {wanted})"),
            (Some(given), None) => write!(f, " (given `{given}`)"),
            (None, Some(wanted)) => write!(f, " (wanted {wanted})"),
            (None, None) => Ok(()),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What is wrong with a key of custom data (spec 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum PropertyProblem {
    /// The object has no such property.
    #[error("is not a property of the object")]
    UnknownKey,
    /// The value is not of the property's type.
    #[error("is of the wrong type")]
    WrongType,
    /// A required property cannot be cleared.
    #[error("is required and cannot be cleared")]
    NullForRequired,
    /// A required property has no value and no default.
    #[error("is required and missing")]
    MissingRequired,
}
