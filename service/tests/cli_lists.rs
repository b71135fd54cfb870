//! Lists as people have them, through the binary: on SQLite files and on PostgreSQL.

mod support;

use enroll::contact::Contact;
use enroll::{OrganizationId, Timestamp};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

use support::{Folder, SEED, SEQUENCE, TestDatabase, enroll, error_line, on_postgresql, path, text};

/// Returns a list of the vectors of `enroll-import`.
fn vector(name: &str, file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../import/tests/lists").join(name).join(file)
}

impl TestDatabase {
    fn run(&self, list: &Path, more: &[&str]) -> Output {
        enroll(&["run", "--database", &self.0, "--sequence", SEQUENCE, "--list", path(list)], more)
    }

    /// Runs a list and returns its JSON.
    fn json(&self, list: &Path, more: &[&str]) -> Value {
        support::json(&self.run(list, &[&["--json"], more].concat()))
    }

    /// Returns the contacts of an organization that have no state of the seed, by phone.
    fn contacts(&self, organization: OrganizationId) -> Vec<Contact> {
        let rows = self.dump_of(organization).contacts.into_iter();
        let rows = rows.filter(|row| row.organization_id.is_none()).map(|row| row.row);
        let mut contacts: Vec<Contact> =
            rows.filter(|row| row.phone.as_ref().is_none_or(|phone| &**phone != "+12025550123")).collect();
        contacts.sort_by(|a, b| a.phone.cmp(&b.phone));
        contacts
    }

    /// Returns the total of a listing, such as `enrollments`.
    fn total(&self, listing: &str) -> u64 {
        support::json(&enroll(&[listing, "--database", &self.0, "--json", "--limit", "1"], &[]))["total"]
            .as_u64()
            .unwrap()
    }
}

