//! The body of a request, and its entries.

use super::{CustomData, Fingerprint, VoiceOptions, WireAddress, WireBirthDate, fingerprint, owned, read};
use serde::Serialize;
use std::borrow::Cow;

use crate::fault::Fault;
use crate::ids::{ChannelId, CustomObjectId, StepId};
use crate::report::UnknownKeyPaths;
use crate::text::non_blank;
use crate::time::Timestamp;
use crate::value::Properties;

/// A request to add contacts to a step of a sequence, as sent.
///
/// Text is kept as sent and borrows from the body. A host reads a request with [`from_json`](Self::from_json), or
/// builds it in code:
///
/// ```
/// use enroll::{EnrollmentRequest, Recipient};
///
/// let mut ann = Recipient::new("+1 202 555 0123");
/// ann.email = Some("ann@example.com".into());
/// let request = EnrollmentRequest::new([ann, Recipient::new("+1 202 555 0187")]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[cfg_attr(
    feature = "schema",
    derive(utoipa::ToSchema),
    schema(description = "A request to add contacts to a step of a sequence.")
)]
#[non_exhaustive]
pub struct EnrollmentRequest<'a> {
    /// The recipients: 1 to 4000.
    #[cfg_attr(feature = "schema", schema(min_items = 1, max_items = 4000))]
    pub to: Vec<Recipient<'a>>,
    /// The phone or email of a channel of the organization. If it is absent, the step's own channel is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Cow<'a, str>>,
    /// The step of the sequence. If it is absent, the first step is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_id: Option<StepId>,
    /// The instant at which the step contacts become active. If it is past or absent, they are active at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule_at: Option<Timestamp>,
    /// The custom object that the `properties` of each entry are for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom_data: Option<CustomData>,
    /// The options for inbound calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice_options: Option<VoiceOptions>,
    /// The id of the custom object, also if `custom_data` has a fault elsewhere.
    #[serde(skip)]
    pub(crate) named_object: Option<CustomObjectId>,
    /// The keys of the body that no field has.
    #[serde(skip)]
    pub(crate) unknown_keys: UnknownKeyPaths,
    /// The faults of the body.
    #[serde(skip)]
    pub(crate) faults: Vec<Fault>,
    /// The body as sent. Faults are reported in the order of its fields.
    #[serde(skip)]
    pub(crate) body: Option<Cow<'a, str>>,
}

impl<'a> EnrollmentRequest<'a> {
    /// Creates a request with these recipients and no options.
    #[must_use]
    pub fn new(to: impl IntoIterator<Item = Recipient<'a>>) -> Self {
        Self { to: to.into_iter().collect(), ..Self::default() }
    }

    /// Reads a body. It never fails: the request keeps the faults of the body, and
    /// [`EnrollmentCommand::check`](crate::EnrollmentCommand::check) reports them with all other faults (spec 3).
    #[must_use]
    pub fn from_json(body: &'a [u8]) -> Self {
        read::request(body)
    }

    /// Returns the SHA-256 of the sequence id and the request as read (spec 6), or `None` if the body has faults.
    ///
    /// The engine recognizes a repeated request by it.
    #[must_use]
    pub fn fingerprint(&self, sequence_id: crate::ids::SequenceId) -> Option<Fingerprint> {
        self.faults.is_empty().then(|| fingerprint::compute(sequence_id, self))
    }

    /// Returns the id of the custom object that the request refers to.
    pub(crate) fn custom_object_id(&self) -> Option<CustomObjectId> {
        self.custom_data.map(|data| data.custom_object_id).or(self.named_object)
    }

    /// Returns the same request with its own copy of the text.
    ///
    /// Its faults are then reported in the documented order of fields, since the body is dropped.
    #[must_use]
    pub fn into_owned(self) -> EnrollmentRequest<'static> {
        EnrollmentRequest {
            to: self.to.into_iter().map(Recipient::into_owned).collect(),
            from: self.from.map(owned),
            step_id: self.step_id,
            schedule_at: self.schedule_at,
            custom_data: self.custom_data,
            voice_options: self.voice_options,
            named_object: self.named_object,
            unknown_keys: self.unknown_keys,
            faults: self.faults,
            body: None,
        }
    }
}

impl<'a> Recipient<'a> {
    /// Creates a recipient with a phone number only.
    #[must_use]
    pub fn new(phone: impl Into<Cow<'a, str>>) -> Self {
        Self { phone: Some(phone.into()), ..Self::default() }
    }

