//! The OpenAPI document.

use serde_json::{Value, json};
use utoipa::OpenApi;

use enroll::Disposition;
use enroll::model::{RunStatus, StepContactStatus};

use super::docs::{ListReason, PreviewDisposition, ReasonCode, StateDoc};
use super::request_span::REQUEST_ID;
use super::{contacts, enrollments, erase, health, list_history, lists, metrics, organization, reference, retry, runs};

/// The default header for API keys.
pub(crate) const KEY_HEADER: &str = "X-WHIPPY-KEY";

/// Returns the document of a service that reads keys from the header.
pub(crate) fn document(key_header: &str) -> Value {
    let mut document = json!(Api::openapi());
    document["components"]["securitySchemes"] = json!({
        "key": {"type": "apiKey", "in": "header", "name": key_header},
        "x_api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    });
    document["security"] = json!([{"key": []}, {"x_api_key": []}, {"bearer": []}]);
    document["components"]["headers"][REQUEST_ID] = json!({
        "description": "The id of the request, as in the log: that of the client, or a new one",
        "schema": {"type": "string"},
    });
    for response in responses(&mut document) {
        response["headers"][REQUEST_ID] = json!({"$ref": format!("#/components/headers/{REQUEST_ID}")});
    }
    document
}

/// Returns the responses of all operations.
fn responses(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let operations = members(&mut document["paths"]).flat_map(members);
    operations.filter_map(|operation| operation.get_mut("responses")).flat_map(members)
}

fn members(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_object_mut().into_iter().flat_map(|object| object.values_mut())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "enroll",
        description = "Enrolls contacts into outreach sequences. An API key belongs to one organization, and gives no access to \
                       data of others. Every error has the same shape.",
    ),
    paths(
        enrollments::create,
        enrollments::show,
        enrollments::list,
        retry::one,
        retry::all,
        contacts::list_for_sequence,
        contacts::list,
        contacts::show,
        contacts::search,
        runs::list,
        runs::show,
        runs::list_for_sequence,
        runs::show_for_sequence,
        erase::erase,
        organization::show,
        reference::sequences,
        reference::sequence,
        reference::channels,
        reference::custom_objects,
        lists::inspect,
        lists::create,
        list_history::list,
        list_history::show,
        list_history::rows,
        list_history::to_fix,
        list_history::retry,
        lists::show_preview,
        lists::cancel_preview,
        health::healthz,
        health::readyz,
        metrics::show,
    ),
    // The documentation shows them in this order.
    tags(
        (name = "enrollments", description = "Enroll people, and read what became of each"),
        (name = "lists", description = "Enroll people from files, and read what became of each row"),
        (name = "sequences", description = "What people are enrolled into"),
        (name = "contacts", description = "The people"),
        (name = "organization", description = "Whose data the API key reads"),
        (name = "operations", description = "For the operator: health and metrics"),
    ),
    components(schemas(Disposition, ListReason, PreviewDisposition, ReasonCode, RunStatus, StateDoc, StepContactStatus))
)]
struct Api;
