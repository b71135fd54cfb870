//! A list: its columns, and its rows as recipients.

use serde::Serialize;
use std::collections::BTreeSet;
use std::io::{Read, Seek, Write};

use crate::cells::cleaned;
use crate::edits::RowEdits;
use crate::entry::{Entry, EntryReader, SetAside};
use crate::error::ListError;
use crate::field::Field;
use crate::inspection::{CellText, InspectedColumn, Inspection, Warning};
use crate::mapping::Columns;
use crate::options::{Options, Settings};
use crate::sheet::Row;
use crate::source::{Source, SourceRows};

/// Finds the format, the columns and the number of rows of a file.
///
/// It suggests a field for each column, and refuses only what no choice can make readable.
///
/// # Errors
/// [`ListError`] if the file is broken, or if the options name something that it does not have.
pub fn inspect<R: Read + Seek>(input: R, options: &Options, settings: &Settings) -> Result<Inspection, ListError> {
    inspect_with_rows(input, options, settings, 0).map(|(inspection, _)| inspection)
}

/// Does what [`inspect`] does, and returns the first `most` rows that are not blank too.
///
/// # Errors
/// Those of [`inspect`].
pub fn inspect_with_rows<R: Read + Seek>(
    input: R,
    options: &Options,
    settings: &Settings,
    most: usize,
) -> Result<(Inspection, Vec<RowCells>), ListError> {
    let mut source = Source::open(input, options, settings)?;
    let columns = Columns::new(source.titles(), &options.mapping)?;
    let mut rows = Vec::new();
    let inspection = Survey::new(&mut source, &columns, options, settings)?.run(|row| {
        if rows.len() < most {
            rows.push(RowCells::of(row));
        }
    })?;
    Ok((inspection, rows))
}

/// Copies input that cannot be read twice to a temporary file of the caller, up to the limit of bytes.
///
/// # Errors
/// [`ListError::TooLarge`] and [`ListError::Io`].
pub fn spool(mut input: impl Read, mut file: impl Write, settings: &Settings) -> Result<u64, ListError> {
    let limit = settings.limits.bytes;
    let copied = std::io::copy(&mut Read::by_ref(&mut input).take(limit.saturating_add(1)), &mut file)?;
    file.flush()?;
    if copied > limit { Err(ListError::TooLarge { limit }) } else { Ok(copied) }
}

/// A list that can be enrolled: each column has a field or is ignored, and all bytes were read once.
#[derive(Debug)]
pub struct List<R> {
    source: Source<R>,
    columns: Columns,
    edits: RowEdits,
    options: Options,
    settings: Settings,
    inspection: Inspection,
    recipients: u64,
    set_aside: u64,
}

impl<R: Read + Seek> List<R> {
    /// Opens a list, and reads it once to check and count its rows.
    ///
    /// # Errors
    /// [`ListError`] if the list must not be enrolled. Each row with a fault is set aside, and refuses nothing.
    pub fn open(input: R, options: Options, settings: Settings) -> Result<Self, ListError> {
        let mut source = Source::open(input, &options, &settings)?;
        let columns = Columns::new(source.titles(), &options.mapping)?;
        columns.check(&settings).map_err(|error| match (error, source.titles_like_a_person()) {
            (ListError::NoKeyColumn { .. }, Some(row)) => ListError::NoTitles { row },
            (error, _) => error,
        })?;
        let (mut recipients, mut set_aside) = (0, 0);
        let reader = EntryReader { columns: &columns, options: &options, settings: &settings };
        let survey = Survey::new(&mut source, &columns, &options, &settings)?;
        let inspection = survey.run(|row| match reader.read(row) {
            Ok(_) => recipients += 1,
            Err(_) => set_aside += 1,
        })?;
        if inspection.rows == 0 {
            return Err(ListError::NoRows);
        }
        let edits = RowEdits::new(&options.edits, source.titles())?;
        Ok(Self { source, columns, edits, options, settings, inspection, recipients, set_aside })
    }

    /// Returns what the library found in the file, with the fields that are read.
    #[must_use]
    pub fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// Returns the number of recipients: the rows that are not blank, not dropped and not set aside.
    #[must_use]
    pub fn recipients(&self) -> u64 {
        self.recipients
    }

    /// Returns the number of rows that are set aside.
    #[must_use]
    pub fn set_aside(&self) -> u64 {
        self.set_aside
    }

    /// Returns the SHA-256 of the bytes of the file.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        self.source.digest()
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    /// Reads the rows, from the first one. Of text, one row is in memory at a time.
    ///
    /// # Errors
    /// [`ListError`] if the file cannot be read again.
    pub fn rows(&mut self) -> Result<Rows<'_, R>, ListError> {
        let reader = EntryReader { columns: &self.columns, options: &self.options, settings: &self.settings };
        Ok(Rows { source: self.source.rows()?, edits: &self.edits, reader })
    }
}

/// The rows of a list, as recipients. Created by [`List::rows`].
pub struct Rows<'l, R: Read> {
    source: SourceRows<'l, R>,
    edits: &'l RowEdits,
    reader: EntryReader<'l>,
}

impl<R: Read> std::fmt::Debug for Rows<'_, R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows").finish_non_exhaustive()
    }
}

