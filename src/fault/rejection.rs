//! A refused request.

use super::Fault;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A refused request, with all its faults of one status.
///
/// It serializes as the documented error body, with `code` and `path` added to each error:
/// `{"errors":[{"description":"…","code":"…","path":"…"}],"status":422}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(
    feature = "schema",
    derive(utoipa::ToSchema),
    schema(description = "A refused request, with all its faults.")
)]
pub struct Rejection {
    errors: Vec<Fault>,
    status: u16,
}

impl Rejection {
    /// Returns a rejection with the faults of the lowest status: 404 before 409, 409 before 422. `None` without faults.
    pub(crate) fn from_faults(mut faults: Vec<Fault>) -> Option<Self> {
        let status = faults.iter().map(|fault| fault.code.status()).min()?;
        faults.retain(|fault| fault.code.status() == status);
        Some(Self { errors: faults, status })
    }

    /// Returns the faults in the order of the body. There is at least one.
    #[must_use]
    pub fn errors(&self) -> &[Fault] {
        &self.errors
    }

    /// Returns the HTTP status: 404, 409 or 422.
    #[must_use]
    pub const fn status(&self) -> u16 {
        self.status
    }
}

impl From<Fault> for Rejection {
    fn from(fault: Fault) -> Self {
        Self { status: fault.code.status(), errors: vec![fault] }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, fault) in self.errors.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Rejection {}
