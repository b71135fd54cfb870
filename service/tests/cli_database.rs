//! The binary on databases: SQLite files, and PostgreSQL.

mod support;

use enroll::seed::Seed;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use uuid::Uuid;

use support::{Folder, SEED, SEQUENCE, enroll, error_line, json, on_postgresql, path, people, postgres, text};

const ONE: &str = r#"{"to": [{"phone": "2025550187"}]}"#;
const ID: &str = "00000000-0000-0000-0000-0000000000aa";

/// Returns a folder with a database that contains the seed.
fn seeded(name: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let file = folder.0.join("enroll.db");
    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", path(&file)], &[]));
    (folder, file)
}

/// Runs `enroll run` on a database.
fn run(database: &str, request: &Path, more: &[&str]) -> std::process::Output {
    let [option, file] = people(request);
    enroll(&["run", "--database", database, "--sequence", SEQUENCE, option, file], more)
}

/// Returns all rows of a file.
fn rows(file: &Path) -> Value {
    let connection = rusqlite::Connection::open(file).unwrap();
    let seed: Seed =
        enroll_sqlite::seed::dump(&connection, enroll::OrganizationId::from_uuid(Uuid::from_u128(1))).unwrap();
    serde_json::to_value(seed).unwrap()
}

/// Changes a report into that of a repeated request, which does not read the addresses again.
fn mark_replayed(report: &mut Value) {
    report["replayed"] = true.into();
    for outcome in report["outcomes"].as_array_mut().unwrap() {
        outcome.as_object_mut().unwrap().remove("read_as");
    }
}

/// Returns a CSV with a number of people, and a last row.
fn list(people: usize, last: &str) -> String {
    let mut csv = "name,phone,birth_date.month\n".to_owned();
    for n in 0..people {
        writeln!(csv, "P{n},+1303{:07},2", 2_000_000 + n).unwrap();
    }
    csv + last
}

/// Copies three test vectors. Two of them are `plan_only`.
fn three_vectors(folder: &Folder) -> PathBuf {
    let vectors = folder.0.join("vectors");
    std::fs::create_dir_all(&vectors).unwrap();
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors");
    for (section, name) in [
        ("1-operation", "d04-upload-tag.json"),
        ("4.6-enrollment", "a-active-outweighs-pending.json"),
        ("4.6-enrollment", "b-live-only-newest-live.json"),
    ] {
        std::fs::create_dir_all(vectors.join(section)).unwrap();
        std::fs::copy(all.join(section).join(name), vectors.join(section).join(name)).unwrap();
    }
    let second = std::fs::read_to_string(vectors.join("4.6-enrollment/b-live-only-newest-live.json")).unwrap();
    assert!(second.contains("plan_only"));
    vectors
}

/// Runs the demo twice on one database, and checks that the second run reprocesses the same contacts.
fn run_demo_twice(database: &str) {
    let demo = || json(&enroll(&["demo", "--database", database, "--json"], &[]))["counts"].clone();
    let (first, second) = (demo(), demo());
    let count = |counts: &Value, what: &str| counts[what].as_u64().unwrap();
    let enrolled: u64 = ["added", "re_added", "reprocessed"].iter().map(|what| count(&first, what)).sum();
    assert!(count(&first, "added") > 2000 && count(&first, "contacts_created") > 2000, "{first}");
    assert_eq!(count(&second, "reprocessed"), enrolled);
    for none in ["added", "re_added", "contacts_created", "conversations_created"] {
        assert_eq!(count(&second, none), 0, "{none}: {second}");
    }
    for same in ["ignored", "duplicate"] {
        assert_eq!(first[same], second[same], "{same}");
    }
}

