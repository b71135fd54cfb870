//! Databases of another schema version under the service.

mod support;

use serde_json::json;

use support::service::{Service, on_both};

/// Sets the version of the schema, as a build with other migrations does.
fn set_version(service: &Service, version: u32) {
    service.batch_execute(&if service.database.starts_with("postgres") {
        format!("update enroll.schema_version set version = {version}")
    } else {
        format!("update enroll.schema set version = {version}")
    });
}

fn a_newer_schema_makes_a_running_service_unready(service: &mut Service) {
    assert_eq!(service.get("/readyz").status, 200);
    set_version(service, 99);
    service.get("/readyz").assert_error(503, "unavailable", "");
    let refused = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]);
    refused.assert_error(503, "unavailable", "");
    assert!(refused.retry_after.is_some());
    service.get("/v1/contacts").assert_error(503, "unavailable", "");
    assert_eq!(service.get("/healthz").status, 200);

    set_version(service, 1);
    assert_eq!(service.get("/readyz").status, 200);
    let accepted = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    service.wait_for(&accepted);
}

on_both! {
    a_newer_schema_makes_a_running_service_unready;
}
