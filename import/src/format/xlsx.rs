//! XLSX: Office Open XML.
//!
//! The parts are streamed, and no size that the file declares is used: see `docs/decisions/`.

use std::collections::HashMap;
use std::io::{BufRead, Read, Seek};

use super::xml::{Token, Xml, attribute};
use super::zipped::Archive;
use super::{Budget, Cells, Sheet, Sheets, broken};
use crate::dates::{date_without_time, number};
use crate::error::ListError;
use crate::inspection::Format;
use crate::options::Settings;
use crate::sheet::Cell;

const FORMAT: Format = Format::Xlsx;

/// Reads all sheets.
pub(crate) fn read<R: Read + Seek>(input: &mut R, settings: &Settings) -> Result<Sheets, ListError> {
    let mut archive = Archive::open(input, FORMAT, settings.limits.unzipped_bytes)?;
    let mut budget = Budget::new(&settings.limits);
    let root = relations(&mut archive, "_rels/.rels", "")?;
    let workbook = root.values().find(|relation| relation.kind.ends_with("/officeDocument"));
    let workbook = workbook.map_or_else(|| "xl/workbook.xml".to_owned(), |relation| relation.target.clone());
    let (folder, file) = workbook.rsplit_once('/').unwrap_or(("", &workbook));
    let relations = relations(&mut archive, &format!("{folder}/_rels/{file}.rels"), folder)?;
    let of_kind = |kind: &str| relations.values().find(|relation| relation.kind.ends_with(kind));
    let (entries, dates_from_1904) = self::workbook(&mut archive, &workbook)?;
    let mut book = Book { dates_from_1904, ..Book::default() };
    if let Some(styles) = of_kind("/styles") {
        book.date_styles = date_styles(&mut archive, &styles.target)?;
    }
    if let Some(strings) = of_kind("/sharedStrings") {
        book.strings = shared_strings(&mut archive, &strings.target, &mut budget)?;
    }
    let mut sheets = Sheets::default();
    for entry in entries {
        let relation = relations.get(&entry.relation);
        // A chart has no cells.
        let Some(relation) = relation.filter(|relation| relation.kind.ends_with("/worksheet")) else { continue };
        let missing = || broken(FORMAT, format!("it has no part `{}`", relation.target.escape_debug()));
        let part = archive.part(&relation.target)?.ok_or_else(missing)?;
        let rows = book.cells(Xml::new(part, FORMAT), &mut budget)?.into_rows();
        sheets.list.push(Sheet { name: entry.name, hidden: entry.hidden, rows });
    }
    if sheets.list.is_empty() { Err(broken(FORMAT, "it has no sheets")) } else { Ok(sheets) }
}

struct Relation {
    kind: String,
    target: String,
}

fn relations<R: Read + Seek>(
    archive: &mut Archive<R>,
    part: &str,
    folder: &str,
) -> Result<HashMap<String, Relation>, ListError> {
    let mut relations = HashMap::new();
    let Some(part) = archive.part(part)? else { return Ok(relations) };
    let mut xml = Xml::new(part, FORMAT);
    loop {
        match xml.next()? {
            Token::Start(start) if start.local_name().as_ref() == "Relationship" => {
                if let (Some(id), Some(kind), Some(target)) =
                    (attribute(&start, "Id"), attribute(&start, "Type"), attribute(&start, "Target"))
                {
                    relations.insert(id, Relation { kind, target: resolved(folder, &target) });
                }
            }
            Token::Eof => return Ok(relations),
            _ => {}
        }
    }
}

