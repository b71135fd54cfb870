//! A file as rows: its format, its sheet and its header (spec 11, *Formats*, *Sheet*, *Header*).

use encoding_rs::Encoding;
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom};

use crate::cells::{cleaned, looks_like};
use crate::error::ListError;
use crate::format::text::{self, TextRows, TextShape};
use crate::format::{Kind, Sheet, Sheets, json, kind, ods, xls, xlsx};
use crate::inspection::{Format, Inspection, Warning};
use crate::mapping::Mapping;
use crate::options::{Delimiter, Options, Settings};
use crate::sheet::Row;
use crate::titles;

/// A file whose format and header are known.
#[derive(Debug)]
pub(crate) struct Source<R> {
    input: R,
    table: Table,
    format: Format,
    encoding_guessed: bool,
    sheets: Vec<String>,
    sheet: Option<String>,
    warnings: Vec<Warning>,
    header: Header,
    digest: [u8; 32],
    row_bytes: usize,
}

/// The titles, and the number of their row. A JSON file has no such row.
#[derive(Debug, Default)]
struct Header {
    row: Option<u64>,
    titles: Vec<String>,
}

#[derive(Debug)]
enum Table {
    /// Text is read again each time.
    Text(TextShape),
    /// The rows of a spreadsheet or of a JSON file.
    Rows(Vec<Row>),
}

impl<R: Read + Seek> Source<R> {
    pub(crate) fn open(mut input: R, options: &Options, settings: &Settings) -> Result<Self, ListError> {
        let (size, digest) = digest(&mut input, settings)?;
        if size == 0 {
            return Err(ListError::Empty);
        }
        let mut source = Self {
            table: Table::Rows(Vec::new()),
            format: Format::Text,
            encoding_guessed: false,
            sheets: Vec::new(),
            sheet: None,
            warnings: Vec::new(),
            header: Header::default(),
            digest,
            row_bytes: settings.limits.row_bytes,
            input,
        };
        let head = head(&mut source.input)?;
        let kind = kind(&head, &mut source.input)?;
        source.input.rewind()?;
        match kind {
            Kind::Xlsx => source.sheets(Format::Xlsx, xlsx::read, options, settings)?,
            Kind::Xls => source.sheets(Format::Xls, xls::read, options, settings)?,
            Kind::Ods => source.sheets(Format::Ods, ods::read, options, settings)?,
            Kind::Text => source.text(&head, options, settings)?,
        }
        Ok(source)
    }

    /// Reads a spreadsheet, and chooses its sheet.
    fn sheets(
        &mut self,
        format: Format,
        read: impl FnOnce(&mut R, &Settings) -> Result<Sheets, ListError>,
        options: &Options,
        settings: &Settings,
    ) -> Result<(), ListError> {
        self.format = format;
        let mut sheets = read(&mut self.input, settings)?.list;
        self.sheets = sheets.iter().map(|sheet| sheet.name.clone()).collect();
        let chosen = match &options.sheet {
            Some(name) => {
                let same = |sheet: &&String| sheet.trim().to_lowercase() == name.trim().to_lowercase();
                let exact = self.sheets.iter().position(|sheet| sheet == name);
                let found = exact.or_else(|| self.sheets.iter().position(|sheet| same(&sheet)));
                let unknown = || ListError::UnknownSheet { name: name.clone(), sheets: self.sheets.clone() };
                Some(found.ok_or_else(unknown)?)
            }
            // A hidden sheet is read only if no other one fits.
            None => [false, true].into_iter().find_map(|hidden| {
                sheets
                    .iter()
                    .position(|sheet| sheet.hidden == hidden && find_header(&sheet.rows, &options.mapping).is_some())
            }),
        };
        let chosen = match chosen {
            Some(chosen) => chosen,
            None if sheets.iter().all(|sheet| sheet.rows.is_empty()) => return Err(ListError::Empty),
            // Of a file with one sheet, a person can choose the columns.
            None if sheets.len() == 1 => 0,
            None => return Err(ListError::NoSheetWithHeader { sheets: self.sheets.clone() }),
        };
        if options.sheet.is_none() {
            self.warn_of_other_sheets(&sheets, chosen, &options.mapping);
        }
        let rows = sheets.swap_remove(chosen).rows;
        let titles = find_header(&rows, &options.mapping);
        let titles = titles.or_else(|| rows.iter().find(|row| !row.is_blank())).ok_or(ListError::Empty)?;
        self.header = Header::of(titles);
        self.sheet = self.sheets.get(chosen).cloned();
        self.table = Table::Rows(rows);
        Ok(())
    }

