//! The rules for the text of a cell (spec 11, *Cells*).

use std::borrow::Cow;

use crate::field::Field;
use crate::sheet::Cell;

/// Returns true for invisible format characters (Unicode category Cf).
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}' | '\u{891}' | '\u{8e2}'
        | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}'
        | '\u{2066}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0001}'
        | '\u{e0020}'..='\u{e007f}')
}

/// Trims a text and removes its invisible characters and the text markers of a spreadsheet.
///
/// With `names`, an apostrophe stays where a name can begin with it.
pub(crate) fn cleaned(text: &str, names: bool) -> Cow<'_, str> {
    if text.contains(is_invisible) {
        let visible: String = text.chars().filter(|c| !is_invisible(*c)).collect();
        return Cow::Owned(without_marker(visible.trim(), names).into_owned());
    }
    without_marker(text.trim(), names)
}

fn without_marker(text: &str, names: bool) -> Cow<'_, str> {
    if let Some(formula) = text.strip_prefix('=').map(str::trim_start).and_then(|rest| rest.strip_prefix('"'))
        && let Some(inner) = formula.strip_suffix('"')
    {
        let inner = inner.trim();
        return if inner.contains("\"\"") { Cow::Owned(inner.replace("\"\"", "\"")) } else { Cow::Borrowed(inner) };
    }
    match text.strip_prefix('\'') {
        Some(rest) if !(names && BEFORE_NAMES.iter().any(|start| rest.starts_with(start))) => {
            Cow::Borrowed(rest.trim())
        }
        _ => Cow::Borrowed(text),
    }
}

/// What follows an apostrophe that belongs to a name: `'t Hart`, `'s-Hertogenbosch`.
const BEFORE_NAMES: [&str; 6] = ["t ", "s ", "s-", "n ", "k ", "m "];

/// Returns true for the text of a spreadsheet's error, in the languages of the synonyms.
pub(crate) fn is_error(cell: &Cell) -> bool {
    match cell {
        Cell::Error(_) => true,
        Cell::Text(text) => ERRORS.iter().any(|error| text.trim().eq_ignore_ascii_case(error)),
        _ => false,
    }
}

const ERRORS: [&str; 30] = [
    "#N/A",
    "#N/A!",
    "#NA",
    "#VALUE!",
    "#REF!",
    "#DIV/0!",
    "#NUM!",
    "#NAME?",
    "#NULL!",
    "#SPILL!",
    "#CALC!",
    "#FIELD!",
    "#GETTING_DATA",
    "#ERROR!",
    "#NV",
    "#WERT!",
    "#BEZUG!",
    "#ZAHL!",
    "#VALEUR!",
    "#NOMBRE!",
    "#NOM?",
    "#¡VALOR!",
    "#¡REF!",
    "#¡DIV/0!",
    "#¡NUM!",
    "#¿NOMBRE?",
    "#VALOR!",
    "#VALORE!",
    "#RIF!",
    "#WAARDE!",
];

/// Returns the first of several values in a cell, and true if there are several.
pub(crate) fn first_value(text: &str) -> (&str, bool) {
    match text.split_once(" ::: ") {
        Some((first, _)) => (first.trim(), true),
        None => (text, false),
    }
}

/// Returns `phone` or `email` if a text looks like one. It is for messages: the engine decides what is valid.
pub(crate) fn looks_like(text: &str) -> Option<Field> {
    let text = cleaned(text, false);
    if is_email_like(&text) {
        return Some(Field::Email);
    }
    is_phone_like(&text).then_some(Field::Phone)
}

fn is_email_like(text: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '|' | '"');
    let parts = text.split_once('@');
    parts.is_some_and(|(local, domain)| {
        !local.is_empty() && !domain.contains('@') && domain.trim_matches('.').contains('.')
    }) && !text.contains(separates)
}

