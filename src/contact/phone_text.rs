//! spec 4.1, *Phone text*: text that a phone crate would read as another number than the one that is meant.

use std::borrow::Cow;

use super::phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, guard};
use crate::text::trimmed;

impl PhoneNumber {
    /// Reads phone text as the engine does (spec 4.1), with the host's normalizer.
    ///
    /// It removes a label such as `Tel.`, an extension, and the `.0` of a number that was a floating-point number. It
    /// refuses text that is not meant as the number that the normalizer would read from it, such as `030 12345/79`.
    ///
    /// # Errors
    /// [`PhoneError`] if the text is not a valid phone number, or if another number may be meant.
    ///
    /// ```
    /// use enroll::contact::{Libphonenumber, PhoneError, PhoneNumber, Region};
    ///
    /// let germany = Region::new("DE")?;
    /// let read = |text| PhoneNumber::read(text, Some(&germany), &Libphonenumber);
    /// assert_eq!(read("Tel. 030 123456 ext. 12").unwrap().as_str(), "+4930123456");
    /// assert_eq!(read("030 12345***"), Err(PhoneError::Masked));
    /// # Ok::<(), enroll::contact::RegionError>(())
    /// ```
    pub fn read(text: &str, region: Option<&Region>, phones: &dyn PhoneNormalizer) -> Result<Self, PhoneError> {
        if text.bytes().all(|byte| PLAIN[usize::from(byte)]) {
            return read_plain(text, region, phones);
        }
        guard(text)?;
        // A spreadsheet may have marked the cell as text.
        let text =
            text.trim_matches(|character: char| character.is_whitespace() || matches!(character, '\'' | '"' | '='));
        if is_exponent(text) {
            return Err(PhoneError::Exponent);
        }
        let text = without_carrier_prefix(text, region);
        if is_masked(&text) {
            return Err(PhoneError::Masked);
        }
        let text = without_label(&text);
        let text = without_extension(text);
        let letters = text.chars().any(char::is_alphabetic);
        if letters && !is_vanity(text, region, phones) {
            return Err(PhoneError::Letters);
        }
        let is_number = |(end, _): (usize, &str)| phones.normalize(&text[..end], region).is_ok();
        if text.match_indices(['/', '\u{ff0f}']).any(is_number) {
            return Err(PhoneError::SeveralNumbers);
        }
        read_plain(text, region, phones)
    }
}

/// True for the characters of most phone numbers. None of them makes another number of the text.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let characters = b"0123456789+ -().";
    let mut at = 0;
    while at < characters.len() {
        plain[characters[at] as usize] = true;
        at += 1;
    }
    plain
};

/// Reads text without letters and masks.
fn read_plain(text: &str, region: Option<&Region>, phones: &dyn PhoneNormalizer) -> Result<PhoneNumber, PhoneError> {
    let text = without_fraction(trimmed(text));
    let phone = phones.normalize(text, region)?;
    if is_digits(text) && region.is_some_and(|region| begins_with_calling_code(text, *region, phones)) {
        let international = phones.normalize(&format!("+{text}"), None);
        if international.is_ok_and(|other| other != phone) {
            return Err(PhoneError::Ambiguous);
        }
    }
    Ok(phone)
}

