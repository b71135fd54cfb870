//! Endpoints of webhooks: where messages can be sent to, TLS, what is refused, and what is removed by age.

mod support;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use support::receiver::{Receiver, Reply};
use support::service::{FIRST, Service, on_both};
use support::webhooks::{Endpoint, enroll_person, number, wait_for_number};
use support::{Folder, TestDatabase, enroll, error_line, json as json_of, path, text};

fn a_private_address_gets_nothing_unless_it_is_allowed(service: &mut Service) {
    let receiver = Receiver::accepting();
    let port = receiver.port;
    let urls = [
        receiver.url(),
        format!("http://localhost:{port}/"),
        format!("http://127.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "https://[fd00:ec2::254]/".to_owned(),
    ];
    let endpoints: Vec<Endpoint> =
        urls.iter().map(|url| Endpoint::add(service, FIRST, url, &["--kinds", "accepted"])).collect();
    enroll_person(service, 1);
    let refused = "select count(*) from enroll_service.webhook_deliveries where code = 'private_address'";
    wait_for_number(service, refused, 5);
    assert!(receiver.received().is_empty());
    // Each of them is left alone for some time.
    let paused = "select count(*) from enroll_service.webhook_endpoints where paused_until > leased_until";
    wait_for_number(service, paused, 5);

    service.kill_and_restart(&["--webhook-networks", "127.0.0.0/8", "--webhook-retries", "1s"]);
    service.batch_execute(
        "update enroll_service.webhook_deliveries set due_at = 0;
        update enroll_service.webhook_endpoints set paused_until = 0, leased_until = 0",
    );
    // All spellings of the allowed address, and no other one.
    receiver.wait_for(3);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'dead'", 2);
    for endpoint in &endpoints[3..] {
        assert_eq!(endpoint.codes(service), ["private_address"]);
    }
    assert_eq!(receiver.received().len(), 3);
}

on_both! {
    a_private_address_gets_nothing_unless_it_is_allowed;
    old_events_and_old_deliveries_are_removed_and_no_others with ["--webhook-networks", "127.0.0.1"];
    what_waits_for_a_disabled_endpoint_ends_at_any_age with ["--webhook-networks", "127.0.0.1"];
}

fn what_waits_for_a_disabled_endpoint_ends_at_any_age(service: &mut Service) {
    let receiver = Receiver::accepting();
    Endpoint::add(service, FIRST, &receiver.url(), &["--kinds", "accepted"]);
    enroll_person(service, 1);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'", 1);
    wait_for_number(service, "select count(*) from enroll_service.webhook_endpoints where lease is not null", 0);
    // The endpoint was disabled while the events were copied, by a newer version, which has more kinds.
    service.batch_execute(
        "update enroll_service.webhook_endpoints set disabled_at = 1;
        update enroll_service.webhook_deliveries set state = 'waiting', kind = 'paused', ended_at = null, code = null",
    );
    let work = ["work", "--database", &service.database, "--until-empty", "--retain-events", "never"];
    text(&enroll(&work, &[]));
    let dead = json_of(&enroll(&["webhooks", "list", "--dead", "--json", "--database", &service.database], &[]));
    assert_eq!(dead["total"], 1);
    assert_eq!((&dead["data"][0]["type"], &dead["data"][0]["last"]), (&json!("enrollment.paused"), &json!("410")));
    assert_eq!(receiver.received().len(), 1);
}

fn old_events_and_old_deliveries_are_removed_and_no_others(service: &mut Service) {
    let receiver = Receiver::accepting();
    Endpoint::add(service, FIRST, &receiver.url(), &["--kinds", "accepted"]);
    for n in 0..3 {
        let id = enroll_person(service, n);
        service.wait_for(&id);
    }
    receiver.wait_for(3);
    let delivered = "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'";
    wait_for_number(service, delivered, 3);
    let (events, oldest) = if service.database.starts_with("postgres") {
        ("enroll.events", "(now() - interval '31 days')")
    } else {
        ("enroll.events", "(unixepoch() - 31 * 86400) * 1000")
    };
    // Two of three deliveries ended 31 days ago, and so did three of six events.
    let ended = chrono::Utc::now().timestamp_millis() - 31 * 86_400_000;
    service.batch_execute(&format!(
        "update enroll_service.webhook_deliveries set ended_at = {ended}
            where position in (select position from enroll_service.webhook_deliveries order by position limit 2);
        update {events} set at = {oldest} where position in (select position from {events} order by position limit 3)"
    ));
    let database = service.database.clone();
    let work = |more: &[&str]| {
        let output = enroll(&["work", "--database", &database, "--until-empty"], more);
        text(&output);
        String::from_utf8(output.stderr).unwrap()
    };
    assert_eq!(work(&["--retain-events", "never"]), "");
    assert_eq!(work(&[]), "removed 3 events and 2 webhooks, by age\n");
    assert_eq!(work(&[]), "");
    assert_eq!(number(service, delivered), 1);
    assert_eq!(number(service, &format!("select count(*) from {events}")), 3);

    // An event that is too old, but was not sent yet, stays.
    service.batch_execute(&format!(
        "update enroll_service.webhook_positions set position = 0;
        update {events} set at = {oldest}"
    ));
    service.terminate();
    service.wait_for_end();
    assert_eq!(work(&[]), "");
    assert_eq!(number(service, &format!("select count(*) from {events}")), 3);
}

#[test]
fn attempts_are_logged_with_ids_and_codes_and_without_the_url() {
    let mut service = Service::on_sqlite("webhook-log", &["--webhook-networks", "127.0.0.1"]);
    let receiver = Receiver::start(|received| Reply::Status(if received.len() == 1 { 500 } else { 204 }));
    let url = format!("{}/path-of-the-endpoint", receiver.url());
    let endpoint = Endpoint::add(&service, FIRST, &url, &["--kinds", "accepted"]);
    enroll_person(&service, 1);
    wait_for_number(&service, "select max(attempts) from enroll_service.webhook_deliveries", 1);
    service.batch_execute("update enroll_service.webhook_deliveries set due_at = 0");
    service.batch_execute("update enroll_service.webhook_endpoints set paused_until = 0");
    let messages = receiver.wait_for(2);
    let delivered = "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'";
    wait_for_number(&service, delivered, 1);
    service.terminate();
    let log = service.wait_for_end();
    assert!(!log.contains("path-of-the-endpoint") && !log.contains(&endpoint.secret), "{log}");
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let lines: Vec<&Value> = lines.iter().filter(|line| line["target"] == "enroll::webhooks").collect();
    let [failed, delivered] = lines[..] else { panic!("{log}") };
    let fields = |line: &Value| ["message", "code"].map(|name| line["fields"][name].as_str().unwrap().to_owned());
    assert_eq!((fields(failed), &failed["level"]), (["attempt failed", "500"].map(str::to_owned), &json!("WARN")));
    assert_eq!((fields(delivered), &delivered["level"]), (["delivered", "204"].map(str::to_owned), &json!("INFO")));
    for line in [failed, delivered] {
        assert_eq!(line["fields"]["endpoint"], endpoint.id);
        assert_eq!(line["fields"]["organization"], FIRST);
        assert_eq!(line["fields"]["event"], messages[0].header("webhook-id"));
    }
}

/// Answers each request over TLS with 204. Returns the port, the certificate and the requests.
fn tls_receiver() -> (u16, String, mpsc::Receiver<String>) {
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(certificate.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let chain = vec![certificate.cert.der().clone()];
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(connection, stream.unwrap());
            let mut bytes = [0; 4096];
            // A client that does not trust the certificate ends the connection.
            let Ok(length) = stream.read(&mut bytes) else { continue };
            stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
            if sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned()).is_err() {
                return;
            }
        }
    });
    (port, certificate.cert.pem(), receiver)
}