    /// Warns if other visible sheets have a header with rows below it.
    fn warn_of_other_sheets(&mut self, sheets: &[Sheet], chosen: usize, mapping: &Mapping) {
        let has_people = |sheet: &Sheet| {
            let header = find_header(&sheet.rows, mapping);
            header.is_some_and(|header| sheet.rows.iter().any(|row| row.number > header.number && !row.is_blank()))
        };
        let others = sheets.iter().enumerate().filter(|(n, sheet)| *n != chosen && !sheet.hidden && has_people(sheet));
        let others: Vec<String> = others.map(|(_, sheet)| sheet.name.clone()).collect();
        if !others.is_empty() {
            self.warnings.push(Warning::OtherSheets { sheet: sheets[chosen].name.clone(), sheets: others });
        }
    }

    /// Reads the first rows of text, or a JSON file.
    fn text(&mut self, head: &[u8], options: &Options, settings: &Settings) -> Result<(), ListError> {
        let encoding = match &options.encoding {
            Some(name) => Encoding::for_label(name.trim().as_bytes())
                .ok_or_else(|| ListError::UnknownEncoding { name: name.clone() })?,
            None => match text::marked_encoding(head) {
                Some(encoding) => encoding,
                None => {
                    let (encoding, guessed) = text::find_encoding(&mut self.input)?;
                    self.encoding_guessed = guessed;
                    encoding
                }
            },
        };
        let start = text::decoded(encoding, head);
        crate::format::refuse_other_text(&start)?;
        if options.sheet.is_some() {
            return Err(ListError::NoSheets);
        }
        if self.encoding_guessed {
            let warning = Warning::EncodingGuessed { encoding: encoding.name(), examples: Vec::new() };
            self.warnings.push(warning);
        }
        if json::looks_like_json(&start) {
            self.format = Format::Json;
            self.input.rewind()?;
            let json = json::read(&mut self.input, encoding, settings)?;
            self.header = Header { row: None, titles: json.titles };
            if !json.other_members.is_empty() {
                self.warnings.push(Warning::MembersNotRead { members: json.other_members });
            }
            self.table = Table::Rows(json.rows);
            return Ok(());
        }
        let mut shape = TextShape { encoding, delimiter: Delimiter::Comma, separator_line: false };
        if let Some(given) = text::separator_line(&start) {
            shape.separator_line = true;
            shape.delimiter = given;
        }
        match options.delimiter {
            Some(delimiter) => shape.delimiter = delimiter,
            None if shape.separator_line => {}
            None => shape.delimiter = find_delimiter(head, &shape, &options.mapping, settings.limits.row_bytes),
        }
        self.table = Table::Text(shape);
        let rows = first_rows(self.rows()?)?;
        let titles = find_header(&rows, &options.mapping).or_else(|| rows.first()).ok_or(ListError::Empty)?;
        self.header = Header::of(titles);
        Ok(())
    }

    /// Returns the rows below the header.
    pub(crate) fn rows(&mut self) -> Result<SourceRows<'_, R>, ListError> {
        let after = self.header.row;
        Ok(match &self.table {
            Table::Text(shape) => {
                self.input.rewind()?;
                SourceRows::Text(Box::new(TextRows::new(&mut self.input, shape, self.row_bytes)), after)
            }
            Table::Rows(rows) => SourceRows::Rows(rows.iter(), after),
        })
    }
}

impl<R> Source<R> {
    pub(crate) fn titles(&self) -> &[String] {
        &self.header.titles
    }

    /// Returns the row with the titles if it looks like a person: it has a phone or an email, and no title of a key.
    pub(crate) fn titles_like_a_person(&self) -> Option<u64> {
        let Header { row, titles } = &self.header;
        let is_title = |title: &String| titles::meaning(title).is_some_and(|meaning| meaning.field.is_key());
        let is_value = |title: &String| looks_like(title).is_some();
        row.filter(|_| titles.iter().any(is_value) && !titles.iter().any(is_title))
    }

    pub(crate) fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Returns what is known before the rows are read.
    pub(crate) fn inspection(&self) -> Inspection {
        let shape = match &self.table {
            Table::Text(shape) => Some(shape),
            Table::Rows(_) => None,
        };
        Inspection {
            format: self.format,
            encoding: shape.map(|shape| shape.encoding.name()),
            encoding_guessed: self.encoding_guessed,
            delimiter: shape.map(|shape| shape.delimiter),
            sheets: self.sheets.clone(),
            sheet: self.sheet.clone(),
            header_row: self.header.row,
            columns: Vec::new(),
            rows: 0,
            warnings: self.warnings.clone(),
        }
    }
}