fn begins_with_calling_code(digits: &str, region: Region, phones: &dyn PhoneNormalizer) -> bool {
    phones.calling_code(&region).is_some_and(|code| digits.starts_with(&*code.to_string()))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Removes `.0`, `.00` and so on from text that is otherwise digits, with or without `+`.
fn without_fraction(text: &str) -> &str {
    if !text.ends_with('0') {
        return text;
    }
    match text.split_once('.') {
        Some((whole, zeros))
            if !zeros.is_empty()
                && zeros.bytes().all(|byte| byte == b'0')
                && is_digits(whole.strip_prefix('+').unwrap_or(whole)) =>
        {
            whole
        }
        _ => text,
    }
}

/// Returns true for a number such as `3.47E9`: a program has dropped some of its digits.
fn is_exponent(text: &str) -> bool {
    let Some((mantissa, exponent)) = text.split_once(['e', 'E']) else { return false };
    let (whole, fraction) = mantissa.split_once(['.', ',']).unwrap_or((mantissa, "0"));
    is_digits(whole.strip_prefix(SIGNS).unwrap_or(whole))
        && is_digits(fraction)
        && is_digits(exponent.strip_prefix(SIGNS).unwrap_or(exponent))
}

const SIGNS: [char; 2] = ['+', '-'];

/// Returns true if some digits are hidden: two or more X next to each other, or another character of a mask.
fn is_masked(text: &str) -> bool {
    let mut after_x = false;
    for character in text.chars() {
        match character {
            '*' | '_' | '?' | '\u{2022}' | '\u{2026}' => return true,
            'x' | 'X' if after_x => return true,
            'x' | 'X' => after_x = true,
            _ if character.is_alphanumeric() => after_x = false,
            _ => {}
        }
    }
    false
}

/// Removes the `xx` of a Brazilian `0xx11`: it stands for a carrier.
fn without_carrier_prefix<'t>(text: &'t str, region: Option<&Region>) -> Cow<'t, str> {
    if region.is_none_or(|region| region.as_str() != "BR") {
        return Cow::Borrowed(text);
    }
    let begins_number = |at: usize| !text[..at].ends_with(|character: char| character.is_ascii_digit());
    let prefix = text.match_indices('0').find(|&(at, zero)| {
        let rest = text[at + zero.len()..].trim_start();
        let carrier = rest.get(..2).is_some_and(|carrier| carrier.eq_ignore_ascii_case("xx"));
        let area = rest.get(2..).unwrap_or_default().trim_start_matches([' ', '-', '(', ')']);
        carrier && begins_number(at) && area.starts_with(|character: char| character.is_ascii_digit())
    });
    match prefix.and_then(|(at, _)| text.get(at + 1..)?.trim_start().get(2..).map(|rest| (at + 1, rest))) {
        Some((end, rest)) => Cow::Owned(format!("{}{rest}", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Removes a label before the number.
fn without_label(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphabetic()).unwrap_or(text.len());
    let (label, rest) = text.split_at(end);
    if !LABELS.iter().any(|known| known.eq_ignore_ascii_case(label)) {
        return text;
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let rest = rest.strip_prefix(':').unwrap_or(rest).trim_start();
    let is_number = rest.starts_with(|c: char| matches!(c, '+' | '\u{ff0b}' | '(') || c.is_numeric());
    if is_number { rest } else { text }
}

const LABELS: [&str; 10] = ["tel", "phone", "mobile", "mob", "cell", "whatsapp", "sms", "p", "m", "t"];

/// Removes an extension: a label that libphonenumber knows, its digits, and nothing after them.
fn without_extension(text: &str) -> &str {
    let rest = text.trim_end().trim_end_matches(['#', '\u{ff03}']);
    let before_digits = rest.trim_end_matches(char::is_numeric);
    let digits = rest[before_digits.len()..].chars().count();
    let label_end = before_digits.trim_end_matches([' ', '\u{a0}', '\t', ',', '-']);
    let label_end = label_end.strip_suffix([':', '.', '\u{ff0e}', '=']).unwrap_or(label_end).trim_end();
    let before_label = label_end.trim_end_matches(char::is_alphabetic);
    let label = label_end[before_label.len()..].to_lowercase();
    let longest = if LONG_EXTENSIONS.contains(&&*label) {
        20
    } else if SHORT_EXTENSIONS.contains(&&*label) {
        9
    } else {
        0
    };
    let number = before_label.trim_end_matches([' ', '\u{a0}', '\t', ',', ';', '.', '-']);
    if (1..=longest).contains(&digits) && number.contains(char::is_numeric) { number } else { text }
}

/// The labels in libphonenumber's pattern of an extension, for at most 20 digits.
const LONG_EXTENSIONS: [&str; 14] = [
    "ext",
    "extn",
    "extension",
    "extensi\u{f3}n",
    "xt",
    "xtn",
    "xtension",
    "xtensi\u{f3}n",
    "anexo",
    "\u{434}\u{43e}\u{431}",
    "\u{ff45}\u{ff58}\u{ff54}",
    "\u{ff45}\u{ff58}\u{ff54}\u{ff4e}",
    "\u{ff58}\u{ff54}",
    "\u{ff58}\u{ff54}\u{ff4e}",
];
/// Those for at most 9 digits.
const SHORT_EXTENSIONS: [&str; 4] = ["x", "int", "\u{ff58}", "\u{ff49}\u{ff4e}\u{ff54}"];

/// Returns true if the letters stand for digits: only numbers of services are written so. libphonenumber reads letters as
/// digits if there are three or more, and ignores them otherwise. No text without a digit is a number.
fn is_vanity(text: &str, region: Option<&Region>, phones: &dyn PhoneNormalizer) -> bool {
    if !text.contains(char::is_numeric) {
        return false;
    }
    let mut letters = text.chars().filter(|character| character.is_alphabetic());
    let count = letters.try_fold(0, |count, letter| letter.is_ascii().then_some(count + 1));
    count.is_some_and(|count| count >= 3)
        && phones.normalize(text, region).is_ok_and(|phone| phones.is_service_number(&phone))
}
