//! A list of people as CSV: the header names the fields of an entry.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Read};

use enroll::Recipient;
use enroll::model::{CustomObject, PropertyKind};
use enroll::request::{MAX_RECIPIENTS, WireAddress, WireBirthDate};
use enroll::value::Value;

use crate::Failure;
use crate::input::Source;

/// What a column holds.
#[derive(Debug)]
enum Column {
    Field(&'static str),
    Property(String, PropertyKind),
}

/// A list of people, read one by one.
pub(crate) struct People<'s> {
    name: &'s str,
    csv: csv::Reader<Rows<Box<dyn Read + 's>>>,
    header: csv::StringRecord,
    columns: Vec<Column>,
    record: csv::ByteRecord,
}

impl<'s> People<'s> {
    /// Reads the header. Columns `properties.KEY` are read as the property's type in `object`, and as text without one.
    pub(crate) fn read(name: &'s str, source: &'s mut Source, object: Option<&CustomObject>) -> Result<Self, Failure> {
        let pass = source.pass().map_err(|e| Failure::new(name, e))?;
        let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(Rows::new(pass));
        let header = csv.headers().map_err(|e| Failure::new(name, e))?.clone();
        if header.iter().all(|title| title.trim().is_empty()) {
            return Err(Failure::new(name, "is empty: the first row must name the fields, `phone` for one"));
        }
        csv.get_mut().next();
        let columns = columns(name, &header, object)?;
        Ok(Self { name, csv, header, columns, record: csv::ByteRecord::new() })
    }

    /// The next person, and the row where they stand (the header is row 1).
    pub(crate) fn next(&mut self) -> Result<Option<(Recipient<'static>, usize)>, Failure> {
        let Self { name, csv, header, columns, record } = self;
        loop {
            if !csv.read_byte_record(record).map_err(|e| Failure::new(&name, e))? {
                return Ok(None);
            }
            let Some(row) = csv.get_mut().next() else { return Ok(None) };
            // A row of nothing but blank cells, as spreadsheets leave below a list, is nobody.
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            let place = |column: usize| {
                format!("{name}: row {row}, column `{}`", header.get(column).unwrap_or_default().trim())
            };
            if record.len() != columns.len() {
                let what = format!("has {} cells, but the header has {}", record.len(), columns.len());
                return Err(Failure::new(format!("{name}: row {row}"), what));
            }
            let mut entry = Recipient::default();
            for (n, (column, cell)) in columns.iter().zip(&*record).enumerate() {
                let cell = std::str::from_utf8(cell).map_err(|_| Failure::new(place(n), "is not UTF-8"))?;
                set(&mut entry, column, cell).map_err(|what| Failure::new(place(n), what))?;
            }
            return Ok(Some((entry, row)));
        }
    }
}

/// Reads a list to its end, and counts its people.
pub(crate) fn count(name: &str, source: &mut Source, object: Option<&CustomObject>) -> Result<usize, Failure> {
    if let Some(row) = source.pass().and_then(unclosed).map_err(|e| Failure::new(name, e))? {
        return Err(Failure::new(format!("{name}: row {row}"), "opens a quote that nothing closes"));
    }
    let mut people = People::read(name, source, object)?;
    let mut count = 0;
    while people.next()?.is_some() {
        count += 1;
    }
    match count {
        0 => Err(Failure::new(name, "has a header and no people below it")),
        count => Ok(count),
    }
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
        let field = fields().find(|field| title == *field || aliased(field) == title);
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
            field.map_or(title, |field| if field == "address.postal_code" { "address.post_code" } else { field });
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
    let _infallible = write!(what, " and may be `{}`, `properties.KEY`", fields().collect::<Vec<_>>().join("`, `"));
    Err(Failure::new(name, what))
}

/// Returns the names of all fields that a column can have.
fn fields() -> impl Iterator<Item = &'static str> {
    Recipient::TEXTS.into_iter().chain(OTHER_FIELDS)
}

/// The fields of an entry that are not text. The name of a nested field contains a dot.
const OTHER_FIELDS: [&str; 11] = [
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
            entry.properties.insert(key.clone(), property(*kind, cell));
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
    match entry.text_mut(field) {
        Some(field) => *field = text(),
        None => {
            let id = cell.trim().parse().map_err(|_| format!("`{}` is not a uuid", cell.trim()))?;
            entry.default_channel_id = Some(id);
        }
    }
    Ok(())
}

