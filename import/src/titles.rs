//! The titles of columns, and what they mean (spec 11, *Header*): a table that anyone can extend.

use std::collections::HashMap;
use std::sync::LazyLock;
use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use crate::cells::is_invisible;
use crate::field::Field;

/// The titles: field, language and title. The file says how to add one.
const TITLES: &str = include_str!("titles.tsv");
/// The phrases of titles that speak of consent.
const CONSENT: &str = include_str!("consent.tsv");

/// What a title means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) field: Field,
    /// A mobile number comes before other numbers.
    pub(crate) mobile: bool,
    /// The title is the last name if another column is the first name, as `Name` next to `Vorname`.
    pub(crate) or_last: bool,
    /// The title is the first name if another column is the last name, as `Nome` next to `Cognome`.
    pub(crate) or_first: bool,
}

impl Meaning {
    fn of(field: Field) -> Self {
        Self { field, mobile: false, or_last: false, or_first: false }
    }

    /// Reads the first column of the table.
    fn from_word(word: &str) -> Option<Self> {
        let name = Self::of(Field::Name);
        Some(match word {
            "mobile" => Self { mobile: true, ..Self::of(Field::Phone) },
            "name_or_last_name" => Self { or_last: true, ..name },
            "name_or_first_name" => Self { or_first: true, ..name },
            "name_or_part" => Self { or_last: true, or_first: true, ..name },
            _ => Self::of(word.parse().ok()?),
        })
    }
}

/// Returns the rows of a table without its comments.
fn rows(table: &'static str) -> impl Iterator<Item = [&'static str; 3]> {
    table.lines().filter(|line| !line.starts_with("# ") && !line.trim().is_empty()).filter_map(|line| {
        let mut cells = line.split('\t').map(str::trim);
        Some([cells.next()?, cells.next()?, cells.next()?])
    })
}

static BY_TITLE: LazyLock<HashMap<String, Meaning>> = LazyLock::new(|| {
    rows(TITLES).filter_map(|[word, _, title]| Some((normalized(title), Meaning::from_word(word)?))).collect()
});

static CONSENT_PHRASES: LazyLock<HashMap<String, Consent>> = LazyLock::new(|| {
    let consent = |word| match word {
        "opted_out" => Some(Consent::OptedOut),
        "opted_in" => Some(Consent::OptedIn),
        "none" => Some(Consent::None),
        _ => None,
    };
    rows(CONSENT).filter_map(|[word, _, phrase]| Some((normalized(phrase), consent(word)?))).collect()
});

#[derive(Clone, Copy, PartialEq)]
enum Consent {
    OptedOut,
    OptedIn,
    /// A whole title that contains such a phrase but does not speak of consent.
    None,
}

/// Returns a title without case, diacritics, spaces, punctuation and invisible characters.
pub(crate) fn normalized(title: &str) -> String {
    let mut text = String::with_capacity(title.len());
    for c in title.nfkd().filter(|c| c.is_alphanumeric() && !is_combining_mark(*c) && !is_invisible(*c)) {
        match c {
            'ß' | 'ẞ' => text.push_str("ss"),
            'ø' | 'Ø' => text.push('o'),
            'æ' | 'Æ' => text.push_str("ae"),
            'œ' | 'Œ' => text.push_str("oe"),
            _ => text.extend(c.to_lowercase()),
        }
    }
    text
}

/// Returns the meaning of a title, if the table knows it.
pub(crate) fn meaning(title: &str) -> Option<Meaning> {
    // The names of the fields themselves.
    if let Ok(field) = title.trim().parse::<Field>() {
        return (!matches!(field, Field::OptedOut | Field::OptedIn | Field::Ignore)).then(|| Meaning::of(field));
    }
    let title = normalized(title);
    BY_TITLE.get(&title).cloned().or_else(|| {
        // `Phone 2 - Value` is another phone, but `Address 2` is not another first line of the address.
        let unnumbered: String = title.chars().filter(|c| !c.is_ascii_digit()).collect();
        BY_TITLE.get(&unnumbered).filter(|meaning| matches!(meaning.field, Field::Phone | Field::Email)).cloned()
    })
}

/// Returns the field that a title which speaks of consent suggests: `opted_out` or `opted_in`.
pub(crate) fn consent(title: &str) -> Option<Field> {
    let known = &*CONSENT_PHRASES;
    if known.get(&normalized(title)) == Some(&Consent::None) {
        return None;
    }
    let words = words(title);
    // The longest phrase counts: `not subscribed` before `subscribed`.
    let phrases = (1..=words.len().min(MAX_PHRASE)).rev().flat_map(|length| words.windows(length));
    let found = phrases.filter_map(|phrase| known.get(&phrase.concat())).find(|consent| **consent != Consent::None);
    found.map(|consent| if *consent == Consent::OptedIn { Field::OptedIn } else { Field::OptedOut })
}

