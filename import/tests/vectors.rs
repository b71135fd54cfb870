//! The test vectors in `tests/lists/`. Its README.md describes their format.

#![expect(clippy::disallowed_methods, reason = "tests read files and their environment")]
use enroll::model::PropertyKind;
use enroll::{EnrollmentRequest, Recipient, Timestamp};
use enroll_import::{Inspection, List, ListError, Note, Options, SetAside, Settings, inspect};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    #[expect(dead_code, reason = "it is for the reader")]
    about: String,
    #[serde(default)]
    options: Options,
    properties: Option<BTreeMap<String, PropertyKind>>,
    #[serde(default)]
    inspection: Map<String, Value>,
    fields: Option<BTreeMap<String, Value>>,
    warnings: Option<Vec<Value>>,
    recipients: Option<Vec<Value>>,
    #[serde(default)]
    set_aside: Vec<Value>,
    error: Option<Refusal>,
    /// Also the inspection is refused.
    #[serde(default)]
    unreadable: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    code: String,
    says: Vec<String>,
}

fn folders(root: &Path) -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    folders
}

#[test]
fn each_vector_gives_what_it_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lists");
    let only = std::env::var("LISTS").ok();
    let mut failures = Vec::new();
    let folders = folders(&root);
    assert!(folders.len() >= 150, "{} vectors", folders.len());
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let result = std::panic::catch_unwind(|| run(&folder));
        if result.is_err() {
            failures.push(name);
        }
    }
    assert!(failures.is_empty(), "{} vectors fail: {failures:#?}", failures.len());
}

fn run(folder: &Path) {
    let case = fs::read(folder.join("case.json")).unwrap();
    let case: Case = serde_json::from_slice(&case).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let file = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.file_stem().is_some_and(|stem| stem == "list")).collect::<Vec<_>>();
    let [file] = &file[..] else { panic!("{}: one file `list.*`", folder.display()) };
    let bytes = fs::read(file).unwrap();
    let mut settings = Settings::new("2026-06-01T00:00:00Z".parse::<Timestamp>().unwrap());
    settings.properties.clone_from(&case.properties);
    let name = folder.file_name().unwrap().to_string_lossy();

    let inspection = inspect(Cursor::new(&bytes), &case.options, &settings);
    match &inspection {
        Ok(inspection) => {
            assert!(!case.unreadable, "{name}: it was inspected");
            check_inspection(&name, &case, inspection);
        }
        Err(error) if case.unreadable => check_error(&name, &case, error),
        Err(error) => panic!("{name}: it was not inspected: {error}"),
    }
    let mut list = match List::open(Cursor::new(&bytes), case.options.clone(), settings) {
        Ok(list) => list,
        Err(error) => return check_error(&name, &case, &error),
    };
    assert!(case.error.is_none(), "{name}: it was not refused");
    assert_eq!(list.inspection().rows, list.recipients() + list.set_aside(), "{name}");
    let (mut recipients, mut set_aside) = (Vec::new(), Vec::new());
    for row in list.rows().unwrap() {
        match row.unwrap() {
            Ok(entry) => recipients.push(recipient(entry.row, &entry.recipient, &entry.notes)),
            Err(SetAside { row, column, reason, .. }) => {
                set_aside.push(json!({"row": row, "column": column, "reason": reason}));
            }
        }
    }
    let expected = case.recipients.unwrap_or_default();
    assert_eq!(json!(recipients), json!(expected), "{name}: recipients");
    assert_eq!(json!(set_aside), json!(case.set_aside), "{name}: rows that are set aside");
    assert_eq!(list.recipients(), recipients.len() as u64, "{name}");
}

/// Returns a recipient as JSON, with its row, and its notes if it has some. A blank phone is left out.
fn recipient(row: u64, recipient: &Recipient<'_>, notes: &[Note]) -> Value {
    let request = serde_json::to_value(EnrollmentRequest::new([recipient.clone()])).unwrap();
    let mut value = request["to"][0].clone();
    let members = value.as_object_mut().unwrap();
    members.retain(|_, value| *value != json!(""));
    members.insert("row".into(), json!(row));
    if !notes.is_empty() {
        members.insert("notes".into(), json!(notes));
    }
    value
}

fn check_inspection(name: &str, case: &Case, inspection: &Inspection) {
    let actual = serde_json::to_value(inspection).unwrap();
    for (member, expected) in &case.inspection {
        assert_eq!(&actual[member], expected, "{name}: {member}");
    }
    if let Some(warnings) = &case.warnings {
        assert_eq!(actual["warnings"], json!(warnings), "{name}: warnings");
    }
    if let Some(fields) = &case.fields {
        let actual: BTreeMap<String, Value> =
            inspection.columns.iter().map(|column| (column.title.clone(), json!(column.field))).collect();
        assert_eq!(&actual, fields, "{name}: fields");
    }
}

fn check_error(name: &str, case: &Case, error: &ListError) {
    let Some(expected) = &case.error else { panic!("{name}: it was refused: {error}") };
    assert_eq!(error.code(), expected.code, "{name}: {error}");
    let message = error.to_string();
    for text in &expected.says {
        assert!(message.contains(text), "{name}: `{text}` is not in: {message}");
    }
}