impl<R: Read> Iterator for Rows<'_, R> {
    type Item = Result<Result<Entry, SetAside>, ListError>;

    /// Returns the next row that is not blank: a recipient, or a row that is set aside.
    fn next(&mut self) -> Option<Self::Item> {
        let row = self.next_row().transpose()?;
        Some(row.map(|row| self.reader.read(&row)))
    }
}

impl<R: Read> Rows<'_, R> {
    /// Does what [`next`](Iterator::next) does, and returns the cells of the row too.
    pub fn next_with_cells(&mut self) -> Option<Result<ReadRow, ListError>> {
        let row = self.next_row().transpose()?;
        Some(row.map(|row| (RowCells::of(&row), self.reader.read(&row))))
    }

    /// Returns the next row that is not blank, with its edits.
    fn next_row(&mut self) -> Result<Option<Row>, ListError> {
        while let Some(mut row) = self.source.next_row()? {
            if self.edits.apply(&mut row) && !row.is_blank() {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }
}

/// The cells of a row, and what is read from them.
type ReadRow = (RowCells, Result<Entry, SetAside>);

/// The cells of a row as text, with the edits of the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct RowCells {
    /// The number of the row in the file.
    pub row: u64,
    /// The text of each cell, up to the last one that is not blank. The rules for cells are not applied.
    pub cells: Vec<String>,
}

impl RowCells {
    fn of(row: &Row) -> Self {
        let length = row.cells.iter().rposition(|cell| !cell.is_blank()).map_or(0, |last| last + 1);
        let cells = row.cells.iter().take(length).map(|cell| cell.display().into_owned());
        Self { row: row.number, cells: cells.collect() }
    }
}

/// The first pass over the rows.
struct Survey<'s, R> {
    source: &'s mut Source<R>,
    edits: RowEdits,
    inspection: Inspection,
}

impl<'s, R: Read + Seek> Survey<'s, R> {
    fn new(
        source: &'s mut Source<R>,
        columns: &Columns,
        options: &Options,
        settings: &Settings,
    ) -> Result<Self, ListError> {
        let edits = RowEdits::new(&options.edits, source.titles())?;
        let mut inspection = source.inspection();
        for (index, column) in columns.list.iter().enumerate() {
            let (position, title) = (index + 1, column.title.clone());
            if column.by_hand.is_none() && column.consent.is_some() {
                inspection.warnings.push(Warning::ConsentNotMapped { position, title: title.clone() });
            } else if column.by_hand.is_none() && column.suggested.is_none() && !title.is_empty() {
                inspection.warnings.push(Warning::UnknownColumn { position, title: title.clone() });
            }
            inspection.columns.push(InspectedColumn {
                position,
                title,
                field: column.field().cloned(),
                suggested: column.suggested.clone(),
                consent: column.consent.clone(),
                samples: Vec::new(),
            });
        }
        if matches!(columns.check(settings), Err(ListError::NoKeyColumn { .. })) {
            inspection.warnings.push(Warning::NoKeyColumn);
        }
        inspection.warnings.extend(source.titles_like_a_person().map(|row| Warning::NoTitles { row }));
        inspection.warnings.extend(columns.several());
        Ok(Self { source, edits, inspection })
    }

    fn run(self, mut visit: impl FnMut(&Row)) -> Result<Inspection, ListError> {
        let Self { source, edits, mut inspection } = self;
        let mut unused: BTreeSet<u64> = edits.rows();
        let mut rows = source.rows()?;
        let mut examples = Vec::new();
        while let Some(mut row) = rows.next_row()? {
            if !row.is_blank() {
                unused.remove(&row.number);
            }
            if !edits.apply(&mut row) || row.is_blank() {
                continue;
            }
            inspection.rows += 1;
            sample(&row, &mut inspection, &mut examples);
            visit(&row);
        }
        if let Some(row) = unused.first() {
            return Err(ListError::UnknownRow { row: *row });
        }
        for warning in &mut inspection.warnings {
            if let Warning::EncodingGuessed { examples: cells, .. } = warning {
                cells.append(&mut examples);
            }
        }
        Ok(inspection)
    }
}

/// Keeps the first values of each column, and of cells with text that is not ASCII.
fn sample(row: &Row, inspection: &mut Inspection, examples: &mut Vec<CellText>) {
    for (column, cell) in inspection.columns.iter_mut().zip(&row.cells) {
        let example = inspection.encoding_guessed && examples.len() < EXAMPLES;
        if column.samples.len() >= SAMPLES && !example {
            continue;
        }
        let text = cell.display();
        let names = column.field.as_ref().is_some_and(Field::keeps_apostrophe);
        let text = cleaned(&text, names);
        let text: String = text.chars().take(SAMPLE_CHARACTERS).collect();
        if example && !text.is_ascii() {
            examples.push(CellText { row: row.number, column: column.title.clone(), text: text.clone() });
        }
        if column.samples.len() < SAMPLES && !text.is_empty() {
            column.samples.push(text);
        }
    }
}

/// The number of values that an inspection has of each column.
const SAMPLES: usize = 3;
/// The number of cells that show whether a guessed encoding is right.
const EXAMPLES: usize = 5;
/// The number of characters of a sample.
const SAMPLE_CHARACTERS: usize = 100;
