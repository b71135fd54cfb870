//! Text of rows, and the helpers that trim it. The only file that uses `smol_str`.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;
use std::borrow::{Borrow, Cow};
use std::fmt;
use std::ops::Deref;

/// Immutable text that is cheap to clone.
///
/// Text of up to 23 bytes is stored inline; clones of longer text share one allocation. Names, phones and most emails
/// fit inline, so a request with thousands of recipients makes few allocations.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, description = "Text."))]
pub struct Text(SmolStr);

impl Text {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(text: Cow<'_, str>) -> Self {
        Self(text.into())
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, text: &str) -> bool {
        *self.0 == *text
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, text: &&str) -> bool {
        *self.0 == **text
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Returns the trimmed text, or `None` if it is blank or absent.
pub(crate) fn non_blank<'t>(text: Option<&'t Cow<'_, str>>) -> Option<&'t str> {
    text.map(|text| trimmed(text)).filter(|text| !text.is_empty())
}

/// Trims text like [`str::trim`], but returns at once if both ends are visible ASCII characters.
pub(crate) fn trimmed(text: &str) -> &str {
    let stays = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    if stays(text.as_bytes().first()) && stays(text.as_bytes().last()) { text } else { text.trim() }
}

/// Returns true if a text field is absent or contains only white space.
pub(crate) fn is_blank(text: Option<&Text>) -> bool {
    text.is_none_or(|text| trimmed(text).is_empty())
}

/// Returns the first 64 characters of a text, and `…` if it has more.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(64).and_then(|(end, _)| text.get(..end)) {
        Some(first) => format!("{first}…"),
        None => text.to_owned(),
    }
}