/// Splits a title into normalized words, also at the capitals of `HasOptedOutOfEmail`.
fn words(title: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before = ' ';
    for c in title.chars().filter(|c| !is_invisible(*c)).take(MAX_TITLE) {
        let new = !(c.is_alphanumeric() || is_combining_mark(c)) || (before.is_lowercase() && c.is_uppercase());
        match words.last_mut() {
            Some(word) if !new => word.push(c),
            _ => words.push(c.to_string()),
        }
        before = c;
    }
    words.iter().map(|word| normalized(word)).filter(|word| !word.is_empty()).collect()
}

/// The number of words in the longest phrase.
const MAX_PHRASE: usize = 6;
/// The number of characters of a title that are searched for a phrase.
const MAX_TITLE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn no_title_means_two_fields() {
        let mut seen = BTreeMap::new();
        for [word, language, title] in rows(TITLES) {
            assert!(Meaning::from_word(word).is_some(), "`{word}` is not a field");
            let earlier = seen.insert(normalized(title), word);
            assert!(earlier.is_none_or(|earlier| earlier == word), "`{title}` ({language}) is {earlier:?} and {word}");
            assert_eq!(consent(title), None, "`{title}` speaks of consent");
            if word != "mobile" {
                assert!(meaning(title).is_some());
            }
        }
        for name in Field::names().filter(|name| !["opted_out", "opted_in", "ignore"].contains(name)) {
            let field = name.parse::<Field>().unwrap();
            let meaning = BY_TITLE.get(&normalized(name)).map(|meaning| meaning.field.clone());
            assert!(meaning.is_none_or(|meaning| meaning == field), "{name}");
        }
    }

    #[test]
    fn each_language_has_each_field() {
        for language in ["en", "de", "fr", "es", "pt", "it", "nl"] {
            let words: Vec<&str> = rows(TITLES).filter(|row| row[1] == language).map(|row| row[0]).collect();
            for field in ["phone", "mobile", "email", "first_name", "last_name", "city", "post_code", "birth_date"] {
                assert!(words.contains(&field), "{language}: {field}");
            }
            assert!(words.iter().any(|word| word.starts_with("name")), "{language}: name");
            let consent = rows(CONSENT).filter(|row| row[1] == language).map(|row| row[0]).collect::<Vec<_>>();
            assert!(consent.contains(&"opted_out") && consent.contains(&"opted_in"), "{language}: consent");
        }
    }

    #[test]
    fn ids_and_fax_numbers_are_no_keys() {
        for title in
            ["ID", "Nr", "Nr.", "#", "No", "Fax", "Fax Number", "Business Fax", "Telefax", "Faxnummer", "Fax 1"]
        {
            let field = meaning(title).map(|meaning| meaning.field);
            assert!(!field.is_some_and(|field| field.is_key()), "{title}");
        }
    }

    #[test]
    fn titles_are_compared_without_what_people_vary() {
        for title in ["phone", " PHONE ", "Phone:", "Ph\u{200b}one", "*Phone*", "\u{feff}phone", "P h o n e"] {
            assert_eq!(meaning(title).unwrap().field, Field::Phone, "{title}");
        }
        for title in ["Prénom", "PRE\u{301}NOM", "prenom"] {
            assert_eq!(meaning(title).unwrap().field, Field::FirstName, "{title}");
        }
        assert_eq!(meaning("Straße").unwrap().field, meaning("STRASSE").unwrap().field);
        assert_eq!(meaning("Phone 3 - Value").unwrap().field, Field::Phone);
        assert_eq!(meaning("Company"), None);
    }

    #[test]
    fn consent_is_found_within_a_title() {
        let (out, r#in) = (Some(Field::OptedOut), Some(Field::OptedIn));
        for (title, field) in [
            ("Unsubscribed", &out),
            ("Unsubscribed from all email", &out),
            ("HasOptedOutOfEmail", &out),
            ("DONOTCALL", &out),
            ("Email Opt-Out", &out),
            ("email_opt_out", &out),
            ("UNSUB_TIME", &out),
            ("Abgemeldet", &out),
            ("Désinscrit", &out),
            ("Accepts SMS", &r#in),
            ("Accepts Email Marketing", &r#in),
            ("Opt-In", &r#in),
            ("opted_out", &out),
            ("Adoption date", &None),
            ("Options", &None),
            ("OPTIN_TIME", &None),
            ("Description", &None),
            ("Email", &None),
        ] {
            assert_eq!(&consent(title), field, "{title}");
        }
    }
}
