//! From a row to a recipient (spec 11, *Cells*, *Custom data*, *Birth dates*).

use enroll::Recipient;
use enroll::model::PropertyKind;
use enroll::request::{WireAddress, WireBirthDate};
use enroll::value::Value;
use serde::Serialize;
use std::borrow::Cow;
use std::fmt;

use crate::cells::{OPTED_OUT, answer, cleaned, first_value, is_error};
use crate::dates::{Date, DateFormat, date, date_without_time, day_exists, day_of_year, format_of, number};
use crate::field::Field;
use crate::mapping::Columns;
use crate::options::{Options, Settings};
use crate::sheet::{Cell, Row, column_letters};
use crate::titles::normalized;

/// A row that is a recipient.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Entry {
    /// The number of the row in the file.
    pub row: u64,
    /// The recipient.
    pub recipient: Recipient<'static>,
    /// What was changed or left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The position of the column that the phone was read from, if several columns are phones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone_position: Option<usize>,
}

/// What was changed or left out in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListNote))]
#[non_exhaustive]
pub enum Note {
    /// A cell has several values. The first one counts.
    SeveralValues {
        /// The title of the column.
        column: String,
    },
    /// The birth date is not valid, so it is left out.
    BirthDateLeftOut {
        /// The title of the column.
        column: String,
        /// The text of the cell.
        value: String,
    },
    /// The year of the birth date is a placeholder of another program. The day and the month are kept.
    BirthYearLeftOut {
        /// The title of the column.
        column: String,
        /// The year.
        year: i64,
    },
    /// A number has more digits than a spreadsheet keeps, so its last digits may be wrong.
    DigitsLost {
        /// The title of the column.
        column: String,
    },
}

impl Note {
    /// Returns a format that reads the birth date which was left out, if there is one.
    #[must_use]
    pub fn date_format(&self) -> Option<DateFormat> {
        match self {
            Self::BirthDateLeftOut { value, .. } => format_of(value),
            _ => None,
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeveralValues { column } => write!(f, "`{column}` has several values; the first one counts"),
            Self::BirthDateLeftOut { column, value } => match self.date_format() {
                Some(format) => write!(
                    f,
                    "`{column}` is left out: `{}` can be read only if the format of dates is set, such as `{format}`",
                    value.escape_debug()
                ),
                None => write!(f, "`{column}` is left out: `{}` is not a valid birth date", value.escape_debug()),
            },
            Self::BirthYearLeftOut { column, year } => {
                write!(f, "the year {year} of `{column}` is left out: other programs write it for an unknown year")
            }
            Self::DigitsLost { column } => {
                write!(f, "`{column}` is a number with more digits than a spreadsheet keeps; format the cells as text")
            }
        }
    }
}

/// A row that is not enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SetAside {
    /// The number of the row in the file.
    pub row: u64,
    /// The title of the column, or its letters if it has no title.
    pub column: String,
    /// The position of the column, from 1.
    pub position: usize,
    /// Why the row is set aside.
    pub reason: SetAsideReason,
}

/// Why a row is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum SetAsideReason {
    /// The person opted out.
    OptedOutInList,
    /// The cell in a column about consent says neither yes nor no.
    ConsentUnclear,
    /// A cell beyond the header is filled.
    BeyondHeader,
    /// The text is not a uuid.
    InvalidUuid,
    /// The text has more than 255 characters.
    TooLong,
    /// The text contains the character U+0000.
    InvalidCharacter,
    /// The value is a list or an object, where text is expected.
    NotText,
}

impl SetAsideReason {
    /// All reasons, in the order of their definition.
    pub const ALL: [Self; 7] = [
        Self::OptedOutInList,
        Self::ConsentUnclear,
        Self::BeyondHeader,
        Self::InvalidUuid,
        Self::TooLong,
        Self::InvalidCharacter,
        Self::NotText,
    ];

    /// Returns the stable code of the reason, as it has it in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OptedOutInList => "opted_out_in_list",
            Self::ConsentUnclear => "consent_unclear",
            Self::BeyondHeader => "beyond_header",
            Self::InvalidUuid => "invalid_uuid",
            Self::TooLong => "too_long",
            Self::InvalidCharacter => "invalid_character",
            Self::NotText => "not_text",
        }
    }
}

