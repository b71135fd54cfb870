//! The lists of the HTTP API, page by page, while other writers insert, change and delete rows.

mod support;

use enroll_bench::lists::{self, Dialect};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use uuid::Uuid;

use support::pages::{delete, ids, walk};
use support::service::{ACTIVE, STEP, Service, id, on_both};
use support::{PostgresClient, on_postgresql};

on_both! {
    contacts_are_walked_by_name_while_rows_come_and_go;
    the_contacts_of_a_sequence_are_walked_while_rows_come_and_go;
    enrollments_are_walked_while_rows_come_and_go with ["--workers", "0"];
    sequences_are_walked_by_title_while_rows_come_and_go;
    totals_follow_the_writes_of_a_host;
    a_cursor_works_only_for_its_list_and_its_filters;
}

on_postgresql! {
    fn a_page_of_a_long_list_reads_few_rows() {
        let mut service = Service::on_postgresql("few_rows", IDLE);
        let rows = lists::rows(Dialect::Postgres, Uuid::parse_str(ACTIVE).unwrap(), 20_000);
        let client = PostgresClient::connect(&service.database);
        client.execute(&rows);
        client.execute("vacuum analyze");
        // The statistics of a session are complete after its end.
        drop(client);
        let client = PostgresClient::connect(&service.database);
        let in_sequence = format!("/v1/sequences/{ACTIVE}/contacts?limit=10");
        for (list, offset) in [
            (in_sequence.clone(), 10_000),
            (format!("{in_sequence}&status=finished"), 5000),
            ("/v1/contacts?limit=10".to_owned(), 10_000),
            ("/v1/enrollments?limit=10".to_owned(), 1000),
            ("/v1/sequence_runs?limit=10".to_owned(), 10_000),
            (format!("/v1/sequences/{ACTIVE}/sequence_runs?limit=10&status=finished"), 5000),
        ] {
            let middle = service.get(&format!("{list}&offset={offset}")).json;
            let cursor = middle["metadata"]["next_cursor"].as_str().unwrap();
            // The statistics are complete after the end of the sessions.
            let rows_after_end = |service: &mut Service| {
                service.terminate();
                service.wait_for_end();
                client.wait_until("select count(*) = 1 from pg_stat_activity where datname = current_database()");
                client.value(READ_ROWS).parse::<u64>().unwrap()
            };
            let before = rows_after_end(&mut service);
            service.kill_and_restart(IDLE);
            for page in [list.clone(), format!("{list}&cursor={cursor}")] {
                assert_eq!(service.get(&page).json["data"].as_array().unwrap().len(), 10, "{page}");
            }
            let rows = rows_after_end(&mut service) - before;
            assert!(rows < 1000, "{rows} rows were read for two pages of {list}");
            service.kill_and_restart(IDLE);
        }
    }
}

/// The service reads no other rows: it has no workers, sends nothing, and removes nothing.
const IDLE: &[&str] = &["--workers", "0", "--webhooks", "0", "--retain-failed", "never", "--retain-events", "never"];
/// The rows of the engine's long tables that all sessions have read.
const READ_ROWS: &str = "select (select coalesce(sum(seq_tup_read), 0) from pg_stat_user_tables where relname in
    ('contacts', 'step_contacts', 'runs', 'enrollments')) + (select coalesce(sum(idx_tup_read), 0) from pg_stat_user_indexes
    where relname in ('contacts', 'step_contacts', 'runs', 'enrollments'))";

/// Checks that the walk has each of these rows once, and in this order.
fn assert_has_each_once(walked: &[Value], stayed: &[String]) {
    let of_stayed: Vec<String> = ids(walked).into_iter().filter(|id| stayed.contains(id)).collect();
    assert_eq!(of_stayed, stayed);
}

