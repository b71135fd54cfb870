//! Shared code of the benches of the binary.
#![allow(dead_code, reason = "each bench uses a part of it")]

use enroll::OrganizationId;
use enroll::seed::Seed;
use enroll_bench::people::Scene;
use enroll_bench::rounds;
use enroll_postgres::ConnectOptions;
use enroll_postgres::testing::Server;
use serde::Serialize;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use ureq::Agent;
use uuid::Uuid;

/// Returns true for a short test run: `cargo test` passes `--test`, or no `--bench`.
pub(crate) fn is_test() -> bool {
    let has = |what: &str| std::env::args().any(|arg| arg == what);
    has("--test") || !has("--bench")
}

/// Returns true if the command line selects this bench, or names none.
pub(crate) fn is_selected(name: &str) -> bool {
    std::env::args().skip(1).find(|arg| !arg.starts_with('-')).is_none_or(|filter| name.contains(&filter))
}

/// A temporary folder on a real disk. It is deleted at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder can be created");
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(e) = fs::remove_dir_all(&self.0) {
            eprintln!("{}: {e}", self.0.display());
        }
    }
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().expect("it is UTF-8")
}

/// Returns a command for the binary, without its environment variables.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
    let variables = std::env::vars().map(|(name, _)| name).filter(|name| name.starts_with("ENROLL_"));
    variables.for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs a command that must succeed. Returns its standard output.
pub(crate) fn output(mut command: Command) -> String {
    let output = command.output().expect("the command can be run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it is text")
}

/// Loads a seed into a database.
pub(crate) fn load_seed(rows: &Seed, database: &str) {
    let seed = serde_json::to_vec(rows).expect("the seed can be written");
    let mut child = command(&["seed", "-", "--database", database])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the command can be run");
    child.stdin.take().expect("it is piped").write_all(&seed).expect("it is read");
    assert!(child.wait().expect("it is a child").success());
}

/// Stores a result for the report.
pub(crate) fn store(name: &str, result: &impl Serialize) {
    let folder = rounds::folder();
    let stored =
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), serde_json::to_vec_pretty(result)?));
    if let Err(e) = stored {
        eprintln!("{}: {e}", folder.display());
    }
}

/// Creates a new database for a part of a bench.
pub(crate) type NewDatabase<'a> = &'a dyn Fn(&str) -> TestDatabase;

/// Runs a bench on SQLite and on PostgreSQL, if the command line selects it. It gets the name and the settings.
pub(crate) fn on_each_database(bench: &str, measure: &dyn Fn(&str, &str, NewDatabase<'_>)) {
    if is_selected(&format!("{bench}/sqlite")) {
        measure("sqlite", "WAL, synchronous = normal, full for accepted enrollments", &|name| {
            let folder = Folder::new(&format!("{bench}-{name}"));
            let database = path(&folder.0.join("enroll.db")).to_owned();
            TestDatabase { name: database, _folder: Some(folder) }
        });
    }
    if is_selected(&format!("{bench}/postgresql")) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime can be built");
        // An accepted enrollment must survive a power failure, as in production.
        let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
        let settings = runtime.block_on(settings(server.url())).expect("the server answers");
        measure("postgresql", &settings, &|_| {
            let database = runtime.block_on(server.database()).expect("a database can be created");
            TestDatabase { name: database, _folder: None }
        });
    }
}

/// Returns the settings that make commits survive a power failure.
async fn settings(url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let client = ConnectOptions::new(url)?.pool(1)?.get().await?;
    let sql = "select concat_ws(', ', 'fsync ' || current_setting('fsync'), \
               'synchronous_commit ' || current_setting('synchronous_commit'))";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// A new database.
pub(crate) struct TestDatabase {
    pub(crate) name: String,
    _folder: Option<Folder>,
}

/// Returns the id of an organization, by its number from 1.
pub(crate) fn organization(number: u128) -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(number))
}

/// Loads a number of organizations without contacts. Returns an API key for each.
pub(crate) fn organizations(database: &str, count: usize) -> Vec<String> {
    let mut seed = Scene::empty().given;
    let ids = (1..=count as u128).map(organization);
    ids.map(|id| {
        seed.organization_id = id;
        load_seed(&seed, database);
        let id = id.to_string();
        let create = command(&["keys", "create", "--database", database, "--organization", &id, "--name", "bench"]);
        output(create).trim().to_owned()
    })
    .collect()
}

/// A running service. Drop ends it.
pub(crate) struct Service {
    child: Child,
    base: String,
}

impl Service {
    /// Starts a service without workers.
    pub(crate) fn start(database: &str) -> Self {
        Self::start_with(database, 0)
    }

    pub(crate) fn start_with(database: &str, workers: usize) -> Self {
        let workers = workers.to_string();
        let mut serve = command(&["serve", "--database", database, "--listen", "127.0.0.1:0", "--workers", &workers]);
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command can be run");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it is text");
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        Self { child, base: base.to_owned() }
    }

    /// Sends a signal to the process, such as `-STOP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().expect("`kill` can be run");
        assert!(sent.success());
    }

    /// Enrolls recipients. Returns the id of the enrollment.
    pub(crate) fn post(&self, agent: &Agent, key: &str, body: &[u8]) -> String {
        let receipt = self.send(agent, key, "", body, 202);
        let receipt: serde_json::Value = serde_json::from_slice(&receipt).expect("it is JSON");
        receipt["data"]["enrollment_id"].as_str().expect("a receipt has an id").to_owned()
    }

    pub(crate) fn preview(&self, agent: &Agent, key: &str, body: &[u8]) {
        self.send(agent, key, "?preview=true", body, 200);
    }

    fn send(&self, agent: &Agent, key: &str, query: &str, body: &[u8], status: u16) -> Vec<u8> {
        let url = format!("{}/v1/sequences/{}/contacts{query}", self.base, Scene::empty().sequence_id);
        let mut response = agent.post(&url).header("X-WHIPPY-KEY", key).send(body).expect("the service responds");
        assert_eq!(response.status(), status);
        response.body_mut().read_to_vec().expect("the response is complete")
    }

    /// Returns the resident memory of the process, in megabytes. `None` if the system does not show it.
    pub(crate) fn resident(&self) -> Option<f64> {
        resident(&self.child)
    }

    /// Returns the processor time of the process so far, in seconds. `None` if the system does not show it.
    pub(crate) fn processor_time(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).ok()?;
        // The fields after the name of the program, which may contain spaces: the 12th and the 13th are ticks of 10 ms.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: Vec<f64> =
            fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse().ok()).collect();
        (ticks.len() == 2).then(|| ticks.iter().sum::<f64>() / 100.0)
    }

    pub(crate) fn get(&self, agent: &Agent, key: &str, path: &str) -> String {
        let request = agent.get(format!("{}{path}", self.base)).header("X-WHIPPY-KEY", key);
        let mut response = request.call().expect("the service responds");
        assert_eq!(response.status(), 200);
        response.body_mut().read_to_string().expect("the response is complete")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Returns the resident memory of a process, in megabytes. `None` if the system does not show it.
pub(crate) fn resident(child: &Child) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

/// Returns an agent that reuses its connection.
pub(crate) fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().new_agent()
}
