//! Lists over HTTP before they are accepted: uploads, inspections and previews.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Cursor, Write};
use std::path::Path;
use std::time::{Duration, Instant};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use support::service::{ACTIVE, Answer, FIRST, FORM, Part, STEP, Service, form, id, on_both};
use support::{enroll, path};

const INSPECT: &str = "/v1/lists/inspect";
const LIST: &str = "Phone,Name,Company\n+1 202 555 0150,Ada,X\n\n+1 202 555 0151,Bo,Y\n";

on_both! {
    an_inspection_shows_the_columns_and_the_first_rows;
    an_upload_with_wrong_parts_names_the_part;
    options_that_are_wrong_have_their_place;
    a_preview_shows_each_row_with_its_outcome;
    a_preview_equals_the_report_of_the_real_enrollment;
    a_list_that_was_accepted_before_has_its_outcomes;
    a_long_list_is_previewed_in_the_background;
    a_list_that_cannot_be_enrolled_says_where_and_what_to_do;
    each_reported_file_is_inspected_and_previewed;
    the_size_of_an_upload_is_limited with ["--list-bytes", "100000", "--timeout", "2"];
    previews_count_for_their_rate_limit with ["--rate-limit", "1"];
    a_hostile_file_is_refused_with_bounded_memory;
}

fn part<'a>(name: &'a str, file_name: Option<&'a str>, bytes: &'a str) -> Part<'a> {
    Part { name, file_name, bytes: bytes.as_bytes() }
}

