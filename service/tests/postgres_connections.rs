//! How the command line and the service connect to PostgreSQL: encrypted, with the environment, and with clear errors.

#[path = "../../adapters/postgres/tests/support/certificates.rs"]
mod certificates;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use certificates::Authority;
use enroll_postgres::testing::{Pooler, Server};
use serde_json::json;

use support::service::{ACTIVE, FIRST, Service};
use support::{Folder, PostgresClient, SEQUENCE, enroll, error_line, on_postgresql, path, postgres, text};

/// Runs the binary with an environment, and no other variables of PostgreSQL.
fn enroll_with(args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
    for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("PG")) {
        command.env_remove(variable);
    }
    command.args(args).env_remove("ENROLL_DATABASE").envs(environment.iter().copied()).stdin(Stdio::null());
    command.output().unwrap()
}

/// Returns the port of an address.
fn port(url: &str) -> &str {
    url.split("127.0.0.1:").nth(1).unwrap().split('/').next().unwrap()
}

on_postgresql! {
    fn the_service_uses_encrypted_connections_only() {
        let authority = Authority::new("Test authority");
        let certificate = authority.server(&["localhost"]);
        let server = Server::start_with_files(
            &[("ssl", "on")],
            &[
                ("server.crt", &certificate.certificate),
                ("server.key", &certificate.key),
                ("pg_hba.conf", "hostnossl postgres all 127.0.0.1/32 trust\nhostssl all all 127.0.0.1/32 trust\n"),
            ],
        );
        let folder = Folder::new("tls");
        let root = folder.file("ca.pem", &authority.pem());
        let client = PostgresClient::connect(server.url());
        client.execute("create database app");
        let address = |host: &str| {
            let port = port(server.url());
            format!("postgres://postgres@{host}:{port}/app?sslmode=verify-full&sslrootcert={}", path(&root))
        };
        let mut service = Service::on_database("tls", address("localhost"), &[]);
        let body = json!({"to": [{"phone": "+12025550187", "name": "Ann"}]});
        let answer = service.enroll(&body, &[]);
        assert_eq!(answer.status, 202, "{answer:?}");
        assert_eq!(service.wait_for(answer.json["data"]["enrollment_id"].as_str().unwrap())["state"], "completed");
        let sessions = "select count(*) > 1 and bool_and(ssl and application_name = 'enroll')
            from pg_stat_ssl join pg_stat_activity using (pid)
            where datname = 'app' and backend_type = 'client backend'";
        assert_eq!(client.value(sessions), "t");
        service.terminate();
        service.wait_for_end();

        let error = error_line(&enroll(&["sequences", "--database", &address("127.0.0.1")], &[]));
        assert!(error.contains("the server's certificate is not valid for `127.0.0.1`, but for `localhost`"), "{error}");
        let plain = address("localhost").replace("verify-full", "disable");
        let error = error_line(&enroll(&["sequences", "--database", &plain], &[]));
        assert!(error.contains("PostgreSQL refused the connection"), "{error}");
    }

    fn the_environment_and_the_password_file_say_how_to_connect() {
        let server = Server::start_with_files(
            &[],
            &[("pg_hba.conf", "host postgres all 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")],
        );
        let client = PostgresClient::connect(server.url());
        client.execute("create role ann login password 'p@ss:w/rd#1'");
        client.execute("create database app owner ann");
        let folder = Folder::new("environment");
        let pass_file = folder.file(".pgpass", "127.0.0.1:*:app:ann:p@ss\\:w/rd#1\n");
        fs::set_permissions(&pass_file, Permissions::from_mode(0o600)).unwrap();
        let seed = folder.0.join("seed.json");
        let home = path(&folder.0);
        let place = [("PGHOST", "127.0.0.1"), ("PGPORT", port(server.url())), ("PGUSER", "ann"), ("HOME", home)];
        let args = ["seed", path(&seed), "--database", "postgres:///app"];
        text(&enroll_with(&args, &place));
        let args = ["sequences", "--database", "postgres://"];
        let database = [&place[..], &[("PGDATABASE", "app"), ("PGAPPNAME", "billing")]].concat();
        assert!(text(&enroll_with(&args, &database)).contains("Welcome"));

        // Others can read it: it is not used, and a note says so.
        fs::set_permissions(&pass_file, Permissions::from_mode(0o644)).unwrap();
        let output = enroll_with(&args, &database);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(".pgpass is not used: others can read it; run `chmod 600` on it"), "{error}");
        assert!(error.contains("the server asks for a password: set `PGPASSWORD`"), "{error}");
        let password = [&database[..], &[("PGPASSWORD", "p@ss:w/rd#1")]].concat();
        assert!(text(&enroll_with(&args, &password)).contains("Welcome"));
        let encoded = format!("postgres://ann:p%40ss%3Aw%2Frd%231@127.0.0.1:{}/app", port(server.url()));
        assert!(text(&enroll_with(&["sequences", "--database", &encoded], &[])).contains("Welcome"));

        for password in ["p@ss:w/rd#1", "p@ss", "w/rd", "rd#1"] {
            let address = format!("postgres://ann:{password}@127.0.0.1/app");
            let error = error_line(&enroll_with(&["sequences", "--database", &address], &[]));
            assert!(error.contains("unencoded characters") && error.contains("`%40` for `@`"), "{error}");
            assert!(!error.contains(password), "{error}");
        }
    }

    fn the_service_works_through_pgbouncer() {
        // In transaction mode, each transaction gets a new connection of the server.
        let transactions = [("pool_mode", "transaction"), ("server_lifetime", "0")];
        for (mode, settings, parameters) in
            [("session", &[("pool_mode", "session")][..], ""), ("transaction", &transactions, "pgbouncer=true")]
        {
            let url = postgres();
            let pooler = Pooler::start(Server::shared(), settings, &[]);
            let address = pooler.address(&url);
            let join = if address.contains('?') { '&' } else { '?' };
            let address = format!("{address}{join}{parameters}");
            let service = Service::on_database(&format!("pgbouncer-{mode}"), address.clone(), &["--workers", "2"]);
            assert_eq!(service.get("/readyz").status, 200);
            let person = |n: usize| json!({"phone": format!("+1202555{n:04}"), "name": format!("Person {n}")});
            let ids: Vec<String> = (0..8_usize).map(|n| {
                let answer = service.enroll(&json!({"to": [person(200 + n)]}), &[]);
                assert_eq!(answer.status, 202, "{answer:?}");
                answer.json["data"]["enrollment_id"].as_str().unwrap().to_owned()
            }).collect();
            for id in ids {
                assert_eq!(service.wait_for(&id)["state"], "completed", "{mode}");
            }
            let list = "phone,name\n+12025550300,Ann\n+12025550301,Bo\n";
            let answer = service.upload(&format!("/v1/lists?sequence_id={ACTIVE}"), "people.csv", list, None);
            assert_eq!(answer.status, 202, "{mode}: {answer:?}");
            let client = PostgresClient::connect(&url);
            client.wait_until("select count(*) = 10 from enroll.step_contacts");
            let output = enroll(&["enrollments", "--database", &address], &["--organization", FIRST]);
            assert_eq!(text(&output).matches("completed").count(), 9, "{mode}");
        }
    }

    fn a_pooler_without_prepared_statements_gets_an_error_with_the_remedy() {
        let pooler = Pooler::start(Server::shared(), &[("pool_mode", "transaction"), ("server_lifetime", "0")], &[]);
        let folder = Folder::new("pgbouncer");
        let seed = folder.0.join("seed.json");
        let address = pooler.address(&postgres());
        text(&enroll(&["seed", path(&seed), "--database", &address], &[]));
        let request = folder.file("request.json", r#"{"to": [{"phone": "2025550187"}]}"#);
        let run = ["run", "--database", &address, "--sequence", SEQUENCE, "--request", path(&request)];
        let error = error_line(&enroll(&run, &[]));
        assert!(error.contains("add `pgbouncer=true` to the address"), "{error}");
        assert!(error.contains("`max_prepared_statements`"), "{error}");
    }

    fn parameters_of_other_programs_are_ignored_with_a_note() {
        let folder = Folder::new("parameters");
        let seed = folder.0.join("seed.json");
        let url = postgres();
        let address = |parameters: &str| format!("{url}{}{parameters}", if url.contains('?') { '&' } else { '?' });
        let with = address("pgbouncer=true&connection_limit=1");
        let output = enroll(&["seed", path(&seed), "--database", &with], &[]);
        let notes = String::from_utf8(output.stderr.clone()).unwrap();
        assert_eq!(notes, "note: `connection_limit` has no effect: it is for another program\n");
        text(&output);
        let error = error_line(&enroll(&["sequences", "--database", &address("sslmod=require")], &[]));
        assert!(error.contains("unknown parameter `sslmod`; known are `host`"), "{error}");
    }
}
