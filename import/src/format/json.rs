//! JSON: a request body, or an array of entries.

use encoding_rs::Encoding;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::io::{Read, Seek};

use super::{Budget, broken};
use crate::error::ListError;
use crate::inspection::Format;
use crate::options::Settings;
use crate::sheet::{Cell, Row};

/// The entries of a file as rows. The titles are the keys, in the order in which they occur.
pub(crate) struct Json {
    pub(crate) titles: Vec<String>,
    pub(crate) rows: Vec<Row>,
    /// The members of a request body next to `to`.
    pub(crate) other_members: Vec<String>,
}

/// Returns true if the first characters are those of an array or of an object.
pub(crate) fn looks_like_json(start: &str) -> bool {
    let start = start.trim_start_matches(|c: char| c.is_whitespace() || crate::cells::is_invisible(c));
    let (rest, next): (_, &[char]) = match start.split_at_checked(1) {
        Some(("[", rest)) => (rest, &['{', ']', '"', '[']),
        Some(("{", rest)) => (rest, &['"', '}']),
        _ => return false,
    };
    rest.trim_start().is_empty() || rest.trim_start().starts_with(next)
}

/// Reads the entries.
pub(crate) fn read(
    input: &mut (impl Read + Seek),
    encoding: &'static Encoding,
    settings: &Settings,
) -> Result<Json, ListError> {
    let broken = |problem: String| broken(Format::Json, problem);
    let mut bytes = Vec::new();
    input.read_to_end(&mut bytes)?;
    let (text, _, malformed) = encoding.decode(&bytes);
    if malformed {
        return Err(broken(format!("it has bytes that are not {}", encoding.name())));
    }
    let value: Value = serde_json::from_str(&text).map_err(|e| broken(e.to_string()))?;
    drop(text);
    drop(bytes);
    let mut other_members = Vec::new();
    let entries = match value {
        Value::Array(entries) => entries,
        Value::Object(mut body) => match body.remove("to") {
            Some(Value::Array(entries)) => {
                other_members.extend(body.into_iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key));
                entries
            }
            _ => return Err(broken("it has no list `to` of entries".to_owned())),
        },
        _ => return Err(broken("it is neither a request body nor an array of entries".to_owned())),
    };
    let mut columns = Columns::default();
    let mut budget = Budget::new(&settings.limits);
    let mut rows = Vec::with_capacity(entries.len());
    for (number, entry) in (1..).zip(entries) {
        let Value::Object(entry) = entry else {
            return Err(broken(format!("entry {number} is not an object")));
        };
        let mut cells = Vec::new();
        columns.add("", entry, &mut cells, &mut budget)?;
        rows.push(Row { number, cells });
    }
    Ok(Json { titles: columns.titles, rows, other_members })
}

#[derive(Default)]
struct Columns {
    titles: Vec<String>,
    indexes: HashMap<String, usize>,
}

impl Columns {
    /// Adds the members of an entry. The members of its nested objects have titles such as `address.city`.
    fn add(
        &mut self,
        prefix: &str,
        members: Map<String, Value>,
        cells: &mut Vec<Cell>,
        budget: &mut Budget,
    ) -> Result<(), ListError> {
        for (key, value) in members {
            let title = format!("{prefix}{key}");
            if let Value::Object(members) = value {
                if prefix.is_empty() && NESTED.contains(&key.as_str()) {
                    self.add(&format!("{key}."), members, cells, budget)?;
                    continue;
                }
                self.set(title, Cell::Json(Value::Object(members)), cells, budget)?;
                continue;
            }
            let cell = match value {
                Value::Null => continue,
                Value::Bool(flag) => Cell::Bool(flag),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => Cell::Integer(number),
                    None => Cell::Number(number.as_f64().unwrap_or_default()),
                },
                Value::String(text) => Cell::Text(text),
                value => Cell::Json(value),
            };
            self.set(title, cell, cells, budget)?;
        }
        Ok(())
    }

    fn set(&mut self, title: String, cell: Cell, cells: &mut Vec<Cell>, budget: &mut Budget) -> Result<(), ListError> {
        let next = self.titles.len();
        let index = *self.indexes.entry(title).or_insert_with_key(|title| {
            self.titles.push(title.clone());
            next
        });
        // Each row has a cell for the columns of all rows before it.
        while cells.len() <= index {
            budget.take(&Cell::Blank)?;
            cells.push(Cell::Blank);
        }
        cells[index] = cell;
        Ok(())
    }
}

/// The objects of an entry whose members are fields.
const NESTED: [&str; 3] = ["address", "birth_date", "properties"];
