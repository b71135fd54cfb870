//! The files in `deploy/`, and the page of documentation about operation, agree with the service.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use support::service::{Service, on_both};
use support::{enroll, text};

const OPERATIONS: &str = include_str!("../../docs/operations.md");
const SCALING: &str = include_str!("../../docs/scaling.md");
const ALERTS: &str = include_str!("../../deploy/alerts.yaml");
const CITUS: &str = include_str!("../../deploy/citus.compose.yaml");
const COMPOSE: &str = include_str!("../../deploy/compose.yaml");
const DASHBOARD: &str = include_str!("../../deploy/dashboard.json");
const DOCKERFILE: &str = include_str!("../../deploy/Dockerfile");
const UNIT: &str = include_str!("../../deploy/enroll.service");

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// Returns the words of a text that begin with a prefix.
fn words<'t>(text: &'t str, prefix: &str) -> BTreeSet<&'t str> {
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    text.split(|c| !of_word(c)).filter(|word| word.starts_with(prefix)).collect()
}

fn alerts() -> Vec<Value> {
    yaml(ALERTS)["groups"][0]["rules"].as_array().unwrap().clone()
}

/// Returns the names of the metrics of the service, with the suffixes of their samples.
fn metrics(service: &Service) -> BTreeSet<String> {
    // A metric with labels begins with its first sample.
    service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    let deadline = Instant::now() + Duration::from_secs(60);
    let text = loop {
        let text = service.get("/metrics").text;
        if text.contains("enroll_recipients_total") {
            break text;
        }
        assert!(Instant::now() < deadline, "{text}");
    };
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        match line.split_once(' ').unwrap() {
            (name, "counter") => drop(names.insert(format!("{name}_total"))),
            (name, "histogram") => names.extend(["", "_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"))),
            (name, _) => drop(names.insert(name.to_owned())),
        }
    }
    names
}

fn each_metric_exists_and_is_documented(service: &mut Service) {
    let metrics = metrics(service);
    let expressions: Vec<String> = alerts().iter().map(|alert| alert["expr"].as_str().unwrap().to_owned()).collect();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let queries = dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().unwrap());
    let queries: Vec<String> = queries.map(|query| query["expr"].as_str().unwrap().to_owned()).collect();
    assert!(expressions.len() >= 10 && queries.len() >= 20);
    let text = [expressions, queries].concat().join("\n").replace("$job", "");
    let used = words(&text, "enroll_");
    let is_postgres = service.database.starts_with("postgres");
    let missing: Vec<_> = used
        .into_iter()
        .filter(|name| !metrics.contains(*name) && (is_postgres || !name.starts_with("enroll_connections_")))
        .collect();
    assert!(missing.is_empty(), "{missing:?} are not in {metrics:?}");

    let is_sample = |name: &str| ["_bucket", "_sum", "_count"].iter().any(|end| name.ends_with(end));
    let documented = words(OPERATIONS, "enroll_");
    let names = metrics.iter().filter(|name| !is_sample(name));
    let missing: Vec<_> = names.filter(|name| !documented.contains(&***name)).collect();
    assert!(missing.is_empty(), "docs/operations.md does not have {missing:?}");
}

fn the_check_of_the_compose_file_reads_healthz(service: &mut Service) {
    let compose = yaml(COMPOSE);
    let check = compose["services"]["enroll"]["healthcheck"]["test"].as_array().unwrap();
    let check: Vec<&str> = check.iter().map(|word| word.as_str().unwrap()).collect();
    let ["CMD", "bash", "-c", script] = check[..] else { panic!("{check:?}") };
    let run = |port: &str| {
        let script = script.replace("$$", "$").replace("127.0.0.1/8080", &format!("127.0.0.1/{port}"));
        Command::new("bash").args(["-c", &script]).output().unwrap()
    };
    let port = service.base.rsplit_once(':').unwrap().1.to_owned();
    let healthy = run(&port);
    assert!(healthy.status.success(), "{healthy:?}");
    assert!(!run("1").status.success());
    service.terminate();
    service.wait_for_end();
    assert!(!run(&port).status.success());
}

on_both! {
    each_metric_exists_and_is_documented;
    the_check_of_the_compose_file_reads_healthz;
}

#[test]
fn the_servers_of_citus_have_the_ports_of_the_documentation() {
    let compose = yaml(CITUS);
    for (name, port, call) in [
        ("coordinator", "7000", "citus_set_coordinator_host('127.0.0.1', 7000)"),
        ("worker-1", "7001", "citus_add_node('127.0.0.1', 7001)"),
        ("worker-2", "7002", "citus_add_node('127.0.0.1', 7002)"),
    ] {
        let service = &compose["services"][name];
        assert_eq!(service["command"][1], port, "{name}");
        assert!(service["image"].as_str().unwrap().starts_with("citusdata/citus:"), "{name}");
        assert!(SCALING.contains(call), "{call}");
    }
    assert_eq!(compose["services"].as_object().unwrap().len(), 3);
}

#[test]
fn each_alert_is_documented() {
    for alert in alerts() {
        let name = alert["alert"].as_str().unwrap();
        assert!(OPERATIONS.contains(&format!("\n| `{name}` |")), "{name}");
        assert!(alert["annotations"]["summary"].is_string() && alert["labels"]["severity"].is_string(), "{name}");
    }
}

#[test]
fn each_option_and_variable_exists() {
    let help = |command: &[&str]| text(&enroll(command, &["--help"]));
    let commands = [&["serve"][..], &["seed"], &["keys", "create"]].map(help);
    let variables = words(&commands[0], "ENROLL_");
    for (name, file) in [("compose.yaml", COMPOSE), ("Dockerfile", DOCKERFILE), ("enroll.service", UNIT)] {
        let used = words(file, "ENROLL_").into_iter();
        let unknown: Vec<_> = used.filter(|variable| !variables.contains(variable)).collect();
        assert!(unknown.is_empty(), "{name}: {unknown:?}");
        let commands_of_file =
            file.lines().filter(|line| line.contains("enroll serve") || line.contains("enroll enroll"));
        for option in commands_of_file.flat_map(|line| words(line, "--")).filter(|option| *option != "--no-TTY") {
            assert!(commands.iter().any(|help| help.contains(option)), "{name}: {option}");
        }
    }
    assert!(DOCKERFILE.contains("cargo build --locked --release") && DOCKERFILE.contains("\nUSER 10001"));
}

#[test]
fn no_password_is_in_a_file() {
    let compose = yaml(COMPOSE);
    for service in compose["services"].as_object().unwrap().values() {
        for (variable, value) in service["environment"].as_object().unwrap() {
            let value = value.as_str().unwrap();
            let is_file = variable.ends_with("_FILE") || variable == "PGPASSFILE";
            assert!(!variable.contains("PASS") || (is_file && value.starts_with("/run/secrets/")), "{variable}");
            assert!(!value.contains("://") || !value.split('@').next().unwrap()[11..].contains(':'), "{value}");
        }
        assert!(service["healthcheck"].is_object() || service["command"] == json!(["migrate"]));
    }
    for secret in compose["secrets"].as_object().unwrap().values() {
        assert!(secret["file"].as_str().unwrap().starts_with("secrets/"), "{secret}");
    }
    let ignored = |file: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    assert!(ignored("../.gitignore").lines().any(|line| line == "/deploy/secrets"));
    assert!(ignored("../.dockerignore").lines().any(|line| line == "deploy/secrets"));
}
