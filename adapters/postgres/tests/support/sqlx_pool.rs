//! Pools and connections of `sqlx` to a database of a test.
#![allow(dead_code, reason = "each test uses a part of it")]

use enroll_postgres::sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use enroll_postgres::sqlx::{ConnectOptions as _, Connection as _};

/// Returns the options for an address of a test.
pub(crate) fn options(url: &str) -> PgConnectOptions {
    let config: tokio_postgres::Config = url.parse().unwrap();
    let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() else { panic!("the test needs TCP: {url}") };
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(host)
        .port(config.get_ports().first().copied().unwrap_or(5432))
        .username(config.get_user().unwrap_or("postgres"))
        .database(config.get_dbname().unwrap_or("postgres"))
        .ssl_mode(enroll_postgres::sqlx::postgres::PgSslMode::Disable)
        .disable_statement_logging();
    if let Some(password) = config.get_password() {
        options = options.password(std::str::from_utf8(password).unwrap());
    }
    options
}

/// Opens a pool of at most `connections` connections.
pub(crate) async fn pool(url: &str, connections: u32) -> PgPool {
    PgPoolOptions::new().max_connections(connections).connect_with(options(url)).await.unwrap()
}

pub(crate) async fn connection(url: &str) -> PgConnection {
    PgConnection::connect_with(&options(url)).await.unwrap()
}
