//! Stores accepted enrollments until a worker processes them. The caller opens the transaction.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, StoredEnrollment, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::time::{Duration, SystemTime};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::read::{self, for_each_row};
use crate::sql::{ACCEPT, AcceptParameters};
use crate::tables::read_enrollment;
use crate::trace::prepare;

/// Stores an accepted command, or returns the enrollment that already has its id.
pub(crate) fn insert(
    connection: &Connection,
    command: &EnrollmentCommand,
) -> Result<Option<StoredEnrollment>, SqliteError> {
    let accepted = AcceptParameters::new(command)?;
    let inserted = prepare(connection, ACCEPT)?.execute(params![
        accepted.organization_id,
        accepted.enrollment_id,
        accepted.sequence_id,
        accepted.fingerprint,
        accepted.at,
        accepted.command,
        accepted.erased_recipients,
    ])?;
    match inserted {
        0 => read::enrollment(connection, command.organization_id(), command.enrollment_id()),
        _ => Ok(None),
    }
}

/// Reads an enrollment, with its command if it has not ended.
pub(crate) fn find(
    connection: &Connection,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<Option<InboxEntry>, SqliteError> {
    let mut found: Option<InboxEntry> = None;
    for_each_row(connection, FIND, [organization_id.as_uuid(), enrollment_id.as_uuid()], |columns| {
        let (attempts, error, command) = (columns.read()?, columns.get()?, columns.command_or_null()?);
        let mut entry = InboxEntry::new(read_enrollment(columns)?, command);
        (entry.attempts, entry.error) = (attempts, error);
        found = Some(entry);
        Ok(())
    })?;
    if let Some(entry) = &mut found {
        read::add_outcomes(connection, organization_id, &mut entry.enrollment)?;
    }
    Ok(found)
}

/// Leases an enrollment of the organization whose turn it is.
pub(crate) fn claim(connection: &Connection, lease: Duration) -> Result<Option<Claim>, SqliteError> {
    let now = now();
    let mut next = prepare(connection, NEXT_QUEUE)?;
    while let Some(organization) = next.query_row([now.millis()], |row| row.get::<_, Uuid>(0)).optional()? {
        let lease_end = now.saturating_add(lease);
        let mut claim = None;
        for_each_row(connection, CLAIM, params![organization, now.millis(), lease_end.millis()], |columns| {
            let (id, number) = (columns.read()?, columns.read::<i64>()?.unsigned_abs());
            let mut claimed = Claim::new(OrganizationId::from_uuid(organization), id, number);
            (claimed.attempts, claimed.lost_leases) = (columns.read()?, columns.read()?);
            claim = Some(claimed);
            Ok(())
        })?;
        let Some(claim) = claim else {
            // No enrollment is due yet, or none waits.
            prepare(connection, POSTPONE_QUEUE)?.execute([organization])?;
            continue;
        };
        let params = params![organization, claim.enrollment_id.as_uuid(), lease_end.millis()];
        prepare(connection, LEASE_QUEUE)?.execute(params)?;
        return Ok(Some(claim));
    }
    Ok(None)
}

/// Records that the enrollment of a claim cannot be processed. Does nothing if the claim is not its latest lease.
pub(crate) fn record_failure(connection: &Connection, claim: &Claim, failure: &Failure) -> Result<(), SqliteError> {
    let now = now();
    let due_at = failure.retry_after.map(|delay| now.saturating_add(delay).millis());
    let failed_at = failure.retry_after.is_none().then_some(now.millis());
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    let params = params![organization, id, lease_number(claim), failure.error, due_at, failed_at];
    match prepare(connection, RECORD_FAILURE)?.execute(params)? {
        0 => Ok(()),
        _ => end_lease(connection, organization, id),
    }
}

/// Gives a claim back. Does nothing if the claim is not the latest lease of its enrollment.
pub(crate) fn release(connection: &Connection, claim: &Claim, delay: Duration) -> Result<(), SqliteError> {
    let due_at = now().saturating_add(delay).millis();
    let (organization, id) = (claim.organization_id.as_uuid(), claim.enrollment_id.as_uuid());
    match prepare(connection, RELEASE)?.execute(params![organization, id, lease_number(claim), due_at])? {
        0 => Ok(()),
        _ => end_lease(connection, organization, id),
    }
}

/// Makes a failed enrollment wait again. Returns false if it had not failed.
pub(crate) fn retry(
    connection: &Connection,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
) -> Result<bool, SqliteError> {
    let params = params![organization_id.as_uuid(), enrollment_id.as_uuid(), now().millis()];
    Ok(prepare(connection, RETRY)?.execute(params)? > 0)
}

/// Lets another worker process the organization, if the enrollment has its lease.
pub(crate) fn end_lease(connection: &Connection, organization: Uuid, enrollment: Uuid) -> Result<(), SqliteError> {
    prepare(connection, END_LEASE)?.execute([organization, enrollment])?;
    Ok(())
}

/// Returns the current time. All processes that use a file are on one machine, so they share its clock.
pub(crate) fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::EPOCH)
}

