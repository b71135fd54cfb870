//! `enroll doctor`: checks a database, with a line for each check.

mod postgres;
mod sqlite;

use serde::Serialize;
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

use crate::args::DoctorArgs;
use crate::database::{Address, Database, SchemaVersion, without_password};
use crate::handles::{Handle, HandleFactory};
use crate::run::print_json;
use crate::{Failure, causes, print_to_stdout};
use enroll_demo::print::plain;

/// Checks a database. Exits 1 if a check failed.
pub(crate) fn run(args: &DoctorArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.database.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::from_error("doctor", &e))?;
    let mut checks = Checks::default();
    runtime.block_on(async {
        match Address::parse(&name)? {
            Address::Postgres(url) => postgres::check(&mut checks, &name, url).await,
            Address::File(path) => sqlite::check(&mut checks, &name, path).await,
            Address::Memory => {
                return Err(Failure::new(&name, "is no database to check; name a file or `postgres://…`"));
            }
        }
        Ok(())
    })?;
    let has_failed = checks.0.iter().any(|check| check.status == Status::Failed);
    if args.json {
        print_json(&json!({ "database": without_password(&name), "ok": !has_failed, "checks": checks.0 }))?;
    } else {
        print_to_stdout(&checks.text())?;
    }
    Ok(ExitCode::from(u8::from(has_failed)))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warning,
    Failed,
}

impl Status {
    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Failed => "failed",
        }
    }
}

/// The result of a check: what was found, and what to do unless it is ok.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    text: String,
}

#[derive(Debug, Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, name: &'static str, status: Status, text: impl AsRef<str>) {
        self.0.push(Check { name, status, text: plain(text.as_ref()) });
    }

    fn ok(&mut self, name: &'static str, text: impl AsRef<str>) {
        self.add(name, Status::Ok, text);
    }

    fn warn(&mut self, name: &'static str, text: impl AsRef<str>) {
        self.add(name, Status::Warning, text);
    }

    fn fail(&mut self, name: &'static str, text: impl AsRef<str>) {
        self.add(name, Status::Failed, text);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for Check { name, status, text: found } in &self.0 {
            let _infallible = writeln!(text, "{:<8} {name:<12} {found}", status.as_str());
        }
        text
    }
}

/// Checks the version of the engine's tables, and the tables of the service. Returns true if they can be used.
async fn check_schema(checks: &mut Checks, name: &str, found: Result<SchemaVersion, String>) -> bool {
    let version = match found {
        Ok(version) => version,
        Err(error) => {
            checks.fail("schema", error);
            return false;
        }
    };
    if let Some(problem) = version.problem() {
        checks.fail("schema", problem);
        return false;
    }
    let has_tables = with_handle(name, async |handle| handle.has_tables().await.map_err(|e| causes(&e))).await;
    match has_tables {
        Ok(true) => checks.ok("schema", format!("version {}, with the tables of the service", version.found)),
        Ok(false) => checks.warn(
            "schema",
            format!(
                "version {}, without the tables of the service; run `enroll migrate` before `enroll serve`",
                version.found
            ),
        ),
        Err(error) => {
            checks.fail("schema", error);
            return false;
        }
    }
    true
}

/// Checks that the service could write, as `/readyz` does.
async fn check_writable(checks: &mut Checks, name: &str) {
    let written = with_handle(name, async |handle| {
        if !handle.has_tables().await.map_err(|e| causes(&e))? {
            return Ok(false);
        }
        handle.check_write().await.map(|()| true).map_err(|e| causes(&e))
    });
    match written.await {
        Ok(true) => checks.ok("writable", "wrote a row and removed it"),
        Ok(false) => {
            checks.warn("writable", "not tried, since the tables of the service do not exist; run `enroll migrate`");
        }
        Err(error) => checks.fail("writable", error),
    }
}

/// Calls a function with a handle. The tables must have the version of this build: a handle would create them otherwise.
async fn with_handle<T>(name: &str, call: impl AsyncFnOnce(&mut Handle) -> Result<T, String>) -> Result<T, String> {
    let handles = HandleFactory::open(name, 1).map_err(|e| e.to_string())?;
    let mut handle = handles.handle().map_err(|e| e.to_string())?;
    call(&mut handle).await
}
