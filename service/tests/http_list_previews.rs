//! Lists over HTTP before they are accepted: uploads, inspections and previews.

mod support;

use serde_json::{Value, json};

use support::service::{FORM, Part, Service, form, on_both};

const INSPECT: &str = "/v1/lists/inspect";
const LIST: &str = "Phone,Name,Company\n+1 202 555 0150,Ada,X\n\n+1 202 555 0151,Bo,Y\n";

on_both! {
    an_inspection_shows_the_columns_and_the_first_rows;
    an_upload_with_wrong_parts_names_the_part;
    options_that_are_wrong_have_their_place;
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