#[test]
fn https_needs_a_certificate_that_the_system_trusts() {
    let mut service = Service::on_sqlite("webhook-tls", &["--webhook-networks", "127.0.0.1"]);
    let (port, certificate, requests) = tls_receiver();
    let url = format!("https://localhost:{port}/hook");
    let endpoint = Endpoint::add(&service, FIRST, &url, &["--kinds", "accepted"]);
    enroll_person(&service, 1);
    let failed = "select count(*) from enroll_service.webhook_deliveries where code = 'tls' and attempts = 1";
    wait_for_number(&service, failed, 1);
    assert!(requests.try_recv().is_err());
    assert_eq!(endpoint.codes(&service), ["tls"]);

    let file = service.file("certificate.pem", &certificate);
    service.kill_and_restart_with(&["--webhook-networks", "127.0.0.1"], &[("SSL_CERT_FILE", path(&file))]);
    service.batch_execute(
        "update enroll_service.webhook_deliveries set due_at = 0;
        update enroll_service.webhook_endpoints set paused_until = 0, leased_until = 0",
    );
    let request = requests.recv_timeout(Duration::from_secs(60)).unwrap();
    assert!(request.starts_with("POST /hook HTTP/1.1\r\n"), "{request}");
    let delivered = "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'";
    wait_for_number(&service, delivered, 1);
}

