//! How the command line and the service connect to PostgreSQL: encrypted, with the environment, and with clear errors.

#[path = "../../adapters/postgres/tests/support/certificates.rs"]
mod certificates;
mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use certificates::Authority;
use enroll_postgres::testing::Server;
use serde_json::json;

use support::service::Service;
use support::{Folder, PostgresClient, enroll, error_line, on_postgresql, path, postgres, text};

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