/// Resolves a path within the archive.
fn resolved(folder: &str, target: &str) -> String {
    let target = target.replace('\\', "/");
    if let Some(absolute) = target.strip_prefix('/') {
        return absolute.to_owned();
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "." | "" => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A sheet as the workbook lists it.
struct Entry {
    name: String,
    hidden: bool,
    relation: String,
}

fn workbook<R: Read + Seek>(archive: &mut Archive<R>, part: &str) -> Result<(Vec<Entry>, bool), ListError> {
    let part = archive.part(part)?.ok_or_else(|| broken(FORMAT, "it has no workbook"))?;
    let (mut xml, mut entries, mut from_1904) = (Xml::new(part, FORMAT), Vec::new(), false);
    loop {
        match xml.next()? {
            Token::Start(start) if start.local_name().as_ref() == "sheet" => {
                let text = |name| attribute(&start, name).unwrap_or_default();
                let hidden = matches!(&*text("state"), "hidden" | "veryHidden");
                entries.push(Entry { name: text("name"), hidden, relation: text("id") });
            }
            Token::Start(start) if start.local_name().as_ref() == "workbookPr" => {
                from_1904 |= attribute(&start, "date1904").is_some_and(|flag| flag == "1" || flag == "true");
            }
            Token::Eof => return Ok((entries, from_1904)),
            _ => {}
        }
    }
}

/// Returns for each style of cells whether its numbers are dates.
fn date_styles<R: Read + Seek>(archive: &mut Archive<R>, part: &str) -> Result<Vec<bool>, ListError> {
    let mut styles = Vec::new();
    let Some(part) = archive.part(part)? else { return Ok(styles) };
    let (mut xml, mut formats, mut in_cells) = (Xml::new(part, FORMAT), HashMap::new(), false);
    loop {
        match xml.next()? {
            Token::Start(start) => match start.local_name().as_ref() {
                "numFmt" => {
                    let code = attribute(&start, "formatCode").unwrap_or_default();
                    let id = attribute(&start, "numFmtId").and_then(|id| number(&id));
                    formats.extend(id.map(|id| (id, is_date_format(&code))));
                }
                "cellXfs" => in_cells = true,
                "xf" if in_cells => {
                    let id = attribute(&start, "numFmtId").and_then(|id| number(&id)).unwrap_or_default();
                    styles.push(formats.get(&id).copied().unwrap_or_else(|| is_built_in_date(id)));
                }
                _ => {}
            },
            Token::End(end) if end.local_name().as_ref() == "cellXfs" => in_cells = false,
            Token::Eof => return Ok(styles),
            _ => {}
        }
    }
}

/// Returns true for the built-in formats of dates and times.
pub(super) fn is_built_in_date(id: i64) -> bool {
    matches!(id, 14..=22 | 27..=36 | 45..=47 | 50..=58)
}

/// Returns true if the first section of a format has a part of a date or a time.
pub(super) fn is_date_format(code: &str) -> bool {
    let (mut quoted, mut bracket) = (false, false);
    let mut characters = code.chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => quoted = !quoted,
            _ if quoted => {}
            // The next character is literal.
            '\\' | '_' | '*' => {
                characters.next();
            }
            // A colour, a condition or a locale.
            '[' => bracket = true,
            ']' => bracket = false,
            _ if bracket => {}
            ';' => return false,
            'd' | 'D' | 'm' | 'M' | 'y' | 'Y' | 'h' | 'H' | 's' | 'S' => return true,
            // `General`
            'G' | 'g' if characters.as_str().to_ascii_lowercase().starts_with("eneral") => return false,
            _ => {}
        }
    }
    false
}

fn shared_strings<R: Read + Seek>(
    archive: &mut Archive<R>,
    part: &str,
    budget: &mut Budget,
) -> Result<Vec<Box<str>>, ListError> {
    let mut strings = Vec::new();
    let Some(part) = archive.part(part)? else { return Ok(strings) };
    let mut xml = Xml::new(part, FORMAT);
    loop {
        let is_item = match xml.next()? {
            Token::Start(start) => start.local_name().as_ref() == "si",
            Token::Eof => return Ok(strings),
            _ => false,
        };
        if is_item {
            if strings.len() as u64 >= budget.limits.cells {
                return Err(ListError::TooManyCells { limit: budget.limits.cells, what: "texts" });
            }
            strings.push(rich_text(&mut xml)?.into());
        }
    }
}

/// Reads the text of an element whose start was read, without phonetic hints.
fn rich_text<R: BufRead>(xml: &mut Xml<R>) -> Result<String, ListError> {
    let (mut text, mut depth, mut in_text) = (String::new(), 1_u32, false);
    while depth > 0 {
        let hint = match xml.next()? {
            Token::Start(start) => {
                in_text = start.local_name().as_ref() == "t";
                let hint = start.local_name().as_ref() == "rPh";
                depth += u32::from(!hint);
                hint
            }
            Token::End(_) => {
                (depth, in_text) = (depth - 1, false);
                false
            }
            Token::Text(part) => {
                text.push_str(if in_text { &part } else { "" });
                false
            }
            Token::Eof => return Err(broken(FORMAT, "the XML ends too early")),
        };
        if hint {
            xml.skip()?;
        }
    }
    Ok(unescaped(text))
}

