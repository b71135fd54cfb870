//! When a failed delivery is repeated, and how long an endpoint that fails is left alone.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The delays between the attempts of a delivery: one attempt more than delays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Retries(Vec<Duration>);

impl Retries {
    /// Returns the delay after a number of failed attempts, or `None` after the last one. Up to a quarter is added at random,
    /// so that deliveries that failed together are not repeated together. `random` is any number.
    pub(crate) fn delay(&self, attempts: u32, retry_after: Option<Duration>, random: u32) -> Option<Duration> {
        let index = usize::try_from(attempts.saturating_sub(1)).ok()?;
        let delay = self.0.get(index)?;
        let jitter = delay.mul_f64(0.25 * f64::from(random) / f64::from(u32::MAX));
        // The receiver can ask for more time, up to a bound.
        Some((*delay + jitter).max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER)))
    }

    /// Returns how long after its begin a delivery has had all its attempts, without the time of the attempts.
    pub(crate) fn span(&self) -> Duration {
        self.0.iter().sum::<Duration>().mul_f64(1.25)
    }
}

/// Returns how long all deliveries of an endpoint wait after a number of failures in a row.
pub(crate) fn pause(failures: u32, retry_after: Option<Duration>) -> Duration {
    let pause = Duration::from_secs(1 << failures.min(16)).min(MAX_PAUSE);
    pause.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

impl Default for Retries {
    /// Returns the delays that the convention suggests.
    fn default() -> Self {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        let hours = [2, 5, 10, 14, 20, 24].map(|hours| minutes(60 * hours));
        Self([Duration::from_secs(5), minutes(5), minutes(30)].into_iter().chain(hours).collect())
    }
}

impl FromStr for Retries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let delays: Vec<Duration> = text.split(',').map(|delay| parse(delay.trim())).collect::<Result<_, _>>()?;
        if delays.len() > MAX_RETRIES {
            return Err(format!("has {} delays; give at most {MAX_RETRIES}", delays.len()));
        }
        Ok(Self(delays))
    }
}

impl fmt::Display for Retries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, delay) in self.0.iter().enumerate() {
            let seconds = delay.as_secs();
            let (number, unit) = match seconds {
                _ if seconds.is_multiple_of(3600) => (seconds / 3600, "h"),
                _ if seconds.is_multiple_of(60) => (seconds / 60, "m"),
                _ => (seconds, "s"),
            };
            write!(f, "{}{number}{unit}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

fn parse(delay: &str) -> Result<Duration, String> {
    let problem =
        || format!("`{delay}` is not a delay; use `5s`, `5m` or `2h`, at most 168 hours, separated by commas");
    let (number, unit) = delay.split_at_checked(delay.len().saturating_sub(1)).ok_or_else(problem)?;
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(problem()),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number = number.parse::<u32>().ok().filter(|_| is_number).ok_or_else(problem)?;
    let delay = Duration::from_secs(u64::from(number) * seconds);
    if delay.is_zero() || delay > MAX_DELAY { Err(problem()) } else { Ok(delay) }
}

const MAX_RETRIES: usize = 32;
const MAX_DELAY: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest time that a receiver can ask for with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);
/// The longest time for which an endpoint is left alone because it fails.
const MAX_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: &str = "5s,5m,30m,2h,5h,10h,14h,20h,24h";

    #[test]
    fn the_default_is_the_schedule_of_the_convention() {
        assert_eq!(DEFAULT.parse::<Retries>().unwrap(), Retries::default());
        assert_eq!(Retries::default().to_string(), DEFAULT);
    }

    #[test]
    fn a_delay_grows_with_the_attempts_and_ends_with_the_last_one() {
        let retries = Retries::default();
        let seconds = |attempts, random| retries.delay(attempts, None, random).map(|delay| delay.as_secs_f64());
        assert_eq!((seconds(1, 0), seconds(1, u32::MAX)), (Some(5.0), Some(6.25)));
        assert_eq!((seconds(9, 0), seconds(9, u32::MAX)), (Some(86400.0), Some(108_000.0)));
        assert_eq!(seconds(10, 0), None);
    }

    #[test]
    fn a_receiver_can_ask_for_more_time_up_to_a_day() {
        let retries = Retries::default();
        let delay = |seconds| retries.delay(1, Some(Duration::from_secs(seconds)), 0).unwrap().as_secs();
        assert_eq!([0, 3, 60, 86_400, u64::MAX].map(delay), [5, 5, 60, 86_400, 86_400]);
    }

    #[test]
    fn an_endpoint_that_fails_is_left_alone_for_up_to_five_minutes() {
        let hour = Duration::from_secs(3600);
        let seconds = |failures| pause(failures, None).as_secs();
        assert_eq!([0, 1, 2, 8, 9, u32::MAX].map(seconds), [1, 2, 4, 256, 300, 300]);
        assert_eq!(pause(1, Some(hour)), hour);
    }

    #[test]
    fn delays_that_mean_nothing_are_refused() {
        for text in ["", "5", "5d", "s", "0s", "5s,", "-5s", "5 s", "169h", "4294967296s", "5\u{fc}"] {
            let error = text.parse::<Retries>().unwrap_err();
            assert!(error.contains("is not a delay; use `5s`, `5m` or `2h`"), "{text}: {error}");
        }
        assert!(vec!["1s"; 33].join(",").parse::<Retries>().unwrap_err().contains("give at most 32"));
    }
}
