//! Warnings: what the engine did not use of a request (spec 3, *Unknown keys*).

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::policy::{EnrollmentPolicy, UnknownKeys};
use crate::request::EnrollmentRequest;
use crate::value::Value;

/// A part of a request that the engine did not use.
///
/// It serializes as `{"code": "...", ...}` and displays as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(description = "A part of a request that is not used."))]
#[non_exhaustive]
pub enum Warning {
    /// No field has this key.
    UnknownKey {
        /// The place: a JSON Pointer into the body. A long key is cut.
        path: String,
    },
    /// The number of unknown keys that are not listed.
    MoreUnknownKeys {
        /// Their number.
        count: usize,
    },
    /// Recipients have `properties`, but the request has no `custom_data`.
    PropertiesUnused {
        /// The number of these recipients.
        count: usize,
    },
}

impl Warning {
    /// Returns the warnings for a request, in the order of the spec.
    pub(crate) fn list(request: &EnrollmentRequest<'_>, policy: &EnrollmentPolicy) -> Vec<Self> {
        let mut warnings = Vec::new();
        if policy.unknown_keys == UnknownKeys::Warn {
            let UnknownKeyPaths { listed, more } = &request.unknown_keys;
            warnings.extend(listed.iter().map(|path| Self::UnknownKey { path: path.clone() }));
            if *more > 0 {
                warnings.push(Self::MoreUnknownKeys { count: *more });
            }
        }
        if request.custom_data.is_none() {
            let has_properties =
                |properties: &crate::value::Properties| properties.values().any(|v: &Value| !v.is_blank());
            let count = request.to.iter().filter(|entry| has_properties(&entry.properties)).count();
            if count > 0 {
                warnings.push(Self::PropertiesUnused { count });
            }
        }
        warnings
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { path } => write!(f, "{path}: the key is unknown, and its value was not used"),
            Self::MoreUnknownKeys { count } => write!(f, "{count} more keys are unknown"),
            Self::PropertiesUnused { count } => {
                write!(
                    f,
                    "the `properties` of {count} recipients were not used, because the request has no `custom_data`"
                )
            }
        }
    }
}

/// The unknown keys of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct UnknownKeyPaths {
    /// The paths of the first ones, in the order of the body.
    pub(crate) listed: Vec<String>,
    /// The number of the others.
    pub(crate) more: usize,
}

impl UnknownKeyPaths {
    const MAX_LISTED: usize = 20;

    /// Adds a key. `path` is computed only for a key that is listed.
    pub(crate) fn add(&mut self, path: impl FnOnce() -> String) {
        if self.listed.len() == Self::MAX_LISTED {
            self.more += 1;
            return;
        }
        let path = path();
        if !self.listed.contains(&path) {
            self.listed.push(path);
        }
    }
}
