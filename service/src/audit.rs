//! The record of what each API key asked for.

use enroll::operation::{self, Accepted};
use enroll::{AsyncInbox, Engine, EnrollError, Enrollment, OrganizationId, Receipt, RepositoryError, Timestamp};
use serde::Serialize;
use uuid::Uuid;

use crate::handles::Handle;
use crate::keys::Caller;
use crate::sql::{Param, invalid_data, not_null};

/// What a key can ask for.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Enroll,
    Retry,
    Erase,
}

impl Action {
    const ALL: [Self; 3] = [Self::Enroll, Self::Retry, Self::Erase];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Retry => "retry",
            Self::Erase => "erase",
        }
    }
}

/// A record: a key asked for an action.
#[derive(Debug, Serialize)]
pub(crate) struct AuditRecord {
    pub(crate) action: Action,
    pub(crate) key_id: Uuid,
    pub(crate) key_name: String,
    pub(crate) at: Timestamp,
}

/// Records that a key asks for an action. `subject` is the id of the enrollment, or the nil id for
/// an erasure: a record has no personal data.
///
/// Call it before the action: then nothing is done without a record. A crash in between leaves a record of a request that
/// had no effect.
pub(crate) async fn record(
    handle: &mut Handle,
    caller: Caller,
    action: Action,
    subject: Uuid,
    at: Timestamp,
) -> Result<(), RepositoryError> {
    let (sql, params) = insert(caller, action, subject, at);
    handle.execute(sql, &params).await.map(drop)
}

/// Returns the statement of a record, for a transaction that does what it records.
pub(crate) fn insert(caller: Caller, action: Action, subject: Uuid, at: Timestamp) -> (&'static str, [Param; 6]) {
    let sql = "insert into enroll_service.audit (organization_id, subject_id, id, action, key_id, at) \
               values ($1, $2, $3, $4, $5, $6)";
    let params = [
        Param::Id(caller.organization_id.as_uuid()),
        Param::Id(subject),
        Param::Id(Uuid::now_v7()),
        Param::Text(action.as_str().to_owned()),
        Param::Id(caller.key_id),
        Param::Number(at.millis()),
    ];
    (sql, params)
}

/// Accepts a request and records its key. A request that came before is not recorded again.
pub(crate) async fn accept(
    handle: &mut Handle,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
    caller: Caller,
) -> Result<Receipt, EnrollError> {
    match operation::drive_async(handle.inbox(), operation::accept(engine, enrollment)).await? {
        Accepted::Before(receipt) => Ok(receipt),
        Accepted::Insert(insert) => {
            let id = insert.command().enrollment_id().as_uuid();
            record(handle, caller, Action::Enroll, id, enrollment.at).await?;
            let existing = handle.inbox().insert(insert.command()).await?;
            insert.resume(existing)
        }
    }
}

/// Returns the records of an enrollment, oldest first.
pub(crate) async fn records(
    handle: &mut Handle,
    organization_id: OrganizationId,
    subject: Uuid,
) -> Result<Vec<AuditRecord>, RepositoryError> {
    // A database that was never served has no records.
    if !handle.has_tables().await? {
        return Ok(Vec::new());
    }
    let sql = "select a.action, a.key_id, k.name, a.at from enroll_service.audit a \
               join enroll_service.keys k on k.id = a.key_id \
               where a.organization_id = $1 and a.subject_id = $2 order by a.at, a.id";
    let params = [Param::Id(organization_id.as_uuid()), Param::Id(subject)];
    let records = handle.query(sql, &params, |row| {
        let action = not_null(row.text()?)?;
        let known = Action::ALL.into_iter().find(|known| known.as_str() == action);
        Ok(AuditRecord {
            action: known.ok_or_else(|| invalid_data(format!("the action `{action}` of a key is unknown")))?,
            key_id: not_null(row.id()?)?,
            key_name: not_null(row.text()?)?,
            at: Timestamp::from_millis(not_null(row.number()?)?).map_err(invalid_data)?,
        })
    });
    records.await
}
