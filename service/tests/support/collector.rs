//! An OpenTelemetry collector over HTTP, which keeps the spans.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, header};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

#[derive(Default)]
struct Received {
    bytes: Vec<u8>,
    requests: Vec<ExportTraceServiceRequest>,
}

/// A running collector.
pub(crate) struct Collector {
    received: Arc<Mutex<Received>>,
    pub(crate) url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Collector {
    pub(crate) fn start() -> Self {
        let received = Arc::new(Mutex::new(Received::default()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&received);
        let receive = post(async move |headers: HeaderMap, body: Bytes| {
            assert_eq!(headers[header::CONTENT_TYPE], "application/x-protobuf");
            let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
            let mut received = shared.lock().unwrap();
            received.bytes.extend_from_slice(&body);
            received.requests.push(request);
        });
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let router = Router::new().route("/v1/traces", receive);
            serve(listener, router).await;
        });
        Self { received, url, _runtime: runtime }
    }

    /// Returns all spans so far.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.requests.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|of_resource| &of_resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    /// Returns the attributes of the process.
    pub(crate) fn resource(&self) -> Vec<KeyValue> {
        let received = self.received.lock().unwrap();
        received.requests[0].resource_spans[0].resource.clone().unwrap().attributes
    }

    /// Asserts that a text is in no byte that was received.
    pub(crate) fn assert_without(&self, text: &str) {
        let received = self.received.lock().unwrap();
        let is_found = received.bytes.windows(text.len()).any(|bytes| bytes.eq_ignore_ascii_case(text.as_bytes()));
        assert!(!is_found, "`{text}` is in a span");
    }
}

/// Serves connections until the runtime ends.
async fn serve(listener: tokio::net::TcpListener, router: Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        let io = hyper_util::rt::TokioIo::new(stream);
        tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
    }
}

/// Returns an attribute as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.clone();
    Some(match value {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        other => panic!("{key}: {other:?}"),
    })
}

/// Returns bytes as the headers and the pages of tracing tools have them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
