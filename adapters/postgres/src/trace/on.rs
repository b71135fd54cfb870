//! With the feature `tracing`.

use enroll::{ChangeSet, EnrollmentId, RepositoryError, RepositoryErrorKind};
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Begin, Bound, Execute, Transaction, Values};
use crate::fields::Arrays;
use crate::query::Query;

/// Returns the handle of a driver, with a span for each statement of its transactions.
pub(crate) fn traced<B>(handle: B) -> Traced<B> {
    Traced(handle)
}

/// A handle or a transaction of a driver, whose statements have spans.
pub(crate) struct Traced<T>(T);

impl<B: Begin> Begin for Traced<B> {
    type Transaction = Traced<B::Transaction>;

    async fn begin(self) -> Result<Self::Transaction, PostgresError> {
        self.0.begin().await.map(Traced)
    }

    async fn begin_read(self) -> Result<Self::Transaction, PostgresError> {
        self.0.begin_read().await.map(Traced)
    }
}

impl<E: Execute> Execute for Traced<E> {
    type Row = E::Row;

    async fn query(&mut self, query: &Query, values: &Values<'_>) -> Result<Vec<E::Row>, PostgresError> {
        let span = statement(query.name());
        self.0.query(query, values).await.inspect(|rows| record(&span, rows.len()))
    }

    async fn execute(&mut self, query: &Query, values: &Values<'_>) -> Result<u64, PostgresError> {
        let span = statement(query.name());
        self.0.execute(query, values).await.inspect(|rows| record(&span, *rows))
    }
}

/// The statements of a batch begin together and end together: a driver can send them in one round trip.
impl<T: Transaction> Transaction for Traced<T> {
    async fn query_all<const N: usize>(
        &mut self,
        queries: [Option<Bound<'_>>; N],
    ) -> Result<[Vec<Self::Row>; N], PostgresError> {
        let spans = queries.each_ref().map(|query| span_of(query.as_ref()));
        self.0.query_all(queries).await.inspect(|rows| record_each(&spans, rows.iter().map(Vec::len)))
    }

    async fn query_last<const N: usize>(
        self,
        queries: [Option<Bound<'_>>; N],
    ) -> Result<[Vec<Self::Row>; N], PostgresError> {
        let spans = queries.each_ref().map(|query| span_of(query.as_ref()));
        self.0.query_last(queries).await.inspect(|rows| record_each(&spans, rows.iter().map(Vec::len)))
    }

    async fn execute_all(&mut self, writes: &[Bound<'_>]) -> Result<Vec<u64>, PostgresError> {
        let spans: Vec<Span> = writes.iter().map(|(query, _)| statement(query.name())).collect();
        self.0.execute_all(writes).await.inspect(|rows| record_each(&spans, rows.iter().copied()))
    }

    async fn copy(
        &mut self,
        copy: &Query,
        insert: &Query,
        organization: &Uuid,
        arrays: &Arrays<'_>,
    ) -> Result<(), PostgresError> {
        let span = statement(copy.name());
        let rows = arrays.first().filter(|_| !span.is_disabled()).map_or(0, |array| array.cells().count());
        self.0.copy(copy, insert, organization, arrays).await.inspect(|()| record(&span, rows))
    }

    async fn commit(self) -> Result<(), PostgresError> {
        let _span = statement("commit");
        self.0.commit().await
    }
}

/// Returns the span of a statement. Drop ends it.
fn statement(name: &'static str) -> Span {
    tracing::debug_span!(
        target: TARGET,
        "statement",
        otel.name = name,
        db.system.name = "postgresql",
        db.query.summary = name,
        rows = field::Empty,
    )
}

fn span_of(query: Option<&Bound<'_>>) -> Span {
    query.map_or_else(Span::none, |(query, _)| statement(query.name()))
}

fn record(span: &Span, rows: impl tracing::Value) {
    span.record("rows", rows);
}

fn record_each(spans: &[Span], rows: impl Iterator<Item = impl tracing::Value>) {
    for (span, rows) in spans.iter().zip(rows) {
        record(span, rows);
    }
}

/// Runs a call inside its span, and records the kind of its error.
pub(crate) async fn in_call<T>(
    span: Span,
    call: impl Future<Output = Result<T, RepositoryError>>,
) -> Result<T, RepositoryError> {
    let result = call.instrument(span.clone()).await;
    if let Err(error) = &result {
        span.record("error", word(error.kind()));
    }
    result
}

fn word(kind: RepositoryErrorKind) -> &'static str {
    match kind {
        RepositoryErrorKind::Conflict => "conflict",
        RepositoryErrorKind::Unavailable => "unavailable",
        _ => "other",
    }
}

/// The attempts to commit an enrollment on one handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {
    /// The enrollment whose last commit was refused by a conflict, and the number of those.
    refused: Option<(EnrollmentId, u32)>,
}

impl Attempts {
    /// Runs a commit inside its span.
    pub(crate) async fn commit(
        &mut self,
        changes: &ChangeSet,
        commit: impl Future<Output = Result<(), RepositoryError>>,
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
        let committed = commit.instrument(span.clone()).await;
        span.in_scope(|| match &committed {
            Ok(()) => {
                span.record("outcome", "committed");
                tracing::debug!(target: TARGET, %enrollment, attempt, "committed");
            }
            Err(error) if error.kind() == RepositoryErrorKind::Conflict => {
                self.refused = Some((enrollment, attempt));
                let conflict = fact(error);
                span.record("outcome", "conflict").record("conflict", &conflict);
                tracing::debug!(target: TARGET, %enrollment, attempt, conflict, "conflict");
            }
            Err(error) => {
                span.record("outcome", word(error.kind()));
            }
        });
        committed
    }
}

/// Returns the fact that changed. It has ids of rows and names of constraints, and no other value.
fn fact(error: &RepositoryError) -> String {
    match error.inner().downcast_ref() {
        Some(PostgresError::Conflict(conflict)) => conflict.to_string(),
        Some(PostgresError::NotUnique { constraint, .. }) => format!("constraint `{constraint}`"),
        Some(PostgresError::RowGone { table }) => format!("a row of `{table}` no longer exists"),
        Some(PostgresError::Serialization(_)) => "the transaction collided with another one".to_owned(),
        _ => String::new(),
    }
}

const TARGET: &str = "enroll_postgres";