/// Replaces `_x000D_`: a character that XML cannot contain.
fn unescaped(text: String) -> String {
    if !text.contains("_x") {
        return text;
    }
    let (mut result, mut rest) = (String::new(), &*text);
    while let Some(start) = rest.find("_x") {
        let code = rest.get(start + 2..start + 7).and_then(|code| code.strip_suffix('_'));
        let code = code.filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let c = code.and_then(|code| u32::from_str_radix(code, 16).ok()).and_then(char::from_u32);
        result.push_str(&rest[..start]);
        match c {
            Some(c) => result.push(c),
            None => result.push_str("_x"),
        }
        rest = &rest[start + if c.is_some() { 7 } else { 2 }..];
    }
    result.push_str(rest);
    result
}

/// What the cells refer to.
#[derive(Default)]
struct Book {
    strings: Vec<Box<str>>,
    date_styles: Vec<bool>,
    dates_from_1904: bool,
}

impl Book {
    fn cells<R: BufRead>(&self, mut xml: Xml<R>, budget: &mut Budget) -> Result<Cells, ListError> {
        let mut cells = Cells::new();
        let (mut row, mut column) = (0, 0);
        let mut found = false;
        loop {
            match xml.next()? {
                Token::Start(start) => match start.local_name().as_ref() {
                    "sheetData" => found = true,
                    "row" => {
                        if let Some(given) = attribute(&start, "r") {
                            row = index(&given).ok_or_else(|| bad_place(&given))?;
                        }
                        column = 0;
                    }
                    "c" => {
                        let place = attribute(&start, "r");
                        if let Some(place) = place {
                            (column, row) = position(&place).ok_or_else(|| bad_place(&place))?;
                        }
                        let style = attribute(&start, "s").and_then(|style| style.parse().ok()).unwrap_or(0);
                        let kind = attribute(&start, "t").unwrap_or_default();
                        let (value, inline) = cell_text(&mut xml)?;
                        cells.add(row, column, self.cell(&kind, style, value, inline), budget)?;
                        column += 1;
                    }
                    _ => {}
                },
                Token::End(end) if end.local_name().as_ref() == "row" => row += 1,
                Token::Eof if found => return Ok(cells),
                Token::Eof => return Err(broken(FORMAT, "a sheet has no data")),
                _ => {}
            }
        }
    }

    fn cell(&self, kind: &str, style: usize, value: String, inline: Option<String>) -> Cell {
        if let Some(text) = inline {
            return Cell::Text(text);
        }
        match kind {
            "s" => {
                let text = value.trim().parse::<usize>().ok().and_then(|index| self.strings.get(index));
                text.map_or(Cell::Blank, |text| Cell::text(&**text))
            }
            "str" | "inlineStr" => Cell::Text(unescaped(value)),
            "b" => Cell::Bool(value.trim() == "1" || value.trim() == "true"),
            "e" => Cell::Error(value),
            "d" => match date_without_time(value.trim(), None) {
                Some(date) => date.with_time(None),
                None => Cell::Text(value),
            },
            _ => match value.trim().parse::<f64>() {
                Ok(serial) if serial.is_finite() => {
                    let is_date = self.date_styles.get(style).copied().unwrap_or(false);
                    if is_date { date_cell(serial, self.dates_from_1904) } else { Cell::Number(serial) }
                }
                _ => Cell::Text(value),
            },
        }
    }
}

/// Reads the value of a cell whose start was read, and its inline text.
fn cell_text<R: BufRead>(xml: &mut Xml<R>) -> Result<(String, Option<String>), ListError> {
    let (mut value, mut inline, mut in_value) = (String::new(), None, false);
    loop {
        let (is_inline, other) = match xml.next()? {
            Token::Start(start) => {
                let name = start.local_name();
                in_value = name.as_ref() == "v";
                (name.as_ref() == "is", !in_value && name.as_ref() != "is")
            }
            Token::End(end) => {
                in_value = false;
                if end.local_name().as_ref() == "c" {
                    return Ok((value, inline));
                }
                (false, false)
            }
            Token::Text(text) => {
                value.push_str(if in_value { &text } else { "" });
                (false, false)
            }
            Token::Eof => return Err(broken(FORMAT, "the XML ends too early")),
        };
        if is_inline {
            inline = Some(rich_text(xml)?);
        } else if other {
            xml.skip()?;
        }
    }
}

fn bad_place(place: &str) -> ListError {
    broken(FORMAT, format!("`{}` is not the place of a cell", place.escape_debug()))
}