/// A file, and each person in it: phone, email, name.
type Case = (&'static str, &'static [[&'static str; 3]]);

const CASES: &[Case] = &[
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

/// Enrolls each file of the public bug reports unedited, in a new organization.
fn each_reported_file_is_enrolled(folder: &Folder, base: &TestDatabase) {
    for (n, (name, expected)) in (0x100..).zip(CASES) {
        let organization = Uuid::from_u128(n).to_string();
        let seed = SEED.replace("00000000-0000-0000-0000-000000000001", &organization);
        text(&enroll(&["seed", path(&folder.file("case.json", &seed)), "--database", &base.0], &[]));
        let report = base.json(&vector(&format!("report-{name}"), "list.csv"), &["--organization", &organization]);
        assert_eq!(report["counts"]["added"], expected.len(), "{name}: {report}");
        let contacts = base.contacts(OrganizationId::from_uuid(Uuid::from_u128(n)));
        let actual: Vec<[String; 3]> = contacts
            .iter()
            .map(|contact| {
                let (phone, email) = (contact.phone.as_ref(), contact.email.as_ref());
                [
                    phone.map(ToString::to_string).unwrap_or_default(),
                    email.map(ToString::to_string).unwrap_or_default(),
                    contact.profile.name.as_deref().unwrap_or_default().to_owned(),
                ]
            })
            .collect();
        assert_eq!(actual, expected.iter().map(|person| person.map(str::to_owned)).collect::<Vec<_>>(), "{name}");
        let contact = json!(contacts[0]);
        match *name {
            "text-marker" => {
                assert_eq!(
                    (&contact["external_id"], &contact["address"]["post_code"]),
                    (&json!("000123"), &json!("02139"))
                );
            }
            "google" => {
                let notes = json!([{"code": "several_values", "column": "Phone 1 - Value"}]);
                assert_eq!(report["reports"][0]["outcomes"][0]["row_notes"], notes);
            }
            _ => {}
        }
    }
}

/// Enrolls the export of another program and a spreadsheet, unedited, each twice.
fn exports_are_enrolled_unedited(base: &TestDatabase) {
    let hubspot = vector("export-hubspot", "list.csv");
    let refused = error_line(&base.run(&hubspot, &[]));
    for part in [
        "`Unsubscribed from all email`",
        "may say who must not be contacted",
        "use `--column \"",
        "=opted_out\"` or `--ignore \"",
    ] {
        assert!(refused.contains(part), "no `{part}` in {refused}");
    }
    assert_eq!(base.total("enrollments"), 0);
    let by_hand = ["--column", "Unsubscribed from all email=opted_out", "--ignore", "marketing contact status"];
    let output = text(&base.run(&hubspot, &by_hand));
    let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
    for line in [
        "list.csv: text, UTF-8, delimiter `,`, header in row 1, 1 row column field example",
        "Phone Number phone +12025550171",
        "Unsubscribed from all email opted_out No",
        "Marketing contact status ignored Marketing contact",
        "Associated Company ignored: no field is known for it",
        "added 1",
        "contacts created 1",
        "Every recipient was simply added.",
    ] {
        assert!(words.contains(line), "no `{line}` in:\n{output}");
    }
    let again = text(&base.run(&hubspot, &by_hand));
    assert!(again.starts_with("This list was enrolled at 20"), "{again}");
    assert!(again.contains("Running it again changes nothing; `--idempotency-key NEW` enrolls it again.\n"), "{again}");
    assert!(again.contains("replayed: 1 of 1 requests were enrolled before"), "{again}");
    let preview = text(&base.run(&hubspot, &[&by_hand[..], &["--preview"]].concat()));
    assert!(preview.starts_with("This list was enrolled at 20"), "{preview}");
    assert!(!preview.contains("read as") && !preview.contains("\nSimply added:"), "{preview}");
    // A new key enrolls the list again.
    let new_key = base.json(&hubspot, &[&by_hand[..], &["--idempotency-key", "second"]].concat());
    assert_eq!(new_key["counts"]["reprocessed"], 1);

    let spreadsheet = vector("xlsx-first-sheet-with-header", "list.xlsx");
    let preview = text(&base.run(&spreadsheet, &["--preview"]));
    assert!(
        preview.contains("warning: only the sheet `People` is read; other sheets have rows too: `More`\n"),
        "{preview}"
    );
    let report = base.json(&spreadsheet, &["--preview"]);
    let list = &report["list"];
    assert_eq!((&list["format"], &list["sheet"], &list["rows"]), (&json!("xlsx"), &json!("People"), &json!(1)));
    assert_eq!(report["reports"][0]["outcomes"][0]["read_as"]["phone"], "+12025550171");
    assert_eq!(base.json(&spreadsheet, &[])["counts"]["reprocessed"], 1);
    let again = base.json(&spreadsheet, &[]);
    assert_eq!((&again["reports"][0]["replayed"], &again["list_id"]), (&json!(true), &report["list_id"]));
    // Another option is another list.
    let other = base.json(&vector("xlsx-sheet-set", "list.xlsx"), &["--sheet", "more"]);
    assert_eq!(other["list"]["sheet"], "More");
    assert_ne!(other["list_id"], report["list_id"]);
    assert_eq!(base.contacts(support::ORGANIZATION).len(), 1);
}

const LONG: usize = 9_000;

/// Returns a list with more people than two requests can hold. One row in a thousand has a fault.
fn long_list() -> String {
    let mut csv = "Name;Phone Number;Company;Contact Owner ID\n".to_owned();
    for n in 0..LONG {
        let name = if n % 1000 == 999 { "x".repeat(300) } else { format!("P{n}") };
        writeln!(csv, "{name};+1303{:07};Example;", 2_000_000 + n).unwrap();
    }
    csv
}

/// Kills a run after its first request. The next run continues, and a third one changes nothing.
fn a_killed_run_is_continued(folder: &Folder, base: &TestDatabase) {
    let list = folder.file("people.csv", &long_list());
    let mut child = Command::new(env!("CARGO_BIN_EXE_enroll"))
        .args(["run", "--database", &base.0, "--sequence", SEQUENCE, "--list", path(&list)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(120);
    while base.total("enrollments") == 0 {
        assert!(Instant::now() < deadline && child.try_wait().unwrap().is_none(), "the run enrolls no one");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let before = base.total("enrollments");
    assert!((1..3).contains(&before), "{before} requests");

    let continued = base.json(&list, &[]);
    let reports = continued["reports"].as_array().unwrap();
    let replayed = reports.iter().filter(|report| report["replayed"] == true).count();
    assert_eq!(replayed, usize::try_from(before).unwrap());
    let sizes: Vec<_> = reports.iter().map(|report| report["outcomes"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [2997; 3]);
    // Each request is a millisecond after the one before, also after the kill.
    let instants = reports.iter().map(|report| report["at"].as_str().unwrap().parse::<Timestamp>().unwrap().millis());
    let instants: Vec<_> = instants.collect();
    assert!(instants.windows(2).all(|pair| pair[1] == pair[0] + 1), "{instants:?}");
    // All requests share the tag of the list, also those after the kill.
    let tags: Vec<&Value> = reports.iter().map(|report| &report["upload_tag"]).collect();
    assert_eq!(tags[0]["name"], format!("Upload {}", reports[0]["at"].as_str().unwrap()));
    assert_eq!(tags, [tags[0]; 3]);
    let rows = base.dump();
    assert_eq!((rows.tags.len(), rows.contact_tags.len()), (1, LONG - 9));
    assert_eq!(continued["set_aside"].as_array().unwrap().len(), 9);
    assert_eq!(continued["set_aside"][0], json!({"row": 1001, "column": "Name", "position": 1, "reason": "too_long"}));
    assert_eq!(base.contacts(support::ORGANIZATION).len(), LONG - 9);

    let rows = json!(base.dump());
    let third = text(&base.run(&list, &[]));
    assert!(third.contains("replayed: 3 of 3 requests were enrolled before"), "{third}");
    assert_eq!(third.matches("\ntag  ").count(), 1, "{third}");
    assert!(third.contains("rows set aside             9") && third.contains("\n9 rows were set aside:\n"), "{third}");
    assert_eq!(json!(base.dump()), rows);
}

/// Submits a list and processes it.
fn a_list_is_submitted_and_processed(folder: &Folder, base: &TestDatabase) {
    let list = folder.file("people.tsv", "Name\tPhone\tID\nAnn\t2025550187\t1\nBob\t2025550188\t2\n");
    let submit = |more: &[&str]| {
        enroll(&["submit", "--database", &base.0, "--sequence", "welcome", "--list", path(&list)], more)
    };
    let output = text(&submit(&[]));
    assert!(output.contains("people.tsv: text, UTF-8, delimiter `tab`, header in row 1, 2 rows\n"), "{output}");
    assert!(output.contains("ID      ignored: no field is known for it  1\n"), "{output}");
    assert!(output.contains(": 2 recipients, at "), "{output}");
    let again = support::json(&submit(&["--json"]));
    assert_eq!((&again["receipts"][0]["replayed"], &again["list"]["recipients"]), (&json!(true), &json!(2)));
    assert_eq!(again["receipts"][0]["enrollment_id"], again["list_id"]);
    let worked = text(&enroll(&["work", "--database", &base.0, "--until-empty"], &[]));
    assert_eq!(worked, "1 completed, 0 rejected, 0 failed\n");
    let enrollments = text(&enroll(&["enrollments", "--database", &base.0], &[]));
    assert!(enrollments.contains("  Welcome   completed  "), "{enrollments}");
}

/// Lists what there is, and names sequences by their titles.
fn sequences_channels_and_enrollments_are_listed(folder: &Folder, base: &TestDatabase) {
    let listed = |listing: &str, more: &[&str]| text(&enroll(&[listing, "--database", &base.0], more));
    let sequences = listed("sequences", &[]);
    assert!(sequences.contains(&format!("{SEQUENCE}  Welcome  active  phone\n")), "{sequences}");
    let channels = listed("channels", &[]);
    assert!(channels.contains("000000000002  phone  +12025550100  yes      -\n"), "{channels}");
    assert_eq!(listed("enrollments", &[]).lines().count(), 1);

    let list = folder.file("people.csv", "phone\n2025550187\n");
    let run = |sequence: &str, more: &[&str]| {
        enroll(&["run", "--database", &base.0, "--list", path(&list), "--sequence", sequence], more)
    };
    assert_eq!(support::json(&run("welcome", &["--json"]))["counts"]["added"], 1);
    assert!(listed("enrollments", &[]).contains("  Welcome   completed  "));
    let unknown = error_line(&run("Welcom", &[]));
    assert!(
        unknown.starts_with("error: --sequence: the organization has no sequence `Welcom`; the nearest is `Welcome` ("),
        "{unknown}"
    );
    let other = error_line(&run("00000000-0000-0000-0000-0000000000ff", &[]));
    assert!(other.starts_with("error: --sequence: the organization has no sequence `00000000"), "{other}");

    let organization = "00000000-0000-0000-0000-0000000000b0";
    let more: Vec<_> = [5, 6, 7]
        .map(|n| json!({"id": Uuid::from_u128(n), "title": "Win-back", "status": "active", "steps": []}))
        .into();
    let seed = json!({"organization_id": organization, "sequences": more}).to_string();
    text(&enroll(&["seed", path(&folder.file("more.json", &seed)), "--database", &base.0], &[]));
    let of_other = ["--organization", organization];
    let ambiguous = error_line(&run("win-back", &of_other));
    assert!(ambiguous.contains("--sequence: 3 sequences have the title `win-back`; use the id of one"), "{ambiguous}");
    assert!(ambiguous.contains("(00000000-0000-0000-0000-000000000007)"), "{ambiguous}");
    let limited = listed("sequences", &[&of_other[..], &["--limit", "2"]].concat());
    assert!(limited.contains("Win-back") && limited.ends_with("… and 1 more (--limit lists them)\n"), "{limited}");
    let page: Value =
        serde_json::from_str(&listed("sequences", &[&of_other[..], &["--limit", "2", "--json"]].concat())).unwrap();
    assert_eq!((page["data"].as_array().unwrap().len(), &page["total"]), (2, &json!(3)));
    let unnamed = error_line(&enroll(&["channels", "--database", &base.0], &[]));
    assert!(unnamed.contains("has 2 organizations, choose one"), "{unnamed}");
}

/// Writes the rows that a correction can help to a file, during a run and after it.
fn rows_to_fix_are_written_to_a_file(folder: &Folder, base: &TestDatabase) {
    let csv = "Name,Phone,Opted out,Default Channel ID\nAnn,2025550187,,\nBob,12,,\nCid,2025550188,yes,\nDee,2025550189,,x\n\
               Total,,,\n";
    let list = folder.file("people.csv", csv);
    let by_hand = ["--column", "Opted out=opted_out"];
    let to_fix = folder.0.join("fix.csv");
    let output = text(&base.run(&list, &by_hand));
    assert!(
        output.ends_with("\nTo get the rows that a correction can help as a file, add `--to-fix FILE.csv`.\n"),
        "{output}"
    );
    let again = base.run(&list, &[&by_hand[..], &["--to-fix", path(&to_fix)]].concat());
    assert!(text(&again).starts_with("This list was enrolled at "));
    let wrote = String::from_utf8(again.stderr).unwrap();
    assert!(wrote.starts_with("wrote 3 rows to fix to "), "{wrote}");
    assert_eq!(
        std::fs::read_to_string(&to_fix).unwrap(),
        "\u{feff}Name,Phone,Opted out,Default Channel ID,row,problem\r\n\
         Bob,12,,,3,phone number is not valid: not a number of its country\r\n\
         Dee,2025550189,,x,5,Default Channel ID: is not a uuid\r\n\
         Total,,,,6,\"has no phone number, which the step needs\"\r\n"
    );
    // A file that exists can be the list itself.
    let refused = error_line(&base.run(&list, &[&by_hand[..], &["--to-fix", path(&list)]].concat()));
    assert!(refused.contains("--to-fix: ") && refused.contains("people.csv exists; name a new file"), "{refused}");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), csv);
    let nowhere = folder.0.join("none").join("fix.csv");
    let failed = error_line(&base.run(&list, &[&by_hand[..], &["--to-fix", path(&nowhere)]].concat()));
    assert!(failed.contains("; the list is enrolled; run the same command with another `--to-fix`"), "{failed}");
    // The corrected file is a list.
    let fixed = std::fs::read_to_string(&to_fix).unwrap().replace("Bob,12", "Bob,2025550186");
    let report = base.json(&folder.file("fixed.csv", &fixed), &by_hand);
    assert_eq!(report["counts"]["added"], 1);
    // A preview writes the file too, and the state of the enrollment says what it can.
    let preview = base.run(&list, &[&by_hand[..], &["--preview", "--to-fix", path(&folder.0.join("p.csv"))]].concat());
    assert_eq!(text(&preview).lines().filter(|line| line.starts_with("To get the rows")).count(), 0);
    assert_eq!(std::fs::read(folder.0.join("p.csv")).unwrap(), std::fs::read(&to_fix).unwrap());
    let id = base.json(&list, &by_hand)["list_id"].as_str().unwrap().to_owned();
    let status = text(&enroll(&["status", &id, "--database", &base.0], &[]));
    for line in [
        "ignored because            1  The step needs a phone number, and the recipient brings none.\n",
        "ignored because            1  The step needs a phone number, and the recipient's is not valid.\n",
        "add `--to-fix FILE.csv` to its `enroll run` command; it enrolls no one twice.\n",
    ] {
        assert!(status.contains(line), "no `{line}` in:\n{status}");
    }
    assert!(!status.contains("attempts"), "{status}");
}

/// Half a file is refused before anything is written.
fn half_a_file_enrolls_no_one(folder: &Folder, base: &TestDatabase) {
    let before = json!(base.dump());
    let mut open = "phone,name\n".to_owned();
    for n in 0..5000 {
        writeln!(open, "+1303{:07},P", 2_000_000 + n).unwrap();
    }
    open.push_str("+13035550000,\"P\n");
    let refused = error_line(&base.run(&folder.file("open.csv", &open), &[]));
    assert!(refused.contains("open.csv: row 5002 opens a quote that is never closed"), "{refused}");
    let whole = std::fs::read(vector("xlsx-first-sheet-with-header", "list.xlsx")).unwrap();
    let torn = folder.0.join("torn.xlsx");
    std::fs::write(&torn, &whole[..whole.len() / 2]).unwrap();
    let refused = error_line(&base.run(&torn, &[]));
    assert!(refused.contains("torn.xlsx: is a broken"), "{refused}");
    assert_eq!(json!(base.dump()), before);
}

macro_rules! on_both {
    ($($name:ident, $on_postgresql:ident: |$folder:ident, $base:ident| $run:expr;)*) => {
        $(#[test]
        fn $name() {
            let $folder = Folder::new(stringify!($name));
            let $base = TestDatabase::file(&$folder);
            $run;
        })*
        on_postgresql! {
            $(fn $on_postgresql() {
                let $folder = Folder::new(stringify!($on_postgresql));
                let $base = TestDatabase::postgres(&$folder);
                $run;
            })*
        }
    };
}

on_both! {
    on_sqlite_each_reported_file_is_enrolled, on_postgresql_each_reported_file_is_enrolled:
        |folder, base| each_reported_file_is_enrolled(&folder, &base);
    on_sqlite_exports_are_enrolled_unedited, on_postgresql_exports_are_enrolled_unedited:
        |folder, base| exports_are_enrolled_unedited(&base);
    on_sqlite_a_killed_run_is_continued, on_postgresql_a_killed_run_is_continued:
        |folder, base| a_killed_run_is_continued(&folder, &base);
    on_sqlite_a_list_is_submitted_and_processed, on_postgresql_a_list_is_submitted_and_processed:
        |folder, base| a_list_is_submitted_and_processed(&folder, &base);
    on_sqlite_what_there_is_is_listed, on_postgresql_what_there_is_is_listed:
        |folder, base| sequences_channels_and_enrollments_are_listed(&folder, &base);
    on_sqlite_rows_to_fix_are_written_to_a_file, on_postgresql_rows_to_fix_are_written_to_a_file:
        |folder, base| rows_to_fix_are_written_to_a_file(&folder, &base);
    on_sqlite_half_a_file_enrolls_no_one, on_postgresql_half_a_file_enrolls_no_one:
        |folder, base| half_a_file_enrolls_no_one(&folder, &base);
}
