//! A limited resource that organizations or addresses share, so that none of them can take all of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// A number of units. Half of them are kept for *guaranteed shares*: each user can have its guaranteed share, and more only
/// from the other half.
///
/// So one user has at most its guaranteed share and half of the total. While the guaranteed shares of all users fit into
/// one half, each user gets its own at once.
pub(crate) struct Shares<U: Ord + Clone> {
    total: usize,
    guaranteed: usize,
    state: Mutex<State<U>>,
}

struct State<U: Ord + Clone> {
    used: BTreeMap<U, usize>,
    /// Those who wait, in the order of their arrival.
    waiting: VecDeque<Waiter<U>>,
}

struct Waiter<U: Ord + Clone> {
    user: U,
    units: usize,
    granted: oneshot::Sender<Share<U>>,
}

/// Units of a user. Drop returns them.
pub(crate) struct Share<U: Ord + Clone> {
    shares: Arc<Shares<U>>,
    user: U,
    units: usize,
}

/// How much of a resource is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) limit: usize,
    pub(crate) in_use: usize,
    /// The number of calls that wait for a part of it.
    pub(crate) waiting: usize,
}

/// What prevents a grant.
#[derive(PartialEq, Eq)]
enum Obstacle {
    /// The user has its guaranteed share, and the half for all is in use.
    Share,
    /// The units of all users are in use.
    Total,
}

impl<U: Ord + Clone> Shares<U> {
    pub(crate) fn new(total: usize, guaranteed: usize) -> Arc<Self> {
        let state = Mutex::new(State { used: BTreeMap::new(), waiting: VecDeque::new() });
        Arc::new(Self { total, guaranteed, state })
    }

