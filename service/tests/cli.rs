//! The binary on real files, without a database.

mod support;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Folder, SEED, SEQUENCE, enroll, error_line, json, path, text};

#[test]
fn run_prints_the_outcomes_as_text() {
    let folder = Folder::new("words");
    let body = r#"{"to": [{"phone": "+12025550123", "name": "Ann"}, {"phone": "202-555-0187"}, {"phone": "12"}, {"phone": "2025550187"}]}"#;
    let output = text(&folder.run("r.json", body, &[]));
    for line in [
        "Sequence `Welcome`, step 1 of 1 (phone), from +12025550100",
        "recipients                 4",
        "  ignored                  2",
        "Ann",
        "is blocked",
        "phone number is not valid",
        "same contact as 1",
        "Upload 2026-02-01T15:00:00.000Z",
    ] {
        assert!(output.contains(line), "no `{line}` in:\n{output}");
    }
    let one = text(&folder.run("one.json", r#"{"to": [{"phone": "2025550187"}]}"#, &[]));
    assert!(one.contains("Every recipient was simply added."), "{one}");
}

#[test]
fn a_preview_gives_the_same_report_as_the_run() {
    let folder = Folder::new("preview");
    let body = r#"{"to": [{"phone": "2025550187"}]}"#;
    let id = ["--id", "00000000-0000-0000-0000-0000000000aa", "--json"];
    let done = json(&folder.run("r.json", body, &id));
    let preview = json(&folder.run("r.json", body, &[&id[..], &["--preview"]].concat()));
    assert_eq!(done, preview);
    assert_eq!(done["counts"]["added"], 1);
    assert!(text(&folder.run("r.json", body, &["--preview"])).starts_with("Preview: nothing was written."));
}

#[test]
fn csv_and_standard_input_give_the_same_report_as_json() {
    let folder = Folder::new("csv");
    let id = ["--id", "00000000-0000-0000-0000-0000000000aa", "--json"];
    let body = r#"{"to": [{"phone": "2025550187", "address": {"city": "Rome"}, "birth_date": {"day": 3}, "properties": {"score": 7}}],
        "custom_data": {"custom_object_id": "00000000-0000-0000-0000-000000000008", "resource": "contact"}}"#;
    let csv = "\u{feff}phone,city,birth_date.day,properties.score\n2025550187,Rome,3,7\n";
    let object = ["--custom-object", "00000000-0000-0000-0000-000000000008", "--resource", "contact"];
    let from_json = json(&folder.run("r.json", body, &id));
    let list = json(&folder.run("r.csv", csv, &[&id[..], &object[..]].concat()));
    let mut from_csv = list["reports"][0].clone();
    assert_eq!(from_csv["outcomes"][0].as_object_mut().unwrap().remove("row"), Some(2.into()));
    assert_eq!(from_json, from_csv);
    assert!(from_csv["outcomes"][0]["record_id"].is_string());

    let seed = folder.0.join("seed.json");
    for (option, input, expected) in [("--request", body, from_json), ("--list", csv, list)] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_enroll"))
            .args(["run", "--seed", path(&seed), "--sequence", SEQUENCE, option, "-"])
            .args(if option == "--list" { &object[..] } else { &[] })
            .args(id)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let mut output = json(&child.wait_with_output().unwrap());
        if option == "--list" {
            assert_eq!(output["list"]["file"], "standard input");
            output["list"]["file"] = expected["list"]["file"].clone();
        }
        assert_eq!(output, expected);
    }
}