fn contacts_are_walked_by_name_while_rows_come_and_go(service: &mut Service) {
    let long = |last: &str| format!("{}{last}", "ß".repeat(255));
    let names = ["b", "B", "Ann", "Ann", "Ann", "é", "z", "\u{ff5e}", "😀", "", " ", "Ann Lee", &long("b"), &long("a")];
    let with_name = names.iter().map(|name| Some((*name).to_owned()));
    let contacts: Vec<(String, Option<String>)> =
        with_name.chain([None, None, None]).zip(0x1000..).map(|(name, n)| (id(n), name)).collect();
    let rows = contacts.iter().map(|(id, name)| json!({"id": id, "name": name}));
    let gone = |n: u32| {
        let name = ["Ann", "c", "😁"][n as usize % 3];
        json!({"id": id(0x2000 + n), "name": name})
    };
    service.load(&json!({"contacts": rows.chain((0..12).map(gone)).collect::<Vec<_>>()}));
    let mut sorted = contacts.clone();
    // Byte by byte, and by the first 255 characters.
    sorted.sort_by_key(|(id, name)| {
        let name = name.as_ref().map(|name| name.chars().take(255).collect::<String>());
        (name.is_none(), name, id.clone())
    });
    let stayed: Vec<String> = sorted.into_iter().map(|(id, _)| id).collect();

    let mut next = 0;
    for limit in [1, 3, 7] {
        let before = next;
        let walked = walk(service, "/v1/contacts", limit, |pages| {
            if pages.is_multiple_of(2) && next < before + 4 {
                delete(service, "contacts", &id(0x2000 + next));
                let (new, name) = (id(0x3000 + next), ["A", "Ann", "zz", "😂"][next as usize % 4]);
                service.load(&json!({"contacts": [{"id": new, "name": name}]}));
                next += 1;
            }
        });
        assert!(next > before, "rows changed during the walk");
        assert_has_each_once(&walked, &stayed);
    }
    let all = service.get("/v1/contacts?limit=500").json;
    assert_eq!(ids(&walk(service, "/v1/contacts", 4, |_| {})), ids(all["data"].as_array().unwrap()));
    assert_eq!(all["total"], json!(all["data"].as_array().unwrap().len()));
    // A page by offset has a cursor too.
    let second = service.get("/v1/contacts?limit=2&offset=2").json;
    let cursor = second["metadata"]["next_cursor"].as_str().unwrap();
    let third = service.get(&format!("/v1/contacts?limit=2&cursor={cursor}")).json;
    assert_eq!(third["data"], service.get("/v1/contacts?limit=2&offset=4").json["data"]);
}

const STATUSES: [&str; 5] = ["active", "finished", "pending", "inactive", "moved"];

/// Returns contacts with one step contact each, whose statuses take turns.
fn step_contacts(numbers: impl Iterator<Item = u32> + Clone) -> Value {
    let row = |n: u32| {
        json!({
            "id": id(0x10_0000 + n), "run_id": id(0x20_0000 + n), "contact_id": id(n), "sequence_id": ACTIVE,
            "step_id": if n.is_multiple_of(2) { STEP.to_owned() } else { id(0x24) }, "status": STATUSES[n as usize % 5],
            "scheduled_at": "2026-02-01T15:00:00Z", "times_processed": n,
        })
    };
    let run = |n: u32| {
        json!({"id": id(0x20_0000 + n), "contact_id": id(n), "sequence_id": ACTIVE, "status": "active",
            "started_at": "2026-02-01T15:00:00Z"})
    };
    json!({
        "contacts": numbers.clone().map(|n| json!({"id": id(n)})).collect::<Vec<_>>(),
        "runs": numbers.clone().map(run).collect::<Vec<_>>(),
        "step_contacts": numbers.map(row).collect::<Vec<_>>(),
    })
}

