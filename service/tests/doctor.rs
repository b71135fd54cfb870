//! `enroll doctor`: a line for each check, and what to do.

#[path = "../../adapters/postgres/tests/support/certificates.rs"]
mod certificates;
mod support;

use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;

use certificates::Authority;
use enroll_postgres::testing::{Pooler, Server};
use support::{Folder, PostgresClient, empty_postgres, enroll, error_line, path, text};

fn doctor(database: &str, more: &[&str]) -> Output {
    enroll(&["doctor", "--database", database], more)
}

fn migrate(database: &str) {
    text(&enroll(&["migrate", "--database", database], &[]));
}

/// Returns each check as `status name`, and its text.
fn checks(output: &Output) -> Vec<(String, String)> {
    let json: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    let checks = json["checks"].as_array().unwrap().iter().map(|check| {
        let member = |name: &str| check[name].as_str().unwrap().to_owned();
        (format!("{} {}", member("status"), member("name")), member("text"))
    });
    let checks: Vec<_> = checks.collect();
    let has_failed = checks.iter().any(|(check, _)| check.starts_with("failed "));
    assert_eq!((output.status.code(), &json["ok"]), (Some(i32::from(has_failed)), &Value::Bool(!has_failed)));
    checks
}

/// Asserts that a check has a status, and that its text has a part.
fn assert_check(database: &str, check: &str, part: &str) {
    let found = checks(&doctor(database, &["--json"]));
    let (_, text) = found.iter().find(|(name, _)| name == check).unwrap_or_else(|| panic!("no `{check}` in {found:?}"));
    assert!(text.contains(part), "{check}: {text}");
}

#[test]
fn a_migrated_file_is_ok() {
    let folder = Folder::new("doctor");
    let file = folder.0.join("enroll.db");
    migrate(path(&file));
    let found = checks(&doctor(path(&file), &["--json"]));
    let names: Vec<_> = found.iter().map(|(name, _)| name.split_once(' ').unwrap().1).collect();
    assert_eq!(names, ["file", "version", "mode", "journal", "schema", "writable", "space"]);
    // The free space is the one of the machine that runs the test.
    assert!(found.iter().all(|(name, _)| name.starts_with("ok ") || name == "warning space"), "{found:?}");
    let lines = text(&doctor(path(&file), &[]));
    assert!(lines.contains("ok       mode         600: only the owner can read it\n"), "{lines}");
    assert_eq!(lines.lines().count(), 7);
}

#[test]
fn a_file_with_a_problem_says_what_to_do() {
    let folder = Folder::new("doctor-problems");
    let file = folder.0.join("enroll.db");
    let database = path(&file);
    assert_check(database, "failed file", "does not exist; `enroll migrate` creates it");
    assert!(!file.exists());

    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", database], &[]));
    assert_check(database, "warning schema", "without the tables of the service; run `enroll migrate`");
    assert_check(database, "warning writable", "not tried");
    migrate(database);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_check(database, "warning mode", "644: others can read people's data; run `chmod 600 ");
    fs::set_permissions(&file, Permissions::from_mode(0o400)).unwrap();
    assert_check(database, "failed mode", "400: the file is read-only");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();

    let connection = rusqlite::Connection::open(&file).unwrap();
    connection.execute_batch("begin immediate").unwrap();
    assert_check(database, "failed writable", "locked");
    connection.execute_batch("rollback; update enroll_schema set version = 99").unwrap();
    assert_check(database, "failed schema", "the tables have version 99, but this build supports 1; use a newer build");

    let other = folder
        .file("other.txt", "This is not a database, but it is long enough for the head of one. ".repeat(3).as_str());
    assert_check(path(&other), "failed file", "not a SQLite database");
    assert!(error_line(&doctor("memory", &[])).contains("is no database to check"));
}

#[test]
fn a_server_that_does_not_answer_fails() {
    assert_check("postgres://ann@127.0.0.1:1/app", "failed connection", "PostgreSQL cannot be reached");
}

