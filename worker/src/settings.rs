//! The options of workers.

use std::time::Duration;

use enroll::Retry;

/// The options of workers.
///
/// ```
/// use enroll_worker::Settings;
/// use std::time::Duration;
///
/// let mut settings = Settings::default();
/// settings.lease = Duration::from_secs(300);
/// assert_eq!(settings.attempts, 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// The number of failed attempts after which an enrollment is `failed`. 8 by default. 0 means 1.
    pub attempts: u32,
    /// How long a claim reserves an enrollment and its organization for one worker. One minute by default. A worker that
    /// is slower does no harm: see [`Inbox`](enroll::Inbox), clause 2.
    pub lease: Duration,
    /// How long a worker that found no work waits before it claims again. 200 ms by default. The host ends the wait when it
    /// accepts an enrollment, so this is the delay of enrollments that other processes accept.
    pub idle: Duration,
    /// The limit of attempts to commit an enrollment if other writers commit first.
    pub retry: Retry,
}

impl Default for Settings {
    fn default() -> Self {
        Self { attempts: 8, lease: Duration::from_secs(60), idle: Duration::from_millis(200), retry: Retry::default() }
    }
}