fn the_contacts_of_a_sequence_are_walked_while_rows_come_and_go(service: &mut Service) {
    service.load(&step_contacts(0x1000..0x1040));
    let list = format!("/v1/sequences/{ACTIVE}/contacts");
    let before: Vec<String> = (0x1000..0x1040).rev().map(|n| id(0x10_0000 + n)).collect();
    let mut next = 0;
    let walked = walk(service, &list, 3, |_| {
        // Deletes the contact, with its step contact. Other rows change their status, and new ones come.
        delete(service, "contacts", &id(0x1000 + 7 * (next % 9)));
        let status = STATUSES[next as usize % 5];
        let change =
            format!("update enroll.step_contacts set status = '{status}' where times_processed % 5 = {}", next % 5);
        service.batch_execute(&change);
        service.load(&step_contacts([0x800 + next, 0x1800 + next].into_iter()));
        next += 1;
    });
    assert!(next >= 10);
    let stayed: Vec<String> = {
        let now = ids(service.get(&format!("{list}?limit=500")).json["data"].as_array().unwrap());
        before.into_iter().filter(|id| now.contains(id)).collect()
    };
    assert!(stayed.len() > 50);
    assert_has_each_once(&walked, &stayed);
    for filter in [
        "status=moved",
        "status=active,pending",
        &format!("step_ids={STEP}"),
        &format!("step_ids={STEP}&status=finished"),
    ] {
        let all = service.get(&format!("{list}?limit=500&{filter}")).json;
        let rows = all["data"].as_array().unwrap();
        assert_eq!(all["total"], json!(rows.len()), "{filter}");
        assert_eq!(walk(service, &format!("{list}?{filter}"), 2, |_| {}), *rows, "{filter}");
    }
}

fn enrollments_are_walked_while_rows_come_and_go(service: &mut Service) {
    let accept = |n: usize| {
        let body = json!({"to": [{"phone": format!("+120255502{n:02}")}]});
        service.enroll(&body, &[]).accepted()
    };
    let accepted: Vec<String> = (0..14).map(accept).collect();
    let stayed: Vec<String> = accepted.iter().rev().filter(|id| **id != accepted[3]).cloned().collect();
    for list in ["/v1/enrollments", "/v1/enrollments?state=accepted,completed"] {
        let mut pages = 0;
        let walked = walk(service, list, 4, |page| {
            accept(20 + page);
            delete(service, "enrollments", &accepted[3]);
            pages = page;
        });
        assert!(pages >= 3);
        // Two can have the same instant, and are then ordered by id.
        let mut once = ids(&walked);
        once.retain(|id| stayed.contains(id));
        once.sort();
        let mut expected = stayed.clone();
        expected.sort();
        assert_eq!(once, expected);
        let instants: Vec<&str> = walked.iter().map(|row| row["accepted_at"].as_str().unwrap()).collect();
        assert!(instants.is_sorted_by(|a, b| a >= b), "{instants:?}");
    }
    let total = service.get("/v1/enrollments").json["total"].as_u64().unwrap();
    assert_eq!(walk(service, "/v1/enrollments", 5, |_| {}).len() as u64, total);
}

fn sequences_are_walked_by_title_while_rows_come_and_go(service: &mut Service) {
    let sequence = |n: u32, title: &str| json!({"id": id(n), "title": title, "status": "draft"});
    let titles = ["Same", "Same", "Same", "a", "ä", ""];
    let rows: Vec<Value> = titles.iter().zip(0x1000..).map(|(title, n)| sequence(n, title)).collect();
    service.load(&json!({"sequences": rows}));
    let before = service.get("/v1/sequences?limit=500").json;
    let before = before["data"].as_array().unwrap();
    let mut sorted = before.clone();
    sorted.sort_by_key(|row| (row["title"].as_str().unwrap().to_owned(), row["id"].as_str().unwrap().to_owned()));
    assert_eq!(*before, sorted);
    let gone = id(0x1001);
    let walked = walk(service, "/v1/sequences", 2, |page| {
        delete(service, "sequences", &gone);
        service.load(&json!({"sequences": [sequence(0x2000 + u32::try_from(page).unwrap(), "Same")]}));
    });
    let stayed: Vec<String> = ids(before).into_iter().filter(|id| *id != gone).collect();
    assert_has_each_once(&walked, &stayed);
}

