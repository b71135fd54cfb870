//! The schema `enroll`, and how it comes to be.

use tokio_postgres::{Client, GenericClient};

use crate::Error;
use crate::begin::Begin;

/// The version of the schema that this build knows.
pub const SCHEMA_VERSION: i32 = 1;

/// Makes the schema `enroll`, or brings it up to [`SCHEMA_VERSION`]. Where it is so already, it only reads.
///
/// Any number of processes may call it at once: they take turns, and each step is made once, all of it or nothing.
/// PostgreSQL 14 or later, whose encoding is UTF-8.
///
/// # Errors
/// [`Error::NewerSchema`] if a newer build was here; [`Error::Denied`] if the role may not make it; whatever the
/// database says otherwise.
pub async fn migrate(client: &mut Client) -> Result<(), Error> {
    // Whatever the default is: at another level this would not see what another process has made meanwhile.
    let transaction = client.begin().await?;
    transaction.execute("select pg_catalog.pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let found = found(&transaction).await?;
    if found > SCHEMA_VERSION {
        return Err(Error::NewerSchema { found, known: SCHEMA_VERSION });
    }
    if found == 0 {
        transaction.batch_execute(BEGINNING).await?;
    }
    for (version, migration) in (1..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        transaction.batch_execute(migration).await?;
        transaction.execute("insert into enroll.schema_version (version) values ($1)", &[&version]).await?;
    }
    Ok(transaction.commit().await?)
}

/// Refuses a schema that this build cannot work on.
pub(crate) async fn check(client: &impl GenericClient) -> Result<(), Error> {
    let row = client.query_typed_one("select max(version) from enroll.schema_version", &[]).await?;
    fits(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
}

/// Tells whether this build can work on a schema of that version.
pub(crate) fn fits(found: i32) -> Result<(), Error> {
    match found {
        SCHEMA_VERSION => Ok(()),
        found if found > SCHEMA_VERSION => Err(Error::NewerSchema { found, known: SCHEMA_VERSION }),
        found => Err(Error::OlderSchema { found, known: SCHEMA_VERSION }),
    }
}

/// The version that stands, 0 if there is none: asked of the catalogue first, since an error would end the transaction.
async fn found(client: &impl GenericClient) -> Result<i32, Error> {
    let exists = "select pg_catalog.to_regclass('enroll.schema_version') is not null";
    if !client.query_one(exists, &[]).await?.try_get::<_, bool>(0)? {
        return Ok(0);
    }
    let row = client.query_one("select max(version) from enroll.schema_version", &[]).await?;
    Ok(row.try_get::<_, Option<i32>>(0)?.unwrap_or(0))
}

/// Each brings the schema from the version before to the next. What is published is never edited.
pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];
const _: () = assert!(MIGRATIONS.len() == SCHEMA_VERSION as usize);

const BEGINNING: &str = "
create schema if not exists enroll;
create table enroll.schema_version (
    version integer primary key,
    migrated_at timestamptz not null default now()
);";
/// `enroll`, in ASCII.
const LOCK: i64 = 0x0065_6e72_6f6c_6c00;
