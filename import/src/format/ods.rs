//! ODS: `OpenDocument`.

use std::collections::HashSet;
use std::io::{BufRead, Read, Seek};

use super::xml::{Token, Xml, attribute};
use super::zipped::Archive;
use super::{Budget, Cells, Sheet, Sheets, broken};
use crate::dates::date_without_time;
use crate::error::ListError;
use crate::inspection::Format;
use crate::options::Settings;
use crate::sheet::Cell;

const FORMAT: Format = Format::Ods;

/// Reads all sheets.
pub(crate) fn read<R: Read + Seek>(input: &mut R, settings: &Settings) -> Result<Sheets, ListError> {
    let mut archive = Archive::open(input, FORMAT, settings.limits.unzipped_bytes)?;
    let mut budget = Budget::new(&settings.limits);
    if let Some(part) = archive.part("META-INF/manifest.xml")? {
        let mut xml = Xml::new(part, FORMAT);
        loop {
            match xml.next()? {
                Token::Start(start) if start.local_name().as_ref() == "encryption-data" => {
                    return Err(ListError::Encrypted);
                }
                Token::Eof => break,
                _ => {}
            }
        }
    }
    let part = archive.part("content.xml")?.ok_or_else(|| broken(FORMAT, "it has no content"))?;
    let mut xml = Xml::new(part, FORMAT);
    let mut sheets = Sheets::default();
    let (mut style, mut hidden_styles) = (String::new(), HashSet::new());
    loop {
        let start = match xml.next()? {
            Token::Start(start) => start,
            Token::Eof => break,
            _ => continue,
        };
        match start.local_name().as_ref() {
            "style" => style = attribute(&start, "name").unwrap_or_default(),
            "table-properties" if attribute(&start, "display").is_some_and(|display| display == "false") => {
                hidden_styles.insert(style.clone());
            }
            "table" => {
                let hidden = attribute(&start, "style-name").is_some_and(|name| hidden_styles.contains(&name));
                let name = attribute(&start, "name").unwrap_or_default();
                drop(start);
                sheets.list.push(Sheet { name, hidden, rows: table(&mut xml, &mut budget)?.into_rows() });
            }
            // Earlier values of cells.
            "tracked-changes" => {
                drop(start);
                xml.skip()?;
            }
            _ => {}
        }
    }
    if sheets.list.is_empty() { Err(broken(FORMAT, "it has no sheets")) } else { Ok(sheets) }
}

/// Reads a table whose start was read.
fn table<R: BufRead>(xml: &mut Xml<R>, budget: &mut Budget) -> Result<Cells, ListError> {
    let mut cells = Cells::new();
    let (mut row, mut column, mut row_repeats) = (0_u32, 0_u32, 1_u32);
    loop {
        let cell = match xml.next()? {
            Token::Start(start) => match start.local_name().as_ref() {
                "table-row" => {
                    row_repeats = repeats(attribute(&start, "number-rows-repeated"));
                    column = 0;
                    continue;
                }
                "table-cell" | "covered-table-cell" => {
                    let repeats = repeats(attribute(&start, "number-columns-repeated"));
                    let text = |name| attribute(&start, name);
                    let kind = (text("value-type"), text("value"), text("date-value"), text("boolean-value"));
                    Some((repeats, kind, text("string-value")))
                }
                // Rows are within these.
                "table-rows" | "table-header-rows" | "table-row-group" => continue,
                _ => None,
            },
            Token::End(end) => match end.local_name().as_ref() {
                "table-row" => {
                    row = row.saturating_add(row_repeats);
                    continue;
                }
                "table" => return Ok(cells),
                _ => continue,
            },
            Token::Text(_) => continue,
            Token::Eof => return Err(broken(FORMAT, "the XML ends too early")),
        };
        let Some((repeats, (kind, number, date, flag), string)) = cell else {
            xml.skip()?;
            continue;
        };
        let paragraphs = cell_text(xml)?;
        let text = string.unwrap_or(paragraphs);
        let cell = typed(kind.as_deref(), number, date, flag, text);
        if !cell.is_blank() {
            budget.check(u64::from(row_repeats).saturating_mul(repeats.into()))?;
            for row in row..row.saturating_add(row_repeats) {
                for column in column..column.saturating_add(repeats) {
                    cells.add(row, column, cell.clone(), budget)?;
                }
            }
        }
        column = column.saturating_add(repeats);
    }
}

fn repeats(attribute: Option<String>) -> u32 {
    attribute.and_then(|repeats| repeats.parse().ok()).unwrap_or(1)
}

fn typed(kind: Option<&str>, number: Option<String>, date: Option<String>, flag: Option<String>, text: String) -> Cell {
    let number = number.and_then(|number| number.parse().ok()).filter(|number: &f64| number.is_finite());
    match (kind, number, date, flag) {
        (Some("float" | "percentage" | "currency"), Some(number), ..) => Cell::Number(number),
        (Some("date"), _, Some(date), _) => match date_without_time(&date, None) {
            Some(day) => {
                let time = date.split_once('T').map(|(_, time)| time.to_owned());
                day.with_time(time.filter(|time| !time.starts_with("00:00:00")))
            }
            None => Cell::Text(date),
        },
        (Some("boolean"), _, _, Some(flag)) => Cell::Bool(flag == "true"),
        _ => Cell::Text(text),
    }
}

/// Reads the paragraphs of a cell whose start was read, without its comments and drawings.
fn cell_text<R: BufRead>(xml: &mut Xml<R>) -> Result<String, ListError> {
    let (mut text, mut depth, mut paragraphs) = (String::new(), 0_u32, 0);
    loop {
        let skip = match xml.next()? {
            Token::Start(start) => match start.local_name().as_ref() {
                "p" | "h" if depth == 0 => {
                    if paragraphs > 0 {
                        text.push('\n');
                    }
                    (paragraphs, depth) = (paragraphs + 1, 1);
                    false
                }
                "s" if depth > 0 => {
                    let spaces = attribute(&start, "c").and_then(|count| count.parse().ok()).unwrap_or(1_usize);
                    text.extend(std::iter::repeat_n(' ', spaces.min(MAX_SPACES)));
                    true
                }
                "tab" if depth > 0 => {
                    text.push('\t');
                    true
                }
                "line-break" if depth > 0 => {
                    text.push('\n');
                    true
                }
                "span" | "a" if depth > 0 => {
                    depth += 1;
                    false
                }
                _ => true,
            },
            Token::End(_) if depth == 0 => return Ok(text),
            Token::End(_) => {
                depth -= 1;
                false
            }
            Token::Text(part) => {
                text.push_str(if depth > 0 { &part } else { "" });
                false
            }
            Token::Eof => return Err(broken(FORMAT, "the XML ends too early")),
        };
        if skip {
            xml.skip()?;
        }
    }
}

/// The number of spaces that one element can stand for.
const MAX_SPACES: usize = 1000;
