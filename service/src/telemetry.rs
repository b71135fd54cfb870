//! The export of spans to OpenTelemetry, by the standard environment variables.
//!
//! The target [`SPANS`] has the spans that only the export needs. Log lines are not exported: their errors can quote the
//! database.

use axum::http::HeaderMap;
use opentelemetry::propagation::TextMapPropagator;
use opentelemetry::trace::{TraceContextExt, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::env;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::Interest;
use tracing::{Metadata, Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::dynamic_filter_fn;
use tracing_subscriber::layer::{self, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::Failure;
use crate::serve::WORK;

/// Sends spans to a collector, from a separate thread. Drop sends the rest, for at most five seconds.
///
/// If the collector is away or slow, spans are dropped: nothing waits for it.
pub(crate) struct Export {
    provider: SdkTracerProvider,
}

impl Export {
    /// Starts the export if the environment names a collector.
    pub(crate) fn start() -> Result<Option<Self>, Failure> {
        if !is_wanted()? {
            return Ok(None);
        }
        check_protocol()?;
        check_sampler()?;
        // An error means that there is a provider.
        let _present = rustls::crypto::ring::default_provider().install_default();
        let exporter = SpanExporter::builder().with_http().build();
        let exporter = exporter.map_err(|e| Failure::from_error("OpenTelemetry", &e))?;
        // The environment wins: it has the name too.
        let resource = Resource::builder_empty()
            .with_attributes([KeyValue::new("service.name", "enroll"), KeyValue::new("service.version", VERSION)]);
        let from_environment = Resource::builder().build();
        let is_named = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|attributes| attributes.contains("service.name="));
        let named = from_environment.iter().filter(|(key, _)| is_named || key.as_str() != "service.name");
        let resource =
            resource.with_attributes(named.map(|(key, value)| KeyValue::new(key.clone(), value.clone()))).build();
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build();
        Ok(Some(Self { provider }))
    }

    /// Returns the layer that exports the spans of a subscriber.
    ///
    /// The spans of the adapters are exported within a request or an enrollment. Idle workers look for work all the time, and
    /// each look would be a trace.
    pub(crate) fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let layer = tracing_opentelemetry::layer()
            .with_tracer(self.provider.tracer("enroll"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false);
        let filter = dynamic_filter_fn(|metadata: &Metadata<'_>, context: &layer::Context<'_, S>| {
            is_exported(metadata) && (is_root(metadata) || context.lookup_current().is_some())
        });
        let filter = filter.with_callsite_filter(|metadata| match (is_exported(metadata), is_root(metadata)) {
            (false, _) => Interest::never(),
            (true, true) => Interest::always(),
            (true, false) => Interest::sometimes(),
        });
        layer.with_filter(filter.with_max_level_hint(LevelFilter::DEBUG))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if let Err(e) = self.provider.shutdown() {
            tracing::warn!(error = %e, "the last spans were not exported");
        }
    }
}

/// Returns true for spans of this project, and not for those that only name the lines of the log.
fn is_exported(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("enroll") && metadata.target() != LOG_SPANS
}

/// Returns true for a span that begins a trace, or continues that of a client.
fn is_root(metadata: &Metadata<'_>) -> bool {
    [SPANS, WORK].contains(&metadata.target())
}

/// Returns true if a variable names a collector, and none turns the export off.
fn is_wanted() -> Result<bool, Failure> {
    if variable("OTEL_SDK_DISABLED").is_some_and(|disabled| disabled.eq_ignore_ascii_case("true")) {
        return Ok(false);
    }
    match variable("OTEL_TRACES_EXPORTER").as_deref() {
        None | Some("otlp") => {
            let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
            Ok(endpoints.into_iter().any(|name| variable(name).is_some()))
        }
        Some("none") => Ok(false),
        Some(other) => Err(unsupported("OTEL_TRACES_EXPORTER", other, "`otlp` or `none`")),
    }
}

fn check_protocol() -> Result<(), Failure> {
    let names = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    match names.into_iter().find_map(|name| Some((name, variable(name)?))) {
        Some((name, other)) if other != "http/protobuf" => {
            Err(unsupported(name, &other, "`http/protobuf`, and the port of the collector for it, such as 4318"))
        }
        _ => Ok(()),
    }
}

fn check_sampler() -> Result<(), Failure> {
    let Some(sampler) = variable("OTEL_TRACES_SAMPLER") else { return Ok(()) };
    if !SAMPLERS.contains(&sampler.as_str()) {
        return Err(unsupported("OTEL_TRACES_SAMPLER", &sampler, &format!("one of `{}`", SAMPLERS.join("`, `"))));
    }
    let share = variable("OTEL_TRACES_SAMPLER_ARG").unwrap_or_default();
    if sampler.ends_with("ratio") && !share.parse().is_ok_and(|share: f64| (0.0..=1.0).contains(&share)) {
        return Err(unsupported("OTEL_TRACES_SAMPLER_ARG", &share, "a number from 0 to 1, such as `0.1`"));
    }
    Ok(())
}

fn unsupported(name: &str, value: &str, supported: &str) -> Failure {
    Failure::new(name, format!("`{value}` is not supported; use {supported}"))
}

/// Returns the value of a variable, unless it is empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The trace of a request, by the W3C Trace Context.
pub(crate) struct Trace(Context);

impl Trace {
    /// Reads the header `traceparent`. An invalid one, or several, are ignored: the request begins a trace.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let context = Context::new();
        if headers.get_all("traceparent").iter().count() > 1 {
            return Self(context);
        }
        Self(TraceContextPropagator::new().extract_with_context(&context, &HeaderExtractor(headers)))
    }

    /// Makes a span of [`SPANS`] the next one of the trace. Returns the id of its trace, if there is one.
    pub(crate) fn continue_in(self, span: &Span) -> Option<TraceId> {
        let id_of = |context: &Context| context.span().span_context().trace_id();
        let sent = id_of(&self.0);
        // An error means that spans are not exported.
        let id = match span.set_parent(self.0) {
            Ok(()) => id_of(&span.context()),
            Err(_) => sent,
        };
        (id != TraceId::INVALID).then_some(id)
    }
}

/// The target of spans that only the export needs.
pub(crate) const SPANS: &str = "enroll::spans";
/// The target of spans whose fields belong to lines of the log, and whose part in a trace is a span of [`SPANS`].
pub(crate) const LOG_SPANS: &str = "enroll::log";
const VERSION: &str = env!("CARGO_PKG_VERSION");
const SAMPLERS: [&str; 6] = [
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