#[test]
fn a_system_without_certificates_serves() {
    let mut service = Service::on_sqlite("webhook-no-roots", &[]);
    let nowhere = [("SSL_CERT_FILE", "/nonexistent"), ("SSL_CERT_DIR", "/nonexistent")];
    service.kill_and_restart_with(&["--webhook-networks", "127.0.0.1"], &nowhere);
    let (port, _, requests) = tls_receiver();
    let endpoint = Endpoint::add(&service, FIRST, &format!("https://localhost:{port}/"), &["--kinds", "accepted"]);
    enroll_person(&service, 1);
    wait_for_number(&service, "select count(*) from enroll_service.webhook_deliveries where code = 'tls'", 1);
    assert_eq!(endpoint.codes(&service), ["tls"]);
    assert!(requests.try_recv().is_err());
    service.terminate();
    let log = service.wait_for_end();
    assert!(log.contains("no certificates: webhooks over https fail"), "{log}");
}

#[test]
fn what_is_not_an_endpoint_is_refused() {
    let folder = Folder::new("webhook-input");
    let database = TestDatabase::file(&folder);
    let add = |url: &str, more: &[&str]| enroll(&["webhooks", "add", url, "--database", &database.0], more);
    for (url, more, problem) in [
        ("https://", &[][..], "has no host; use `https://host/path`"),
        ("https://ann:secret@example.com/", &[], "has a user or a password, which receivers do not need"),
        ("ftp://example.com/", &[], "has the scheme `ftp`; use `https://host/path`"),
        ("example.com", &[], "is not a URL"),
        (
            "https://example.com/",
            &["--kinds", "done"],
            "`done` is not a kind of event; use `accepted`, `completed`, `rejected`, `failed`",
        ),
    ] {
        let output = add(url, more);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(problem), "{error}");
    }
    let unknown = "00000000-0000-0000-0000-0000000000ff";
    let line = error_line(&add("https://example.com/", &["--organization", unknown]));
    assert!(line.starts_with("error: --organization: ") && line.contains(&format!("has no organization `{unknown}`")));
    for command in ["remove", "replay"] {
        let line = error_line(&enroll(&["webhooks", command, unknown, "--database", &database.0], &[]));
        assert!(
            line.contains(&format!("has no endpoint `{unknown}`; `enroll webhooks list` lists the endpoints")),
            "{line}"
        );
    }
    let line = error_line(&enroll(&["webhooks", "list", "--database", &database.0, "--organization", unknown], &[]));
    assert!(line.contains(&format!("has no organization `{unknown}`")), "{line}");
    for (option, value, problem) in [
        ("--webhook-retries", "5", "`5` is not a delay; use `5s`, `5m` or `2h`"),
        ("--webhook-networks", "localhost", "`localhost` is not a network; use `10.0.0.0/8`"),
        ("--webhook-timeout", "0", "0 is not in 1..=60"),
    ] {
        let output = enroll(&["serve", "--database", &database.0, option, value], &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(problem), "{error}");
    }
    assert_eq!(json_of(&enroll(&["webhooks", "list", "--json", "--database", &database.0], &[]))["total"], 0);
}

#[test]
fn an_endpoint_is_listed_without_its_secret_and_an_organization_has_at_most_sixteen() {
    let folder = Folder::new("webhook-list");
    let database = TestDatabase::file(&folder);
    let add =
        |url: &str| enroll(&["webhooks", "add", url, "--database", &database.0, "--kinds", "failed,completed"], &[]);
    let printed = text(&add("https://example.com/hook"));
    let lines: Vec<&str> = printed.lines().collect();
    let [id, secret] = [lines[0].strip_prefix("endpoint "), lines[1].strip_prefix("secret   ")].map(Option::unwrap);
    let list = |more: &[&str]| enroll(&["webhooks", "list", "--database", &database.0], more);
    let [table, rows] = [text(&list(&[])), text(&list(&["--json"]))];
    assert!(!table.contains(secret) && !rows.contains(secret) && !rows.contains("whsec_"));
    assert!(table.contains(id) && table.contains("https://example.com/hook") && table.contains("completed,failed"));
    let row = &json_of(&list(&["--json"]))["data"][0];
    assert_eq!((&row["id"], &row["kinds"], &row["waiting"]), (&json!(id), &json!(["completed", "failed"]), &json!(0)));

    let private = add("http://10.0.0.8/hook");
    let warning = String::from_utf8(private.stderr.clone()).unwrap();
    assert!(
        warning.contains("`10.0.0.8` is private; `enroll serve` sends to it only if `--webhook-networks`"),
        "{warning}"
    );
    for _ in 2..16 {
        text(&add("https://example.com/hook"));
    }
    let line = error_line(&add("https://example.com/hook"));
    assert!(line.contains("has 16 endpoints, which is the most; remove one with `enroll webhooks remove`"), "{line}");
}
