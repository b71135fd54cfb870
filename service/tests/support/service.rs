//! Runs the real service with a new database, and calls it over HTTP.
#![allow(dead_code, reason = "each test uses a part of it")]

use enroll_postgres::tokio_postgres;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::support::{Folder, enroll, path, postgres, text};

pub(crate) const FIRST: &str = "00000000-0000-0000-0000-000000000001";
pub(crate) const SECOND: &str = "00000000-0000-0000-0000-0000000000a1";
pub(crate) const ACTIVE: &str = "00000000-0000-0000-0000-000000000005";
pub(crate) const STEP: &str = "00000000-0000-0000-0000-000000000006";

/// Returns an id of a seed.
pub(crate) fn id(number: u32) -> String {
    format!("00000000-0000-0000-0000-{number:012x}")
}

/// Returns the first organization. Its sequences: active (5), draft (20), without steps (21), and with an unknown channel
/// (22). Its channels: phone (2), disabled (10), email (11).
pub(crate) fn first() -> Value {
    let step = |number: u32, channel: u32| json!([{"id": id(number), "position": 1, "channel_kind": "phone", "channel_id": id(channel)}]);
    json!({
        "organization_id": FIRST,
        "channels": [
            {"id": id(2), "kind": "phone", "address": "+12025550100"},
            {"id": id(0x10), "kind": "phone", "address": "+12025550101", "enabled": false},
            {"id": id(0x11), "kind": "email", "address": "team@example.org"},
        ],
        "sequences": [
            {"id": ACTIVE, "title": "Welcome", "status": "active", "steps": step(6, 2)},
            {"id": id(0x20), "title": "Draft", "status": "draft", "steps": step(0x23, 2)},
            {"id": id(0x21), "title": "Empty", "status": "active", "steps": []},
            {"id": id(0x22), "title": "Lost", "status": "active", "steps": step(0x24, 0xff)},
        ],
        "contacts": [
            {"id": id(7), "phone": "+12025550123", "state": "blocked"},
            {"id": id(9), "phone": "+12025550124", "email": "Zoë@example.org", "external_id": "crm-9", "name": "Zoë",
             "address": {"city": "Graz"}, "birth_date": {"day": 3, "month": 4, "year": 1990}},
        ],
        "custom_objects": [
            {"id": id(8), "key": "lead", "properties": [{"key": "score", "type": "number", "required": false}]},
        ],
        "call_flows": [{"id": id(0x30), "name": "Desk"}],
    })
}

/// Returns the second organization.
pub(crate) fn second() -> Value {
    json!({
        "organization_id": SECOND,
        "channels": [{"id": id(0xa2), "kind": "phone", "address": "+12025550109"}],
        "sequences": [{"id": id(0xa5), "title": "Theirs", "status": "active",
            "steps": [{"id": id(0xa6), "position": 1, "channel_kind": "phone", "channel_id": id(0xa2)}]}],
    })
}

/// A running service with its database.
pub(crate) struct Service {
    folder: Folder,
    pub(crate) database: String,
    pub(crate) key: String,
    pub(crate) other_key: String,
    child: Child,
    log: Option<JoinHandle<String>>,
    pub(crate) base: String,
}

impl Service {
    pub(crate) fn on_sqlite(name: &str, more: &[&str]) -> Self {
        let folder = Folder::new(&format!("http-{name}"));
        let database = path(&folder.0.join("enroll.db")).to_owned();
        Self::on(folder, database, more)
    }

    pub(crate) fn on_postgresql(name: &str, more: &[&str]) -> Self {
        Self::on(Folder::new(&format!("http-{name}-postgresql")), postgres(), more)
    }

    /// Starts the service on an existing database.
    pub(crate) fn on_database(name: &str, database: String, more: &[&str]) -> Self {
        Self::on(Folder::new(&format!("http-{name}")), database, more)
    }

    /// Starts the service with environment variables, on SQLite unless there is another database.
    pub(crate) fn with_environment(
        name: &str,
        database: Option<String>,
        more: &[&str],
        environment: &[(&str, &str)],
    ) -> Self {
        let folder = Folder::new(&format!("http-{name}"));
        let database = database.unwrap_or_else(|| path(&folder.0.join("enroll.db")).to_owned());
        Self::create(folder, database, more, environment)
    }

    fn on(folder: Folder, database: String, more: &[&str]) -> Self {
        Self::create(folder, database, more, &[])
    }

    fn create(folder: Folder, database: String, more: &[&str], environment: &[(&str, &str)]) -> Self {
        for (name, seed) in [("first.json", first()), ("second.json", second())] {
            let seed = folder.file(name, &seed.to_string());
            text(&enroll(&["seed", path(&seed), "--database", &database], &[]));
        }
        let [key, other_key] = [FIRST, SECOND].map(|organization| create_key(&database, organization));
        let (child, log, base) = start(&database, more, environment);
        Self { folder, database, key, other_key, child, log: Some(log), base }
    }