fn an_inspection_shows_the_columns_and_the_first_rows(service: &mut Service) {
    let answer = service.upload(INSPECT, "C:\\lists\\people.csv", LIST, None);
    assert_eq!(answer.status, 200, "{answer:?}");
    let column = |position: u32, title: &str, field: Option<&str>, samples: [&str; 2]| {
        let mut column = json!({"position": position, "title": title, "samples": samples});
        for (name, field) in ["field", "suggested"].into_iter().zip(field.into_iter().cycle()) {
            column[name] = json!(field);
        }
        column
    };
    let expected = json!({
        "file": "people.csv", "bytes": LIST.len(), "format": "text", "encoding": "UTF-8", "encoding_guessed": false,
        "delimiter": ",", "header_row": 1, "rows": 2,
        "columns": [
            column(1, "Phone", Some("phone"), ["+1 202 555 0150", "+1 202 555 0151"]),
            column(2, "Name", Some("name"), ["Ada", "Bo"]),
            column(3, "Company", None, ["X", "Y"]),
        ],
        "warnings": [{"code": "unknown_column", "position": 3, "title": "Company",
            "description": "column 3, `Company`, is not read: no field is known for it"}],
        "sample_rows": [
            {"row": 2, "cells": ["+1 202 555 0150", "Ada", "X"]}, {"row": 4, "cells": ["+1 202 555 0151", "Bo", "Y"]},
        ],
    });
    assert_eq!(answer.json["data"], expected);
    // The options come first, and an edit changes what is shown.
    let options = json!({
        "mapping": {"Company": "external_id", "name": "ignore"},
        "edits": [{"edit": "drop_row", "row": 2}, {"edit": "set_cell", "row": 4, "column": "Company", "text": "Z"}],
    });
    let options = options.to_string();
    let answer =
        service.send_parts(INSPECT, &[part("options", None, &options), part("file", Some("people.csv"), LIST)]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let data = &answer.json["data"];
    assert_eq!(data["sample_rows"], json!([{"row": 4, "cells": ["+1 202 555 0151", "Bo", "Z"]}]));
    let fields: Vec<&Value> = data["columns"].as_array().unwrap().iter().map(|column| &column["field"]).collect();
    assert_eq!(json!(fields), json!(["phone", null, "external_id"]));
    // An inspection refuses only what no choice can make readable.
    let answer = service.upload(INSPECT, "a.csv", "Telefono,Unsubscribed\n1,no\n", None);
    assert_eq!(answer.json["data"]["warnings"][0]["code"], "consent_not_mapped", "{answer:?}");
    assert_eq!(answer.json["data"]["columns"][1]["consent"], "opted_out");
}

fn an_upload_with_wrong_parts_names_the_part(service: &mut Service) {
    let file = part("file", Some("a.csv"), LIST);
    for (parts, path) in [
        (vec![], "/file"),
        (vec![part("options", None, "{}")], "/file"),
        (vec![part("file", None, LIST)], "/file"),
        (vec![part("file", Some("lists/"), LIST)], "/file"),
        (vec![file, file], "/file"),
        (vec![file, part("options", None, "{}"), part("options", None, "{}")], "/options"),
        (vec![part("to/from", None, "x"), file], "/to~1from"),
    ] {
        service.send_parts(INSPECT, &parts).assert_error(422, "invalid_multipart", path);
    }
    let body = form(&[file]);
    service.post(INSPECT, &body, &[]).assert_error(415, "unsupported_media_type", "");
    service.post(INSPECT, &body, &[("content-type", "text/csv")]).assert_error(415, "unsupported_media_type", "");
    let encoded = [("content-type", FORM), ("content-encoding", "gzip")];
    service.post(INSPECT, &body, &encoded).assert_error(415, "unsupported_encoding", "");
    // The form ends early.
    service.post(INSPECT, &body[..body.len() - 10], &[("content-type", FORM)]).assert_error(400, "broken_body", "");
    service.post(INSPECT, "no form", &[("content-type", FORM)]).assert_error(400, "broken_body", "");
    let endless = [&body[..60], &vec![b'x'; 1 << 20]].concat();
    service.post(INSPECT, endless, &[("content-type", FORM)]).assert_error(422, "invalid_multipart", "");
    service.post_as("wrong", INSPECT, &body, &[("content-type", FORM)]).assert_error(401, "not_authenticated", "");
    service.post(&format!("{INSPECT}?sheet=A"), &body, &[("content-type", FORM)]).assert_error(
        422,
        "invalid_parameter",
        "?sheet",
    );
}

fn options_that_are_wrong_have_their_place(service: &mut Service) {
    let title = "a".repeat(300);
    for (options, code, path) in [
        (json!({"sheets": "A"}), "invalid_options", "/options/sheets".to_owned()),
        (json!([]), "invalid_options", "/options".to_owned()),
        (json!({"mapping": {"Phone": "fone"}}), "invalid_options", "/options/mapping/Phone".to_owned()),
        (json!({"request": {"to": []}}), "invalid_options", "/options/request/to".to_owned()),
        (json!({"mapping": {"Fone": "phone"}}), "unknown_column", "/options/mapping/Fone".to_owned()),
        (json!({"mapping": {&title: "phone"}}), "unknown_column", format!("/options/mapping/{}", &title[..100])),
        (
            json!({"mapping": [{"column": 4, "field": "phone"}]}),
            "unknown_column",
            "/options/mapping/0/column".to_owned(),
        ),
        (json!({"mapping": {"Phone": "phone", "phone": "email"}}), "mapped_twice", "/options/mapping/phone".to_owned()),
        (
            json!({"edits": [{"edit": "set_cell", "row": 2, "column": "Fone", "text": ""}]}),
            "unknown_column",
            "/options/edits/0/column".to_owned(),
        ),
        (
            json!({"edits": [{"edit": "drop_row", "row": 2}, {"edit": "drop_row", "row": 9}]}),
            "unknown_row",
            "/options/edits/1/row".to_owned(),
        ),
        (json!({"sheet": "A"}), "no_sheets", "/options/sheet".to_owned()),
        (json!({"encoding": "klingon"}), "unknown_encoding", "/options/encoding".to_owned()),
    ] {
        service.upload(INSPECT, "a.csv", LIST, Some(&options)).assert_error(422, code, &path);
    }
}

/// Returns the path of a preview for the active sequence.
fn preview() -> String {
    format!("/v1/lists?sequence_id={ACTIVE}&preview=true")
}

/// Uploads a list, and returns the preview.
fn previewed(service: &Service, list: &str, options: Option<&Value>) -> Value {
    let answer = service.upload(&preview(), "people.csv", list, options);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["data"].clone()
}

/// Waits for the end of a preview in the background. The number of planned recipients never falls.
fn wait_for_preview(service: &Service, path: &str) -> Value {
    let (deadline, mut done) = (Instant::now() + Duration::from_secs(120), 0);
    loop {
        let answer = service.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        let data = &answer.json["data"];
        let now = data["recipients_done"].as_u64().unwrap();
        assert!(done <= now && now <= data["recipients"].as_u64().unwrap(), "{done} to {now}");
        done = now;
        if data["state"] != "running" {
            return data.clone();
        }
        assert!(data.get("rows").is_none());
        assert!(Instant::now() < deadline, "{answer:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Enrolls a list with the command line. Returns the report.
fn run(service: &Service, list: &str, more: &[&str]) -> Value {
    let file = service.file("people.csv", list);
    let database = ["--database", &service.database, "--organization", FIRST, "--sequence", ACTIVE];
    let args = [&["run", "--json", "--list", path(&file)], &database[..], more].concat();
    support::json(&enroll(&args, &[]))
}

/// Returns the disposition, the reasons and the earlier row of each row that is not set aside.
fn outcomes_of_rows(rows: &Value) -> BTreeMap<u64, Value> {
    let rows = rows.as_array().unwrap().iter().filter(|row| row["disposition"] != "set_aside");
    rows.map(|row| (row["row"].as_u64().unwrap(), json!([row["disposition"], row["reasons"]]))).collect()
}

/// The same of a report of the command line.
fn outcomes_of_report(report: &Value) -> BTreeMap<u64, Value> {
    let outcomes =
        report["reports"].as_array().unwrap().iter().flat_map(|report| report["outcomes"].as_array().unwrap());
    outcomes
        .map(|outcome| (outcome["row"].as_u64().unwrap(), json!([outcome["disposition"], outcome["reasons"]])))
        .collect()
}

/// A list with each kind of row.
const MIXED: &str = "Phone,Email,Name,Opt out,Birthday\n\
    (202) 555-0150,ada@example.org,Ada,,\n\
    +12025550123,,Blocked,no,\n\
    2025550151,,Gone,yes,\n\
    +1 202 555 0150,,Again,,\n\
    12,,Short,,\n\
    +12025550152,,Bo,,31.01.1990\n\
    +12025550153,,Cy,,,beyond\n";

fn mixed_options() -> Value {
    json!({"mapping": {"Opt out": "opted_out"}, "default_region": "US"})
}

fn a_preview_shows_each_row_with_its_outcome(service: &mut Service) {
    let data = previewed(service, MIXED, Some(&mixed_options()));
    assert_eq!(
        (&data["requests"], &data["recipients"], &data["set_aside"]),
        (&json!(1), &json!(5), &json!(2)),
        "{data}"
    );
    let counts = &data["counts"];
    assert_eq!((&counts["added"], &counts["ignored"], &counts["duplicate"]), (&json!(2), &json!(2), &json!(1)));
    assert_eq!((&data["inspection"]["file"], &data["inspection"]["rows"]), (&json!("people.csv"), &json!(7)));
    assert_eq!((&data["total"], data.get("accepted_before")), (&json!(7), None));
    let rows = data["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["row"].as_u64().unwrap()).collect::<Vec<_>>(), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        rows[0],
        json!({"row": 2, "cells": ["(202) 555-0150", "ada@example.org", "Ada"], "phone": "(202) 555-0150",
            "email": "ada@example.org", "name": "Ada", "disposition": "added",
            "read_as": {"phone": "+12025550150", "email": "ada@example.org"}})
    );
    assert_eq!((&rows[1]["disposition"], &rows[1]["reasons"]), (&json!("ignored"), &json!([{"code": "blocked"}])));
    assert!(!rows[1]["description"].as_str().unwrap().is_empty());
    assert_eq!(
        rows[2],
        json!({"row": 4, "cells": ["2025550151", "", "Gone", "yes"], "disposition": "set_aside", "column": "Opt out",
            "reasons": [{"code": "opted_out_in_list"}], "description": "the person opted out"})
    );
    assert_eq!((&rows[3]["disposition"], &rows[3]["repeats_row"]), (&json!("duplicate"), &json!(2)));
    assert_eq!(
        (&rows[4]["reasons"], &rows[4]["phone"]),
        (&json!([{"code": "invalid_phone", "fault": "no_such_number"}]), &json!("12"))
    );
    let note = &rows[5]["notes"][0];
    assert_eq!(
        (&note["code"], &note["column"], &note["value"]),
        (&json!("birth_date_left_out"), &json!("Birthday"), &json!("31.01.1990"))
    );
    assert_eq!((&rows[6]["reasons"], &rows[6]["column"]), (&json!([{"code": "beyond_header"}]), &json!("F")));
    // The options of the requests count, and nothing was written.
    let mut options = mixed_options();
    options["request"] = json!({"step_id": STEP, "from": "+12025550100"});
    assert_ne!(previewed(service, MIXED, Some(&options))["list_id"], data["list_id"]);
    assert_eq!(service.get("/v1/contacts").json["total"], 2);
    assert_eq!(service.get("/v1/enrollments").json["total"], 0);
    // A list whose rows are all set aside has no requests.
    let all_set_aside =
        previewed(service, "Phone,Opt out\n1,yes\n", Some(&json!({"mapping": {"Opt out": "opted_out"}})));
    assert_eq!(
        (&all_set_aside["requests"], &all_set_aside["total"], all_set_aside.get("accepted_before")),
        (&json!(0), &json!(1), None)
    );
    // With a key, the id is that of the key.
    let body = form(&[part("file", Some("people.csv"), LIST)]);
    let with_key = |key: &str| service.post(&preview(), &body, &[("content-type", FORM), ("idempotency-key", key)]);
    let ids = ["a", "a", "b"].map(|key| with_key(key).json["data"]["list_id"].clone());
    assert!(ids[0] == ids[1] && ids[1] != ids[2] && ids[0].is_string(), "{ids:?}");
    with_key("").assert_error(422, "invalid_idempotency_key", "");
}

fn a_preview_equals_the_report_of_the_real_enrollment(service: &mut Service) {
    let data = previewed(service, MIXED, Some(&mixed_options()));
    let report = run(service, MIXED, &["--column", "Opt out=opted_out", "--default-region", "US"]);
    assert_eq!(data["list_id"], report["list_id"]);
    assert_eq!(data["counts"], report["counts"]);
    assert_eq!(outcomes_of_rows(&data["rows"]), outcomes_of_report(&report));
    assert_eq!(outcomes_of_rows(&data["rows"]).len(), 5);
}

fn a_list_that_was_accepted_before_has_its_outcomes(service: &mut Service) {
    let before = previewed(service, LIST, None);
    let report = run(service, LIST, &[]);
    let after = previewed(service, LIST, None);
    assert_eq!(after["accepted_before"]["state"], "completed", "{after}");
    assert_eq!(after["accepted_before"]["accepted_at"], report["reports"][0]["at"]);
    assert_eq!((&after["list_id"], &after["counts"]), (&before["list_id"], &before["counts"]));
    // Another list of the same people would process them again.
    let other = previewed(service, &LIST.replace("Company", "Firm"), None);
    assert_eq!((&other["counts"]["reprocessed"], other.get("accepted_before")), (&json!(2), None));
    // It names the request that enrolled them. A list over HTTP has its file too.
    let earlier = |preview: &Value| preview["enrolled_before"].as_array().cloned().unwrap_or_default();
    let of_run =
        json!({"enrollment_id": before["list_id"], "accepted_at": report["reports"][0]["at"], "recipients": 2});
    assert_eq!((earlier(&other), after.get("enrolled_before")), (vec![of_run], None));
    assert_eq!(
        service
            .upload(&format!("/v1/lists?sequence_id={ACTIVE}"), "second.csv", LIST.replace("Company", "Firm"), None)
            .status,
        202
    );
    enroll(&["work", "--until-empty", "--database", &service.database], &[]);
    let third = earlier(&previewed(service, &LIST.replace("Company", "Trade"), None));
    assert_eq!((third.len(), &third[0]["file"], &third[0]["recipients"]), (1, &json!("second.csv"), &json!(2)));
    assert_eq!(third[0]["list_id"], other["list_id"]);
    // The numbers of an accepted list are those of the contacts.
    assert_eq!(after["rows"][0]["read_as"], before["rows"][0]["read_as"]);
}

/// Returns a list of people. Each third person of the last half came before.
fn long_list(people: u32) -> String {
    let row = |n: u32| {
        let number = if n > people / 2 && n.is_multiple_of(3) { n - people / 2 } else { n };
        format!("+1202{:07},P{n}\n", 2_000_000 + number)
    };
    std::iter::once("Phone,Name\n".to_owned()).chain((0..people).map(row)).collect()
}

fn a_long_list_is_previewed_in_the_background(service: &mut Service) {
    let list = long_list(12_000);
    let started = service.upload(&preview(), "long.csv", &list, None);
    assert_eq!(started.status, 202, "{started:?}");
    let location = started.location.unwrap();
    let job = &started.json["data"];
    assert_eq!(location, format!("/v1/lists/previews/{}", job["preview_id"].as_str().unwrap()));
    assert_eq!((&job["state"], &job["recipients"]), (&json!("running"), &json!(12_000)));
    // The organization has one preview at a time. Others go on.
    let second = service.upload(&preview(), "long.csv", &list, None);
    second.assert_error(429, "preview_running", "");
    assert!(second.retry_after.is_some() && second.remaining_interval.is_some(), "{second:?}");
    let body = form(&[part("file", Some("people.csv"), LIST)]);
    let theirs = format!("/v1/lists?sequence_id={}&preview=true", id(0xa5));
    let other = service.post_as(&service.other_key, &theirs, &body, &[("content-type", FORM)]);
    assert_eq!((other.status, &other.json["data"]["counts"]["added"]), (200, &json!(2)), "{other:?}");
    service.get_as(&service.other_key, &location).assert_error(404, "preview_not_found", "");

    let done = wait_for_preview(service, &location);
    assert_eq!((&done["state"], &done["recipients_done"]), (&json!("completed"), &json!(12_000)), "{done}");
    assert_eq!(
        (&done["requests"], &done["total"], done["rows"].as_array().unwrap().len()),
        (&json!(3), &json!(12_000), 50)
    );
    assert_eq!(service.get("/v1/contacts").json["total"], 2);
    // Pages and filters.
    let page = |query: &str| {
        let answer = service.get(&format!("{location}?{query}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json["data"].clone()
    };
    let mut all = Vec::new();
    while all.len() < 12_000 {
        let rows = page(&format!("limit=500&offset={}", all.len()));
        all.extend(rows["rows"].as_array().unwrap().iter().cloned());
    }
    let numbers: Vec<u64> = all.iter().map(|row| row["row"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (2..12_002).collect::<Vec<u64>>());
    let invalid = page("disposition=ignored&reason=invalid_phone,opted_out_in_list&limit=500");
    let of_kind = |kind: &str| all.iter().filter(|row| row["disposition"] == kind).count();
    assert_eq!(invalid["total"], json!(of_kind("ignored")));
    assert_eq!(page("disposition=set_aside")["total"], 0);
    let again = page("disposition=reprocessed,duplicate&limit=1");
    assert_eq!(again["total"], json!(of_kind("reprocessed") + of_kind("duplicate")));
    assert!(again["rows"][0]["repeats_row"].as_u64().unwrap() < again["rows"][0]["row"].as_u64().unwrap());
    service.get(&format!("{location}?disposition=gone")).assert_error(422, "invalid_parameter", "?disposition");
    // The real enrollment does the same, under the same id.
    let report = run(service, &list, &[]);
    assert_eq!((&done["list_id"], &done["counts"]), (&report["list_id"], &report["counts"]));
    assert_eq!(outcomes_of_rows(&json!(all)), outcomes_of_report(&report));

    // Cancelled, and forgotten. The next one can start when the thread of the first one has ended.
    let restarted = start_when_possible(service, &list.replace("Name", "Full name"));
    let location = restarted.location.unwrap();
    assert_eq!(service.delete(&location).status, 204);
    service.get(&location).assert_error(404, "preview_not_found", "");
    service.delete(&location).assert_error(404, "preview_not_found", "");
    let location = start_when_possible(service, &list).location.unwrap();
    let done = wait_for_preview(service, &location);
    assert_eq!((&done["accepted_before"]["state"], &done["counts"]), (&json!("completed"), &report["counts"]));
}

fn start_when_possible(service: &Service, list: &str) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let answer = service.upload(&preview(), "long.csv", list, None);
        if answer.status == 202 {
            return answer;
        }
        answer.assert_error(429, "preview_running", "");
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn a_list_that_cannot_be_enrolled_says_where_and_what_to_do(service: &mut Service) {
    let latin = b"Phone,Name\n2025550150,Ren\xe9\n2025550151,\xc3\xa9\xc3\xa9\n".as_slice();
    for (file, options, code, path, row) in [
        (b"".as_slice(), json!({}), "empty", "/file", None),
        (b"\x00\x01\x02\x03".as_slice(), json!({}), "unknown_format", "/file", None),
        (b"%PDF-1.7\n".as_slice(), json!({}), "unknown_format", "/file", None),
        (b"Company\nX\n".as_slice(), json!({}), "no_key_column", "/options/mapping", None),
        (b"Phone\n".as_slice(), json!({}), "no_rows", "/file", None),
        (b"Phone,Name\n1,\"open\n".as_slice(), json!({}), "open_quote", "/file", Some(2)),
        (latin, json!({}), "bad_text", "/file", Some(2)),
        (latin, json!({"encoding": "utf-8"}), "bad_text", "/file", Some(2)),
        (b"Phone,Opt out\n1,no\n".as_slice(), json!({}), "consent_not_mapped", "/options/mapping/Opt out", None),
        (
            b"Phone,properties.score\n1,2\n".as_slice(),
            json!({}),
            "no_custom_object",
            "/options/request/custom_data",
            None,
        ),
    ] {
        let answer = service.upload(&preview(), "a.csv", file, Some(&options));
        answer.assert_error(422, code, path);
        let error = &answer.json["errors"][0];
        assert_eq!(error["row"].as_u64(), row, "{error}");
        let text = error["description"].as_str().unwrap();
        assert!(text.starts_with("a.csv: ") && !text.contains("--"), "{text}");
    }
    for (request, code, path) in [
        (json!({"step_id": id(0xff)}), "step_not_found", "/options/request/step_id"),
        (json!({"from": "+12025550109"}), "channel_not_found", "/options/request/from"),
        (
            json!({"custom_data": {"custom_object_id": id(0xff), "resource": "contact"}}),
            "custom_object_not_found",
            "/options/request/custom_data/custom_object_id",
        ),
    ] {
        service.upload(&preview(), "a.csv", LIST, Some(&json!({"request": request}))).assert_error(422, code, path);
    }
    let to = |sequence: &str| format!("/v1/lists?preview=true&sequence_id={sequence}");
    for (path, status, code, place) in [
        (to(&id(0xa5)), 404, "sequence_not_found", ""),
        (to(&id(0xff)), 404, "sequence_not_found", ""),
        (to(&id(0x20)), 422, "sequence_not_active", ""),
        (to("x"), 422, "invalid_parameter", "?sequence_id"),
        ("/v1/lists?preview=true".to_owned(), 422, "invalid_parameter", "?sequence_id"),
        (format!("{}&sheet=A", preview()), 422, "invalid_parameter", "?sheet"),
    ] {
        service.upload(&path, "a.csv", LIST, None).assert_error(status, code, place);
    }
    // A property of another type refuses the list, with its row and its field.
    let options = json!({"request": {"custom_data": {"custom_object_id": id(8), "resource": "contact"}}});
    let scores = previewed(service, "Phone,properties.score\n+12025550150,5.0\n", Some(&options));
    assert_eq!(scores["counts"]["added"], 1);
    service.get(&format!("/v1/lists/previews/{}", id(1))).assert_error(404, "preview_not_found", "");
}

/// The reported files, and the address and the name of their people.
const REPORTED: [(&str, &[[&str; 3]]); 11] = [
    ("capitals", &[["+12025550171", "ada@example.com", "Ada Example"]]),
    ("first-last", &[["+12025550171", "ada@example.com", "Ada Example"]]),
    ("google", &[["+12025550171", "ada@example.com", "Ada Example"]]),
    ("invisible-in-header", &[["+12025550171", "a@example.com", "A"]]),
    ("semicolons", &[["+12025550171", "a@example.com", "A"]]),
    ("sep-line", &[["+12025550171", "", "A"]]),
    ("space-before-quote", &[["+12025550171", "", "Jane Doe"], ["+12025550172", "", "Bob"]]),
    ("tabs", &[["+12025550171", "", "A"]]),
    ("text-marker", &[["+12025550171", "", "Ann"]]),
    ("trailing-empty-columns", &[["+12025550171", "a@example.com", "A"], ["+12025550172", "b@example.com", "B"]]),
    ("utf16", &[["+12025550171", "", "René"]]),
];

/// Returns the file of a vector of the import library.
fn vector(name: &str, file: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/lists");
    std::fs::read(folder.join(name).join(file)).unwrap()
}

fn each_reported_file_is_inspected_and_previewed(service: &mut Service) {
    for (name, people) in REPORTED {
        let file = vector(&format!("report-{name}"), "list.csv");
        let inspected = service.upload(INSPECT, "list.csv", &file, None);
        assert_eq!((inspected.status, &inspected.json["data"]["rows"]), (200, &json!(people.len())), "{inspected:?}");
        let answer = service.upload(&preview(), "list.csv", &file, None);
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
        let data = &answer.json["data"];
        assert_eq!((&data["counts"]["added"], &data["set_aside"]), (&json!(people.len()), &json!(0)), "{name}: {data}");
        let rows = data["rows"].as_array().unwrap().iter().map(|row| {
            let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
            [text(&row["read_as"]["phone"]), text(&row["read_as"]["email"]), text(&row["name"])]
        });
        assert_eq!(
            rows.collect::<Vec<_>>(),
            people.iter().map(|person| person.map(str::to_owned)).collect::<Vec<_>>(),
            "{name}"
        );
        if name == "google" {
            assert_eq!(data["rows"][0]["notes"][0]["code"], "several_values");
        }
    }
}

fn the_size_of_an_upload_is_limited(service: &mut Service) {
    let rows = |bytes: usize| {
        let mut list = "Phone,Name\n+12025550150,".to_owned();
        list.push_str(&"a".repeat(bytes - list.len() - 1));
        list + "\n"
    };
    let fits = service.upload(INSPECT, "a.csv", rows(100_000), None);
    assert_eq!((fits.status, &fits.json["data"]["bytes"]), (200, &json!(100_000)), "{fits:?}");
    service.upload(INSPECT, "a.csv", rows(100_001), None).assert_error(413, "body_too_large", "/file");
    service.upload(INSPECT, "a.csv", rows(3_000_000), None).assert_error(413, "body_too_large", "/file");
    let edits = json!({"sheet": "a".repeat(2 << 20)});
    service.upload(INSPECT, "a.csv", LIST, Some(&edits)).assert_error(413, "body_too_large", "/file");
    let options = "a".repeat((1 << 20) + 1);
    let parts = [part("options", None, &options), part("file", Some("a.csv"), LIST)];
    service.send_parts(INSPECT, &parts).assert_error(413, "body_too_large", "/options");
    // An upload that breaks off, and one that does not go on.
    let body = form(&[part("file", Some("a.csv"), LIST)]);
    let head = |length: usize| {
        format!(
            "POST {INSPECT} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nX-WHIPPY-KEY: {}\r\ncontent-type: {FORM}\r\n\
             content-length: {length}\r\n\r\n",
            service.key
        )
    };
    let half = [head(body.len()).as_bytes(), &body[..body.len() / 2]].concat();
    let slow = service.raw(&half);
    assert!(slow.starts_with("HTTP/1.1 408 ") && slow.contains("did not arrive in time"), "{slow}");
    let stream = service.connect(&half);
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut stream = stream;
    let broken = support::service::read_all(&mut stream);
    assert!(broken.is_empty() || broken.starts_with("HTTP/1.1 400 "), "{broken}");
    // The service goes on.
    assert_eq!(service.upload(INSPECT, "a.csv", LIST, None).status, 200);
}

fn previews_count_for_their_rate_limit(service: &mut Service) {
    for n in 0..10 {
        let path = if n % 2 == 0 { INSPECT.to_owned() } else { preview() };
        assert_eq!(service.upload(&path, "a.csv", LIST, None).status, 200);
    }
    for path in [INSPECT.to_owned(), preview()] {
        let refused = service.upload(&path, "a.csv", LIST, None);
        refused.assert_error(429, "rate_limited", "");
        assert!(refused.retry_after.is_some());
    }
}

/// Returns a spreadsheet with this content.
fn ods(content: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [("mimetype", "application/vnd.oasis.opendocument.spreadsheet"), ("content.xml", content)] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn a_hostile_file_is_refused_with_bounded_memory(service: &mut Service) {
    // A spreadsheet of 1 KB that repeats a cell a thousand million times.
    let content = r#"<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
        xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0">
        <office:body><office:spreadsheet><table:table table:name="A">
        <table:table-row><table:table-cell office:value-type="string"><text:p>Phone</text:p></table:table-cell></table:table-row>
        <table:table-row table:number-rows-repeated="1000000">
        <table:table-cell table:number-columns-repeated="1000" office:value-type="string"><text:p>1</text:p></table:table-cell>
        </table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"#;
    let bomb = ods(content);
    assert!(bomb.len() < 2 << 10, "{} bytes", bomb.len());
    service.upload(INSPECT, "a.csv", LIST, None);
    let before = service.peak_memory();
    for path in [INSPECT.to_owned(), preview()] {
        service.upload(&path, "bomb.ods", &bomb, None).assert_error(422, "too_many_cells", "/file");
    }
    // So is one whose rows have a cell in their last column only.
    let row = "<table:table-row><table:table-cell table:number-columns-repeated=\"16383\"/>\
        <table:table-cell><text:p>1</text:p></table:table-cell></table:table-row>";
    let start = content.find("<table:table-row table:number-rows-repeated").unwrap();
    let end = content.rfind("</table:table>").unwrap();
    let wide = [&content[..start], &row.repeat(1000), &content[end..]].concat();
    service.upload(INSPECT, "wide.ods", ods(&wide), None).assert_error(422, "too_many_cells", "/file");
    // What these files declare is not allocated.
    for name in ["xlsx-declared-dimension", "xlsx-declared-texts", "xlsx-far-cell"] {
        let answer = service.upload(INSPECT, "list.xlsx", vector(name, "list.xlsx"), None);
        assert!([200, 422].contains(&answer.status), "{name}: {answer:?}");
    }
    for name in ["ods-torn", "ods-ends-early"] {
        service.upload(INSPECT, "list.ods", vector(name, "list.ods"), None).assert_error(422, "broken_file", "/file");
    }
    let grown = service.peak_memory().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB", grown >> 20);
}
