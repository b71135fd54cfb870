//! The part `options` of an upload: how a list is read, and what its requests have in common.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use enroll::contact::Region;
use enroll::model::Resource;
use enroll::request::{CustomData, VoiceOptions};
use enroll::{CallFlowId, CustomObjectId, StepId, Timestamp};
use enroll_import::{DateFormat, Delimiter, Edit, Mapping, Options};

use super::errors::{ApiError, ErrorItem};
use crate::input::pointer;
use crate::list_request::ListRequestOptions;

/// How a list is read, and what its requests have in common. Each member can be omitted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(example = json!({
    "mapping": {"Mobile": "phone", "Company": "ignore"},
    "default_region": "US",
    "request": {"step_id": "00000000-0000-0000-0000-000000000052", "schedule_at": "2030-01-31T09:00:00Z"},
}))]
pub(crate) struct ListOptions {
    /// The sheet of a spreadsheet. Default: the first visible one with a phone, an email or an external id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sheet: Option<String>,
    /// The encoding of text, such as `windows-1252`. Default: found in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding: Option<String>,
    /// What separates the cells of text: `,`, `;`, `|` or `tab`. Default: found in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) delimiter: Option<Delimiter>,
    /// The fields of columns by title, such as `{"Phone Number": "phone", "Company": "ignore"}`; or a list of
    /// `{"column": …, "field": …}`, where a column is a title or a position from 1.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub(crate) mapping: Mapping,
    /// Changes of rows by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) edits: Vec<Edit>,
    /// The order of the parts of dates that are not `YYYY-MM-DD`, such as `DD.MM.YYYY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) date_format: Option<DateFormat>,
    /// The country of phone numbers without `+`, such as `DE`. Default: that of the service, else of the sender's phone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_region: Option<Region>,
    #[serde(skip_serializing_if = "is_default")]
    pub(crate) request: RequestOptions,
}

/// The fields of an enrollment request that a list does not contain.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
#[schema(as = ListRequestOptions)]
pub(crate) struct RequestOptions {
    /// The phone or email of the channel to use.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    /// The step; default: the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    step_id: Option<StepId>,
    /// When to activate the people; default: at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule_at: Option<Timestamp>,
    /// The custom object with the properties of the columns `properties.KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    custom_data: Option<CustomDataOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    voice_options: Option<VoiceOptionsOptions>,
}

/// The custom object of a list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListCustomData)]
struct CustomDataOptions {
    custom_object_id: CustomObjectId,
    resource: Resource,
}

/// The options of a list for inbound calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ListVoiceOptions)]
struct VoiceOptionsOptions {
    /// The call flow that answers inbound calls.
    default_call_flow_id: CallFlowId,
}

impl ListOptions {
    /// Reads the options. An error has the place in them.
    pub(crate) fn from_json(bytes: &[u8]) -> Result<Self, ApiError> {
        let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
        // Serde reads a struct from an array too.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            let problem = "the options must be a JSON object, such as `{\"sheet\": \"People\"}`";
            return Err(ApiError::invalid("invalid_options", "/options".to_owned(), problem.to_owned()));
        }
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let options = serde_path_to_error::deserialize(&mut json);
        let options = options.map_err(|e| invalid(format!("/options{}", pointer(e.path())), e.inner()))?;
        json.end().map_err(|e| invalid("/options".to_owned(), &e))?;
        Ok(options)
    }

    /// Returns how the list is read.
    pub(crate) fn reading(&self) -> Options {
        let mut options = Options::default();
        options.sheet.clone_from(&self.sheet);
        options.encoding.clone_from(&self.encoding);
        options.delimiter = self.delimiter;
        options.mapping.clone_from(&self.mapping);
        options.edits.clone_from(&self.edits);
        options.date_format.clone_from(&self.date_format);
        options
    }

    /// Returns what the requests of the list have in common.
    pub(crate) fn of_requests(&self) -> ListRequestOptions {
        let RequestOptions { from, step_id, schedule_at, custom_data, voice_options } = &self.request;
        ListRequestOptions {
            from: from.clone(),
            step_id: *step_id,
            schedule_at: *schedule_at,
            custom_data: custom_data
                .map(|CustomDataOptions { custom_object_id, resource }| CustomData { custom_object_id, resource }),
            voice_options: voice_options
                .map(|VoiceOptionsOptions { default_call_flow_id }| VoiceOptions { default_call_flow_id }),
            default_region: self.default_region,
        }
    }
}

fn is_default(options: &RequestOptions) -> bool {
    *options == RequestOptions::default()
}

fn invalid(path: String, error: &serde_json::Error) -> ApiError {
    // The place in the text says less than the path.
    let mut problem = error.to_string();
    if let Some(end) = problem.rfind(" at line ") {
        problem.truncate(end);
    }
    let problem = format!("the options cannot be read: {problem}");
    ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, vec![ErrorItem::new("invalid_options", path, problem)])
}

/// Returns a member of a JSON Pointer. A long key is cut.
pub(crate) fn member(key: &str) -> String {
    let key: String = key.chars().filter(|c| *c != '\0').take(MAX_KEY).collect();
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Some editors write it at the start of UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
/// The number of characters of a key in a path.
const MAX_KEY: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn place(json: &str) -> (String, String) {
        let error = ListOptions::from_json(json.as_bytes()).unwrap_err();
        let body = serde_json::to_value(error.into_body()).unwrap();
        let error = &body["errors"][0];
        assert_eq!((&body["status"], &error["code"]), (&422.into(), &"invalid_options".into()));
        (error["path"].as_str().unwrap().to_owned(), error["description"].as_str().unwrap().to_owned())
    }

    #[test]
    fn an_error_has_the_place_in_the_options() {
        for (json, path, text) in [
            ("{", "/options", "EOF"),
            ("[]", "/options", "object"),
            ("{} {}", "/options", "trailing"),
            (r#"{"sheets": 1}"#, "/options/sheets", "unknown field"),
            (r#"{"mapping": {"Phone/Fax": "fone"}}"#, "/options/mapping/Phone~1Fax", "fone"),
            (r#"{"mapping": [{"column": 1, "field": "fone"}]}"#, "/options/mapping/0/field", "fone"),
            (r#"{"delimiter": "x"}"#, "/options/delimiter", "is not a delimiter"),
            (r#"{"default_region": "Germany"}"#, "/options/default_region", "is not a region"),
            (r#"{"request": {"to": []}}"#, "/options/request/to", "unknown field"),
            (r#"{"request": {"step_id": "x"}}"#, "/options/request/step_id", ""),
            (
                r#"{"request": {"custom_data": {"resource": "contact"}}}"#,
                "/options/request/custom_data",
                "custom_object_id",
            ),
        ] {
            let (at, description) = place(json);
            assert_eq!(at, path, "{json}: {description}");
            assert!(description.contains(text), "{json}: {description}");
        }
    }

    #[test]
    fn options_that_are_stored_are_read_again() {
        let json = r#"{"sheet": "A", "delimiter": ";", "mapping": {"A": "phone"}, "edits": [{"edit": "drop_row", "row": 3}],
            "date_format": "DD.MM.YYYY", "default_region": "DE", "request": {"from": "+12025550100"}}"#;
        let options = ListOptions::from_json(json.as_bytes()).unwrap();
        let stored = serde_json::to_vec(&options).unwrap();
        assert_eq!(ListOptions::from_json(&stored).unwrap(), options);
        assert_eq!(serde_json::to_string(&ListOptions::default()).unwrap(), "{}");
    }
}
