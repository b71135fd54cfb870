//! Many concurrent clients over real HTTP, and clients that try to stop the others.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::service::{Service, id, on_both, read_all};

on_both! {
    overlapping_batches_of_64_clients_create_no_duplicate with ["--timeout", "300"];
    slow_bodies_of_one_organization_do_not_stop_another with ["--concurrency", "16", "--body-memory", "32", "--timeout", "120"];
    a_client_that_does_not_read_is_cut with ["--timeout", "2"];
    stuck_connections_do_not_lock_out_health_checks with ["--connections", "64", "--timeout", "3600"];
    busy_connections_do_not_lock_out_health_checks with ["--connections", "64", "--timeout", "3600"];
    clients_that_go_away_do_not_stop_others with [];
    large_bodies_at_once_need_little_memory with ["--timeout", "120"];
}

const CLIENTS: usize = 64;
const BATCHES: usize = 3;
const PEOPLE: usize = 500;

fn overlapping_batches_of_64_clients_create_no_duplicate(service: &mut Service) {
    let service = &*service;
    // Each batch starts at another person of the same set, so each person is in many batches.
    let batch = |client: usize, batch: usize| {
        let first = (client * BATCHES + batch) * 7;
        let person = |n: usize| json!({"phone": format!("+1415555{:04}", (first + n) % PEOPLE)});
        json!({"to": (0..30).map(person).collect::<Vec<_>>()})
    };
    let accepted: BTreeSet<String> = thread::scope(|scope| {
        let client = |client: usize| {
            let answers = (0..BATCHES).map(move |n| {
                let key = format!("client-{client}-batch-{n}");
                let first = service.enroll(&batch(client, n), &[("Idempotency-Key", &key)]).accepted();
                // Repeat the request, like a client that lost the response.
                let again = service.enroll(&batch(client, n), &[("Idempotency-Key", &key)]).accepted();
                assert_eq!(first, again);
                first
            });
            answers.collect::<Vec<_>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|n| scope.spawn(move || client(n))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert_eq!(accepted.len(), CLIENTS * BATCHES);

    let (mut created, mut recipients) = (0, 0);
    for enrollment in &accepted {
        let done = service.wait_for(enrollment);
        assert_eq!(done["state"], "completed", "{done}");
        created += done["counts"]["contacts_created"].as_u64().unwrap();
        recipients += done["total"].as_u64().unwrap();
    }
    assert_eq!(recipients, (CLIENTS * BATCHES * 30) as u64);
    let mut phones = BTreeSet::new();
    for offset in [0, 500] {
        let page = service.get(&format!("/v1/contacts?limit=500&offset={offset}")).json;
        let total = page["total"].as_u64().unwrap();
        // The seed contains two contacts.
        assert_eq!((total, total - 2), ((PEOPLE + 2) as u64, created));
        let phone_of = |contact: &Value| contact["phone"].as_str().unwrap().to_owned();
        phones.extend(page["data"].as_array().unwrap().iter().map(phone_of));
    }
    assert_eq!(phones.len(), PEOPLE + 2);
}

/// Other organizations and the health checks are served while one organization sends bodies that never end.
fn slow_bodies_of_one_organization_do_not_stop_another(service: &mut Service) {
    let head = service.enroll_head(8 << 20) + "{";
    let slow: Vec<TcpStream> = (0..32).map(|_| service.connect(head.as_bytes())).collect();
    // The organization has used its share.
    while service.get("/v1/sequences").status != 503 {}
    for n in 0..20 {
        let body = json!({"to": [{"phone": format!("+1415555{n:04}")}]}).to_string();
        let path = format!("/v1/sequences/{}/contacts", id(0xa5));
        service.post_as(&service.other_key, &path, body, &[]).accepted();
        assert_eq!(service.get_as(&service.other_key, "/v1/contacts").status, 200);
    }
    assert_eq!(service.get("/readyz").status, 200);
    service.get("/v1/sequences").assert_error(503, "overloaded", "");
    drop(slow);
}

fn a_client_that_does_not_read_is_cut(service: &mut Service) {
    let mut client = service.connect(b"");
    // Without a cut, the buffers of both sides become full, and the write fails with a timeout.
    let cut = loop {
        if let Err(e) = client.write_all(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n") {
            break e.kind();
        }
    };
    assert!(matches!(cut, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{cut}");
    assert_eq!(service.get("/healthz").status, 200);
}

/// More connections than the service allows are open, and each is stuck in another way.
fn stuck_connections_do_not_lock_out_health_checks(service: &mut Service) {
    let heads = ["", "GET /v1/contacts HTTP/1.1\r\nhost:", "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"];
    let stuck: Vec<TcpStream> = (0..200).map(|n| service.connect(heads[n % heads.len()].as_bytes())).collect();
    for path in ["/healthz", "/readyz", "/metrics", "/v1/contacts"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    drop(stuck);
}

/// Each connection that an address may have is busy: with one of many requests that were sent at once, or with a body that
/// never ends.
fn busy_connections_do_not_lock_out_health_checks(service: &mut Service) {
    let assert_checks_are_answered = || {
        for path in ["/healthz", "/readyz", "/metrics"].repeat(10) {
            assert_eq!(service.get(path).status, 200, "{path}");
        }
    };
    let list = format!("GET /v1/contacts HTTP/1.1\r\nhost: x\r\nX-WHIPPY-KEY: {}\r\n\r\n", service.key).repeat(10_000);
    let pipelining = (0..48).map(|_| {
        let mut client = service.connect(b"");
        client.set_nonblocking(true).unwrap();
        let _written = client.write(list.as_bytes());
        client
    });
    let busy: Vec<TcpStream> = pipelining.collect();
    assert_checks_are_answered();
    drop(busy);

    let body = service.enroll_head(8 << 20) + "{";
    // Opens connections until one is refused, since the address has as many as it may have.
    let fill = || {
        let mut busy = Vec::new();
        loop {
            let mut client = service.connect(body.as_bytes());
            client.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            let mut answer = [0; 12];
            if client.read_exact(&mut answer).is_ok() {
                assert_eq!(&answer, b"HTTP/1.1 503");
                break busy;
            }
            busy.push(client);
        }
    };
    // The connections that were dropped above count until the service has seen that their clients are gone.
    let busy = loop {
        let busy = fill();
        if busy.len() >= 32 {
            break busy;
        }
    };
    assert_checks_are_answered();
    let refused = service.get("/v1/contacts");
    refused.assert_error(503, "overloaded", "");
    assert!(refused.retry_after.is_some());
    drop(busy);
    while service.get("/v1/contacts").status != 200 {}
}

/// Each client asks for a list and goes away. The service ends their reads, and answers others meanwhile.
fn clients_that_go_away_do_not_stop_others(service: &mut Service) {
    let list = format!("GET /v1/contacts HTTP/1.1\r\nhost: x\r\nX-WHIPPY-KEY: {}\r\n\r\n", service.key);
    for _ in 0..10 {
        let readers: Vec<TcpStream> = (0..24).map(|_| service.connect(list.as_bytes())).collect();
        assert_eq!(service.get_as(&service.other_key, "/v1/contacts").status, 200);
        drop(readers);
    }
    while service.get("/v1/contacts").status != 200 {}
}

/// Sends bodies of almost 8 MiB at once. `.ci/soak` sends `ENROLL_BODIES=256` of them, each with 4000 people.
fn large_bodies_at_once_need_little_memory(service: &mut Service) {
    let service = &*service;
    let (bodies, people) = std::env::var("ENROLL_BODIES").map_or((24, 40), |number| (number.parse().unwrap(), 4000));
    let line = "x".repeat((8 << 20) / people - 80);
    let person = |n: usize| json!({"phone": format!("+1415{n:07}"), "address": {"address_line_one": line}});
    let body = json!({ "to": (0..people).map(person).collect::<Vec<_>>() }).to_string();
    assert!((8 << 20) - 100_000 < body.len() && body.len() <= 8 << 20, "{}", body.len());
    let (statuses, mut health) = thread::scope(|scope| {
        let send = || {
            let mut client = service.connect(service.enroll_head(body.len()).as_bytes());
            // The service may answer before it has read the body.
            let _refused = client.write_all(body.as_bytes());
            read_all(&mut client).get(..12).map(str::to_owned)
        };
        let clients: Vec<_> = (0..bodies).map(|_| scope.spawn(send)).collect();
        let mut health = Vec::new();
        while clients.iter().any(|client| !client.is_finished()) {
            let start = Instant::now();
            assert_eq!(service.get("/healthz").status, 200);
            health.push(start.elapsed());
        }
        let mut statuses: BTreeMap<_, usize> = BTreeMap::new();
        for client in clients {
            *statuses.entry(client.join().unwrap()).or_default() += 1;
        }
        (statuses, health)
    });
    let peak = service.peak_memory() >> 20;
    let (checks, percentile_99) = (health.len(), percentile(&mut health, 99));
    println!(
        "{bodies} bodies of {} bytes: {statuses:?}, {peak} MiB resident, {checks} health checks: median {:?}, \
         99th percentile {percentile_99:?}",
        body.len(),
        percentile(&mut health, 50)
    );
    let documented = ["HTTP/1.1 202", "HTTP/1.1 429", "HTTP/1.1 503"];
    let is_documented = |status: &Option<String>| status.as_deref().is_some_and(|status| documented.contains(&status));
    assert!(statuses.keys().all(is_documented), "{statuses:?}");
    assert!(statuses.contains_key(&Some(documented[0].to_owned())), "{statuses:?}");
    // A figure of a release build on a quiet machine.
    let is_soak = people == 4000;
    assert!(!is_soak || percentile_99 < Duration::from_millis(100), "{percentile_99:?}");
    // Without limits, the bodies alone would take 192 MiB, or 2 GiB.
    let limit = if is_soak { 1 << 10 } else { 450 };
    assert!(peak < limit, "{peak} MiB");
}

fn percentile(times: &mut [Duration], hundredths: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * hundredths / 100]
}