fn totals_follow_the_writes_of_a_host(service: &mut Service) {
    let list = format!("/v1/sequences/{ACTIVE}/contacts");
    let total = |path: &str| service.get(path).json["total"].as_u64().unwrap();
    let (contacts, before) = (total("/v1/contacts"), total(&list));
    service.load(&step_contacts(0x1000..0x1032));
    assert_eq!((total("/v1/contacts"), total(&list)), (contacts + 50, before + 50));
    service.batch_execute("update enroll.step_contacts set status = 'moved' where status = 'finished'");
    let by_status: BTreeMap<&str, u64> =
        STATUSES.into_iter().map(|status| (status, total(&format!("{list}?status={status}")))).collect();
    for (documented, status) in [("complete", "finished"), ("in-active", "inactive")] {
        assert_eq!(total(&format!("{list}?status={documented}")), by_status[status], "{documented}");
    }
    assert_eq!((by_status["finished"], by_status["moved"], by_status["active"]), (0, 20, 10));
    assert_eq!(total(&format!("{list}?status=moved,active")), 30);
    assert_eq!(total(&format!("{list}?step_ids={STEP},{}", id(0x24))), before + 50);
    delete(service, "contacts", &id(0x1000));
    assert_eq!((total("/v1/contacts"), total(&list)), (contacts + 49, before + 49));
    service.wait_for(&service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted());
    assert_eq!((total("/v1/contacts"), total(&list)), (contacts + 50, before + 50));
    assert_eq!(total("/v1/contacts?phone=%2B12025550187"), 1);
    // Of another organization.
    let other = service.get_as(&service.other_key, "/v1/contacts").json;
    assert_eq!((&other["total"], &other["data"]), (&json!(0), &json!([])));
}

fn a_cursor_works_only_for_its_list_and_its_filters(service: &mut Service) {
    service.load(&step_contacts(0x1000..0x1014));
    let list = format!("/v1/sequences/{ACTIVE}/contacts");
    let cursor_of = |path: &str| {
        let page = service.get(path).json;
        page["metadata"]["next_cursor"].as_str().unwrap_or_else(|| panic!("{page}")).to_owned()
    };
    let contacts = cursor_of("/v1/contacts?limit=1");
    let active = cursor_of(&format!("{list}?limit=1&status=active,pending"));
    assert_eq!(service.get(&format!("{list}?limit=5&status=pending&status=active&cursor={active}")).status, 200);
    let cut = &contacts[1..];
    for path in [
        format!("/v1/sequences?cursor={contacts}"),
        format!("/v1/contacts?external_id=a&cursor={contacts}"),
        format!("/v1/contacts?cursor={active}"),
        format!("/v1/contacts?cursor={contacts}&offset=1"),
        format!("/v1/contacts?cursor={contacts}&offset=0"),
        format!("{list}?cursor={active}"),
        format!("{list}?status=active&cursor={active}"),
        format!("/v1/sequences/{}/contacts?status=active,pending&cursor={active}", id(0x20)),
        format!("/v1/contacts?cursor={cut}"),
        "/v1/enrollments?cursor=next".to_owned(),
        "/v1/contacts?cursor=%F0%9F%98%80".to_owned(),
    ] {
        service.get(&path).assert_error(422, "invalid_parameter", "?cursor");
    }
    let of_other = service.get_as(&service.other_key, &format!("/v1/contacts?cursor={contacts}"));
    of_other.assert_error(422, "invalid_parameter", "?cursor");
    let description = of_other.json["errors"][0]["description"].as_str().unwrap();
    assert!(description.contains("omit it to start again"), "{description}");
}
