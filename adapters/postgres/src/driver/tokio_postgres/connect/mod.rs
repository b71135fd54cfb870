//! How to connect: the address, what the environment adds to it, and the encryption.

mod address;
mod cancel;
mod environment;
mod error;
mod info;
mod parameters;
mod settings;
#[cfg(not(feature = "tls"))]
#[path = "no_tls.rs"]
mod tls;
#[cfg(feature = "tls")]
mod tls;

use deadpool_postgres::{Connect, Manager, Pool, Runtime};
use futures_util::future::BoxFuture;
use std::fmt;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Error, NoTls, Socket};

use self::environment::Environment;
use self::settings::{Settings, TlsSettings};
use self::tls::Connector;
use crate::{PostgresError, ServerVersion, TlsError};

pub(crate) use cancel::CancelRequests;
pub use error::AddressError;
pub use info::{ConnectionInfo, TlsVersion};

/// How to connect: an address, what the environment adds to it, and the encryption.
///
/// The address is a URL or a list of parameters, as `libpq` and `psql` have it:
///
/// ```
/// use enroll_postgres::ConnectOptions;
///
/// # fn main() -> Result<(), enroll_postgres::PostgresError> {
/// let options = ConnectOptions::from_address("postgres://app@db.example/app?sslmode=require")?;
/// let options = ConnectOptions::from_address("host=db.example user=app dbname=app sslmode=require")?;
/// # Ok(())
/// # }
/// ```
///
/// # Encryption
/// `sslmode` decides whether a connection is encrypted, and what is verified:
///
/// | `sslmode` | Encrypted | The server's certificate |
/// |---|---|---|
/// | `disable` | no | |
/// | `prefer` (default) | if the server offers it | verified if there is an `sslrootcert` |
/// | `require` | yes | verified if there is an `sslrootcert` |
/// | `verify-ca` | yes | of an authority of `sslrootcert` |
/// | `verify-full` | yes | of an authority of `sslrootcert`, and for the name of the host |
///
/// `sslrootcert` is a file in PEM format, or `system` for the authorities of the operating system. `system` makes
/// `verify-full` the default, and refuses any other mode. `sslcert` and `sslkey` are the files of a client's certificate. A
/// connection over a socket is never encrypted.
///
/// # Prepared statements
/// Each connection prepares the statements once. A pooler that gives a connection to other clients between transactions
/// loses them. `prepared_statements=false` sends each statement with its text instead; `pgbouncer=true`,
/// `statement_cache_size=0` and `prepareThreshold=0`, as other programs have it, do the same.
#[derive(Clone)]
pub struct ConnectOptions {
    config: Config,
    encryption: Option<(TlsSettings, Connector)>,
    prepared_statements: bool,
    notes: Vec<String>,
}

impl ConnectOptions {
    /// Reads an address, and takes what it does not set from the environment, as `psql` does: the variables `PGHOST`,
    /// `PGPASSWORD` and so on, the password file, and the files in `~/.postgresql`.
    ///
    /// # Errors
    /// [`PostgresError::Address`] if the address or a variable is not valid. [`PostgresError::Tls`] if TLS cannot work so,
    /// such as with a file that does not exist.
    pub fn new(address: &str) -> Result<Self, PostgresError> {
        Self::read(address, Some(&Environment::of_process()))
    }

    /// Reads an address alone. It must have a host.
    ///
    /// # Errors
    /// Those of [`new`](Self::new).
    pub fn from_address(address: &str) -> Result<Self, PostgresError> {
        Self::read(address, None)
    }

    fn read(address: &str, environment: Option<&Environment>) -> Result<Self, PostgresError> {
        let Settings { config, tls, prepared_statements, notes } = Settings::read(address, environment)?;
        let encrypt = |settings: TlsSettings| Connector::new(&settings).map(|connector| (settings, connector));
        Ok(Self { config, encryption: tls.map(encrypt).transpose()?, prepared_statements, notes })
    }

    /// Returns the driver's configuration. It does not have all that the address says about TLS.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns what a person should know about the address: the parameters without effect, in sentences.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns true if statements are prepared once for each connection.
    #[must_use]
    pub fn prepared_statements(&self) -> bool {
        self.prepared_statements
    }

    /// Sets whether statements are prepared once for each connection.
    #[must_use]
    pub fn with_prepared_statements(self, prepared_statements: bool) -> Self {
        Self { prepared_statements, ..self }
    }

    /// Opens a connection, and drives it in a task of the runtime.
    ///
    /// # Errors
    /// [`PostgresError`] if no server answers, refuses the connection, or cannot be verified.
    pub async fn connect(&self) -> Result<Client, PostgresError> {
        self.dial_in_time(&self.dial(), &self.config).await
    }

    /// Builds a pool of at most `connections` connections. It does not connect yet.
    ///
    /// A call waits up to 30 s for a connection.
    ///
    /// # Errors
    /// [`PostgresError::Build`] if the pool cannot be built.
    pub fn pool(&self, connections: usize) -> Result<Pool, PostgresError> {
        let manager =
            Manager::from_connect(self.config.clone(), self.dial(), deadpool_postgres::ManagerConfig::default());
        let pool = Pool::builder(manager).max_size(connections).runtime(Runtime::Tokio1);
        Ok(pool.wait_timeout(Some(WAIT)).create_timeout(Some(self.login_timeout())).build()?)
    }

