//! Enums whose variants are words: in JSON, in databases, on the command line.

use serde::de::{Error, Visitor};
use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

/// Defines an enum with one word for each variant.
///
/// The macro writes `ALL`, `as_str`, `Display`, `FromStr`, the serde implementations, and, with the feature
/// `schema`, `utoipa::ToSchema`. All of them use that word.
macro_rules! words {
    ($what:literal, $(#[$meta:meta])* pub enum $name:ident {
        $($(#[$variant_meta:meta])* $variant:ident = $word:literal,)+
    }) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
        $(#[$meta])*
        pub enum $name {
            $($(#[$variant_meta])* #[cfg_attr(feature = "schema", schema(rename = $word))] $variant,)+
        }

        impl $name {
            /// All variants, in the order of their definition.
            pub const ALL: [Self; [$($word),+].len()] = [$(Self::$variant),+];

            /// Returns the word that names the variant in JSON and in databases.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::words::UnknownWordError;

            fn from_str(word: &str) -> Result<Self, Self::Err> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err($crate::words::UnknownWordError::new($what, word, &[$($word),+])),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str($crate::words::WordVisitor::new())
            }
        }
    };
}
pub(crate) use words;

/// A word that names no variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not a {what}; use `{}`", .accepted.join("`, `"))]
pub struct UnknownWordError {
    what: &'static str,
    word: String,
    accepted: &'static [&'static str],
}

impl UnknownWordError {
    pub(crate) fn new(what: &'static str, word: &str, accepted: &'static [&'static str]) -> Self {
        Self { what, word: word.to_owned(), accepted }
    }

    /// Returns the words that are accepted.
    #[must_use]
    pub const fn accepted(&self) -> &'static [&'static str] {
        self.accepted
    }
}

/// Reads a word without allocating.
pub(crate) struct WordVisitor<T>(PhantomData<T>);

impl<T> WordVisitor<T> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T: FromStr<Err = UnknownWordError>> Visitor<'_> for WordVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<T, E> {
        word.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::{ChannelKind, Resource};

    #[test]
    fn each_word_is_read_written_and_displayed() {
        for kind in ChannelKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(kind.to_string(), kind.as_str());
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{kind}\""));
            assert_eq!(serde_json::from_str::<ChannelKind>(&json).unwrap(), kind);
        }
    }

    #[test]
    fn the_error_lists_the_accepted_words() {
        let error = "Contact".parse::<Resource>().unwrap_err();
        assert_eq!(error.to_string(), "`Contact` is not a resource; use `contact`, `step_contact`");
        assert_eq!(error.accepted(), Resource::ALL.map(Resource::as_str));
        let json = serde_json::from_str::<Resource>("\"\"").unwrap_err().to_string();
        assert!(json.starts_with("`` is not a resource"), "{json}");
    }
}