/// Returns the index of a row number.
fn index(digits: &str) -> Option<u32> {
    digits.parse::<u32>().ok()?.checked_sub(1)
}

/// Returns the column and the row of a place such as `AB12`, counted from 0.
fn position(place: &str) -> Option<(u32, u32)> {
    let digits = place.find(|c: char| c.is_ascii_digit())?;
    let (letters, digits) = place.split_at(digits);
    let mut column = 0_u32;
    for letter in letters.bytes().map(|letter| letter.to_ascii_uppercase()) {
        let value = letter.is_ascii_uppercase().then(|| u32::from(letter - b'A') + 1)?;
        column = column.checked_mul(26)?.checked_add(value)?;
    }
    Some((column.checked_sub(1)?, index(digits)?))
}

/// Converts the number of a date: days since 1899-12-30, or since 1904-01-01.
pub(super) fn date_cell(serial: f64, from_1904: bool) -> Cell {
    const DAYS_TO_9999: f64 = 2_958_466.0;
    if !(0.0..DAYS_TO_9999).contains(&serial) {
        return Cell::Number(serial);
    }
    let mut seconds = (serial.fract() * 86_400.0).round();
    let mut days = serial.trunc();
    if seconds >= 86_400.0 {
        (seconds, days) = (0.0, days + 1.0);
    }
    #[expect(clippy::cast_possible_truncation, reason = "both are in the range of the limit above")]
    let (days, seconds) = (days as i64, seconds as i64);
    let time = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if days == 0 && seconds > 0 {
        return Cell::Text(time);
    }
    // The programs count a 29 February 1900.
    let days = match days {
        days if from_1904 => days + 1462,
        days if days < 60 => days + 1,
        days => days,
    };
    // Days from 0000-03-01 to 1899-12-30, for the calendar of Howard Hinnant's `civil_from_days`.
    let days = days + 693_899;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let small = |number: i64| u8::try_from(number).unwrap_or_default();
    let year = i32::try_from(year).unwrap_or_default();
    Cell::Date { year, month: small(month), day: small(day), time: (seconds > 0).then_some(time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_numbers_of_days() {
        let date = |year, month, day| Cell::Date { year, month, day, time: None };
        for (serial, from_1904, cell) in [
            (0.0, false, date(1899, 12, 31)),
            (1.0, false, date(1900, 1, 1)),
            (59.0, false, date(1900, 2, 28)),
            (61.0, false, date(1900, 3, 1)),
            (32_994.0, false, date(1990, 5, 1)),
            (45_351.0, false, date(2024, 2, 29)),
            (0.0, true, date(1904, 1, 1)),
            (2_958_465.0, false, date(9999, 12, 31)),
            (-1.0, false, Cell::Number(-1.0)),
            (1e300, false, Cell::Number(1e300)),
            (0.5, false, Cell::text("12:00:00")),
        ] {
            assert_eq!(date_cell(serial, from_1904), cell, "{serial}");
        }
        let time = Some("12:00:00".to_owned());
        assert_eq!(date_cell(32_994.5, false), Cell::Date { year: 1990, month: 5, day: 1, time });
    }

    #[test]
    fn formats_of_dates_are_recognized() {
        for code in ["yyyy-mm-dd", "d/m/yy", "[$-409]d-mmm-yy;@", "h:mm AM/PM", "[Red]dd.mm.yyyy"] {
            assert!(is_date_format(code), "{code}");
        }
        for code in ["General", "0.00", "@", "#,##0 \"days\"", "0\\d", "[Red]0;[Blue]-0;d", "[>=100]0"] {
            assert!(!is_date_format(code), "{code}");
        }
    }

    #[test]
    fn places_and_escapes_are_read() {
        assert_eq!(position("A1"), Some((0, 0)));
        assert_eq!(position("xfd1048576"), Some((16_383, 1_048_575)));
        for place in ["", "A", "1", "A0", "A1B", "AAAAAAAAAAAAAAA1", "é1"] {
            assert_eq!(position(place), None, "{place}");
        }
        assert_eq!(unescaped("a_x000D_b_x005F_x000D_".into()), "a\rb_x000D_");
        assert_eq!(unescaped("_x_xZZZZ_é_x00".into()), "_x_xZZZZ_é_x00");
        assert_eq!(resolved("xl", "../docs/./a.xml"), "docs/a.xml");
        assert_eq!(resolved("xl", "/xl/a.xml"), "xl/a.xml");
    }
}