    /// Returns how long a new connection can take. The driver's own limit is for each address, and ends before the login: a
    /// frozen server or a pooler without a server accepts a connection and does not answer.
    fn login_timeout(&self) -> Duration {
        let of_address = self.config.get_connect_timeout().copied().unwrap_or(WAIT);
        let hosts = u32::try_from(self.config.get_hosts().len()).unwrap_or(u32::MAX);
        of_address.saturating_mul(hosts.saturating_mul(3).max(3))
    }

    async fn dial_in_time(&self, dial: &Dial, config: &Config) -> Result<Client, PostgresError> {
        let dialled = timeout(self.login_timeout(), dial.dial(config)).await;
        Ok(dialled.map_err(|_| PostgresError::LoginTimedOut)??.0)
    }

    /// Returns what sends requests to cancel.
    pub(crate) fn cancel_requests(&self) -> CancelRequests {
        CancelRequests::new(self.config.clone(), self.dial().connector)
    }

    fn dial(&self) -> Dial {
        Dial { connector: self.encryption.as_ref().map(|(_, connector)| connector.clone()) }
    }

    /// Opens two connections, and returns what they are.
    ///
    /// A pooler is recognized by a setting that the server would return, and that poolers do not forward.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect), and any other error of the database.
    pub async fn inspect(&self) -> Result<ConnectionInfo, PostgresError> {
        // The version of TLS is the one of a first handshake.
        let connector = self.encryption.as_ref().map(|(settings, _)| Connector::new(settings)).transpose()?;
        let dial = Dial { connector };
        let client = self.dial_in_time(&dial, &self.config).await?;
        let row = client.query_typed_one(INSPECT, &[]).await?;
        let mut probe = self.config.clone();
        let options = self.config.get_options().unwrap_or_default();
        probe.options(format!("{options} -c {PROBE}=on").trim());
        // Some poolers refuse the setting with the connection, and others ignore it.
        let probed = match self.dial_in_time(&dial, &probe).await {
            Ok(client) => {
                client.query_typed_one(&format!("select current_setting('{PROBE}', true)"), &[]).await?.try_get(0)?
            }
            // A pooler does not answer so: the server has no connection left, or hangs.
            Err(error @ (PostgresError::Exhausted(_) | PostgresError::LoginTimedOut)) => return Err(error),
            Err(_) => None::<String>,
        };
        Ok(ConnectionInfo {
            server: ServerVersion::from_number(row.try_get(0)?),
            tls: dial.connector.as_ref().and_then(Connector::version),
            server_tls: row.try_get(1)?,
            has_pooler: probed.as_deref() != Some("on"),
            prepared_statements: self.prepared_statements,
            user: row.try_get(2)?,
            database: row.try_get(3)?,
            application_name: row.try_get(4)?,
            is_read_only: row.try_get(5)?,
        })
    }
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The driver's configuration hides the password.
        f.debug_struct("ConnectOptions")
            .field("config", &self.config)
            .field("tls", &self.encryption.as_ref().map(|(settings, _)| settings))
            .field("prepared_statements", &self.prepared_statements)
            .finish_non_exhaustive()
    }
}

/// Opens connections, for a pool or alone.
struct Dial {
    connector: Option<Connector>,
}

impl Dial {
    async fn dial(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let Some(connector) = &self.connector else { return open(config, NoTls).await };
        match open(config, connector.make()).await {
            // As in `libpq`: without a demand for encryption, a server whose TLS does not work is still of use.
            Err(error)
                if config.get_ssl_mode() == SslMode::Prefer
                    && !connector.verifies()
                    && tls::error_of(&error).is_some() =>
            {
                open(config.clone().ssl_mode(SslMode::Disable), NoTls).await
            }
            answer => answer,
        }
    }
}

impl Connect for Dial {
    fn connect(&self, config: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), Error>> {
        let config = config.clone();
        Box::pin(async move { self.dial(&config).await })
    }
}

async fn open<T>(config: &Config, tls: T) -> Result<(Client, JoinHandle<()>), Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect(tls).await?;
    // The error of a lost connection reaches the client's calls.
    Ok((client, tokio::spawn(async move { drop(connection.await) })))
}

/// Returns the error of a connection in an error of the driver.
pub(crate) fn connect_error(error: &Error) -> Option<PostgresError> {
    if let Some(error) = tls::error_of(error) {
        return Some(error.into());
    }
    // The driver gives these errors neither a code nor a type.
    match &*std::error::Error::source(error)?.to_string() {
        "server does not support TLS" => Some(TlsError::NotOffered.into()),
        "password missing" => Some(PostgresError::NoPassword),
        "server did not use channel binding" => {
            let remedy = "the server, or a pooler in between, does not offer it; use `prefer`";
            Some(AddressError::Unsupported { parameter: "channel_binding", remedy }.into())
        }
        _ => None,
    }
}

const WAIT: Duration = Duration::from_secs(30);
/// A setting that PostgreSQL accepts from every client, and that has no effect.
const PROBE: &str = "enroll.probe";
const INSPECT: &str = "select pg_catalog.current_setting('server_version_num')::integer,
        (select version from pg_catalog.pg_stat_ssl where pid = pg_catalog.pg_backend_pid()),
        current_user::text, pg_catalog.current_database()::text,
        pg_catalog.current_setting('application_name'),
        pg_catalog.pg_is_in_recovery() or pg_catalog.current_setting('transaction_read_only') = 'on'";