/// The rows below the header.
pub(crate) enum SourceRows<'s, R: Read> {
    Text(Box<TextRows<&'s mut R>>, Option<u64>),
    Rows(std::slice::Iter<'s, Row>, Option<u64>),
}

impl<R: Read> SourceRows<'_, R> {
    pub(crate) fn next_row(&mut self) -> Result<Option<Row>, ListError> {
        loop {
            let (row, after) = match self {
                Self::Text(rows, after) => (rows.next_row()?, *after),
                Self::Rows(rows, after) => (rows.next().cloned(), *after),
            };
            match row {
                Some(row) if after.is_some_and(|after| row.number <= after) => {}
                row => return Ok(row),
            }
        }
    }
}

impl Header {
    /// Takes the titles of a row, without the blank cells behind the last one.
    fn of(row: &Row) -> Self {
        let mut titles: Vec<String> =
            row.cells.iter().map(|cell| cleaned(&cell.display(), false).into_owned()).collect();
        let length = titles.iter().rposition(|title| !title.is_empty()).map_or(0, |last| last + 1);
        titles.truncate(length);
        Self { row: Some(row.number), titles }
    }
}

/// The number of rows that are searched for the header.
const HEADER_ROWS: usize = 20;

/// Returns the first row that names a phone, an email or an external id.
fn find_header<'r>(rows: &'r [Row], mapping: &Mapping) -> Option<&'r Row> {
    rows.iter().filter(|row| !row.is_blank()).take(HEADER_ROWS).find(|row| {
        Header::of(row).titles.iter().any(|title| {
            titles::meaning(title).is_some_and(|meaning| meaning.field.is_key()) || mapping.names_key(title)
        })
    })
}

/// Returns the first rows that are not blank.
fn first_rows<R: Read>(mut rows: SourceRows<'_, R>) -> Result<Vec<Row>, ListError> {
    let mut first = Vec::new();
    while first.len() < HEADER_ROWS {
        match rows.next_row()? {
            Some(row) if row.is_blank() => {}
            Some(row) => first.push(row),
            None => break,
        }
    }
    Ok(first)
}

/// Chooses the delimiter that gives the header with the most known titles.
fn find_delimiter(head: &[u8], shape: &TextShape, mapping: &Mapping, row_bytes: usize) -> Delimiter {
    let score = |delimiter: Delimiter| {
        let shape = TextShape { delimiter, ..shape.clone() };
        let mut rows = TextRows::new(head, &shape, row_bytes);
        let mut first = Vec::new();
        // The head of a long file can end within a quote.
        while let Ok(Some(row)) = rows.next_row() {
            if !row.is_blank() && first.len() < HEADER_ROWS {
                first.push(row);
            }
        }
        let header = find_header(&first, mapping);
        let titles = header.map(|row| Header::of(row).titles).unwrap_or_default();
        let known = titles.iter().filter(|title| titles::meaning(title).is_some() || mapping.names_key(title)).count();
        let columns = header.or(first.first()).map_or(0, |row| row.cells.len());
        // Without a known title, rows of one length are a sign of a table.
        let regular = first.iter().filter(|row| columns > 1 && row.cells.len() == columns).count();
        (known, regular, columns)
    };
    // The first of equal ones.
    let best = Delimiter::ALL.into_iter().rev().max_by_key(|delimiter| score(*delimiter));
    best.unwrap_or(Delimiter::Comma)
}

/// Reads all bytes once: their number and their SHA-256.
fn digest(input: &mut (impl Read + Seek), settings: &Settings) -> Result<(u64, [u8; 32]), ListError> {
    input.rewind()?;
    let limit = settings.limits.bytes;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    let mut size = 0;
    loop {
        let read = match input.read(&mut buffer) {
            Ok(0) => return Ok((size, hash.finalize().into())),
            Ok(read) => read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e.into()),
        };
        size += read as u64;
        if size > limit {
            return Err(ListError::TooLarge { limit });
        }
        hash.update(&buffer[..read]);
    }
}

/// Reads the first bytes.
fn head(input: &mut (impl Read + Seek)) -> Result<Vec<u8>, ListError> {
    let mut head = Vec::new();
    input.seek(SeekFrom::Start(0))?;
    input.by_ref().take(HEAD).read_to_end(&mut head)?;
    input.rewind()?;
    Ok(head)
}

/// The number of bytes that show the format and the delimiter.
const HEAD: u64 = 1 << 16;
