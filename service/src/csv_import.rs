//! A list of people as CSV: the header names the fields of an entry.

use std::borrow::Cow;
use std::collections::BTreeMap;
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
    let Scan { rows, unclosed } = scan(bytes);
    if let Some(row) = unclosed {
        return Err(Failure::new(format!("{name}: row {row}"), "opens a quote that nothing closes"));
    }
    let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = csv.headers().map_err(|e| Failure::new(name, e))?.clone();
    if header.iter().all(|title| title.trim().is_empty()) {
        return Err(Failure::new(name, "is empty: the first row must name the fields, `phone` for one"));
    }
    let columns = columns(name, &header, object)?;
    let mut people = People { entries: Vec::new(), rows: Vec::new() };
    for (record, row) in csv.byte_records().zip(rows.into_iter().skip(1)) {
        let record = record.map_err(|e| Failure::new(name, e))?;
        // A row of nothing but blank cells, as spreadsheets leave below a list, is nobody.
        if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
            continue;
        }
        let place =
            |column: usize| format!("{name}: row {row}, column `{}`", header.get(column).unwrap_or_default().trim());
        if record.len() != columns.len() {
            let what = format!("has {} cells, but the header has {}", record.len(), columns.len());
            return Err(Failure::new(format!("{name}: row {row}"), what));
        }
        let mut entry = Recipient::default();
        for (n, (column, cell)) in columns.iter().zip(&record).enumerate() {
            let cell = std::str::from_utf8(cell).map_err(|_| Failure::new(place(n), "is not UTF-8"))?;
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
    let mut seen = BTreeMap::new();
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
        let fills =
            field.map_or(title, |field| if *field == "address.postal_code" { "address.post_code" } else { field });
        match seen.insert(fills, title) {
            Some(first) if first == title => {
                return Err(Failure::new(format!("{name}: column `{title}`"), "comes twice"));
            }
            Some(first) => {
                let what = format!("is the same field as column `{first}`");
                return Err(Failure::new(format!("{name}: column `{title}`"), what));
            }
            None => {}
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
            entry.properties.insert(Cow::Owned(key.clone()), property(*kind, cell));
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
fn property(kind: PropertyKind, cell: &str) -> Value<'static> {
    let trimmed = cell.trim();
    let text = || Value::Text(Cow::Owned(cell.to_owned()));
    match kind {
        PropertyKind::Text | PropertyKind::Date => text(),
        PropertyKind::Number => trimmed.parse().map_or_else(|_| text(), Value::Integer),
        PropertyKind::Float => trimmed.parse().map_or_else(|_| text(), Value::Float),
        PropertyKind::Boolean => trimmed.to_ascii_lowercase().parse().map_or_else(|_| text(), Value::Bool),
        PropertyKind::List | PropertyKind::Map => serde_json::from_str(trimmed).unwrap_or_else(|_| text()),
    }
}

/// Where the records of a file stand.
#[derive(Debug, PartialEq)]
struct Scan {
    /// The row of each record that is not an empty line.
    rows: Vec<usize>,
    /// The row in which a quote is opened and never closed.
    unclosed: Option<usize>,
}

/// Counts rows as a spreadsheet does: empty lines count, line breaks within quotes do not.
fn scan(bytes: &[u8]) -> Scan {
    #[derive(PartialEq)]
    enum At {
        Row,
        Cell,
        Plain,
        Quoted,
        Quote,
    }
    let (mut rows, mut row, mut at) = (Vec::new(), 1, At::Row);
    let mut bytes = bytes.iter().peekable();
    while let Some(&byte) = bytes.next() {
        if at != At::Quoted && matches!(byte, b'\r' | b'\n') {
            if byte == b'\r' {
                bytes.next_if_eq(&&b'\n');
            }
            (row, at) = (row + 1, At::Row);
            continue;
        }
        if at == At::Row {
            rows.push(row);
        }
        at = match (at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Row | At::Cell | At::Quote, b'"') | (At::Quoted, _) => At::Quoted,
            (_, b',') => At::Cell,
            _ => At::Plain,
        };
    }
    let unclosed = (at == At::Quoted).then(|| rows.last().copied()).flatten();
    Scan { rows, unclosed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_as_in_a_spreadsheet() {
        let text = "phone,name\r\n1,\"a\r\nb\"\r\n\r\n2,\"c \"\"d\"\" e\"\n3,f\"g\n\n,\n4,h";
        assert_eq!(scan(text.as_bytes()), Scan { rows: vec![1, 2, 4, 5, 7, 8], unclosed: None });
        assert_eq!(scan(b"phone\r1\r\r2").rows, [1, 2, 4]);
        assert_eq!(scan(b"phone,name\n1,a\n2,\"b\n3,c\n").unclosed, Some(3));
        let people = read("f", text.as_bytes(), None).unwrap();
        assert_eq!(people.rows, [2, 4, 5, 8]);
        assert_eq!(people.entries[1].name.as_deref(), Some("c \"d\" e"));
    }
}
