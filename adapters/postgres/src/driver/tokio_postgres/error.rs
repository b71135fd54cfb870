//! The errors of `tokio-postgres` and of its pool.

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use std::error::Error as StdError;
use std::{io, iter};
use tokio_postgres::Error;
use tokio_postgres::error::{DbError, Severity};

use super::connect::connect_error;
use crate::error::{ServerError, classify};
use crate::{AddressError, DriverError, PostgresError};

impl From<Error> for PostgresError {
    fn from(error: Error) -> Self {
        match error.as_db_error() {
            Some(database) if is_of_options(database) => {
                AddressError::Value { parameter: "options", expected: OPTIONS }.into()
            }
            Some(database) => classify(&server_error(database), error),
            None => connect_error(&error).unwrap_or_else(|| {
                if error.is_closed() || is_io(&error) {
                    Self::Unreachable(DriverError::new(error))
                } else {
                    Self::Postgres(DriverError::new(error))
                }
            }),
        }
    }
}

impl From<PoolError> for PostgresError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            PoolError::Timeout(TimeoutType::Create) => Self::LoginTimedOut,
            PoolError::Timeout(_) => Self::PoolTimedOut,
            error => Self::Pool(DriverError::new(error)),
        }
    }
}

fn server_error(database: &DbError) -> ServerError {
    let owned = |field: Option<&str>| field.map(str::to_owned);
    ServerError {
        code: database.code().code().to_owned(),
        message: database.message().to_owned(),
        schema: owned(database.schema()),
        table: owned(database.table()),
        column: owned(database.column()),
        constraint: owned(database.constraint()),
    }
}

/// Returns true if the server ended a connection because it does not know its options.
fn is_of_options(database: &DbError) -> bool {
    matches!(database.code().code(), "42704" | "22023") && database.parsed_severity() == Some(Severity::Fatal)
}

fn is_io(error: &Error) -> bool {
    iter::successors(error.source(), |error| (*error).source()).any(<dyn StdError>::is::<io::Error>)
}

const OPTIONS: &str = "options that the server knows, such as `-c geqo=off`, also in `PGOPTIONS`";
