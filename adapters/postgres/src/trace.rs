//! The spans of calls and statements, with the feature `tracing`. Without it, nothing of them is left.
//!
//! Spans have names, numbers, ids and words of this crate. They never have a parameter, a row, or a message of PostgreSQL.

#[cfg(feature = "tracing")]
mod on;
#[cfg(feature = "tracing")]
pub(crate) use on::{Attempts, in_call, traced};

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Attempts, traced};

/// Runs a call of a repository inside a span with its name. The call is a block of an async function.
#[cfg(feature = "tracing")]
macro_rules! call {
    ($name:literal, $work:block) => {
        $crate::trace::in_call(
            tracing::debug_span!(target: "enroll_postgres", $name, error = tracing::field::Empty),
            async move $work,
        )
        .await
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! call {
    ($name:literal, $work:block) => {
        $work
    };
}
pub(crate) use call;
