//! With the feature `tracing`.

use enroll::{ChangeSet, EnrollmentId, RepositoryError, RepositoryErrorKind};
use std::cell::Cell;
use tracing::{Span, field};

use crate::error::SqliteError;

/// The span of a statement. Drop ends it, and records the number of rows.
pub(crate) struct StatementSpan {
    span: Span,
    rows: usize,
}

impl StatementSpan {
    pub(crate) fn new(sql: &str) -> Self {
        let span = tracing::debug_span!(
            target: TARGET,
            "statement",
            otel.name = field::Empty,
            db.system.name = "sqlite",
            db.query.summary = field::Empty,
            rows = field::Empty,
        );
        if !span.is_disabled() {
            let summary = summary(sql);
            span.record("otel.name", &summary).record("db.query.summary", &summary);
        }
        Self { span, rows: 0 }
    }

    /// Adds rows that were read or written.
    pub(crate) fn add(&mut self, rows: usize) {
        self.rows += rows;
    }
}

impl Drop for StatementSpan {
    fn drop(&mut self) {
        self.span.record("rows", self.rows);
    }
}

/// Returns what a statement does and its table, such as `select enroll_contacts`.
fn summary(sql: &str) -> String {
    let mut words = sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty());
    let verb = words.next().unwrap_or_default();
    // Each statement reads or writes one table, and no other word has this prefix.
    words.find(|word| word.starts_with("enroll_")).map_or_else(|| verb.to_owned(), |table| format!("{verb} {table}"))
}

/// Runs a call inside its span, and records the kind of its error.
pub(crate) fn in_call<T>(span: &Span, call: impl FnOnce() -> Result<T, RepositoryError>) -> Result<T, RepositoryError> {
    let result = span.in_scope(call);
    if let Err(error) = &result {
        span.record("error", word(error.kind()));
    }
    result
}

/// Returns the fact that changed. It has ids of rows, and no other value.
fn fact(error: &SqliteError) -> String {
    match error {
        SqliteError::Conflict(conflict) => conflict.to_string(),
        SqliteError::NotUnique(thing) => format!("{thing} already exists"),
        _ => String::new(),
    }
}

fn word(kind: RepositoryErrorKind) -> &'static str {
    match kind {
        RepositoryErrorKind::Conflict => "conflict",
        RepositoryErrorKind::Unavailable => "unavailable",
        _ => "other",
    }
}

/// The attempts to commit an enrollment on one handle.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    /// The enrollment whose last commit was refused by a conflict, and the number of those.
    refused: Cell<Option<(EnrollmentId, u32)>>,
}

impl Attempts {
    /// Runs a commit inside its span.
    pub(crate) fn commit(
        &self,
        changes: &ChangeSet,
        commit: impl FnOnce() -> Result<(), SqliteError>,
    ) -> Result<(), RepositoryError> {
        let (enrollment, rows) = (changes.completion().enrollment.id, changes.rows());
        let before = self.refused.take().filter(|(refused, _)| *refused == enrollment).map_or(0, |(_, count)| count);
        let attempt = before.saturating_add(1);
        let span = tracing::debug_span!(
            target: TARGET,
            "commit",
            enrollment = %enrollment,
            attempt,
            contacts_created = rows.contacts_created.len(),
            contacts_updated = rows.contacts_updated.len(),
            step_contacts = rows.step_contacts_created.len() + rows.step_contacts_updated.len(),
            outcome = field::Empty,
            conflict = field::Empty,
        );
        span.in_scope(|| {
            let committed = commit();
            match &committed {
                Ok(()) => {
                    span.record("outcome", "committed");
                    tracing::debug!(target: TARGET, %enrollment, attempt, "committed");
                }
                Err(error) if error.kind() == RepositoryErrorKind::Conflict => {
                    self.refused.set(Some((enrollment, attempt)));
                    span.record("outcome", "conflict").record("conflict", fact(error));
                    tracing::debug!(target: TARGET, %enrollment, attempt, conflict = fact(error), "conflict");
                }
                Err(error) => {
                    span.record("outcome", word(error.kind()));
                }
            }
            Ok(committed?)
        })
    }
}

const TARGET: &str = "enroll_sqlite";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_by_its_verb_and_its_table() {
        for (sql, name) in [
            ("select version, id from rarray(?2) k cross join enroll_contacts on a = b", "select enroll_contacts"),
            ("insert into enroll_counts values (?1)", "insert enroll_counts"),
            ("update enroll_engine set writing = 1", "update enroll_engine"),
            ("pragma wal_checkpoint", "pragma"),
        ] {
            assert_eq!(summary(sql), name);
        }
    }
}
