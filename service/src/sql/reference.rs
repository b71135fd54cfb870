//! What a person names in a request: sequences by title, channels, and custom objects. An organization has few of them.

use serde::Serialize;
use utoipa::ToSchema;

use enroll::model::CustomProperty;
use enroll::{OrganizationId, RepositoryError, SequenceId};
use uuid::Uuid;

use super::{Page, Pagination, Param, Row, invalid_data, not_null};
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
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Channel)]
pub(crate) struct ChannelRow {
    pub(crate) id: Uuid,
    /// `phone`, `email`, `whatsapp` or `fax`.
    pub(crate) kind: String,
    /// The phone or email. A request names the channel by it, in `from`.
    pub(crate) address: String,
    pub(crate) enabled: bool,
    pub(crate) name: Option<String>,
}

/// Returns channels of an organization, ordered by kind, then address.
pub(crate) async fn channels(
    handle: &mut Handle,
    organization_id: OrganizationId,
    pagination: &Pagination,
) -> Result<Page<ChannelRow>, RepositoryError> {
    let columns = "id, kind, address, cast(case when enabled then 1 else 0 end as bigint), name";
    page(handle, organization_id, pagination, "channels", columns, "kind, address, id", |row| {
        Ok(ChannelRow {
            id: not_null(row.id()?)?,
            kind: not_null(row.text()?)?,
            address: not_null(row.text()?)?,
            enabled: row.number()? == Some(1),
            name: row.text()?,
        })
    })
    .await
}

/// A custom object.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CustomObject)]
pub(crate) struct CustomObjectRow {
    pub(crate) id: Uuid,
    pub(crate) key: String,
    pub(crate) properties: Vec<CustomProperty>,
}

/// Returns custom objects of an organization, ordered by key.
pub(crate) async fn custom_objects(
    handle: &mut Handle,
    organization_id: OrganizationId,
    pagination: &Pagination,
) -> Result<Page<CustomObjectRow>, RepositoryError> {
    page(handle, organization_id, pagination, "custom_objects", "id, key, cast(properties as text)", "key, id", |row| {
        let (id, key, properties) = (not_null(row.id()?)?, not_null(row.text()?)?, not_null(row.text()?)?);
        Ok(CustomObjectRow { id, key, properties: serde_json::from_str(&properties).map_err(invalid_data)? })
    })
    .await
}

/// Reads a part of a table of an organization. It counts its rows: use it only for tables with few rows.
async fn page<T: Send>(
    handle: &mut Handle,
    organization_id: OrganizationId,
    pagination: &Pagination,
    table: &str,
    columns: &str,
    order: &str,
    read: impl FnMut(&mut dyn Row) -> Result<T, RepositoryError> + Send,
) -> Result<Page<T>, RepositoryError> {
    let organization = Param::Id(organization_id.as_uuid());
    let sql = format!("select count(*) from enroll.{table} where organization_id = $1");
    let counts = handle.query(&sql, std::slice::from_ref(&organization), |row| not_null(row.number()?)).await?;
    let sql =
        format!("select {columns} from enroll.{table} where organization_id = $1 order by {order} limit $2 offset $3");
    let params = [organization, Param::Number(pagination.limit.into()), Param::Number(pagination.offset.into())];
    let data = handle.query(&sql, &params, read).await?;
    Ok(Page { data, total: counts.first().map_or(0, |count| count.unsigned_abs()), next: None })
}
