//! The faults of a refused request (spec 3).

pub(crate) mod rejection;

pub(crate) use rejection::Rejection;

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

use crate::text::cut;

/// One fault of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Fault {
    /// A description for people: what failed, which value, and what to do.
    pub description: String,
    /// The code, for programs.
    pub code: FaultCode,
    /// The place: a JSON Pointer into the body. It is `""` for the body itself and for the sequence.
    pub path: String,
}

impl Fault {
    pub(crate) fn new(code: FaultCode, path: impl Into<String>, description: impl Into<String>) -> Self {
        Self { description: description.into(), code, path: path.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.description)
    }
}

macro_rules! codes {
    ($($variant:ident = $code:literal, $status:literal, $meaning:literal;)*) => {
        /// The code of a fault. Each code is stable and has an HTTP status.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[non_exhaustive]
        pub enum FaultCode {
            $(#[doc = $meaning] $variant,)*
        }

        impl FaultCode {
            /// All codes, in the order of spec section 3.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the stable code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// Returns the HTTP status: 404, 409 or 422.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            /// Returns the meaning of the code.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $meaning,)* }
            }
        }
    };
}

codes! {
    InvalidType = "invalid_type", 422, "The body is not JSON or no object, a field has the wrong JSON type, or a uuid is malformed.";
    InvalidCharacter = "invalid_character", 422, "A string or a key contains U+0000 or half a surrogate pair.";
    Required = "required", 422, "A required field is absent.";
    TooFew = "too_few", 422, "`to` is empty.";
    TooMany = "too_many", 422, "`to` has more than 4000 entries.";
    TooLong = "too_long", 422, "A name, the name that several fields make, or an email has more than 255 characters.";
    InvalidDate = "invalid_date", 422, "There is no such birth date, or its year is before 1900 or in the future.";
    InvalidDateTime = "invalid_date_time", 422, "`schedule_at` is not RFC 3339 with an offset, in 1970 to 9999.";
    InvalidResource = "invalid_resource", 422, "`resource` is neither `contact` nor `step_contact`.";
    SequenceNotFound = "sequence_not_found", 404, "The organization has no such sequence.";
    SequenceNotActive = "sequence_not_active", 422, "The sequence is a draft or archived.";
    SequenceHasNoSteps = "sequence_has_no_steps", 422, "The sequence has no steps.";
    StepNotFound = "step_not_found", 422, "The sequence has no such step.";
    ChannelNotFound = "channel_not_found", 422, "The organization has no such channel.";
    ChannelAmbiguous = "channel_ambiguous", 422, "A phone without `+` names channels with different addresses.";
    ChannelDisabled = "channel_disabled", 422, "The channel is disabled.";
    ChannelKindMismatch = "channel_kind_mismatch", 422, "The channel is of another kind than the step.";
    CustomObjectNotFound = "custom_object_not_found", 422, "The organization has no such custom object.";
    CallFlowNotFound = "call_flow_not_found", 422, "The organization has no such call flow.";
    IdempotencyConflict = "idempotency_conflict", 409, "The idempotency key or the enrollment id was used for another request.";
    InvalidIdempotencyKey = "invalid_idempotency_key", 422, "The idempotency key is not 1 to 255 visible ASCII characters.";
    UnknownKey = "unknown_key", 422, "No field has this key, and the policy refuses unknown keys.";
}

impl fmt::Display for FaultCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// A place in a body. It lives on the stack and becomes text only for a fault.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Path<'p> {
    Root,
    Member(&'p Path<'p>, &'p str),
    Item(&'p Path<'p>, usize),
}

impl<'p> Path<'p> {
    pub(crate) const fn member(&'p self, key: &'p str) -> Self {
        Self::Member(self, key)
    }

    pub(crate) const fn item(&'p self, index: usize) -> Self {
        Self::Item(self, index)
    }

    /// Returns the path as a JSON Pointer. A long key at its end is cut.
    pub(crate) fn cut_pointer(&self) -> String {
        match self {
            Self::Member(parent, key) => Path::Member(parent, &cut(key)).pointer(),
            path => path.pointer(),
        }
    }

    /// Returns the path as a JSON Pointer (RFC 6901).
    pub(crate) fn pointer(&self) -> String {
        match self {
            Self::Root => String::new(),
            Self::Member(parent, key) => format!("{}/{}", parent.pointer(), escaped(key)),
            Self::Item(parent, index) => format!("{}/{index}", parent.pointer()),
        }
    }
}

fn escaped(key: &str) -> Cow<'_, str> {
    if key.contains(['~', '/']) { Cow::Owned(key.replace('~', "~0").replace('/', "~1")) } else { Cow::Borrowed(key) }
}
