//! The OpenAPI document: the served one equals the file in the repository, and each of its routes exists.

mod support;

use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;

use support::path;
use support::service::{ACTIVE, Service, id};

/// To update the file: `UPDATE_OPENAPI=1 cargo test -p enroll-service --test http_openapi`.
#[test]
fn the_served_document_equals_the_file() {
    let service = Service::on_sqlite("openapi", &[]);
    let answer = service.get("/openapi.json");
    let served = format!("{:#}\n", answer.json);
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&file, &served).unwrap();
    }
    let stored = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(
        served == stored,
        "service/openapi.json differs from the served document; set UPDATE_OPENAPI=1 to write it"
    );

    let document = answer.json;
    assert_eq!(document["components"]["securitySchemes"]["key"]["name"], "X-WHIPPY-KEY");
    let mut operations = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let at = path.replace("{id}", "00000000-0000-0000-0000-000000000005");
        for method in methods.as_object().unwrap().keys() {
            let answer = match &**method {
                "get" => service.get(&at),
                "delete" => service.delete(&at),
                _ => service.post(&at, "", &[]),
            };
            assert_ne!(answer.json["errors"][0]["code"], "route_not_found", "{method} {path}");
            assert_ne!(answer.status, 405, "{method} {path}");
            operations += 1;
        }
    }
    assert_eq!(operations, 31);

    for method in document["paths"].as_object().unwrap().values().flat_map(|methods| methods.as_object().unwrap()) {
        let tag = &method.1["tags"][0];
        assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == *tag), "{tag}");
    }
}

/// The browser test checks that a browser shows the operations.
#[test]
fn the_documentation_loads_only_files_of_the_service() {
    let service = Service::on_sqlite("openapi-docs", &[]);
    let page = service.get("/docs").text;
    let mut files = 0;
    for attribute in [" src=\"", " href=\""] {
        for rest in page.split(attribute).skip(1) {
            let address = rest.split('"').next().unwrap();
            if !address.starts_with("data:") {
                assert!(address.starts_with('/') && !address.starts_with("//"), "{address}");
                let head = format!("GET {address} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
                assert!(service.raw(head.as_bytes()).starts_with("HTTP/1.1 200 "), "{address}");
                files += 1;
            }
        }
    }
    assert!(files >= 5, "{page}");
}

#[test]
fn the_configured_key_header_is_used_everywhere() {
    let service = Service::on_sqlite("openapi-header", &["--key-header", "X-Api-Key"]);
    let document = service.get("/openapi.json").json;
    assert_eq!(
        document["components"]["securitySchemes"]["key"],
        json!({"type": "apiKey", "in": "header", "name": "X-Api-Key"})
    );
    let page = service.get("/").text;
    assert!(page.contains("X-Api-Key") && !page.contains("X-WHIPPY-KEY"), "{page}");
    assert_eq!(service.get("/v1/contacts").status, 401);
    let with = |name: &str| {
        format!("GET /v1/contacts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{name}: {}\r\n\r\n", service.key)
    };
    assert!(service.raw(with("x-api-key").as_bytes()).starts_with("HTTP/1.1 200 "));
}

/// Sends a bounded number of generated requests to the service.
#[test]
#[ignore = "needs schemathesis: run with --include-ignored after `pip install schemathesis`"]
fn schemathesis_finds_no_failure() {
    let service = Service::on_sqlite("schemathesis", &[]);
    let enrollment = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    let contact = id(9);
    service.wait_for(&enrollment);
    let run = service.get("/v1/sequence_runs").json["data"][0]["id"].as_str().unwrap().to_owned();
    let program = std::env::var("SCHEMATHESIS").unwrap_or_else(|_| "schemathesis".to_owned());
    // Use existing ids. A schema cannot express that a referenced id must exist, that a page returned the cursor, or that a
    // parameter without a value is absent.
    let lists =
        ["/v1/contacts", "/v1/sequences", "/v1/channels", "/v1/custom_objects", "/v1/enrollments", "/v1/sequence_runs"];
    let lists = lists.map(|list| {
        format!(
            "[[operations]]\ninclude-path = \"{list}\"\nchecks.positive_data_acceptance.enabled = false\n\
             checks.negative_data_rejection.enabled = false\n"
        )
    });
    let config = format!(
        "[[operations]]\ninclude-path = \"/v1/sequences/{{id}}/contacts\"\nparameters = {{ id = \"{ACTIVE}\" }}\n\
         checks.positive_data_acceptance.enabled = false\nchecks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/sequences/{{id}}/sequence_runs\"\nparameters = {{ id = \"{ACTIVE}\" }}\n\
         checks.positive_data_acceptance.enabled = false\nchecks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/sequences/{{id}}/sequence_runs/{{run_id}}\"\n\
         parameters = {{ id = \"{ACTIVE}\", run_id = \"{run}\" }}\n\
         [[operations]]\ninclude-path = \"/v1/sequence_runs/{{id}}\"\nparameters = {{ id = \"{run}\" }}\n\
         [[operations]]\ninclude-path = \"/v1/enrollments/retry\"\nchecks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/contacts/erase\"\nchecks.positive_data_acceptance.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/sequences/{{id}}\"\nparameters = {{ id = \"{ACTIVE}\" }}\n\
         checks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/contacts/{{id}}\"\nparameters = {{ id = \"{contact}\" }}\n\
         checks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/contacts/search\"\nchecks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path-regex = \"^/v1/lists\"\nchecks.positive_data_acceptance.enabled = false\n\
         checks.negative_data_rejection.enabled = false\n\
         [[operations]]\ninclude-path = \"/v1/enrollments/{{id}}\"\nparameters = {{ id = \"{enrollment}\" }}\n\
         checks.negative_data_rejection.enabled = false\n{}",
        lists.concat()
    );
    let config = service.file("schemathesis.toml", &config);
    let output = Command::new(program)
        .args(["--config-file", path(&config), "run", &format!("{}/openapi.json", service.base)])
        .args(["--header", &format!("X-WHIPPY-KEY: {}", service.key), "--max-examples", "60", "--seed", "1"])
        .args(["--phases", "examples,coverage,fuzzing", "--workers", "1", "--no-color"])
        .current_dir(config.parent().unwrap())
        .output()
        .unwrap();
    let output_text = String::from_utf8_lossy(&output.stdout).replace(&service.key, "***");
    assert!(output.status.success(), "{output_text}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(service.get("/readyz").json, json!({"status": "ready"}));
    assert_ne!(service.get("/v1/contacts").json["total"], Value::Null);
}
