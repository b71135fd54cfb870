//! The OpenAPI schemas of shapes that the engine reads and writes.
#![expect(dead_code, reason = "only their schemas are used")]

use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, IntoResponses, ToSchema};
use uuid::Uuid;

use super::errors::ErrorBody;

/// The errors that each route with an API key can return.
#[derive(IntoResponses)]
pub(crate) enum CommonErrors {
    #[response(status = 400, description = "The request is not valid HTTP, or its body ended early")]
    Malformed(ErrorBody),
    #[response(status = 401, description = "The API key is missing, unknown, expired or revoked, or there are two")]
    NotAuthenticated(ErrorBody),
    #[response(status = 414, description = "The path and the query have more than 8 KiB")]
    UriTooLong(ErrorBody),
    #[response(status = 422, description = "The request is invalid; the body lists all problems")]
    Invalid(ErrorBody),
    #[response(status = 431, description = "The headers are too large or too many")]
    HeadersTooLarge(ErrorBody),
    #[response(status = 500, description = "Internal error")]
    Failed(ErrorBody),
    #[response(status = 503, description = "Temporarily unavailable; try again after `Retry-After` seconds")]
    Unavailable(ErrorBody),
}

/// The error of a route that counts for a rate limit.
#[derive(IntoResponses)]
#[response(
    status = 429,
    description = "Too many writes or previews per minute",
    headers(
        ("Retry-After" = u32, description = "In seconds"),
        ("X-RateLimit-Remaining-Interval-Milliseconds" = u64, description = "The same in milliseconds"),
    )
)]
pub(crate) struct RateLimited(ErrorBody);

/// The part of a list to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PaginationDoc {
    /// The number of entries to return; default 50
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// The number of entries to skip; default 0
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    offset: Option<u32>,
}

/// The page of a list to return.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CursorDoc {
    /// The `next_cursor` of the page before, with the same filters. Not together with `offset`
    #[param(pattern = r"^[A-Za-z0-9_-]*$")]
    cursor: Option<String>,
}

/// The runs of a list. A run is listed if it meets all conditions.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunFilterDoc {
    /// Only runs of this contact
    contact_id: Option<Uuid>,
    /// Only runs of the contact with this phone, as in a request to enroll people, or exactly as stored
    #[param(pattern = r"^[^\x00]*$")]
    phone: Option<String>,
    /// Only runs with a step contact on this channel
    channel_id: Option<Uuid>,
    /// Only runs with one of these statuses. Separate them with commas, or repeat the parameter
    #[param(inline)]
    status: Option<Vec<RunStatusDoc>>,
    /// Only runs that started at this instant or earlier: RFC 3339, such as `2026-02-01T15:00:00Z`
    #[param(format = DateTime)]
    before: Option<String>,
    /// Only runs that started at this instant or later
    #[param(format = DateTime)]
    after: Option<String>,
}

/// A request to enroll people.
#[derive(ToSchema)]
#[schema(as = EnrollmentRequest)]
pub(crate) struct RequestDoc {
    /// The people.
    #[schema(min_items = 1, max_items = 4000)]
    to: Vec<RecipientDoc>,
    /// The phone or email of the channel to use.
    from: Option<String>,
    /// The step; default: the first one.
    step_id: Option<Uuid>,
    /// When to activate the people; default: at once.
    #[schema(format = DateTime)]
    schedule_at: Option<String>,
    /// The custom object with the properties in `properties`.
    custom_data: Option<CustomDataDoc>,
    voice_options: Option<VoiceOptionsDoc>,
}

/// One person.
#[derive(ToSchema)]
#[schema(as = Recipient)]
pub(crate) struct RecipientDoc {
    phone: String,
    #[schema(max_length = 255)]
    email: Option<String>,
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Makes the name, together with `last_name`, if `name` is blank.
    #[schema(max_length = 255)]
    first_name: Option<String>,
    #[schema(max_length = 255)]
    last_name: Option<String>,
    /// The sender's own id of the contact.
    external_id: Option<String>,
    language: Option<String>,
    default_channel_id: Option<Uuid>,
    address: Option<AddressDoc>,
    birth_date: Option<BirthDateDoc>,
    /// Values of the custom object.
    properties: Option<BTreeMap<String, Value>>,
}

