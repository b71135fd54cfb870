//! Lists that are accepted over HTTP: exactly once, as one piece, with their history and their rows.

mod support;

use serde_json::{Value, json};
use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use support::service::{ACTIVE, Answer, FIRST, FORM, Part, Service, form, id, on_both};
use support::{enroll, text};

on_both! {
    a_list_is_read_row_by_row;
    rows_are_found_by_what_became_of_them with ["--workers", "0"];
    files_of_a_list_run_no_cell;
    a_list_is_accepted_once with ["--workers", "0"];
    the_same_list_at_the_same_time_is_accepted_once with ["--workers", "0"];
    another_list_under_a_key_is_refused with ["--workers", "0"];
    a_list_that_was_accepted_in_another_way_is_replayed with ["--workers", "0"];
    a_list_with_a_fault_stores_nothing with ["--workers", "0"];
    a_list_survives_a_kill_after_the_receipt with ["--workers", "0"];
    a_kill_during_an_upload_leaves_nothing with ["--workers", "0"];
    a_kill_while_it_is_stored_leaves_all_or_nothing with ["--workers", "0"];
    the_history_is_walked_and_filtered with ["--workers", "0"];
    failed_requests_of_a_list_are_retried with ["--workers", "0"];
    cells_and_lists_are_removed_by_age with ["--workers", "0"];
    an_erasure_removes_the_cells_of_the_lists_with_the_person with ["--workers", "0"];
    another_organization_sees_no_list with ["--workers", "0"];
    a_long_list_needs_no_more_memory_than_a_short_one with ["--workers", "0"];
}

const PEOPLE: &str = "Phone,Name,Unsubscribed,Memo\n\
    +1 202 555 0140,Ann,,=1+1\n\
    junk,Bo,,\n\
    \n\
    +1 202 555 0141,Cy,yes,\n\
    +1 202 555 0140,Ann again,,\"a, \"\"b\"\"\"\n\
    +1 202 555 0123,Dee,,\n";

fn options() -> Value {
    json!({"mapping": {"Unsubscribed": "opted_out"}})
}

/// Returns the options for a file, if it needs any.
fn options_of(file: &str) -> Option<Value> {
    file.contains("Unsubscribed").then(options)
}

fn path() -> String {
    format!("/v1/lists?sequence_id={ACTIVE}")
}

fn upload(service: &Service, file: &str) -> Answer {
    service.upload(&path(), "people.csv", file, options_of(file).as_ref())
}

fn upload_with_key(service: &Service, file: &str, key: &str) -> Answer {
    let options = options_of(file).unwrap_or(json!({})).to_string();
    let parts = [
        Part { name: "file", file_name: Some("people.csv"), bytes: file.as_bytes() },
        Part { name: "options", file_name: None, bytes: options.as_bytes() },
    ];
    service.post(&path(), form(&parts), &[("content-type", FORM), ("Idempotency-Key", key)])
}

/// Asserts status 202. Returns the id of the list.
fn accepted(answer: &Answer) -> String {
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = answer.json["data"]["list_id"].as_str().unwrap().to_owned();
    assert_eq!(answer.location, Some(format!("/v1/lists/{id}")));
    id
}

