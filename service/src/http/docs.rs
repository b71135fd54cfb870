//! What the OpenAPI document has besides the types of requests and answers: common errors, parameters, and bodies that are not
//! one type.
#![expect(dead_code, reason = "only their schemas are used")]

use std::borrow::Cow;
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ObjectBuilder, Ref, Schema};
use utoipa::openapi::{RefOr, Type};
use utoipa::{IntoParams, IntoResponses, PartialSchema, ToSchema};
use uuid::Uuid;

use enroll::model::RunStatus;
use enroll::{EnrollmentState, Reason};
use enroll_import::RowCells;

use super::errors::ErrorBody;
use super::list_accept::AcceptedList;
use super::list_options::ListOptions;
use super::list_preview::{dispositions_of_rows, reasons_of_rows};
use super::preview_answer::{PreviewHead, RowOutcome};
use super::previews::PreviewStarted;
use crate::people_lists::rows::RowFilter;

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
    status: Option<Vec<RunStatus>>,
    /// Only runs that started at this instant or earlier: RFC 3339, such as `2026-02-01T15:00:00Z`
    #[param(format = DateTime)]
    before: Option<String>,
    /// Only runs that started at this instant or later
    #[param(format = DateTime)]
    after: Option<String>,
}

/// The schema of one word, of those that a filter knows.
macro_rules! words {
    ($($doc:ident as $name:literal: $description:literal = $words:expr;)*) => {$(
        pub(crate) struct $doc;

        impl PartialSchema for $doc {
            fn schema() -> RefOr<Schema> {
                let word = ObjectBuilder::new().schema_type(Type::String).enum_values(Some($words));
                word.description(Some($description)).into()
            }
        }

        impl ToSchema for $doc {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }
        }
    )*};
}

words! {
    StateDoc as "EnrollmentState": "The state of an enrollment." = EnrollmentState::WORDS;
    ReasonCode as "ReasonCode": "Why a recipient was ignored." = Reason::CODES.iter().map(|(code, _)| *code);
    ListReason as "ListReason": "Why a row was ignored or set aside." = reasons_of_rows();
    PreviewDisposition as "PreviewDisposition":
        "What would become of a row of a list: a disposition of an outcome, or `set_aside`." = dispositions_of_rows();
    ListDisposition as "ListDisposition":
        "What became of a row of a list: a disposition of an outcome, or `set_aside`; `pending` while its request waits; \
         `failed` if its request failed or was rejected; `erased` if its person was erased before."
        = RowFilter::words().0;
}

/// An upload: a list, and the options of how it is read.
#[derive(ToSchema)]
#[schema(as = Upload)]
pub(crate) struct UploadDoc {
    /// The list: CSV, TSV or text in any encoding, XLSX, XLS, ODS or JSON. The part has a file name.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    #[schema(nullable = false)]
    options: Option<ListOptions>,
}

/// The receipt of a list, or of a preview in the background.
#[derive(ToSchema)]
#[serde(untagged)]
pub(crate) enum ListAnswer {
    Accepted(AcceptedList),
    Preview(PreviewStarted),
}

/// What a list would do.
#[derive(ToSchema)]
#[schema(as = ListPreview)]
pub(crate) struct ListPreviewDoc {
    #[serde(flatten)]
    head: PreviewHead,
    rows: Vec<ListRowDoc>,
    /// The number of rows that match the filters. An answer has at most 10000 rows, and about 16 MiB of them.
    total: u64,
}

/// A row of a list with its outcome. It has at most 500 cells, and 500 characters of each.
#[derive(ToSchema)]
#[schema(as = ListRow)]
struct ListRowDoc {
    #[serde(flatten)]
    cells: RowCells,
    #[serde(flatten)]
    outcome: RowOutcome,
}

/// A preview in the background. If it is completed, it has the members of a preview. If it failed, it has an error.
pub(crate) struct PreviewJobDoc;

impl PartialSchema for PreviewJobDoc {
    fn schema() -> RefOr<Schema> {
        let of = |name: Cow<'static, str>| Ref::from_schema_name(name);
        let error = ObjectBuilder::new().schema_type(Type::Object).property("error", of(ErrorBody::name()));
        let result = AnyOfBuilder::new().item(of(ListPreviewDoc::name())).item(error);
        let description = "A preview in the background. If it is completed, it has the members of a preview. If it failed, it has \
                           an error.";
        AllOfBuilder::new().item(of(PreviewStarted::name())).item(result).description(Some(description)).into()
    }
}

impl ToSchema for PreviewJobDoc {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("ListPreviewJob")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((ListPreviewDoc::name().into_owned(), ListPreviewDoc::schema()));
        schemas.push((PreviewStarted::name().into_owned(), PreviewStarted::schema()));
        ListPreviewDoc::schemas(schemas);
        PreviewStarted::schemas(schemas);
    }
}