/// An address. `postal_code` is accepted as another name of `post_code`.
#[derive(ToSchema)]
#[schema(as = Address)]
pub(crate) struct AddressDoc {
    address_line_one: Option<String>,
    address_line_two: Option<String>,
    city: Option<String>,
    state: Option<String>,
    post_code: Option<String>,
    country: Option<String>,
}

/// A birth date, or the known parts of it.
#[derive(ToSchema)]
#[schema(as = BirthDate)]
pub(crate) struct BirthDateDoc {
    #[schema(minimum = 1, maximum = 31)]
    day: Option<i32>,
    #[schema(minimum = 1, maximum = 12)]
    month: Option<i32>,
    /// In a request: from 1900 to the year of the request.
    #[schema(minimum = 1, maximum = 9999)]
    year: Option<i32>,
}

#[derive(ToSchema)]
#[schema(as = CustomData)]
pub(crate) struct CustomDataDoc {
    custom_object_id: Uuid,
    resource: ResourceDoc,
}

/// What each custom record belongs to.
#[derive(ToSchema)]
#[schema(as = Resource, rename_all = "snake_case")]
pub(crate) enum ResourceDoc {
    Contact,
    StepContact,
}

#[derive(ToSchema)]
#[schema(as = VoiceOptions)]
pub(crate) struct VoiceOptionsDoc {
    /// The call flow that answers inbound calls.
    default_call_flow_id: Uuid,
}

/// A property of a custom object.
#[derive(ToSchema)]
#[schema(as = Property)]
pub(crate) struct PropertyDoc {
    /// Its key in `properties` of a recipient.
    key: String,
    r#type: PropertyTypeDoc,
    required: bool,
    /// The value if a recipient has none.
    #[schema(required = false)]
    default: Value,
}

#[derive(ToSchema)]
#[schema(as = PropertyType, rename_all = "snake_case")]
pub(crate) enum PropertyTypeDoc {
    Text,
    Number,
    Float,
    Boolean,
    Date,
    List,
    Map,
}

/// The report of an enrollment.
#[derive(ToSchema)]
#[schema(as = EnrollmentReport)]
pub(crate) struct ReportDoc {
    /// The version of this format: 1.
    v: u8,
    enrollment_id: Uuid,
    #[schema(format = DateTime)]
    at: String,
    sequence_id: Uuid,
    step_id: Uuid,
    #[schema(nullable = false)]
    channel_id: Option<Uuid>,
    #[schema(nullable = false)]
    upload_tag: Option<UploadTagDoc>,
    /// The keys that `properties` may have. Present if the request has custom data.
    #[schema(nullable = false)]
    accepted_keys: Option<Vec<String>>,
    /// What is not used of the request. Present if there is any.
    #[schema(nullable = false)]
    warnings: Option<Vec<WarningDoc>>,
    outcomes: Vec<OutcomeDoc>,
    counts: CountsDoc,
    /// Present if the same request was completed before.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

/// The number of recipients with each outcome.
#[derive(ToSchema)]
#[schema(as = Counts)]
pub(crate) struct CountsDoc {
    added: usize,
    re_added: usize,
    reprocessed: usize,
    ignored: usize,
    duplicate: usize,
    contacts_created: usize,
    conversations_created: usize,
}

/// The tag of the enrolled contacts.
#[derive(ToSchema)]
#[schema(as = UploadTag)]
pub(crate) struct UploadTagDoc {
    id: Uuid,
    name: String,
}

/// The outcome of one recipient.
#[derive(ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeDoc {
    /// Its index in `to`, from 0.
    index: usize,
    disposition: DispositionDoc,
    contact_id: Option<Uuid>,
    contact_created: bool,
    step_contact_id: Option<Uuid>,
    conversation_id: Option<Uuid>,
    conversation_created: bool,
    record_id: Option<Uuid>,
    /// All reasons why it was ignored.
    #[schema(nullable = false)]
    reasons: Option<Vec<CodedDoc>>,
    /// Notes that did not prevent the enrollment.
    #[schema(nullable = false)]
    notes: Option<Vec<CodedDoc>>,
    /// The index of the first recipient with the same contact.
    duplicate_of: Option<usize>,
    /// The addresses as the service read them. Present in a preview.
    #[schema(nullable = false)]
    read_as: Option<ReadAsDoc>,
}

