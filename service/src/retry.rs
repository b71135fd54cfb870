//! Retries of all failed enrollments.

use enroll::{AsyncInbox, EnrollmentId, OrganizationId, RepositoryError, Timestamp};
use uuid::Uuid;

use crate::audit::{self, Action};
use crate::handles::Handle;
use crate::keys::Caller;
use crate::sql::{Param, not_null};

/// Makes each enrollment of an organization wait again that has been failed since an instant. Returns their number.
/// Records the key that asks for it, if any.
pub(crate) async fn retry_failed(
    handle: &mut Handle,
    organization_id: OrganizationId,
    since: Timestamp,
    asked: Option<(Caller, Timestamp)>,
) -> Result<u64, RepositoryError> {
    let sql = format!(
        "select id from enroll.enrollments
        where organization_id = $1 and state = 'failed' and removed_at is null and failed_at >= $2 and id > $3 order by id limit {BATCH}"
    );
    let (mut last, mut retried) = (Uuid::nil(), 0);
    loop {
        // Each enrollment is read once, also if it fails again meanwhile.
        let params = [Param::Id(organization_id.as_uuid()), Param::Instant(since.as_datetime()), Param::Id(last)];
        let ids = handle.query(&sql, &params, |row| not_null(row.id()?)).await?;
        let Some(id) = ids.last() else { return Ok(retried) };
        last = *id;
        for id in ids.into_iter().map(EnrollmentId::from_uuid) {
            if let Some((caller, now)) = asked {
                audit::record(handle, caller, Action::Retry, id.as_uuid(), now).await?;
            }
            retried += u64::from(handle.inbox().retry(organization_id, id).await?);
        }
    }
}

const BATCH: usize = 500;
