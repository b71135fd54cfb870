//! The versions of stored JSON: commands, reports and change sets.
//!
//! Stored data outlives the code (spec 6). Three rules keep it readable:
//!
//! 1. *Old data is read by new code.* A version, once released, is read from then on.
//! 2. *A rule raises the version.* If a new field changes what a command means, the commands that use the field get a
//!    higher version; all others keep theirs. See `LATER_RULES` of the command.
//! 3. *Other new fields do not.* A reader ignores fields that it does not know, in a version that it knows.
//!
//! So a reader never applies a rule halfway: it knows all rules of a version, or it refuses the version by number.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The version of a stored shape, of which this build reads 1 to `LATEST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FormatVersion<const LATEST: u32>(u32);

impl<const LATEST: u32> FormatVersion<LATEST> {
    /// The first version.
    pub(crate) const FIRST: Self = Self(1);

    /// Returns the version with this number. A number that this build does not read does not compile in a constant.
    pub(crate) const fn number(number: u32) -> Self {
        assert!(1 <= number && number <= LATEST);
        Self(number)
    }

    /// Returns the version with this number, if this build reads it.
    pub(crate) const fn known(number: u32) -> Option<Self> {
        if 1 <= number && number <= LATEST { Some(Self(number)) } else { None }
    }

    /// Returns the schema of the version in an OpenAPI document.
    #[cfg(feature = "schema")]
    pub(crate) fn schema() -> utoipa::openapi::Object {
        let number = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::Integer);
        let number = number.minimum(Some(Self::FIRST.0)).maximum(Some(LATEST));
        number.description(Some("The version of this format.")).build()
    }
}

impl<const LATEST: u32> Serialize for FormatVersion<LATEST> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u32(self.0)
    }
}

impl<'de, const LATEST: u32> Deserialize<'de> for FormatVersion<LATEST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u32::deserialize(deserializer)?;
        Self::known(number).ok_or_else(|| {
            D::Error::custom(format_args!(
                "version {number} is not known: this build reads versions 1 to {LATEST}; use a newer build"
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_version_is_refused_by_number() {
        assert_eq!(serde_json::to_string(&FormatVersion::<2>::FIRST).unwrap(), "1");
        assert_eq!(serde_json::from_str::<FormatVersion<2>>("1").unwrap(), FormatVersion::FIRST);
        assert_eq!(serde_json::from_str::<FormatVersion<2>>("2").unwrap(), FormatVersion(2));
        for unknown in ["0", "3"] {
            let refused = serde_json::from_str::<FormatVersion<2>>(unknown).unwrap_err().to_string();
            assert!(refused.starts_with(&format!("version {unknown} is not known")), "{refused}");
        }
    }
}
