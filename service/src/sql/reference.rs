//! What a person names in a request: sequences by title, and channels. An organization has few of them.

use serde::Serialize;

use enroll::{OrganizationId, RepositoryError, SequenceId};
use uuid::Uuid;

use super::{Page, Param, not_null};
use crate::handles::Handle;

/// The id and the title of a sequence.
#[derive(Debug)]
pub(crate) struct SequenceTitle {
    pub(crate) id: SequenceId,
    pub(crate) title: String,
}

/// Returns all sequences of an organization, ordered by title, then id.
pub(crate) async fn sequence_titles(
    handle: &mut Handle,
    organization_id: OrganizationId,
) -> Result<Vec<SequenceTitle>, RepositoryError> {
    let sql = "select id, title from enroll.sequences where organization_id = $1 order by title, id";
    let params = [Param::Id(organization_id.as_uuid())];
    let rows = handle.query(sql, &params, |row| {
        let id = SequenceId::from_uuid(not_null(row.id()?)?);
        Ok(SequenceTitle { id, title: not_null(row.text()?)? })
    });
    rows.await
}

/// A channel.
#[derive(Debug, Serialize)]
pub(crate) struct ChannelRow {
    pub(crate) id: Uuid,
    pub(crate) kind: String,
    pub(crate) address: String,
    pub(crate) enabled: bool,
    pub(crate) name: Option<String>,
}

/// Returns the first channels of an organization, ordered by kind, then address.
pub(crate) async fn channels(
    handle: &mut Handle,
    organization_id: OrganizationId,
    limit: u32,
) -> Result<Page<ChannelRow>, RepositoryError> {
    let organization = Param::Id(organization_id.as_uuid());
    let sql = "select count(*) from enroll.channels where organization_id = $1";
    let counts = handle.query(sql, std::slice::from_ref(&organization), |row| not_null(row.number()?)).await?;
    let sql = "select id, kind, address, cast(case when enabled then 1 else 0 end as bigint), name
        from enroll.channels where organization_id = $1 order by kind, address, id limit $2";
    let params = [organization, Param::Number(limit.into())];
    let rows = handle.query(sql, &params, |row| {
        Ok(ChannelRow {
            id: not_null(row.id()?)?,
            kind: not_null(row.text()?)?,
            address: not_null(row.text()?)?,
            enabled: row.number()? == Some(1),
            name: row.text()?,
        })
    });
    Ok(Page { data: rows.await?, total: counts.first().map_or(0, |count| count.unsigned_abs()), next: None })
}