/// Returns the number of a lease as SQLite stores it.
fn lease_number(claim: &Claim) -> i64 {
    i64::try_from(claim.lease).unwrap_or(i64::MAX)
}

const FIND: &str = concat!(
    "select attempts, error, command, ",
    enrollments!(columns),
    " from enroll_enrollments where organization_id = ?1 and id = ?2"
);
/// Selects the organization whose turn it is, among those with due work and without a lease.
const NEXT_QUEUE: &str = "select organization_id from enroll_queues indexed by enroll_queues_turn \
     where due_at <= ?1 and (lease_end is null or lease_end <= ?1) order by turn limit 1";
/// `indexed by` ensures that enrollments that have ended are never read.
const CLAIM: &str = "update enroll_enrollments set \
     lease = lease + 1, unanswered = min(unanswered + 1, 4294967295), due_at = ?3 \
     where rowid = (select rowid from enroll_enrollments indexed by enroll_enrollments_waiting \
         where organization_id = ?1 and state = 'accepted' and due_at <= ?2 order by at, id limit 1) \
     returning id, lease, attempts, unanswered - 1";
const LEASE_QUEUE: &str = "update enroll_queues set \
     turn = (select max(turn) from enroll_queues) + 1, leased_id = ?2, lease_end = ?3 where organization_id = ?1";
const POSTPONE_QUEUE: &str = "update enroll_queues set due_at = ( \
         select min(due_at) from enroll_enrollments indexed by enroll_enrollments_waiting \
         where organization_id = ?1 and state = 'accepted' \
     ) where organization_id = ?1";
const END_LEASE: &str =
    "update enroll_queues set leased_id = null, lease_end = null where organization_id = ?1 and leased_id = ?2";
const RECORD_FAILURE: &str = "update enroll_enrollments set \
     attempts = min(attempts + 1, 4294967295), unanswered = 0, error = ?4, due_at = ?5, failed_at = ?6, \
     state = case when ?5 is null then 'failed' else state end \
     where organization_id = ?1 and id = ?2 and state = 'accepted' and lease = ?3 and unanswered > 0";
const RELEASE: &str = "update enroll_enrollments set unanswered = 0, due_at = ?4 \
     where organization_id = ?1 and id = ?2 and state = 'accepted' and lease = ?3 and unanswered > 0";
const RETRY: &str = "update enroll_enrollments set \
     state = 'accepted', attempts = 0, unanswered = 0, due_at = ?3, failed_at = null \
     where organization_id = ?1 and id = ?2 and state = 'failed' and removed_at is null";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteRepository;

    /// Each statement of a claim searches an index. Only the turns of the organizations are scanned, in order.
    #[test]
    fn a_claim_scans_no_enrollments() {
        let repository = SqliteRepository::open_in_memory().unwrap();
        for sql in [NEXT_QUEUE, CLAIM, LEASE_QUEUE, POSTPONE_QUEUE] {
            let mut statement = repository.connection().prepare(&format!("explain query plan {sql}")).unwrap();
            let steps =
                statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>().unwrap();
            println!("{steps:#?}");
            assert!(!steps.is_empty());
            // `max` reads only the last entry of the index, which the plan names a search.
            let in_order = "SCAN enroll_queues USING INDEX enroll_queues_turn";
            assert!(!steps.iter().any(|step| step.starts_with("SCAN") && step != in_order), "{steps:#?}");
        }
    }
}
