//! Webhooks: signatures, order, attempts, dead deliveries, replays, and several processes.

mod support;

use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

use support::receiver::{Received, Receiver, Reply};
use support::service::{FIRST, SECOND, Service, id, on_both};
use support::webhooks::{Endpoint, enroll_person, number, wait_for_number};
use support::{enroll, json as json_of, text};

/// Lets tests reach their own receivers.
macro_rules! on_this_machine {
    ($($name:ident $(with [$($option:literal),*])?;)*) => {
        on_both! { $($name with ["--webhook-networks", "127.0.0.0/8,::1" $($(, $option)*)?];)* }
    };
}

/// Makes deliveries due, and ends pauses and reservations.
fn hurry(service: &Service) {
    service.batch_execute(
        "update enroll_service.webhook_deliveries set due_at = 0 where state = 'waiting';
        update enroll_service.webhook_endpoints set paused_until = 0, leased_until = 0",
    );
}

/// The endpoint has failed for two hours, and the last pause has just ended.
const FAILING: &str = "update enroll_service.webhook_endpoints
    set failing_since = failing_since - 7200000, paused_until = leased_until";

/// Waits until an endpoint has had a number of failures in a row.
fn wait_for_failures(service: &Service, failures: i64) {
    let sql = format!("select count(*) from enroll_service.webhook_endpoints where failures >= {failures}");
    wait_for_number(service, &sql, 1);
}

/// Waits until the delivery of an endpoint has had a number of attempts.
fn wait_for_attempts(service: &Service, endpoint: &Endpoint, attempts: i64) {
    let sql = format!(
        "select max(attempts) from enroll_service.webhook_deliveries where endpoint_id = {}",
        endpoint.literal(service)
    );
    wait_for_number(service, &sql, attempts);
    // The endpoint is free again.
    wait_for_number(service, "select count(*) from enroll_service.webhook_endpoints where lease is not null", 0);
}

fn events_are_sent_signed_and_in_order(service: &mut Service) {
    let (server, theirs) = (Receiver::accepting(), Receiver::accepting());
    let before = enroll_person(service, 1);
    service.wait_for(&before);
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &[]);
    let completed_only = Receiver::accepting();
    Endpoint::add(service, FIRST, &completed_only.url(), &["--kinds", "completed,failed"]);
    Endpoint::add(service, SECOND, &theirs.url(), &[]);
    assert!(endpoint.secret.starts_with("whsec_"), "{}", endpoint.secret);

    let ids: Vec<String> = (2..5).map(|n| enroll_person(service, n)).collect();
    let received = server.wait_for(6);
    let mut expected = BTreeSet::new();
    for id in &ids {
        expected.extend(["enrollment.accepted", "enrollment.completed"].map(|kind| (kind.to_owned(), id.clone())));
    }
    // None from before the endpoint was added.
    assert_eq!(received.iter().map(Received::what).collect::<BTreeSet<_>>(), expected);
    let positions: Vec<u64> = received.iter().map(|m| m.json["data"]["position"].as_u64().unwrap()).collect();
    assert!(positions.is_sorted(), "{positions:?}");
    for message in &received {
        message.verify(&endpoint.secret).unwrap();
        assert!(message.verify("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").is_err());
        assert_eq!((message.header("content-type"), &*message.path), ("application/json", "/hook"));
        assert!(message.header("user-agent").starts_with("enroll/"));
        assert_eq!(message.header("webhook-id"), message.json["data"]["id"].as_str().unwrap());
        assert_eq!(message.json["timestamp"], message.json["data"]["at"]);
        let keys: Vec<&String> = message.json.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["data", "timestamp", "type"]);
        let body = String::from_utf8(message.body.to_vec()).unwrap();
        assert!(!body.contains("+1202555") && !body.contains("Person"), "no personal data: {body}");
        assert_eq!(message.json["data"]["organization_id"], FIRST);
    }
    let completed = received.iter().find(|message| message.json["type"] == "enrollment.completed").unwrap();
    assert_eq!(completed.json["data"]["counts"]["added"], 1, "{completed:?}");
    let completed_only = completed_only.wait_for(3);
    assert!(completed_only.iter().all(|message| message.json["type"] == "enrollment.completed"), "{completed_only:?}");
    assert!(theirs.received().is_empty());
    let metrics = service.get("/metrics").text;
    assert!(metrics.contains("enroll_webhook_attempts_total{result=\"failed\"} 0"), "{metrics}");
}

