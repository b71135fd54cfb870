//! Reads a list of people as CSV. The header contains the names of the fields.

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::io::{self, BufRead, BufReader, Read};

use enroll::Recipient;
use enroll::model::{CustomObject, PropertyKind};
use enroll::request::{MAX_RECIPIENTS, WireAddress, WireBirthDate};
use enroll::value::Value;

use crate::Failure;
use crate::input::RepeatableInput;

/// The meaning of a column.
#[derive(Debug)]
enum Column {
    Field(&'static str),
    Property(String, PropertyKind),
    /// A column that the download of the page adds.
    Ignored,
}

/// A list of people, read one at a time.
pub(crate) struct People<'s> {
    name: &'s str,
    csv: csv::Reader<RowCounter<Box<dyn Read + 's>>>,
    header: csv::StringRecord,
    columns: Vec<Column>,
    record: csv::ByteRecord,
}

impl<'s> People<'s> {
    /// Reads the header. A column `properties.KEY` has the type of the property in `object`, else it is text.
    pub(crate) fn read(
        name: &'s str,
        source: &'s mut RepeatableInput,
        object: Option<&CustomObject>,
    ) -> Result<Self, Failure> {
        let reader = source.reader().map_err(|e| Failure::from_error(name, &e))?;
        let mut csv = csv::ReaderBuilder::new().flexible(true).from_reader(RowCounter::new(reader));
        let header = csv.headers().map_err(|e| Failure::from_error(name, &e))?.clone();
        if header.iter().all(|title| title.trim().is_empty()) {
            return Err(Failure::new(
                name,
                "is empty; the first row must contain the names of the fields, such as `phone`",
            ));
        }
        csv.get_mut().next_row();
        let columns = columns(name, &header, object)?;
        Ok(Self { name, csv, header, columns, record: csv::ByteRecord::new() })
    }

    /// Returns the next person and its row. The header is row 1.
    pub(crate) fn next(&mut self) -> Result<Option<(Recipient<'static>, usize)>, Failure> {
        let Self { name, csv, header, columns, record } = self;
        loop {
            if !csv.read_byte_record(record).map_err(|e| Failure::from_error(&name, &e))? {
                return Ok(None);
            }
            let Some(row) = csv.get_mut().next_row() else { return Ok(None) };
            // Spreadsheets write rows of blank cells below a list.
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            let place = |column: usize| {
                format!("{name}: row {row}, column `{}`", header.get(column).unwrap_or_default().trim())
            };
            if record.len() != columns.len() {
                let problem = format!("has {} cells, but the header has {}", record.len(), columns.len());
                return Err(Failure::new(format!("{name}: row {row}"), problem));
            }
            let mut entry = Recipient::default();
            for (n, (column, cell)) in columns.iter().zip(&*record).enumerate() {
                let cell = std::str::from_utf8(cell).map_err(|_| Failure::new(place(n), "is not UTF-8"))?;
                set(&mut entry, column, unescaped(cell)).map_err(|problem| Failure::new(place(n), problem))?;
            }
            return Ok(Some((entry, row)));
        }
    }
}

/// Reads the whole list and returns the number of people.
pub(crate) fn count(name: &str, source: &mut RepeatableInput, object: Option<&CustomObject>) -> Result<usize, Failure> {
    if let Some(row) = source.reader().and_then(unclosed_quote).map_err(|e| Failure::from_error(name, &e))? {
        return Err(Failure::new(format!("{name}: row {row}"), "opens a quote that is never closed"));
    }
    let mut people = People::read(name, source, object)?;
    let mut count = 0;
    while people.next()?.is_some() {
        count += 1;
    }
    match count {
        0 => Err(Failure::new(name, "has a header but no people below it")),
        count => Ok(count),
    }
}

/// Returns the number of people in each request of an import: the fewest requests, of almost equal size.
pub(crate) fn batch_sizes(people: usize) -> Vec<usize> {
    let requests = people.div_ceil(MAX_RECIPIENTS).max(1);
    (0..requests).map(|n| people / requests + usize::from(n < people % requests)).collect()
}

