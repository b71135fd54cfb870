//! XLS: the binary format of Excel 5 to 2003 (MS-XLS).

use encoding_rs::{Encoding, WINDOWS_1252};
use std::collections::HashMap;
use std::io::{Read, Seek};

use super::compound::{Compound, u16_at, u32_at};
use super::xlsx::{date_cell, is_built_in_date, is_date_format};
use super::{Budget, Cells, Sheet, Sheets, broken};
use crate::error::ListError;
use crate::inspection::Format;
use crate::options::Settings;
use crate::sheet::Cell;

/// Reads all sheets.
pub(crate) fn read<R: Read + Seek>(input: &mut R, settings: &Settings) -> Result<Sheets, ListError> {
    let mut file = Vec::new();
    input.read_to_end(&mut file)?;
    let compound = Compound::open(&file)?;
    if compound.has("EncryptedPackage") {
        return Err(ListError::Encrypted);
    }
    let stream = ["Workbook", "Book"].into_iter().find_map(|name| compound.stream(name));
    let unknown = || ListError::UnknownFormat { found: "a document of Office without sheets".to_owned() };
    let stream = stream.ok_or_else(unknown)??;
    drop(compound);
    drop(file);
    let book = Book::read(&stream)?;
    let mut budget = Budget::new(&settings.limits);
    let mut sheets = Sheets::default();
    let mut read = 0;
    for bound in &book.sheets {
        let mut records = Records { stream: &stream, at: bound.at };
        let cells = book.cells(&mut records, &mut budget)?;
        read += records.at.saturating_sub(bound.at);
        // Otherwise a small file with many entries for one sheet would be read for hours.
        if read > stream.len() {
            return Err(broken(Format::Xls, "its sheets overlap"));
        }
        sheets.list.push(Sheet { name: bound.name.clone(), hidden: bound.hidden, rows: cells.into_rows() });
    }
    if sheets.list.is_empty() { Err(broken(Format::Xls, "it has no sheets")) } else { Ok(sheets) }
}

fn torn() -> ListError {
    broken(Format::Xls, "a record is torn")
}

/// The records of a stream: a type and its data.
struct Records<'s> {
    stream: &'s [u8],
    at: usize,
}

impl<'s> Records<'s> {
    fn next(&mut self) -> Result<(u16, &'s [u8]), ListError> {
        let kind = u16_at(self.stream, self.at).ok_or_else(torn)?;
        let length = usize::from(u16_at(self.stream, self.at + 2).ok_or_else(torn)?);
        let start = self.at + 4;
        let data = self.stream.get(start..start + length).ok_or_else(torn)?;
        self.at = start + length;
        Ok((kind, data))
    }

    /// Returns the data of the records that continue the last one.
    fn continued(&mut self) -> Vec<&'s [u8]> {
        let mut parts = Vec::new();
        while u16_at(self.stream, self.at) == Some(CONTINUE) {
            match self.next() {
                Ok((_, data)) => parts.push(data),
                Err(_) => break,
            }
        }
        parts
    }
}

const CONTINUE: u16 = 0x003c;
const BOF: u16 = 0x0809;
const EOF: u16 = 0x000a;

struct Bound {
    at: usize,
    name: String,
    hidden: bool,
}

/// What the sheets refer to.
struct Book {
    sheets: Vec<Bound>,
    strings: Vec<String>,
    date_styles: Vec<bool>,
    dates_from_1904: bool,
    texts: Texts,
}

/// How texts are written: in Excel 97 and later as UTF-16, before in a code page.
#[derive(Clone, Copy)]
struct Texts {
    unicode: bool,
    encoding: &'static Encoding,
}

impl Texts {
    /// Reads a text: its length in one or two bytes, and its characters.
    fn read(self, data: &[u8], length_bytes: usize) -> Option<String> {
        let length = if length_bytes == 1 { usize::from(*data.first()?) } else { usize::from(u16_at(data, 0)?) };
        let rest = data.get(length_bytes..)?;
        if !self.unicode {
            return Some(self.encoding.decode_without_bom_handling(rest.get(..length)?).0.into_owned());
        }
        if length == 0 {
            return Some(String::new());
        }
        let mut text = Vec::new();
        let (flags, characters) = rest.split_first()?;
        (units(characters, flags & 1 != 0, length, &mut text).0 == length).then(|| String::from_utf16_lossy(&text))
    }
}

