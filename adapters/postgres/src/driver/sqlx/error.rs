//! The errors of `sqlx`.

use sqlx::Error;
use sqlx::postgres::PgDatabaseError;

use crate::error::{ServerError, classify};
use crate::{DriverError, PostgresError, TlsError};

impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        let server = error.as_database_error().and_then(|error| error.try_downcast_ref()).map(server_error);
        match (server, error) {
            (Some(server), error) => classify(&server, error),
            (None, error @ Error::Io(_)) => Self::Unreachable(DriverError::new(error)),
            (None, Error::Tls(error)) => TlsError::Handshake(error.to_string()).into(),
            (None, Error::PoolTimedOut) => Self::PoolTimedOut,
            (None, error @ (Error::PoolClosed | Error::WorkerCrashed)) => Self::Pool(DriverError::new(error)),
            (None, error) => Self::Postgres(DriverError::new(error)),
        }
    }
}

fn server_error(error: &PgDatabaseError) -> ServerError {
    let owned = |field: Option<&str>| field.map(str::to_owned);
    ServerError {
        code: error.code().to_owned(),
        message: error.message().to_owned(),
        schema: owned(error.schema()),
        table: owned(error.table()),
        column: owned(error.column()),
        constraint: owned(error.constraint()),
    }
}