/// A number without `+` needs more digits than a date has.
fn is_phone_like(text: &str) -> bool {
    let (plus, rest) = text.strip_prefix('+').map_or((false, text), |rest| (true, rest));
    let digits = rest.chars().filter(char::is_ascii_digit).count();
    let punctuation = |c: char| matches!(c, ' ' | '\u{a0}' | '-' | '.' | '/' | '(' | ')');
    // `1234567.89` is an amount.
    let decimal = !plus && rest.split('.').count() == 2 && rest.chars().all(|c| c.is_ascii_digit() || c == '.');
    (if plus { 7 } else { 9 }..=15).contains(&digits)
        && rest.chars().all(|c| c.is_ascii_digit() || punctuation(c))
        && !decimal
}

/// The words for `yes` and `no`, in the languages of the synonyms.
pub(crate) fn answer(text: &str) -> Option<bool> {
    let word = crate::titles::normalized(text);
    if YES.contains(&word.as_str()) {
        return Some(true);
    }
    NO.contains(&word.as_str()).then_some(false)
}

const YES: [&str; 22] = [
    "true",
    "yes",
    "y",
    "1",
    "x",
    "t",
    "on",
    "wahr",
    "ja",
    "j",
    "vrai",
    "oui",
    "o",
    "verdadero",
    "si",
    "s",
    "verdadeiro",
    "sim",
    "vero",
    "waar",
    "checked",
    "subscribed",
];
const NO: [&str; 17] = [
    "false",
    "no",
    "n",
    "0",
    "f",
    "off",
    "falsch",
    "nein",
    "faux",
    "non",
    "falso",
    "nao",
    "onwaar",
    "nee",
    "unchecked",
    "none",
    "never",
];

/// The words that say that a person opted out, in a column that says who opted in.
pub(crate) const OPTED_OUT: [&str; 14] = [
    "optedout",
    "optout",
    "unsubscribed",
    "notsubscribed",
    "nonsubscribed",
    "cleaned",
    "bounced",
    "archived",
    "abgemeldet",
    "desinscrit",
    "desabonne",
    "baja",
    "disiscritto",
    "uitgeschreven",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markers_are_removed_but_names_keep_their_apostrophe() {
        for (text, names, expected) in [
            ("'+12025550171", false, "+12025550171"),
            ("'000123", false, "000123"),
            ("=\"000123\"", false, "000123"),
            ("= \"a \"\"b\"\"\"", false, "a \"b\""),
            ("''t Hart", true, "'t Hart"),
            ("'t Hart", true, "'t Hart"),
            ("'t Hart", false, "t Hart"),
            ("'s-Hertogenbosch", true, "'s-Hertogenbosch"),
            ("'Ann", true, "Ann"),
            ("O'Brien", true, "O'Brien"),
            ("'", false, ""),
            ("=\"", false, "=\""),
            (" \u{a0}a\u{200b}b\u{feff} ", false, "ab"),
            ("\u{200b} '1", false, "1"),
        ] {
            assert_eq!(cleaned(text, names), expected, "{text:?}");
        }
    }

    #[test]
    fn phones_and_emails_are_recognized_for_messages() {
        for text in ["+1 415 555 0171", "(415) 555-0171", "030/1234567", "'+14155550171", "+4912345"] {
            assert_eq!(looks_like(text), Some(Field::Phone), "{text}");
        }
        for text in ["a@b.example", "ANN.B@example.co.uk"] {
            assert_eq!(looks_like(text), Some(Field::Email), "{text}");
        }
        for text in
            ["", "Phone", "2024-03-01", "31.12.1999", "1001", "1234567.89", "a@b", "@acme.example", "Ann;a@b.example"]
        {
            assert_eq!(looks_like(text), None, "{text}");
        }
    }

    #[test]
    fn the_first_of_several_values_counts() {
        assert_eq!(first_value("a ::: b ::: c"), ("a", true));
        assert_eq!(first_value("a:::b"), ("a:::b", false));
    }
}