/// Reads at most `length` UTF-16 units of two bytes or of one. Returns the number of units and of bytes.
fn units(bytes: &[u8], wide: bool, length: usize, text: &mut Vec<u16>) -> (usize, usize) {
    let before = text.len();
    if wide {
        text.extend(bytes.chunks_exact(2).take(length).map(|pair| u16::from_le_bytes([pair[0], pair[1]])));
    } else {
        text.extend(bytes.iter().take(length).map(|byte| u16::from(*byte)));
    }
    let read = text.len() - before;
    (read, if wide { read * 2 } else { read })
}

impl Book {
    fn read(stream: &[u8]) -> Result<Self, ListError> {
        let mut records = Records { stream, at: 0 };
        let texts = Texts { unicode: true, encoding: WINDOWS_1252 };
        let mut book =
            Self { sheets: Vec::new(), strings: Vec::new(), date_styles: Vec::new(), dates_from_1904: false, texts };
        let (mut formats, mut styles) = (HashMap::new(), Vec::new());
        loop {
            let (kind, data) = records.next()?;
            let number = |at| u16_at(data, at);
            match kind {
                BOF => book.texts.unicode = number(0) == Some(0x0600),
                0x002f => return Err(ListError::Encrypted),
                0x0042 => book.texts.encoding = code_page(number(0).unwrap_or_default()),
                0x0022 => book.dates_from_1904 = number(0) == Some(1),
                0x041e => {
                    let code =
                        data.get(2..).and_then(|text| book.texts.read(text, if book.texts.unicode { 2 } else { 1 }));
                    formats.extend(number(0).zip(code).map(|(id, code)| (id, is_date_format(&code))));
                }
                0x00e0 => styles.push(number(2).unwrap_or_default()),
                0x00fc => book.strings = shared_strings(data, &records.continued()).ok_or_else(torn)?,
                // A worksheet: charts and macros are of other types.
                0x0085 if data.get(5) == Some(&0) => {
                    let at = u32_at(data, 0).ok_or_else(torn)? as usize;
                    let name = book.texts.read(&data[6..], 1).ok_or_else(torn)?;
                    book.sheets.push(Bound { at, name, hidden: data[4] & 3 != 0 });
                }
                EOF => break,
                _ => {}
            }
        }
        let is_date = |id: &u16| formats.get(id).copied().unwrap_or_else(|| is_built_in_date(i64::from(*id)));
        book.date_styles = styles.iter().map(is_date).collect();
        Ok(book)
    }

    fn cells(&self, records: &mut Records<'_>, budget: &mut Budget) -> Result<Cells, ListError> {
        let mut cells = Cells::new();
        let (mut depth, mut formula) = (0_u32, None);
        loop {
            let (kind, data) = records.next()?;
            match kind {
                BOF => depth += 1,
                EOF if depth <= 1 => return Ok(cells),
                EOF => depth -= 1,
                _ => {}
            }
            // Charts within the sheet have cells of their own.
            if depth > 1 {
                continue;
            }
            let number = |at| u16_at(data, at).ok_or_else(torn);
            let text = |at: usize| data.get(at..).and_then(|text| self.texts.read(text, 2)).ok_or_else(torn);
            let cell = match kind {
                0x0203 => self.number(number(4)?, f64_at(data, 6).ok_or_else(torn)?),
                0x027e => self.number(number(4)?, rk(u32_at(data, 6).ok_or_else(torn)?)),
                0x00bd => {
                    let (row, first) = (number(0)?, number(2)?);
                    let values = data.get(4..data.len().saturating_sub(2)).unwrap_or_default();
                    for (column, value) in (u32::from(first)..).zip(values.chunks_exact(6)) {
                        let style = u16_at(value, 0).unwrap_or_default();
                        let cell = self.number(style, rk(u32_at(value, 2).unwrap_or_default()));
                        cells.add(row.into(), column, cell, budget)?;
                    }
                    continue;
                }
                0x00fd => {
                    let index = u32_at(data, 6).ok_or_else(torn)? as usize;
                    self.strings.get(index).map_or(Cell::Blank, |text| Cell::text(text.as_str()))
                }
                0x0204 | 0x00d6 => Cell::Text(text(6)?),
                0x0205 => match (data.get(6), data.get(7)) {
                    (Some(flag), Some(0)) => Cell::Bool(*flag != 0),
                    (Some(code), Some(_)) => Cell::Error(error(*code).to_owned()),
                    _ => return Err(torn()),
                },
                // The value of a formula. A text is in the next record.
                0x0006 => match data.get(6..14).ok_or_else(torn)? {
                    [0, .., 0xff, 0xff] => {
                        formula = Some((number(0)?, number(2)?));
                        continue;
                    }
                    [1, _, flag, .., 0xff, 0xff] => Cell::Bool(*flag != 0),
                    [2, _, code, .., 0xff, 0xff] => Cell::Error(error(*code).to_owned()),
                    [.., 0xff, 0xff] => continue,
                    _ => self.number(number(4)?, f64_at(data, 6).ok_or_else(torn)?),
                },
                0x0207 => {
                    if let Some((row, column)) = formula.take() {
                        cells.add(row.into(), column.into(), Cell::Text(text(0)?), budget)?;
                    }
                    continue;
                }
                _ => continue,
            };
            cells.add(number(0)?.into(), number(2)?.into(), cell, budget)?;
        }
    }