#[test]
fn a_seed_is_loaded_and_enrollments_are_stored() {
    let folder = Folder::new("db-run");
    let request = folder.file("r.json", ONE);
    // The default is a file in the current folder. An environment variable can name another one.
    let in_folder = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
        command.args(args).current_dir(&folder.0).env_remove("ENROLL_DATABASE").stdin(Stdio::null());
        command
    };
    let loaded = text(&in_folder(&["seed", "seed.json"]).output().unwrap());
    for line in ["loaded into enroll.db:", "1 organization\n", "1 channel\n", "1 sequence\n", "1 step\n", "1 contact\n"]
    {
        assert!(loaded.contains(line), "no `{line}` in:\n{loaded}");
    }
    let args = ["run", "--sequence", SEQUENCE, "--request", path(&request), "--at", "2026-02-01T15:00:00Z"];
    let output = text(&in_folder(&args).output().unwrap());
    assert!(output.contains("Sequence `Welcome`, step 1 of 1 (phone), from +12025550100"), "{output}");
    assert!(
        output.contains("  added                    1") && output.contains("contacts created           1"),
        "{output}"
    );

    let again = json(&run(path(&folder.0.join("enroll.db")), &request, &["--json"]));
    assert_eq!((&again["counts"]["reprocessed"], &again["counts"]["contacts_created"]), (&1.into(), &0.into()));
    let mut elsewhere = in_folder(&args);
    elsewhere.env("ENROLL_DATABASE", "other.db");
    assert!(support::error_line(&elsewhere.output().unwrap()).contains("other.db: has no tables of `enroll`"));
    assert!(!folder.0.join("other.db").exists());
    // A dry run does not use the database of the environment variable.
    let mut dry = in_folder(&["run", "--seed", "seed.json", "--sequence", SEQUENCE, "--request", path(&request)]);
    assert!(text(&dry.env("ENROLL_DATABASE", "other.db").output().unwrap()).contains("  added                    1"));
}

