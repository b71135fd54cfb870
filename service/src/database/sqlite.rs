//! A SQLite database.

use rusqlite::{Connection, OpenFlags};
use std::error::Error;
use std::path::Path;
use uuid::Uuid;

use enroll::OrganizationId;
use enroll::seed::Seed;
use enroll_sqlite::{SqliteError, SqliteFile, SqliteRepository, seed};

/// An open SQLite database.
pub(super) struct Sqlite(SqliteRepository);

impl Sqlite {
    /// Opens a file. Returns `None` if it does not exist or has no tables of `enroll`, and `create` is false.
    pub(super) fn open(path: &str, create: bool) -> Result<Option<Self>, Box<dyn Error>> {
        if create {
            return Ok(Some(Self(SqliteRepository::open(path)?)));
        }
        let Some(connection) = open_existing(path)? else { return Ok(None) };
        // Do not change a file of another program, or an empty one.
        let has_tables = "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_schema')";
        if !connection.query_row(has_tables, [], |row| row.get::<_, bool>(0)).map_err(SqliteError::from)? {
            return Ok(None);
        }
        Ok(Some(Self(SqliteRepository::from_connection(connection)?)))
    }

    pub(super) fn into_file(self) -> Result<SqliteFile, SqliteError> {
        SqliteFile::new(self.0)
    }

    pub(super) fn repository(&mut self) -> &mut SqliteRepository {
        &mut self.0
    }

    pub(super) fn organizations(&self) -> Result<Vec<OrganizationId>, Box<dyn Error>> {
        let sql = "select organization_id from enroll_organizations order by organization_id";
        let read = |connection: &Connection| -> Result<Vec<OrganizationId>, SqliteError> {
            let mut statement = connection.prepare(sql)?;
            let ids = statement.query_map([], |row| row.get::<_, Uuid>(0))?;
            Ok(ids.map(|id| id.map(OrganizationId::from_uuid)).collect::<Result<_, _>>()?)
        };
        Ok(self.0.read(read)?)
    }

    pub(super) fn load_seed(&self, seed: &Seed) -> Result<(), Box<dyn Error>> {
        Ok(seed::load(self.0.connection(), seed)?)
    }

    pub(super) fn dump(&self, organization_id: OrganizationId) -> Result<Seed, Box<dyn Error>> {
        Ok(seed::dump(self.0.connection(), organization_id)?)
    }
}

/// Opens a file. Returns `None` if it does not exist.
pub(crate) fn open_existing(path: &str) -> Result<Option<Connection>, SqliteError> {
    let flags = OpenFlags::default().difference(OpenFlags::SQLITE_OPEN_CREATE);
    match Connection::open_with_flags(path, flags) {
        Ok(connection) => Ok(Some(connection)),
        Err(_) if !path.starts_with("file:") && !Path::new(path).exists() => Ok(None),
        Err(e) => Err(SqliteError::from(e)),
    }
}

/// Returns the version of the schema, or 0 if it or the file does not exist.
pub(super) fn schema_version(path: &str) -> Result<i64, Box<dyn Error>> {
    let connection = open_existing(path)?;
    Ok(connection.map_or(Ok(0), |connection| enroll_sqlite::schema_version(&connection))?)
}
