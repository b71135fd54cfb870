//! `docs/rules.md` is made from the code: this test makes it again and compares.
//!
//! `ENROLL_WRITE_RULES=1 cargo test --test rules` writes it.
#![expect(clippy::disallowed_methods, reason = "a test reads and writes files")]

use std::fmt::Write;

use enroll::fault::FaultCode;
use enroll::plan::Row;
use enroll::report::{Disposition, Note, Reason};

#[test]
fn the_page_of_rules_is_what_the_code_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/rules.md");
    let made = page();
    if std::env::var_os("ENROLL_WRITE_RULES").is_some() {
        std::fs::write(path, &made).unwrap();
    }
    let stands = std::fs::read_to_string(path).unwrap();
    assert!(stands == made, "docs/rules.md is out of date; write it with ENROLL_WRITE_RULES=1 cargo test --test rules");
}

#[test]
fn the_codes_of_the_table_are_codes_of_reasons() {
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
        "# The rules in tables\n\nMade from the code by `tests/rules.rs`; do not edit.\n\n\
         ## What becomes of a contact (4.6)\n\nOver the contact's step contacts in the sequence; the first row that holds \
         decides.\n\n| Row | When | Outcome | Reason |\n|---|---|---|---|\n",
    );
    for (letter, row) in ('a'..).zip(Row::ALL) {
        let reasons: Vec<String> = row.reasons().iter().map(|code| format!("`{code}`")).collect();
        let _ = writeln!(page, "| {letter} | {} | `{}` | {} |", row.condition(), row.outcome(), reasons.join(", "));
    }
    page.push_str("\n## Why a request is refused (3)\n\n| Code | Status | Meaning |\n|---|---|---|\n");
    for code in FaultCode::ALL {
        let _ = writeln!(page, "| `{code}` | {} | {} |", code.status(), code.meaning());
    }
    codes(&mut page, "Why a recipient is ignored (4, 5)", Reason::CODES);
    codes(&mut page, "What a sender should know all the same (4, 5)", Note::CODES);
    page
}

fn codes(page: &mut String, title: &str, codes: &[(&str, &str)]) {
    let _ = write!(page, "\n## {title}\n\n| Code | Meaning |\n|---|---|\n");
    for (code, meaning) in codes {
        let _ = writeln!(page, "| `{code}` | {meaning} |");
    }
}
