//! Email addresses: their validation, and the key that all spellings of one address share (spec 4.1).
//!
//! The only file that uses `email_address`, `idna` and `unicode-normalization`.

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use unicode_normalization::UnicodeNormalization;

use crate::text::{Text, trimmed};

/// An email address as given, together with its comparison key.
///
/// The key has the local part in NFC with ASCII letters in lower case, and the domain in lower-case ASCII (IDNA).
/// Sub-addresses (`+tag`) and dots are kept, so they make different keys.
///
/// ```
/// use enroll::contact::Email;
/// let email = Email::parse(" Ann@Bücher.example ").unwrap();
/// assert_eq!(email.as_str(), "Ann@Bücher.example");
/// assert_eq!(email.key(), "ann@xn--bcher-kva.example");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Email {
    address: Text,
    key: Text,
}

/// The reason why a text is not a valid email address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub enum EmailError {
    /// The text does not have the form `local@domain`, or it has a character that is not allowed.
    #[error("not an email address")]
    Syntax,
    /// The text has more than 254 bytes, or more than 64 before the `@`.
    #[error("too long")]
    TooLong,
    /// The part before the `@` is quoted, or has characters that mailboxes do not have.
    #[error("the part before the `@` is not a mailbox name")]
    LocalPart,
    /// The domain is not a host name with at least two labels.
    #[error("the part after the `@` is not a domain")]
    Domain,
}

impl Email {
    /// Trims and validates an address.
    ///
    /// # Errors
    /// [`EmailError`] if the text is not a valid address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = trimmed(text);
        if text.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        if text.contains('"') {
            return Err(EmailError::LocalPart);
        }
        // In composed form, since the crate accepts letters but not combining marks.
        let composed = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
        EmailAddress::parse_with_options(&composed, strict()).map_err(|e| fault(&e))?;
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Syntax)?;
        if !local.chars().all(belongs_to_a_mailbox) {
            return Err(EmailError::LocalPart);
        }
        if let (true, Domain::Ascii(domain)) = (local.is_ascii(), Domain::new(domain)) {
            return if is_host_name(domain) { Ok(Self::ascii(text)) } else { Err(EmailError::Domain) };
        }
        let domain = ascii_domain(domain).ok_or(EmailError::Domain)?;
        let key = key(&normalized_local(local), &domain);
        if key.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        Ok(Self::with_key(text, &key))
    }

    /// Returns an address whose key is the address in lower case.
    fn ascii(text: &str) -> Self {
        let mut lowered = [0; MAX_BYTES];
        let address = Text::from(text);
        let key = match lowered.get_mut(..text.len()) {
            Some(key) if text.bytes().any(|b| b.is_ascii_uppercase()) => {
                key.copy_from_slice(text.as_bytes());
                key.make_ascii_lowercase();
                std::str::from_utf8(key).map_or_else(|_| address.clone(), Text::from)
            }
            _ => address.clone(),
        };
        Self { address, key }
    }

    /// Reads a stored address without validation. The key of an address that is not valid is a best effort.
    #[must_use]
    pub fn stored(address: &str) -> Self {
        let text = address.trim();
        let key = match text.rsplit_once('@') {
            Some((local, domain)) => {
                let domain = ascii_domain(domain).unwrap_or_else(|| Cow::Owned(domain.to_ascii_lowercase()));
                key(&normalized_local(local), &domain)
            }
            None => text.to_ascii_lowercase(),
        };
        Self::with_key(text, &key)
    }

    /// Creates an address from its stored text and its stored key.
    #[must_use]
    pub fn with_key(address: &str, key: &str) -> Self {
        let address = Text::from(address);
        let key = if *address == *key { address.clone() } else { Text::from(key) };
        Self { address, key }
    }

    /// Returns the address as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// Returns the comparison key.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn key_text(&self) -> &Text {
        &self.key
    }
}

/// The same as [`Email::parse`].
impl std::str::FromStr for Email {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        Self::parse(text)
    }
}

impl fmt::Display for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Email({})", self.address)
    }
}

impl Serialize for Email {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.address)
    }
}

impl<'de> Deserialize<'de> for Email {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::stored(&Cow::<str>::deserialize(deserializer)?))
    }
}

#[cfg(feature = "schema")]
impl utoipa::PartialSchema for Email {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        let text = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
        text.description(Some("An email address as given.")).into()
    }
}

#[cfg(feature = "schema")]
impl utoipa::ToSchema for Email {}

