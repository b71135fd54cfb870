//! `enroll keys`: the API keys of the service. A key belongs to one organization. Only its hash is stored.

use comfy_table::{ContentArrangement, Table, presets};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use enroll::{OrganizationId, RepositoryError, Timestamp};
use enroll_demo::print::plain;
use uuid::Uuid;

use crate::args::KeysCommand;
use crate::database::{Database, without_password};
use crate::handles::{Handle, with_handle};
use crate::sql::{Param, invalid_data, not_null, rename_organization};
use crate::{Failure, import_job, print_to_stdout};

pub(crate) fn run(options: &KeysCommand) -> Result<ExitCode, Failure> {
    let at_database = match options {
        KeysCommand::Create { at_database, .. }
        | KeysCommand::List { at_database, .. }
        | KeysCommand::Revoke { at_database, .. } => at_database,
    };
    let name = Database::resolve_name(at_database.database.as_deref())?;
    let now = import_job::current_time()?;
    match options {
        KeysCommand::Create { organization, name: key_name, organization_name, expires, .. } => {
            if let Some(expires) = expires.filter(|expires| *expires <= now) {
                return Err(Failure::new("--expires", format!("`{expires}` has passed; give a later instant")));
            }
            let organization_id = import_job::organization(&mut Database::open(&name)?, *organization, None)?;
            let key = with_handle(&name, async |handle: &mut Handle| {
                handle.create_tables().await?;
                if let Some(name) = organization_name {
                    rename_organization(handle, organization_id, name).await?;
                }
                create(handle, organization_id, key_name, now, *expires).await
            })?;
            print_to_stdout(&format!("{}\n", key.as_str()))?;
        }
        KeysCommand::List { organization, .. } => {
            let keys = with_handle(&name, async |handle: &mut Handle| {
                handle.create_tables().await?;
                list(handle, *organization).await
            })?;
            print_to_stdout(&table(&keys))?;
        }
        KeysCommand::Revoke { id, .. } => {
            let revoked = with_handle(&name, async |handle: &mut Handle| {
                handle.create_tables().await?;
                revoke(handle, *id, now).await
            })?;
            if !revoked {
                let problem = format!("has no active key `{id}`; `enroll keys list` lists the keys");
                return Err(Failure::new(without_password(&name), problem));
            }
            print_to_stdout(&format!("revoked {id}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The text of a new key. It is shown once. It has no `Debug`, so that no log contains it.
#[derive(PartialEq, Eq)]
pub(crate) struct ApiKey(String);

impl ApiKey {
    fn new(secret: &[u8]) -> Self {
        Self(format!("{PREFIX}{}", hex(secret)))
    }

    /// Returns `None` if the text has not the form of a key. Such a text is not searched for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix(PREFIX)?;
        let is_key = digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_key.then(|| Self(text.to_owned()))
    }

    fn hash(&self) -> String {
        hex(&Sha256::digest(self.0.as_bytes()))
    }

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
    expires: Option<Timestamp>,
) -> Result<ApiKey, RepositoryError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|e| invalid_data(e.to_string()))?;
    let key = ApiKey::new(&secret);
    insert(handle, Uuid::now_v7(), organization_id, name, &key, now, expires).await?;
    Ok(key)
}

/// Returns the key of the demo organization: the same one each time, until it is revoked.
///
/// Only the hash of a key is stored, so the text of this key is derived from its random id. The id protects nothing else
/// than made-up data.
pub(crate) async fn demo(
    handle: &mut Handle,
    organization_id: OrganizationId,
    now: Timestamp,
) -> Result<ApiKey, RepositoryError> {
    let of_id = |id: Uuid| ApiKey::new(&Sha256::digest([&b"enroll demo key "[..], id.as_bytes()].concat()));
    let sql = "select id, hash from enroll_service.keys where organization_id = $1 and revoked_at is null order by id";
    let params = [Param::Id(organization_id.as_uuid())];
    let keys = handle.query(sql, &params, |row| Ok((of_id(not_null(row.id()?)?), not_null(row.text()?)?))).await?;
    if let Some((key, _)) = keys.into_iter().find(|(key, stored)| key.hash() == *stored) {
        return Ok(key);
    }
    let id = Uuid::now_v7();
    let key = of_id(id);
    insert(handle, id, organization_id, "demo", &key, now, None).await?;
    Ok(key)
}

async fn insert(
    handle: &mut Handle,
    id: Uuid,
    organization_id: OrganizationId,
    name: &str,
    key: &ApiKey,
    now: Timestamp,
    expires: Option<Timestamp>,
) -> Result<(), RepositoryError> {
    let sql = "insert into enroll_service.keys (id, organization_id, name, hash, created_at, expires_at) \
               values ($1, $2, $3, $4, $5, $6)";
    let params = [
        Param::Id(id),
        Param::Id(organization_id.as_uuid()),
        Param::Text(name.to_owned()),
        Param::Text(key.hash()),
        Param::Number(now.millis()),
        Param::NumberOrNull(expires.map(Timestamp::millis)),
    ];
    handle.execute(sql, &params).await.map(drop)
}

/// Returns the holder of a key, or `None` if the key is unknown, expired or revoked. The search is by hash, so its duration
/// reveals nothing about other keys.
pub(crate) async fn authenticate(
    handle: &mut Handle,
    key: &ApiKey,
    now: Timestamp,
) -> Result<Option<Caller>, RepositoryError> {
    let sql = "select id, organization_id from enroll_service.keys \
               where hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)";
    let params = [Param::Text(key.hash()), Param::Number(now.millis())];
    let callers = handle.query(sql, &params, |row| {
        let (key_id, organization_id) = (not_null(row.id()?)?, OrganizationId::from_uuid(not_null(row.id()?)?));
        Ok(Caller { key_id, organization_id })
    });
    Ok(callers.await?.first().copied())
}

/// The keys whose use this process has recorded in the last minute. A key in use then costs one write a minute.
#[derive(Default)]
pub(crate) struct RecordedUses(Mutex<HashMap<Uuid, Instant>>);

impl RecordedUses {
    /// Returns true if the use of the key must be recorded now.
    pub(crate) fn is_due(&self, key_id: Uuid, now: Instant) -> bool {
        let mut recorded = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match recorded.entry(key_id) {
            Entry::Occupied(at) if now.duration_since(*at.get()) < USE_INTERVAL => false,
            entry => {
                entry.insert_entry(now);
                true
            }
        }
    }
}

/// Records the last use of a key.
pub(crate) async fn record_use(handle: &mut Handle, key_id: Uuid, now: Timestamp) -> Result<(), RepositoryError> {
    let sql = "update enroll_service.keys set last_used_at = $1 \
               where id = $2 and (last_used_at is null or last_used_at < $1)";
    handle.execute(sql, &[Param::Number(now.millis()), Param::Id(key_id)]).await.map(drop)
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
    expires_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

async fn list(handle: &mut Handle, organization_id: Option<OrganizationId>) -> Result<Vec<KeyRow>, RepositoryError> {
    let mut sql = "select id, organization_id, name, created_at, expires_at, last_used_at, revoked_at \
                   from enroll_service.keys"
        .to_owned();
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
            expires_at: row.number()?.map(instant).transpose()?,
            last_used_at: row.number()?.map(instant).transpose()?,
            revoked_at: row.number()?.map(instant).transpose()?,
        })
    });
    keys.await
}

