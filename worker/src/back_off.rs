//! The waits between attempts.

use std::time::Duration;

/// The wait before the second attempt.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(5);

/// The `SplitMix64` generator. Its numbers only spread the waits of workers, so that they need not be unpredictable.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns the wait after a number of failures. It doubles each time, up to [`LONGEST`]. A random part of up to one
    /// half is subtracted, so that workers which failed together do not try again together.
    pub(crate) fn back_off(&mut self, failures: u32) -> Duration {
        let longest = FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST);
        let half = u64::try_from(longest.as_nanos() / 2).unwrap_or(u64::MAX).max(1);
        longest.saturating_sub(Duration::from_nanos(self.next() % half))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_five_seconds() {
        let mut random = Random::new(7);
        for (failures, longest) in [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 5000), (u32::MAX, 5000)] {
            for _ in 0..100 {
                let wait = random.back_off(failures).as_millis();
                assert!((longest / 2..=longest).contains(&wait), "{failures}: {wait}");
            }
        }
    }

    #[test]
    fn workers_that_fail_together_wait_for_different_times() {
        let mut random = Random::new(0);
        let waits: std::collections::BTreeSet<_> = (0..100).map(|_| random.back_off(3)).collect();
        assert!(waits.len() > 90, "{} waits", waits.len());
    }
}
