//! The organization of an API key.

use enroll::{OrganizationId, RepositoryError};

use super::{Param, not_null};
use crate::handles::Handle;

/// Returns the name of an organization. It is empty if the organization has none.
pub(crate) async fn organization_name(
    handle: &mut Handle,
    organization_id: OrganizationId,
) -> Result<String, RepositoryError> {
    let sql = "select name from enroll.organizations where organization_id = $1";
    let names = handle.query(sql, &[Param::Id(organization_id.as_uuid())], |row| not_null(row.text()?)).await?;
    Ok(names.into_iter().next().unwrap_or_default())
}

/// Replaces the name of an organization.
pub(crate) async fn rename_organization(
    handle: &mut Handle,
    organization_id: OrganizationId,
    name: &str,
) -> Result<(), RepositoryError> {
    let sql = "update enroll.organizations set name = $2 where organization_id = $1";
    handle.execute(sql, &[Param::Id(organization_id.as_uuid()), Param::Text(name.to_owned())]).await?;
    Ok(())
}
