//! The databases of the command line: a SQLite file, PostgreSQL, or memory.

pub(crate) mod postgres;
pub(crate) mod sqlite;

use std::error::Error;

use enroll::seed::Seed;
use enroll::{InMemoryRepository, Inbox, OrganizationId, Snapshot};
use enroll_sqlite::SqliteFile;

use self::postgres::Postgres;
use self::sqlite::Sqlite;
use crate::Failure;

/// An open database, with the name from the command line.
pub(crate) struct Database {
    name: String,
    backend: Backend,
}

enum Backend {
    Memory(InMemoryRepository),
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// The kind of database that a name denotes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address<'n> {
    Memory,
    Postgres(&'n str),
    File(&'n str),
}

/// The version of the tables of a database.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SchemaVersion {
    /// 0 if there are none.
    pub(crate) found: i64,
    /// The version of this build.
    pub(crate) known: i64,
}

impl SchemaVersion {
    /// Returns why this build cannot use the tables as they are, and what to do.
    pub(crate) fn problem(self) -> Option<String> {
        let Self { found, known } = self;
        match found {
            0 => Some("has no tables of `enroll`; run `enroll migrate`".to_owned()),
            _ if found < known => {
                Some(format!("the tables have version {found}, but this build needs {known}; run `enroll migrate`"))
            }
            _ if found > known => {
                Some(format!("the tables have version {found}, but this build supports {known}; use a newer build"))
            }
            _ => None,
        }
    }
}

impl<'n> Address<'n> {
    pub(crate) fn parse(name: &'n str) -> Result<Self, Failure> {
        match name.split_once("://") {
            _ if name == "memory" || name == ":memory:" => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(name)),
            Some((scheme, _)) if scheme != "file" && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let problem = "is not a supported database; use a SQLite file, or `postgres://…`";
                Err(Failure::new(without_password(name), problem))
            }
            _ if is_mistaken(name) => {
                // It can have a password.
                let problem =
                    "must be a SQLite file or a URL; write PostgreSQL's parameters as `postgres://user@host/name?…`";
                Err(Failure::new("the database", problem))
            }
            _ => Ok(Self::File(name)),
        }
    }
}

