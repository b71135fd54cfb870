//! Outages of the database: it is away, it hangs, it is locked, or it cannot be written.

mod support;

use enroll_postgres::testing::Server;
use enroll_postgres::tokio_postgres::{self, Client, NoTls};
use serde_json::json;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

use support::service::{Service, read_all};
use support::{on_postgresql, postgres};

/// A TCP proxy to a PostgreSQL server that can be interrupted.
struct Proxy {
    address: String,
    /// True if it accepts connections, and the open ones.
    connections: Arc<Mutex<(bool, Vec<TcpStream>)>>,
}

impl Proxy {
    fn start(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections = Arc::new(Mutex::new((true, Vec::new())));
        let shared = Arc::clone(&connections);
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                let mut connections = shared.lock().unwrap();
                if connections.0 {
                    let upstream = TcpStream::connect(&server).unwrap();
                    for (from, to) in [(&client, &upstream), (&upstream, &client)] {
                        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        thread::spawn(move || {
                            let _closed = copy(&mut from, &mut to);
                            let _closed = to.shutdown(Shutdown::Both);
                        });
                    }
                    connections.1.push(client);
                }
            }
        });
        Self { address, connections }
    }

    fn interrupt(&self) {
        let mut connections = self.connections.lock().unwrap();
        connections.0 = false;
        for stream in connections.1.drain(..) {
            let _closed = stream.shutdown(Shutdown::Both);
        }
    }

    fn restore(&self) {
        self.connections.lock().unwrap().0 = true;
    }
}

/// A session of PostgreSQL.
struct Session {
    client: Client,
    runtime: Runtime,
}

impl Session {
    fn open(url: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (client, connection) = runtime.block_on(tokio_postgres::connect(url, NoTls)).unwrap();
        runtime.spawn(connection);
        Self { client, runtime }
    }

