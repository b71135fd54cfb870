//! A list of people as CSV: the header names the fields of an entry.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;

use enroll::Recipient;
use enroll::model::{CustomObject, PropertyKind};
use enroll::request::{MAX_RECIPIENTS, WireAddress, WireBirthDate};
use enroll::value::Value;

use crate::Failure;

/// The people of a CSV, each with the row where they stand (the header is row 1).
#[derive(Debug)]
pub(crate) struct People {
    pub(crate) entries: Vec<Recipient<'static>>,
    pub(crate) rows: Vec<usize>,
}

/// What a column holds.
#[derive(Debug)]
enum Column {
    Field(&'static str),
    Property(String, PropertyKind),
}

/// Reads a CSV. Columns `properties.KEY` are read as the property's type in `object`, and as text without one.
pub(crate) fn read(name: &str, bytes: &[u8], object: Option<&CustomObject>) -> Result<People, Failure> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = csv.headers().map_err(|e| Failure::new(name, e))?.clone();
    if header.iter().all(|title| title.trim().is_empty()) {
        return Err(Failure::new(name, "is empty: the first row must name the fields, `phone` for one"));
    }
    let columns = columns(name, &header, object)?;
    let mut people = People { entries: Vec::new(), rows: Vec::new() };
    for record in csv.records() {
        let record = record.map_err(|e| Failure::new(name, e))?;
        let row = people.entries.len() + 2;
        let place =
            |column: usize| format!("{name}: row {row}, column `{}`", header.get(column).unwrap_or_default().trim());
        if record.len() != columns.len() {
            let what = format!("has {} cells, but the header has {}", record.len(), columns.len());
            return Err(Failure::new(format!("{name}: row {row}"), what));
        }
        let mut entry = Recipient::default();
        for (n, (column, cell)) in columns.iter().zip(&record).enumerate() {
            set(&mut entry, column, cell).map_err(|what| Failure::new(place(n), what))?;
        }
        people.entries.push(entry);
        people.rows.push(row);
    }
    if people.entries.is_empty() {
        return Err(Failure::new(name, "has a header and no people below it"));
    }
    Ok(people)
}

/// How many people each request of an import holds: as few requests as can be, and as even as can be.
pub(crate) fn balanced(people: usize) -> Vec<usize> {
    let requests = people.div_ceil(MAX_RECIPIENTS).max(1);
    (0..requests).map(|n| people / requests + usize::from(n < people % requests)).collect()
}

fn columns(name: &str, header: &csv::StringRecord, object: Option<&CustomObject>) -> Result<Vec<Column>, Failure> {
    let mut seen = BTreeSet::new();
    let mut columns = Vec::new();
    let mut unknown = Vec::new();
    for title in header {
        let title = title.trim();
        let field = FIELDS.iter().find(|field| title == **field || aliased(field) == title);
        if let Some(key) = title.strip_prefix("properties.").filter(|key| !key.is_empty()) {
            let property = object.and_then(|object| object.properties.iter().find(|property| property.key == key));
            columns
                .push(Column::Property(key.to_owned(), property.map_or(PropertyKind::Text, |property| property.kind)));
        } else if let Some(field) = field {
            columns.push(Column::Field(field));
        } else {
            unknown.push(title);
        }
        if !seen.insert(title) {
            return Err(Failure::new(format!("{name}: column `{title}`"), "comes twice"));
        }
    }
    if unknown.is_empty() {
        return Ok(columns);
    }
    let mut what = format!("column `{}` is unknown; the columns are read as", unknown.join("`, `"));
    for title in header {
        let known = !unknown.contains(&title.trim());
        let _infallible = write!(what, " `{}` → {},", title.trim(), if known { title.trim() } else { "?" });
    }
    let _infallible = write!(what, " and may be `{}`, `properties.KEY`", FIELDS.join("`, `"));
    Err(Failure::new(name, what))
}

/// The fields of an entry, nested ones with a dot.
const FIELDS: [&str; 16] = [
    "phone",
    "email",
    "name",
    "external_id",
    "language",
    "default_channel_id",
    "address.address_line_one",
    "address.address_line_two",
    "address.city",
    "address.state",
    "address.post_code",
    "address.country",
    "birth_date.day",
    "birth_date.month",
    "birth_date.year",
    "address.postal_code",
];

/// Parts of an address may also be named without it.
fn aliased(field: &str) -> &str {
    field.strip_prefix("address.").unwrap_or(field)
}

fn set(entry: &mut Recipient<'static>, column: &Column, cell: &str) -> Result<(), String> {
    let text = || Some(Cow::Owned(cell.to_owned()));
    let field = match column {
        Column::Field("phone") => {
            entry.phone = text();
            return Ok(());
        }
        _ if cell.trim().is_empty() => return Ok(()),
        Column::Property(key, kind) => {
            entry.properties.insert(Cow::Owned(key.clone()), property(*kind, cell)?);
            return Ok(());
        }
        Column::Field(field) => *field,
    };
    if let Some(part) = field.strip_prefix("birth_date.") {
        let number = cell.trim().parse().map_err(|_| format!("`{}` is not an integer", cell.trim()))?;
        let date = entry.birth_date.get_or_insert_with(WireBirthDate::default);
        match part {
            "day" => date.day = Some(number),
            "month" => date.month = Some(number),
            _ => date.year = Some(number),
        }
        return Ok(());
    }
    if let Some(part) = field.strip_prefix("address.") {
        let address = entry.address.get_or_insert_with(|| Box::new(WireAddress::default()));
        *match part {
            "address_line_one" => &mut address.address_line_one,
            "address_line_two" => &mut address.address_line_two,
            "city" => &mut address.city,
            "state" => &mut address.state,
            "country" => &mut address.country,
            _ => &mut address.post_code,
        } = text();
        return Ok(());
    }
    match field {
        "email" => entry.email = text(),
        "name" => entry.name = text(),
        "external_id" => entry.external_id = text(),
        "language" => entry.language = text(),
        _ => {
            let id = cell.trim().parse().map_err(|_| format!("`{}` is not a uuid", cell.trim()))?;
            entry.default_channel_id = Some(id);
        }
    }
    Ok(())
}

/// A cell as the property's type. What does not fit stays text, and the report tells.
fn property(kind: PropertyKind, cell: &str) -> Result<Value<'static>, String> {
    let trimmed = cell.trim();
    let text = || Value::Text(Cow::Owned(cell.to_owned()));
    Ok(match kind {
        PropertyKind::Text | PropertyKind::Date => text(),
        PropertyKind::Number => trimmed.parse().map_or_else(|_| text(), Value::Integer),
        PropertyKind::Float => trimmed.parse().map_or_else(|_| text(), Value::Float),
        PropertyKind::Boolean => trimmed.to_ascii_lowercase().parse().map_or_else(|_| text(), Value::Bool),
        PropertyKind::List | PropertyKind::Map => {
            serde_json::from_str(trimmed).map_err(|e| format!("is not JSON: {e}"))?
        }
    })
}