fn a_failed_message_is_repeated_as_it_is_and_later_each_time(service: &mut Service) {
    let server = Receiver::start(|received| match received.len() {
        1 => Reply::Status(500),
        2 => Reply::With(429, "retry-after", "1200"),
        _ => Reply::Status(200),
    });
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    enroll_person(service, 1);
    let delay = || {
        let of_both = number(service, "select due_at from enroll_service.webhook_deliveries");
        of_both - chrono::Utc::now().timestamp_millis()
    };
    wait_for_attempts(service, &endpoint, 1);
    // Five seconds and up to a quarter more, less the time until here.
    let first = delay();
    assert!(first <= 6250, "{first}");
    let paused = number(service, "select paused_until from enroll_service.webhook_endpoints");
    assert!(paused > 0);

    hurry(service);
    wait_for_attempts(service, &endpoint, 2);
    // Five minutes, but the receiver asks for twenty.
    let second = delay();
    assert!((1_100_000..=1_200_000).contains(&second), "{second}");

    hurry(service);
    let received = server.wait_for(3);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'", 1);
    for message in &received {
        message.verify(&endpoint.secret).unwrap();
        assert_eq!(message.header("webhook-id"), received[0].header("webhook-id"));
        assert_eq!(message.body, received[0].body);
    }
    assert_eq!(received.len(), 3);
    let metrics = service.get("/metrics").text;
    for line in ["{result=\"delivered\"} 1", "{result=\"failed\"} 2", "{result=\"dead\"} 0"] {
        assert!(metrics.contains(&format!("enroll_webhook_attempts_total{line}")), "{metrics}");
    }
}

fn a_message_that_fails_in_every_attempt_is_dead_and_can_be_sent_again(service: &mut Service) {
    let server = Receiver::start(|received| Reply::Status(if received.len() <= 2 { 400 } else { 204 }));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    let enrollment = enroll_person(service, 1);
    wait_for_attempts(service, &endpoint, 1);
    let metrics = service.get("/metrics").text;
    assert!(
        metrics.contains("enroll_webhooks{state=\"waiting\"} 1") && metrics.contains("enroll_webhook_age_seconds ")
    );
    hurry(service);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'dead'", 1);

    let list = |more: &[&str]| enroll(&["webhooks", "list", "--database", &service.database], more);
    let dead = json_of(&list(&["--dead", "--json"]));
    assert_eq!(
        (&dead["total"], &dead["data"][0]["attempts"], &dead["data"][0]["last"]),
        (&json!(1), &json!(2), &json!("400"))
    );
    assert_eq!(dead["data"][0]["type"], "enrollment.accepted");
    let event = dead["data"][0]["event_id"].as_str().unwrap().to_owned();
    assert!(text(&list(&["--dead"])).contains(&event));
    assert_eq!(json_of(&list(&["--json"]))["data"][0]["dead"], 1);
    let of_second = json_of(&list(&["--dead", "--json", "--organization", SECOND]));
    assert_eq!(of_second["total"], 0);

    let replay =
        |more: &[&str]| text(&enroll(&["webhooks", "replay", &endpoint.id, "--database", &service.database], more));
    assert_eq!(replay(&[]), "1 delivery waits; `enroll serve` sends it\n");
    let received = server.wait_for(3);
    assert_eq!(received[2].header("webhook-id"), event);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'", 1);
    assert_eq!(replay(&[]), "nothing to send again\n");

    // One that was delivered, by its id.
    assert_eq!(replay(&["--event", &event, "--json"]), "{\n  \"replayed\": 1\n}\n");
    assert_eq!(server.wait_for(4)[3].what(), ("enrollment.accepted".to_owned(), enrollment.clone()));
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'", 1);

    // All since an instant, also those from before the endpoint was added.
    let late = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    let since = ["webhooks", "replay", &late.id, "--database", &service.database, "--since", "2026-01-01T00:00:00Z"];
    assert_eq!(text(&enroll(&since, &[])), "1 delivery waits; `enroll serve` sends it\n");
    let received = server.wait_for(5);
    received[4].verify(&late.secret).unwrap();
    assert_eq!(received[4].what().1, enrollment);
    assert_eq!(replay(&["--since", "2999-01-01T00:00:00Z"]), "nothing to send again\n");
}

