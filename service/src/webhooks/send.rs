//! Sends a message to an endpoint over HTTP, once.
//!
//! The client follows no redirect and uses no proxy.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error as LegacyError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::timeout;

use super::WEBHOOKS;
use super::address::{Networks, ResolveError, Resolver};
use super::endpoint::EndpointUrl;
use super::sign::Secret;
use crate::{Failure, causes};

/// Sends messages.
#[derive(Clone)]
pub(crate) struct Sender {
    client: Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>,
    networks: Networks,
    timeout: Duration,
}

/// A message to an endpoint.
pub(crate) struct Message<'m> {
    /// The same for every attempt: a receiver recognizes a repeated message by it.
    pub(crate) id: &'m str,
    pub(crate) body: &'m str,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Attempt {
    /// The status, or a word for what failed.
    pub(crate) code: String,
    pub(crate) result: AttemptResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttemptResult {
    /// The status is 2xx.
    Delivered,
    /// The status is 410: the receiver wants no more messages.
    Gone,
    /// The message can be sent again.
    Failed {
        /// True if the endpoint as a whole fails, rather than this message.
        is_down: bool,
        /// How long the receiver asks to wait.
        retry_after: Option<Duration>,
    },
}

impl Sender {
    /// Returns a sender that can reach public addresses and the given networks.
    pub(crate) fn new(networks: Networks, timeout: Duration) -> Result<Self, Failure> {
        let mut connector = HttpConnector::new_with_resolver(Resolver(networks.clone()));
        connector.enforce_http(false);
        connector.set_nodelay(true);
        let tls = tls_config().map_err(|e| Failure::from_error("TLS of webhooks", &e))?;
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(connector);
        let mut client = Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new()).pool_idle_timeout(IDLE).pool_max_idle_per_host(1);
        client.http1_max_buf_size(MAX_HEAD);
        Ok(Self { client: client.build(connector), networks, timeout })
    }

    /// Sends a message. `now` is the time of the signature.
    pub(crate) async fn send(&self, url: &str, secret: &str, message: &Message<'_>, now: SystemTime) -> Attempt {
        let request = match self.request(url, secret, message, now) {
            Ok(request) => request,
            Err(code) => return failed(code, true),
        };
        match timeout(self.timeout, self.client.request(request)).await {
            Err(_) => failed("timeout", true),
            Ok(Err(e)) => failed(error_code(&e), true),
            Ok(Ok(response)) => {
                let attempt = answered(&response, now);
                drain(response).await;
                attempt
            }
        }
    }

    fn request(
        &self,
        url: &str,
        secret: &str,
        message: &Message<'_>,
        now: SystemTime,
    ) -> Result<Request<Full<Bytes>>, &'static str> {
        let url: EndpointUrl = url.parse().map_err(|_| "invalid_url")?;
        // The resolver does not see an address.
        self.networks.check(url.url()).map_err(|_| PRIVATE_ADDRESS)?;
        let secret: Secret = secret.parse().map_err(|_| "invalid_secret")?;
        let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| "invalid_clock")?;
        let seconds = i64::try_from(since_epoch.as_secs()).map_err(|_| "invalid_clock")?;
        let signature = secret.sign(message.id, seconds, message.body).map_err(|_| "invalid_secret")?;
        let request = Request::post(url.url().as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("enroll/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", message.id)
            .header("webhook-timestamp", seconds)
            .header("webhook-signature", signature);
        request.body(Full::from(message.body.to_owned())).map_err(|_| "invalid_url")
    }
}

/// Returns a configuration that trusts the certificates of the system. Without any, attempts over `https` fail with `tls`.
fn tls_config() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let builder = match builder.clone().with_native_roots() {
        Ok(builder) => builder,
        Err(e) => {
            let error = causes(&e);
            tracing::warn!(target: WEBHOOKS, error, "no certificates: webhooks over https fail; see SSL_CERT_FILE");
            builder.with_root_certificates(RootCertStore::empty())
        }
    };
    Ok(builder.with_no_client_auth())
}

fn failed(code: impl Into<String>, is_down: bool) -> Attempt {
    Attempt { code: code.into(), result: AttemptResult::Failed { is_down, retry_after: None } }
}

fn answered(response: &Response<Incoming>, now: SystemTime) -> Attempt {
    let status = response.status();
    let asks_to_wait = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let retry_after = response.headers().get(RETRY_AFTER).filter(|_| asks_to_wait);
    let retry_after = retry_after.and_then(|value| parse_retry_after(value.to_str().ok()?, now));
    let result = match status {
        _ if status.is_success() => AttemptResult::Delivered,
        StatusCode::GONE => AttemptResult::Gone,
        _ => AttemptResult::Failed {
            is_down: status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS,
            retry_after,
        },
    };
    Attempt { code: status.as_u16().to_string(), result }
}

/// Reads `Retry-After`: a number of seconds, or an instant.
fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(value).ok()?.duration_since(now).ok()
}

/// Reads the rest of a short response, so that the connection can be used again. Its content is ignored.
async fn drain(response: Response<Incoming>) {
    let mut body = response.into_body();
    let mut left = MAX_BODY;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // A longer or slower response ends with its connection.
    drop(timeout(BODY_TIMEOUT, reading).await);
}

/// Returns a word for the reason that no response came.
fn error_code(error: &(dyn Error + 'static)) -> &'static str {
    let causes = || std::iter::successors(Some(error), |error| inner(*error));
    match causes().find_map(<dyn Error>::downcast_ref::<ResolveError>) {
        Some(ResolveError::Private(_)) => PRIVATE_ADDRESS,
        Some(ResolveError::Lookup(_)) => "dns",
        None if causes().any(<dyn Error>::is::<rustls::Error>) => "tls",
        None if error.downcast_ref::<LegacyError>().is_some_and(LegacyError::is_connect) => "connect",
        None => "disconnected",
    }
}

/// Returns the next cause. An `io::Error` hides the error inside of it.
fn inner<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    wrapped.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
}

const PRIVATE_ADDRESS: &str = "private_address";
/// How long an unused connection stays open.
const IDLE: Duration = Duration::from_secs(30);
/// The largest head of a response.
const MAX_HEAD: usize = 64 << 10;
/// The largest response that is read to its end.
const MAX_BODY: usize = 16 << 10;
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
