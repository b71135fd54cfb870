//! Dates as lists have them (spec 11, *Custom data* and *Birth dates*).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::sheet::Cell;

/// A date of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
}

impl Date {
    /// Returns the date as a cell, with the time of day.
    pub(crate) fn with_time(self, time: Option<String>) -> Cell {
        let small = |number: i64| u8::try_from(number).unwrap_or_default();
        let year = i32::try_from(self.year).unwrap_or_default();
        Cell::Date { year, month: small(self.month), day: small(self.day), time }
    }

    fn valid(year: i64, month: i64, day: i64) -> Option<Self> {
        ((0..=9999).contains(&year) && day_exists(Some(year), Some(month), day)).then_some(Self { year, month, day })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

/// Returns true if a day with these parts exists. Without a year, 29 February exists.
pub(crate) fn day_exists(year: Option<i64>, month: Option<i64>, day: i64) -> bool {
    let days = match month {
        Some(2) => {
            let leap = year.is_none_or(|year| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
            if leap { 29 } else { 28 }
        }
        Some(4 | 6 | 9 | 11) => 30,
        None | Some(1..=12) => 31,
        Some(_) => 0,
    };
    (1..=days).contains(&day)
}

/// The order of day, month and year in a text, and what separates them: `DD.MM.YYYY`, `MM/DD/YYYY`, `D-M-YYYY`.
///
/// A day or a month may have one digit, also with `DD` and `MM`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DateFormat {
    parts: [Part; 3],
    separators: [char; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Day,
    Month,
    Year,
}

impl DateFormat {
    pub(crate) fn read(&self, text: &str) -> Option<Date> {
        let (first, rest) = text.split_once(self.separators[0])?;
        let (second, third) = rest.split_once(self.separators[1])?;
        let mut date = [0; 3];
        for (part, digits) in self.parts.iter().zip([first, second, third.trim_end_matches('.')]) {
            let digits = digits.trim();
            let lengths = if *part == Part::Year { 4..=4 } else { 1..=2 };
            if !lengths.contains(&digits.len()) {
                return None;
            }
            date[*part as usize] = number(digits)?;
        }
        Date::valid(date[2], date[1], date[0])
    }
}

/// A text is not the format of a date.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the format of a date; write the parts in their order, such as `DD.MM.YYYY` or `MM/DD/YYYY`")]
pub struct DateFormatError(String);

impl FromStr for DateFormat {
    type Err = DateFormatError;

    fn from_str(text: &str) -> Result<Self, DateFormatError> {
        let error = || DateFormatError(text.to_owned());
        let trimmed = text.trim();
        let separators: Vec<char> = trimmed.chars().filter(|c| !c.is_ascii_alphabetic()).collect();
        let [first, second] = separators[..] else { return Err(error()) };
        let mut parts = Vec::new();
        for part in trimmed.split(|c: char| !c.is_ascii_alphabetic()) {
            parts.push(match part.to_ascii_uppercase().as_str() {
                "D" | "DD" => Part::Day,
                "M" | "MM" => Part::Month,
                "YYYY" => Part::Year,
                _ => return Err(error()),
            });
        }
        let parts: [Part; 3] = parts.try_into().map_err(|_| error())?;
        let all = [Part::Day, Part::Month, Part::Year].iter().all(|part| parts.contains(part));
        let separates = |c: char| !c.is_alphanumeric();
        if !all || !separates(first) || !separates(second) {
            return Err(error());
        }
        Ok(Self { parts, separators: [first, second] })
    }
}

impl fmt::Display for DateFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = |part| match part {
            Part::Day => "DD",
            Part::Month => "MM",
            Part::Year => "YYYY",
        };
        let ([a, b, c], [first, second]) = (self.parts.map(word), self.separators);
        write!(f, "{a}{first}{b}{second}{c}")
    }
}

impl TryFrom<String> for DateFormat {
    type Error = DateFormatError;

