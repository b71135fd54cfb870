//! `enroll migrate`, and the check of a process that must not migrate.

use std::process::ExitCode;

use crate::args::{MigrateArgs, Migration};
use crate::database::{Address, Database, SchemaVersion};
use crate::handles::{Handle, with_handle};
use crate::{Failure, print_to_stdout};

/// Creates or upgrades the tables of the engine and of the service.
pub(crate) fn run(args: &MigrateArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.database.as_deref())?;
    if args.distribute && !matches!(Address::parse(&name)?, Address::Postgres(_)) {
        return Err(Failure::new(&name, "cannot be distributed; `--distribute` needs the URL of a Citus coordinator"));
    }
    let before = Database::schema_version(&name)?;
    let shown = Database::open_or_create(&name)?.name().to_owned();
    let has_created = with_handle(&name, async |handle: &mut Handle| {
        let is_missing = !handle.has_tables().await?;
        handle.create_tables().await?;
        Ok(is_missing)
    })?;
    let SchemaVersion { found, known } = before;
    let what = match (found, has_created) {
        (0, _) => format!("created the tables, version {known}"),
        (found, _) if found < known => format!("upgraded the tables from version {found} to {known}"),
        (_, true) => format!("created the tables of the service; the others have version {known}"),
        (_, false) => format!("the tables have version {known}; nothing to do"),
    };
    print_to_stdout(&format!("{shown}: {what}\n"))?;
    if args.distribute {
        let distributed = match Database::distribute(&name)?.len() {
            0 => "all tables were distributed before; nothing to do".to_owned(),
            number => format!("distributed {number} tables"),
        };
        print_to_stdout(&format!("{shown}: {distributed}\n"))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Creates or upgrades the tables of the engine, or checks that they have the version of this build.
pub(crate) fn prepare(name: &str, migration: Migration) -> Result<(), Failure> {
    match migration {
        Migration::Auto => Database::open_or_create(name).map(drop),
        Migration::Never => check(name),
    }
}

/// Refuses a database whose tables must be created or upgraded first.
pub(crate) fn check(name: &str) -> Result<(), Failure> {
    Database::schema_version(name)?.problem().map_or(Ok(()), |problem| Err(needs_migration(name, &problem)))
}

/// Creates the tables of the service, or checks that they exist.
pub(crate) async fn prepare_service_tables(
    handle: &mut Handle,
    name: &str,
    migration: Migration,
) -> Result<(), Failure> {
    let failed = |e| Failure::from_error(crate::database::without_password(name), &e);
    match migration {
        Migration::Auto => handle.create_tables().await.map_err(failed),
        Migration::Never if handle.has_tables().await.map_err(failed)? => Ok(()),
        Migration::Never => Err(needs_migration(name, "has no tables of the service; run `enroll migrate`")),
    }
}

fn needs_migration(name: &str, problem: &str) -> Failure {
    Failure::new(crate::database::without_password(name), problem)
}
