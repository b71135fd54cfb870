//! A PostgreSQL server for tests, which runs the installed programs in a temporary folder.

use deadpool_postgres::{Manager, Pool};
use std::fmt::Write as _;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, fs, process, thread};
use tokio_postgres::{Config, NoTls};

use super::citus::Citus;
use crate::schema::MIGRATIONS;
use crate::{PostgresError, migrate};

/// A PostgreSQL server for tests: a temporary cluster, or the server at `ENROLL_TEST_POSTGRES_URL`.
///
/// If `ENROLL_TEST_CITUS_WORKERS` names servers (`host:port,host:port`), the server at the address is the coordinator of Citus,
/// and each database is distributed over them.
///
/// A temporary cluster has its own folder, and listens on a free port of 127.0.0.1. Its data does not survive a crash of the
/// machine. The server stops, and the folder is removed, when this value is dropped or when the process ends, even if it is
/// killed.
#[derive(Debug)]
pub struct Server {
    url: String,
    cluster: Option<Cluster>,
    citus: Option<Citus>,
    template: OnceLock<String>,
}

impl Server {
    /// Returns the server that all tests of this process share. Starts one if `ENROLL_TEST_POSTGRES_URL` is not set.
    ///
    /// # Panics
    /// Panics as [`Server::start`] does.
    #[must_use]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| match env::var(VARIABLE) {
            Ok(url) => {
                let citus = Citus::from_environment(&url);
                Self { url, cluster: None, citus, template: OnceLock::new() }
            }
            Err(_) => Self::start(),
        })
    }

    /// Starts a temporary cluster, with the programs in `PATH` or the newest in `/usr/lib/postgresql/*/bin`.
    ///
    /// # Panics
    /// Panics if the programs are not installed, or if they fail. The message contains the remedy.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a temporary cluster with settings, which override its default ones.
    ///
    /// # Panics
    /// Panics as [`Server::start`] does.
    #[must_use]
    pub fn start_with(settings: &[(&str, &str)]) -> Self {
        Self::start_with_files(settings, &[])
    }

    /// Starts a temporary cluster with settings, and with files in its data folder, which only the server can read.
    ///
    /// # Panics
    /// Panics as [`Server::start`] does.
    #[must_use]
    #[expect(clippy::panic, reason = "a test without a server must fail")]
    pub fn start_with_files(settings: &[(&str, &str)], files: &[(&str, &str)]) -> Self {
        match Cluster::start(settings, files) {
            Ok(cluster) => Self {
                url: format!("postgres://postgres@127.0.0.1:{}/postgres", cluster.port),
                cluster: Some(cluster),
                citus: None,
                template: OnceLock::new(),
            },
            Err(e) => panic!("{e}"),
        }
    }

    /// Returns the address of the maintenance database.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Creates a database with the schema and without rows. Returns its address.
    ///
    /// # Errors
    /// [`PostgresError`] if the database cannot be created.
    pub async fn database(&self) -> Result<String, PostgresError> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let name = format!("enroll_test_{}_{since}_{n}", process::id());
        if let Some(citus) = &self.citus {
            citus.create(&name).await?;
        } else {
            let template = self.template().await?;
            let pool = pool(&self.url)?;
            pool.get().await?.batch_execute(&format!("create database {name} template {template}")).await?;
        }
        Ok(self.url_of(&name))
    }

    /// Creates an empty database. Returns its address.
    ///
    /// # Errors
    /// [`PostgresError`] if the database cannot be created.
    pub async fn empty_database(&self, name: &str) -> Result<String, PostgresError> {
        let pool = pool(&self.url)?;
        pool.get().await?.batch_execute(&format!("create database {name} template template0")).await?;
        Ok(self.url_of(name))
    }

    /// Stops a temporary cluster as a crash would: sessions are cut, and nothing is flushed.
    pub fn stop(&mut self) {
        self.cluster = None;
    }

    /// Returns the name of the database that others are copied from. The first call creates it.
    async fn template(&self) -> Result<String, PostgresError> {
        if let Some(name) = self.template.get() {
            return Ok(name.clone());
        }
        let name = format!("enroll_template_{:016x}", MIGRATIONS.iter().copied().fold(FNV_OFFSET, fnv));
        let pool = pool(&self.url)?;
        let connection = pool.get().await?;
        connection.batch_execute(&format!("select pg_catalog.pg_advisory_lock({LOCK})")).await?;
        let exists = "select from pg_catalog.pg_database where datname = $1";
        if connection.query_opt(exists, &[&name]).await?.is_none() {
            // It gets its name when it is complete.
            let draft = format!("{name}_draft");
            connection.batch_execute(&format!("drop database if exists {draft} with (force)")).await?;
            connection.batch_execute(&format!("create database {draft} template template0")).await?;
            {
                let pool = self::pool(&self.url_of(&draft))?;
                migrate(&mut *pool.get().await?).await?;
            }
            connection.batch_execute(&format!("alter database {draft} rename to {name}")).await?;
        }
        connection.batch_execute(&format!("select pg_catalog.pg_advisory_unlock({LOCK})")).await?;
        Ok(self.template.get_or_init(|| name).clone())
    }

    /// Appends the name of a database. In both forms of an address, the last name is used.
    fn url_of(&self, name: &str) -> String {
        let url = &self.url;
        match (url.contains("://"), url.contains('?')) {
            (false, _) => format!("{url} dbname={name}"),
            (true, false) => format!("{url}?dbname={name}"),
            (true, true) => format!("{url}&dbname={name}"),
        }
    }
}