    fn number(&self, style: u16, number: f64) -> Cell {
        let is_date = self.date_styles.get(usize::from(style)).copied().unwrap_or(false);
        match number {
            number if !number.is_finite() => Cell::Blank,
            number if is_date => date_cell(number, self.dates_from_1904),
            number => Cell::Number(number),
        }
    }
}

fn f64_at(data: &[u8], at: usize) -> Option<f64> {
    Some(f64::from_le_bytes(data.get(at..at + 8)?.try_into().ok()?))
}

/// Returns a number that is packed into 30 bits.
fn rk(packed: u32) -> f64 {
    let number = if packed & 2 == 0 {
        f64::from_bits(u64::from(packed & !3) << 32)
    } else {
        f64::from(packed.cast_signed() >> 2)
    };
    if packed & 1 == 0 { number } else { number / 100.0 }
}

fn error(code: u8) -> &'static str {
    match code {
        0x00 => "#NULL!",
        0x07 => "#DIV/0!",
        0x0f => "#VALUE!",
        0x17 => "#REF!",
        0x1d => "#NAME?",
        0x24 => "#NUM!",
        _ => "#N/A",
    }
}

fn code_page(number: u16) -> &'static Encoding {
    let name = match number {
        932 => "shift_jis".to_owned(),
        936 => "gbk".to_owned(),
        949 => "euc-kr".to_owned(),
        950 => "big5".to_owned(),
        10_000 | 32_768 => "macintosh".to_owned(),
        866 => "ibm866".to_owned(),
        number => format!("windows-{number}"),
    };
    Encoding::for_label(name.as_bytes()).unwrap_or(WINDOWS_1252)
}

/// Reads the table of texts. Each text can go on in the next record.
fn shared_strings(first: &[u8], continued: &[&[u8]]) -> Option<Vec<String>> {
    let mut parts =
        Parts { parts: std::iter::once(first.get(8..)?).chain(continued.iter().copied()).collect(), part: 0 };
    let mut strings = Vec::new();
    while parts.go_on() {
        let length = usize::from(u16_at(parts.take(2)?, 0)?);
        let flags = *parts.take(1)?.first()?;
        let runs = if flags & 8 != 0 { usize::from(u16_at(parts.take(2)?, 0)?) * 4 } else { 0 };
        let extension = if flags & 4 != 0 { u32_at(parts.take(4)?, 0)? as usize } else { 0 };
        let (mut text, mut wide, mut left) = (Vec::new(), flags & 1 != 0, length);
        loop {
            let bytes = *parts.parts.get(parts.part)?;
            let (read, used) = units(bytes, wide, left, &mut text);
            parts.take(used)?;
            left -= read;
            if left == 0 {
                break;
            }
            // The rest is in the next record, in one byte or in two.
            parts.part += 1;
            wide = parts.take(1)?.first()? & 1 != 0;
        }
        parts.skip(runs.checked_add(extension)?)?;
        strings.push(String::from_utf16_lossy(&text));
    }
    Some(strings)
}

/// The data of a record and of those that continue it.
struct Parts<'s> {
    parts: Vec<&'s [u8]>,
    part: usize,
}

impl<'s> Parts<'s> {
    /// Goes to the next part that is not empty.
    fn go_on(&mut self) -> bool {
        while self.parts.get(self.part).is_some_and(|part| part.is_empty()) {
            self.part += 1;
        }
        self.part < self.parts.len()
    }

    fn take(&mut self, length: usize) -> Option<&'s [u8]> {
        let (taken, rest) = self.parts.get(self.part)?.split_at_checked(length)?;
        self.parts[self.part] = rest;
        Some(taken)
    }

    fn skip(&mut self, mut length: usize) -> Option<()> {
        while length > 0 {
            if !self.go_on() {
                return None;
            }
            let here = length.min(self.parts[self.part].len());
            self.take(here)?;
            length -= here;
        }
        Some(())
    }
}
