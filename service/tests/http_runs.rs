//! The runs of contacts through sequences over HTTP: order, pages, totals, filters and shapes.

mod support;

use serde_json::{Value, json};
use std::cmp::Reverse;

use support::pages::{delete, ids, literal, walk};
use support::service::{ACTIVE, SECOND, STEP, Service, id, on_both};

on_both! {
    runs_are_walked_by_their_start_while_rows_come_and_go;
    starts_within_a_millisecond_lose_no_run;
    a_page_by_offset_is_a_part_of_the_list;
    totals_follow_commits_hosts_and_erasures;
    each_filter_is_answered_alone_and_together;
    a_client_of_the_documented_route_is_answered;
    parameters_that_cannot_be_answered_are_refused;
    a_run_has_its_step_contacts_and_the_dates_of_requests;
    nothing_of_another_organization_is_shown;
}

const RUNS: &str = "/v1/sequence_runs";
/// Another sequence of the first organization.
const LOST: &str = "00000000-0000-0000-0000-000000000022";

fn in_active() -> String {
    format!("/v1/sequences/{ACTIVE}/sequence_runs")
}

fn run_id(n: u32) -> String {
    // The ids are not in the order of the starts.
    id(0x20_0000 + n * 37 % 101)
}

fn start(n: u32) -> String {
    format!("2026-02-01T15:{:02}:00.000Z", n / 4)
}

fn sequence(n: u32) -> &'static str {
    if n.is_multiple_of(3) { LOST } else { ACTIVE }
}

fn status(n: u32) -> &'static str {
    if n.is_multiple_of(5) { "finished" } else { "active" }
}

/// Returns contacts with one run each. Four start at a time.
fn runs(numbers: impl Iterator<Item = u32> + Clone) -> Value {
    let run = |n: u32| {
        json!({"id": run_id(n), "contact_id": id(0x1000 + n), "sequence_id": sequence(n), "status": status(n),
            "started_at": start(n)})
    };
    json!({
        "contacts": numbers.clone().map(|n| json!({"id": id(0x1000 + n), "phone": format!("+121255501{n:02}")})).collect::<Vec<_>>(),
        "runs": numbers.map(run).collect::<Vec<_>>(),
    })
}

/// Returns the ids of these runs in the order of the list.
fn newest_first(numbers: impl Iterator<Item = u32>) -> Vec<String> {
    let mut runs: Vec<(String, String)> = numbers.map(|n| (start(n), run_id(n))).collect();
    runs.sort_by_key(|run| Reverse(run.clone()));
    runs.into_iter().map(|(_, id)| id).collect()
}

fn data(service: &Service, path: &str) -> Vec<Value> {
    let answer = service.get(path);
    assert_eq!(answer.status, 200, "{answer:?}");
    let rows = answer.json["data"].as_array().unwrap().clone();
    if !path.contains("limit") {
        assert_eq!(answer.json["total"], json!(rows.len()), "{path}");
    }
    rows
}

fn total(service: &Service, path: &str) -> u64 {
    service.get(path).json["total"].as_u64().unwrap()
}

fn runs_are_walked_by_their_start_while_rows_come_and_go(service: &mut Service) {
    service.load(&runs(8..48));
    let mut gone = Vec::new();
    for (list, is_listed) in [
        (RUNS.to_owned(), (|_| true) as fn(u32) -> bool),
        (in_active(), |n| sequence(n) == ACTIVE),
        (format!("{RUNS}?status=active"), |n| status(n) == "active"),
        (format!("{}?status=finished", in_active()), |n| sequence(n) == ACTIVE && status(n) == "finished"),
        (format!("{RUNS}?after={}&before={}", start(12), start(40)), |n| (12..=43).contains(&n)),
    ] {
        let before: Vec<u32> = (8..48).filter(|n| is_listed(*n) && !gone.contains(n)).collect();
        let leaves = before[before.len() / 2];
        let walked = walk(service, &list, 2, |page| {
            let page = u32::try_from(page).unwrap();
            if page == 1 {
                delete(service, "runs", &run_id(leaves));
                gone.push(leaves);
            }
            // One is newer than all others, one is older.
            if page <= 3 && gone.len() == 1 {
                service.load(&runs([4 + page, 48 + page].into_iter()));
            }
        });
        let stayed = newest_first(before.into_iter().filter(|n| *n != leaves));
        let of_stayed: Vec<String> = ids(&walked).into_iter().filter(|id| stayed.contains(id)).collect();
        assert_eq!(of_stayed, stayed, "{list}");
        assert_eq!(walk(service, &list, 3, |_| {}), data(service, &list), "{list}");
    }
}

