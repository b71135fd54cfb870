//! Stores accepted enrollments until a worker processes them.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, StoredCommand, StoredEnrollment};
use postgres_types::ToSql;
use std::time::Duration;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Begin, Bound, Execute, Row, Transaction, Values};
use crate::fields::{ColumnReader, DateTime, JsonText};
use crate::query::Query;
use crate::sql::AcceptParameters;
use crate::statements::Prepared;
use crate::tables::read_enrollment;

/// Stores an accepted command, or returns the enrollment that already has its id.
///
/// If two calls have the same id, the second waits until the first has committed or rolled back.
pub(crate) async fn insert(
    client: impl Begin,
    statements: &Prepared,
    command: &EnrollmentCommand,
) -> Result<Option<StoredEnrollment>, PostgresError> {
    let accepted = AcceptParameters::new(command)?;
    let AcceptParameters { organization_id, enrollment_id, sequence_id, fingerprint, at, command, erased_recipients } =
        &accepted;
    let ids = vec![*enrollment_id];
    let mut transaction = client.begin().await?;
    let queries: [Bound<'_>; 2] = [
        (
            &statements.accept,
            vec![organization_id, enrollment_id, sequence_id, fingerprint, at, command, erased_recipients],
        ),
        (&statements.enrollment, vec![organization_id, &ids]),
    ];
    let [accepted, existing] = transaction.query_all(queries.map(Some)).await?;
    let is_inserted = accepted.first().map(|row| row.get(0)).transpose()?;
    let existing = match (is_inserted, existing.first()) {
        (Some(true), _) => None,
        (_, Some(row)) => Some(read_enrollment(&mut ColumnReader::new(row))?),
        // The host deleted the existing row between the two statements.
        (_, None) => return Err(PostgresError::RowGone { table: "enrollments" }),
    };
    transaction.commit().await?;
    Ok(existing)
}

/// Reads an enrollment, with its command if it has not ended.
pub(crate) async fn find(
    client: impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<Option<InboxEntry>, PostgresError> {
    let (organization, id) = (organization_id.as_uuid(), enrollment_id.as_uuid());
    let find: Bound<'_> = (&statements.find, vec![&organization, &id]);
    let transaction = client.begin_read().await?;
    let [rows] = transaction.query_last([Some(find)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut columns = ColumnReader::new(row);
    let (attempts, error) = (columns.read()?, columns.get()?);
    let command: Option<JsonText<'_>> = columns.get()?;
    let command = command.map(|json| StoredCommand::from_json(json.0)).transpose().map_err(|e| columns.invalid(e))?;
    let mut entry = InboxEntry::new(read_enrollment(&mut columns)?, command);
    (entry.attempts, entry.error) = (attempts, error);
    Ok(Some(entry))
}

/// Leases an enrollment of the organization whose turn it is.
pub(crate) async fn claim(
    client: impl Begin,
    statements: &Prepared,
    lease: Duration,
) -> Result<Option<Claim>, PostgresError> {
    let lease = seconds(lease);
    let mut passed: Vec<Uuid> = Vec::new();
    let mut transaction = client.begin().await?;
    let claim = loop {
        let next = first(&mut transaction, &statements.next_queue, &[&passed]).await?;
        let Some(next) = next else { break None };
        let (organization, turn): (Uuid, i64) = (next.get(0)?, next.get(1)?);
        if let Some(row) = first(&mut transaction, &statements.claim, &[&organization, &lease]).await? {
            let mut columns = ColumnReader::new(&row);
            let id: EnrollmentId = columns.read()?;
            let number = columns.get::<i64>()?.unsigned_abs();
            let mut claim = Claim::new(OrganizationId::from_uuid(organization), id, number);
            (claim.attempts, claim.lost_leases) = (columns.read()?, columns.read()?);
            let lease_end: DateTime = columns.get()?;
            transaction.execute(&statements.lease_queue, &[&organization, &turn, &id.as_uuid(), &lease_end]).await?;
            break Some(claim);
        }
        // No enrollment is due yet, or none waits. Or another transaction has locked those that are due, or has one more
        // that is not committed: then the queue stays as it is.
        passed.push(organization);
        if first(&mut transaction, &statements.lock_queue, &[&organization]).await?.is_some() {
            let next = first(&mut transaction, &statements.next_due, &[&organization]).await?;
            let due_at: Option<DateTime> = next.map(|row| row.get(0)).transpose()?.flatten();
            transaction.execute(&statements.postpone_queue, &[&organization, &due_at]).await?;
        }
    };
    transaction.commit().await?;
    Ok(claim)
}

/// Records that the enrollment of a claim cannot be processed. Does nothing if the claim is not its latest lease.
pub(crate) async fn record_failure(
    client: impl Begin,
    statements: &Prepared,
    claim: &Claim,
    failure: &Failure,
) -> Result<(), PostgresError> {
    // A text in PostgreSQL cannot contain NUL.
    let error = failure.error.replace('\0', "\u{fffd}");
    let delay = failure.retry_after.map(seconds);
    let is_final = delay.is_none().then_some(0.0);
    answer(client, statements, claim, &statements.record_failure, &[&error, &delay, &is_final]).await
}

/// Gives a claim back. Does nothing if the claim is not the latest lease of its enrollment.
pub(crate) async fn release(
    client: impl Begin,
    statements: &Prepared,
    claim: &Claim,
    delay: Duration,
) -> Result<(), PostgresError> {
    answer(client, statements, claim, &statements.release, &[&seconds(delay)]).await
}

/// Runs a statement on the enrollment of a claim. If the claim is its latest lease, ends the lease.
async fn answer(
    client: impl Begin,
    statements: &Prepared,
    claim: &Claim,
    statement: &Query,
    values: &Values<'_>,
) -> Result<(), PostgresError> {
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let lease = i64::try_from(claim.lease).unwrap_or(i64::MAX);
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&organization, &id, &lease];
    parameters.extend(values);
    let mut transaction = client.begin().await?;
    if transaction.execute(statement, &parameters).await? > 0 {
        transaction.execute(&statements.end_lease, &[&organization, &id]).await?;
    }
    transaction.commit().await
}

/// Makes a failed enrollment wait again. Returns false if it had not failed.
pub(crate) async fn retry(
    client: impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<bool, PostgresError> {
    let (organization, id) = (organization_id.as_uuid(), enrollment_id.as_uuid());
    let mut transaction = client.begin().await?;
    let retried = transaction.execute(&statements.retry, &[&organization, &id]).await?;
    if retried > 0 {
        transaction.query(&statements.wake_queue, &[&organization]).await?;
    }
    transaction.commit().await?;
    Ok(retried > 0)
}

/// Returns the first row of a query.
async fn first<T: Transaction>(
    transaction: &mut T,
    query: &Query,
    values: &Values<'_>,
) -> Result<Option<T::Row>, PostgresError> {
    Ok(transaction.query(query, values).await?.into_iter().next())
}

/// Returns a length of time as PostgreSQL adds it to an instant: in seconds, at most a year.
fn seconds(duration: Duration) -> f64 {
    duration.min(Duration::from_secs(365 * 24 * 3600)).as_secs_f64()
}