    /// Waits for units. Among those who wait, the user with the fewest units is next.
    ///
    /// The caller limits the time. More units than a single user can have are never granted.
    pub(crate) async fn acquire(self: &Arc<Self>, user: U, units: usize) -> Share<U> {
        let (granted, receiver) = oneshot::channel();
        self.state().waiting.push_back(Waiter { user, units, granted });
        self.grant_waiting();
        match receiver.await {
            Ok(share) => share,
            // A sender is dropped only after its receiver.
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns how much is in use.
    pub(crate) fn usage(&self) -> Usage {
        let state = self.state();
        let waiting = state.waiting.iter().filter(|waiter| !waiter.granted.is_closed()).count();
        Usage { limit: self.total, in_use: state.used.values().sum(), waiting }
    }

    /// Gives units to those who wait and can have them.
    fn grant_waiting(self: &Arc<Self>) {
        let mut granted = Vec::new();
        let mut state = self.state();
        state.waiting.retain(|waiter| !waiter.granted.is_closed());
        while let Some(waiter) = self.next(&state).and_then(|index| state.waiting.remove(index)) {
            let share = self.grant(&mut state, waiter.user, waiter.units);
            granted.push((waiter.granted, share));
        }
        drop(state);
        // If the receiver is gone, the share returns its units here, so the lock must be free.
        for (sender, share) in granted {
            drop(sender.send(share));
        }
    }

    /// Returns the index of the next waiter. A user who has its share does not block others. But if the units of all users
    /// are in use, no one passes the first in line: many small requests must not starve a large one.
    fn next(&self, state: &State<U>) -> Option<usize> {
        let mut first_of = BTreeMap::new();
        for (index, waiter) in state.waiting.iter().enumerate() {
            let used = state.used.get(&waiter.user).copied().unwrap_or(0);
            first_of.entry(&waiter.user).or_insert((used, index, waiter));
        }
        let mut line: Vec<_> = first_of.into_values().collect();
        line.sort_by_key(|(used, index, _)| (*used, *index));
        for (_, index, waiter) in line {
            match self.obstacle(state, &waiter.user, waiter.units) {
                None => return Some(index),
                Some(Obstacle::Share) => {}
                Some(Obstacle::Total) => return None,
            }
        }
        None
    }

    fn obstacle(&self, state: &State<U>, user: &U, units: usize) -> Option<Obstacle> {
        let above = |units: usize| units.saturating_sub(self.guaranteed);
        let before = state.used.get(user).copied().unwrap_or(0);
        let others = state.used.values().copied().map(above).sum::<usize>() - above(before);
        if above(before + units) > 0 && others + above(before + units) > self.total / 2 {
            return Some(Obstacle::Share);
        }
        (state.used.values().sum::<usize>() + units > self.total).then_some(Obstacle::Total)
    }

    fn grant(self: &Arc<Self>, state: &mut State<U>, user: U, units: usize) -> Share<U> {
        *state.used.entry(user.clone()).or_default() += units;
        Share { shares: Arc::clone(self), user, units }
    }

    fn state(&self) -> MutexGuard<'_, State<U>> {
        // A panic cannot leave the numbers half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<U: Ord + Clone> Drop for Share<U> {
    fn drop(&mut self) {
        let mut state = self.shares.state();
        if let Some(used) = state.used.get_mut(&self.user) {
            *used -= self.units;
            if *used == 0 {
                state.used.remove(&self.user);
            }
        }
        drop(state);
        self.shares.grant_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    fn poll<F: Future<Output = Share<u8>>>(acquire: Pin<&mut F>) -> Option<Share<u8>> {
        match acquire.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(share) => Some(share),
            Poll::Pending => None,
        }
    }

    /// Takes units that are free at once.
    fn take(shares: &Arc<Shares<u8>>, user: u8, units: usize) -> Option<Share<u8>> {
        poll(pin!(shares.acquire(user, units)))
    }

    fn take_all(shares: &Arc<Shares<u8>>, user: u8) -> Vec<Share<u8>> {
        std::iter::from_fn(|| take(shares, user, 1)).collect()
    }

    #[test]
    fn one_user_gets_its_share_and_half_of_the_total() {
        let shares = Shares::new(16, 2);
        let flood = take_all(&shares, 1);
        assert_eq!(flood.len(), 10);
        // Three others get their guaranteed share, and no more.
        let others: Vec<_> = (2..5).map(|user| take_all(&shares, user)).collect();
        assert!(others.iter().all(|share| share.len() == 2));
        drop(flood);
        assert_eq!(take_all(&shares, 5).len(), 10);
    }

    #[test]
    fn units_that_are_free_go_to_any_user() {
        let shares = Shares::new(8, 1);
        let many: Vec<_> = (0..8).map(|user| take(&shares, user, 1).unwrap()).collect();
        assert!(take(&shares, 9, 1).is_none());
        drop(many);
        assert!(take(&shares, 9, 5).is_some());
    }

    #[test]
    fn a_user_who_has_its_share_does_not_block_others() {
        let shares = Shares::new(4, 1);
        let flood = take_all(&shares, 1);
        let mut more = pin!(shares.acquire(1, 1));
        let mut other = pin!(shares.acquire(2, 1));
        assert!(poll(more.as_mut()).is_none());
        assert!(poll(other.as_mut()).is_some());
        assert_eq!(shares.usage(), Usage { limit: 4, in_use: 3, waiting: 1 });
        drop(flood);
        assert!(poll(more.as_mut()).is_some());
    }

    #[test]
    fn the_user_with_the_fewest_units_is_next_and_is_not_passed() {
        let shares = Shares::new(4, 4);
        let (first, second) = (take(&shares, 1, 3).unwrap(), take(&shares, 2, 1).unwrap());
        let mut small = pin!(shares.acquire(2, 1));
        let mut large = pin!(shares.acquire(3, 4));
        assert!(poll(small.as_mut()).is_none() && poll(large.as_mut()).is_none());
        drop(first);
        // Three units are free, but the one who is next needs four.
        assert!(poll(small.as_mut()).is_none() && poll(large.as_mut()).is_none());
        drop(second);
        // Both have none now. The one who came first is next.
        let small = poll(small.as_mut()).unwrap();
        assert!(poll(large.as_mut()).is_none());
        drop(small);
        assert!(poll(large.as_mut()).is_some());
    }

    #[test]
    fn a_cancelled_wait_keeps_no_units() {
        let shares = Shares::new(1, 1);
        let held = take(&shares, 1, 1).unwrap();
        {
            let mut granted = pin!(shares.acquire(2, 1));
            assert!(poll(granted.as_mut()).is_none());
            drop(held);
            // It has its units now, but no caller takes them.
            assert!(take(&shares, 3, 1).is_none());
        }
        assert!(take(&shares, 3, 1).is_some());
    }
}