fn a_receiver_that_is_gone_gets_no_more_until_a_replay(service: &mut Service) {
    let server = Receiver::start(|received| Reply::Status(if received.len() == 1 { 410 } else { 204 }));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    enroll_person(service, 1);
    wait_for_number(service, "select count(*) from enroll_service.webhook_endpoints where disabled_at is not null", 1);
    let list = text(&enroll(&["webhooks", "list", "--database", &service.database], &[]));
    assert!(list.contains("disabled 2"), "{list}");
    // An endpoint that is active shows when the events were copied.
    let other = Receiver::accepting();
    Endpoint::add(service, FIRST, &other.url(), &["--kinds", "accepted"]);
    let missed = enroll_person(service, 2);
    other.wait_for(1);
    assert_eq!(server.received().len(), 1);

    let args = ["webhooks", "replay", &endpoint.id, "--database", &service.database, "--json"];
    assert_eq!(json_of(&enroll(&args, &[]))["replayed"], 1);
    server.wait_for(2);
    // What it missed is sent with `--since` only.
    assert_eq!(json_of(&enroll(&args, &["--since", "2026-01-01T00:00:00Z"]))["replayed"], 2);
    let received = server.wait_until(|received| received.iter().any(|message| message.what().1 == missed));
    assert!(received.iter().all(|message| message.verify(&endpoint.secret).is_ok()));
}

fn an_endpoint_that_hangs_holds_up_no_other(service: &mut Service) {
    let hanging = Receiver::start(|_| Reply::Hang);
    let (same, theirs) = (Receiver::accepting(), Receiver::accepting());
    let slow = Endpoint::add(service, FIRST, &hanging.url(), &[]);
    Endpoint::add(service, FIRST, &same.url(), &[]);
    Endpoint::add(service, SECOND, &theirs.url(), &[]);
    let ids: Vec<String> = (0..3).map(|n| enroll_person(service, n)).collect();
    hanging.wait_for(1);
    let path = format!("/v1/sequences/{}/contacts", id(0xa5));
    let body = json!({"to": [{"phone": "+12025550187"}]}).to_string();
    service.post_as(&service.other_key, &path, body, &[]).accepted();
    theirs.wait_for(2);
    let of_same: BTreeSet<String> = same.wait_for(6).iter().map(|message| message.what().1).collect();
    assert_eq!(of_same, ids.into_iter().collect());
    // The place of the slow one is free again after the timeout.
    wait_for_number(
        service,
        &format!(
            "select count(*) from enroll_service.webhook_deliveries where endpoint_id = {} and code = 'timeout'",
            slow.literal(service)
        ),
        1,
    );
}

fn an_organization_has_a_quarter_of_the_places(service: &mut Service) {
    let hanging = Receiver::start(|_| Reply::Hang);
    let theirs = Receiver::accepting();
    for _ in 0..5 {
        Endpoint::add(service, FIRST, &hanging.url(), &[]);
    }
    Endpoint::add(service, SECOND, &theirs.url(), &[]);
    enroll_person(service, 1);
    hanging.wait_for(1);
    for n in 0..3 {
        let path = format!("/v1/sequences/{}/contacts", id(0xa5));
        let body = json!({"to": [{"phone": format!("+120255501{n:02}")}]}).to_string();
        service.post_as(&service.other_key, &path, body, &[]).accepted();
        theirs.wait_for(2 * (n + 1));
    }
    // The five endpoints share one of the four places.
    assert_eq!(hanging.received().len(), 1);
}

