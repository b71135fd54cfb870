//! Removes requests of failed enrollments, reports, lists, events and webhooks that are too old.

use std::time::Duration;
use tokio::sync::watch;

use enroll::inbox::{Removed, Retention};
use enroll::{RepositoryError, Timestamp};

use crate::args::RetentionArgs;
use crate::causes;
use crate::handles::HandleFactory;
use crate::sql::people_lists;
use crate::webhooks;

/// How long a process keeps things.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ages {
    /// Requests, reports and lists.
    enrollments: Retention,
    /// Events, and webhooks that have ended. `None` keeps them.
    events: Option<Duration>,
}

impl RetentionArgs {
    pub(crate) fn ages(&self) -> Ages {
        let mut enrollments = Retention::keep();
        (enrollments.failed, enrollments.completed) = (self.retain_failed.0, self.retain.0);
        Ages { enrollments, events: self.retain_events.0 }
    }
}

/// What a process removed because it was too old.
#[derive(Debug)]
pub(crate) enum Event {
    /// Requests and reports.
    Removed(Removed),
    /// Lists, or the texts of their rows.
    ListsRemoved(RemovedLists),
    /// Events, and webhooks that had ended.
    EventsRemoved { events: u64, webhooks: u64 },
    /// The database returned an error. The process tries again later.
    DatabaseError(String),
}

/// Removes what is too old now and then, until `stop` becomes true.
pub(crate) async fn repeat(
    handles: &HandleFactory,
    ages: Ages,
    mut stop: watch::Receiver<bool>,
    on_event: impl Fn(Event),
) {
    while !*stop.borrow() {
        run(handles, ages, &on_event).await;
        tokio::select! {
            // `stop` became true, or its sender was dropped.
            _ = stop.changed() => {}
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Removes what is too old, up to a bound.
pub(crate) async fn run(handles: &HandleFactory, ages: Ages, on_event: &impl Fn(Event)) {
    match remove(handles, ages.enrollments).await {
        Ok(Removed { commands: 0, reports: 0, .. }) => {}
        Ok(removed) => on_event(Event::Removed(removed)),
        Err(e) => on_event(Event::DatabaseError(e)),
    }
    match remove_lists(handles, ages.enrollments).await {
        Ok(RemovedLists { texts: 0, lists: 0 }) => {}
        Ok(removed) => on_event(Event::ListsRemoved(removed)),
        Err(e) => on_event(Event::DatabaseError(e)),
    }
    match remove_events(handles, ages.events).await {
        Ok((0, 0)) => {}
        Ok((events, webhooks)) => on_event(Event::EventsRemoved { events, webhooks }),
        Err(e) => on_event(Event::DatabaseError(e)),
    }
}

async fn remove(handles: &HandleFactory, retention: Retention) -> Result<Removed, String> {
    let mut total = Removed::default();
    if retention == Retention::keep() {
        return Ok(total);
    }
    let mut handle = handles.handle().map_err(|e| e.to_string())?;
    for _ in 0..BATCHES {
        let removed = handle.remove_expired(&retention).await.map_err(|e: RepositoryError| causes(&e))?;
        total.commands += removed.commands;
        total.reports += removed.reports;
        if !removed.is_full() {
            break;
        }
    }
    Ok(total)
}

/// What was removed of lists that were too old.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RemovedLists {
    /// The number of lists that lost the texts of their rows.
    pub(crate) texts: u64,
    /// The number of lists that were removed.
    pub(crate) lists: u64,
}

/// Removes the texts of lists with the requests of failed enrollments, and lists with the reports.
async fn remove_lists(handles: &HandleFactory, retention: Retention) -> Result<RemovedLists, String> {
    let mut removed = RemovedLists::default();
    if retention == Retention::keep() {
        return Ok(removed);
    }
    let mut handle = handles.handle().map_err(|e| e.to_string())?;
    let failed = |e: RepositoryError| causes(&e);
    // A database that was never served has no lists.
    if !handle.has_tables().await.map_err(failed)? {
        return Ok(removed);
    }
    let now = handle.now().await.map_err(failed)?;
    let before = |age: Duration| earlier(now, age);
    if let Some(age) = retention.failed {
        for list in people_lists::ended_lists(&mut handle, before(age), true, LISTS).await.map_err(failed)? {
            people_lists::remove_texts(&mut handle, list, now).await.map_err(failed)?;
            removed.texts += 1;
        }
    }
    if let Some(age) = retention.completed {
        for list in people_lists::ended_lists(&mut handle, before(age), false, LISTS).await.map_err(failed)? {
            people_lists::remove_list(&mut handle, list).await.map_err(failed)?;
            removed.lists += 1;
        }
    }
    Ok(removed)
}

/// Removes events, and webhooks that have ended. Returns their numbers. Webhooks to disabled endpoints end at any age.
async fn remove_events(handles: &HandleFactory, age: Option<Duration>) -> Result<(u64, u64), String> {
    let mut handle = handles.handle().map_err(|e| e.to_string())?;
    let removed = async {
        webhooks::end_of_disabled(&mut handle).await?;
        let Some(age) = age else { return Ok((0, 0)) };
        let now = handle.now().await?;
        webhooks::prune(&mut handle, earlier(now, age)).await
    };
    removed.await.map_err(|e: RepositoryError| causes(&e))
}

/// Returns an instant that is earlier by a duration.
pub(crate) fn earlier(at: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(at.millis().saturating_sub(millis)).unwrap_or(Timestamp::EPOCH)
}

/// Reads a length of time such as `30d`, `12h` or `90m`, or `never`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Age(Option<Duration>);

impl std::str::FromStr for Age {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let problem = "is not a length of time; use days (`30d`), hours (`12h`), minutes (`90m`), or `never`";
        if text == "never" {
            return Ok(Self(None));
        }
        let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or(problem)?;
        let seconds = match unit {
            "d" => 24 * 3600,
            "h" => 3600,
            "m" => 60,
            _ => return Err(problem),
        };
        match number.parse::<u32>() {
            Ok(0) => Err("removes everything at once; use `never` to keep it, or at least one minute (`1m`)"),
            // `parse` also accepts a sign.
            Ok(count) if !number.starts_with('+') => Ok(Self(Some(Duration::from_secs(u64::from(count) * seconds)))),
            _ => Err(problem),
        }
    }
}

/// How long a process waits until it looks for old requests and reports again.
const INTERVAL: Duration = Duration::from_secs(600);
/// The number of calls in a row, each of up to [`Retention::BATCH`] enrollments.
const BATCHES: usize = 100;
/// The number of lists of each kind at a time.
const LISTS: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_with_a_unit_or_never() {
        let age = |text: &str| text.parse::<Age>().map(|age| age.0.map(|age| age.as_secs()));
        assert_eq!(age("30d"), Ok(Some(30 * 86400)));
        assert_eq!(age("12h"), Ok(Some(43200)));
        assert_eq!(age("1m"), Ok(Some(60)));
        assert_eq!(age("never"), Ok(None));
        for text in ["", "d", "0d", "30", "30 d", "-1d", "+1d", "1.5h", "30D", "5000000000d", "1\u{fc}"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
