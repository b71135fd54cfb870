//! `enroll migrate`, and databases of another schema version under the service.

mod support;

use serde_json::json;

use support::service::{Service, on_both};
use support::{Folder, empty_postgres, enroll, error_line, path, text};

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

/// Starts a process that must not migrate. Returns its error.
fn refused(command: &str, database: &str) -> String {
    let more = if command == "work" { ["--until-empty"] } else { ["--listen=127.0.0.1:0"] };
    error_line(&enroll(&[command, "--database", database, "--migrate", "never"], &more))
}

fn only_migrate_creates_the_tables(name: &str, database: &str) {
    for command in ["serve", "work"] {
        let error = refused(command, database);
        assert!(error.contains("has no tables of `enroll`; run `enroll migrate`"), "{error}");
    }
    let migrate = || text(&enroll(&["migrate", "--database", database], &[]));
    assert!(migrate().ends_with(": created the tables, version 1\n"));
    assert!(migrate().ends_with(": the tables have version 1; nothing to do\n"));
    let service = Service::on_database(name, database.to_owned(), &["--migrate", "never"]);
    assert_eq!(service.get("/readyz").status, 200);
    let id = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    service.wait_for(&id);
    let output = enroll(&["work", "--database", database, "--migrate", "never", "--until-empty"], &[]);
    assert_eq!(text(&output), "0 completed, 0 rejected, 0 failed\n");

    for (version, problem) in [
        (0, "has no tables of `enroll`; run `enroll migrate`"),
        (99, "the tables have version 99, but this build supports 1; use a newer build"),
    ] {
        set_version(&service, version);
        for command in ["serve", "work"] {
            let error = refused(command, database);
            assert!(error.contains(problem), "{error}");
        }
    }
    let error = error_line(&enroll(&["migrate", "--database", database], &[]));
    assert!(error.contains("the schema has version 99, but this build supports 1"), "{error}");
}

#[test]
fn only_migrate_creates_the_tables_on_sqlite() {
    let folder = Folder::new("migrate");
    let file = folder.0.join("enroll.db");
    only_migrate_creates_the_tables("migrated", path(&file));

    // The seed of a command line creates no tables of the service.
    let seeded = folder.0.join("seeded.db");
    let database = path(&seeded);
    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", database], &[]));
    let error = refused("serve", database);
    assert!(error.contains("has no tables of the service; run `enroll migrate`"), "{error}");
    assert!(text(&enroll(&["migrate", "--database", database], &[])).contains(": created the tables of the service;"));
    assert!(!folder.0.join("absent.db").exists());
    let absent = folder.0.join("absent.db");
    assert!(refused("work", path(&absent)).contains("has no tables of `enroll`"));
    assert!(!absent.exists(), "the check creates no file");
}

support::on_postgresql! {
    fn only_migrate_creates_the_tables_on_postgresql() {
        let database = empty_postgres(&format!("migrate_{}", std::process::id()));
        only_migrate_creates_the_tables("migrated-postgresql", &database);
    }

    fn a_role_that_cannot_create_tables_serves_after_a_migration() {
        let server = enroll_postgres::testing::Server::start();
        let owner = support::PostgresClient::connect(server.url());
        owner.execute("create database app");
        let url = format!("{}/app", server.url().rsplit_once('/').unwrap().0);
        text(&enroll(&["migrate", "--database", &url], &[]));
        let app = support::PostgresClient::connect(&url);
        app.execute(
            "create role app login;
             grant usage on schema enroll, enroll_service to app;
             grant select, insert, update, delete on all tables in schema enroll, enroll_service to app;
             grant usage on all sequences in schema enroll to app",
        );
        let as_app = url.replace("postgres://postgres@", "postgres://app@");
        assert_ne!(as_app, url);
        let service = Service::on_database("role", as_app.clone(), &["--migrate", "never"]);
        let id = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
        assert_eq!(service.wait_for(&id)["state"], "completed");
        let doctor = text(&enroll(&["doctor", "--database", &as_app], &[]));
        assert!(doctor.lines().all(|line| line.starts_with("ok ")), "{doctor}");
    }
}
