//! Phone numbers, and the interface to the crate that knows the numbering plans.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::text::Text;

/// A valid phone number in E.164: `+` and at most 15 digits.
///
/// ```
/// use enroll::contact::{PhoneError, PhoneNumber};
/// assert_eq!("+1 (202) 555-0123".parse::<PhoneNumber>()?.as_str(), "+12025550123");
/// assert_eq!("202-555-0123".parse::<PhoneNumber>(), Err(PhoneError::UnknownCountry));
/// # Ok::<(), PhoneError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Text", into = "Text")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, description = "A phone number in E.164."))]
pub struct PhoneNumber(Text);

impl PhoneNumber {
    /// Reads phone text as the engine does (spec 4.1), with the default normalizer: see [`PhoneNumber::read`].
    ///
    /// A number without `+` is read as dialled in `region`.
    ///
    /// # Errors
    /// [`PhoneError`] if the text is not a valid phone number.
    ///
    /// ```
    /// use enroll::contact::{PhoneNumber, Region};
    /// let phone = PhoneNumber::parse("(202) 555-0123", Some(&Region::new("US")?)).unwrap();
    /// assert_eq!(phone.as_str(), "+12025550123");
    /// # Ok::<(), enroll::contact::RegionError>(())
    /// ```
    pub fn parse(text: &str, region: Option<&Region>) -> Result<Self, PhoneError> {
        Self::read(text, region, &super::Libphonenumber)
    }

    /// Returns the number if the text has the form of E.164. It does not check the numbering plan.
    #[must_use]
    pub fn from_e164(text: &str) -> Option<Self> {
        is_e164(text).then(|| Self(text.into()))
    }

    /// Returns the number in E.164.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn text(&self) -> &Text {
        &self.0
    }
}

/// Reads a number with `+`, in any spelling: the same as [`PhoneNumber::parse`] without a region.
impl FromStr for PhoneNumber {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, PhoneError> {
        Self::parse(text, None)
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

/// Reads phone numbers. An implementation wraps a phone crate.
///
/// # Contract
/// - It reads text in any spelling, after the checks of [`PhoneNumber::read`]. It returns a number in E.164 that is valid as Google's libphonenumber defines it,
///   or a reason.
/// - It drops an extension. The result for a number with `+` does not depend on the region.
/// - The result depends on the arguments only. No input panics.
/// - The result is a fixed point: reading it again returns the same number.
pub trait PhoneNormalizer: Send + Sync {
    /// Reads `text`. If it has no `+`, it is read as dialled in `region`.
    ///
    /// # Errors
    /// [`PhoneError`] if the text is not a valid phone number.
    fn normalize(&self, text: &str, region: Option<&Region>) -> Result<PhoneNumber, PhoneError>;

    /// Returns the region of a number, or `None` if the number does not belong to a region.
    fn region(&self, phone: &PhoneNumber) -> Option<Region>;

    /// Returns the calling code of a region, such as 49 for `DE`, or `None` if the region is unknown.
    fn calling_code(&self, region: &Region) -> Option<u16>;

    /// Returns true if the number is toll-free, of shared cost, or a universal access number. Only such numbers are
    /// written with letters for digits.
    fn is_service_number(&self, phone: &PhoneNumber) -> bool;
}

/// The reason why a text is not a valid phone number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum PhoneError {
    /// The text does not look like a phone number, or contains a character that a phone number does not have.
    #[error("not a phone number")]
    NotANumber,
    /// The number has no `+` and the region is unknown, or its country code does not exist.
    #[error("its country is unknown")]
    UnknownCountry,
    /// The number has fewer digits than all numbers of its country.
    #[error("too short")]
    TooShort,
    /// The number has more digits than all numbers of its country, or the text is longer than a phone number can be.
    #[error("too long")]
    TooLong,
    /// The number does not exist in the numbering plan of its country.
    #[error("not a number of its country")]
    NoSuchNumber,
    /// A number in exponent notation, such as `3.47E9`. A spreadsheet has dropped some of its digits.
    #[error("in exponent notation; format the column as text and export it again")]
    Exponent,
    /// Some digits are hidden, such as in `(415) XXX-XXXX`.
    #[error("some digits are hidden")]
    Masked,
    /// The text has letters that are no label, extension or vanity number.
    #[error("it contains letters; send the number alone")]
    Letters,
    /// The text has more than one number, such as `030 12345678/79`.
    #[error("more than one number; send one of them")]
    SeveralNumbers,
    /// The text is a valid number of the region, and another valid number with `+` before it.
    #[error("it can be read with and without a country code; begin it with `+`, or with the prefix for national calls")]
    Ambiguous,
}

/// A region: an ISO 3166-1 country code of two capital letters.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String))]
pub struct Region([u8; 2]);

/// The error for a region that is not two letters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a region; use a country code of two letters, such as `US`")]
pub struct RegionError(String);

impl Region {
    /// Creates a region from a code of two letters, in upper or lower case.
    ///
    /// # Errors
    /// [`RegionError`] if the code is not two letters.
    pub fn new(code: &str) -> Result<Self, RegionError> {
        match code.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(RegionError(code.to_owned())),
        }
    }

    /// Returns the two letters.
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

/// Returns true if the text has the form of E.164: `+`, a digit other than 0, and up to 14 more digits.
fn is_e164(text: &str) -> bool {
    match text.as_bytes() {
        [b'+', b'1'..=b'9', rest @ ..] => rest.len() < MAX_DIGITS && rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The maximum number of digits in E.164.
const MAX_DIGITS: usize = 15;
/// The maximum length of phone text in characters. A phone number with an extension is shorter.
const MAX_TEXT: usize = 64;

/// Rejects text before a normalizer sees it: text that is too long, and the URI parameter that selects a country. The
/// phone crate panicked on that parameter.
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
