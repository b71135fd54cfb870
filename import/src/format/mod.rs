//! The formats, found from the content (spec 11, *Formats*).

mod compound;
pub(crate) mod json;
pub(crate) mod ods;
pub(crate) mod text;
pub(crate) mod xls;
pub(crate) mod xlsx;
mod xml;
mod zipped;

use std::collections::BTreeMap;
use std::io::{Read, Seek};

use crate::error::ListError;
use crate::inspection::Format;
use crate::options::Limits;
use crate::sheet::{Cell, Row};

/// What a file is. Text can still be JSON.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Text,
    Xlsx,
    Xls,
    Ods,
}

/// The sheets of a spreadsheet, in order.
#[derive(Debug, Default)]
pub(crate) struct Sheets {
    pub(crate) list: Vec<Sheet>,
}

/// A sheet with its rows that are not blank, in order.
#[derive(Debug, Default)]
pub(crate) struct Sheet {
    pub(crate) name: String,
    pub(crate) hidden: bool,
    pub(crate) rows: Vec<Row>,
}

/// Finds what a file is, and refuses the formats that are not read.
pub(crate) fn kind(head: &[u8], input: &mut (impl Read + Seek)) -> Result<Kind, ListError> {
    let unknown = |found: &str| Err(ListError::UnknownFormat { found: found.to_owned() });
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return zipped::kind(input);
    }
    if head.starts_with(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1") {
        return Ok(Kind::Xls);
    }
    for (start, found) in BINARY {
        if head.starts_with(start) {
            return unknown(found);
        }
    }
    let utf16 = text::marked_encoding(head).is_some_and(|encoding| encoding != encoding_rs::UTF_8);
    let controls = head.iter().filter(|byte| matches!(byte, 0..=8 | 14..=25 | 28..=31)).count();
    if !utf16 && (head.contains(&0) || controls * 50 > head.len()) {
        return unknown("not text, and no known spreadsheet");
    }
    Ok(Kind::Text)
}

/// The first bytes of formats that are not read.
const BINARY: [(&[u8], &str); 11] = [
    (b"%PDF", "a PDF"),
    (b"\x1f\x8b", "compressed with gzip"),
    (b"BZh", "compressed with bzip2"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"{\\rtf", "a document in Rich Text Format"),
    (b"SQLite format 3", "a SQLite database"),
    (b"PAR1", "a Parquet file"),
];

/// Refuses text that is of another format.
pub(crate) fn refuse_other_text(start: &str) -> Result<(), ListError> {
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || crate::cells::is_invisible(c));
    // Delimiters alone are blank rows.
    if !start.contains(char::is_alphanumeric) {
        return Err(ListError::Empty);
    }
    let lower: String = start.chars().take(1000).collect::<String>().to_ascii_lowercase();
    let found = match &*lower {
        text if text.starts_with("begin:vcard") => "a vCard",
        text if text.starts_with("begin:vcalendar") => "a calendar",
        text if text.starts_with("<?xml") && text.contains("schemas-microsoft-com:office:spreadsheet") => {
            "a spreadsheet in the XML format of Excel 2003"
        }
        text if text.starts_with("<?xml") && !text.contains("<html") => "XML",
        text if HTML.iter().any(|tag| text.starts_with(tag)) || text.starts_with("<?xml") => "HTML",
        text if text.starts_with("{\\rtf") => "a document in Rich Text Format",
        text if text.starts_with("%pdf") => "a PDF",
        text if text.starts_with("id;p") && text.contains("\nc;") => "a SYLK file",
        text if text.starts_with("dn:") || text.starts_with("version: 1\ndn:") => "an LDIF file",
        text if text.starts_with("mime-version:") || text.starts_with("from:") => "an email message",
        _ => return Ok(()),
    };
    Err(ListError::UnknownFormat { found: found.to_owned() })
}

const HTML: [&str; 9] = ["<!doctype", "<html", "<head", "<body", "<table", "<meta", "<style", "<div", "<!--"];

/// Collects the cells of a sheet into rows, and counts them.
pub(crate) struct Cells {
    rows: BTreeMap<u32, SparseRow>,
}

#[derive(Default)]
struct SparseRow {
    width: u32,
    cells: Vec<(u32, Cell)>,
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self { rows: BTreeMap::new() }
    }

    /// Adds a cell, with its row and column counted from 0.
    pub(crate) fn add(&mut self, row: u32, column: u32, cell: Cell, budget: &mut Budget) -> Result<(), ListError> {
        if cell.is_blank() || column >= MAX_COLUMNS || row >= MAX_ROWS {
            return Ok(());
        }
        budget.take(&cell)?;
        let row = self.rows.entry(row).or_default();
        budget.widen((column + 1).saturating_sub(row.width))?;
        row.width = row.width.max(column + 1);
        row.cells.push((column, cell));
        Ok(())
    }

    pub(crate) fn into_rows(self) -> Vec<Row> {
        let row = |(row, SparseRow { width, mut cells }): (u32, SparseRow)| {
            cells.sort_by_key(|(column, _)| *column);
            let mut dense = vec![Cell::Blank; width as usize];
            for (column, cell) in cells {
                dense[column as usize] = cell;
            }
            Row { number: u64::from(row) + 1, cells: dense }
        };
        self.rows.into_iter().map(row).collect()
    }
}

/// The limits of a sheet in every spreadsheet program.
const MAX_ROWS: u32 = 1 << 20;
const MAX_COLUMNS: u32 = 1 << 14;
/// The number of places, also of blank cells, for each cell that a sheet can have.
const PLACES: u64 = 2;

/// The cells and the bytes of text that may still be read.
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    cells: u64,
    /// The places of cells up to the last one of each row: blank ones need memory too.
    places: u64,
    text: u64,
}

impl Budget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let Limits { cells, unzipped_bytes, .. } = *limits;
        Self { limits: *limits, cells, places: cells.saturating_mul(PLACES), text: unzipped_bytes }
    }

    /// Checks that there is place for a number of cells, before they are stored.
    pub(crate) fn check(&self, cells: u64) -> Result<(), ListError> {
        if cells <= self.cells { Ok(()) } else { Err(self.too_many_cells()) }
    }

    /// Takes the places by which a row becomes wider.
    fn widen(&mut self, places: u32) -> Result<(), ListError> {
        self.places = self.places.checked_sub(places.into()).ok_or_else(|| self.too_many_cells())?;
        Ok(())
    }

    fn too_many_cells(&self) -> ListError {
        ListError::TooManyCells { limit: self.limits.cells, what: "cells" }
    }

    /// Takes a cell. Many cells can refer to one text, so its bytes count each time.
    fn take(&mut self, cell: &Cell) -> Result<(), ListError> {
        let Limits { unzipped_bytes, .. } = self.limits;
        self.cells = self.cells.checked_sub(1).ok_or_else(|| self.too_many_cells())?;
        let text = if let Cell::Text(text) | Cell::Error(text) = cell { text.len() } else { 0 };
        let too_long = ListError::TooManyCells { limit: unzipped_bytes, what: "bytes of text" };
        self.text = self.text.checked_sub(text as u64).ok_or(too_long)?;
        Ok(())
    }
}

pub(crate) fn broken(format: Format, problem: impl Into<String>) -> ListError {
    ListError::Broken { format, problem: problem.into() }
}
