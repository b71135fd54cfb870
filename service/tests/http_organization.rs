//! The organization of an API key over HTTP, and where its name comes from.

mod support;

use serde_json::json;

use support::service::{FIRST, SECOND, Service, on_both};
use support::{TestDatabase, enroll, path, text};

on_both! {
    a_key_shows_its_own_organization;
    names_come_from_seeds_and_from_the_command_of_keys;
}

fn a_key_shows_its_own_organization(service: &mut Service) {
    let own = service.get("/v1/organization");
    assert_eq!((own.status, &own.json), (200, &json!({"data": {"id": FIRST, "name": ""}})));
    let other = service.get_as(&service.other_key, "/v1/organization");
    assert_eq!(other.json, json!({"data": {"id": SECOND, "name": ""}}));
    assert_eq!(service.get_as("enroll_wrong", "/v1/organization").status, 401);
    service.get("/v1/organization?id=1").assert_error(422, "invalid_parameter", "?id");
}

fn names_come_from_seeds_and_from_the_command_of_keys(service: &mut Service) {
    let names = |service: &Service| {
        [&service.key, &service.other_key]
            .map(|key| service.get_as(key, "/v1/organization").json["data"]["name"].as_str().unwrap().to_owned())
    };
    let load = |service: &Service, seed: serde_json::Value| {
        let file = service.file("names.json", &seed.to_string());
        text(&enroll(&["seed", path(&file), "--database", &service.database], &[]));
    };
    // The organizations exist.
    load(
        service,
        json!({
            "organization_id": FIRST,
            "organizations": [{"name": "Example"}, {"organization_id": SECOND, "name": "Zoë & Co"}],
        }),
    );
    assert_eq!(names(service), ["Example", "Zoë & Co"]);
    load(service, json!({"organization_id": SECOND}));
    let create = ["keys", "create", "--organization", FIRST, "--name", "test", "--database", &service.database];
    text(&enroll(&create, &[]));
    assert_eq!(names(service), ["Example", "Zoë & Co"]);
    text(&enroll(&[&create[..], &["--organization-name", "Acme"]].concat(), &[]));
    assert_eq!(names(service), ["Acme", "Zoë & Co"]);

    // A dump has the names, and can be loaded into another database.
    let dump = TestDatabase(service.database.clone()).dump();
    assert_eq!(json!(dump.organizations), json!([{"name": "Acme"}, {"organization_id": SECOND, "name": "Zoë & Co"}]));
}
