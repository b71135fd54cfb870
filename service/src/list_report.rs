//! What a run shows about its list: the mapping of the columns, and the rows that are set aside.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;

use enroll_demo::print::{plain, short, table};
use enroll_import::{Field, InspectedColumn, Inspection, List, ListError, SetAside, SetAsideReason, Warning};

/// The mapping of a list, and its rows that are not enrolled.
pub(crate) struct ListReport {
    name: String,
    inspection: Inspection,
    recipients: u64,
    /// The number of rows that are set aside.
    pub(crate) set_aside: u64,
    /// The rows that are set aside, up to a limit.
    rows: Vec<(SetAside, String)>,
}

impl ListReport {
    /// Reads the rows that are set aside, up to a limit.
    pub(crate) fn read(name: &str, list: &mut List<File>, most: usize) -> Result<Self, ListError> {
        let mut rows = Vec::new();
        let set_aside = list.set_aside();
        if set_aside > 0 {
            let wanted = usize::try_from(set_aside).unwrap_or(usize::MAX).min(most);
            let columns = list.inspection().columns.clone();
            let mut read = list.rows()?;
            while let Some(row) = read.next_with_cells() {
                if let (cells, Err(row)) = row? {
                    rows.push((row, who(&columns, &cells.cells)));
                }
                if rows.len() >= wanted {
                    break;
                }
            }
        }
        let (inspection, recipients) = (list.inspection().clone(), list.recipients());
        Ok(Self { name: name.to_owned(), inspection, recipients, set_aside, rows })
    }

    /// Returns the format of the file, and the field of each column with an example.
    pub(crate) fn mapping_text(&self) -> String {
        let Inspection {
            format,
            encoding,
            encoding_guessed,
            delimiter,
            sheet,
            header_row,
            columns,
            rows,
            warnings,
            ..
        } = &self.inspection;
        let mut text = format!("{}: {format}", plain(&self.name));
        if let Some(encoding) = encoding {
            let _infallible = write!(text, ", {encoding}{}", if *encoding_guessed { " (guessed)" } else { "" });
        }
        if let Some(delimiter) = delimiter.map(|delimiter| delimiter.to_string()) {
            let delimiter = if delimiter == "\t" { "tab" } else { &delimiter };
            let _infallible = write!(text, ", delimiter `{delimiter}`");
        }
        if let Some(sheet) = sheet {
            let _infallible = write!(text, ", sheet `{}`", plain(sheet));
        }
        if let Some(row) = header_row {
            let _infallible = write!(text, ", header in row {row}");
        }
        let _infallible = writeln!(text, ", {rows} {}", if *rows == 1 { "row" } else { "rows" });
        let unknown = |position: usize| {
            warnings
                .iter()
                .any(|warning| matches!(warning, Warning::UnknownColumn { position: at, .. } if *at == position))
        };
        let shown = columns.iter().filter(|column| column.field.is_some() || !column.title.is_empty());
        let lines = shown.map(|column| {
            let field = match &column.field {
                Some(field) => plain(&field.to_string()),
                None if unknown(column.position) => "ignored: no field is known for it".to_owned(),
                None => "ignored".to_owned(),
            };
            [short(&column.title), field, column.samples.first().map(|sample| short(sample)).unwrap_or_default()]
        });
        text.push_str(&table(["column", "field", "example"], lines));
        for warning in warnings.iter().filter(|warning| !matches!(warning, Warning::UnknownColumn { .. })) {
            let _infallible = writeln!(text, "warning: {}", plain(&warning.to_string()));
        }
        text.push('\n');
        text
    }

    /// Returns the rows that are set aside with their reasons. Empty text means that no row is.
    pub(crate) fn set_aside_text(&self) -> String {
        if self.set_aside == 0 {
            return String::new();
        }
        let lines = self
            .rows
            .iter()
            .map(|(row, who)| [row.row.to_string(), who.clone(), short(&row.column), row.reason.to_string()]);
        let rows = if self.set_aside == 1 { "row was" } else { "rows were" };
        let mut text =
            format!("\n{} {rows} set aside:\n{}", self.set_aside, table(["row", "who", "column", "why"], lines));
        let more = self.set_aside.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            let _infallible = writeln!(text, "… and {more} more (--all lists them)");
        }
        text
    }

    /// Returns true if a correction can help one of the rows that are listed.
    pub(crate) fn can_be_fixed(&self) -> bool {
        self.rows.iter().any(|(row, _)| row.reason != SetAsideReason::OptedOutInList)
    }

    /// Returns the mapping as JSON. The rows that are set aside are apart.
    pub(crate) fn mapping_json(&self) -> Value {
        let mut value = json!(self.inspection);
        value["file"] = json!(self.name);
        value["recipients"] = json!(self.recipients);
        value
    }

    /// Returns the rows that are set aside, as JSON.
    pub(crate) fn set_aside_json(&self) -> Value {
        json!(self.rows.iter().map(|(row, _)| row).collect::<Vec<_>>())
    }
}

/// Returns the name of the person in a row, else the phone, the email or the id.
fn who(columns: &[InspectedColumn], cells: &[String]) -> String {
    let values = |field: Field| {
        let of_field = columns.iter().zip(cells).filter(move |(column, _)| column.field.as_ref() == Some(&field));
        of_field.map(|(_, cell)| cell.trim()).filter(|cell| !cell.is_empty())
    };
    let parts = [Field::FirstName, Field::LastName].map(|field| values(field).next().unwrap_or_default()).join(" ");
    let single = [Field::Phone, Field::Email, Field::ExternalId].into_iter().find_map(|field| values(field).next());
    let parts = Some(parts.trim()).filter(|parts| !parts.is_empty());
    short(values(Field::Name).next().or(parts).or(single).unwrap_or("(blank)"))
}

/// The number of rows that the text of a report shows, unless it shows all.
pub(crate) const LISTED: usize = 40;
