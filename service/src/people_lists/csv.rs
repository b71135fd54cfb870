//! The rows of a list as CSV, in which a spreadsheet runs no cell.

use super::rows::ListedRow;

/// What a file has of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListFile {
    /// All rows, with their outcomes.
    Rows,
    /// The rows that a person can fix, with their problems.
    ToFix,
}

impl ListFile {
    /// Returns the header: the titles of the list, then the columns of this file.
    pub(crate) fn header(self, titles: &[String]) -> String {
        let own: &[&str] = match self {
            Self::Rows => &["row", "outcome", "reasons", "notes"],
            Self::ToFix => &["row", "problem"],
        };
        // Spreadsheets recognize UTF-8 by a byte order mark.
        let mut text = "\u{feff}".to_owned();
        push_line(&mut text, titles.iter().map(String::as_str).chain(own.iter().copied()));
        text
    }

    /// Appends a row, if it belongs to the file. Returns false if its texts are not kept any more.
    pub(crate) fn push_row(self, text: &mut String, row: &ListedRow, columns: usize) -> bool {
        let Some(texts) = &row.texts else { return false };
        if self == Self::ToFix && !row.can_be_fixed() {
            return true;
        }
        let number = row.row.to_string();
        let mut problems = row.problems();
        problems.extend(row.repeats_row.map(|first| format!("the same person as row {first}")));
        let problems = for_people(&problems.join("; "));
        let notes: Vec<String> =
            row.notes().iter().filter_map(|note| Some(note["description"].as_str()?.to_owned())).collect();
        let notes = for_people(&notes.join("; "));
        let own: &[&str] = match self {
            Self::Rows => &[&number, row.disposition.map_or("", outcome_word), &problems, &notes],
            Self::ToFix => &[&number, &problems],
        };
        // A cell beyond the header would move the columns of this file.
        let cells = texts.cells.iter().map(String::as_str).chain(std::iter::repeat("")).take(columns);
        push_line(text, cells.chain(own.iter().copied()));
        true
    }
}

/// Returns the words of a disposition. They are those of the page (`texts.js`).
fn outcome_word(disposition: &'static str) -> &'static str {
    match disposition {
        "added" => "Added",
        "re_added" => "Added again",
        "reprocessed" => "Starts again",
        "ignored" => "Ignored",
        "duplicate" => "Duplicate",
        "set_aside" => "Set aside",
        "pending" => "Waiting",
        "failed" => "Failed",
        "erased" => "Erased",
        other => other,
    }
}

/// Replaces the marks of code, which mean nothing in a spreadsheet.
fn for_people(text: &str) -> String {
    text.replace('`', "'")
}

fn push_line<'c>(text: &mut String, cells: impl Iterator<Item = &'c str>) {
    for (number, cell) in cells.enumerate() {
        if number > 0 {
            text.push(',');
        }
        push_cell(text, cell);
    }
    text.push_str("\r\n");
}

/// Appends a cell. A spreadsheet would run one that starts like a formula, so it gets a `'`, which is removed when the
/// file is read as a list.
fn push_cell(text: &mut String, cell: &str) {
    let is_formula = cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    let mark = if is_formula { "'" } else { "" };
    let is_quoted = cell.contains(['"', ',', '\r', '\n']) || cell.trim() != cell;
    if is_quoted {
        text.push('"');
        text.push_str(mark);
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(mark);
        text.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_runs_no_cell() {
        let mut text = String::new();
        push_line(
            &mut text,
            ["=1+1", "+1 415", "-2", "@x", "\tx", "'=1", "''", "a=1", "a,b", "say \"hi\"", " x", "", "a\nb"]
                .into_iter(),
        );
        let expected = "'=1+1,'+1 415,'-2,'@x,\"'\tx\",''=1,'',a=1,\"a,b\",\"say \"\"hi\"\"\",\" x\",,\"a\nb\"\r\n";
        assert_eq!(text, expected);
    }
}