fn starts_within_a_millisecond_lose_no_run(service: &mut Service) {
    service.load(&runs(0..8));
    // A host on PostgreSQL writes microseconds.
    let start = if service.database.starts_with("postgres") {
        "timestamptz '2026-02-01 15:00:00.123Z' + interval '1 microsecond' * get_byte(uuid_send(id), 15)"
    } else {
        "1769958000123"
    };
    service.batch_execute(&format!("update enroll.runs set started_at = {start}"));
    let all = data(service, RUNS);
    assert_eq!(all.len(), 8);
    assert_eq!(walk(service, RUNS, 1, |_| {}), all);
    for limit in ["before", "after"] {
        assert_eq!(data(service, &format!("{RUNS}?{limit}=2026-02-01T15:00:00.123Z")), all, "{limit}");
    }
}

fn a_page_by_offset_is_a_part_of_the_list(service: &mut Service) {
    service.load(&runs(0..20));
    for list in [format!("{RUNS}?"), format!("{}?status=active&", in_active())] {
        let all = data(service, list.trim_end_matches(['?', '&']));
        for offset in [0, 3, 9, all.len(), 1000] {
            let page = data(service, &format!("{list}limit=4&offset={offset}"));
            assert_eq!(page, all.iter().skip(offset).take(4).cloned().collect::<Vec<_>>(), "{offset}");
        }
        // It has a cursor too. Rows that come in between do not move the next page.
        let second = service.get(&format!("{list}limit=2&offset=2")).json;
        let cursor = second["metadata"]["next_cursor"].as_str().unwrap();
        let next = 60 + u32::try_from(all.len()).unwrap();
        service.load(&runs(next..next + 2));
        assert_eq!(data(service, &format!("{list}limit=2&cursor={cursor}")), all[4..6]);
        for other in [format!("{RUNS}?contact_id={}&", id(0x1001)), "/v1/enrollments?".to_owned()] {
            service.get(&format!("{other}cursor={cursor}")).assert_error(422, "invalid_parameter", "?cursor");
        }
    }
}

