//! The binary on databases: SQLite files, and PostgreSQL.

mod support;

use enroll::seed::Seed;
use serde_json::Value;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use uuid::Uuid;

use support::{Folder, SEED, SEQUENCE, enroll, json, path, postgres, text, told};

const ONE: &str = r#"{"to": [{"phone": "2025550187"}]}"#;
const ID: &str = "00000000-0000-0000-0000-0000000000aa";

/// A folder with a database that holds the seed.
fn seeded(name: &str) -> (Folder, PathBuf) {
    let folder = Folder::new(name);
    let file = folder.0.join("enroll.db");
    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", path(&file)], &[]));
    (folder, file)
}

/// `enroll run` on a database.
fn run(database: &str, request: &Path, more: &[&str]) -> std::process::Output {
    enroll(&["run", "--database", database, "--sequence", SEQUENCE, "--request", path(request)], more)
}

/// All that stands in a file.
fn stands(file: &Path) -> Value {
    let connection = rusqlite::Connection::open(file).unwrap();
    let given: Seed =
        enroll_sqlite::seed::dump(&connection, enroll::OrganizationId::from_uuid(Uuid::from_u128(1))).unwrap();
    serde_json::to_value(given).unwrap()
}

/// A CSV of so many people, and a last row.
fn list(people: usize, last: &str) -> String {
    let mut csv = "name,phone,birth_date.month\n".to_owned();
    for n in 0..people {
        writeln!(csv, "P{n},+1303{:07},2", 2_000_000 + n).unwrap();
    }
    csv + last
}

/// A copy of some of the engine's vectors, one of which no database would hold.
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

