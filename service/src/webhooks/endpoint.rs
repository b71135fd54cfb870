//! What an operator says of an endpoint: its URL and the kinds of events that it gets.

use std::fmt::{self, Display};
use std::str::FromStr;
use url::Url;

use enroll::events::EventKind;

/// The URL of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndpointUrl(Url);

impl EndpointUrl {
    pub(crate) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for EndpointUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let problem = |problem: &str| Err(format!("{problem}; use `https://host/path`"));
        if text.len() > MAX_LENGTH {
            return problem(&format!("has {} bytes, and {MAX_LENGTH} are allowed", text.len()));
        }
        // `url` skips blanks and line breaks.
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return problem("contains a blank or a control character");
        }
        match Url::parse(text) {
            Err(url::ParseError::EmptyHost) => problem("has no host"),
            Err(e) => problem(&format!("is not a URL: {e}")),
            Ok(url) if !matches!(url.scheme(), "http" | "https") => {
                problem(&format!("has the scheme `{}`", url.scheme()))
            }
            // `url` accepts `https:host` and `https:///host`.
            Ok(url)
                if !text[url.scheme().len()..].starts_with("://")
                    || text[url.scheme().len() + 3..].starts_with('/') =>
            {
                problem("has no host")
            }
            Ok(url) if !url.username().is_empty() || url.password().is_some() => {
                problem("has a user or a password, which receivers do not need: they check the signature")
            }
            Ok(url) if url.fragment().is_some() => problem("has a fragment (`#…`), which is never sent"),
            Ok(url) => Ok(Self(url)),
        }
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The kinds of events that an endpoint gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kinds(Vec<EventKind>);

impl Kinds {
    pub(crate) fn contain(&self, kind: EventKind) -> bool {
        self.0.contains(&kind)
    }

    /// Reads the kinds of a stored endpoint, without those that only a newer build knows.
    pub(crate) fn from_stored(text: &str) -> Self {
        Self(text.split(',').filter_map(|word| word.parse().ok()).collect())
    }

    /// Returns the words of the kinds.
    pub(crate) fn words(&self) -> Vec<&'static str> {
        self.0.iter().map(|kind| kind.as_str()).collect()
    }
}

impl FromStr for Kinds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named: Vec<EventKind> =
            text.split(',').map(|word| word.trim().parse()).collect::<Result<_, _>>().map_err(|e| {
                let e: enroll::UnknownWordError = e;
                e.to_string()
            })?;
        Ok(Self(EventKind::ALL.into_iter().filter(|kind| named.contains(kind)).collect()))
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words().join(","))
    }
}

/// Returns the type of an event of a kind, as a receiver sees it.
pub(crate) fn type_name(kind: impl Display) -> String {
    format!("enrollment.{kind}")
}

const MAX_LENGTH: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_kinds_of_a_newer_build_are_skipped() {
        assert_eq!(Kinds::from_stored("completed,paused,failed").to_string(), "completed,failed");
        assert_eq!(Kinds::from_stored("paused").to_string(), "");
    }

    #[test]
    fn a_url_has_a_host_and_no_login() {
        for (text, problem) in [
            ("", "is not a URL"),
            ("example.com/hook", "is not a URL"),
            ("/hook", "is not a URL"),
            ("https://", "has no host"),
            ("https:///hook", "has no host"),
            ("https:example.com", "has no host"),
            ("http://:80/hook", "has no host"),
            ("ftp://example.com/", "has the scheme `ftp`"),
            ("file:///etc/passwd", "has the scheme `file`"),
            ("javascript:alert(1)", "has the scheme `javascript`"),
            ("https://ann@example.com/", "has a user or a password"),
            ("https://ann:secret@example.com/", "has a user or a password"),
            ("https://:secret@example.com/", "has a user or a password"),
            ("https://example.com/#part", "has a fragment"),
            ("https://example.com/a b", "contains a blank"),
            ("https://example.com/\nhook", "contains a blank or a control character"),
            ("https://example.com:99999/", "is not a URL: invalid port number"),
            ("https://exa mple.com/", "contains a blank"),
        ] {
            let error = text.parse::<EndpointUrl>().unwrap_err();
            assert!(error.starts_with(problem) && error.ends_with("; use `https://host/path`"), "{text}: {error}");
        }
        let long = format!("https://example.com/{}", "x".repeat(2048));
        assert!(long.parse::<EndpointUrl>().unwrap_err().contains("has 2068 bytes, and 2048 are allowed"));
        for text in ["https://example.com/", "http://127.0.0.1:8080/hook?token=1", "https://[2001:db8::1]/"] {
            assert_eq!(text.parse::<EndpointUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn kinds_are_words_in_a_fixed_order() {
        let kinds: Kinds = "failed, completed,failed".parse().unwrap();
        assert_eq!(kinds.to_string(), "completed,failed");
        assert!(kinds.contain(EventKind::Failed) && !kinds.contain(EventKind::Accepted));
        for bad in ["", "done", "completed,", "enrollment.completed"] {
            let error = bad.parse::<Kinds>().unwrap_err();
            assert!(
                error.contains("is not a kind of event; use `accepted`, `completed`, `rejected`, `failed`"),
                "{error}"
            );
        }
    }
}
