//! Shared code of the tests of the binary.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod pages;
pub(crate) mod receiver;
pub(crate) mod service;
pub(crate) mod webhooks;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use enroll::OrganizationId;
use enroll::seed::Seed;
use uuid::Uuid;

pub(crate) const SEQUENCE: &str = "00000000-0000-0000-0000-000000000005";
pub(crate) const SEED: &str = r#"{
  "organization_id": "00000000-0000-0000-0000-000000000001", "now": "2026-02-01T15:00:00Z",
  "channels": [{"id": "00000000-0000-0000-0000-000000000002", "kind": "phone", "address": "+12025550100"}],
  "sequences": [{"id": "00000000-0000-0000-0000-000000000005", "title": "Welcome", "status": "active",
    "steps": [{"id": "00000000-0000-0000-0000-000000000006", "position": 1, "channel_kind": "phone",
               "channel_id": "00000000-0000-0000-0000-000000000002"}]}],
  "contacts": [{"id": "00000000-0000-0000-0000-000000000007", "phone": "+12025550123", "state": "blocked"}],
  "custom_objects": [{"id": "00000000-0000-0000-0000-000000000008", "key": "lead",
    "properties": [{"key": "score", "type": "number", "required": false}]}]
}"#;

/// A temporary folder of a test. It is deleted at the end.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("enroll-cli-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let folder = Self(path);
        folder.file("seed.json", SEED);
        folder
    }

    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// Writes a file into the folder, and runs `enroll run` with it: a request if it is JSON, else a list.
    pub(crate) fn run(&self, name: &str, text: impl AsRef<[u8]>, more: &[&str]) -> Output {
        let file = self.0.join(name);
        std::fs::write(&file, text).unwrap();
        let seed = self.0.join("seed.json");
        let [option, file] = people(&file);
        enroll(&["run", "--seed", path(&seed), "--sequence", SEQUENCE, option, file], more)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Returns the option for a file with people: a request if it is JSON, else a list.
pub(crate) fn people(file: &Path) -> [&str; 2] {
    [if file.extension().is_some_and(|extension| extension == "json") { "--request" } else { "--list" }, path(file)]
}

pub(crate) fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn enroll(args: &[&str], more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
    command.args(args).args(more).env_remove("ENROLL_DATABASE").stdin(Stdio::null()).output().unwrap()
}

pub(crate) fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn json(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap()
}

/// Returns the message of a failed command. It must be one line, with exit status 2.
pub(crate) fn error_line(output: &Output) -> String {
    let line = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(2), "{line}");
    assert!(output.stdout.is_empty());
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

/// Declares tests that need PostgreSQL.
#[allow(unused_macros, reason = "each test uses a part of it")]
macro_rules! on_postgresql {
    ($(fn $name:ident() $body:block)*) => {
        $(#[test]
        #[ignore = enroll_postgres::needs_postgres!()]
        fn $name() $body)*
    };
}
#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use on_postgresql;

/// Creates a database with the tables and no rows on a real PostgreSQL, and returns its URL.
pub(crate) fn postgres() -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(enroll_postgres::testing::Server::shared().database()).unwrap()
}

/// Creates a database without tables on a real PostgreSQL, and returns its URL.
pub(crate) fn empty_postgres(name: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(enroll_postgres::testing::Server::shared().empty_database(name)).unwrap()
}

/// A connection to PostgreSQL for the statements of a test.
pub(crate) struct PostgresClient {
    runtime: tokio::runtime::Runtime,
    client: enroll_postgres::tokio_postgres::Client,
}

impl PostgresClient {
    pub(crate) fn connect(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            let tls = enroll_postgres::tokio_postgres::NoTls;
            let (client, connection) = enroll_postgres::tokio_postgres::connect(url, tls).await.unwrap();
            tokio::spawn(connection);
            client
        });
        Self { runtime, client }
    }

    pub(crate) fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// Returns the first column of the only row, as text.
    pub(crate) fn value(&self, sql: &str) -> String {
        let messages = self.runtime.block_on(self.client.simple_query(sql)).unwrap();
        let row = messages.iter().find_map(|message| match message {
            enroll_postgres::tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        row.unwrap().to_owned()
    }

    /// Waits until a query returns true. Fails after two minutes.
    pub(crate) fn wait_until(&self, sql: &str) {
        let deadline = Instant::now() + Duration::from_secs(120);
        while self.value(sql) != "t" {
            assert!(Instant::now() < deadline, "never true: {sql}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The organization of the seed.
pub(crate) const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(1));

/// The name of a database on the command line.
pub(crate) struct TestDatabase(pub(crate) String);

impl TestDatabase {
    pub(crate) fn file(folder: &Folder) -> Self {
        Self(path(&folder.0.join("enroll.db")).to_owned()).load_seed(folder)
    }

    pub(crate) fn postgres(folder: &Folder) -> Self {
        Self(postgres()).load_seed(folder)
    }

    fn load_seed(self, folder: &Folder) -> Self {
        text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &self.0], &[]));
        self
    }

    /// Returns all rows. A row of another organization than the given one contains its id.
    pub(crate) fn dump_of(&self, organization_id: OrganizationId) -> Seed {
        if !self.0.starts_with("postgres") {
            let connection = rusqlite::Connection::open(&self.0).unwrap();
            return enroll_sqlite::seed::dump(&connection, organization_id).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tls = enroll_postgres::tokio_postgres::NoTls;
            let (mut client, connection) = enroll_postgres::tokio_postgres::connect(&self.0, tls).await.unwrap();
            tokio::spawn(connection);
            enroll_postgres::seed::dump(&mut client, organization_id).await.unwrap()
        })
    }

    pub(crate) fn dump(&self) -> Seed {
        self.dump_of(ORGANIZATION)
    }
}
