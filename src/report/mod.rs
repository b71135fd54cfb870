//! The result of each recipient, with its reasons.

mod chunk;
pub(crate) mod outcome;
pub(crate) mod reason;

pub use chunk::{OutcomeChunk, OutcomeCount};
pub use outcome::{Counts, Outcomes, UploadTag};
pub(crate) use outcome::{Disposition, EnrollmentReport, Outcome, ReportVersion};
pub(crate) use reason::{Note, Reason};
pub use reason::{PropertyFault, PropertyProblem};
