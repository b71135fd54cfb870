//! The seam to whichever crate knows numbering plans: text and region in, E.164 or a reason out.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::text::Text;

/// A valid phone number in E.164: `+` and at most 15 digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
pub struct PhoneNumber(Text);

impl PhoneNumber {
    /// Reads a phone number with the engine's own normalizer.
    ///
    /// A number without `+` is read as one would dial it within `region`.
    ///
    /// # Errors
    /// [`PhoneError`] says why the text is no valid phone number.
    ///
    /// ```
    /// use enroll::contact::{PhoneNumber, Region};
    /// let phone = PhoneNumber::parse("(202) 555-0123", Some(&Region::new("US")?)).unwrap();
    /// assert_eq!(phone.as_str(), "+12025550123");
    /// # Ok::<(), enroll::contact::RegionError>(())
    /// ```
    pub fn parse(text: &str, region: Option<&Region>) -> Result<Self, PhoneError> {
        super::Libphonenumber.normalize(text, region)
    }

    /// Takes text that is E.164 in form; `None` if it is not. Validity is the normalizer's matter.
    #[must_use]
    pub fn from_e164(text: &str) -> Option<Self> {
        is_e164(text).then(|| Self(text.into()))
    }

    /// The number in E.164.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn text(&self) -> &Text {
        &self.0
    }
}

impl TryFrom<Text> for PhoneNumber {
    type Error = PhoneError;

    fn try_from(text: Text) -> Result<Self, PhoneError> {
        if is_e164(&text) { Ok(Self(text)) } else { Err(PhoneError::NotANumber) }
    }
}

impl From<PhoneNumber> for Text {
    fn from(phone: PhoneNumber) -> Self {
        phone.0
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads phone numbers: the seam behind which a phone crate stands.
///
/// # Contract
/// - Text in any spelling in; E.164, valid as Google's libphonenumber means it, or a reason out.
/// - An extension is dropped. A number with `+` does not depend on the region.
/// - A pure function of its arguments, and total: no input panics, however long or odd.
/// - What it answers is a fixed point: read again, it gives the same number.
pub trait PhoneNormalizer: Send + Sync {
    /// Reads `text`, as dialled within `region` where it has no `+`.
    ///
    /// # Errors
    /// [`PhoneError`] says why the text is no valid phone number.
    fn normalize(&self, text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneError>;

    /// The region that a number belongs to; `None` for one that belongs to none.
    fn region(&self, phone: &PhoneNumber) -> Option<Region>;
}

/// Why a text is no valid phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PhoneError {
    /// Nothing in it looks like a phone number, or something in it does not belong to one.
    #[error("not a phone number")]
    NotANumber,
    /// It has no `+` and no region is known to read it in; or its country code does not exist.
    #[error("its country is unknown")]
    UnknownCountry,
    /// Fewer digits than any number of its country.
    #[error("too short")]
    TooShort,
    /// More digits than any number of its country, or more text than any phone number.
    #[error("too long")]
    TooLong,
    /// No such number exists in its country's numbering plan.
    #[error("no number of its country")]
    NoSuchNumber,
}

/// A region: an ISO 3166-1 country code of two capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Region([u8; 2]);

/// Text that is not two letters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region: two letters such as `US`")]
pub struct RegionError(String);

impl Region {
    /// The region of a code of two letters, in either case.
    ///
    /// # Errors
    /// [`RegionError`] if it is anything else.
    pub fn new(code: &str) -> Result<Self, RegionError> {
        match code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(RegionError(code.to_owned())),
        }
    }

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl FromStr for Region {
    type Err = RegionError;

    fn from_str(code: &str) -> Result<Self, RegionError> {
        Self::new(code)
    }
}

impl TryFrom<String> for Region {
    type Error = RegionError;

    fn try_from(code: String) -> Result<Self, RegionError> {
        Self::new(&code)
    }
}

impl From<Region> for String {
    fn from(region: Region) -> Self {
        region.as_str().to_owned()
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({self})")
    }
}

/// Whether text is E.164 in form: `+`, a digit other than 0, and up to 14 more digits.
fn is_e164(text: &str) -> bool {
    match text.as_bytes() {
        [b'+', b'1'..=b'9', rest @ ..] => rest.len() < MAX_DIGITS && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The most digits that E.164 allows.
const MAX_DIGITS: usize = 15;
/// The longest text that is looked at, in characters: no phone number with extension needs more.
const MAX_TEXT: usize = 64;

/// What no normalizer is asked: text that is too long, and the URI parameter by which a caller could pick the
/// country (and by which the phone crate panicked).
pub(super) fn guard(text: &str) -> Result<(), PhoneError> {
    if text.len() > MAX_TEXT && text.chars().nth(MAX_TEXT).is_some() {
        return Err(PhoneError::TooLong);
    }
    if text.contains(';') && text.as_bytes().windows(CONTEXT.len()).any(|w| w.eq_ignore_ascii_case(CONTEXT)) {
        return Err(PhoneError::NotANumber);
    }
    Ok(())
}

const CONTEXT: &[u8] = b";phone-context=";