    /// Kills the service with SIGKILL, and starts it again at another address with other options.
    pub(crate) fn kill_and_restart(&mut self, more: &[&str]) {
        self.kill_and_restart_with(more, &[]);
    }

    /// The same with variables of the environment.
    pub(crate) fn kill_and_restart_with(&mut self, more: &[&str], environment: &[(&str, &str)]) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let (child, log, base) = start(&self.database, more, environment);
        (self.child, self.log, self.base) = (child, Some(log), base);
    }

    /// Sends SIGTERM, as an init system does.
    pub(crate) fn terminate(&self) {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
    }

    /// Waits for the end of the service after SIGTERM. Returns its log.
    pub(crate) fn wait_for_end(&mut self) -> String {
        let status = self.child.wait().unwrap();
        let log = self.log.take().unwrap().join().unwrap();
        assert!(status.success(), "{status}: {log}");
        log
    }

    /// Writes a file next to the database.
    pub(crate) fn file(&self, name: &str, text: &str) -> PathBuf {
        self.folder.file(name, text)
    }

    /// Loads rows into the first organization, as a host would write them.
    pub(crate) fn load(&self, rows: &Value) {
        self.load_into(FIRST, rows);
    }

    /// Loads rows into an organization.
    pub(crate) fn load_into(&self, organization: &str, rows: &Value) {
        let mut seed = rows.clone();
        seed["organization_id"] = json!(organization);
        let file = self.file("more.json", &seed.to_string());
        text(&enroll(&["seed", path(&file), "--database", &self.database], &[]));
    }

    /// Runs SQL on the database, next to the service. Tables are named as on PostgreSQL.
    pub(crate) fn batch_execute(&self, sql: &str) {
        if !self.database.starts_with("postgres") {
            let connection = rusqlite::Connection::open(&self.database).unwrap();
            return connection
                .execute_batch(&sql.replace("enroll.", "enroll_").replace("enroll_service.", "enroll_service_"))
                .unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&self.database, tokio_postgres::NoTls).await.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute(sql).await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
        });
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_as(&self.key, path)
    }

    pub(crate) fn get_as(&self, key: &str, path: &str) -> Answer {
        Answer::from_response(agent().get(format!("{}{path}", self.base)).header("X-WHIPPY-KEY", key).call().unwrap())
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        let request = agent().delete(format!("{}{path}", self.base)).header("X-WHIPPY-KEY", &self.key);
        Answer::from_response(request.call().unwrap())
    }

    /// Sends a POST with the key of the first organization.
    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> Answer {
        self.post_as(&self.key, path, body, headers)
    }

    pub(crate) fn post_as(&self, key: &str, path: &str, body: impl AsRef<[u8]>, headers: &[(&str, &str)]) -> Answer {
        let mut request = agent().post(format!("{}{path}", self.base)).header("X-WHIPPY-KEY", key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Answer::from_response(request.send(body.as_ref()).unwrap())
    }

    /// Uploads a list, with options if there are any.
    pub(crate) fn upload(&self, path: &str, name: &str, file: impl AsRef<[u8]>, options: Option<&Value>) -> Answer {
        let options = options.map(ToString::to_string);
        let mut parts = vec![Part { name: "file", file_name: Some(name), bytes: file.as_ref() }];
        parts.extend(options.as_ref().map(|text| Part { name: "options", file_name: None, bytes: text.as_bytes() }));
        self.send_parts(path, &parts)
    }

    /// Sends a form with parts.
    pub(crate) fn send_parts(&self, path: &str, parts: &[Part<'_>]) -> Answer {
        self.post(path, form(parts), &[("content-type", FORM)])
    }

    /// Enrolls recipients into the active sequence.
    pub(crate) fn enroll(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.post(&format!("/v1/sequences/{ACTIVE}/contacts"), body.to_string(), headers)
    }

    /// Waits until an enrollment has a final state. Returns it.
    pub(crate) fn wait_for(&self, id: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let answer = self.get(&format!("/v1/enrollments/{id}"));
            assert_eq!(answer.status, 200, "{answer:?}");
            if answer.json["data"]["state"] != "accepted" {
                return answer.json["data"].clone();
            }
            assert!(Instant::now() < deadline, "{answer:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Opens a connection and sends bytes.
    pub(crate) fn connect(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.base.trim_start_matches("http://")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(180))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(180))).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    }

    /// Sends bytes, and returns the whole response. The service must close the connection.
    pub(crate) fn raw(&self, bytes: &[u8]) -> String {
        read_all(&mut self.connect(bytes))
    }

    /// Returns the head of a request to enroll people into the active sequence, for a body of a length.
    pub(crate) fn enroll_head(&self, length: usize) -> String {
        format!(
            "POST /v1/sequences/{ACTIVE}/contacts HTTP/1.1\r\nhost: x\r\nconnection: close\r\nX-WHIPPY-KEY: {}\r\n\
             content-length: {length}\r\n\r\n",
            self.key
        )
    }

    /// Returns the targets of the open files of the process.
    pub(crate) fn open_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        // A file that was closed in between has no target.
        files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok()).collect()
    }

    /// Returns the highest resident memory of the process so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }
}