#[test]
fn a_large_csv_is_split_evenly_and_repeated_people_are_reported() {
    let folder = Folder::new("large");
    let mut csv = "name,phone\n".to_owned();
    for n in 0..9001 {
        // The last row repeats the first person.
        let n = if n == 9000 { 0 } else { n };
        writeln!(csv, "P{n},+1303{:07}", 2_000_000 + n).unwrap();
    }
    let id = ["--id", "00000000-0000-0000-0000-0000000000aa"];
    let report = json(&folder.run("r.csv", &csv, &[&id[..], &["--json"]].concat()));
    let reports = report["reports"].as_array().unwrap();
    let sizes: Vec<usize> = reports.iter().map(|report| report["outcomes"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [3001, 3000, 3000]);
    let instants: Vec<_> = reports.iter().map(|report| report["at"].as_str().unwrap()).collect();
    assert_eq!(instants, ["2026-02-01T15:00:00.000Z", "2026-02-01T15:00:00.001Z", "2026-02-01T15:00:00.002Z"]);
    let ids: std::collections::BTreeSet<_> = reports.iter().map(|report| report["enrollment_id"].to_string()).collect();
    assert_eq!(ids.len(), 3);
    assert_eq!(report["again"].as_array().unwrap().len(), 1);
    assert_eq!((&report["again"][0]["row"], &report["again"][0]["first_row"]), (&9002.into(), &2.into()));

    for (preview, line) in [
        (&[][..], "9002  P0   reprocessed  same person as row 2"),
        (&["--preview"], "9002  P0   +13032000000  reprocessed  same person as row 2"),
    ] {
        let output = text(&folder.run("r.csv", &csv, preview));
        assert!(output.contains(line), "{output}");
        assert!(output.contains("3 requests, list"), "{output}");
    }
}

#[test]
fn invalid_input_is_reported_in_one_line_with_its_place() {
    let folder = Folder::new("bad");
    let good = r#"{"to": [{"phone": "2025550187"}]}"#;
    for (name, body, place) in [
        ("r.json", "{", "not JSON"),
        (
            "r.json",
            r#"{"to": [{"phone": "1"}, {"name": 5}]}"#,
            "/to/1/phone: `phone` is required; add it (required); /to/1/name: must be a string (invalid_type)",
        ),
        ("r.json", r#"{"to": []}"#, "/to: `to` has no entries; add at least one (too_few)"),
        ("r.csv", "", "r.csv: is empty"),
        ("r.csv", "phone\n", "r.csv: has a header but no people below it"),
        ("r.csv", "nmae,fnoe\n1,2\n", "r.csv: has no column for a phone, an email or an external id;"),
        ("r.csv", "name\nAnn\n", "The titles are `name`; no column has values like a phone or an email"),
        ("r.csv", "phone,name\n2025550187,\"Ann\n2025550188,Bob\n", "r.csv: row 2 opens a quote that is never closed"),
        ("r.xlsx", "PK\u{3}\u{4}torn", "r.xlsx: is a broken"),
    ] {
        let output = error_line(&folder.run(name, body, &[]));
        assert!(output.starts_with("error: ") && output.contains(place), "{output}");
    }
    let both = folder.run("r.json", good, &["--from", "+12025550100"]);
    assert_eq!(both.status.code(), Some(2));
    let error = String::from_utf8(both.stderr).unwrap();
    assert!(error.contains("cannot be used with") && error.contains("--from <ADDRESS>"), "{error}");
    assert!(error_line(&folder.run("r.json", good, &["--idempotency-key", "ä"])).contains("invalid_idempotency_key"));
    let other = ["--organization", "00000000-0000-0000-0000-0000000000ff"];
    assert!(error_line(&folder.run("r.json", good, &other)).contains("--organization: the seed has no organization"));

    for (seed, place) in [
        ("{", "seed.json"),
        (
            r#"{"organization_id": "00000000-0000-0000-0000-000000000001", "contacts": [{"id": 5}]}"#,
            "seed.json#/contacts/0/id",
        ),
        (
            r#"{"organization_id": "00000000-0000-0000-0000-000000000001",
                "contacts": [{"id": "00000000-0000-0000-0000-000000000002", "phnoe": "1"}]}"#,
            "seed.json#/contacts/0: unknown field `phnoe`",
        ),
        (
            r#"{"organization_id": "00000000-0000-0000-0000-000000000001", "contacts": [
                {"id": "00000000-0000-0000-0000-000000000002", "phone": "+1"},
                {"id": "00000000-0000-0000-0000-000000000003", "phone": "+1"}]}"#,
            "seed.json#/contacts/1/phone: another contact has `+1`",
        ),
        (
            r#"{"organization_id": "00000000-0000-0000-0000-000000000001", "contact_tags": [
                {"contact_id": "00000000-0000-0000-0000-000000000002", "tag_id": "00000000-0000-0000-0000-000000000003"}]}"#,
            "seed.json#/contact_tags/0/contact_id: there is no contact",
        ),
    ] {
        folder.file("seed.json", seed);
        let output = error_line(&folder.run("r.json", good, &[]));
        assert!(output.contains(place), "{output}");
    }
    let missing = enroll(&["vectors", path(&folder.0.join("none.json"))], &[]);
    assert!(error_line(&missing).contains("none.json"));
}

