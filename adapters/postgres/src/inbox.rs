//! What was accepted and waits.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, StoredEnrollment, Timestamp};
use tokio_postgres::GenericClient;
use tokio_postgres::types::{Json, ToSql};

use crate::begin::Begin;
use crate::statements::{Bound, Prepared, query_all};
use crate::{Error, rows};

/// Of two at once, the second waits until the first is committed, and answers with its row.
pub(crate) async fn insert(
    client: &mut impl Begin,
    statements: &Prepared,
    command: &EnrollmentCommand,
) -> Result<Option<StoredEnrollment>, Error> {
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
    let [_, inserted, stands] = query_all(&transaction, queries).await?;
    // A row that stood in the way, and that the host has deleted since, leaves nothing to answer with.
    let answer = match (inserted.is_empty(), stands.first()) {
        (false, _) => None,
        (true, Some(row)) => Some(rows::enrollment(row)?),
        (true, None) => return Err(Error::Gone { table: "enrollments" }),
    };
    transaction.commit().await?;
    Ok(answer)
}

pub(crate) async fn find(
    client: &impl GenericClient,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<Option<InboxEntry>, Error> {
    let row = client.query_opt(&statements.find, &[&organization_id.as_uuid(), &enrollment_id.as_uuid()]).await?;
    row.as_ref().map(rows::inbox_entry).transpose()
}

pub(crate) async fn claim(
    client: &mut impl Begin,
    statements: &Prepared,
    now: Timestamp,
    lease_end: Timestamp,
) -> Result<Option<Claim>, Error> {
    let transaction = client.begin().await?;
    let row = transaction.query_opt(&statements.claim, &[&now.as_datetime(), &lease_end.as_datetime()]).await?;
    let claim = row.as_ref().map(|row| rows::claim(row, lease_end)).transpose()?;
    transaction.commit().await?;
    Ok(claim)
}

pub(crate) async fn record_failure(
    client: &mut impl Begin,
    statements: &Prepared,
    claim: &Claim,
    failure: &Failure,
) -> Result<(), Error> {
    // A text of PostgreSQL's cannot hold it, and a failure that is not noted would be worse.
    let error = failure.error.replace('\0', "\u{fffd}");
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let (attempts, lease_end) = (i64::from(claim.attempt), claim.lease_end.as_datetime());
    let due_at = failure.retry_at.map(Timestamp::as_datetime);
    let transaction = client.begin().await?;
    let parameters: [&(dyn ToSql + Sync); 6] = [&organization, &id, &attempts, &error, &due_at, &lease_end];
    transaction.execute(&statements.record_failure, &parameters).await?;
    Ok(transaction.commit().await?)
}

/// Gives a claim back: its attempt does not count. Does nothing if a later claim exists.
pub(crate) async fn release(
    client: &mut impl Begin,
    statements: &Prepared,
    claim: &Claim,
    due_at: Timestamp,
) -> Result<(), Error> {
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let (attempts, due_at, lease_end) = (i64::from(claim.attempt), due_at.as_datetime(), claim.lease_end.as_datetime());
    let transaction = client.begin().await?;
    let parameters: [&(dyn ToSql + Sync); 5] = [&organization, &id, &attempts, &due_at, &lease_end];
    transaction.execute(&statements.release, &parameters).await?;
    Ok(transaction.commit().await?)
}

pub(crate) async fn retry(
    client: &mut impl Begin,
    statements: &Prepared,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<bool, Error> {
    let (organization, id) = (organization_id.as_uuid(), enrollment_id.as_uuid());
    let transaction = client.begin().await?;
    let retried = transaction.execute(&statements.retry, &[&organization, &id, &now.as_datetime()]).await?;
    transaction.commit().await?;
    Ok(retried > 0)
}
