//! The options of a list, the help, the completions and the man pages.

mod support;

use serde_json::json;

use support::{Folder, enroll, error_line, path, text};

const OBJECT: [&str; 4] = ["--custom-object", "00000000-0000-0000-0000-000000000008", "--resource", "contact"];

#[test]
fn the_options_say_how_a_list_is_read() {
    let folder = Folder::new("options");
    let csv = b"Who|Contact no.|Comment|Birthday\nRen\xe9|(202) 555-0187|a, b|31.01.1990\n";
    let by_hand = ["--column", "Contact no.=phone", "--column", "#1=name", "--ignore", "#3"];
    let more = ["--delimiter", "|", "--encoding", "windows-1252", "--date-format", "DD.MM.YYYY", "--json"];
    let report = support::json(&folder.run("r.txt", csv, &[&by_hand[..], &more].concat()));
    let list = &report["list"];
    assert_eq!((&list["encoding"], &list["encoding_guessed"]), (&json!("windows-1252"), &json!(false)));
    let fields: Vec<_> = list["columns"].as_array().unwrap().iter().map(|column| column["field"].clone()).collect();
    assert_eq!(json!(fields), json!(["name", "phone", null, "birth_date"]));
    assert_eq!(list["columns"][0]["samples"], json!(["René"]));
    let outcome = &report["reports"][0]["outcomes"][0];
    assert_eq!((&outcome["row"], &outcome["row_notes"]), (&json!(2), &json!(null)));
    // Without the format, the birth date is left out, with a note.
    let output = text(&folder.run("r.txt", csv, &by_hand));
    assert!(output.contains("r.txt: text, windows-1250 (guessed), delimiter `|`"), "{output}");
    assert!(
        output.contains("warning: the encoding is guessed as windows-1250; check the text of the cells: row 2 `René`")
    );
    assert!(output.contains("(`--date-format DD.MM.YYYY`)"), "{output}");
    assert!(output.contains("note: `Birthday` is left out: `31.01.1990` can be read only if"), "{output}");

    // A file with the mapping. An option replaces its entry.
    let map = folder.file("map.json", r#"{"Contact no.": "email", "Who": "name"}"#);
    let mapped = ["--map", path(&map), "--column", "Contact no.=phone", "--json"];
    let report = support::json(&folder.run("r.txt", csv, &mapped));
    assert_eq!(report["list"]["columns"][1]["field"], "phone");
    let bad = folder.file("bad.json", r#"{"Contact no.": "fone"}"#);
    assert!(
        error_line(&folder.run("r.txt", csv, &["--map", path(&bad)]))
            .contains("bad.json#/Contact no.: `fone` is not a field")
    );
    for (json, problem) in [
        ("{\"Contact no.\":\n", "bad.json: ends too early: line 2, column 0; correct the file"),
        ("{Contact no.: phone}", "bad.json: is not JSON: line 1, column 2; correct the file"),
        (r#"["x"]"#, r#"bad.json#/0: invalid type: string "x", expected `{"column": "Title", "field": "phone"}`"#),
    ] {
        let error = error_line(&folder.run("r.txt", csv, &["--map", path(&folder.file("bad.json", json))]));
        assert!(error.contains(problem), "{error}");
    }

    // The region of a number without `+`.
    let region = ["--default-region", "DE", "--preview"];
    let preview = text(&folder.run("r.csv", "phone\n030 123456\n", &region));
    assert!(preview.contains("030 123456  +4930123456\n"), "{preview}");
}

#[test]
fn a_wrong_option_says_what_to_do() {
    let folder = Folder::new("wrong-options");
    let csv = "Phone,Opted out,properties.score\n2025550187,no,7\n";
    let consent = error_line(&folder.run("r.csv", csv, &OBJECT));
    assert!(consent.contains("`Opted out` may say who must not be contacted"), "{consent}");
    assert!(consent.contains(r#"use `--column "Opted out=opted_out"` or `--ignore "Opted out"`"#), "{consent}");
    assert!(consent.contains("`opted_out` leaves out the people with a yes, `opted_in` those with a no"), "{consent}");
    let consent = error_line(&folder.run("in.csv", "Phone,Opt-in?,Unsubscribed\n2025550187,yes,\n", &[]));
    let fits =
        r#"use `--column "Opt-in?=opted_in"` or `--ignore "Opt-in?"`, and `--column "Unsubscribed=opted_out"` or"#;
    assert!(consent.contains(fits), "{consent}");
    let object = error_line(&folder.run("r.csv", csv, &["--ignore", "Opted out"]));
    assert!(
        object.contains("column `properties.score` is `properties.score`, but no custom object is set"),
        "{object}"
    );
    assert!(object.contains("use `--custom-object ID --resource contact`, or `--ignore"), "{object}");
    let other = ["--custom-object", "00000000-0000-0000-0000-0000000000ff", "--resource", "contact"];
    assert!(error_line(&folder.run("r.csv", csv, &other)).contains("--custom-object: the organization has no custom"));
    let title = error_line(&folder.run("r.csv", csv, &["--column", "Tel=phone"]));
    assert!(
        title.contains("error: --column: ") && title.contains("r.csv has no column `Tel`; the nearest is `"),
        "{title}"
    );
    assert!(title.contains("; the titles are `Phone`, `Opted out`, `properties.score`"), "{title}");
    let title = error_line(&folder.run("r.csv", csv, &["--ignore", "Opt out"]));
    assert!(title.contains("error: --ignore: ") && title.contains("; the nearest is `Opted out`;"), "{title}");
    assert!(error_line(&folder.run("r.csv", csv, &["--sheet", "A"])).contains("has no sheets; omit the sheet"));
    assert!(error_line(&folder.run("r.csv", csv, &["--encoding", "x"])).contains("`x` is not an encoding"));
    for (option, value, problem) in [
        ("--column", "Phone", "has no `=`"),
        ("--column", "Phone=fone", "`fone` is not a field"),
        ("--step", "2", "`2` is not the id of a step; `enroll sequences --json` prints"),
        ("--delimiter", "x", "`x` is not a delimiter"),
        ("--date-format", "DMY", "is not the format of a date"),
        ("--default-region", "Germany", "invalid value 'Germany'"),
    ] {
        let output = folder.run("r.csv", csv, &[option, value]);
        assert_eq!(output.status.code(), Some(2));
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(problem), "{error}");
    }
    let done = [&OBJECT[..], &["--column", "Opted out=opted_out", "--json"]].concat();
    assert_eq!(support::json(&folder.run("r.csv", csv, &done))["counts"]["added"], 1);
}

#[test]
fn rows_with_a_fault_are_set_aside_with_row_column_and_reason() {
    let folder = Folder::new("set-aside");
    let csv = "Phone,Name,Opted out,Default Channel ID\n2025550187,A,,\n2025550188,B,yes,\n2025550189,C,,x\n2025550186,D,,,,y\n";
    let by_hand = ["--column", "Opted out=opted_out", "--column", "Default Channel ID=default_channel_id"];
    let output = text(&folder.run("r.csv", csv, &by_hand));
    for line in [
        "recipients                 1\n",
        "rows set aside             3\n",
        "3 rows were set aside:\n",
        "3    B    Opted out           the person opted out\n",
        "4    C    Default Channel ID  is not a uuid\n",
        "5    D    F                   is filled, but the header has no title there\n",
    ] {
        assert!(output.contains(line), "no `{line}` in:\n{output}");
    }
    let report = support::json(&folder.run("r.csv", csv, &[&by_hand[..], &["--json"]].concat()));
    let reasons: Vec<_> = report["set_aside"].as_array().unwrap().iter().map(|row| row["reason"].clone()).collect();
    assert_eq!(json!(reasons), json!(["opted_out_in_list", "invalid_uuid", "beyond_header"]));

    // Also if no row is left.
    let csv = "Phone,Opted out\n".to_owned() + &"2025550187,yes\n".repeat(50);
    let output = text(&folder.run("r.csv", &csv, &by_hand[..2]));
    assert!(output.contains("recipients                 0\n") && output.contains("rows set aside            50\n"));
    assert!(output.contains("… and 10 more (--all lists them)\n"), "{output}");
    assert!(!text(&folder.run("r.csv", &csv, &["--column", "Opted out=opted_out", "--all"])).contains("more ("));
}

#[test]
fn a_column_is_suggested_by_its_values() {
    let folder = Folder::new("suggested");
    let refused = |csv: &str, more: &[&str]| error_line(&folder.run("r.csv", csv, more));
    // A row of titles that is a person.
    let person = refused("+1 415 555 0171,Ann\n+14155550172,Bob\n", &[]);
    assert!(person.contains("r.csv: row 1 looks like a person, but the first row must have the titles"), "{person}");
    assert!(!person.contains("--column") && !person.contains("0171"), "{person}");
    let mapped = text(&folder.run("r.csv", "Ann,2025550171\nBob,2025550172\n", &["--column", "#2=phone"]));
    assert!(mapped.contains("warning: row 1 looks like a person, but it is read as the titles;"), "{mapped}");
    // Only columns with such values are suggested.
    let named = refused("Name,City\nAnn,Paris\n", &[]);
    assert!(named.contains("no column has values like a phone or an email"), "{named}");
    assert!(!named.contains("Name=phone"), "{named}");
    let found = refused("Name,Reach\nAnn,(202) 555-0187\n", &[]);
    assert!(found.contains(r#"use `--column "Reach=phone"`"#), "{found}");
    let found = refused("Name,Where\nAnn,ann@example.com\n", &[]);
    assert!(found.contains(r#"use `--column "Where=email"`"#), "{found}");
    let joined = refused("Name,Phone\nAnn,2025550187\n", &["--delimiter", ";"]);
    assert!(joined.contains("another delimiter than `--delimiter`; omit the option"), "{joined}");
    assert!(!joined.contains("--column"), "{joined}");
}

#[test]
fn a_reason_about_a_phone_says_where_it_is_and_what_helps() {
    let folder = Folder::new("reasons");
    let csv = "Name,Mobile,Phone\nAnn,n/a,2025550187\nBob,,31612345678\nCid,,(202) 555-0140; (202) 555-0141\nDee,,+1\n";
    let output = text(&folder.run("r.csv", csv, &["--preview"]));
    for part in [
        "warning: the columns `Mobile`, `Phone` are all `phone`; in each row, the first of them that has a value counts",
        "phone number in `Mobile` is not valid: it contains letters",
        "phone number in `Phone` is not valid: two numbers in one cell; keep one of them",
        "not a number of the country US; begin it with `+` and its country code, or set `--default-region`",
    ] {
        assert!(output.contains(part), "no `{part}` in:\n{output}");
    }
    let dee = output.lines().find(|line| line.contains("Dee")).unwrap();
    assert!(!dee.contains("--default-region"), "{dee}");
    let output = text(&folder.run("r.csv", "Name,Phone\nAnn,030 123456\nTotal,\n", &[]));
    assert!(output.contains("phone number is not valid: "), "{output}");
    assert!(output.contains("country US; begin it with `+`"), "{output}");
    assert!(output.contains("has no phone, email or external id; correct the row only if it is a person"), "{output}");
    let french = text(&folder.run("r.csv", "Phone\n(202) 555-0187\n", &["--default-region", "FR"]));
    assert!(french.contains("country FR; begin it with `+`"), "{french}");
}

#[test]
fn a_preview_shows_each_number_as_read() {
    let folder = Folder::new("read-as");
    let csv = "Phone,Email,Name\n(202) 555-0187,ANN@Example.com,Ann\n12,,Bob\n";
    let preview = text(&folder.run("r.csv", csv, &["--preview"]));
    assert!(preview.starts_with("Preview: nothing was written.\n"), "{preview}");
    assert!(preview.contains("row  who  read as  outcome"), "{preview}");
    assert!(preview.contains("\nSimply added:\n") && preview.contains("2    Ann  +12025550187, "), "{preview}");
    let run = text(&folder.run("r.csv", csv, &[]));
    assert!(!run.contains("read as") && !run.contains("Simply added:"), "{run}");
    let many: Vec<String> = (0..50).map(|n| (2_025_550_130_u32 + n).to_string()).collect();
    let preview = text(&folder.run("r.csv", format!("phone\n{}\n", many.join("\n")), &["--preview"]));
    assert!(preview.contains("41   2025550169  +12025550169\n… and 10 more (--all lists them)\n"), "{preview}");
}

#[test]
fn the_help_groups_the_options() {
    let help = text(&enroll(&["run", "--help"], &[]));
    let groups = [
        "Who goes where:",
        "How the list is read:",
        "What the people of the list get:",
        "Enroll once:",
        "Database:",
        "Output:",
    ];
    let places: Vec<_> = groups.iter().map(|group| help.find(&format!("\n{group}\n"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in {help}");
    for (option, group) in [
        ("--sequence <ID|TITLE>", 0),
        ("--list <FILE>", 0),
        ("--request <REQUEST.json>", 0),
        ("--column <TITLE=FIELD>", 1),
        ("--default-region <COUNTRY>", 1),
        ("--call-flow <ID>", 2),
        ("--idempotency-key <KEY>", 3),
        ("--at <INSTANT>", 3),
        ("--database <FILE|URL>", 4),
        ("--seed <SEED.json>", 4),
        ("--preview", 5),
        ("--all", 5),
    ] {
        let place = help.find(&format!("\n      {option}  ")).unwrap_or_else(|| panic!("no {option} in {help}"));
        assert_eq!(places.iter().filter(|begin| **begin < Some(place)).count(), group + 1, "{option}");
    }
    assert!(text(&enroll(&["submit", "--help"], &[])).contains("\nHow the list is read:\n"));
}

#[test]
fn completions_and_man_pages_know_the_commands() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = text(&enroll(&["completions", shell], &[]));
        assert!(
            ["default-region", "sequences", "migrate", "doctor"].iter().all(|word| script.contains(word)),
            "{shell}"
        );
    }
    let page = text(&enroll(&["man"], &[]));
    assert!(page.contains(".TH enroll 1") && page.contains("enroll\\-run(1)"), "{page}");
    let page = text(&enroll(&["man", "run"], &[]));
    assert!(page.contains(".TH enroll-run 1") && page.contains("HOW THE LIST IS READ"), "{page}");
    assert!(text(&enroll(&["man", "keys", "create"], &[])).contains("enroll\\-keys\\-create"));
    assert!(
        error_line(&enroll(&["man", "nothing"], &[])).contains("`nothing` is not a command; the commands are `run`")
    );
}