support::on_postgresql! {
    fn a_migrated_database_is_ok() {
        let database = support::postgres();
        migrate(&database);
        let found = checks(&doctor(&database, &["--json"]));
        let names: Vec<_> = found.iter().map(|(name, _)| &**name).collect();
        let expected = [
            "ok connection", "ok encryption", "ok version", "ok pooler", "ok permissions", "ok schema", "ok writable",
            "ok clock",
        ];
        assert_eq!(names, expected, "{found:?}");
        assert_eq!(text(&doctor(&database, &[])).lines().count(), 8);
    }

    fn an_encrypted_connection_is_ok() {
        let authority = Authority::new("Test authority");
        let certificate = authority.server(&["localhost"]);
        let server = Server::start_with_files(
            &[("ssl", "on")],
            &[("server.crt", &certificate.certificate), ("server.key", &certificate.key)],
        );
        PostgresClient::connect(server.url()).execute("create database app");
        let folder = Folder::new("doctor-tls");
        let root = folder.file("ca.pem", &authority.pem());
        let place = server.url().rsplit_once('@').unwrap().1.replace("127.0.0.1", "localhost");
        let place = place.replace("/postgres", "/app");
        let address = format!("postgres://postgres@{place}?sslmode=verify-full&sslrootcert={}", path(&root));
        migrate(&address);
        let lines = text(&doctor(&address, &[]));
        assert!(lines.lines().all(|line| line.starts_with("ok ")), "{lines}");
        assert!(lines.contains("ok       encryption   TLS 1.3\n"), "{lines}");
        assert_check(&address.replace("localhost", "127.0.0.1"), "failed connection", "not valid for `127.0.0.1`");
    }

    fn a_pooler_that_works_is_ok_and_another_one_says_what_to_set() {
        let authority = Authority::new("Test authority");
        let certificate = authority.server(&["localhost", "127.0.0.1"]);
        let (root, key) = (authority.pem(), &certificate.key);
        let files = [("server.crt", &*certificate.certificate), ("server.key", key), ("ca.crt", &root)];
        // The database can only be reached with encryption.
        let hba = "hostnossl postgres all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n";
        let server = Server::start_with_files(&[("ssl", "on")], &[&files[..], &[("pg_hba.conf", hba)]].concat());
        PostgresClient::connect(server.url()).execute("create database app");
        let database = format!("{}/app", server.url().rsplit_once('/').unwrap().0);
        let folder = Folder::new("doctor-pooler");
        let root = folder.file("ca.pem", &root);
        let verified = format!("sslmode=verify-full&sslrootcert={}", path(&root));
        migrate(&format!("{database}?{verified}"));
        let tls = [
            ("client_tls_sslmode", "require"),
            ("client_tls_cert_file", "server.crt"),
            ("client_tls_key_file", "server.key"),
            ("server_tls_sslmode", "verify-full"),
            ("server_tls_ca_file", "ca.crt"),
        ];
        let pooler = |settings: &[(&str, &str)]| Pooler::start(&server, &[&tls[..], settings].concat(), &files);
        let address = |pooler: &Pooler, parameters: &str| {
            let address = pooler.address(&database).replace("127.0.0.1", "localhost");
            format!("{address}?{verified}{parameters}")
        };
        let session = pooler(&[("pool_mode", "session")]);
        let transaction = pooler(&[("pool_mode", "transaction")]);
        for (address, prepared) in [
            (address(&session, ""), "it keeps prepared statements"),
            (address(&transaction, "&prepared_statements=false"), "prepared statements are off"),
        ] {
            let lines = text(&doctor(&address, &[]));
            assert!(lines.lines().all(|line| line.starts_with("ok ")), "{lines}");
            assert_eq!(lines.lines().count(), 8, "{lines}");
            for part in ["TLS 1.3; the pooler's connection to the server: TLSv1.3", "one is in between", prepared] {
                assert!(lines.contains(part), "{part}: {lines}");
            }
        }

        let three = [("default_pool_size", "3"), ("min_pool_size", "3"), ("server_round_robin", "1")];
        let turns = pooler(&[&three[..], &[("pool_mode", "transaction")]].concat());
        // From the second time on, three connections take turns.
        for lossy in [&transaction, &turns, &turns, &turns] {
            assert_check(&address(lossy, ""), "failed pooler", "add `prepared_statements=false` to the address");
        }
        let statements = pooler(&[("pool_mode", "statement")]);
        let address = address(&statements, "&prepared_statements=false");
        assert_check(&address, "failed pooler", "set `pool_mode` to `transaction` or `session`");
    }

    fn a_database_with_a_problem_says_what_to_do() {
        let empty = empty_postgres(&format!("doctor_{}", std::process::id()));
        assert_check(&empty, "failed schema", "has no tables of `enroll`; run `enroll migrate`");
        assert_check(&empty, "ok permissions", "the role can create the tables");
        migrate(&empty);
        let client = PostgresClient::connect(&empty);
        client.execute("update enroll.schema_version set version = 99");
        assert_check(&empty, "failed schema", "the tables have version 99, but this build supports 1");
        let name = format!("doctor_latin_{}", std::process::id());
        client.execute(&format!("create database {name} encoding 'LATIN1' lc_collate 'C' lc_ctype 'C' template template0"));
        let latin = empty.replace(&format!("doctor_{}", std::process::id()), &name);
        assert_check(&latin, "failed encoding", "the database has `LATIN1`; create another with `encoding 'UTF8'");
    }

    fn a_role_without_a_privilege_is_told_which() {
        let server = Server::start();
        PostgresClient::connect(server.url()).execute("create database app");
        let url = format!("{}/app", server.url().rsplit_once('/').unwrap().0);
        let as_app = url.replace("postgres://postgres@", "postgres://app@");
        let owner = PostgresClient::connect(&url);
        owner.execute("create role app login");
        assert_check(&as_app, "failed permissions", "the role `app` may not create a schema");
        migrate(&url);
        assert_check(&as_app, "failed permissions", "the role `app` lacks usage of the schema `enroll`");
        owner.execute(
            "grant usage on schema enroll, enroll_service to app;
             grant select, insert, update, delete on all tables in schema enroll, enroll_service to app;
             grant usage on all sequences in schema enroll to app;
             revoke delete on enroll.contact_tags from app",
        );
        assert_check(&as_app, "failed permissions", "the role `app` lacks delete on `enroll.contact_tags`; grant it");
        owner.execute("grant delete on enroll.contact_tags to app; alter role app set default_transaction_read_only = on");
        assert_check(&as_app, "failed writable", "a standby or read-only; connect to the primary");
    }
}