#[test]
fn vectors_prints_each_result_and_exits_1_after_a_failure() {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    let passed = text(&enroll(&["vectors", path(&all)], &[]));
    assert!(passed.lines().all(|line| line.starts_with("ok ") || line.ends_with(" passed, 0 failed")), "{passed}");

    let folder = Folder::new("vectors");
    let vector = format!(
        r#"{{"name": "n", "rule": "r", "given": {SEED}, "when": [{{"sequence_id": "{SEQUENCE}",
            "enrollment_id": "00000000-0000-0000-0000-0000000000aa", "body": {{"to": [{{"phone": "+12025550187"}}]}}}}],
            "then": [{{"outcomes": [{{"disposition": "ignored"}}]}}]}}"#
    );
    let failed = enroll(&["vectors", path(&folder.file("v.json", &vector))], &[]);
    let output = String::from_utf8_lossy(&failed.stdout).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{output}");
    assert!(output.contains(r#"/then/0/outcomes/0/disposition: expected "ignored", got "added""#), "{output}");
    assert!(output.ends_with("0 passed, 1 failed\n"), "{output}");
}

#[test]
fn the_written_demo_files_give_the_same_result() {
    let folder = Folder::new("demo");
    let demo = text(&enroll(&["demo"], &[]));
    assert!(demo.contains("recipients              4000") && demo.contains("4000 recipients in "), "{demo}");
    let wrote = text(&enroll(&["demo", "--write", path(&folder.0)], &[]));
    assert!(wrote.contains("enroll run --seed"), "{wrote}");
    let (seed, list) = (folder.0.join("seed.json"), folder.0.join("list.csv"));
    let args = ["run", "--seed", path(&seed), "--sequence", "Spring outreach", "--list", path(&list)];
    let refused = error_line(&enroll(&args, &[]));
    assert!(refused.contains(r#"`--column "Unsubscribed=opted_out"`"#), "{refused}");
    text(&enroll(&args, &["--column", "Unsubscribed=opted_out"]));
    let request = folder.0.join("request.json");
    let sequence = "00000000-0000-0000-0000-0000000005e9";
    let args = ["run", "--seed", path(&seed), "--sequence", sequence, "--request", path(&request)];
    let same = text(&enroll(&args, &[]));
    let counts = |text: &str| text.lines().skip(1).take(8).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(counts(&demo), counts(&same));
}

#[test]
fn rows_are_numbered_as_in_a_spreadsheet() {
    let folder = Folder::new("rows");
    let csv = "phone,email\n2025550187,x@example.com\n\n,\nnope,\n2025550187,\n";
    let output = text(&folder.run("r.csv", csv, &[]));
    assert!(output.contains("recipients                 3"), "{output}");
    assert!(
        output.contains(" 5    nope") && output.contains(" 6    2025550187  duplicate  same contact as 2"),
        "{output}"
    );

    folder.file("seed.json", &SEED.replace(r#", "state": "blocked""#, ""));
    let csv = "phone,email\n\n2025550187,x@example.com\n+12025550123,x@example.com\n";
    let output = text(&folder.run("r.csv", csv, &[]));
    assert!(output.contains("email left out: row 3 added it to another contact"), "{output}");
}

#[test]
fn control_characters_of_a_sender_are_escaped() {
    let folder = Folder::new("escape");
    let csv = "phone,properties.\u{1b}[31mx\n2025550187,1\n";
    let object = ["--custom-object", "00000000-0000-0000-0000-000000000008", "--resource", "contact"];
    let output = text(&folder.run("r.csv", csv, &object));
    assert!(output.contains(r"`\u{1b}[31mx` is not a property") && !output.contains('\u{1b}'), "{output}");
}

#[test]
fn an_import_rejects_an_invalid_idempotency_key() {
    let folder = Folder::new("key");
    let csv = "phone\n".to_owned() + &"2025550187\n".repeat(4001);
    assert!(error_line(&folder.run("r.csv", &csv, &["--idempotency-key", "a b"])).contains("invalid_idempotency_key"));
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let folder = Folder::new("bom");
    folder.file("seed.json", &format!("\u{feff}{SEED}"));
    let output = text(&folder.run("r.json", "\u{feff}{\"to\": [{\"phone\": \"2025550187\"}]}", &[]));
    assert!(output.contains("simply added"), "{output}");
}

#[test]
fn an_invalid_vector_file_does_not_hide_the_other_results() {
    let folder = Folder::new("no-vector");
    let vectors = folder.0.join("v");
    std::fs::create_dir_all(&vectors).unwrap();
    let good = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/1-operation/d04-upload-tag.json");
    std::fs::copy(good, vectors.join("a.json")).unwrap();
    std::fs::write(vectors.join("b.json"), "{}").unwrap();
    let output = enroll(&["vectors", path(&vectors)], &[]);
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(2), "{printed}");
    assert!(printed.starts_with("ok ") && printed.ends_with("1 passed, 1 failed\n"), "{printed}");
}

#[cfg(unix)]
#[test]
fn the_commands_of_the_readme_work_as_written() {
    let folder = Folder::new("readme");
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    std::os::unix::fs::symlink(root.join("import"), folder.0.join("import")).unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let section = readme.split("## Command line and service").nth(1).unwrap().split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: String = blocks.flat_map(str::lines).map(|line| line.to_owned() + "\n").collect();
    let commands: Vec<&str> = commands.split_inclusive('\n').filter(|line| !line.starts_with("cargo ")).collect();
    let commands = commands.into_iter().filter(|line| !line.starts_with("enroll serve ")).collect::<String>();
    assert!(commands.lines().count() > 8, "{commands}");
    let binary = Path::new(env!("CARGO_BIN_EXE_enroll")).parent().unwrap();
    let script = format!("set -e; PATH='{}':$PATH\n{commands}", binary.display());
    let ran = Command::new("sh").args(["-c", &script]).current_dir(&folder.0).env_remove("ENROLL_DATABASE").output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let printed = String::from_utf8(ran.stdout).unwrap();
    // Each line of the output in the README was printed.
    let outputs = section.split("```text\n").skip(1).map(|block| block.split("```").next().unwrap());
    for line in outputs.flat_map(str::lines).filter(|line| !matches!(line.trim(), "" | "…")) {
        assert!(printed.lines().any(|printed| printed == line), "`{line}` is not in:\n{printed}");
    }
    assert!(folder.0.join("fix.csv").exists());
}
