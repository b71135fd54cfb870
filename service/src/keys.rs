//! `enroll keys`: the API keys of the service. A key belongs to one organization. Only its hash is stored.

use comfy_table::{ContentArrangement, Table, presets};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::process::ExitCode;

use enroll::{OrganizationId, RepositoryError, Timestamp};
use enroll_demo::print::plain;
use uuid::Uuid;

use crate::args::KeysCommand;
use crate::database::Database;
use crate::handles::{Handle, HandleFactory};
use crate::sql::{Param, invalid_data, not_null};
use crate::{Failure, import_job, print_to_stdout};

pub(crate) fn run(options: &KeysCommand) -> Result<ExitCode, Failure> {
    let at_database = match options {
        KeysCommand::Create { at_database, .. }
        | KeysCommand::List { at_database, .. }
        | KeysCommand::Revoke { at_database, .. } => at_database,
    };
    let name = Database::resolve_name(at_database.database.as_deref())?;
    let organization_id = match options {
        KeysCommand::Create { organization, .. } => {
            Some(import_job::organization(&mut Database::open(&name)?, *organization, None)?)
        }
        KeysCommand::List { organization, .. } => *organization,
        KeysCommand::Revoke { .. } => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::from_error("keys", &e))?;
    let command = async {
        let handles = HandleFactory::open(&name, 1).await?;
        let mut handle = handles.handle()?;
        let failure = |e: RepositoryError| Failure::from_error(&handles.name, &e);
        handle.create_tables().await.map_err(failure)?;
        match (options, organization_id) {
            (KeysCommand::Create { name, .. }, Some(organization_id)) => {
                let key =
                    create(&mut handle, organization_id, name, import_job::current_time()?).await.map_err(failure)?;
                print_to_stdout(&format!("{}\n", key.as_str()))
            }
            (KeysCommand::Revoke { id, .. }, _) => {
                if !revoke(&mut handle, *id, import_job::current_time()?).await.map_err(failure)? {
                    return Err(Failure::new(
                        &handles.name,
                        format!("has no active key `{id}`; `enroll keys list` lists the keys"),
                    ));
                }
                print_to_stdout(&format!("revoked {id}\n"))
            }
            _ => print_to_stdout(&table(&list(&mut handle, organization_id).await.map_err(failure)?)),
        }
    };
    runtime.block_on(command).map(|()| ExitCode::SUCCESS)
}

/// The text of a new key. It is shown once. It has no `Debug`, so that no log contains it.
pub(crate) struct ApiKey(String);

impl ApiKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The holder of an API key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) key_id: Uuid,
    pub(crate) organization_id: OrganizationId,
}

/// Creates a key.
pub(crate) async fn create(
    handle: &mut Handle,
    organization_id: OrganizationId,
    name: &str,
    now: Timestamp,
) -> Result<ApiKey, RepositoryError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| invalid_data(e.to_string()))?;
    let key = format!("{PREFIX}{}", hex(&secret));
    let sql =
        "insert into enroll_service.keys (id, organization_id, name, hash, created_at) values ($1, $2, $3, $4, $5)";
    let params = [
        Param::Id(Uuid::now_v7()),
        Param::Id(organization_id.as_uuid()),
        Param::Text(name.to_owned()),
        Param::Text(hash(&key)),
        Param::Number(now.millis()),
    ];
    handle.execute(sql, &params).await?;
    Ok(ApiKey(key))
}

/// Returns the holder of a key, or `None` if the key is unknown or revoked. The search is by hash, so its duration
/// reveals nothing about other keys.
pub(crate) async fn authenticate(handle: &mut Handle, key: &str) -> Result<Option<Caller>, RepositoryError> {
    let sql = "select id, organization_id from enroll_service.keys where hash = $1 and revoked_at is null";
    let params = [Param::Text(hash(key))];
    let callers = handle.query(sql, &params, |row| {
        let (key_id, organization_id) = (not_null(row.id()?)?, OrganizationId::from_uuid(not_null(row.id()?)?));
        Ok(Caller { key_id, organization_id })
    });
    Ok(callers.await?.first().copied())
}

/// Returns true if a text has the form of a key. Other texts are not searched for.
pub(crate) fn is_well_formed(key: &str) -> bool {
    key.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 64 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

async fn revoke(handle: &mut Handle, id: Uuid, now: Timestamp) -> Result<bool, RepositoryError> {
    let sql = "update enroll_service.keys set revoked_at = $1 where id = $2 and revoked_at is null";
    Ok(handle.execute(sql, &[Param::Number(now.millis()), Param::Id(id)]).await? > 0)
}

/// A stored key.
struct KeyRow {
    id: Uuid,
    organization_id: Uuid,
    name: String,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

async fn list(handle: &mut Handle, organization_id: Option<OrganizationId>) -> Result<Vec<KeyRow>, RepositoryError> {
    let mut sql = "select id, organization_id, name, created_at, revoked_at from enroll_service.keys".to_owned();
    if organization_id.is_some() {
        sql.push_str(" where organization_id = $1");
    }
    sql.push_str(" order by created_at, id");
    let params: Vec<Param> = organization_id.iter().map(|id| Param::Id(id.as_uuid())).collect();
    let instant = |millis: i64| Timestamp::from_millis(millis).map_err(invalid_data);
    let keys = handle.query(&sql, &params, |row| {
        Ok(KeyRow {
            id: not_null(row.id()?)?,
            organization_id: not_null(row.id()?)?,
            name: not_null(row.text()?)?,
            created_at: instant(not_null(row.number()?)?)?,
            revoked_at: row.number()?.map(instant).transpose()?,
        })
    });
    keys.await
}

fn table(keys: &[KeyRow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["id", "organization", "name", "created", "revoked"]);
    for KeyRow { id, organization_id, name, created_at, revoked_at } in keys {
        let revoked = revoked_at.map_or_else(String::new, |at| at.to_string());
        table.add_row([id.to_string(), organization_id.to_string(), plain(name), created_at.to_string(), revoked]);
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn hash(key: &str) -> String {
    hex(&Sha256::digest(key.as_bytes()))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// The prefix that identifies a leaked key.
const PREFIX: &str = "enk_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_prefix_and_64_hexadecimal_digits() {
        let key = format!("enk_{}", hex(&[0xab; 32]));
        assert!(is_well_formed(&key));
        for bad in ["", "enk_", &key[1..], &key[..67], &format!("{key}0"), &key.replace("ab", "zz")] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