fn fault(error: &email_address::Error) -> EmailError {
    use email_address::Error as E;
    match error {
        E::LocalPartTooLong => EmailError::TooLong,
        E::LocalPartEmpty | E::UnbalancedQuotes | E::InvalidComment => EmailError::LocalPart,
        E::DomainEmpty
        | E::DomainTooLong
        | E::SubDomainEmpty
        | E::SubDomainTooLong
        | E::DomainTooFew
        | E::DomainInvalidSeparator
        | E::InvalidIPAddress
        | E::UnsupportedDomainLiteral => EmailError::Domain,
        _ => EmailError::Syntax,
    }
}

/// Returns true for ASCII, letters, digits and combining marks. White space, control and invisible characters are not
/// allowed: two addresses would look like one.
fn belongs_to_a_mailbox(c: char) -> bool {
    c.is_ascii() || c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

fn normalized_local(local: &str) -> Cow<'_, str> {
    if local.is_ascii() { lowered(local) } else { Cow::Owned(local.nfc().map(|c| c.to_ascii_lowercase()).collect()) }
}

/// A domain as given.
enum Domain<'a> {
    Ascii(&'a str),
    /// It has letters outside ASCII, plain or in their ASCII encoding.
    International(&'a str),
}

impl<'a> Domain<'a> {
    fn new(domain: &'a str) -> Self {
        let encoded = |domain: &str| domain.as_bytes().windows(4).any(|w| w.eq_ignore_ascii_case(b"xn--"));
        let hyphens = domain.as_bytes().windows(2).any(|w| w == b"--");
        if domain.is_ascii() && !(hyphens && encoded(domain)) {
            Self::Ascii(domain)
        } else {
            Self::International(domain)
        }
    }
}

/// Returns the domain in lower-case ASCII if it is a host name with at least two labels.
fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    let ascii = match Domain::new(domain) {
        Domain::Ascii(domain) => lowered(domain),
        Domain::International(domain) => Cow::Owned(idna::domain_to_ascii_strict(domain).ok()?),
    };
    is_host_name(&ascii).then_some(ascii)
}

fn is_host_name(domain: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let Some((_, last)) = domain.rsplit_once('.') else {
        return false;
    };
    domain.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

fn lowered(text: &str) -> Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Borrowed(text)
    }
}

fn key(local: &str, domain: &str) -> String {
    let mut key = String::with_capacity(local.len() + 1 + domain.len());
    key.push_str(local);
    key.push('@');
    key.push_str(domain);
    key
}

/// The maximum length in bytes that a mail server accepts (RFC 5321, 4.5.3.1.3, without the angle brackets).
const MAX_BYTES: usize = 254;

/// Uses the builder, since a release of the crate may add a field.
fn strict() -> Options {
    Options::default().with_minimum_sub_domains(2).without_domain_literal().without_display_text()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_in_two_spellings_has_one_key() {
        for (a, b) in [
            ("Ann.Lee@Example.COM", "ann.lee@example.com"),
            ("jo\u{0301}@example.com", "j\u{00f3}@example.com"),
            ("x@B\u{fc}cher.example", "X@xn--bcher-kva.example"),
            ("x@XN--BCHER-KVA.example", "x@b\u{fc}cher.example"),
        ] {
            assert_eq!(Email::parse(a).unwrap().key(), Email::parse(b).unwrap().key(), "{a} {b}");
        }
        for (a, b) in [("a+b@example.com", "a@example.com"), ("a.b@example.com", "ab@example.com")] {
            assert_ne!(Email::parse(a).unwrap().key(), Email::parse(b).unwrap().key(), "{a} {b}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "@",
            "a@",
            "@b.com",
            "a b@c.com",
            "a@b",
            "a@b..com",
            "a@-b.com",
            "a@b_c.com",
            "a@b.123",
            "a@[127.0.0.1]",
            "\"a\"@b.com",
            "Ann <a@b.com>",
            "a@b@c.com",
            "a@xn--\u{fc}.com",
            "a\u{200b}b@c.com",
            "a@b.com\u{0}",
            ".a@b.com",
            "a.@b.com",
        ] {
            assert!(Email::parse(text).is_err(), "{text:?}");
        }
        assert_eq!(Email::parse(&format!("{}@b.com", "a".repeat(65))), Err(EmailError::TooLong));
        assert_eq!(Email::parse(&"a".repeat(10_000_000)), Err(EmailError::TooLong));
    }

    #[test]
    fn a_stored_address_is_not_judged() {
        assert_eq!(Email::stored("NOT AN ADDRESS").key(), "not an address");
        assert_eq!(Email::stored("A@B").key(), "a@b");
        assert_eq!(Email::stored(" A@Example.com ").key(), Email::parse("a@example.com").unwrap().key());
    }
}
