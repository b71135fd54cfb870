//! An error as a line of text.

use std::error::Error;
use std::fmt::Write as _;

/// Returns an error and the chain of its causes in one line, as workers record it.
///
/// Some drivers print their cause themselves; such a cause is not repeated.
///
/// ```
/// use enroll::{EnrollError, RepositoryError, RepositoryErrorKind};
///
/// let error = EnrollError::from(RepositoryError::new(RepositoryErrorKind::Other, "no\nspace"));
/// assert_eq!(enroll_worker::causes(&error), "the storage failed: no; space");
/// ```
#[must_use]
pub fn causes(error: &dyn Error) -> String {
    let one_line = |error: &dyn Error| error.to_string().trim().replace('\n', "; ");
    let mut text = one_line(error);
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = one_line(error);
        if !text.ends_with(&cause_text) {
            let _infallible = write!(text, ": {cause_text}");
        }
        cause = error.source();
    }
    text
}