/// The valid addresses of a recipient as the service read them.
#[derive(ToSchema)]
#[schema(as = ReadAs)]
pub(crate) struct ReadAsDoc {
    /// In E.164.
    #[schema(nullable = false)]
    phone: Option<String>,
    #[schema(nullable = false)]
    email: Option<String>,
}

/// A part of the request that is not used.
#[derive(ToSchema)]
#[schema(as = Warning)]
pub(crate) struct WarningDoc {
    code: WarningCodeDoc,
    /// The place of an unknown key, as a JSON Pointer.
    #[schema(nullable = false)]
    path: Option<String>,
    /// The number of unknown keys that are not listed, or of recipients whose `properties` are not used.
    #[schema(nullable = false)]
    count: Option<usize>,
}

#[derive(ToSchema)]
#[schema(as = WarningCode, rename_all = "snake_case")]
pub(crate) enum WarningCodeDoc {
    UnknownKey,
    MoreUnknownKeys,
    PropertiesUnused,
}

/// A reason or a note: a stable code, with the parameters of that code.
#[derive(ToSchema)]
#[schema(as = Coded)]
pub(crate) struct CodedDoc {
    code: String,
}

#[derive(ToSchema)]
#[schema(as = Disposition, rename_all = "snake_case")]
pub(crate) enum DispositionDoc {
    Added,
    ReAdded,
    Reprocessed,
    Ignored,
    Duplicate,
}

/// The number of rows that were removed, and of stored requests and reports that lost the person.
#[derive(ToSchema)]
#[schema(as = Erased)]
pub(crate) struct ErasedDoc {
    pub(crate) contacts: u64,
    pub(crate) communication_preferences: u64,
    pub(crate) conversations: u64,
    pub(crate) runs: u64,
    pub(crate) step_contacts: u64,
    pub(crate) contact_tags: u64,
    pub(crate) custom_records: u64,
    /// Recipients of requests that wait, or failed.
    pub(crate) recipients: u64,
    /// Outcomes in reports. They keep their disposition and their reasons.
    pub(crate) outcomes: u64,
    /// Lists that lost the cells of their rows, because one may be of the person.
    pub(crate) lists: u64,
}

/// Why a recipient was ignored.
#[derive(ToSchema)]
#[schema(as = ReasonCode, rename_all = "snake_case")]
pub(crate) enum ReasonDoc {
    MissingPhone,
    InvalidPhone,
    MissingEmail,
    InvalidEmail,
    IdentityConflict,
    AddressTaken,
    Blocked,
    OptedOut,
    ActiveInOtherStep,
    PendingInOtherStep,
    ReAddExcluded,
    MaxRunsReached,
    MaxAddsReached,
}

#[derive(ToSchema)]
#[schema(as = StepContactStatus, rename_all = "snake_case")]
pub(crate) enum StatusDoc {
    Pending,
    Active,
    Inactive,
    Moved,
    Finished,
}

#[derive(ToSchema)]
#[schema(as = SequenceRunStatus, rename_all = "snake_case")]
pub(crate) enum RunStatusDoc {
    Active,
    Finished,
}

/// The state of an enrollment.
#[derive(ToSchema)]
#[schema(as = EnrollmentState, rename_all = "snake_case")]
pub(crate) enum StateDoc {
    Accepted,
    Completed,
    Rejected,
    Failed,
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll::Reason;
    use serde_json::json;
    use utoipa::PartialSchema;

    #[test]
    fn reason_codes_match_the_core() {
        let codes: Vec<&str> = Reason::CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(json!(ReasonDoc::schema())["enum"], json!(codes));
    }
}