fn table(keys: &[KeyRow]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["id", "organization", "name", "created", "expires", "last used", "revoked"]);
    for KeyRow { id, organization_id, name, created_at, expires_at, last_used_at, revoked_at } in keys {
        let text = |at: &Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        let created = created_at.to_string();
        let times = [created, text(expires_at), text(last_used_at), text(revoked_at)];
        table.add_row([id.to_string(), organization_id.to_string(), plain(name)].into_iter().chain(times));
    }
    let mut text = table.trim_fmt();
    text.push('\n');
    text
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
const USE_INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_a_prefix_and_64_hexadecimal_digits() {
        let key = ApiKey::new(&[0xab; 32]).0;
        assert!(ApiKey::parse(&key).is_some());
        for bad in ["", "enk_", &key[1..], &key[..67], &format!("{key}0"), &key.replace("ab", "zz")] {
            assert!(ApiKey::parse(bad).is_none(), "{bad}");
        }
        let hash = ApiKey("abc".to_owned()).hash();
        assert_eq!(hash, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn the_use_of_a_key_is_recorded_once_a_minute() {
        let uses = RecordedUses::default();
        let (key, other, start) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(uses.is_due(key, at(0)) && !uses.is_due(key, at(59)) && uses.is_due(other, at(59)));
        assert!(uses.is_due(key, at(60)) && !uses.is_due(key, at(61)));
    }
}