fn columns(name: &str, header: &csv::StringRecord, object: Option<&CustomObject>) -> Result<Vec<Column>, Failure> {
    let mut seen = BTreeMap::new();
    let mut columns = Vec::new();
    let mut unknown = Vec::new();
    for title in header {
        let title = unescaped(title).trim();
        let field = fields().find(|field| title == *field || short_name(field) == title);
        if let Some(key) = title.strip_prefix("properties.").filter(|key| !key.is_empty()) {
            let property = object.and_then(|object| object.properties.iter().find(|property| property.key == key));
            columns
                .push(Column::Property(key.to_owned(), property.map_or(PropertyKind::Text, |property| property.kind)));
        } else if let Some(field) = field {
            columns.push(Column::Field(field));
        } else if title.starts_with(FIX) {
            columns.push(Column::Ignored);
        } else {
            unknown.push(title);
        }
        let target =
            field.map_or(title, |field| if field == "address.postal_code" { "address.post_code" } else { field });
        match seen.insert(target, title) {
            Some(first) if first == title => {
                return Err(Failure::new(format!("{name}: column `{title}`"), "occurs twice"));
            }
            Some(first) => {
                let problem = format!("is the same field as column `{first}`");
                return Err(Failure::new(format!("{name}: column `{title}`"), problem));
            }
            None => {}
        }
    }
    if unknown.is_empty() {
        return Ok(columns);
    }
    let mut problem = format!("column `{}` is unknown; the columns are read as", unknown.join("`, `"));
    for title in header {
        let known = !unknown.contains(&title.trim());
        let _infallible = write!(problem, " `{}` → {},", title.trim(), if known { title.trim() } else { "?" });
    }
    let _infallible =
        write!(problem, " and the known columns are `{}`, `properties.KEY`", fields().collect::<Vec<_>>().join("`, `"));
    Err(Failure::new(name, problem))
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

/// The prefix of the columns that the download of the page adds.
const FIX: &str = "fix.";

/// Returns the short name of a field: `city` for `address.city`.
fn short_name(field: &str) -> &str {
    field.strip_prefix("address.").unwrap_or(field)
}

/// Removes the `'` that keeps a spreadsheet from running a cell. The page writes it, and people do.
fn unescaped(cell: &str) -> &str {
    let is_formula = cell.trim_start_matches('\'').starts_with(['=', '+', '-', '@', '\t', '\r']);
    cell.strip_prefix('\'').filter(|_| is_formula).unwrap_or(cell)
}

fn set(entry: &mut Recipient<'static>, column: &Column, cell: &str) -> Result<(), String> {
    let text = || Some(Cow::Owned(cell.to_owned()));
    let field = match column {
        Column::Field("phone") => {
            entry.phone = text();
            return Ok(());
        }
        Column::Ignored => return Ok(()),
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

/// Converts a cell to the type of the property. A cell that does not fit stays text, and the report contains a note.
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

/// Passes bytes through, and records the row of each record. Rows are numbered as in a spreadsheet: empty lines count, and
/// line breaks within quotes do not. An empty line is not a record.
struct RowCounter<R> {
    inner: R,
    scanner: Scanner,
    rows: VecDeque<usize>,
}

impl<R> RowCounter<R> {
    fn new(inner: R) -> Self {
        Self { inner, scanner: Scanner::default(), rows: VecDeque::new() }
    }

    /// Returns the row of the next record. Its first byte must have been read.
    fn next_row(&mut self) -> Option<usize> {
        self.rows.pop_front()
    }
}

impl<R: Read> Read for RowCounter<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.rows.extend(buffer.iter().take(read).filter_map(|byte| self.scanner.next(*byte)));
        Ok(read)
    }
}

/// Returns the row with a quote that is never closed.
fn unclosed_quote(input: impl Read) -> io::Result<Option<usize>> {
    let (mut scanner, mut last) = (Scanner::default(), None);
    let mut input = BufReader::with_capacity(1 << 16, input);
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(last.filter(|_| scanner.state == State::Quoted));
        }
        last = bytes.iter().filter_map(|byte| scanner.next(*byte)).last().or(last);
        let read = bytes.len();
        input.consume(read);
    }
}

