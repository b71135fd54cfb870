//! A host that describes its own HTTP API with utoipa. The shapes of requests, reports and faults come from the engine.
//!
//! `cargo run --features schema --example openapi`

use enroll::utoipa::{self, OpenApi, ToSchema};
use enroll::{EnrollmentReport, EnrollmentRequest, Rejection};

/// The host's own answer: a report, and who asked for it.
#[derive(serde::Serialize, ToSchema)]
struct Answer {
    /// The name of the user.
    user: String,
    report: EnrollmentReport,
}

/// Enroll customers
#[utoipa::path(
    post,
    path = "/campaigns/{id}/customers",
    params(("id" = Uuid, Path, description = "The sequence")),
    request_body = EnrollmentRequest,
    responses(
        (status = 200, description = "Enrolled", body = Answer),
        (status = 422, description = "The request has faults", body = Rejection),
    ),
)]
#[expect(dead_code, reason = "a real host has a handler here")]
fn enroll_customers() {}

#[derive(OpenApi)]
#[openapi(info(title = "My CRM", version = "1"), paths(enroll_customers))]
struct Api;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let document = Api::openapi();
    println!("{}", document.to_pretty_json()?);

    // The document has the types of the engine that the route needs, with their members and words.
    let json = serde_json::to_value(&document)?;
    let schemas = &json["components"]["schemas"];
    assert_eq!(schemas["Answer"]["properties"]["report"]["$ref"], "#/components/schemas/EnrollmentReport");
    assert_eq!(schemas["Recipient"]["properties"]["name"]["maxLength"], 255);
    assert_eq!(schemas["Disposition"]["enum"][0], "added");
    Ok(())
}
