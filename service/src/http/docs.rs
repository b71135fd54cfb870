//! Shapes that the engine reads and writes itself, as the OpenAPI document tells them.
#![expect(dead_code, reason = "they are told, and never made")]

use serde_json::Value;
use std::collections::BTreeMap;
use utoipa::{IntoParams, IntoResponses, ToSchema};
use uuid::Uuid;

use super::errors::ErrorBody;

/// What any request with a key may be answered.
#[derive(IntoResponses)]
pub(crate) enum Refused {
    #[response(status = 401, description = "There is no API key, or it is wrong, or revoked")]
    NotAuthenticated(ErrorBody),
    #[response(status = 422, description = "Everything that is wrong with the request")]
    Invalid(ErrorBody),
    #[response(status = 500, description = "The service failed")]
    Failed(ErrorBody),
    #[response(status = 503, description = "Not now: try again after `Retry-After` seconds")]
    Unavailable(ErrorBody),
}

/// Which part of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct WindowDoc {
    /// How many; 50 unless it is given
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// How many to leave out
    #[param(minimum = 0, maximum = 4_294_967_295_u32)]
    offset: Option<u32>,
}

/// Whom to enroll, and how.
#[derive(ToSchema)]
#[schema(as = EnrollmentRequest)]
pub(crate) struct RequestDoc {
    /// The people.
    #[schema(min_items = 1, max_items = 4000)]
    to: Vec<RecipientDoc>,
    /// The phone or email of the channel to use.
    from: Option<String>,
    /// The step; the first one, unless it is given.
    step_id: Option<Uuid>,
    /// When the people are activated; at once, unless it is given.
    #[schema(format = DateTime)]
    schedule_at: Option<String>,
    /// The custom object that `properties` are values of.
    custom_data: Option<CustomDataDoc>,
    voice_options: Option<VoiceOptionsDoc>,
}

/// One entry.
#[derive(ToSchema)]
#[schema(as = Recipient)]
pub(crate) struct RecipientDoc {
    phone: String,
    #[schema(max_length = 255)]
    email: Option<String>,
    #[schema(max_length = 255)]
    name: Option<String>,
    /// Your own id of the contact.
    external_id: Option<String>,
    language: Option<String>,
    default_channel_id: Option<Uuid>,
    address: Option<AddressDoc>,
    birth_date: Option<BirthDateDoc>,
    /// Values of the custom object.
    properties: Option<BTreeMap<String, Value>>,
}

/// An address. `postal_code` is read as `post_code`.
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

/// A birth date, or what is known of it.
#[derive(ToSchema)]
#[schema(as = BirthDate)]
pub(crate) struct BirthDateDoc {
    #[schema(minimum = 1, maximum = 31)]
    day: Option<i32>,
    #[schema(minimum = 1, maximum = 12)]
    month: Option<i32>,
    #[schema(minimum = 1, maximum = 9999)]
    year: Option<i32>,
}

#[derive(ToSchema)]
#[schema(as = CustomData)]
pub(crate) struct CustomDataDoc {
    custom_object_id: Uuid,
    resource: ResourceDoc,
}

/// What each record belongs to.
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

/// What a preview answers with.
#[derive(ToSchema)]
#[schema(as = EnrollmentReport)]
pub(crate) struct ReportDoc {
    /// The version of this shape: 1.
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
    outcomes: Vec<OutcomeDoc>,
    counts: CountsDoc,
    /// Present if the same request was completed before.
    #[schema(nullable = false)]
    replayed: Option<bool>,
}

/// How many recipients had each outcome.
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

/// The tag that the enrolled contacts bear.
#[derive(ToSchema)]
#[schema(as = UploadTag)]
pub(crate) struct UploadTagDoc {
    id: Uuid,
    name: String,
}

/// What became of one recipient.
#[derive(ToSchema)]
#[schema(as = Outcome)]
pub(crate) struct OutcomeDoc {
    /// Its place in `to`, from 0.
    index: usize,
    disposition: DispositionDoc,
    contact_id: Option<Uuid>,
    contact_created: bool,
    step_contact_id: Option<Uuid>,
    conversation_id: Option<Uuid>,
    conversation_created: bool,
    record_id: Option<Uuid>,
    /// Why it was ignored: all that applies.
    #[schema(nullable = false)]
    reasons: Option<Vec<CodedDoc>>,
    /// What the sender should know all the same.
    #[schema(nullable = false)]
    notes: Option<Vec<CodedDoc>>,
    /// The recipient that was the same contact first.
    duplicate_of: Option<usize>,
}

/// A reason, or a note: a stable code, with more that goes with it.
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

/// How far an enrollment got.
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
    fn every_reason_is_told() {
        let codes: Vec<&str> = Reason::CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(json!(ReasonDoc::schema())["enum"], json!(codes));
    }
}
