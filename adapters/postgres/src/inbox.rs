//! Stores accepted enrollments until a worker processes them.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, StoredCommand, StoredEnrollment, Timestamp};
use tokio_postgres::types::{Json, ToSql};

use crate::PostgresError;
use crate::begin::Begin;
use crate::fields::{ColumnReader, JsonText};
use crate::statements::{Bound, Prepared, query_all, query_last};
use crate::tables::read_enrollment;

/// Stores an accepted command, or returns the enrollment that already has its id.
///
/// If two calls have the same id, the second waits until the first has committed or rolled back.
pub(crate) async fn insert(
    client: &mut impl Begin,
    statements: &Prepared,
    command: &EnrollmentCommand,
) -> Result<Option<StoredEnrollment>, PostgresError> {
    let (organization, id) = (command.organization_id().as_uuid(), command.enrollment_id().as_uuid());
    let (sequence, at) = (command.sequence_id().as_uuid(), command.at().as_datetime());
    let fingerprint = command.fingerprint();
    let (fingerprint, accepted) = (&fingerprint.as_bytes()[..], Json(command));
    let ids = vec![id];
    let transaction = client.begin().await?;
    let queries: [Bound<'_>; 3] = [
        (&statements.add_organization, vec![&organization]),
        (&statements.insert_accepted, vec![&organization, &id, &sequence, &fingerprint, &at, &accepted]),
        (&statements.enrollment, vec![&organization, &ids]),
    ];
    let [_, inserted, existing] = query_all(&transaction, queries).await?;
    let existing = match (inserted.is_empty(), existing.first()) {
        (false, _) => None,
        (true, Some(row)) => Some(read_enrollment(&mut ColumnReader::new(row))?),
        // The host deleted the existing row between the two statements.
        (true, None) => return Err(PostgresError::RowGone { table: "enrollments" }),
    };
    transaction.commit().await?;
    Ok(existing)
}

/// Reads an enrollment, with its command if it has not ended.
pub(crate) async fn find(
    client: &mut impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<Option<InboxEntry>, PostgresError> {
    let (organization, id) = (organization_id.as_uuid(), enrollment_id.as_uuid());
    let [rows] = query_last(client.begin_read().await?, [(&statements.find, vec![&organization, &id])]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut columns = ColumnReader::new(row);
    let (attempts, error) = (columns.read()?, columns.get()?);
    let command: Option<JsonText<'_>> = columns.get()?;
    let command = command.map(|json| StoredCommand::from_json(json.0)).transpose().map_err(|e| columns.invalid(e))?;
    let mut entry = InboxEntry::new(read_enrollment(&mut columns)?, command);
    (entry.attempts, entry.error) = (attempts, error);
    Ok(Some(entry))
}

/// Leases the oldest enrollment that is due, of any organization.
pub(crate) async fn claim(
    client: &mut impl Begin,
    statements: &Prepared,
    now: Timestamp,
    lease_end: Timestamp,
) -> Result<Option<Claim>, PostgresError> {
    let transaction = client.begin().await?;
    let row = transaction.query_opt(&statements.claim, &[&now.as_datetime(), &lease_end.as_datetime()]).await?;
    let claim = row.map(|row| {
        let mut columns = ColumnReader::new(&row);
        Ok::<_, PostgresError>(Claim::new(columns.read()?, columns.read()?, columns.read()?, lease_end))
    });
    let claim = claim.transpose()?;
    transaction.commit().await?;
    Ok(claim)
}

/// Records that the attempt of a claim failed. Does nothing if another claim has followed.
pub(crate) async fn record_failure(
    client: &mut impl Begin,
    statements: &Prepared,
    claim: &Claim,
    failure: &Failure,
) -> Result<(), PostgresError> {
    // A text in PostgreSQL cannot contain NUL.
    let error = failure.error.replace('\0', "\u{fffd}");
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let (attempts, lease_end) = (i64::from(claim.attempt), claim.lease_end.as_datetime());
    let due_at = failure.retry_at.map(Timestamp::as_datetime);
    let transaction = client.begin().await?;
    let parameters: [&(dyn ToSql + Sync); 6] = [&organization, &id, &attempts, &error, &due_at, &lease_end];
    transaction.execute(&statements.record_failure, &parameters).await?;
    transaction.commit().await
}

/// Gives a claim back: its attempt does not count. Does nothing if a later claim exists.
pub(crate) async fn release(
    client: &mut impl Begin,
    statements: &Prepared,
    claim: &Claim,
    due_at: Timestamp,
) -> Result<(), PostgresError> {
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let (attempts, due_at, lease_end) = (i64::from(claim.attempt), due_at.as_datetime(), claim.lease_end.as_datetime());
    let transaction = client.begin().await?;
    let parameters: [&(dyn ToSql + Sync); 5] = [&organization, &id, &attempts, &due_at, &lease_end];
    transaction.execute(&statements.release, &parameters).await?;
    transaction.commit().await
}

/// Makes a failed enrollment wait again. Returns false if it had not failed.
pub(crate) async fn retry(
    client: &mut impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<bool, PostgresError> {
    let (organization, id) = (organization_id.as_uuid(), enrollment_id.as_uuid());
    let transaction = client.begin().await?;
    let retried = transaction.execute(&statements.retry, &[&organization, &id, &now.as_datetime()]).await?;
    transaction.commit().await?;
    Ok(retried > 0)
}