fn pool(url: &str) -> Result<Pool, PostgresError> {
    Ok(Pool::builder(Manager::new(url.parse::<Config>()?, NoTls)).max_size(1).build()?)
}

/// A cluster, and the shell that supervises it: when the pipe to the shell closes, the shell stops the server and removes
/// the folder. A static is never dropped, but the pipe closes when the process ends in any way.
#[derive(Debug)]
struct Cluster {
    port: u16,
    supervisor: Child,
    pipe: Option<ChildStdin>,
}

impl Cluster {
    /// Tries again if another process used the port first.
    fn start(settings: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Self, String> {
        let (programs, user) = (programs()?, User::find()?);
        let mut error = String::new();
        for _ in 0..ATTEMPTS {
            match Self::launch(&programs, &user, settings, files) {
                Ok(cluster) => return Ok(cluster),
                Err(e) => error = e,
            }
        }
        Err(format!("PostgreSQL did not start:\n{error}"))
    }

    fn launch(programs: &Path, user: &User, settings: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Self, String> {
        let folder = tempfile::Builder::new().prefix("enroll-postgres-").tempdir().map_err(|e| failed("mkdir", &e))?;
        user.own(folder.path()).map_err(|e| failed("chown", &e))?;
        let mut initdb = user.command(&programs.join("initdb"), folder.path());
        initdb.args(["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C", "-D", "data"]);
        let output = initdb.output().map_err(|e| failed("initdb", &e))?;
        if !output.status.success() {
            return Err(format!("`initdb` failed:\n{}", String::from_utf8_lossy(&output.stderr)));
        }
        for (name, text) in files {
            write_private(user, &folder.path().join("data").join(name), text).map_err(|e| failed("write", &e))?;
        }
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = free.map_err(|e| failed("bind", &e))?.port();
        let mut supervisor = user.command(Path::new("/bin/sh"), folder.path());
        supervisor
            .args(["-c", SUPERVISOR, "sh"])
            .arg(programs.join("postgres"))
            .arg(folder.path())
            .arg(port.to_string());
        supervisor.args(settings.iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]));
        // A separate group: a signal from the terminal must not end the supervisor before the test.
        let supervisor =
            supervisor.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut supervisor = supervisor.map_err(|e| failed("sh", &e))?;
        let pipe = supervisor.stdin.take();
        let cluster = Self { port, supervisor, pipe };
        // The supervisor removes the folder.
        let folder = folder.keep();
        let began = Instant::now();
        loop {
            let status = fs::read_to_string(folder.join("data/postmaster.pid")).unwrap_or_default();
            if status.lines().nth(7).is_some_and(|line| line.trim_end() == "ready") {
                return Ok(cluster);
            }
            if folder.join("ended").exists() || began.elapsed() > START_TIMEOUT {
                return Err(fs::read_to_string(folder.join("log")).unwrap_or_else(|e| failed("postgres", &e)));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.pipe = None;
        if let Err(e) = self.supervisor.wait() {
            let _: io::Result<()> = writeln!(io::stderr(), "{}", failed("sh", &e));
        }
    }
}

/// The user that runs the programs. PostgreSQL and PgBouncer refuse root.
pub(super) struct User {
    ids: Option<(u32, u32)>,
}

impl User {
    pub(super) fn find() -> Result<Self, String> {
        let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let ids = |name: &str| {
            let mut fields = passwd.lines().find(|line| line.split(':').next() == Some(name))?.split(':').skip(2);
            Some((fields.next()?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?))
        };
        // The owner of a new file is the user of this process.
        let probe = tempfile::NamedTempFile::new().map_err(|e| failed("mktemp", &e))?;
        let metadata = probe.as_file().metadata().map_err(|e| failed("stat", &e))?;
        if std::os::unix::fs::MetadataExt::uid(&metadata) != 0 {
            return Ok(Self { ids: None });
        }
        match ids("postgres").or_else(|| ids("nobody")) {
            Some(ids) => Ok(Self { ids: Some(ids) }),
            None => Err(advice("PostgreSQL refuses root, and there is no user `postgres` or `nobody` to run it as")),
        }
    }

    pub(super) fn own(&self, folder: &Path) -> io::Result<()> {
        self.ids.map_or(Ok(()), |(uid, gid)| chown(folder, Some(uid), Some(gid)))
    }

    pub(super) fn command(&self, program: &Path, folder: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(folder).stdin(Stdio::null()).env_remove("PGDATA").env_remove("PGPORT");
        if let Some((uid, gid)) = self.ids {
            command.uid(uid).gid(gid);
        }
        command
    }
}

/// Writes a file that only the user can read.
pub(super) fn write_private(user: &User, path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    user.own(path)
}

/// The folder of PostgreSQL's programs.
fn programs() -> Result<PathBuf, String> {
    let has = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let path = env::var_os("PATH").unwrap_or_default();
    if let Some(folder) = env::split_paths(&path).find(has) {
        return Ok(folder);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |folder: &PathBuf| folder.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).filter(|folder| has(&folder.join("bin"))).max_by_key(version);
    newest.map(|folder| folder.join("bin")).ok_or_else(|| advice("PostgreSQL's programs were not found"))
}

fn advice(what: &str) -> String {
    let mut text = what.to_owned();
    let _: std::fmt::Result =
        write!(text, ": install PostgreSQL (`apt-get install postgresql`), or set {VARIABLE} to a server");
    text
}

fn failed(program: &str, error: &io::Error) -> String {
    advice(&format!("`{program}` failed ({error})"))
}

fn fnv(hash: u64, text: &str) -> u64 {
    text.bytes().fold(hash, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

const VARIABLE: &str = "ENROLL_TEST_POSTGRES_URL";
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const LOCK: i64 = 0x0065_6e72_6f6c_6c74;
const ATTEMPTS: usize = 5;
const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Its arguments are the program, the folder, the port, and further options, of which the last one wins. When its input ends,
/// it stops the server immediately and removes the folder.
const SUPERVISOR: &str = r#"
program=$1 folder=$2 port=$3
shift 3
(
    "$program" -D data -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" \
        -c max_connections=200 -c fsync=off -c synchronous_commit=off -c full_page_writes=off "$@" >log 2>&1 </dev/null
    : >ended
) &
read -r _
until [ -e ended ] || pid=$(head -n 1 data/postmaster.pid 2>/dev/null); do sleep 0.1; done
[ -z "$pid" ] || kill -QUIT "$pid"
wait
cd / && rm -rf "$folder"
"#;