fn what_waits_for_an_endpoint_that_is_down_is_given_up_together(service: &mut Service) {
    let server = Receiver::start(|_| Reply::Status(503));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    let other = Receiver::accepting();
    Endpoint::add(service, FIRST, &other.url(), &["--kinds", "accepted"]);
    enroll_person(service, 0);
    wait_for_attempts(service, &endpoint, 1);
    service
        .batch_execute("update enroll_service.webhook_endpoints set paused_until = 4000000000000 where failures > 0");
    for n in 1..5 {
        enroll_person(service, n);
    }
    other.wait_for(5);
    // The endpoint is left alone, so the others were not tried.
    assert_eq!(server.received().len(), 1);
    // Four of them have waited for longer than all attempts take.
    let waiting = "select count(*) from enroll_service.webhook_deliveries where state = 'waiting'";
    assert_eq!(number(service, waiting), 5);
    service.batch_execute(
        "update enroll_service.webhook_deliveries set queued_at = queued_at - 7200000
            where state = 'waiting' and position < (select max(position) from enroll_service.webhook_deliveries)",
    );
    // But the endpoint has failed for a short time only: they waited because no process ran.
    service.batch_execute("update enroll_service.webhook_endpoints set paused_until = leased_until");
    wait_for_failures(service, 2);
    assert_eq!(number(service, waiting), 5);
    // Without an attempt for two hours, it has a new chance.
    service.batch_execute(
        "update enroll_service.webhook_endpoints set failing_since = failing_since - 7200000,
            paused_until = leased_until - 7200000",
    );
    wait_for_failures(service, 3);
    assert_eq!(number(service, waiting), 5);
    service.batch_execute(FAILING);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'dead'", 4);
    wait_for_failures(service, 4);
    assert_eq!(number(service, waiting), 1);
    let metrics = service.get("/metrics").text;
    assert!(metrics.contains("enroll_webhooks_ended_total{result=\"dead\"} 4"), "{metrics}");
    assert!(metrics.contains("enroll_webhook_attempts_total{result=\"dead\"} 0"), "{metrics}");
}

fn what_waited_for_the_whole_schedule_dies_while_new_messages_are_tried(service: &mut Service) {
    let server = Receiver::start(|_| Reply::Status(503));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    let other = Receiver::accepting();
    Endpoint::add(service, FIRST, &other.url(), &["--kinds", "accepted"]);
    enroll_person(service, 0);
    wait_for_attempts(service, &endpoint, 1);
    service
        .batch_execute("update enroll_service.webhook_endpoints set paused_until = 4000000000000 where failures > 0");
    for n in 1..6 {
        enroll_person(service, n);
    }
    other.wait_for(6);
    // Five have waited for longer than the schedule. Four of them, and the last one, never had an attempt.
    service.batch_execute(
        "update enroll_service.webhook_deliveries set queued_at = queued_at - 7200000
            where state = 'waiting' and position < (select max(position) from enroll_service.webhook_deliveries);
        update enroll_service.webhook_endpoints set failures = 7",
    );
    service.batch_execute(FAILING);
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'dead'", 5);
    wait_for_number(service, "select count(*) from enroll_service.webhook_endpoints where lease is not null", 0);
    assert_eq!(number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'waiting'"), 1);
    assert_eq!(server.received().len(), 2);
    // The pause is longer than the first step of the schedule.
    let pause = number(service, "select max(paused_until - leased_until) from enroll_service.webhook_endpoints");
    assert_eq!(pause, 256_000);
}

fn a_redirect_is_not_followed(service: &mut Service) {
    let target = Receiver::accepting();
    let location: &'static str = Box::leak(target.url().into_boxed_str());
    let server = Receiver::start(move |_| Reply::With(307, "location", location));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    enroll_person(service, 1);
    wait_for_attempts(service, &endpoint, 1);
    assert_eq!(endpoint.codes(service), ["307"]);
    assert!(target.received().is_empty());
}

fn a_removed_endpoint_gets_nothing_more(service: &mut Service) {
    let server = Receiver::start(|_| Reply::Status(500));
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &["--kinds", "accepted"]);
    enroll_person(service, 1);
    wait_for_attempts(service, &endpoint, 1);
    let remove = ["webhooks", "remove", &endpoint.id, "--database", &service.database];
    assert_eq!(text(&enroll(&remove, &[])), format!("removed {}\n", endpoint.id));
    assert_eq!(number(service, "select count(*) from enroll_service.webhook_deliveries"), 0);
    let other = Receiver::accepting();
    Endpoint::add(service, FIRST, &other.url(), &["--kinds", "accepted"]);
    enroll_person(service, 2);
    other.wait_for(1);
    hurry(service);
    enroll_person(service, 3);
    other.wait_for(2);
    assert_eq!(server.received().len(), 1);
}