/// A part of a form.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) file_name: Option<&'a str>,
    pub(crate) bytes: &'a [u8],
}

/// The content type of a form.
pub(crate) const FORM: &str = "multipart/form-data; boundary=----------boundary-of-the-tests";

/// Returns a form as the body of a request.
pub(crate) fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for Part { name, file_name, bytes } in parts {
        let file_name = file_name.map(|name| format!("; filename=\"{name}\"")).unwrap_or_default();
        let head = format!("content-disposition: form-data; name=\"{name}\"{file_name}");
        body.extend(format!("------------boundary-of-the-tests\r\n{head}\r\n\r\n").bytes());
        body.extend_from_slice(bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"------------boundary-of-the-tests--\r\n");
    body
}

/// Reads until the service closes the connection.
pub(crate) fn read_all(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // The service may reset the connection before it has read everything.
    let _ended = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if let Some((head, _)) = answer.split_once("\r\n\r\n") {
        assert!(head.contains("\r\nx-request-id: "), "{head}");
    }
    answer
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
        if thread::panicking()
            && let Some(log) = self.log.take()
        {
            eprintln!("{}", log.join().unwrap_or_default());
        }
    }
}

/// One more process of the service on a database.
pub(crate) struct Process {
    child: Child,
    pub(crate) base: String,
}

impl Process {
    pub(crate) fn start(database: &str, more: &[&str]) -> Self {
        let (child, _log, base) = start(database, more, &[]);
        Self { child, base }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn start(database: &str, more: &[&str], environment: &[(&str, &str)]) -> (Child, JoinHandle<String>, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_enroll"))
        .args(["serve", "--database", database, "--listen", "127.0.0.1:0", "--lease", "1"])
        .args(if more.contains(&"--log-format") { &[][..] } else { &["--log-format", "json"] })
        .args(more)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let log = thread::spawn(move || {
        let mut log = String::new();
        stderr.read_to_string(&mut log).unwrap();
        log
    });
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, log, base)
}

pub(crate) fn create_key(database: &str, organization: &str) -> String {
    let args = ["keys", "create", "--database", database, "--organization", organization, "--name", "test"];
    text(&enroll(&args, &[])).trim().to_owned()
}

/// Sends a GET without a key.
pub(crate) fn get(url: &str) -> Answer {
    Answer::from_response(agent().get(url).call().unwrap())
}

fn agent() -> Agent {
    let config = Agent::config_builder().http_status_as_error(false).timeout_global(Some(Duration::from_secs(60)));
    config.build().new_agent()
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Every answer has one.
    pub(crate) request_id: String,
    pub(crate) location: Option<String>,
    pub(crate) retry_after: Option<u32>,
    /// In milliseconds.
    pub(crate) remaining_interval: Option<u32>,
    pub(crate) text: String,
    /// `null` if the body is not JSON.
    pub(crate) json: Value,
}

impl Answer {
    fn from_response(mut response: Response<Body>) -> Self {
        let text = response.body_mut().read_to_string().unwrap();
        let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        Self {
            status: response.status().as_u16(),
            request_id: header("x-request-id").unwrap(),
            location: header("location"),
            retry_after: header("retry-after").map(|seconds| seconds.parse().unwrap()),
            remaining_interval: header("x-ratelimit-remaining-interval-milliseconds").map(|wait| wait.parse().unwrap()),
            json: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Asserts status 202. Returns the enrollment id.
    pub(crate) fn accepted(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.json["data"]["enrollment_id"].as_str().unwrap().to_owned()
    }

    /// Asserts an error response with the documented body that contains the code and the path.
    pub(crate) fn assert_error(&self, status: u16, code: &str, path: &str) {
        assert_eq!(self.status, status, "{code}: {self:?}");
        assert_eq!(self.json["status"], status, "{self:?}");
        let errors = self.json["errors"].as_array().unwrap();
        assert!(errors.iter().all(|error| error["description"].as_str().is_some_and(|text| !text.is_empty())));
        assert!(errors.iter().any(|error| error["code"] == code && error["path"] == path), "{code} {path}: {self:?}");
    }
}

/// Declares tests that run on SQLite and on PostgreSQL.
#[allow(unused_macros, reason = "each test uses a part of it")]
macro_rules! on_both {
    ($($name:ident $(with [$($option:literal),*])?;)*) => {
        mod on_sqlite {
            $(#[test]
            fn $name() {
                super::$name(&mut crate::support::service::Service::on_sqlite(stringify!($name), &[$($($option),*)?]));
            })*
        }

        mod on_postgresql {
            crate::support::on_postgresql! {
                $(fn $name() {
                    let name = stringify!($name);
                    super::$name(&mut crate::support::service::Service::on_postgresql(name, &[$($($option),*)?]));
                })*
            }
        }
    };
}
#[allow(unused_imports, reason = "each test uses a part of it")]
pub(crate) use on_both;
