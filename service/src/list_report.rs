//! What a run shows about its list: the mapping of the columns, and the rows that are set aside.

use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs::File;

use enroll_demo::print::{plain, short, table};
use enroll_import::{Inspection, List, ListError, SetAside, Warning};

/// The mapping of a list, and its rows that are not enrolled.
pub(crate) struct ListReport {
    name: String,
    inspection: Inspection,
    recipients: u64,
    /// The number of rows that are set aside.
    pub(crate) set_aside: u64,
    /// The rows that are set aside, up to a limit.
    rows: Vec<SetAside>,
}

impl ListReport {
    /// Reads the rows that are set aside, up to a limit.
    pub(crate) fn read(name: &str, list: &mut List<File>, most: usize) -> Result<Self, ListError> {
        let mut rows = Vec::new();
        let set_aside = list.set_aside();
        if set_aside > 0 {
            let wanted = usize::try_from(set_aside).unwrap_or(usize::MAX).min(most);
            for row in list.rows()? {
                if let Err(row) = row? {
                    rows.push(row);
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
        let lines = self.rows.iter().map(|row| [row.row.to_string(), short(&row.column), row.reason.to_string()]);
        let rows = if self.set_aside == 1 { "row was" } else { "rows were" };
        let mut text = format!("\n{} {rows} set aside:\n{}", self.set_aside, table(["row", "column", "why"], lines));
        let more = self.set_aside.saturating_sub(self.rows.len() as u64);
        if more > 0 {
            let _infallible = writeln!(text, "… and {more} more (--all lists them)");
        }
        text
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
        json!(self.rows)
    }
}

/// The number of rows that the text of a report shows, unless it shows all.
pub(crate) const LISTED: usize = 40;
