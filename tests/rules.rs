//! Generates `docs/rules.md` from the code, and compares it with the file.
//!
//! `ENROLL_WRITE_RULES=1 cargo test --test rules` writes the file.
#![expect(clippy::disallowed_methods, reason = "a test reads and writes files")]

use std::fmt::Write;

use enroll::fault::FaultCode;
use enroll::plan::Row;
use enroll::{Disposition, Note, Reason};

#[test]
fn the_page_of_rules_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
    let generated = page();
    if std::env::var_os("ENROLL_WRITE_RULES").is_some() {
        std::fs::write(path, &generated).unwrap();
    }
    let stored = std::fs::read_to_string(path).unwrap();
    assert!(
        stored == generated,
        "docs/rules.md is out of date: write it with ENROLL_WRITE_RULES=1 cargo test --test rules"
    );
}

#[test]
fn every_ignored_row_has_known_reasons() {
    let ignored = Row::ALL.into_iter().filter(|row| row.outcome() == Disposition::Ignored);
    for row in ignored {
        assert!(!row.reasons().is_empty(), "{row:?}");
        for code in row.reasons() {
            assert!(Reason::CODES.iter().any(|(known, _)| known == code), "{code}");
        }
    }
}

fn page() -> String {
    let mut page = String::from(
        "# The rules in tables\n\n`tests/rules.rs` generates this page from the code. Do not edit it.\n\n\
         ## Enrollment of a contact (spec 4.6)\n\nThe conditions are about the contact's step contacts in the sequence. The \
         first row that holds decides.\n\n| Row | Condition | Outcome | Reason |\n|---|---|---|---|\n",
    );
    for (letter, row) in ('a'..).zip(Row::ALL) {
        let reasons: Vec<String> = row.reasons().iter().map(|code| format!("`{code}`")).collect();
        let _ = writeln!(page, "| {letter} | {} | `{}` | {} |", row.condition(), row.outcome(), reasons.join(", "));
    }
    page.push_str("\n## Faults of a request (spec 3)\n\n| Code | Status | Meaning |\n|---|---|---|\n");
    for code in FaultCode::ALL {
        let _ = writeln!(page, "| `{code}` | {} | {} |", code.status(), code.meaning());
    }
    codes(&mut page, "Reasons of ignored recipients (spec 4 and 5)", Reason::CODES);
    codes(&mut page, "Notes of recipients (spec 4 and 5)", Note::CODES);
    page
}

fn codes(page: &mut String, title: &str, codes: &[(&str, &str)]) {
    let _ = write!(page, "\n## {title}\n\n| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in codes {
        let _ = writeln!(page, "| `{code}` | {meaning} |");
    }
}
