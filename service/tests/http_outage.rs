//! A database that goes away, and comes back.

mod support;

use serde_json::json;
use std::io::copy;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use support::postgres;
use support::service::Service;

/// A way to a PostgreSQL that can be cut.
struct Way {
    address: String,
    /// Whether it is open, and what goes through.
    through: Arc<Mutex<(bool, Vec<TcpStream>)>>,
}

impl Way {
    fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let through = Arc::new(Mutex::new((true, Vec::new())));
        let shared = Arc::clone(&through);
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                let mut through = shared.lock().unwrap();
                if through.0 {
                    let far = TcpStream::connect(&server).unwrap();
                    for (from, to) in [(&near, &far), (&far, &near)] {
                        let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                        thread::spawn(move || {
                            let _cut = copy(&mut from, &mut to);
                            let _cut = to.shutdown(Shutdown::Both);
                        });
                    }
                    through.1.push(near);
                }
            }
        });
        Self { address, through }
    }

    fn cut(&self) {
        let mut through = self.through.lock().unwrap();
        through.0 = false;
        for stream in through.1.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.through.lock().unwrap().0 = true;
    }
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn while_the_database_is_away_the_answer_is_503_and_what_was_accepted_is_completed_after() {
    let url = postgres();
    let (head, rest) = url.split_once('@').map_or_else(|| ("", &*url), |(head, rest)| (head, rest));
    let (server, name) = rest.rsplit_once('/').unwrap();
    let way = Way::to(server.to_owned());
    let service = Service::on_database("outage", format!("{head}@{}/{name}", way.address), &["--workers", "1"]);
    let body = json!({"to": [{"phone": "+12025550187"}]});
    service.ended(&service.enroll(&body, &[("Idempotency-Key", "before")]).accepted());

    way.cut();
    let refused = service.enroll(&body, &[("Idempotency-Key", "during")]);
    refused.refused(503, "unavailable", "");
    assert!(refused.retry_after.is_some() && !refused.text.contains("postgres"), "{refused:?}");
    service.get("/v1/contacts").refused(503, "unavailable", "");
    service.get("/readyz").refused(503, "unavailable", "");
    assert_eq!(service.get("/healthz").status, 200);
    assert!(service.get("/metrics").text.contains("enroll_recipients_total"));

    way.mend();
    let during = service.enroll(&body, &[("Idempotency-Key", "during")]).accepted();
    assert_eq!(service.ended(&during)["counts"]["reprocessed"], 1);
}
