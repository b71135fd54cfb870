//! Databases on the servers of Citus.

use deadpool_postgres::{Manager, Object, Pool};
use tokio_postgres::config::Host;
use tokio_postgres::types::Type;
use tokio_postgres::{Config, NoTls};

use crate::{PostgresError, distribute, migrate};

/// The servers of a distributed test database: the coordinator, and the workers of `ENROLL_TEST_CITUS_WORKERS`.
#[derive(Debug)]
pub(super) struct Citus {
    coordinator: Config,
    workers: Vec<(String, u16)>,
}

impl Citus {
    /// Returns the servers, if the variable names workers. `url` is the address of the coordinator.
    ///
    /// # Panics
    /// Panics if the variable or the address is not valid.
    #[expect(clippy::panic, reason = "a test without its server must fail")]
    pub(super) fn from_environment(url: &str) -> Option<Self> {
        let text = std::env::var(VARIABLE).ok()?;
        let worker = |text: &str| {
            let (host, port) = text.trim().rsplit_once(':')?;
            Some((host.to_owned(), port.parse().ok()?))
        };
        let workers = text.split(',').map(worker).collect::<Option<Vec<_>>>();
        let workers =
            workers.unwrap_or_else(|| panic!("{VARIABLE} is not a list of servers: write `host:port,host:port`"));
        let coordinator = url.parse().unwrap_or_else(|e| panic!("the address of the coordinator is not valid: {e}"));
        Some(Self { coordinator, workers })
    }

    /// Creates a database on all servers, with the schema distributed. It has few shards, so that this is fast.
    pub(super) async fn create(&self, name: &str) -> Result<(), PostgresError> {
        // Servers fail if two databases are added at the same time. The lock ends with the connection.
        let locked = connect(&self.coordinator).await?;
        locked.batch_execute(&format!("select pg_catalog.pg_advisory_lock({LOCK})")).await?;
        for server in self.servers() {
            connect(&server).await?.batch_execute(&format!("create database {name} template template0")).await?;
            connect(&in_database(&server, name)).await?.batch_execute("create extension citus").await?;
        }
        let mut coordinator = connect(&in_database(&self.coordinator, name)).await?;
        let (host, port) = address(&self.coordinator);
        let add = "select citus_set_coordinator_host($1, $2)";
        coordinator.query_typed(add, &[(&host, Type::TEXT), (&i32::from(port), Type::INT4)]).await?;
        for (host, port) in &self.workers {
            let add = "select citus_add_node($1, $2)";
            coordinator.query_typed(add, &[(host, Type::TEXT), (&i32::from(*port), Type::INT4)]).await?;
        }
        coordinator.batch_execute("set citus.shard_count = 4").await?;
        migrate(&mut coordinator).await?;
        distribute(&mut coordinator, &[]).await?;
        Ok(())
    }

    fn servers(&self) -> Vec<Config> {
        let worker = |(host, port): &(String, u16)| {
            let mut config = Config::new();
            config.host(host).port(*port);
            self.coordinator.get_user().map(|user| config.user(user));
            self.coordinator.get_password().map(|password| config.password(password));
            self.coordinator.get_dbname().map(|name| config.dbname(name));
            config
        };
        std::iter::once(self.coordinator.clone()).chain(self.workers.iter().map(worker)).collect()
    }
}

fn in_database(server: &Config, name: &str) -> Config {
    let mut config = server.clone();
    config.dbname(name);
    config
}

async fn connect(config: &Config) -> Result<Object, PostgresError> {
    Ok(Pool::builder(Manager::new(config.clone(), NoTls)).max_size(1).build()?.get().await?)
}

/// Returns the host and the port of a server.
fn address(config: &Config) -> (String, u16) {
    let host = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => host.clone(),
        _ => "localhost".to_owned(),
    };
    (host, config.get_ports().first().copied().unwrap_or(5432))
}

const VARIABLE: &str = "ENROLL_TEST_CITUS_WORKERS";
/// The key of the advisory lock: `citus` in ASCII.
const LOCK: i64 = 0x0063_6974_7573;
