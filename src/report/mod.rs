//! The result of each recipient, with its reasons.

mod chunk;
pub(crate) mod outcome;
pub(crate) mod reason;
pub(crate) mod warning;

pub use chunk::{OutcomeChunk, OutcomeCount};
pub use outcome::{Counts, Outcomes, UploadTag};
pub(crate) use outcome::{Disposition, EnrollmentReport, Outcome, ReportVersion};
pub(crate) use reason::{Note, Reason};
pub use reason::{PropertyFault, PropertyProblem};
pub(crate) use warning::UnknownKeyPaths;
pub use warning::Warning;
