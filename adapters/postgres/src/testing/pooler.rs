//! PgBouncer for tests, in front of a server.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use super::server::{Server, User, write_private};

/// PgBouncer for tests, in front of a server. It has its own folder and port, and stops when this value is dropped or when
/// the process ends.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    supervisor: Child,
    pipe: Option<ChildStdin>,
}

impl Pooler {
    /// Starts PgBouncer with settings, and with files in its folder, which only it can read.
    ///
    /// It lets every user in, and connects to each database of the server as the user `postgres`.
    ///
    /// # Panics
    /// Panics if the program is not installed, or if it fails. The message contains the remedy.
    #[must_use]
    #[expect(clippy::panic, reason = "a test without a pooler must fail")]
    pub fn start(server: &Server, settings: &[(&str, &str)], files: &[(&str, &str)]) -> Self {
        Self::launch(server, settings, files).unwrap_or_else(|problem| {
            panic!("PgBouncer did not start: install it (`apt-get install pgbouncer`): {problem}")
        })
    }

    /// Returns the address of a database of the server, through the pooler.
    #[must_use]
    pub fn address(&self, database_url: &str) -> String {
        let (_, place) = database_url.split_once("127.0.0.1:").unwrap_or(("", database_url));
        let rest = place.trim_start_matches(|digit: char| digit.is_ascii_digit());
        format!("postgres://postgres@127.0.0.1:{}{rest}", self.port)
    }

    fn launch(server: &Server, settings: &[(&str, &str)], files: &[(&str, &str)]) -> Result<Self, String> {
        let (program, user) = (program()?, User::find()?);
        let folder = tempfile::Builder::new().prefix("enroll-pgbouncer-").tempdir().map_err(|e| e.to_string())?;
        user.own(folder.path()).map_err(|e| e.to_string())?;
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let port = free.map_err(|e| e.to_string())?.port();
        let of_server = server.url().split_once("127.0.0.1:").and_then(|(_, rest)| rest.split('/').next());
        let of_server = of_server.ok_or("it needs a server of its own: unset ENROLL_TEST_POSTGRES_URL")?;
        let mut text = format!("[databases]\n* = host=127.0.0.1 port={of_server} user=postgres\n[pgbouncer]\n");
        let port_setting = port.to_string();
        let defaults = [
            ("listen_addr", "127.0.0.1"),
            ("listen_port", &*port_setting),
            ("unix_socket_dir", ""),
            ("auth_type", "any"),
            // A test needs a few connections to each of many databases.
            ("max_client_conn", "500"),
            ("default_pool_size", "8"),
            ("server_idle_timeout", "1"),
        ];
        for (name, value) in defaults.iter().chain(settings) {
            let _infallible: std::fmt::Result = writeln!(text, "{name} = {value}");
        }
        for (name, text) in [("pgbouncer.ini", &*text)].iter().chain(files) {
            write_private(&user, &folder.path().join(name), text).map_err(|e| e.to_string())?;
        }
        let mut supervisor = user.command(Path::new("/bin/sh"), folder.path());
        supervisor.args(["-c", SUPERVISOR, "sh"]).arg(program).arg(folder.path());
        let spawned =
            supervisor.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut supervisor = spawned.map_err(|e| e.to_string())?;
        let pipe = supervisor.stdin.take();
        let pooler = Self { port, supervisor, pipe };
        // The supervisor removes the folder.
        let folder = folder.keep();
        let began = Instant::now();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if folder.join("ended").exists() || began.elapsed() > START_TIMEOUT {
                return Err(fs::read_to_string(folder.join("log")).unwrap_or_default());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(pooler)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        self.pipe = None;
        drop(self.supervisor.wait());
    }
}

fn program() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian installs it where the path of a user does not lead.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join("pgbouncer"));
    programs.find(|program| program.is_file()).ok_or_else(|| "the program was not found".to_owned())
}

const START_TIMEOUT: Duration = Duration::from_secs(60);
/// Its arguments are the program and the folder. When its input ends, it stops the program and removes the folder.
const SUPERVISOR: &str = r#"
program=$1 folder=$2
"$program" pgbouncer.ini >log 2>&1 </dev/null &
pid=$!
( while kill -0 $pid 2>/dev/null; do sleep 0.1; done; : >ended ) &
read -r _
kill -TERM $pid
wait $pid
cd / && rm -rf "$folder"
"#;