fn get(service: &Service, path: &str) -> Value {
    let answer = service.get(path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json
}

fn list(service: &Service, id: &str) -> Value {
    get(service, &format!("/v1/lists/{id}?limit=500"))["data"].clone()
}

fn wait_for_list(service: &Service, id: &str) -> Value {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let list = list(service, id);
        if list["state"] != "accepted" {
            return list;
        }
        assert!(Instant::now() < deadline, "{list}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn work(service: &Service, more: &[&str]) -> String {
    let output = enroll(&["work", "--database", &service.database, "--until-empty"], more);
    text(&output);
    String::from_utf8(output.stderr).unwrap()
}

fn totals(service: &Service) -> (Value, Value) {
    (get(service, "/v1/lists")["total"].clone(), get(service, "/v1/enrollments")["total"].clone())
}

/// Returns a list with a number of valid rows.
fn many(rows: usize) -> String {
    let people = (0..rows).map(|n| format!("+1312{:07},Person number {n}\n", 2_000_000 + n));
    std::iter::once("Phone,Name\n".to_owned()).chain(people).collect()
}

fn a_list_is_read_row_by_row(service: &mut Service) {
    let answer = upload(service, PEOPLE);
    let id = accepted(&answer);
    let receipt = &answer.json["data"];
    assert_eq!(
        (&receipt["recipients"], &receipt["set_aside"], &receipt["requests"]),
        (&json!(4), &json!(1), &json!(1))
    );
    assert_eq!(receipt.get("replayed"), None);

    let list = wait_for_list(service, &id);
    assert_eq!((&list["state"], &list["file"]), (&json!("completed"), &json!("people.csv")), "{list}");
    assert_eq!((&list["sequence_id"], &list["accepted_at"]), (&json!(ACTIVE), &receipt["accepted_at"]));
    assert!(list["completed_at"].as_str() >= list["accepted_at"].as_str());
    assert_eq!((&list["requests"], &list["requests_completed"]), (&json!(1), &json!(1)));
    let counts = &list["counts"];
    assert_eq!((&counts["added"], &counts["ignored"], &counts["duplicate"]), (&json!(1), &json!(2), &json!(1)));
    let mapping = json!([{"column": "Unsubscribed", "field": "opted_out"}]);
    assert_eq!((&list["key_name"], &list["options"]), (&json!("test"), &json!({ "mapping": mapping })));
    let tag = format!("Upload {}", list["accepted_at"].as_str().unwrap());
    assert_eq!(list["upload_tag"]["name"], json!(tag), "{list}");
    assert_eq!(list["inspection"]["columns"][1]["samples"][0], "Ann");
    let enrollment = &list["enrollments"][0];
    assert_eq!(
        (&enrollment["id"], &enrollment["state"], &enrollment["recipients"]),
        (&json!(id), &json!("completed"), &json!(4))
    );
    assert_eq!(enrollment["error"], json!(null));

    assert_eq!(list["total"], 5);
    let rows: Vec<Value> = list["rows"].as_array().unwrap().clone();
    let brief = |row: &Value| (row["row"].as_u64().unwrap(), row["disposition"].as_str().unwrap().to_owned());
    let expected = [(2, "added"), (3, "ignored"), (5, "set_aside"), (6, "duplicate"), (7, "ignored")];
    assert_eq!(rows.iter().map(brief).collect::<Vec<_>>(), expected.map(|(row, word)| (row, word.to_owned())));
    assert_eq!(rows[0]["cells"], json!(["+1 202 555 0140", "Ann", "", "=1+1"]));
    assert_eq!((&rows[0]["phone"], &rows[0]["name"]), (&json!("+1 202 555 0140"), &json!("Ann")));
    assert_eq!(rows[1]["reasons"][0]["code"], "invalid_phone");
    assert!(rows[1]["description"].as_str().unwrap().contains("phone number is not valid"), "{}", rows[1]);
    assert_eq!(
        (&rows[2]["reasons"], &rows[2]["column"]),
        (&json!([{"code": "opted_out_in_list"}]), &json!("Unsubscribed"))
    );
    assert_eq!(rows[2]["cells"], json!(["+1 202 555 0141", "Cy", "yes"]));
    assert_eq!(rows[3]["repeats_row"], 2);
    assert_eq!(rows[4]["reasons"][0]["code"], "blocked");

    // The record of the key is that of its request.
    let args = ["status", &id, "--database", &service.database, "--organization", FIRST];
    assert!(text(&enroll(&args, &[])).contains("requested by key"));
}

fn rows_are_found_by_what_became_of_them(service: &mut Service) {
    let id = accepted(&upload(service, PEOPLE));
    let rows = |query: &str| {
        let found = get(service, &format!("/v1/lists/{id}?{query}"))["data"].clone();
        let rows = found["rows"].as_array().unwrap().iter().map(|row| row["row"].as_u64().unwrap()).collect::<Vec<_>>();
        (rows, found["total"].as_u64().unwrap())
    };
    assert_eq!(rows("disposition=pending"), (vec![2, 3, 6, 7], 4));
    assert_eq!(rows("disposition=pending,set_aside&limit=2&offset=1"), (vec![3, 5], 5));
    assert_eq!(rows("disposition=added"), (vec![], 0));
    assert_eq!(list(service, &id)["rows"][0]["disposition"], "pending");
    work(service, &[]);
    assert_eq!(rows("disposition=pending"), (vec![], 0));
    assert_eq!(rows("disposition=ignored"), (vec![3, 7], 2));
    assert_eq!(rows("disposition=ignored&reason=blocked"), (vec![7], 1));
    assert_eq!(rows("reason=blocked,opted_out_in_list"), (vec![5, 7], 2));
    assert_eq!(rows("disposition=set_aside,added&reason=opted_out_in_list"), (vec![5], 1));
    assert_eq!(rows("disposition=set_aside,duplicate,ignored&limit=2&offset=2"), (vec![6, 7], 4));
    assert_eq!(rows("limit=1&offset=4"), (vec![7], 5));
    assert_eq!(rows("offset=5"), (vec![], 5));
    service.get(&format!("/v1/lists/{id}?disposition=x")).assert_error(422, "invalid_parameter", "?disposition");
    service.get(&format!("/v1/lists/{id}?reason=x&limit=501")).assert_error(422, "invalid_parameter", "?reason");
    service.get(&format!("/v1/lists/{id}?cursor=x")).assert_error(422, "invalid_parameter", "?cursor");

    // A person who was erased before the request was processed has no outcome.
    let other = "Phone,Name\n+1 202 555 0150,Gus\n+1 202 555 0151,Hal\n";
    let other = accepted(&upload_with_key(service, other, "erased"));
    let erased = service.post("/v1/contacts/erase", json!({"phone": "+12025550151", "confirm": true}).to_string(), &[]);
    assert_eq!((erased.status, &erased.json["data"]["lists"]), (200, &json!(1)), "{erased:?}");
    work(service, &[]);
    let found = get(service, &format!("/v1/lists/{other}?disposition=erased"))["data"].clone();
    assert_eq!((&found["total"], &found["rows"][0]["row"]), (&json!(1), &json!(3)), "{found}");
    assert_eq!(list(service, &other)["rows"][0]["disposition"], "added");
}

fn files_of_a_list_run_no_cell(service: &mut Service) {
    let id = accepted(&upload(service, PEOPLE));
    wait_for_list(service, &id);
    let rows = service.get(&format!("/v1/lists/{id}/rows.csv"));
    assert_eq!(rows.status, 200, "{rows:?}");
    let lines: Vec<&str> = rows.text.split_terminator("\r\n").collect();
    assert_eq!(lines[0], "\u{feff}Phone,Name,Unsubscribed,Memo,row,outcome,reasons,notes");
    assert_eq!(lines[1], "'+1 202 555 0140,Ann,,'=1+1,2,Added,,");
    assert!(lines[2].starts_with("junk,Bo,,,3,Ignored,phone number is not valid"), "{}", lines[2]);
    assert_eq!(lines[3], "'+1 202 555 0141,Cy,yes,,5,Set aside,Unsubscribed: the person opted out,");
    assert_eq!(lines[4], "'+1 202 555 0140,Ann again,,\"a, \"\"b\"\"\",6,Duplicate,the same person as row 2,");
    assert_eq!(lines.len(), 6);

    // Who opted out or is blocked is not a row to fix.
    let to_fix = service.get(&format!("/v1/lists/{id}/to_fix.csv"));
    let lines: Vec<&str> = to_fix.text.split_terminator("\r\n").collect();
    assert_eq!(lines[0], "\u{feff}Phone,Name,Unsubscribed,Memo,row,problem");
    assert!(lines[1].starts_with("junk,Bo,,,3,phone number is not valid"), "{}", lines[1]);
    assert_eq!(lines.len(), 2);

    // It is a list again, in which the cells are as before.
    let fixed = to_fix.text.replace("junk", "'+1 202 555 0142");
    let fixed = wait_for_list(service, &accepted(&upload(service, &fixed)));
    assert_eq!((&fixed["counts"]["added"], &fixed["total"]), (&json!(1), &json!(1)), "{fixed}");
    service.get(&format!("/v1/lists/{id}/rows.csv?limit=1")).assert_error(422, "invalid_parameter", "?limit");
}

fn a_list_is_accepted_once(service: &mut Service) {
    let first = upload(service, PEOPLE);
    let again = upload(service, PEOPLE);
    let mut expected = first.json["data"].clone();
    expected["replayed"] = json!(true);
    assert_eq!((again.status, &again.json["data"]), (202, &expected));
    assert_eq!(totals(service), (json!(1), json!(1)));

    // With a key, it is another list.
    let with_key = upload_with_key(service, PEOPLE, "key-1");
    assert_ne!(accepted(&with_key), accepted(&first));
    assert_eq!(upload_with_key(service, PEOPLE, "key-1").json["data"]["replayed"], true);
    assert_eq!(totals(service), (json!(2), json!(2)));

    // A list without recipients has no requests, and ends at once.
    let nobody = "Phone,Unsubscribed\n+1 202 555 0141,yes\n";
    let answer = upload(service, nobody);
    let id = accepted(&answer);
    assert_eq!((&answer.json["data"]["requests"], &answer.json["data"]["set_aside"]), (&json!(0), &json!(1)));
    let found = list(service, &id);
    assert_eq!((&found["state"], &found["completed_at"]), (&json!("completed"), &found["accepted_at"]));
    assert_eq!((&found["key_name"], &found["rows"][0]["disposition"]), (&json!("test"), &json!("set_aside")));
    assert_eq!(upload(service, nobody).json["data"]["replayed"], true);
    assert_eq!(totals(service), (json!(3), json!(2)));

    work(service, &[]);
    assert_eq!(upload(service, PEOPLE).json["data"], expected);
}

fn the_same_list_at_the_same_time_is_accepted_once(service: &mut Service) {
    let file = many(6000);
    let answers: Vec<Answer> = thread::scope(|scope| {
        let sent: Vec<_> = (0..3).map(|_| scope.spawn(|| upload(service, &file))).collect();
        sent.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    let new = answers.iter().filter(|answer| answer.json["data"].get("replayed").is_none()).count();
    assert_eq!(new, 1, "{answers:?}");
    let same = |answer: &Answer| {
        let mut receipt = answer.json["data"].clone();
        receipt.as_object_mut().unwrap().remove("replayed");
        (accepted(answer), receipt)
    };
    assert!(answers.iter().all(|answer| same(answer) == same(&answers[0])), "{answers:?}");
    assert_eq!(totals(service), (json!(1), json!(2)));
}

fn another_list_under_a_key_is_refused(service: &mut Service) {
    let id = accepted(&upload_with_key(service, PEOPLE, "key"));
    let other = PEOPLE.replace("Cy,yes", "Cy,no");
    upload_with_key(service, &other, "key").assert_error(409, "idempotency_conflict", "");
    // Its requests are the same, but the list is not.
    let other = PEOPLE.replace("Cy,yes", "Cyd,yes");
    upload_with_key(service, &other, "key").assert_error(409, "idempotency_conflict", "");
    assert_eq!(totals(service), (json!(1), json!(1)));
    assert_eq!(list(service, &id)["rows"][2]["cells"][1], "Cy");
    // A single request has the key.
    let body = json!({"to": [{"phone": "+12025550142"}]});
    assert_eq!(service.enroll(&body, &[("Idempotency-Key", "single")]).status, 202);
    upload_with_key(service, PEOPLE, "single").assert_error(409, "idempotency_conflict", "");
    assert_eq!(totals(service), (json!(1), json!(2)));
    service.enroll(&body, &[("Idempotency-Key", "key")]).assert_error(409, "idempotency_conflict", "");
}

fn a_list_that_was_accepted_in_another_way_is_replayed(service: &mut Service) {
    let file = service.file("people.csv", PEOPLE);
    let args = ["submit", "--database", &service.database, "--organization", FIRST, "--sequence", ACTIVE, "--list"];
    let submitted = text(&enroll(&args, &[support::path(&file), "--column", "Unsubscribed=opted_out"]));
    let answer = upload(service, PEOPLE);
    let id = accepted(&answer);
    assert!(submitted.contains(&format!("accepted {id}")), "{submitted}");
    assert_eq!(answer.json["data"]["replayed"], true);
    assert_eq!(totals(service), (json!(1), json!(1)));
    work(service, &[]);
    assert_eq!(list(service, &id)["counts"]["added"], 1);
}

fn a_list_with_a_fault_stores_nothing(service: &mut Service) {
    upload(service, "Phone,Unsubscribed\n").assert_error(422, "no_rows", "/file");
    let lost = format!("/v1/lists?sequence_id={}", id(0x20));
    let draft = service.upload(&lost, "people.csv", PEOPLE, Some(&options()));
    assert_eq!((draft.status, draft.json["status"].as_u64()), (422, Some(422)), "{draft:?}");
    let unknown = format!("/v1/lists?sequence_id={}", id(0xdead));
    service.upload(&unknown, "people.csv", PEOPLE, Some(&options())).assert_error(404, "sequence_not_found", "");
    service.upload("/v1/lists", "people.csv", PEOPLE, None).assert_error(422, "invalid_parameter", "?sequence_id");
    service.upload("/v1/lists?sequence_id=x", "a.csv", PEOPLE, None).assert_error(
        422,
        "invalid_parameter",
        "?sequence_id",
    );
    let from = json!({"mapping": {"Unsubscribed": "opted_out"}, "request": {"from": "+12025550101"}});
    let disabled = service.upload(&path(), "people.csv", PEOPLE, Some(&from));
    assert_eq!(disabled.status, 422, "{disabled:?}");
    assert_eq!(totals(service), (json!(0), json!(0)));
}

fn a_list_survives_a_kill_after_the_receipt(service: &mut Service) {
    let id = accepted(&upload(service, &many(4001)));
    service.kill_and_restart(&[]);
    let list = wait_for_list(service, &id);
    assert_eq!((&list["state"], &list["requests_completed"]), (&json!("completed"), &json!(2)));
    assert_eq!((&list["counts"]["added"], &list["total"]), (&json!(4001), &json!(4001)));
    // In the order of the rows: the sizes of the requests differ by one.
    let sizes: Vec<u64> =
        list["enrollments"].as_array().unwrap().iter().map(|e| e["recipients"].as_u64().unwrap()).collect();
    assert_eq!(sizes, [2001, 2000]);
    // Both requests have the tag of the list.
    let tag = |enrollment: &Value| {
        get(service, &format!("/v1/enrollments/{}?limit=1", enrollment["id"].as_str().unwrap()))["data"]["upload_tag"]
            .clone()
    };
    let tags: Vec<Value> = list["enrollments"].as_array().unwrap().iter().map(tag).collect();
    assert_eq!(list["upload_tag"]["name"], format!("Upload {}", list["accepted_at"].as_str().unwrap()));
    assert_eq!(tags, [list["upload_tag"].clone(), list["upload_tag"].clone()]);
    let final_row = get(service, &format!("/v1/lists/{id}?limit=1&offset=4000"))["data"]["rows"][0].clone();
    assert_eq!((&final_row["row"], &final_row["name"]), (&json!(4002), &json!("Person number 4000")));
    let ends = get(service, &format!("/v1/lists/{id}?disposition=added&limit=2&offset=2000"))["data"].clone();
    assert_eq!((&ends["total"], &ends["rows"][1]["name"]), (&json!(4001), &json!("Person number 2001")));
}

/// Returns a whole request with a list.
fn raw_request(service: &Service, file: &str) -> Vec<u8> {
    let body = form(&[Part { name: "file", file_name: Some("people.csv"), bytes: file.as_bytes() }]);
    let mut bytes = format!(
        "POST {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nX-WHIPPY-KEY: {}\r\ncontent-type: {FORM}\r\n\
         content-length: {}\r\n\r\n",
        path(),
        service.key,
        body.len()
    )
    .into_bytes();
    bytes.extend(body);
    bytes
}

fn a_kill_during_an_upload_leaves_nothing(service: &mut Service) {
    let request = raw_request(service, &many(3000));
    let mut stream = service.connect(&request[..request.len() / 2]);
    stream.flush().unwrap();
    // The service answers others meanwhile, and has read what has arrived.
    assert_eq!(totals(service), (json!(0), json!(0)));
    service.kill_and_restart(&[]);
    assert_eq!(totals(service), (json!(0), json!(0)));
    let again = upload(service, &many(3000));
    assert_eq!(again.json["data"].get("replayed"), None);
    assert_eq!(wait_for_list(service, &accepted(&again))["counts"]["added"], 3000);
}

fn a_kill_while_it_is_stored_leaves_all_or_nothing(service: &mut Service) {
    let file = many(9000);
    let request = raw_request(service, &file);
    let stream = service.connect(&request);
    // Another request is answered after the upload has arrived, while the list is read or stored.
    assert_eq!(service.get("/v1/sequences").status, 200);
    service.kill_and_restart(&[]);
    drop(stream);
    // A commit that PostgreSQL had received can end between the two reads.
    let (lists, requests) = totals(service);
    assert!(requests == json!(3) || (&lists, &requests) == (&json!(0), &json!(0)), "{lists} {requests}");
    let again = upload(service, &file);
    assert!(again.json["data"]["replayed"] == json!(true) || lists == json!(0), "{again:?}");
    let list = wait_for_list(service, &accepted(&again));
    assert_eq!((&list["counts"]["added"], &list["requests_completed"]), (&json!(9000), &json!(3)));
    assert_eq!(totals(service), (json!(1), json!(3)));
}

fn the_history_is_walked_and_filtered(service: &mut Service) {
    let send = |n: usize| accepted(&upload_with_key(service, PEOPLE, &format!("key-{n}")));
    let mut ids = vec![send(0)];
    fail(service);
    ids.extend((1..5).map(send));
    work(service, &[]);
    let waiting = accepted(&upload(service, PEOPLE));

    let mut newest: Vec<String> = ids.iter().rev().cloned().collect();
    newest.insert(0, waiting.clone());
    let mut walked = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(service, &format!("/v1/lists?limit=4&cursor={cursor}"));
        assert_eq!(page["total"], 6);
        walked.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["metadata"]["next_cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    let of = |rows: &[Value]| rows.iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let (mut sorted, mut expected) = (of(&walked), newest.clone());
    let instants: Vec<&str> = walked.iter().map(|row| row["accepted_at"].as_str().unwrap()).collect();
    assert!(instants.is_sorted_by(|a, b| a >= b), "{instants:?}");
    sorted.sort();
    expected.sort();
    assert_eq!(sorted, expected);

    let found = |query: &str| {
        let page = get(service, &format!("/v1/lists?{query}"));
        assert_eq!(page["total"], json!(page["data"].as_array().unwrap().len()), "{query}");
        of(page["data"].as_array().unwrap())
    };
    assert_eq!(found("state=accepted"), [waiting]);
    assert_eq!(found("state=failed"), [ids[0].clone()]);
    assert_eq!(found("state=completed").len(), 4);
    assert_eq!(found("state=completed,failed").len(), 5);
    assert_eq!(found(&format!("sequence_id={ACTIVE}")).len(), 6);
    assert_eq!(found(&format!("sequence_id={}&state=failed", id(0x20))), Vec::<String>::new());
    service.get("/v1/lists?sequence_id=x").assert_error(422, "invalid_parameter", "?sequence_id");
    service.get("/v1/lists?state=x").assert_error(422, "invalid_parameter", "?state");
    service.get(&format!("/v1/lists?state=failed&cursor={cursor}")).assert_error(422, "invalid_parameter", "?cursor");
}

/// Makes all requests that wait fail.
fn fail(service: &Service) {
    let now =
        if service.database.starts_with("postgres") { "now()" } else { "cast(unixepoch('subsec') * 1000 as integer)" };
    let set = format!("state = 'failed', due_at = null, error = 'damaged', failed_at = {now}");
    service.batch_execute(&format!("update enroll.enrollments set {set} where state = 'accepted'"));
}

fn failed_requests_of_a_list_are_retried(service: &mut Service) {
    let id = accepted(&upload(service, PEOPLE));
    let retry = format!("/v1/lists/{id}/retry");
    service.post(&retry, "", &[]).assert_error(409, "list_not_failed", "");
    fail(service);
    let failed = list(service, &id);
    assert_eq!((&failed["state"], failed["completed_at"].is_string()), (&json!("failed"), true), "{failed}");
    assert_eq!(failed["enrollments"][0]["error"]["errors"][0]["code"], "gave_up");
    assert_eq!(failed["rows"][0]["disposition"], "failed");
    assert_eq!(get(service, &format!("/v1/lists/{id}?disposition=failed"))["data"]["total"], 4);

    let retried = service.post(&retry, "", &[]);
    assert_eq!((retried.status, &retried.json["data"]["state"]), (202, &json!("accepted")), "{retried:?}");
    work(service, &[]);
    let completed = list(service, &id);
    assert_eq!((&completed["state"], &completed["counts"]["added"]), (&json!("completed"), &json!(1)));
    service.post(&retry, "", &[]).assert_error(409, "list_not_failed", "");
    let args = ["status", &id, "--database", &service.database, "--organization", FIRST];
    assert!(text(&enroll(&args, &[])).contains("retried by key"));

    // A request that was removed cannot be retried.
    let id = accepted(&upload_with_key(service, PEOPLE, "removed"));
    fail(service);
    service
        .batch_execute("update enroll.enrollments set command = null, removed_at = failed_at where state = 'failed'");
    service.post(&format!("/v1/lists/{id}/retry"), "", &[]).assert_error(409, "request_removed", "");
}

fn cells_and_lists_are_removed_by_age(service: &mut Service) {
    let id = accepted(&upload(service, PEOPLE));
    let young = accepted(&upload_with_key(service, PEOPLE, "young"));
    work(service, &[]);
    let is_postgres = service.database.starts_with("postgres");
    let of = |id: &str| if is_postgres { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) };
    let age = |days: u64| {
        let ended = if is_postgres {
            format!("now() - interval '{days} days'")
        } else {
            format!("cast(unixepoch('subsec') * 1000 as integer) - {days} * 86400000")
        };
        let list = of(&id);
        service.batch_execute(&format!("update enroll.enrollments set completed_at = {ended} where id = {list}"));
        service.batch_execute(&format!("update enroll_service.lists set at = at - 34560000000 where id = {list}"));
    };
    age(29);
    assert_eq!(work(service, &[]), "");
    assert_eq!(service.get(&format!("/v1/lists/{id}/rows.csv")).status, 200);
    age(31);
    assert_eq!(work(service, &["--retain-failed", "never"]), "");
    assert_eq!(work(service, &[]), "removed the cells of 1 lists, and 0 whole lists, by age\n");
    assert_eq!(work(service, &[]), "");
    for file in ["rows", "to_fix"] {
        service.get(&format!("/v1/lists/{id}/{file}.csv")).assert_error(404, "file_not_kept", "");
    }
    // What has no text of a person stays.
    let list = list(service, &id);
    assert_eq!((list["removed_at"].is_string(), &list["total"]), (true, &json!(5)), "{list}");
    assert_eq!((&list["rows"][0]["disposition"], list["rows"][0].get("cells")), (&json!("added"), None));
    assert_eq!((&list["rows"][2]["column"], &list["rows"][3]["repeats_row"]), (&json!("Unsubscribed"), &json!(2)));
    let columns = list["inspection"]["columns"].as_array().unwrap();
    assert!(columns.iter().all(|column| column["samples"] == json!([])), "{columns:?}");
    assert_eq!(upload(service, PEOPLE).json["data"]["replayed"], true);
    assert_eq!(service.get(&format!("/v1/lists/{young}/rows.csv")).status, 200);

    age(400);
    assert!(work(service, &["--retain", "365d"]).contains("removed the cells of 0 lists, and 1 whole lists, by age\n"));
    service.get(&format!("/v1/lists/{id}")).assert_error(404, "list_not_found", "");
    assert_eq!(get(service, "/v1/lists")["total"], 1);
    // Its request is still recognized.
    let again = upload(service, PEOPLE);
    assert_eq!((accepted(&again), &again.json["data"]["replayed"]), (id, &json!(true)));
}

support::on_postgresql! {
    // The clock of the worker shows that the list is new.
    fn a_list_gets_old_by_the_clock_of_the_database() {
        let service = Service::on_postgresql("list-clock", &["--workers", "0", "--retain-failed", "never"]);
        accepted(&upload(&service, PEOPLE));
        work(&service, &[]);
        // Shadows `clock_timestamp()` for all later connections.
        service.batch_execute(
            "create schema shifted;
            create function shifted.clock_timestamp() returns timestamptz language sql volatile
                return pg_catalog.clock_timestamp() + interval '31 days';
            do $$ begin
                execute format('alter database %I set search_path = shifted, pg_catalog', current_database());
            end $$;",
        );
        assert_eq!(work(&service, &[]), "removed the cells of 1 lists, and 0 whole lists, by age\n");
    }
}

fn an_erasure_removes_the_cells_of_the_lists_with_the_person(service: &mut Service) {
    let with = accepted(&upload_with_key(service, PEOPLE, "with"));
    let without = accepted(&upload_with_key(service, "Phone,Name\n+1 202 555 0150,Gus\n", "without"));
    // Without the country code, in a row that is set aside.
    let national = "Telefon,Unsubscribed,Memo\n202/555.01 77,yes,secret\n";
    let national = accepted(&upload_with_key(service, national, "national"));
    work(service, &[]);
    let erase = |body: &Value| service.post("/v1/contacts/erase", body.to_string(), &[]);
    let is_kept = |id: &str| service.get(&format!("/v1/lists/{id}/rows.csv")).status == 200;

    let asked = erase(&json!({"phone": "+12025550140"}));
    asked.assert_error(422, "confirmation_required", "/confirm");
    assert!(asked.text.contains("1 files of lists"), "{asked:?}");
    assert!(is_kept(&with));
    let erased = erase(&json!({"phone": "+12025550140", "confirm": true}));
    assert_eq!((&erased.json["data"]["contacts"], &erased.json["data"]["lists"]), (&json!(1), &json!(1)), "{erased:?}");
    assert!(!is_kept(&with) && is_kept(&without) && is_kept(&national));
    let list = list(service, &with);
    assert_eq!((&list["rows"][0]["disposition"], list["rows"][0].get("cells")), (&json!("added"), None), "{list}");
    assert!(!list.to_string().contains("Ann") && !list.to_string().contains("0140"), "{list}");

    // The person has no contact and no stored request.
    let args =
        ["erase", "--database", &service.database, "--organization", FIRST, "--yes", "--contact", "+1 202 555 0177"];
    let erased = text(&enroll(&args, &[]));
    assert!(erased.lines().any(|line| line.trim() == "files of lists              1"), "{erased}");
    assert!(!is_kept(&national) && is_kept(&without));
    erase(&json!({"phone": "+12025550178", "confirm": true})).assert_error(404, "contact_not_found", "");
}

fn another_organization_sees_no_list(service: &mut Service) {
    let id = accepted(&upload(service, PEOPLE));
    let other = service.get_as(&service.other_key, "/v1/lists");
    assert_eq!((&other.json["data"], &other.json["total"]), (&json!([]), &json!(0)));
    for path in ["", "/rows.csv", "/to_fix.csv"] {
        let path = format!("/v1/lists/{id}{path}");
        service.get_as(&service.other_key, &path).assert_error(404, "list_not_found", "");
    }
    let retry = format!("/v1/lists/{id}/retry");
    service.post_as(&service.other_key, &retry, "", &[]).assert_error(404, "list_not_found", "");
    service.get("/v1/lists/x").assert_error(404, "list_not_found", "");
    service.get("/v1/lists/x/rows.csv").assert_error(404, "list_not_found", "");
    // The same file is another list there, and the sequence is unknown.
    let body = form(&[Part { name: "file", file_name: Some("people.csv"), bytes: PEOPLE.as_bytes() }]);
    let sent = service.post_as(&service.other_key, &path(), body, &[("content-type", FORM)]);
    sent.assert_error(404, "sequence_not_found", "");
    assert_eq!(totals(service), (json!(1), json!(1)));
}

fn a_long_list_needs_no_more_memory_than_a_short_one(service: &mut Service) {
    // It can take longer than the client of the other tests waits.
    let send = |rows: usize| {
        let answer = service.raw(&raw_request(service, &many(rows)));
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        let receipt: Value = serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap();
        receipt["data"].clone()
    };
    send(8000);
    let short = service.peak_memory();
    let receipt = send(50_000);
    let id = receipt["list_id"].as_str().unwrap();
    assert_eq!((&receipt["requests"], &receipt["recipients"]), (&json!(13), &json!(50_000)));
    let last = get(service, &format!("/v1/lists/{id}?limit=500&offset=49500"))["data"].clone();
    assert_eq!((&last["total"], &last["rows"][499]["name"]), (&json!(50_000), &json!("Person number 49999")));
    let rows = service.get(&format!("/v1/lists/{id}/rows.csv"));
    assert_eq!(rows.text.split_terminator("\r\n").count(), 50_001);
    let grown = service.peak_memory().saturating_sub(short);
    assert!(grown < 24 << 20, "the peak grew by {} KiB, from {} KiB", grown >> 10, short >> 10);
}