fn totals_follow_commits_hosts_and_erasures(service: &mut Service) {
    let enroll = |service: &Service, phones: &[&str]| {
        let to: Vec<Value> = phones.iter().map(|phone| json!({"phone": phone})).collect();
        let state = service.wait_for(&service.enroll(&json!({"to": to}), &[]).accepted());
        assert_eq!(state["state"], "completed", "{state}");
    };
    let totals = |service: &Service| {
        let list = in_active();
        let by_status = ["active", "finished"].map(|status| total(service, &format!("{list}?status={status}")));
        assert_eq!(total(service, &list), by_status.iter().sum::<u64>());
        assert_eq!(total(service, RUNS), by_status.iter().sum::<u64>());
        assert_eq!(data(service, RUNS).len() as u64, total(service, RUNS));
        by_status
    };
    assert_eq!(totals(service), [0, 0]);
    enroll(service, &["+12025550161", "+12025550162", "+12025550163"]);
    assert_eq!(totals(service), [3, 0]);
    service.batch_execute("update enroll.runs set status = 'finished'");
    service.batch_execute("update enroll.step_contacts set status = 'finished'");
    assert_eq!(totals(service), [0, 3]);
    // Reprocessed: the run is active again.
    enroll(service, &["+12025550161"]);
    assert_eq!(totals(service), [1, 2]);
    let erased = service.post("/v1/contacts/erase", r#"{"phone": "+12025550162", "confirm": true}"#, &[]);
    assert_eq!(erased.status, 200, "{erased:?}");
    assert_eq!(totals(service), [1, 1]);
    let lost = literal(service, LOST);
    service.batch_execute(&format!("update enroll.runs set sequence_id = {lost} where status = 'finished'"));
    assert_eq!(total(service, &in_active()), 1);
    assert_eq!(total(service, &format!("{RUNS}?sequence_id={LOST}")), 1);
    service.batch_execute("delete from enroll.runs");
    assert_eq!(totals(service), [0, 0]);
}

fn each_filter_is_answered_alone_and_together(service: &mut Service) {
    // A second run of a contact, whose first step contact is on another channel than the second one.
    let again = id(0x30_0000);
    let mut rows = runs(0..24);
    rows["runs"].as_array_mut().unwrap().push(json!({"id": again, "contact_id": id(0x1001), "sequence_id": ACTIVE,
        "status": "active", "started_at": "2026-03-01T00:00:00Z"}));
    let step_contact = |n: u32, status: &str, channel: u32| {
        json!({"id": id(0x40_0000 + n), "run_id": again, "contact_id": id(0x1001), "sequence_id": ACTIVE, "step_id": STEP,
            "status": status, "channel_id": id(channel), "scheduled_at": format!("2026-03-0{n}T00:00:00Z")})
    };
    rows["step_contacts"] = json!([step_contact(1, "moved", 0x10), step_contact(2, "active", 2)]);
    service.load(&rows);
    let all = [newest_first(0..24), vec![id(0x30_0000)]].concat();
    let listed = |filter: &str| ids(&data(service, &format!("{RUNS}?{filter}")));
    let of = |keep: fn(u32) -> bool| newest_first((0..24).filter(|n| keep(*n)));
    let with_again = |rows: Vec<String>| [vec![id(0x30_0000)], rows].concat();

    assert_eq!(listed("").len(), all.len());
    assert_eq!(listed(&format!("sequence_id={LOST}")), of(|n| sequence(n) == LOST));
    assert_eq!(listed("status=finished"), of(|n| status(n) == "finished"));
    assert_eq!(listed("status=active&status=finished"), with_again(of(|_| true)));
    let both = with_again(vec![run_id(1)]);
    assert_eq!(listed(&format!("contact_id={}", id(0x1001))), both);
    for phone in ["%2B12125550101", "+12125550101", "%2B1%20(212)%20555-0101", "(212)%20555-0101"] {
        assert_eq!(listed(&format!("phone={phone}")), both, "{phone}");
    }
    assert_eq!(listed("phone=%2B12125550199"), [""; 0]);
    assert_eq!(listed(&format!("phone=%2B12125550101&contact_id={}", id(0x1001))), both);
    assert_eq!(listed(&format!("phone=%2B12125550101&contact_id={}", id(0x1002))), [""; 0]);
    for channel in [2, 0x10] {
        assert_eq!(listed(&format!("channel_id={}", id(channel))), [id(0x30_0000)]);
        assert_eq!(listed(&format!("channel_id={}&contact_id={}", id(channel), id(0x1001))), [id(0x30_0000)]);
    }
    assert_eq!(listed(&format!("channel_id={}", id(0x11))), [""; 0]);
    // Both limits are inclusive.
    assert_eq!(listed(&format!("before={}", start(7))), of(|n| n < 8));
    assert_eq!(listed(&format!("after={}", start(20))), with_again(of(|n| n >= 20)));
    assert_eq!(
        listed(&format!("after={}&before={}&status=active", start(8), start(8))),
        of(|n| n / 4 == 2 && status(n) == "active")
    );
    assert_eq!(listed(&format!("contact_id={}&before={}", id(0x1001), start(7))), [run_id(1)]);
    assert_eq!(listed(&format!("contact_id={}&after=2026-02-02T00:00:00Z", id(0x1001))), [id(0x30_0000)]);
    assert_eq!(listed("after=2026-03-01T01:00:00%2B01:00"), [id(0x30_0000)]);
    // An unescaped `+` is a space.
    assert_eq!(listed("after=2026-03-01T01:00:00+01:00"), [id(0x30_0000)]);
    assert_eq!(listed(&format!("before={}&after={}", start(4), start(8))), [""; 0]);
    assert_eq!(
        listed(&format!("sequence_id={ACTIVE}&status=finished&after={}", start(8))),
        of(|n| sequence(n) == ACTIVE && status(n) == "finished" && n >= 8)
    );
    for filter in [format!("contact_id={}", id(0x1001)), format!("before={}", start(12)), "status=active".to_owned()] {
        let list = format!("{RUNS}?{filter}");
        assert_eq!(walk(service, &list, 1, |_| {}), data(service, &list), "{filter}");
    }
}

/// The query that a published client sends: each parameter, most of them blank.
fn a_client_of_the_documented_route_is_answered(service: &mut Service) {
    service.load(&runs(0..12));
    let blank = "?limit=50&offset=0&status=active&phone=&before=&after=&channel_id=";
    let answer = service.get(&format!("{}{blank}", in_active()));
    assert_eq!(answer.status, 200, "{answer:?}");
    let active = newest_first((0..12).filter(|n| sequence(*n) == ACTIVE && status(*n) == "active"));
    assert_eq!(ids(answer.json["data"].as_array().unwrap()), active);
    assert_eq!(answer.json["total"], active.len());
    let one = service.get(&format!("{}/{}", in_active(), active[0]));
    assert_eq!(one.json["data"], answer.json["data"][0]);
    assert_eq!(service.get(&format!("{RUNS}/{}", active[0])).json, one.json);
    // Another name of the list.
    assert_eq!(service.get("/v1/sequences/runs?limit=3").json, service.get(&format!("{RUNS}?limit=3")).json);
}

fn parameters_that_cannot_be_answered_are_refused(service: &mut Service) {
    for (query, parameter) in [
        ("status=paused", "?status"),
        ("before=yesterday", "?before"),
        ("after=2026-02-01", "?after"),
        ("contact_id=7", "?contact_id"),
        ("channel_id=phone", "?channel_id"),
        ("limit=501", "?limit"),
        ("offset=-1", "?offset"),
        ("statuses=active", "?statuses"),
        ("step_ids=1", "?step_ids"),
    ] {
        for list in [RUNS.to_owned(), in_active()] {
            service.get(&format!("{list}?{query}")).assert_error(422, "invalid_parameter", parameter);
        }
    }
    for (query, part) in [
        ("responded=true", "not supported"),
        ("search=ann", "not supported"),
        ("statu=active", "did you mean `status`?"),
    ] {
        let answer = service.get(&format!("{RUNS}?{query}"));
        assert!(answer.json["errors"][0]["description"].as_str().unwrap().contains(part), "{answer:?}");
    }
    // The path says the sequence.
    service.get(&format!("{}?sequence_id={ACTIVE}", in_active())).assert_error(
        422,
        "invalid_parameter",
        "?sequence_id",
    );
    service.get(&format!("{RUNS}/{}?limit=1", id(1))).assert_error(422, "invalid_parameter", "?limit");
}

fn a_run_has_its_step_contacts_and_the_dates_of_requests(service: &mut Service) {
    let body = json!({"to": [{"phone": "+12025550124"}], "from": "+12025550100"});
    let accepted: Vec<String> = (0..2)
        .map(|_| {
            let enrollment = service.wait_for(&service.enroll(&body, &[]).accepted());
            enrollment["accepted_at"].as_str().unwrap().to_owned()
        })
        .collect();
    let run = data(service, RUNS).remove(0);
    let step_contact = run["step_contacts"][0].clone();
    assert_eq!(
        run,
        json!({
            "id": run["id"], "status": "active", "sequence_id": ACTIVE,
            "contact": {"id": id(9), "name": "Zoë", "email": "Zoë@example.org", "phone": "+12025550124", "external_id": "crm-9"},
            "channel_id": id(2), "last_step_id": STEP,
            "step_contacts": [{"id": step_contact["id"], "status": "active", "step_id": STEP, "channel_id": id(2),
                "scheduled_at": accepted[1]}],
            "created_at": accepted[0], "updated_at": accepted[1],
        })
    );
    let listed = data(service, &format!("/v1/sequences/{ACTIVE}/contacts")).remove(0);
    assert_eq!((&listed["id"], &listed["run_id"]), (&step_contact["id"], &run["id"]));
    assert_eq!((&listed["run_created_at"], &listed["run_updated_at"]), (&run["created_at"], &run["updated_at"]));
    assert_eq!((&listed["created_at"], &listed["updated_at"]), (&run["created_at"], &run["updated_at"]));

    // A host moves the contact to the next step. Its row has no request.
    service.batch_execute("update enroll.step_contacts set status = 'moved'");
    let later = if service.database.starts_with("postgres") { "interval '1 second'" } else { "1000" };
    service.batch_execute(&format!(
        "insert into enroll.step_contacts
            (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at, channel_id)
        select organization_id, {}, run_id, sequence_id, {}, contact_id, 'pending', scheduled_at + {later}, {}
        from enroll.step_contacts",
        literal(service, &id(0x50)),
        literal(service, &id(0x24)),
        literal(service, &id(0x11)),
    ));
    let moved = service.get(&format!("{RUNS}/{}", run["id"].as_str().unwrap())).json["data"].clone();
    assert_eq!(moved["step_contacts"][0]["status"], "moved");
    assert_eq!(ids(moved["step_contacts"].as_array().unwrap())[1], id(0x50));
    assert_eq!((&moved["last_step_id"], &moved["channel_id"]), (&json!(id(0x24)), &json!(id(0x11))));
    assert_eq!(moved["updated_at"], run["updated_at"]);
    for listed in data(service, &format!("/v1/sequences/{ACTIVE}/contacts")) {
        assert_eq!(listed["run_updated_at"], run["updated_at"], "{listed}");
        assert_eq!(listed["updated_at"].is_null(), listed["id"] == id(0x50));
    }
    // A run that a host made, without step contacts.
    service.load(&runs(1..2));
    let made = service.get(&format!("{RUNS}/{}", run_id(1))).json["data"].clone();
    assert_eq!((&made["step_contacts"], &made["created_at"]), (&json!([]), &json!(start(1))));
    for field in ["channel_id", "last_step_id", "updated_at"] {
        assert_eq!(made.get(field), Some(&Value::Null), "{field}");
    }
}

fn nothing_of_another_organization_is_shown(service: &mut Service) {
    service.load(&runs(0..4));
    let theirs = |path: &str| service.get_as(&service.other_key, path);
    let empty = json!({"data": [], "total": 0});
    assert_eq!(theirs(RUNS).json, empty);
    assert_eq!(theirs(&format!("/v1/sequences/{}/sequence_runs", id(0xa5))).json, empty);
    for filter in [
        format!("sequence_id={ACTIVE}"),
        format!("contact_id={}", id(0x1001)),
        "phone=%2B12125550101".to_owned(),
        format!("channel_id={}", id(2)),
        "status=active".to_owned(),
        format!("before={}", start(99)),
    ] {
        assert_eq!(theirs(&format!("{RUNS}?{filter}")).json, empty, "{filter}");
    }
    theirs(&in_active()).assert_error(404, "sequence_not_found", "");
    theirs(&format!("{RUNS}/{}", run_id(1))).assert_error(404, "sequence_run_not_found", "");
    theirs(&format!("{}/{}", in_active(), run_id(1))).assert_error(404, "sequence_not_found", "");
    let in_theirs = format!("/v1/sequences/{}/sequence_runs/{}", id(0xa5), run_id(1));
    theirs(&in_theirs).assert_error(404, "sequence_run_not_found", "");
    // Nor an unknown id, a malformed one, or a run of another sequence.
    service.get(&format!("{RUNS}/{}", id(0xff))).assert_error(404, "sequence_run_not_found", "");
    service.get(&format!("{RUNS}/x")).assert_error(404, "sequence_run_not_found", "");
    service.get("/v1/sequences/x/sequence_runs").assert_error(404, "sequence_not_found", "");
    assert_eq!(sequence(3), LOST);
    service.get(&format!("{}/{}", in_active(), run_id(3))).assert_error(404, "sequence_run_not_found", "");
    service.get(&format!("{}/x", in_active())).assert_error(404, "sequence_run_not_found", "");

    // The same ids exist in both organizations.
    let mut same = runs(0..4);
    for row in same["runs"].as_array_mut().unwrap() {
        row["sequence_id"] = json!(id(0xa5));
    }
    service.load_into(SECOND, &same);
    for (key, of) in
        [(&service.key, [LOST, ACTIVE, ACTIVE, LOST].to_vec()), (&service.other_key, vec![id(0xa5).leak(); 4])]
    {
        let rows = service.get_as(key, RUNS).json;
        assert_eq!(rows["total"], 4);
        let mut sequences: Vec<&str> =
            rows["data"].as_array().unwrap().iter().map(|row| row["sequence_id"].as_str().unwrap()).collect();
        sequences.sort_unstable();
        let mut expected = of.clone();
        expected.sort_unstable();
        assert_eq!(sequences, expected);
    }
}