/// The state of a CSV scanner before the next byte.
struct Scanner {
    row: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// At the start of a row.
    Row,
    /// At the start of a row, after a carriage return. A line feed here does not end another row.
    Return,
    /// At the start of a cell.
    Cell,
    /// In an unquoted cell.
    Plain,
    /// In a quoted cell.
    Quoted,
    /// After a quote in a quoted cell.
    Quote,
}

impl Default for Scanner {
    fn default() -> Self {
        Self { row: 1, state: State::Row }
    }
}

impl Scanner {
    /// Reads a byte. Returns the row if a record begins with it.
    fn next(&mut self, byte: u8) -> Option<usize> {
        let Self { row, state } = *self;
        let begins = matches!(state, State::Row | State::Return);
        (self.row, self.state) = match (state, byte) {
            (State::Return, b'\n') => (row, State::Row),
            (State::Quoted, b'"') => (row, State::Quote),
            (State::Quoted, _) | (State::Row | State::Return | State::Cell | State::Quote, b'"') => {
                (row, State::Quoted)
            }
            (_, b'\r') => (row + 1, State::Return),
            (_, b'\n') => (row + 1, State::Row),
            (_, b',') => (row, State::Cell),
            _ => (row, State::Plain),
        };
        (begins && !matches!(byte, b'\r' | b'\n')).then_some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, chunk: usize) -> Vec<usize> {
        let mut rows = RowCounter::new(text.as_bytes());
        let mut buffer = vec![0; chunk];
        while rows.read(&mut buffer).unwrap() > 0 {}
        std::iter::from_fn(|| rows.next_row()).collect()
    }

    #[test]
    fn escaped_cells_and_added_columns_of_a_download_are_read() {
        let text = "'phone,name,email,fix.row,fix.reason\n'+12025550187,'=1+1,''@x,'-1,\"'\tx\"\n+1,'t Hart,'Ann,,\n";
        let mut input = RepeatableInput::Bytes(text.into());
        let error = People::read("f", &mut input, None).err().unwrap().to_string();
        assert!(error.contains("column `'phone` is unknown"), "{error}");
        let mut input = RepeatableInput::Bytes(text.trim_start_matches('\'').into());
        let mut people = People::read("f", &mut input, None).unwrap();
        let texts: Vec<_> = std::iter::from_fn(|| people.next().unwrap())
            .map(|(person, _)| [person.phone, person.name, person.email].map(Option::unwrap))
            .collect();
        assert_eq!(texts, [["+12025550187", "=1+1", "'@x"], ["+1", "'t Hart", "'Ann"]]);
    }

    #[test]
    fn rows_are_numbered_as_in_a_spreadsheet() {
        let text = "phone,name\r\n1,\"a\r\nb\"\r\n\r\n2,\"c \"\"d\"\" e\"\n3,f\"g\n\n,\n4,h";
        for chunk in [1, 2, 100] {
            assert_eq!(rows(text, chunk), [1, 2, 4, 5, 7, 8]);
            assert_eq!(rows("phone\r1\r\r2", chunk), [1, 2, 4]);
        }
        assert_eq!(unclosed_quote(text.as_bytes()).unwrap(), None);
        assert_eq!(unclosed_quote(&b"phone,name\n1,a\n2,\"b\n3,c\n"[..]).unwrap(), Some(3));
        let mut input = RepeatableInput::Bytes(text.into());
        assert_eq!(count("f", &mut input, None).unwrap(), 4);
        let mut people = People::read("f", &mut input, None).unwrap();
        let (names, rows): (Vec<_>, Vec<_>) =
            std::iter::from_fn(|| people.next().unwrap()).map(|(person, row)| (person.name, row)).unzip();
        assert_eq!(rows, [2, 4, 5, 8]);
        assert_eq!(names[1].as_deref(), Some("c \"d\" e"));
    }
}
