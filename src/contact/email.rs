//! Email addresses: what is valid, and the key that two spellings of one address share.
//!
//! The one file that knows `email_address`, `idna` and `unicode-normalization`.

use email_address::{EmailAddress, Options};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use unicode_normalization::UnicodeNormalization;

use crate::text::Text;

/// An email address as it was given, with the key that it is compared by beside it.
///
/// The key is the local part in NFC with ASCII letters lowered, and the domain in lower-case ASCII (IDNA).
/// Sub-addresses (`+tag`) and dots count.
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

/// Why a text is no valid email address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EmailError {
    /// Not `local@domain`, or with a character that does not belong there.
    #[error("not an email address")]
    Syntax,
    /// More than 254 bytes, or more than 64 before the `@`.
    #[error("too long")]
    TooLong,
    /// What stands before the `@` is quoted, or has characters that no mailbox has.
    #[error("its part before the `@` is no mailbox")]
    LocalPart,
    /// The domain is no host name with at least two labels.
    #[error("its domain is none")]
    Domain,
}

impl Email {
    /// Reads an address, trimmed.
    ///
    /// # Errors
    /// [`EmailError`] says why the text is no valid address.
    pub fn parse(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        if text.contains('"') {
            return Err(EmailError::LocalPart);
        }
        // Composed, since the crate takes letters but not the marks that some are written with.
        let composed = if text.is_ascii() { Cow::Borrowed(text) } else { Cow::Owned(text.nfc().collect()) };
        EmailAddress::parse_with_options(&composed, strict()).map_err(|e| fault(&e))?;
        let (local, domain) = text.rsplit_once('@').ok_or(EmailError::Syntax)?;
        if !local.chars().all(belongs_to_a_mailbox) {
            return Err(EmailError::LocalPart);
        }
        if let (true, Domain::Ascii(domain)) = (local.is_ascii(), Domain::of(domain)) {
            return if is_host_name(domain) { Ok(Self::ascii(text)) } else { Err(EmailError::Domain) };
        }
        let domain = ascii_domain(domain).ok_or(EmailError::Domain)?;
        let key = key(&normalized_local(local), &domain);
        if key.len() > MAX_BYTES {
            return Err(EmailError::TooLong);
        }
        Ok(Self::with_key(text, &key))
    }

    /// An address that needs no more than its letters lowered.
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

    /// Takes a stored address without judging it; its key is made as well as can be.
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

    /// Takes an address and the key that a repository stored beside it.
    #[must_use]
    pub fn with_key(address: &str, key: &str) -> Self {
        let address = Text::from(address);
        let key = if *address == *key { address.clone() } else { Text::from(key) };
        Self { address, key }
    }

    /// The address as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.address
    }

    /// What it is compared by.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn key_text(&self) -> &Text {
        &self.key
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

/// A UTF-8 local part is for letters and marks: no white space, no control, format or private character,
/// nothing invisible that would make two addresses look like one.
fn belongs_to_a_mailbox(c: char) -> bool {
    c.is_ascii() || c.is_alphanumeric() || unicode_normalization::char::is_combining_mark(c)
}

fn normalized_local(local: &str) -> Cow<'_, str> {
    if local.is_ascii() { lowered(local) } else { Cow::Owned(local.nfc().map(|c| c.to_ascii_lowercase()).collect()) }
}

/// A domain as it is written.
enum Domain<'a> {
    Ascii(&'a str),
    /// With letters beyond ASCII, or with such letters written in ASCII.
    International(&'a str),
}

impl<'a> Domain<'a> {
    fn of(domain: &'a str) -> Self {
        let encoded = |domain: &str| domain.as_bytes().windows(4).any(|w| w.eq_ignore_ascii_case(b"xn--"));
        let hyphens = domain.as_bytes().windows(2).any(|w| w == b"--");
        if domain.is_ascii() && !(hyphens && encoded(domain)) {
            Self::Ascii(domain)
        } else {
            Self::International(domain)
        }
    }
}

/// The domain in lower-case ASCII, if it is a host name of at least two labels.
fn ascii_domain(domain: &str) -> Option<Cow<'_, str>> {
    let ascii = match Domain::of(domain) {
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

/// The longest address that a mail server takes (RFC 5321, 4.5.3.1.3, less the angle brackets), in bytes.
const MAX_BYTES: usize = 254;

/// Not field by field, since a release of the crate may add one.
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