/// A cell as the property's type. What does not fit stays text, and the report tells.
fn property(kind: PropertyKind, cell: &str) -> Value {
    let trimmed = cell.trim();
    let text = || Value::Text(cell.into());
    match kind {
        PropertyKind::Text | PropertyKind::Date => text(),
        PropertyKind::Number => trimmed.parse().map_or_else(|_| text(), Value::Integer),
        PropertyKind::Float => trimmed.parse().map_or_else(|_| text(), Value::Float),
        PropertyKind::Boolean => trimmed.to_ascii_lowercase().parse().map_or_else(|_| text(), Value::Bool),
        PropertyKind::List | PropertyKind::Map => serde_json::from_str(trimmed).unwrap_or_else(|_| text()),
    }
}

/// Whatever is read through it, with the row of each record that is not an empty line: a spreadsheet's count, in which
/// empty lines count and line breaks within quotes do not.
struct Rows<R> {
    from: R,
    scan: Scan,
    begun: VecDeque<usize>,
}

impl<R> Rows<R> {
    fn new(from: R) -> Self {
        Self { from, scan: Scan::default(), begun: VecDeque::new() }
    }

    /// The row of the next record, which was read at least in part.
    fn next(&mut self) -> Option<usize> {
        self.begun.pop_front()
    }
}

impl<R: Read> Read for Rows<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        self.begun.extend(buffer.iter().take(read).filter_map(|byte| self.scan.next(*byte)));
        Ok(read)
    }
}

/// The row in which a quote is opened and never closed.
fn unclosed(from: impl Read) -> io::Result<Option<usize>> {
    let (mut scan, mut last) = (Scan::default(), None);
    let mut from = BufReader::with_capacity(1 << 16, from);
    loop {
        let bytes = from.fill_buf()?;
        if bytes.is_empty() {
            return Ok(last.filter(|_| scan.at == At::Quoted));
        }
        last = bytes.iter().filter_map(|byte| scan.next(*byte)).last().or(last);
        let read = bytes.len();
        from.consume(read);
    }
}

/// Where in a file the next byte stands.
struct Scan {
    row: usize,
    at: At,
}

#[derive(Clone, Copy, PartialEq)]
enum At {
    Row,
    /// As [`Row`](At::Row), behind a carriage return, whose line feed ends no second line.
    Return,
    Cell,
    Plain,
    Quoted,
    Quote,
}

impl Default for Scan {
    fn default() -> Self {
        Self { row: 1, at: At::Row }
    }
}

impl Scan {
    /// Goes on by a byte. The row of a record that begins with it.
    fn next(&mut self, byte: u8) -> Option<usize> {
        let Self { row, at } = *self;
        let begins = matches!(at, At::Row | At::Return);
        (self.row, self.at) = match (at, byte) {
            (At::Return, b'\n') => (row, At::Row),
            (At::Quoted, b'"') => (row, At::Quote),
            (At::Quoted, _) | (At::Row | At::Return | At::Cell | At::Quote, b'"') => (row, At::Quoted),
            (_, b'\r') => (row + 1, At::Return),
            (_, b'\n') => (row + 1, At::Row),
            (_, b',') => (row, At::Cell),
            _ => (row, At::Plain),
        };
        (begins && !matches!(byte, b'\r' | b'\n')).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, at_once: usize) -> Vec<usize> {
        let mut rows = Rows::new(text.as_bytes());
        let mut buffer = vec![0; at_once];
        while rows.read(&mut buffer).unwrap() > 0 {}
        std::iter::from_fn(|| rows.next()).collect()
    }

    #[test]
    fn rows_are_counted_as_in_a_spreadsheet() {
        let text = "phone,name\r\n1,\"a\r\nb\"\r\n\r\n2,\"c \"\"d\"\" e\"\n3,f\"g\n\n,\n4,h";
        for at_once in [1, 2, 100] {
            assert_eq!(rows(text, at_once), [1, 2, 4, 5, 7, 8]);
            assert_eq!(rows("phone\r1\r\r2", at_once), [1, 2, 4]);
        }
        assert_eq!(unclosed(text.as_bytes()).unwrap(), None);
        assert_eq!(unclosed(&b"phone,name\n1,a\n2,\"b\n3,c\n"[..]).unwrap(), Some(3));
        let mut source = Source::Held(text.into());
        assert_eq!(count("f", &mut source, None).unwrap(), 4);
        let mut people = People::read("f", &mut source, None).unwrap();
        let (names, rows): (Vec<_>, Vec<_>) =
            std::iter::from_fn(|| people.next().unwrap()).map(|(person, row)| (person.name, row)).unzip();
        assert_eq!(rows, [2, 4, 5, 8]);
        assert_eq!(names[1].as_deref(), Some("c \"d\" e"));
    }
}