#[test]
fn the_same_id_or_key_returns_the_same_report() {
    let (folder, file) = seeded("db-again");
    let request = folder.file("r.json", ONE);
    for same in [["--id", ID, "--json"], ["--idempotency-key", "k", "--json"]] {
        let first = json(&run(path(&file), &request, &same));
        let before = rows(&file);
        let mut replayed = first;
        mark_replayed(&mut replayed);
        assert_eq!(json(&run(path(&file), &request, &same)), replayed);
        assert_eq!(rows(&file), before);
    }
    let other = folder.file("other.json", r#"{"to": [{"phone": "2025550188"}]}"#);
    assert!(error_line(&run(path(&file), &other, &["--id", ID])).contains("idempotency_conflict"));
}

#[test]
fn a_seed_with_an_existing_row_is_rejected_completely() {
    let (folder, file) = seeded("db-seed-twice");
    let before = std::fs::read(&file).unwrap();
    let seed = |name: &str, text: &str| {
        let seed = folder.file(name, text);
        error_line(&enroll(&["seed", path(&seed), "--database", path(&file)], &[]))
    };
    let output = seed("seed.json", SEED);
    let place = "seed.json: channel `00000000-0000-0000-0000-000000000002` already exists in ";
    assert!(output.contains(place) && output.ends_with("; nothing was written\n"), "{output}");
    // The rows before the existing one are not written either.
    let output = seed(
        "late.json",
        r#"{"organization_id": "00000000-0000-0000-0000-000000000001",
            "channels": [{"id": "00000000-0000-0000-0000-0000000000f2", "kind": "phone", "address": "+12025550101"}],
            "contacts": [{"id": "00000000-0000-0000-0000-0000000000f7", "phone": "+12025550124"},
                         {"id": "00000000-0000-0000-0000-0000000000f8", "phone": "+12025550123"}]}"#,
    );
    assert!(output.contains("#/contacts/1/phone: another contact has `+12025550123`"), "{output}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // An invalid seed creates no file.
    let bad = folder.file("bad.json", r#"{"organization_id": "x"}"#);
    let fresh = folder.0.join("fresh.db");
    let output = support::error_line(&enroll(&["seed", path(&bad), "--database", path(&fresh)], &[]));
    assert!(output.contains("bad.json#/organization_id") && !fresh.exists(), "{output}");
}

#[test]
fn a_policy_is_not_stored_but_passed_to_run() {
    let folder = Folder::new("db-policy");
    let strict = r#""policy": {"existing_contact": "keep", "consent": "leave_to_sender"}, "now""#;
    let seed = folder.file("seed.json", &SEED.replacen("\"now\"", strict, 1));
    let file = folder.0.join("enroll.db");
    let loaded = enroll(&["seed", path(&seed), "--database", path(&file)], &[]);
    text(&loaded);
    let note = String::from_utf8(loaded.stderr).unwrap();
    assert!(note.starts_with("note: a database stores no policy") && note.contains("--policy"), "{note}");

    let request = folder.file("r.json", r#"{"to": [{"phone": "+12025550123"}]}"#);
    let counts =
        |more: &[&str]| json(&run(path(&file), &request, &[&["--json", "--preview"], more].concat()))["counts"].clone();
    assert_eq!(counts(&[])["ignored"], 1);
    let policy = folder.file("policy.json", r#"{"consent": "leave_to_sender"}"#);
    assert_eq!(counts(&["--policy", path(&policy)])["added"], 1);
    let dry = ["run", "--seed", path(&seed), "--sequence", SEQUENCE, "--request", path(&request), "--json"];
    assert_eq!(json(&enroll(&dry, &[]))["counts"]["added"], 1);
    let default = folder.file("policy.json", "{}");
    assert_eq!(json(&enroll(&dry, &["--policy", path(&default)]))["counts"]["ignored"], 1);
    let misspelt = folder.file("policy.json", r#"{"consnet": "enforce"}"#);
    assert!(
        error_line(&run(path(&file), &request, &["--policy", path(&misspelt)])).contains("unknown field `consnet`")
    );
}

#[test]
fn csv_columns_have_the_types_of_the_custom_object() {
    let (folder, file) = seeded("db-csv");
    let csv = folder.file("r.csv", "phone,properties.score\n2025550187,7\n");
    let object = ["--custom-object", "00000000-0000-0000-0000-000000000008", "--resource", "contact", "--json"];
    let report = json(&run(path(&file), &csv, &object));
    assert_eq!(report["reports"][0]["outcomes"][0]["notes"], Value::Null);
    assert_eq!(rows(&file)["custom_records"][0]["properties"]["score"], 7);
}

#[test]
fn one_of_several_organizations_must_be_named() {
    let (folder, file) = seeded("db-organizations");
    let request = folder.file("r.json", ONE);
    for n in 0..11 {
        let seed = folder.file("more.json", &format!(r#"{{"organization_id": "{}"}}"#, Uuid::from_u128(0xb0 + n)));
        text(&enroll(&["seed", path(&seed), "--database", path(&file)], &[]));
    }
    let unnamed = error_line(&run(path(&file), &request, &[]));
    assert!(
        unnamed.contains("has 12 organizations, choose one: `00000000-0000-0000-0000-000000000001`, "),
        "{unnamed}"
    );
    assert!(unnamed.matches('`').count() == 20 && unnamed.ends_with(" or another\n"), "{unnamed}");
    let named = ["--organization", "00000000-0000-0000-0000-000000000001", "--json"];
    assert_eq!(json(&run(path(&file), &request, &named))["counts"]["added"], 1);
    let none = error_line(&run(path(&file), &request, &["--organization", ID]));
    assert!(none.contains("--organization: ") && none.contains("has no organization `"), "{none}");
    // The sequence belongs to another organization.
    let other = ["--organization", "00000000-0000-0000-0000-0000000000b0"];
    assert!(error_line(&run(path(&file), &request, &other)).contains("--sequence: the organization has no sequence"));

    let empty = folder.0.join("empty.db");
    drop(enroll_sqlite::SqliteRepository::open(&empty).unwrap());
    assert!(error_line(&run(path(&empty), &request, &[])).contains("has no organization: load one with `enroll seed"));
}

#[test]
fn a_preview_does_not_change_the_file() {
    let (folder, file) = seeded("db-preview");
    let before = std::fs::read(&file).unwrap();
    let one = folder.file("r.json", ONE);
    let many = folder.file("r.csv", &list(4500, "P0,+13032000000,2\n"));
    let at = ["--at", "2026-02-01T15:00:00Z", "--id", ID, "--json"];
    let mut previews = Vec::new();
    // It does not wait for a writer.
    let writer = rusqlite::Connection::open(&file).unwrap();
    writer.execute_batch("begin immediate").unwrap();
    for request in [&one, &many] {
        previews.push(json(&run(path(&file), request, &[&at[..], &["--preview"]].concat())));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    drop(writer);
    // The preview of the second request includes the rows of the first one. The run gives the same reports.
    assert_eq!(previews[1]["again"].as_array().unwrap().len(), 1);
    assert_eq!(json(&run(path(&file), &many, &at)), previews[1]);
    assert_ne!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn an_import_is_checked_before_it_writes_and_can_be_continued() {
    let (folder, file) = seeded("db-import");
    // The id of the second request belongs to another request.
    let taken = enroll::EnrollmentId::from_uuid(ID.parse().unwrap()).part(1).to_string();
    json(&run(path(&file), &folder.file("r.json", ONE), &["--id", &taken, "--json"]));
    let before = rows(&file);
    let good = folder.file("good.csv", &list(4500, ""));
    let refused = error_line(&run(path(&file), &good, &["--id", ID]));
    assert!(refused.contains("idempotency_conflict") && !refused.contains("are enrolled"), "{refused}");
    assert_eq!(rows(&file), before);

    let id = ["--id", "00000000-0000-0000-0000-0000000000bb"];
    let whole = json(&run(path(&file), &good, &[&id[..], &["--json"]].concat()));
    let after = rows(&file);
    let mut replayed = whole;
    for report in replayed["reports"].as_array_mut().unwrap() {
        mark_replayed(report);
    }
    assert_eq!(json(&run(path(&file), &good, &[&id[..], &["--json"]].concat())), replayed);
    assert_eq!(rows(&file), after);
    // Another list with the same id is rejected before any of it is enrolled.
    let other = folder.file("other.csv", &list(4501, ""));
    assert!(error_line(&run(path(&file), &other, &id)).contains("idempotency_conflict"));
    assert_eq!(rows(&file), after);
}

#[test]
fn repeated_people_are_reported_even_if_they_existed_before() {
    let (folder, file) = seeded("db-again-in-import");
    let many = folder.file("r.csv", &list(8500, "P1,+13032000001,2\nP2,nope,2\nP1,+13032000001,2\n"));
    let output = text(&run(path(&file), &many, &[]));
    assert!(output.contains("8502  P1   reprocessed  same person as row 3\n"), "{output}");
    // Now all contacts existed before the import.
    let again = json(&run(path(&file), &many, &["--json", "--idempotency-key", "again"]));
    assert_eq!(again["reports"].as_array().unwrap().len(), 3);
    let contact = &again["reports"][0]["outcomes"][1]["contact_id"];
    let expected = serde_json::json!([
        {"row": 8502, "first_row": 3, "contact_id": contact},
        {"row": 8504, "first_row": 3, "contact_id": contact},
    ]);
    assert_eq!(again["again"], expected);
    assert_eq!(again["reports"][2]["outcomes"][2833]["disposition"], "duplicate");

    // Standard input gives the same output.
    let from = |list: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
        command.args(["run", "--preview", "--sequence", SEQUENCE, "--list", list]);
        command.args(["--database", path(&file), "--at", "2026-02-01T15:00:00Z", "--id", ID, "--all"]);
        text(&command.stdin(std::fs::File::open(&many).unwrap()).output().unwrap())
    };
    let output = from(path(&many));
    assert!(output.contains(&format!("\n{}: text, UTF-8, ", path(&many))), "{output}");
    assert_eq!(from("-"), output.replace(path(&many), "standard input"));
}

#[test]
fn a_second_demo_on_a_file_reprocesses_everyone_and_creates_no_one() {
    let folder = Folder::new("db-demo");
    let file = folder.0.join("demo.db");
    run_demo_twice(path(&file));
    let before = rows(&file);
    let (contacts, runs) = (before["contacts"].as_array().unwrap().len(), before["runs"].as_array().unwrap().len());
    let output = text(&enroll(&["demo", "--database", path(&file)], &[]));
    assert!(
        output.contains("4000 recipients in ") && output.contains("into the organization that it already had"),
        "{output}"
    );
    let after = rows(&file);
    assert_eq!(after["contacts"].as_array().unwrap().len(), contacts);
    assert_eq!(after["runs"].as_array().unwrap().len(), runs);
}

#[test]
fn vectors_use_a_new_file_and_delete_it() {
    let folder = Folder::new("db-vectors");
    let vectors = three_vectors(&folder);
    let file = folder.0.join("v.db");
    let ran = text(&enroll(&["vectors", path(&vectors), "--database", path(&file)], &[]));
    assert!(ran.ends_with("1 passed, 0 failed, 2 skipped\n"), "{ran}");
    assert_eq!(ran.lines().filter(|line| line.starts_with("skipped ") && line.contains("(plan_only: ")).count(), 2);
    assert!(text(&enroll(&["vectors", path(&vectors)], &[])).ends_with("3 passed, 0 failed\n"));
    let files = std::fs::read_dir(&folder.0)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("v.db"));
    assert_eq!(files.count(), 0);

    // After a failed vector, the file is deleted too.
    let wrong = std::fs::read_to_string(vectors.join("1-operation/d04-upload-tag.json"))
        .unwrap()
        .replace("\"added\"", "\"ignored\"");
    let wrong = enroll(&["vectors", path(&folder.file("w.json", &wrong)), "--database", path(&file)], &[]);
    let output = String::from_utf8(wrong.stdout).unwrap();
    assert_eq!(wrong.status.code(), Some(1), "{output}");
    assert!(output.contains("got \"added\"") && output.ends_with("0 passed, 1 failed\n") && !file.exists(), "{output}");

    std::fs::write(&file, "mine").unwrap();
    let refused = support::error_line(&enroll(&["vectors", path(&vectors), "--database", path(&file)], &[]));
    assert!(refused.contains("v.db: exists already, and `enroll vectors` deletes its file"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let nowhere = folder.0.join("none/v.db");
    let ended = enroll(&["vectors", path(&vectors), "--database", path(&nowhere)], &[]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot be opened: check that its folder exists"));
}

#[test]
fn an_unusable_database_is_reported_in_one_line() {
    let (folder, file) = seeded("db-faults");
    let request = folder.file("r.json", ONE);
    let before = std::fs::read(&file).unwrap();
    let at = |database: &str| error_line(&run(database, &request, &[]));

    let missing = folder.0.join("missing.db");
    let line = at(path(&missing));
    assert!(line.contains("missing.db: has no tables of `enroll`; create them with `enroll seed SEED.json"), "{line}");
    assert!(!missing.exists());
    let read_only = format!("file:{}?mode=ro", path(&file));
    assert!(at(&read_only).contains("the database is read-only: open it with write access"));
    assert!(text(&run(&read_only, &request, &["--preview"])).starts_with("Preview: nothing was written."));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert!(at(path(&request)).contains("r.json: the file is not a SQLite database"));
    assert!(at(path(&folder.0)).contains("cannot be opened"));
    assert!(at("memory").contains("memory: ends with the command"));
    assert!(at("mysql://ann:secret@h/d").contains("mysql://ann:***@h/d: is not a supported database"));
    let line = at("postgres://ann:secret@127.0.0.1:1/d");
    assert!(line.contains("postgres://ann:***@127.0.0.1:1/d: PostgreSQL cannot be reached"), "{line}");

    let distributed = enroll(&["migrate", "--distribute", "--database", path(&missing)], &[]);
    assert!(error_line(&distributed).contains("missing.db: cannot be distributed; `--distribute` needs the URL of"));
    assert!(!missing.exists());

    // A file of another program is not changed.
    let theirs = folder.0.join("theirs.db");
    rusqlite::Connection::open(&theirs).unwrap().execute_batch("create table notes (text)").unwrap();
    let before = std::fs::read(&theirs).unwrap();
    assert!(at(path(&theirs)).contains("theirs.db: has no tables of `enroll`"));
    assert_eq!(std::fs::read(&theirs).unwrap(), before);

    rusqlite::Connection::open(&file).unwrap().execute("update enroll_schema set version = 99", []).unwrap();
    let seed = enroll(&["seed", path(&folder.0.join("seed.json")), "--database", path(&file)], &[]);
    for line in [at(path(&file)), error_line(&seed)] {
        assert!(line.contains("the schema has version 99, but this build supports"), "{line}");
    }

    let seed = folder.0.join("seed.json");
    let both = run(path(&file), &request, &["--seed", path(&seed)]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8(both.stderr).unwrap().contains("cannot be used with"));
}

on_postgresql! {
    fn on_postgresql_a_seed_is_loaded_and_people_are_enrolled() {
        let folder = Folder::new("pg-run");
        let (seed, url) = (folder.0.join("seed.json"), postgres());
        let request = folder.file("r.json", ONE);
        let empty = error_line(&run(&url, &request, &[]));
        assert!(empty.contains("has no organization: load one with `enroll seed"), "{empty}");
        assert!(text(&enroll(&["seed", path(&seed), "--database", &url], &[])).contains("1 sequence\n"));
        let twice = error_line(&enroll(&["seed", path(&seed), "--database", &url], &[]));
        assert!(twice.contains("channel `00000000-0000-0000-0000-000000000002` already exists in "), "{twice}");

        let many = folder.file("r.csv", &list(4500, "P0,+13032000000,2\n"));
        let at = ["--at", "2026-02-01T15:00:00Z", "--id", ID, "--json"];
        let preview = json(&run(&url, &many, &[&at[..], &["--preview"]].concat()));
        assert_eq!(json(&run(&url, &many, &at)), preview);
        assert_eq!(preview["again"].as_array().unwrap().len(), 1);
        assert_eq!(json(&run(&url, &request, &["--json"]))["counts"]["added"], 1);
        let again = json(&run(&url, &request, &["--json"]));
        assert_eq!((&again["counts"]["reprocessed"], &again["counts"]["contacts_created"]), (&1.into(), &0.into()));
    }

    fn on_postgresql_a_second_demo_reprocesses_everyone_and_creates_no_one() {
        run_demo_twice(&postgres());
    }

    fn on_postgresql_vectors_leave_no_rows() {
        let folder = Folder::new("pg-vectors");
        let (vectors, url) = (three_vectors(&folder), postgres());
        for _ in 0..2 {
            let ran = text(&enroll(&["vectors", path(&vectors), "--database", &url], &[]));
            assert!(ran.ends_with("1 passed, 0 failed, 2 skipped\n"), "{ran}");
        }
        text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &url], &[]));
        let refused = error_line(&enroll(&["vectors", path(&vectors), "--database", &url], &[]));
        assert!(refused.contains("has organizations; use a database without any"), "{refused}");
    }

    fn on_postgresql_without_citus_tables_are_not_distributed() {
        let migrated = enroll(&["migrate", "--distribute", "--database", &postgres()], &[]);
        assert_eq!(migrated.status.code(), Some(2));
        assert!(String::from_utf8(migrated.stdout).unwrap().contains("created the tables of the service"));
        let error = String::from_utf8(migrated.stderr).unwrap();
        assert!(error.contains("the database has no extension `citus`: run `create extension citus`"), "{error}");
    }

    fn on_postgresql_run_creates_no_tables() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let server = enroll_postgres::testing::Server::shared();
        let name = format!("enroll_cli_{}", Uuid::now_v7().simple());
        let url = runtime.block_on(server.empty_database(&name)).unwrap();
        let folder = Folder::new("pg-empty");
        let request = folder.file("r.json", ONE);
        for _ in 0..2 {
            assert!(error_line(&run(&url, &request, &[])).contains("has no tables of `enroll`; create them with `enroll seed"));
        }
        text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &url], &[]));
        assert_eq!(json(&run(&url, &request, &["--json"]))["counts"]["added"], 1);
    }
}