impl Database {
    /// Returns the name of the database: the given one, else `ENROLL_DATABASE`, else `enroll.db`.
    pub(crate) fn resolve_name(name: Option<&str>) -> Result<String, Failure> {
        match (name, std::env::var(VARIABLE)) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, Ok(name)) if !name.is_empty() => Ok(name),
            (None, Err(std::env::VarError::NotUnicode(_))) => Err(Failure::new(VARIABLE, "is not UTF-8")),
            (None, _) => Ok("enroll.db".to_owned()),
        }
    }

    /// Opens an existing database.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        Self::open_with(name, false)
    }

    /// Opens a database. Creates it if it does not exist, and updates its tables.
    pub(crate) fn open_or_create(name: &str) -> Result<Self, Failure> {
        Self::open_with(name, true)
    }

    /// Returns the version of the tables. It writes nothing, and creates no file.
    pub(crate) fn schema_version(name: &str) -> Result<SchemaVersion, Failure> {
        let (found, known) = match Address::parse(name)? {
            Address::Memory => return Err(ends_with_the_command(name)),
            Address::Postgres(url) => (postgres::schema_version(url), i64::from(enroll_postgres::SCHEMA_VERSION)),
            Address::File(path) => (sqlite::schema_version(path), enroll_sqlite::SCHEMA_VERSION),
        };
        Ok(SchemaVersion { found: found.map_err(|e| Failure::from_error(without_password(name), &*e))?, known })
    }

    /// Distributes the tables of the engine and of the service over the servers of Citus. Returns those that were not
    /// distributed before.
    pub(crate) fn distribute(name: &str) -> Result<Vec<String>, Failure> {
        match Address::parse(name)? {
            Address::Memory | Address::File(_) => Err(Failure::new(name, "is not a PostgreSQL database")),
            Address::Postgres(url) => {
                postgres::distribute(url).map_err(|e| Failure::from_error(without_password(name), &*e))
            }
        }
    }

    /// Returns a database in memory with the rows of a seed.
    pub(crate) fn in_memory(name: String, snapshots: Vec<Snapshot>) -> Self {
        let repository = InMemoryRepository::new();
        snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
        Self { name, backend: Backend::Memory(repository) }
    }

    fn open_with(name: &str, create: bool) -> Result<Self, Failure> {
        let shown = without_password(name);
        let failed = |e: Box<dyn Error>| Failure::from_error(&shown, &*e);
        let backend = match Address::parse(name)? {
            Address::Memory => return Err(ends_with_the_command(name)),
            Address::Postgres(url) => Postgres::open(url, create).map_err(failed)?.map(Backend::Postgres),
            Address::File(path) => Sqlite::open(path, create).map_err(failed)?.map(Backend::Sqlite),
        };
        match backend {
            Some(backend) => Ok(Self { name: shown, backend }),
            None => {
                let problem =
                    format!("has no tables of `enroll`; create them with `enroll seed SEED.json --database {shown}`");
                Err(Failure::new(&shown, problem))
            }
        }
    }

    /// Returns the name from the command line, without a password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns the file of a SQLite database, to open further handles on it.
    pub(crate) fn into_file(self) -> Result<SqliteFile, Failure> {
        match self.backend {
            Backend::Sqlite(sqlite) => sqlite.into_file().map_err(|e| Failure::from_error(&self.name, &e)),
            Backend::Memory(_) | Backend::Postgres(_) => Err(Failure::new(self.name, "is not a SQLite file")),
        }
    }

    /// Returns an inbox on the database.
    pub(crate) fn inbox(&mut self) -> Box<dyn Inbox + '_> {
        match &mut self.backend {
            Backend::Memory(repository) => Box::new(repository),
            Backend::Sqlite(sqlite) => Box::new(sqlite.repository()),
            Backend::Postgres(postgres) => Box::new(postgres.repository()),
        }
    }

    /// Returns the id of every organization, in order.
    pub(crate) fn organizations(&mut self) -> Result<Vec<OrganizationId>, Failure> {
        let Self { name, backend } = self;
        let organizations = match backend {
            Backend::Memory(repository) => Ok(repository.organizations()),
            Backend::Sqlite(sqlite) => sqlite.organizations(),
            Backend::Postgres(postgres) => postgres.organizations(),
        };
        organizations.map_err(|e| Failure::from_error(name, &*e))
    }

    /// Writes the rows of a seed, all or none.
    pub(crate) fn load_seed(&mut self, seed: &Seed) -> Result<(), Failure> {
        let Self { name, backend } = self;
        let seeded = match backend {
            Backend::Memory(_) => return Err(Failure::new(name, "contains an organization already")),
            Backend::Sqlite(sqlite) => sqlite.load_seed(seed),
            Backend::Postgres(postgres) => postgres.load_seed(seed),
        };
        seeded.map_err(|e| Failure::from_error(name, &*e))
    }

    /// Returns all rows of all organizations. A row of another organization than `organization_id` contains its id.
    pub(crate) fn dump(&mut self, organization_id: OrganizationId) -> Result<Seed, Failure> {
        let Self { name, backend } = self;
        let seed = match backend {
            Backend::Memory(repository) => return Ok(Seed::dump(&snapshots(repository), organization_id)),
            Backend::Sqlite(sqlite) => sqlite.dump(organization_id),
            Backend::Postgres(postgres) => postgres.dump(organization_id),
        };
        seed.map_err(|e| Failure::from_error(name, &*e))
    }

    /// Deletes the organizations of a seed with all their rows.
    pub(crate) fn remove(&mut self, seed: &Seed) -> Result<(), Failure> {
        let organizations: Vec<_> = seed.organization_ids().into_iter().collect();
        let Self { name, backend } = self;
        let removed = match backend {
            Backend::Memory(_) | Backend::Sqlite(_) => {
                return Err(Failure::new(name, "cannot delete single organizations; delete the database"));
            }
            Backend::Postgres(postgres) => postgres.remove(&organizations),
        };
        removed.map_err(|e| Failure::from_error(name, &*e))
    }
}

