//! `enroll keys`: the API keys of the service. A key belongs to one organization, and only its hash is stored.

use comfy_table::{ContentArrangement, Table, presets};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::process::ExitCode;

use enroll::{OrganizationId, RepositoryError, Timestamp};
use uuid::Uuid;

use crate::args::KeysCommand;
use crate::database::Database;
use crate::read::{Bound, there, unreadable};
use crate::store::{Handle, Store};
use crate::{Failure, ask, out, plain};

pub(crate) fn run(command: &KeysCommand) -> Result<ExitCode, Failure> {
    let at_database = match command {
        KeysCommand::Create { at_database, .. }
        | KeysCommand::List { at_database, .. }
        | KeysCommand::Revoke { at_database, .. } => at_database,
    };
    let name = Database::named(at_database.database.as_deref())?;
    let organization_id = match command {
        KeysCommand::Create { organization, .. } => {
            Some(ask::organization(&mut Database::open(&name)?, *organization, None)?)
        }
        KeysCommand::List { organization, .. } => *organization,
        KeysCommand::Revoke { .. } => None,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new("keys", e))?;
    let done = async {
        let store = Store::open(&name, 1).await?;
        let mut handle = store.handle()?;
        let failed = |e: RepositoryError| Failure::caused(&store.name, &e);
        handle.make_tables().await.map_err(failed)?;
        match (command, organization_id) {
            (KeysCommand::Create { name, .. }, Some(organization_id)) => {
                let key = create(&mut handle, organization_id, name, ask::clock()?).await.map_err(failed)?;
                out(&format!("{}\n", key.as_str()))
            }
            (KeysCommand::Revoke { id, .. }, _) => {
                if !revoke(&mut handle, *id, ask::clock()?).await.map_err(failed)? {
                    return Err(Failure::new(&store.name, format!("has no key `{id}` that is not revoked")));
                }
                out(&format!("revoked {id}\n"))
            }
            _ => out(&table(&list(&mut handle, organization_id).await.map_err(failed)?)),
        }
    };
    runtime.block_on(done).map(|()| ExitCode::SUCCESS)
}

/// A key as its holder has it. It is told once, and not by `Debug`.
pub(crate) struct ApiKey(String);

impl ApiKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who a key is of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) key_id: Uuid,
    pub(crate) organization_id: OrganizationId,
}

/// Makes a key.
pub(crate) async fn create(
    handle: &mut Handle,
    organization_id: OrganizationId,
    name: &str,
    now: Timestamp,
) -> Result<ApiKey, RepositoryError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| unreadable(e.to_string()))?;
    let key = format!("{PREFIX}{}", hex(&secret));
    let sql =
        "insert into enroll_service.keys (id, organization_id, name, hash, created_at) values ($1, $2, $3, $4, $5)";
    let bound = [
        Bound::Id(Uuid::now_v7()),
        Bound::Id(organization_id.as_uuid()),
        Bound::Text(name.to_owned()),
        Bound::Text(hash(&key)),
        Bound::Number(now.millis()),
    ];
    handle.execute(sql, &bound).await?;
    Ok(ApiKey(key))
}

/// Tells whose a key is, unless it is none, or revoked. It is looked up by its hash, so how long that takes says nothing
/// about other keys.
pub(crate) async fn caller(handle: &mut Handle, key: &str) -> Result<Option<Caller>, RepositoryError> {
    let sql = "select id, organization_id from enroll_service.keys where hash = $1 and revoked_at is null";
    let bound = [Bound::Text(hash(key))];
    let found = handle.query(sql, &bound, |row| {
        let (key_id, organization_id) = (there(row.id()?)?, OrganizationId::from_uuid(there(row.id()?)?));
        Ok(Caller { key_id, organization_id })
    });
    Ok(found.await?.first().copied())
}

/// Whether a text looks like a key: what does not is not looked up.
pub(crate) fn is_well_formed(key: &str) -> bool {
    key.strip_prefix(PREFIX).is_some_and(|rest| rest.len() == 64 && rest.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

async fn revoke(handle: &mut Handle, id: Uuid, now: Timestamp) -> Result<bool, RepositoryError> {
    let sql = "update enroll_service.keys set revoked_at = $1 where id = $2 and revoked_at is null";
    Ok(handle.execute(sql, &[Bound::Number(now.millis()), Bound::Id(id)]).await? > 0)
}

struct Listed {
    id: Uuid,
    organization_id: Uuid,
    name: String,
    created_at: Timestamp,
    revoked_at: Option<Timestamp>,
}

async fn list(handle: &mut Handle, organization_id: Option<OrganizationId>) -> Result<Vec<Listed>, RepositoryError> {
    let mut sql = "select id, organization_id, name, created_at, revoked_at from enroll_service.keys".to_owned();
    if organization_id.is_some() {
        sql.push_str(" where organization_id = $1");
    }
    sql.push_str(" order by created_at, id");
    let bound: Vec<Bound> = organization_id.iter().map(|id| Bound::Id(id.as_uuid())).collect();
    let instant = |millis: i64| Timestamp::from_millis(millis).map_err(unreadable);
    let listed = handle.query(&sql, &bound, |row| {
        Ok(Listed {
            id: there(row.id()?)?,
            organization_id: there(row.id()?)?,
            name: there(row.text()?)?,
            created_at: instant(there(row.number()?)?)?,
            revoked_at: row.number()?.map(instant).transpose()?,
        })
    });
    listed.await
}

fn table(keys: &[Listed]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["id", "organization", "name", "created", "revoked"]);
    for Listed { id, organization_id, name, created_at, revoked_at } in keys {
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

/// By which a key is known when it leaks.
const PREFIX: &str = "enk_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_its_prefix_and_64_hexadecimal_digits() {
        let key = format!("enk_{}", hex(&[0xab; 32]));
        assert!(is_well_formed(&key));
        for bad in ["", "enk_", &key[1..], &key[..67], &format!("{key}0"), &key.replace("ab", "zz")] {
            assert!(!is_well_formed(bad), "{bad}");
        }
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
