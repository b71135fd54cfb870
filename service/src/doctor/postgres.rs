//! The checks of a PostgreSQL database.

use enroll_postgres::tokio_postgres::config::Host;
use enroll_postgres::tokio_postgres::{Client, Error};
use enroll_postgres::{ConnectOptions, ConnectionInfo, PostgresError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::block_in_place;
use tokio::time::timeout;

use super::{Checks, check_schema, check_writable};
use crate::causes;
use crate::database::{Database, SchemaVersion, postgres};

pub(super) async fn check(checks: &mut Checks, name: &str, url: &str) {
    let connected = async {
        let options = postgres::options(url)?;
        let info = options.inspect().await?;
        let client = options.connect().await?;
        Ok::<_, PostgresError>((options, info, client))
    };
    let (options, info, client) = match connected.await {
        Ok(connected) => connected,
        Err(e) => return checks.fail("connection", causes(&e)),
    };
    let ConnectionInfo { user, database, application_name, .. } = &info;
    checks.ok("connection", format!("database `{database}` as `{user}`, application `{application_name}`"));
    for note in options.notes() {
        checks.warn("address", note);
    }
    check_encryption(checks, &options, &info);
    match info.server.check() {
        Ok(()) => checks.ok("version", format!("PostgreSQL {}", info.server)),
        Err(e) => return checks.fail("version", causes(&e)),
    }
    check_encoding(checks, &client).await;
    check_pooler(checks, &options, &info).await;
    let version = block_in_place(|| Database::schema_version(name)).map_err(|e| e.to_string());
    let found = version.as_ref().map_or(0, |version: &SchemaVersion| version.found);
    // A role without rights cannot read the version, so this says why.
    let may = check_permissions(checks, &client, found > 0 || version.is_err()).await;
    let is_usable = check_schema(checks, name, version).await;
    if info.is_read_only {
        checks.fail("writable", "the server is a standby or read-only; connect to the primary");
    } else if is_usable && may {
        check_writable(checks, name).await;
    }
    check_clock(checks, &client).await;
}

fn check_encryption(checks: &mut Checks, options: &ConnectOptions, info: &ConnectionInfo) {
    let is_local = |host: &Host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    };
    let server = match (&info.server_tls, info.has_pooler) {
        (Some(version), true) => format!("; the pooler's connection to the server: {version}"),
        (None, true) => "; the pooler's connection to the server is not encrypted".to_owned(),
        (_, false) => String::new(),
    };
    match info.tls {
        Some(version) => checks.ok("encryption", format!("{version}{server}")),
        None if options.config().get_hosts().iter().all(is_local) => {
            checks.ok("encryption", format!("none, since the connection stays on this machine{server}"));
        }
        None => checks.warn(
            "encryption",
            format!(
                "the connection is not encrypted; add `sslmode=verify-full` and `sslrootcert` to the address{server}"
            ),
        ),
    }
}

/// Checks that the database can store all texts. Nearly every database can, so this adds a line for a failure only.
async fn check_encoding(checks: &mut Checks, client: &Client) {
    let sql = "select pg_catalog.current_setting('server_encoding')";
    match client.query_typed_one(sql, &[]).await.and_then(|row| row.try_get::<_, String>(0)) {
        Ok(encoding) if encoding == "UTF8" => {}
        Ok(encoding) => checks.fail(
            "encoding",
            format!("the database has `{encoding}`; create another with `encoding 'UTF8' template template0`"),
        ),
        Err(e) => checks.fail("encoding", causes(&PostgresError::from(e))),
    }
}

/// Checks that a pooler allows transactions, and keeps prepared statements if they are used.
async fn check_pooler(checks: &mut Checks, options: &ConnectOptions, info: &ConnectionInfo) {
    if !info.has_pooler {
        return checks.ok("pooler", "none");
    }
    let allowed = async {
        let client = options.connect().await?;
        client.batch_execute("begin").await?;
        Ok::<_, PostgresError>(client.batch_execute("rollback").await?)
    };
    match allowed.await {
        Ok(()) => {}
        Err(e @ PostgresError::Pooler { .. }) => {
            let problem =
                "one is in between, and it allows no transactions: set `pool_mode` to `transaction` or `session`";
            return checks.fail("pooler", format!("{problem}: {}", causes(&e)));
        }
        Err(e) => return checks.fail("pooler", format!("one is in between: {}", causes(&e))),
    }
    if !info.prepared_statements {
        return checks.ok("pooler", "one is in between; prepared statements are off");
    }
    let kept = async {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(options.connect().await?);
        }
        keeps_statements(&clients).await.map_err(PostgresError::from)
    };
    let Ok(kept) = timeout(PATIENCE, kept).await else {
        let problem =
            "one is in between, and gave no three connections at a time; make its pool larger (15 for `enroll serve`)";
        return checks.warn("pooler", problem);
    };
    match kept {
        Ok(()) => checks.ok("pooler", "one is in between, and it keeps prepared statements"),
        Err(e @ PostgresError::NoPreparedStatements(_)) => checks.fail(
            "pooler",
            format!(
                "one is in between, and it does not keep prepared statements: add `prepared_statements=false` to the \
                 address, or see docs/postgresql.md: {}",
                causes(&e)
            ),
        ),
        Err(e) => checks.fail("pooler", format!("one is in between: {}", causes(&e))),
    }
}

