//! Instants: whole milliseconds in 1970-01-01..=9999-12-31 (spec 3, *Time*).

use chrono::{DateTime, SecondsFormat, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// An instant: whole milliseconds, in 1970-01-01..=9999-12-31 UTC.
///
/// Finer instants are truncated. It displays and serializes as RFC 3339 with milliseconds and `Z`.
///
/// ```
/// let at: enroll::Timestamp = "2026-02-01T16:00:00.123456+01:00".parse()?;
/// assert_eq!(at.to_string(), "2026-02-01T15:00:00.123Z");
/// # Ok::<(), enroll::TimestampError>(())
/// ```
///
/// The current time comes from the host:
///
/// ```
/// use enroll::Timestamp;
/// use std::time::SystemTime;
///
/// let now = Timestamp::try_from(SystemTime::now())?;
/// let same = Timestamp::try_from(now.as_datetime())?;
/// assert_eq!(now, same);
/// # Ok::<(), enroll::TimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(value_type = String, format = DateTime, description = "An instant, from 1970 to 9999, in whole milliseconds."))]
pub struct Timestamp(i64);

/// Why a text or an instant is not a [`Timestamp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Not RFC 3339 with an offset, or a second of 60.
    #[error("not a date-time with an offset, such as `2026-02-01T15:00:00Z`")]
    Syntax,
    /// Before 1970 or after 9999.
    #[error("not between 1970-01-01 and 9999-12-31")]
    Range,
}

impl Timestamp {
    /// The first instant: 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// Returns the instant `millis` milliseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// [`TimestampError::Range`] outside of 1970-01-01..=9999-12-31 UTC.
    pub fn from_millis(millis: i64) -> Result<Self, TimestampError> {
        if (0..=LAST).contains(&millis) { Ok(Self(millis)) } else { Err(TimestampError::Range) }
    }

    /// Returns the milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Returns the instant as a chrono date-time.
    #[must_use]
    pub fn as_datetime(self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(self.0).unwrap_or(DateTime::UNIX_EPOCH)
    }

    /// Returns the instant `duration` later, at most the end of 9999.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(millis).min(LAST))
    }

    /// Returns the instant `seconds` earlier, in milliseconds. The result may be before 1970.
    pub(crate) fn millis_before(self, seconds: u64) -> i64 {
        let millis = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
        self.0.saturating_sub(millis)
    }
}

/// Converts a date-time, truncated to milliseconds. Fails outside of 1970-01-01..=9999-12-31 UTC.
impl TryFrom<DateTime<Utc>> for Timestamp {
    type Error = TimestampError;

    fn try_from(at: DateTime<Utc>) -> Result<Self, TimestampError> {
        Self::from_millis(at.timestamp_millis())
    }
}

/// Converts the system's time, truncated to milliseconds. Fails outside of 1970-01-01..=9999-12-31 UTC.
impl TryFrom<SystemTime> for Timestamp {
    type Error = TimestampError;

    fn try_from(at: SystemTime) -> Result<Self, TimestampError> {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).map_err(|_| TimestampError::Range)?;
        Self::from_millis(i64::try_from(since.as_millis()).map_err(|_| TimestampError::Range)?)
    }
}

/// Reads RFC 3339: `T`, `t` or a space; `Z` or `±hh:mm`.
impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_ascii() {
            return Err(TimestampError::Syntax);
        }
        let at = DateTime::parse_from_rfc3339(text).map_err(|_| TimestampError::Syntax)?;
        if at.nanosecond() >= LEAP_SECOND {
            return Err(TimestampError::Syntax);
        }
        Self::from_millis(at.timestamp_millis())
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_datetime().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|e| serde::de::Error::custom(format_args!("`{text}` is {e}")))
    }
}

/// 9999-12-31T23:59:59.999Z.
const LAST: i64 = 253_402_300_799_999;
/// In a leap second, chrono's nanoseconds start at this number.
const LEAP_SECOND: u32 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn date_times_and_system_times_convert_within_the_range() {
        let before = SystemTime::UNIX_EPOCH - std::time::Duration::from_nanos(1);
        assert_eq!(Timestamp::try_from(before), Err(TimestampError::Range));
        let finer = SystemTime::UNIX_EPOCH + std::time::Duration::from_micros(1_999);
        assert_eq!(Timestamp::try_from(finer).map(Timestamp::millis), Ok(1));
        let last = DateTime::from_timestamp_millis(LAST).unwrap();
        assert_eq!(Timestamp::try_from(last).map(Timestamp::millis), Ok(LAST));
        assert_eq!(Timestamp::try_from(last + chrono::TimeDelta::milliseconds(1)), Err(TimestampError::Range));
    }

    #[test]
    fn rfc_3339_is_read_and_truncated_to_milliseconds() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01t00:00:00.9999z", 999),
            ("1970-01-01 01:00:00+01:00", 0),
            ("9999-12-31T23:59:59.999999Z", LAST),
            ("2026-03-29T02:30:00+01:00", 1_774_747_800_000),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::millis), Ok(millis), "{text}");
        }
    }

    #[test]
    fn other_texts_and_instants_out_of_range_are_refused() {
        for text in [
            "",
            "tomorrow",
            "2026-02-01",
            "2026-02-01T15:00:00",
            "2026-02-01T15:00:60Z",
            "2026-02-30T15:00:00Z",
            "2026-02-01T15:00Z",
            "2026-02-01T15:00:00\u{2212}01:00",
            "2026-02-01T15:00:00+0100",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError::Syntax), "{text}");
        }
        for text in ["1969-12-31T23:59:59Z", "9999-12-31T23:59:59-00:01"] {
            assert_eq!(text.parse::<Timestamp>(), Err(TimestampError::Range), "{text}");
        }
    }
}
