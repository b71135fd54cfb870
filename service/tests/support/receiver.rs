//! A receiver of webhooks: an HTTP server in the process of the test.
#![allow(dead_code, reason = "each test uses a part of it")]

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use tokio::runtime::Runtime;

/// A message that arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) json: Value,
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    /// Returns the kind of the event, and the enrollment.
    pub(crate) fn what(&self) -> (String, String) {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&self.json["type"]), text(&self.json["data"]["enrollment_id"]))
    }

    /// Verifies the signature with the library of the convention.
    pub(crate) fn verify(&self, secret: &str) -> Result<(), standardwebhooks::WebhookError> {
        standardwebhooks::Webhook::new(secret).unwrap().verify(&self.body, &self.headers)
    }
}

/// How a receiver answers a message.
#[derive(Clone, Copy)]
pub(crate) enum Reply {
    Status(u16),
    With(u16, &'static str, &'static str),
    /// No answer at all.
    Hang,
}

type Respond = dyn Fn(&[Received]) -> Reply + Send + Sync;

struct Shared {
    received: Mutex<Vec<Received>>,
    changed: Condvar,
    respond: Box<Respond>,
}

pub(crate) struct Receiver {
    shared: Arc<Shared>,
    pub(crate) port: u16,
    _runtime: Runtime,
}

impl Receiver {
    /// Starts a receiver. It answers a message by all that have arrived, this one last.
    pub(crate) fn start(respond: impl Fn(&[Received]) -> Reply + Send + Sync + 'static) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let shared =
            Arc::new(Shared { received: Mutex::default(), changed: Condvar::new(), respond: Box::new(respond) });
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(receive).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { shared, port, _runtime: runtime }
    }

    /// Starts a receiver that answers each message with 204.
    pub(crate) fn accepting() -> Self {
        Self::start(|_| Reply::Status(204))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.received.lock().unwrap().clone()
    }

    /// Waits until a number of messages has arrived. Returns all of them.
    pub(crate) fn wait_for(&self, number: usize) -> Vec<Received> {
        self.wait_until(|received| received.len() >= number)
    }

    /// Waits until the messages meet a condition. Returns them.
    pub(crate) fn wait_until(&self, condition: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let received = self.shared.received.lock().unwrap();
        let waiting = |received: &mut Vec<Received>| !condition(received);
        let (received, timeout) =
            self.shared.changed.wait_timeout_while(received, Duration::from_secs(60), waiting).unwrap();
        assert!(!timeout.timed_out(), "{received:?}");
        received.clone()
    }
}

async fn receive(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let json = serde_json::from_slice(&body).unwrap_or_default();
    let reply = {
        let mut received = shared.received.lock().unwrap();
        received.push(Received { path: uri.to_string(), headers, body, json });
        shared.changed.notify_all();
        (shared.respond)(&received)
    };
    let status = |code| StatusCode::from_u16(code).unwrap();
    match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::With(code, name, value) => {
            (status(code), [(HeaderName::from_static(name), value)], "ignored").into_response()
        }
        Reply::Hang => std::future::pending().await,
    }
}