/// Prepares a statement, and executes it after other clients have taken the connections to the server that were free.
async fn keeps_statements(clients: &[Client]) -> Result<(), Error> {
    let [first, middle @ .., last] = clients else { return Ok(()) };
    first.batch_execute("begin").await?;
    let statement = last.prepare("select 1").await?;
    for client in middle {
        client.batch_execute("begin").await?;
    }
    let executed = last.query(&statement, &[]).await;
    for client in [first].into_iter().chain(middle) {
        client.batch_execute("rollback").await?;
    }
    executed?;
    // A pooler that takes turns (`server_round_robin`) returns to the same connection after the others.
    for _ in clients {
        last.query(&statement, &[]).await?;
    }
    Ok(())
}

/// Checks the privileges of the role: on the tables, or to create them. Returns true if it has them.
async fn check_permissions(checks: &mut Checks, client: &Client, has_schema: bool) -> bool {
    let sql = if has_schema { MISSING_PRIVILEGES } else { MAY_CREATE };
    let found = client.query_typed_opt(sql, &[]).await;
    match found.and_then(|row| row.map_or(Ok(None), |row| row.try_get::<_, Option<String>>(0))) {
        Ok(None) if has_schema => checks.ok("permissions", "the role can read and write all tables"),
        Ok(None) => checks.ok("permissions", "the role can create the tables"),
        Ok(Some(missing)) => {
            checks.fail("permissions", missing);
            return false;
        }
        Err(e) => {
            checks.fail("permissions", causes(&PostgresError::from(e)));
            return false;
        }
    }
    true
}

/// Compares the clock of the server with the one of this machine.
async fn check_clock(checks: &mut Checks, client: &Client) {
    let millis = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64() * 1000.0);
    let before = millis();
    let sql = "select (extract(epoch from pg_catalog.clock_timestamp()) * 1000)::float8";
    let answer = client.query_typed_one(sql, &[]).await.and_then(|row| row.try_get::<_, f64>(0));
    let (server, after) = match answer {
        Ok(server) => (server, millis()),
        Err(e) => return checks.fail("clock", causes(&PostgresError::from(e))),
    };
    // The answer is from some instant in between.
    let difference = if server < before { server - before } else { (server - after).max(0.0) };
    let seconds = difference / 1000.0;
    if seconds.abs() < 1.0 {
        checks.ok("clock", "the server and this machine agree within a second");
    } else {
        checks.warn("clock", format!("the server is {seconds:+.1} s from this machine; synchronize both clocks"));
    }
}

/// How long a pooler can take to give three connections.
const PATIENCE: Duration = Duration::from_secs(10);
/// Returns what the role may not do, or null.
const MISSING_PRIVILEGES: &str = "
with tables as (
    select c.oid, n.nspname || '.' || c.relname as name
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname in ('enroll', 'enroll_service') and c.relkind in ('r', 'p')
), missing as (
    select 1 as rank, 'usage of the schema `' || nspname || '`' as privilege from pg_catalog.pg_namespace
    where nspname in ('enroll', 'enroll_service') and not pg_catalog.has_schema_privilege(oid, 'usage')
    union all
    select 2, privilege || ' on `' || name || '`'
    from tables, unnest(array['select', 'insert', 'update', 'delete']) as privilege
    where (privilege = 'select' or name not in ('enroll.schema_version', 'enroll_service.write_checks'))
        and not pg_catalog.has_table_privilege(oid, privilege)
    union all
    select 3, 'usage of the sequence `' || n.nspname || '.' || c.relname || '`'
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'enroll'
        and case when c.relkind = 'S' then not pg_catalog.has_sequence_privilege(c.oid, 'usage') else false end
), counted as (select count(*) as number from missing)
select 'the role `' || current_user || '` lacks ' || privilege
    || case when number > 1 then ' and ' || number - 1 || ' other privileges' else '' end
    || '; grant it usage of the schemas `enroll` and `enroll_service` and all on their tables and sequences'
from missing, counted order by rank, length(privilege), privilege limit 1";
const MAY_CREATE: &str = "
select case when not pg_catalog.has_database_privilege(current_database(), 'create') then
    'the role `' || current_user || '` may not create a schema; run `enroll migrate` as the owner of the database' end";