fn a_killed_service_sends_the_rest_after_its_restart(service: &mut Service) {
    // The third message is on its way when the service is killed.
    let server = Receiver::start(|received| if received.len() == 3 { Reply::Hang } else { Reply::Status(204) });
    let endpoint = Endpoint::add(service, FIRST, &server.url(), &[]);
    let ids: Vec<String> = (0..8).map(|n| enroll_person(service, n)).collect();
    server.wait_for(3);
    service.kill_and_restart(&["--webhook-networks", "127.0.0.1"]);
    // The reservation of the killed process would end after a minute.
    hurry(service);
    let mut expected = BTreeSet::new();
    for id in &ids {
        expected.extend(["enrollment.accepted", "enrollment.completed"].map(|kind| (kind.to_owned(), id.clone())));
    }
    let whats = |received: &[Received]| received.iter().map(Received::what).collect::<BTreeSet<_>>();
    let received = server.wait_until(|received| whats(received) == expected && received.len() >= 17);
    // Only the one that was on its way came twice, with the same id.
    let mut times = BTreeMap::<&str, usize>::new();
    for message in &received {
        message.verify(&endpoint.secret).unwrap();
        *times.entry(message.header("webhook-id")).or_default() += 1;
    }
    assert_eq!(received.len(), 17);
    assert_eq!(times[received[2].header("webhook-id")], 2, "{times:?}");
}

fn two_processes_share_the_work(service: &mut Service) {
    let receivers = [(); 3].map(|()| Receiver::accepting());
    for server in &receivers {
        Endpoint::add(service, FIRST, &server.url(), &[]);
    }
    let second = support::service::Process::start(&service.database, &["--webhook-networks", "127.0.0.1"]);
    let ids: BTreeSet<String> = (0..10).map(|n| enroll_person(service, n)).collect();
    for server in &receivers {
        let received = server.wait_for(20);
        let distinct: BTreeSet<&str> = received.iter().map(|message| message.header("webhook-id")).collect();
        assert_eq!((received.len(), distinct.len()), (20, 20), "each event once");
        assert_eq!(received.iter().map(|message| message.what().1).collect::<BTreeSet<_>>(), ids);
    }
    wait_for_number(service, "select count(*) from enroll_service.webhook_deliveries where state = 'delivered'", 60);
    // Each process can do it alone.
    service.terminate();
    service.wait_for_end();
    enroll_at(&second.base, &service.key, 11);
    receivers[0].wait_for(22);
}

/// Enrolls a person at the address of a service.
fn enroll_at(base: &str, key: &str, n: usize) {
    let body = json!({"to": [{"phone": format!("+1202555{:04}", 100 + n), "name": "Person"}]}).to_string();
    let url = format!("{base}/v1/sequences/{}/contacts", support::service::ACTIVE);
    let answer = ureq::post(url).header("X-WHIPPY-KEY", key).send(body).unwrap();
    assert_eq!(answer.status().as_u16(), 202);
}

on_this_machine! {
    events_are_sent_signed_and_in_order;
    a_failed_message_is_repeated_as_it_is_and_later_each_time;
    a_message_that_fails_in_every_attempt_is_dead_and_can_be_sent_again with ["--webhook-retries", "1h"];
    a_receiver_that_is_gone_gets_no_more_until_a_replay;
    an_endpoint_that_hangs_holds_up_no_other with ["--webhook-timeout", "1"];
    an_organization_has_a_quarter_of_the_places with ["--webhooks", "4", "--webhook-timeout", "60"];
    what_waits_for_an_endpoint_that_is_down_is_given_up_together with ["--webhook-retries", "1h"];
    what_waited_for_the_whole_schedule_dies_while_new_messages_are_tried with ["--webhook-retries", "5s,1h"];
    a_redirect_is_not_followed;
    a_removed_endpoint_gets_nothing_more;
    a_killed_service_sends_the_rest_after_its_restart;
    two_processes_share_the_work;
}