    fn try_from(text: String) -> Result<Self, DateFormatError> {
        text.parse()
    }
}

impl From<DateFormat> for String {
    fn from(format: DateFormat) -> Self {
        format.to_string()
    }
}

/// Reads `YYYY-MM-DD` or `YYYY/MM/DD`, or a date in the given format.
pub(crate) fn date(text: &str, format: Option<&DateFormat>) -> Option<Date> {
    ['-', '/'].into_iter().find_map(|separator| iso(text, separator)).or_else(|| format?.read(text))
}

/// Reads a date, with a time or without. The time is not used.
pub(crate) fn date_without_time(text: &str, format: Option<&DateFormat>) -> Option<Date> {
    date(text, format).or_else(|| {
        let (day, time) = text.split_once(['T', 't', ' '])?;
        is_time(time).then(|| date(day, format))?
    })
}

/// Reads `--MM-DD`: a day of the year.
pub(crate) fn day_of_year(text: &str) -> Option<(i64, i64)> {
    let (month, day) = text.strip_prefix("--")?.split_once('-')?;
    if month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (month, day) = (number(month)?, number(day)?);
    day_exists(None, Some(month), day).then_some((month, day))
}

fn iso(text: &str, separator: char) -> Option<Date> {
    let mut parts = text.split(separator);
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || year.len() != 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    Date::valid(number(year)?, number(month)?, number(day)?)
}

/// Returns true for `10:30`, `10:30:00.000`, `10:30:00 PM`, and these with `Z` or an offset.
fn is_time(text: &str) -> bool {
    let text = text.trim();
    let digits = |text: &str| text.len() == 2 && number(text).is_some();
    let Some((hour, rest)) = text.split_once(':') else { return false };
    (1..=2).contains(&hour.len())
        && number(hour).is_some_and(|hour| hour <= 24)
        && rest.get(..2).is_some_and(digits)
        && text.chars().all(|c| c.is_ascii_digit() || matches!(c, ':' | '.' | ',' | '+' | '-' | ' '))
            | text.trim_end_matches(|c: char| c.is_ascii_alphabetic()).chars().all(|c| !c.is_alphabetic())
}

/// Returns a format that reads a text as a date, for messages. If day and month can be either, the day comes first.
pub(crate) fn format_of(text: &str) -> Option<DateFormat> {
    let separator = text.chars().find(|c| matches!(c, '.' | '/' | '-'))?;
    let formats = [[Part::Day, Part::Month, Part::Year], [Part::Month, Part::Day, Part::Year]];
    let mut formats = formats.into_iter().map(|parts| DateFormat { parts, separators: [separator; 2] });
    formats.find(|format| date_without_time(text, Some(format)).is_some() && date_without_time(text, None).is_none())
}

/// Reads ASCII digits only: no sign.
pub(crate) fn number(digits: &str) -> Option<i64> {
    (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_formats_without_doubt_are_read() {
        let day = |year, month, day| Some(Date { year, month, day });
        for (text, format, expected) in [
            ("2020-01-31", None, day(2020, 1, 31)),
            ("2020/01/31", None, day(2020, 1, 31)),
            ("2020-01-31 00:00:00", None, day(2020, 1, 31)),
            ("2020-01-31T10:00:00.000Z", None, day(2020, 1, 31)),
            ("2020-01-31T10:00:00+02:00", None, day(2020, 1, 31)),
            ("2020-02-30", None, None),
            ("2020-1-31", None, None),
            ("2020-01/31", None, None),
            ("2020-01-31 noon", None, None),
            ("01/31/2020", None, None),
            ("01/31/2020", Some("MM/DD/YYYY"), day(2020, 1, 31)),
            ("1/2/2020 10:30 PM", Some("MM/DD/YYYY"), day(2020, 1, 2)),
            ("31.1.2020", Some("dd.mm.yyyy"), day(2020, 1, 31)),
            ("31.1.20", Some("DD.MM.YYYY"), None),
            ("31/01/2020", Some("MM/DD/YYYY"), None),
            ("2020-01-31", Some("DD.MM.YYYY"), day(2020, 1, 31)),
        ] {
            let format = format.map(|format: &str| format.parse().unwrap());
            assert_eq!(date_without_time(text, format.as_ref()), expected, "{text}");
        }
        for text in ["", "DD.MM.YY", "DD.MM", "DD.DD.YYYY", "DD.MM.YYYY.", "%d.%m.%Y", "DDMMYYYY"] {
            assert!(text.parse::<DateFormat>().is_err(), "{text}");
        }
        for (text, format) in [("31.12.1999", "DD.MM.YYYY"), ("12/31/1999", "MM/DD/YYYY"), ("1-2-1999", "DD-MM-YYYY")] {
            assert_eq!(format_of(text), Some(format.parse().unwrap()), "{text}");
        }
        for text in ["", "soon", "31.13.1999", "1999-12-31", "1.2.99"] {
            assert_eq!(format_of(text), None, "{text}");
        }
        assert_eq!(day_of_year("--02-29"), Some((2, 29)));
        assert_eq!(day_of_year("--02-30"), None);
    }
}
