//! An outage of the database.

mod support;

use serde_json::json;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use support::service::Service;
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
}