    /// Returns the name, trimmed. If it is blank, returns the first and the last name, joined by a space.
    #[inline]
    pub(crate) fn full_name(&self) -> Option<Cow<'_, str>> {
        if let Some(name) = non_blank(self.name.as_ref()) {
            return Some(Cow::Borrowed(name));
        }
        match (non_blank(self.first_name.as_ref()), non_blank(self.last_name.as_ref())) {
            (Some(first), Some(last)) => Some(Cow::Owned(format!("{first} {last}"))),
            (first, last) => first.or(last).map(Cow::Borrowed),
        }
    }
}

macro_rules! recipient {
    ($($(#[$doc:meta])* $text:ident $(= $tag:literal)?,)*) => {
        /// One entry of `to`: a recipient, as the sender wrote it.
        #[derive(Clone, Debug, Default, PartialEq, Serialize)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        #[non_exhaustive]
        pub struct Recipient<'a> {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $text: Option<Cow<'a, str>>,)*
            /// The channel that the host uses for the contact by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub default_channel_id: Option<ChannelId>,
            /// The postal address.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub address: Option<Box<WireAddress<'a>>>,
            /// The birth date.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub birth_date: Option<WireBirthDate>,
            /// The values of the custom object that `custom_data` names.
            #[serde(skip_serializing_if = "Properties::is_empty")]
            #[cfg_attr(feature = "schema", schema(value_type = Option<Object>))]
            pub properties: Properties,
        }

        impl<'a> Recipient<'a> {
            /// The names of the fields that are text.
            pub const TEXTS: [&'static str; [$(stringify!($text)),*].len()] = [$(stringify!($text)),*];

            /// Returns the text field with this name in JSON, or `None` if no text field has it.
            ///
            /// ```
            /// let mut recipient = enroll::Recipient::new("+12025550123");
            /// *recipient.text_mut("name").unwrap() = Some("Ann".into());
            /// assert_eq!(recipient.name.as_deref(), Some("Ann"));
            /// assert!(recipient.text_mut("address").is_none());
            /// ```
            pub fn text_mut(&mut self, name: &str) -> Option<&mut Option<Cow<'a, str>>> {
                $(if name == stringify!($text) {
                    return Some(&mut self.$text);
                })*
                None
            }

            /// Returns the text fields with their names.
            pub(crate) fn texts(&self) -> [(&'static str, Option<&Cow<'a, str>>); [$(stringify!($text)),*].len()] {
                [$((stringify!($text), self.$text.as_ref())),*]
            }

            /// Returns the text fields that have a tag in the fingerprint, in the order of their tags.
            pub(super) fn tagged_texts(&self) -> impl Iterator<Item = (u8, Option<&Cow<'a, str>>)> {
                [$($(($tag, self.$text.as_ref()),)?)*].into_iter()
            }

            /// Returns the same entry with its own copy of the text.
            #[must_use]
            pub fn into_owned(self) -> Recipient<'static> {
                Recipient {
                    $($text: self.$text.map(owned),)*
                    default_channel_id: self.default_channel_id,
                    address: self.address.map(|address| Box::new(address.into_owned())),
                    birth_date: self.birth_date,
                    properties: self.properties,
                }
            }
        }
    };
}

// A byte is the tag of a field in the fingerprint (spec 6). Fields without one have rules there.
recipient! {
    /// The phone number in any spelling. A number without `+` is read in the default region (spec 4.1).
    #[cfg_attr(feature = "schema", schema(required = true, nullable = false))]
    phone,
    /// The email address, with at most 255 characters.
    #[cfg_attr(feature = "schema", schema(max_length = 255))]
    email = b'k',
    /// The full name, with at most 255 characters.
    #[cfg_attr(feature = "schema", schema(max_length = 255))]
    name,
    /// The given name, with at most 255 characters. It makes the full name if `name` is blank.
    #[cfg_attr(feature = "schema", schema(max_length = 255))]
    first_name,
    /// The family name, with at most 255 characters. It makes the full name if `name` is blank.
    #[cfg_attr(feature = "schema", schema(max_length = 255))]
    last_name,
    /// The host's own id of the contact. It is case-sensitive.
    external_id = b'l',
    /// The language, in the host's own form.
    language = b'm',
}