    fn execute(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// Returns the first column of each row.
    fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.runtime.block_on(self.client.query(sql, &[])).unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// Returns the number of statements that wait for a lock.
    fn waiting(&self) -> usize {
        self.column(
            "select query from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
        )
        .len()
    }
}

/// A PostgreSQL server whose processes are all stopped. Drop lets them continue.
struct Stopped(Vec<String>);

impl Stopped {
    fn stop(session: &Session) -> Self {
        let mut processes = session.column("select pid::text from pg_stat_activity");
        let folder = session.column("show data_directory").remove(0);
        let postmaster = std::fs::read_to_string(format!("{folder}/postmaster.pid")).unwrap();
        // The postmaster first, so that it starts no other process.
        processes.insert(0, postmaster.lines().next().unwrap().to_owned());
        signal("-STOP", &processes);
        Self(processes)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        signal("-CONT", &self.0);
    }
}

fn signal(signal: &str, processes: &[String]) {
    assert!(Command::new("kill").arg(signal).args(processes).status().unwrap().success());
}

/// Repeats a check until it returns true.
fn wait_until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Asserts the answers of the checks while the database cannot be used. They take less than a second, and here, where other
/// tests run at the same time, less than five.
fn assert_answers_during_an_outage(service: &Service) {
    let get = |path: &str| {
        let mut client =
            service.connect(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        read_all(&mut client)
    };
    for _ in 0..5 {
        let health = get("/healthz");
        assert!(health.starts_with("HTTP/1.1 200"), "{health:?}");
        assert!(get("/readyz").starts_with("HTTP/1.1 503"));
        assert!(get("/metrics").contains("enroll_http_requests_total"));
    }
    service.get("/readyz").assert_error(503, "unavailable", "");
}

#[test]
fn a_locked_sqlite_file_is_not_ready_until_it_can_be_written() {
    let service = Service::on_sqlite("locked", &["--workers", "2"]);
    let other = rusqlite::Connection::open(&service.database).unwrap();
    assert_eq!(service.get("/readyz").status, 200);
    other.execute_batch("begin immediate").unwrap();
    // Workers and requests wait for the lock too.
    let body = json!({"to": [{"phone": "+12025550187"}]}).to_string();
    let request = service.enroll_head(body.len()) + &body;
    let waiting: Vec<TcpStream> = (0..24).map(|_| service.connect(request.as_bytes())).collect();
    assert_answers_during_an_outage(&service);
    drop(waiting);
    // In WAL mode, reads do not wait.
    assert_eq!(service.get("/v1/contacts").status, 200);
    other.execute_batch("rollback").unwrap();
    wait_until("the file can be written", || service.get("/readyz").status == 200);
    let rows: u32 = other.query_row("select count(*) from enroll_service_write_checks", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

on_postgresql! {
    fn on_postgresql_an_outage_returns_503_and_accepted_enrollments_complete_later() {
        let url = postgres();
        let (head, rest) = url.split_once('@').map_or_else(|| ("", &*url), |(head, rest)| (head, rest));
        let (server, name) = rest.rsplit_once('/').unwrap();
        let proxy = Proxy::start(server.to_owned());
        let service = Service::on_database("outage", format!("{head}@{}/{name}", proxy.address), &["--workers", "1"]);
        let body = json!({"to": [{"phone": "+12025550187"}]});
        service.wait_for(&service.enroll(&body, &[("Idempotency-Key", "before")]).accepted());

        proxy.interrupt();
        let rejected = service.enroll(&body, &[("Idempotency-Key", "during")]);
        rejected.assert_error(503, "unavailable", "");
        assert!(rejected.retry_after.is_some() && !rejected.text.contains("postgres"), "{rejected:?}");
        service.get("/v1/contacts").assert_error(503, "unavailable", "");
        service.get("/readyz").assert_error(503, "unavailable", "");
        assert_eq!(service.get("/healthz").status, 200);
        assert!(service.get("/metrics").text.contains("enroll_recipients_total"));

        proxy.restore();
        let during = service.enroll(&body, &[("Idempotency-Key", "during")]).accepted();
        assert_eq!(service.wait_for(&during)["counts"]["reprocessed"], 1);
    }

    fn on_postgresql_the_checks_answer_while_the_server_is_stopped() {
        let server = Server::start();
        let url = tokio::runtime::Runtime::new().unwrap().block_on(server.database()).unwrap();
        let (service, session) = (Service::on_database("stopped", url.clone(), &["--workers", "1"]), Session::open(&url));
        assert_eq!(service.get("/readyz").status, 200);
        let stopped = Stopped::stop(&session);
        assert_answers_during_an_outage(&service);
        drop(stopped);
        wait_until("the server continues", || service.get("/readyz").status == 200);
        assert_eq!(session.column("select count(*)::text from enroll_service.write_checks"), ["0"]);
    }

    fn on_postgresql_a_read_only_server_is_not_ready_and_returns_503_for_writes() {
        let server = Server::start();
        let url = tokio::runtime::Runtime::new().unwrap().block_on(server.database()).unwrap();
        let (service, session) = (Service::on_database("read-only", url.clone(), &["--workers", "1"]), Session::open(&url));
        session.execute("set default_transaction_read_only = off");
        session.execute("alter system set default_transaction_read_only = on");
        session.column("select pg_reload_conf()::text");
        wait_until("the server is read-only", || service.get("/readyz").status == 503);
        assert_answers_during_an_outage(&service);
        let rejected = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[("Idempotency-Key", "k")]);
        rejected.assert_error(503, "unavailable", "");
        assert!(rejected.retry_after.is_some());
        assert_eq!(service.get("/v1/contacts").status, 200);

        session.execute("alter system reset default_transaction_read_only");
        session.column("select pg_reload_conf()::text");
        wait_until("the server can be written", || service.get("/readyz").status == 200);
        let accepted = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[("Idempotency-Key", "k")]);
        assert_eq!(service.wait_for(&accepted.accepted())["state"], "completed");
    }

    fn on_postgresql_requests_that_wait_leave_handles_for_other_organizations() {
        let service = Service::on_database("handles", postgres(), &["--workers", "0"]);
        // In a transaction, statistics do not change.
        let [session, lock] = [(); 2].map(|()| Session::open(&service.database));
        lock.execute("begin; lock table enroll.contacts in access exclusive mode");
        let request = format!("GET /v1/contacts HTTP/1.1\r\nhost: x\r\nX-WHIPPY-KEY: {}\r\n\r\n", service.key);
        let waiting: Vec<TcpStream> = (0..24).map(|_| service.connect(request.as_bytes())).collect();
        // One organization uses five of eight handles.
        wait_until("the organization has its share", || session.waiting() == 5);
        for _ in 0..20 {
            assert_eq!(service.get_as(&service.other_key, "/v1/sequences").status, 200);
        }
        assert_eq!(service.get("/readyz").status, 200);
        assert_eq!(session.waiting(), 5);

        // The service drops a request when its client disconnects, and the statement is cancelled.
        drop(waiting);
        wait_until("no statement waits", || session.waiting() == 0);
        assert_eq!(service.get("/v1/sequences").status, 200);
        lock.execute("rollback");
        assert_eq!(service.get("/v1/contacts").status, 200);
    }
}
