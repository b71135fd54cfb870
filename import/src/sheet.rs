//! Rows of typed cells: what every format is read into.

use std::borrow::Cow;

/// A cell as the file has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Cell {
    #[default]
    Blank,
    Text(String),
    Integer(i64),
    Number(f64),
    Bool(bool),
    /// A date, and the time of day as text if there is one: `10:30:00`.
    Date {
        year: i32,
        month: u8,
        day: u8,
        time: Option<String>,
    },
    /// An error of a spreadsheet, such as `#N/A`.
    Error(String),
    /// A list or an object of a JSON file.
    Json(serde_json::Value),
}

/// A row and its number in the file, from 1.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) number: u64,
    pub(crate) cells: Vec<Cell>,
}

impl Cell {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Returns the cell as text, without the rules for cells (spec 11, *Cells*). A number without a fraction is its digits.
    pub(crate) fn display(&self) -> Cow<'_, str> {
        match self {
            Self::Blank => Cow::Borrowed(""),
            Self::Text(text) | Self::Error(text) => Cow::Borrowed(text),
            Self::Integer(number) => Cow::Owned(number.to_string()),
            // `-0` is `0`.
            Self::Number(number) if *number == 0.0 => Cow::Borrowed("0"),
            Self::Number(number) => Cow::Owned(number.to_string()),
            Self::Bool(flag) => Cow::Borrowed(if *flag { "true" } else { "false" }),
            Self::Date { year, month, day, time } => Cow::Owned(match time {
                None => format!("{year:04}-{month:02}-{day:02}"),
                Some(time) => format!("{year:04}-{month:02}-{day:02} {time}"),
            }),
            Self::Json(value) => Cow::Owned(value.to_string()),
        }
    }

    /// Returns true if the cell has no visible text.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Blank => true,
            Self::Text(text) => crate::cells::cleaned(text, true).is_empty(),
            _ => false,
        }
    }
}

impl Row {
    pub(crate) fn is_blank(&self) -> bool {
        self.cells.iter().all(Cell::is_blank)
    }
}

/// Returns the letters of a column, counted from 0: `A`, `Z`, `AA`.
pub(crate) fn column_letters(index: usize) -> String {
    let mut letters = Vec::new();
    let mut rest = index + 1;
    while rest > 0 {
        rest -= 1;
        letters.push(b'A' + u8::try_from(rest % 26).unwrap_or_default());
        rest /= 26;
    }
    letters.iter().rev().map(|letter| char::from(*letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_letters() {
        for (index, letters) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")] {
            assert_eq!(column_letters(index), letters);
        }
    }

    #[test]
    fn typed_cells_keep_their_value() {
        for (number, text) in [
            (12_025_550_187.0, "12025550187"),
            (1.202_555_018_7e10, "12025550187"),
            (0.1, "0.1"),
            (-5.0, "-5"),
            (-0.0, "0"),
            (1e21, "1000000000000000000000"),
        ] {
            assert_eq!(Cell::Number(number).display(), text);
        }
        let date = Cell::Date { year: 1990, month: 5, day: 1, time: None };
        assert_eq!(date.display(), "1990-05-01");
    }
}
