//! How long a transaction may wait and run.

use std::time::Duration;

/// How long a transaction may wait and run.
///
/// The timeouts are set inside each transaction: many poolers refuse settings when a connection starts. A timeout that the
/// session has already is kept, whether the address, the role, the database or the host's own `set` gave it.
///
/// A timeout ends the statement or the session with an error of the kind
/// [`Unavailable`](enroll::RepositoryErrorKind::Unavailable).
///
/// ```
/// use enroll_postgres::Timeouts;
/// use std::time::Duration;
///
/// // Locks are given up after 5 s. Only the server limits how long a statement runs.
/// let timeouts = Timeouts { lock: Some(Duration::from_secs(5)), statement: None, ..Timeouts::default() };
/// assert_eq!(timeouts.idle_in_transaction, Some(Duration::from_secs(30)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// How long a statement waits for a lock (`lock_timeout`). `None` leaves it to the server. The default is 30 s.
    pub lock: Option<Duration>,
    /// How long a statement runs, with its waits (`statement_timeout`). `None` leaves it to the server. The default is 60 s.
    pub statement: Option<Duration>,
    /// How long a transaction waits for its next statement (`idle_in_transaction_session_timeout`). After that, a frozen
    /// process loses its locks. `None` leaves it to the server. The default is 30 s.
    pub idle_in_transaction: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        let [half, full] = [30, 60].map(|seconds| Some(Duration::from_secs(seconds)));
        Self { lock: half, statement: full, idle_in_transaction: half }
    }
}

impl Timeouts {
    /// Returns the default timeouts for long statements, as migrations and seeds have them.
    pub(crate) fn for_long_statements() -> Self {
        Self { statement: None, ..Self::default() }
    }

    /// Returns a statement that sets the timeouts until the end of the transaction, for the host's own transactions.
    #[must_use]
    pub fn set_local(&self) -> String {
        let settings = [
            ("lock_timeout", self.lock),
            ("statement_timeout", self.statement),
            ("idle_in_transaction_session_timeout", self.idle_in_transaction),
        ];
        let set = settings.into_iter().filter_map(|(name, timeout)| {
            // A setting of 0 would disable the timeout.
            let millis = timeout?.as_millis().clamp(1, MAX_MILLIS);
            Some(format!(
                "case pg_catalog.current_setting('{name}') when '0' then pg_catalog.set_config('{name}', '{millis}', true) end"
            ))
        });
        format!("select {}", set.collect::<Vec<_>>().join(", "))
    }
}

/// The longest timeout that PostgreSQL accepts.
const MAX_MILLIS: u128 = i32::MAX as u128;