/// Two demos on one database: the second finds everyone whom the first enrolled.
fn twice(database: &str) {
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
fn a_seed_is_loaded_and_who_is_enrolled_stays_enrolled() {
    let folder = Folder::new("db-run");
    let request = folder.file("r.json", ONE);
    // The default is a file in the folder where one is, and the environment may name another.
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
    let told = text(&in_folder(&args).output().unwrap());
    assert!(told.contains("Sequence `Welcome`, step 1 of 1 (phone), from +12025550100"), "{told}");
    assert!(told.contains("  added                    1") && told.contains("contacts created           1"), "{told}");

    let again = json(&run(path(&folder.0.join("enroll.db")), &request, &["--json"]));
    assert_eq!((&again["counts"]["reprocessed"], &again["counts"]["contacts_created"]), (&1.into(), &0.into()));
    let mut elsewhere = in_folder(&args);
    elsewhere.env("ENROLL_DATABASE", "other.db");
    assert!(support::told(&elsewhere.output().unwrap()).contains("other.db: is no database of `enroll` yet"));
    assert!(!folder.0.join("other.db").exists());
    // A dry run asks no database, whatever the environment says.
    let mut dry = in_folder(&["run", "--seed", "seed.json", "--sequence", SEQUENCE, "--request", path(&request)]);
    assert!(text(&dry.env("ENROLL_DATABASE", "other.db").output().unwrap()).contains("  added                    1"));
}

#[test]
fn the_same_id_or_key_answers_with_the_same_report() {
    let (folder, file) = seeded("db-again");
    let request = folder.file("r.json", ONE);
    for same in [["--id", ID, "--json"], ["--idempotency-key", "k", "--json"]] {
        let first = json(&run(path(&file), &request, &same));
        let stands = stands(&file);
        assert_eq!(json(&run(path(&file), &request, &same)), first);
        assert_eq!(self::stands(&file), stands);
    }
    let other = folder.file("other.json", r#"{"to": [{"phone": "2025550188"}]}"#);
    assert!(told(&run(path(&file), &other, &["--id", ID])).contains("idempotency_conflict"));
}

#[test]
fn a_seed_that_stands_is_refused_whole() {
    let (folder, file) = seeded("db-seed-twice");
    let before = std::fs::read(&file).unwrap();
    let seed = |name: &str, text: &str| {
        let seed = folder.file(name, text);
        told(&enroll(&["seed", path(&seed), "--database", path(&file)], &[]))
    };
    let told = seed("seed.json", SEED);
    let place = "seed.json: channel `00000000-0000-0000-0000-000000000002` stands in ";
    assert!(told.contains(place) && told.ends_with("already: nothing was written\n"), "{told}");
    // Its rows before the one that stands are not written either.
    let told = seed(
        "late.json",
        r#"{"organization_id": "00000000-0000-0000-0000-000000000001",
            "channels": [{"id": "00000000-0000-0000-0000-0000000000f2", "kind": "phone", "address": "+12025550101"}],
            "contacts": [{"id": "00000000-0000-0000-0000-0000000000f7", "phone": "+12025550124"},
                         {"id": "00000000-0000-0000-0000-0000000000f8", "phone": "+12025550123"}]}"#,
    );
    assert!(told.contains("#/contacts/1/phone: another contact has `+12025550123`"), "{told}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    // A seed that is wrong in itself makes no file.
    let bad = folder.file("bad.json", r#"{"organization_id": "x"}"#);
    let fresh = folder.0.join("fresh.db");
    let told = support::told(&enroll(&["seed", path(&bad), "--database", path(&fresh)], &[]));
    assert!(told.contains("bad.json#/organization_id") && !fresh.exists(), "{told}");
}

#[test]
fn a_policy_is_not_stored_and_run_takes_it() {
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
    assert!(told(&run(path(&file), &request, &["--policy", path(&misspelt)])).contains("unknown field `consnet`"));
}

#[test]
fn the_columns_of_a_csv_mean_what_the_database_says() {
    let (folder, file) = seeded("db-csv");
    let csv = folder.file("r.csv", "phone,properties.score\n2025550187,7\n");
    let object = ["--custom-object", "00000000-0000-0000-0000-000000000008", "--resource", "contact", "--json"];
    let report = json(&run(path(&file), &csv, &object));
    assert_eq!(report["outcomes"][0]["notes"], Value::Null);
    assert_eq!(stands(&file)["custom_records"][0]["properties"]["score"], 7);
}

#[test]
fn one_of_several_organizations_must_be_named() {
    let (folder, file) = seeded("db-organizations");
    let request = folder.file("r.json", ONE);
    for n in 0..11 {
        let seed = folder.file("more.json", &format!(r#"{{"organization_id": "{}"}}"#, Uuid::from_u128(0xb0 + n)));
        text(&enroll(&["seed", path(&seed), "--database", path(&file)], &[]));
    }
    let unnamed = told(&run(path(&file), &request, &[]));
    assert!(unnamed.contains("has 12 organizations, say which: `00000000-0000-0000-0000-000000000001`, "), "{unnamed}");
    assert!(unnamed.matches('`').count() == 20 && unnamed.ends_with(" or another\n"), "{unnamed}");
    let named = ["--organization", "00000000-0000-0000-0000-000000000001", "--json"];
    assert_eq!(json(&run(path(&file), &request, &named))["counts"]["added"], 1);
    let none = told(&run(path(&file), &request, &["--organization", ID]));
    assert!(none.contains("--organization: ") && none.contains("has no organization `"), "{none}");
    // Walls: the sequence is another's.
    let other = ["--organization", "00000000-0000-0000-0000-0000000000b0"];
    assert!(told(&run(path(&file), &request, &other)).contains("sequence_not_found"));

    let empty = folder.0.join("empty.db");
    drop(enroll_sqlite::SqliteRepository::open(&empty).unwrap());
    assert!(told(&run(path(&empty), &request, &[])).contains("has no organization: load one with `enroll seed"));
}

#[test]
fn a_preview_leaves_the_file_as_it_is() {
    let (folder, file) = seeded("db-preview");
    let before = std::fs::read(&file).unwrap();
    let one = folder.file("r.json", ONE);
    let many = folder.file("r.csv", &list(4500, "P0,+13032000000,2\n"));
    let at = ["--at", "2026-02-01T15:00:00Z", "--id", ID, "--json"];
    let mut foreseen = Vec::new();
    for request in [&one, &many] {
        foreseen.push(json(&run(path(&file), request, &[&at[..], &["--preview"]].concat())));
        assert_eq!(std::fs::read(&file).unwrap(), before);
    }
    // What the first request would write is what the second stands on, and it comes true.
    assert_eq!(foreseen[1]["again"].as_array().unwrap().len(), 1);
    assert_eq!(json(&run(path(&file), &many, &at)), foreseen[1]);
    assert_ne!(std::fs::read(&file).unwrap(), before);
}

#[test]
fn an_import_is_checked_before_it_writes_and_goes_on_where_it_stopped() {
    let (folder, file) = seeded("db-import");
    let before = stands(&file);
    let bad = folder.file("bad.csv", &list(4500, "Late,+13035550000,13\n"));
    let refused = told(&run(path(&file), &bad, &["--id", ID]));
    assert!(refused.contains("row 4502, `birth_date`: month 13 is not a possible date"), "{refused}");
    assert!(!refused.contains("are enrolled"), "{refused}");
    assert_eq!(stands(&file), before);

    let good = folder.file("good.csv", &list(4500, ""));
    let whole = json(&run(path(&file), &good, &["--id", ID, "--json"]));
    let after = stands(&file);
    assert_eq!(json(&run(path(&file), &good, &["--id", ID, "--json"])), whole);
    assert_eq!(stands(&file), after);
    // Another list under the same id is refused before anything of it is enrolled.
    let other = folder.file("other.csv", &list(4501, ""));
    assert!(told(&run(path(&file), &other, &["--id", ID])).contains("idempotency_conflict"));
    assert_eq!(stands(&file), after);
}

#[test]
fn who_stood_before_an_import_comes_again_in_it_too() {
    let (folder, file) = seeded("db-again-in-import");
    let many = folder.file("r.csv", &list(8500, "P1,+13032000001,2\nP2,nope,2\nP1,+13032000001,2\n"));
    let told = text(&run(path(&file), &many, &[]));
    assert!(told.contains("8502  P1   reprocessed  same person as row 3\n"), "{told}");
    // All of them stand by now, made by others than this import.
    let again = json(&run(path(&file), &many, &["--json"]));
    assert_eq!(again["reports"].as_array().unwrap().len(), 3);
    let contact = &again["reports"][0]["outcomes"][1]["contact_id"];
    let expected = serde_json::json!([
        {"row": 8502, "first_row": 3, "contact_id": contact},
        {"row": 8504, "first_row": 3, "contact_id": contact},
    ]);
    assert_eq!(again["again"], expected);
    assert_eq!(again["reports"][2]["outcomes"][2833]["disposition"], "duplicate");

    // From standard input it is the same.
    let from = |request: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
        command.args(["run", "--preview", "--format", "csv", "--sequence", SEQUENCE, "--request", request]);
        command.args(["--database", path(&file), "--at", "2026-02-01T15:00:00Z", "--id", ID, "--all"]);
        text(&command.stdin(std::fs::File::open(&many).unwrap()).output().unwrap())
    };
    assert_eq!(from("-"), from(path(&many)));
}

#[test]
fn the_demo_twice_on_a_file_reprocesses_everyone_and_creates_no_one() {
    let folder = Folder::new("db-demo");
    let file = folder.0.join("demo.db");
    twice(path(&file));
    let stands = stands(&file);
    let (contacts, runs) = (stands["contacts"].as_array().unwrap().len(), stands["runs"].as_array().unwrap().len());
    let told = text(&enroll(&["demo", "--database", path(&file)], &[]));
    assert!(
        told.contains("4000 recipients in ") && told.contains("once more in the organization that stood"),
        "{told}"
    );
    let after = self::stands(&file);
    assert_eq!(after["contacts"].as_array().unwrap().len(), contacts);
    assert_eq!(after["runs"].as_array().unwrap().len(), runs);
}

#[test]
fn vectors_run_on_a_file_of_their_own_that_is_gone_afterwards() {
    let folder = Folder::new("db-vectors");
    let vectors = three_vectors(&folder);
    let file = folder.0.join("v.db");
    let ran = text(&enroll(&["vectors", path(&vectors), "--database", path(&file)], &[]));
    assert!(ran.ends_with("1 passed, 0 failed, 2 skipped\n"), "{ran}");
    assert_eq!(ran.lines().filter(|line| line.starts_with("skipped ") && line.contains("(plan_only: ")).count(), 2);
    assert!(text(&enroll(&["vectors", path(&vectors)], &[])).ends_with("3 passed, 0 failed\n"));
    let beside = std::fs::read_dir(&folder.0)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("v.db"));
    assert_eq!(beside.count(), 0);

    // One that differs is told, and the file is gone all the same.
    let wrong = std::fs::read_to_string(vectors.join("1-operation/d04-upload-tag.json"))
        .unwrap()
        .replace("\"added\"", "\"ignored\"");
    let wrong = enroll(&["vectors", path(&folder.file("w.json", &wrong)), "--database", path(&file)], &[]);
    let told = String::from_utf8(wrong.stdout).unwrap();
    assert_eq!(wrong.status.code(), Some(1), "{told}");
    assert!(told.contains("got \"added\"") && told.ends_with("0 passed, 1 failed\n") && !file.exists(), "{told}");

    std::fs::write(&file, "mine").unwrap();
    let refused = support::told(&enroll(&["vectors", path(&vectors), "--database", path(&file)], &[]));
    assert!(refused.contains("v.db: exists, and vectors leave nothing behind"), "{refused}");
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    let nowhere = folder.0.join("none/v.db");
    let ended = enroll(&["vectors", path(&vectors), "--database", path(&nowhere)], &[]);
    assert_eq!(ended.status.code(), Some(2));
    assert!(String::from_utf8(ended.stderr).unwrap().contains("cannot be opened: see that its folder exists"));
}

#[test]
fn a_database_that_cannot_be_used_is_told_in_a_line() {
    let (folder, file) = seeded("db-faults");
    let request = folder.file("r.json", ONE);
    let before = std::fs::read(&file).unwrap();
    let at = |database: &str| told(&run(database, &request, &[]));

    let missing = folder.0.join("missing.db");
    let line = at(path(&missing));
    assert!(line.contains("missing.db: is no database of `enroll` yet: make it with `enroll seed SEED.json"), "{line}");
    assert!(!missing.exists());
    let read_only = format!("file:{}?mode=ro", path(&file));
    assert!(at(&read_only).contains("the database is read-only: open it where it can be written"));
    assert!(text(&run(&read_only, &request, &["--preview"])).starts_with("Preview: nothing was written."));
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert!(at(path(&request)).contains("r.json: the file is no SQLite database"));
    assert!(at(path(&folder.0)).contains("cannot be opened"));
    assert!(at("memory").contains("memory: is gone with the command"));
    assert!(at("mysql://ann:secret@h/d").contains("mysql://ann:***@h/d: is no database that this build knows"));
    let line = at("postgres://ann:secret@127.0.0.1:1/d");
    assert!(line.contains("postgres://ann:***@127.0.0.1:1/d: PostgreSQL cannot be reached"), "{line}");

    // Somebody else's file stays as it is.
    let theirs = folder.0.join("theirs.db");
    rusqlite::Connection::open(&theirs).unwrap().execute_batch("create table notes (text)").unwrap();
    let before = std::fs::read(&theirs).unwrap();
    assert!(at(path(&theirs)).contains("theirs.db: is no database of `enroll` yet"));
    assert_eq!(std::fs::read(&theirs).unwrap(), before);

    rusqlite::Connection::open(&file).unwrap().execute("update enroll_schema set version = 99", []).unwrap();
    let seed = enroll(&["seed", path(&folder.0.join("seed.json")), "--database", path(&file)], &[]);
    for line in [at(path(&file)), told(&seed)] {
        assert!(line.contains("the schema is of version 99, this build knows"), "{line}");
    }

    let seed = folder.0.join("seed.json");
    let both = run(path(&file), &request, &["--seed", path(&seed)]);
    assert_eq!(both.status.code(), Some(2));
    assert!(String::from_utf8(both.stderr).unwrap().contains("cannot be used with"));
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_a_seed_is_loaded_and_people_are_enrolled() {
    let folder = Folder::new("pg-run");
    let (seed, url) = (folder.0.join("seed.json"), postgres());
    let request = folder.file("r.json", ONE);
    let nobody = told(&run(&url, &request, &[]));
    assert!(nobody.contains("has no organization: load one with `enroll seed"), "{nobody}");
    assert!(text(&enroll(&["seed", path(&seed), "--database", &url], &[])).contains("1 sequence\n"));
    let twice = told(&enroll(&["seed", path(&seed), "--database", &url], &[]));
    assert!(twice.contains("channel `00000000-0000-0000-0000-000000000002` stands in "), "{twice}");

    let many = folder.file("r.csv", &list(4500, "P0,+13032000000,2\n"));
    let at = ["--at", "2026-02-01T15:00:00Z", "--id", ID, "--json"];
    let foreseen = json(&run(&url, &many, &[&at[..], &["--preview"]].concat()));
    assert_eq!(json(&run(&url, &many, &at)), foreseen);
    assert_eq!(foreseen["again"].as_array().unwrap().len(), 1);
    assert_eq!(json(&run(&url, &request, &["--json"]))["counts"]["added"], 1);
    let again = json(&run(&url, &request, &["--json"]));
    assert_eq!((&again["counts"]["reprocessed"], &again["counts"]["contacts_created"]), (&1.into(), &0.into()));
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_the_demo_twice_reprocesses_everyone_and_creates_no_one() {
    twice(&postgres());
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_vectors_leave_no_rows() {
    let folder = Folder::new("pg-vectors");
    let (vectors, url) = (three_vectors(&folder), postgres());
    for _ in 0..2 {
        let ran = text(&enroll(&["vectors", path(&vectors), "--database", &url], &[]));
        assert!(ran.ends_with("1 passed, 0 failed, 2 skipped\n"), "{ran}");
    }
    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &url], &[]));
    let refused = told(&enroll(&["vectors", path(&vectors), "--database", &url], &[]));
    assert!(refused.contains("has organizations, which vectors would be mixed with"), "{refused}");
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_a_run_makes_no_tables() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = enroll_postgres::testing::Server::shared();
    let name = format!("enroll_cli_{}", Uuid::now_v7().simple());
    let url = runtime.block_on(server.empty_database(&name)).unwrap();
    let folder = Folder::new("pg-empty");
    let request = folder.file("r.json", ONE);
    for _ in 0..2 {
        assert!(told(&run(&url, &request, &[])).contains("is no database of `enroll` yet: make it with `enroll seed"));
    }
    text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &url], &[]));
    assert_eq!(json(&run(&url, &request, &["--json"]))["counts"]["added"], 1);
}
