//! Records all spans and events, with their fields as texts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::{LookupSpan, Registry};

/// A span that was closed, or an event.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    /// The name of the span around it, or an empty text.
    pub(crate) parent: String,
    fields: BTreeMap<&'static str, String>,
}

impl Recorded {
    /// Returns the text of a field, or an empty text.
    pub(crate) fn get(&self, field: &str) -> &str {
        self.fields.get(field).map_or("", String::as_str)
    }
}

impl Visit for Recorded {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.fields.insert(field.name(), format!("{value:?}").trim_matches('"').to_owned());
    }
}

/// A layer that keeps what it gets, in the order in which spans close.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Recorded>>>);

impl Recorder {
    /// Returns a subscriber with this layer.
    pub(crate) fn subscriber(&self) -> impl Subscriber + Send + Sync + use<> {
        Registry::default().with(self.clone())
    }

    /// Returns what has the name, in order.
    pub(crate) fn named(&self, name: &str) -> Vec<Recorded> {
        self.0.lock().unwrap().iter().filter(|recorded| recorded.name == name).cloned().collect()
    }

    /// Asserts that no name and no field contains one of the texts.
    pub(crate) fn assert_without(&self, texts: &[&str]) {
        for recorded in &*self.0.lock().unwrap() {
            let all = format!("{recorded:?}").to_lowercase();
            let found: Vec<_> = texts.iter().filter(|text| all.contains(&text.to_lowercase())).collect();
            assert!(found.is_empty(), "{found:?} in {recorded:?}");
        }
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let parent = span.parent().map(|parent| parent.name().to_owned()).unwrap_or_default();
        let mut recorded = Recorded { name: span.name().to_owned(), parent, ..Recorded::default() };
        attributes.record(&mut recorded);
        span.extensions_mut().insert(recorded);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        values.record(context.span(id).unwrap().extensions_mut().get_mut::<Recorded>().unwrap());
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let parent = context.event_span(event).map(|parent| parent.name().to_owned()).unwrap_or_default();
        let mut recorded = Recorded { parent, ..Recorded::default() };
        event.record(&mut recorded);
        let message = recorded.get("message").to_owned();
        recorded.name = message;
        self.0.lock().unwrap().push(recorded);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let recorded = context.span(&id).unwrap().extensions_mut().remove::<Recorded>().unwrap();
        self.0.lock().unwrap().push(recorded);
    }
}
