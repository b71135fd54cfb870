//! Stores accepted enrollments until a worker processes them. The caller opens the transaction.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, StoredEnrollment, Timestamp};
use rusqlite::{Connection, params};

use crate::error::SqliteError;
use crate::read::{self, for_each_row};
use crate::tables::read_enrollment;

/// Stores an accepted command, or returns the enrollment that already has its id.
pub(crate) fn insert(
    connection: &Connection,
    command: &EnrollmentCommand,
) -> Result<Option<StoredEnrollment>, SqliteError> {
    let (organization_id, id) = (command.organization_id(), command.enrollment_id());
    connection.prepare_cached(INSERT_ORGANIZATION)?.execute([organization_id.as_uuid()])?;
    let inserted = connection.prepare_cached(INSERT)?.execute(params![
        organization_id.as_uuid(),
        id.as_uuid(),
        command.sequence_id().as_uuid(),
        command.fingerprint().as_bytes(),
        command.at().millis(),
        serde_json::to_string(command)?,
    ])?;
    if inserted == 1 { Ok(None) } else { read::enrollment(connection, organization_id, id) }
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

/// Leases the oldest enrollment that is due, of any organization.
pub(crate) fn claim(
    connection: &Connection,
    now: Timestamp,
    lease_end: Timestamp,
) -> Result<Option<Claim>, SqliteError> {
    let mut claim = None;
    for_each_row(connection, CLAIM, [now.millis(), lease_end.millis()], |columns| {
        claim = Some(Claim::new(columns.read()?, columns.read()?, columns.read()?, lease_end));
        Ok(())
    })?;
    Ok(claim)
}

/// Records that the attempt of a claim failed. Does nothing if another claim has followed.
pub(crate) fn record_failure(connection: &Connection, claim: &Claim, failure: &Failure) -> Result<(), SqliteError> {
    connection.prepare_cached(RECORD_FAILURE)?.execute(params![
        claim.organization_id.as_uuid(),
        claim.enrollment_id.as_uuid(),
        claim.attempt,
        failure.error,
        failure.retry_at.map(Timestamp::millis),
        claim.lease_end.millis(),
    ])?;
    Ok(())
}

/// Gives a claim back: its attempt does not count. Does nothing if a later claim exists.
pub(crate) fn release(connection: &Connection, claim: &Claim, due_at: Timestamp) -> Result<(), SqliteError> {
    connection.prepare_cached(RELEASE)?.execute(params![
        claim.organization_id.as_uuid(),
        claim.enrollment_id.as_uuid(),
        claim.attempt,
        due_at.millis(),
        claim.lease_end.millis(),
    ])?;
    Ok(())
}

/// Makes a failed enrollment wait again. Returns false if it had not failed.
pub(crate) fn retry(
    connection: &Connection,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<bool, SqliteError> {
    let params = params![organization_id.as_uuid(), enrollment_id.as_uuid(), now.millis()];
    Ok(connection.prepare_cached(RETRY)?.execute(params)? == 1)
}

const INSERT_ORGANIZATION: &str = "insert into enroll_organizations values (?1) on conflict do nothing";
/// The enrollment is due immediately, even if its request has a later time.
const INSERT: &str = "insert into enroll_enrollments \
     (organization_id, id, sequence_id, fingerprint, at, command, state, due_at) \
     values (?1, ?2, ?3, ?4, ?5, ?6, 'accepted', 0) on conflict (organization_id, id) do nothing";
const FIND: &str = concat!(
    "select attempts, error, command, ",
    enrollments!(columns),
    " from enroll_enrollments where organization_id = ?1 and id = ?2"
);
/// Steps from one organization with waiting enrollments to the next, finds the oldest due enrollment of each, and claims
/// the oldest of these. The cost grows with the number of such organizations, not with the number of waiting enrollments.
/// `indexed by` ensures that enrollments that have ended are never read.
const CLAIM: &str = "with recursive waiting (organization_id) as ( \
         select min(organization_id) from enroll_enrollments indexed by enroll_enrollments_waiting \
             where state = 'accepted' \
         union all \
         select (select min(e.organization_id) from enroll_enrollments e indexed by enroll_enrollments_waiting \
             where e.state = 'accepted' and e.organization_id > w.organization_id) \
         from waiting w where w.organization_id is not null \
     ), oldest (enrollment) as ( \
         select (select e.rowid from enroll_enrollments e indexed by enroll_enrollments_waiting \
             where e.organization_id = w.organization_id and e.state = 'accepted' and e.due_at <= ?1 \
             order by e.at, e.id limit 1) \
         from waiting w \
     ) \
     update enroll_enrollments set attempts = min(attempts + 1, 4294967295), due_at = ?2 \
     where rowid = (select e.rowid from oldest cross join enroll_enrollments e on e.rowid = oldest.enrollment \
         order by e.at, e.id, e.organization_id limit 1) \
     returning organization_id, id, attempts";
const RECORD_FAILURE: &str = "update enroll_enrollments set error = ?4, due_at = ?5, \
     state = case when ?5 is null then 'failed' else state end \
     where organization_id = ?1 and id = ?2 and state = 'accepted' and attempts = ?3 and due_at = ?6";
const RELEASE: &str = "update enroll_enrollments set attempts = max(attempts - 1, 0), due_at = ?4 \
     where organization_id = ?1 and id = ?2 and state = 'accepted' and attempts = ?3 and due_at = ?5";
const RETRY: &str = "update enroll_enrollments set state = 'accepted', attempts = 0, due_at = ?3 \
     where organization_id = ?1 and id = ?2 and state = 'failed'";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteRepository;

    /// Only entries of waiting enrollments are searched, and only the claimed row is read.
    #[test]
    fn a_claim_scans_no_table() {
        let repository = SqliteRepository::open_in_memory().unwrap();
        let mut statement = repository.connection().prepare(&format!("explain query plan {CLAIM}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>().unwrap();
        println!("{steps:#?}");
        let scans = |step: &&String| step.starts_with("SCAN") && !["SCAN w", "SCAN oldest"].contains(&step.as_str());
        // `min` reads only the first entry of the index, which the plan names a search.
        let scans: Vec<&String> = steps.iter().filter(scans).collect();
        assert_eq!(scans, ["SCAN CONSTANT ROW"; 0], "{steps:#?}");
    }
}