impl fmt::Display for SetAsideReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OptedOutInList => "the person opted out",
            Self::ConsentUnclear => "says neither yes nor no",
            Self::BeyondHeader => "is filled, but the header has no title there",
            Self::InvalidUuid => "is not a uuid",
            Self::TooLong => "has more than 255 characters",
            Self::InvalidCharacter => "contains the character U+0000",
            Self::NotText => "is a list or an object, but not text",
        })
    }
}

impl fmt::Display for SetAside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "row {}, column `{}`: {}", self.row, self.column.escape_debug(), self.reason)
    }
}

/// The highest number of characters of a name or an email (spec 1, D13).
const MAX_CHARACTERS: usize = 255;
/// Beyond this number, a spreadsheet does not keep all digits.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Reads rows into recipients.
#[derive(Clone, Copy)]
pub(crate) struct EntryReader<'l> {
    pub(crate) columns: &'l Columns,
    pub(crate) options: &'l Options,
    pub(crate) settings: &'l Settings,
}

type Fault = (usize, SetAsideReason);

impl EntryReader<'_> {
    /// Reads a row. It has no more cells than columns, except blank ones.
    pub(crate) fn read(&self, row: &Row) -> Result<Entry, SetAside> {
        let mut notes = Vec::new();
        match self.recipient(row, &mut notes) {
            Ok(recipient) => {
                let several = self.columns.of(&Field::Phone).len() > 1;
                let phone = self.value(row, &Field::Phone).filter(|_| several);
                Ok(Entry { row: row.number, recipient, notes, phone_position: phone.map(|(index, _)| index + 1) })
            }
            Err((index, reason)) => {
                Err(SetAside { row: row.number, column: self.title(index), position: index + 1, reason })
            }
        }
    }

    fn recipient(&self, row: &Row, notes: &mut Vec<Note>) -> Result<Recipient<'static>, Fault> {
        self.consent(row)?;
        let beyond = row.cells.iter().skip(self.columns.list.len()).position(|cell| !cell.is_blank());
        if let Some(index) = beyond {
            return Err((self.columns.list.len() + index, SetAsideReason::BeyondHeader));
        }
        let mut recipient = Recipient::default();
        // A list without a phone column has a blank phone in each row.
        recipient.phone = Some(Cow::Borrowed(""));
        for (field, name) in Field::texts() {
            let Some((index, value)) = self.text(row, field, notes)? else { continue };
            let limited = field.is_name() || *field == Field::Email;
            if limited && value.chars().count() > MAX_CHARACTERS {
                return Err((index, SetAsideReason::TooLong));
            }
            if let Some(text) = recipient.text_mut(name) {
                *text = Some(Cow::Owned(value));
            }
        }
        self.name(row, &mut recipient, notes)?;
        if let Some((index, id)) = self.text(row, &Field::DefaultChannelId, notes)? {
            recipient.default_channel_id = Some(id.parse().map_err(|_| (index, SetAsideReason::InvalidUuid))?);
        }
        let mut address = WireAddress::default();
        for (field, text) in [
            (Field::AddressLineOne, &mut address.address_line_one),
            (Field::AddressLineTwo, &mut address.address_line_two),
            (Field::City, &mut address.city),
            (Field::State, &mut address.state),
            (Field::PostCode, &mut address.post_code),
            (Field::Country, &mut address.country),
        ] {
            *text = self.text(row, &field, notes)?.map(|(_, value)| Cow::Owned(value));
        }
        recipient.address = (address != WireAddress::default()).then(|| Box::new(address));
        recipient.birth_date = self.birth_date(row, notes)?;
        for (key, field) in self.columns.properties() {
            if let Some(value) = self.property(row, key, field, notes)? {
                recipient.properties.insert(key, value);
            }
        }
        Ok(recipient)
    }

    /// Joins first, middle and last name, if the row has no full name.
    fn name(&self, row: &Row, recipient: &mut Recipient<'static>, notes: &mut Vec<Note>) -> Result<(), Fault> {
        let middle = self.text(row, &Field::MiddleName, notes)?;
        if recipient.name.is_some() {
            return Ok(());
        }
        let parts = [&recipient.first_name, &middle.map(|(_, name)| Cow::Owned(name)), &recipient.last_name];
        let name = parts.into_iter().flatten().map(|part| &**part).collect::<Vec<_>>().join(" ");
        if name.chars().count() > MAX_CHARACTERS {
            let columns = [Field::FirstName, Field::MiddleName, Field::LastName].map(|field| self.columns.of(&field));
            let index = columns.into_iter().flatten().next().copied().unwrap_or_default();
            return Err((index, SetAsideReason::TooLong));
        }
        recipient.name = Some(name).filter(|name| !name.is_empty()).map(Cow::Owned);
        Ok(())
    }

    /// Sets a row aside if one of its cells says that the person opted out.
    fn consent(&self, row: &Row) -> Result<(), Fault> {
        let cells = |field: &Field| {
            let columns = self.columns.of(field).iter();
            let filled = columns.filter_map(|index| Some((*index, row.cells.get(*index)?)));
            filled.filter(|(_, cell)| !cell.is_blank() && !is_error(cell)).collect::<Vec<_>>()
        };
        for (index, cell) in cells(&Field::OptedOut) {
            // Each value but a clear `no` is an opt-out.
            if answer(&cleaned(&cell.display(), false)) != Some(false) {
                return Err((index, SetAsideReason::OptedOutInList));
            }
        }
        for (index, cell) in cells(&Field::OptedIn) {
            let text = cell.display();
            let text = cleaned(&text, false);
            match answer(&text) {
                Some(true) => {}
                Some(false) => return Err((index, SetAsideReason::OptedOutInList)),
                None if OPTED_OUT.contains(&normalized(&text).as_str()) => {
                    return Err((index, SetAsideReason::OptedOutInList));
                }
                // The date of an opt-in.
                None if date_without_time(&text, self.options.date_format.as_ref()).is_some() => {}
                None => return Err((index, SetAsideReason::ConsentUnclear)),
            }
        }
        Ok(())
    }

    /// Returns the first value of a field, with the index of its column.
    fn value<'r>(&self, row: &'r Row, field: &Field) -> Option<(usize, &'r Cell)> {
        let is_address = matches!(field, Field::Phone | Field::Email);
        self.columns.of(field).iter().find_map(|index| {
            let cell = row.cells.get(*index)?;
            // An error counts as a phone or an email that is not valid. Elsewhere it is blank.
            (!cell.is_blank() && (is_address || !is_error(cell))).then_some((*index, cell))
        })
    }

    /// Returns the first value of a field as text, with the index of its column.
    fn text(&self, row: &Row, field: &Field, notes: &mut Vec<Note>) -> Result<Option<(usize, String)>, Fault> {
        match self.value(row, field) {
            Some((index, Cell::Json(_))) => Err((index, SetAsideReason::NotText)),
            Some((index, cell)) => Ok(Some((index, self.cell_text(index, cell, field, notes)?))),
            None => Ok(None),
        }
    }

    fn cell_text(&self, index: usize, cell: &Cell, field: &Field, notes: &mut Vec<Note>) -> Result<String, Fault> {
        let text = cell.display();
        if matches!(cell, Cell::Number(number) if number.abs() > EXACT) {
            notes.push(Note::DigitsLost { column: self.title(index) });
        }
        let text = match cell {
            Cell::Text(_) => cleaned(&text, field.keeps_apostrophe()),
            _ => text,
        };
        if text.contains('\0') {
            return Err((index, SetAsideReason::InvalidCharacter));
        }
        let (first, several) = first_value(&text);
        if several {
            notes.push(Note::SeveralValues { column: self.title(index) });
        }
        Ok(first.to_owned())
    }

    fn birth_date(&self, row: &Row, notes: &mut Vec<Note>) -> Result<Option<WireBirthDate>, Fault> {
        if let Some((index, cell)) = self.value(row, &Field::BirthDate) {
            let text = self.cell_text(index, cell, &Field::BirthDate, notes)?;
            let read = match cell {
                Cell::Date { year, month, day, .. } => {
                    Some((Some(i64::from(*year)), Some(i64::from(*month)), Some(i64::from(*day))))
                }
                Cell::Text(_) => date(&text, self.options.date_format.as_ref())
                    .map(|Date { year, month, day }| (Some(year), Some(month), Some(day)))
                    .or_else(|| day_of_year(&text).map(|(month, day)| (None, Some(month), Some(day)))),
                _ => None,
            };
            return Ok(self.checked_birth_date(index, &text, read, notes));
        }
        let mut parts = [None; 3];
        let mut given = None;
        let mut valid = true;
        for (part, field) in parts.iter_mut().zip([Field::BirthYear, Field::BirthMonth, Field::BirthDay]) {
            if let Some((index, text)) = self.text(row, &field, notes)? {
                // `5.0`, from a column of numbers.
                let digits = text.trim_end_matches('0').strip_suffix('.').unwrap_or(&text);
                *part = number(digits);
                valid &= part.is_some();
                let (_, all) = given.get_or_insert((index, String::new()));
                all.push_str(if all.is_empty() { "" } else { "-" });
                all.push_str(&text);
            }
        }
        let Some((index, text)) = given else { return Ok(None) };
        let [year, month, day] = parts;
        Ok(self.checked_birth_date(index, &text, valid.then_some((year, month, day)), notes))
    }

    /// Leaves out a birth date that is not valid, and a year that is a placeholder.
    fn checked_birth_date(
        &self,
        index: usize,
        text: &str,
        read: Option<(Option<i64>, Option<i64>, Option<i64>)>,
        notes: &mut Vec<Note>,
    ) -> Option<WireBirthDate> {
        let column = self.title(index);
        let valid = read.filter(|(year, month, day)| {
            let placeholder = year.is_some_and(|year| PLACEHOLDERS.contains(&year));
            let possible = |year: &i64| placeholder || (1900..=self.settings.last_birth_year).contains(year);
            year.as_ref().is_none_or(possible)
                && month.is_none_or(|month| (1..=12).contains(&month))
                && day.is_none_or(|day| day_exists(*year, *month, day))
        });
        let Some((year, month, day)) = valid else {
            notes.push(Note::BirthDateLeftOut { column, value: shortened(text) });
            return None;
        };
        match year.filter(|year| PLACEHOLDERS.contains(year)) {
            Some(year) => {
                notes.push(Note::BirthYearLeftOut { column, year });
                (month.is_some() || day.is_some()).then(|| WireBirthDate::new(day, month, None))
            }
            None => Some(WireBirthDate::new(day, month, year)),
        }
    }

    /// Reads a value as the type of its property, where that is exact. Another value stays text, for the note of 4.8.
    fn property(&self, row: &Row, key: &str, field: &Field, notes: &mut Vec<Note>) -> Result<Option<Value>, Fault> {
        let Some((index, cell)) = self.value(row, field) else { return Ok(None) };
        let kind = self.settings.properties.as_ref().and_then(|properties| properties.get(key)).copied();
        if let Cell::Json(json) = cell {
            return Ok(Some(serde_json::from_value(json.clone()).map_err(|_| (index, SetAsideReason::NotText))?));
        }
        let text = self.cell_text(index, cell, field, notes)?;
        let typed = match (kind, cell) {
            (None, Cell::Integer(number)) => Some(Value::Integer(*number)),
            (None, Cell::Number(number)) => Some(integer(&text).map_or(Value::Float(*number), Value::Integer)),
            (None, Cell::Bool(flag)) => Some(Value::Bool(*flag)),
            (None | Some(PropertyKind::Text), _) => None,
            (Some(PropertyKind::Number), _) => integer(&text).map(Value::Integer),
            (Some(PropertyKind::Float), _) => float(&text).map(Value::Float),
            (Some(PropertyKind::Boolean), _) => boolean(&text).map(Value::Bool),
            (Some(PropertyKind::Date), _) => date_without_time(&text, self.options.date_format.as_ref())
                .map(|date| Value::Text(date.to_string().as_str().into())),
            (Some(PropertyKind::List | PropertyKind::Map), _) => {
                serde_json::from_str(&text).ok().filter(|value| matches!(value, Value::List(_) | Value::Map(_)))
            }
        };
        let number = |number: f64| integer(&text).map_or(Value::Float(number), Value::Integer);
        Ok(Some(typed.unwrap_or_else(|| match cell {
            // The note of 4.8 names the value as the cell has it.
            Cell::Number(value) if kind != Some(PropertyKind::Text) => number(*value),
            _ => Value::Text(text.as_str().into()),
        })))
    }

    fn title(&self, index: usize) -> String {
        let title = self.columns.list.get(index).map(|column| column.title.clone());
        title.filter(|title| !title.is_empty()).unwrap_or_else(|| column_letters(index))
    }
}

/// The years that other programs write for an unknown year.
const PLACEHOLDERS: [i64; 2] = [1604, 1899];

/// Reads an integer, also with a fraction of zeros: `5.0`.
fn integer(text: &str) -> Option<i64> {
    let digits = match text.split_once('.') {
        Some((digits, zeros)) if !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0') => digits,
        Some(_) => return None,
        None => text,
    };
    digits.parse().ok()
}

fn float(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte));
    text.parse().ok().filter(|number: &f64| plain && number.is_finite())
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "y" | "1" => Some(true),
        "false" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

/// Cuts a text for a note after 64 characters.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(64) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
