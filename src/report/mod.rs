//! The result of each recipient, with its reasons.

pub(crate) mod outcome;
pub(crate) mod reason;

pub use outcome::{Counts, Outcomes, UploadTag};
pub(crate) use outcome::{Disposition, EnrollmentReport, Outcome, ReportVersion};
pub(crate) use reason::{Note, Reason};
pub use reason::{PropertyFault, PropertyProblem};