/// Returns true for the parameters of PostgreSQL as a list, or for a URL without slashes: a file of that name would be created.
fn is_mistaken(name: &str) -> bool {
    let begins =
        ["host=", "hostaddr=", "port=", "user=", "password=", "dbname=", "service=", "postgres:", "postgresql:"];
    begins.iter().any(|begin| name.trim_start().starts_with(begin))
}

fn ends_with_the_command(name: &str) -> Failure {
    Failure::new(name, "ends with the command; use a SQLite file or `postgres://…`, or run with `--seed`")
}

fn snapshots(repository: &InMemoryRepository) -> Vec<Snapshot> {
    repository.organizations().into_iter().filter_map(|id| repository.snapshot(id)).collect()
}

/// Returns a name without the password of a URL. It also removes a password from a malformed URL.
pub(crate) fn without_password(name: &str) -> String {
    let Some((scheme, rest)) = name.split_once("://") else { return name.to_owned() };
    let rest = match rest.rsplit_once('@') {
        Some((login, rest)) => match login.split_once(':') {
            Some((user, _)) => format!("{user}:***@{rest}"),
            None => format!("{login}@{rest}"),
        },
        None => rest.to_owned(),
    };
    let Some((place, options)) = rest.split_once('?') else { return format!("{scheme}://{rest}") };
    // An unencoded `&` in a password looks like the next parameter.
    let mut is_secret = false;
    let options = options.split('&').map(|option| {
        let (key, value) = option.split_once('=').unwrap_or(("", option));
        match (is_secret, key.contains('%') || key.to_ascii_lowercase().contains("password")) {
            (true, _) => "***".to_owned(),
            (false, true) => {
                is_secret = true;
                format!("{key}=***")
            }
            (false, false) if key.is_empty() => value.to_owned(),
            (false, false) => format!("{key}={value}"),
        }
    });
    format!("{scheme}://{place}?{}", options.collect::<Vec<_>>().join("&"))
}

/// The environment variable with the default database.
const VARIABLE: &str = "ENROLL_DATABASE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_password_removes_every_password() {
        for (name, shown) in [
            ("enroll.db", "enroll.db"),
            ("postgres://localhost:5432/app", "postgres://localhost:5432/app"),
            ("postgres://ann@localhost/app", "postgres://ann@localhost/app"),
            ("postgres://ann:secret@localhost:1/app", "postgres://ann:***@localhost:1/app"),
            ("postgresql://ann:se:c@r/e?t@h/app", "postgresql://ann:***@h/app"),
            ("postgres://h/app?user=ann&password=secret", "postgres://h/app?user=ann&password=***"),
            ("postgres://h/app?sslmode=disable&pass%77ord=secret", "postgres://h/app?sslmode=disable&pass%77ord=***"),
            ("postgres://h/app?password=se&cr=et&x", "postgres://h/app?password=***&***&***"),
            ("postgres://ann:p?w@h/app", "postgres://ann:***@h/app"),
        ] {
            assert_eq!(without_password(name), shown);
        }
    }

    #[test]
    fn an_address_is_a_path_or_a_url() {
        assert_eq!(Address::parse("enroll.db").unwrap(), Address::File("enroll.db"));
        assert_eq!(Address::parse("postgres://h/d").unwrap(), Address::Postgres("postgres://h/d"));
        assert_eq!(Address::parse("file:///tmp/a?mode=ro").unwrap(), Address::File("file:///tmp/a?mode=ro"));
        assert_eq!(Address::parse("memory").unwrap(), Address::Memory);
        for name in ["host=h user=ann password=secret", " dbname=app", "postgres:/app", "postgresql:app"] {
            let error = Address::parse(name).unwrap_err().to_string();
            assert!(error.starts_with("the database: must be a SQLite file or a URL"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = Address::parse("mysql://ann:secret@h/d").unwrap_err().to_string();
        assert!(error.starts_with("mysql://ann:***@h/d: is not a supported database"), "{error}");
    }
}
