use super::FIRST_PUSH_MS;
use crate::mutants::{self, Mutant};
use crate::wire::PUSH_INTERVAL_MS;

/// An alarm may fire so much too early.
const EARLY_MS: u64 = 500;

/// When a shard pushes: at the interval that the global object asked for in its last reply. The interval
/// is not stored: a shard that starts takes the usual one until the first reply.
#[derive(Clone, Copy, Debug)]
pub struct PushTimer {
    interval_ms: u64,
    pushed_ms: Option<u64>,
}

impl Default for PushTimer {
    fn default() -> Self {
        PushTimer {
            interval_ms: PUSH_INTERVAL_MS,
            pushed_ms: None,
        }
    }
}

impl PushTimer {
    /// How long to wait until the next push.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// How long plays that were just counted may wait for their push. The first ones after a start wait
    /// less: nobody else's are expected, and they are to be in charts soon.
    pub fn delay_ms(&self) -> u64 {
        self.pushed_ms.map_or(FIRST_PUSH_MS, |_| self.interval_ms)
    }

    /// Begins a push, if it is time.
    pub fn begin(&mut self, now_ms: u64) -> bool {
        // A clock that was set back must not put pushes off for as long.
        let is_due = |pushed_ms| {
            now_ms
                .checked_sub(pushed_ms)
                .is_none_or(|since_ms| since_ms + EARLY_MS >= self.interval_ms)
        };
        let is_due = self.pushed_ms.is_none_or(is_due) || mutants::active(Mutant::IntervalIgnored);
        if is_due {
            self.pushed_ms = Some(now_ms);
        }
        is_due
    }

    /// Makes the next push due at once.
    pub fn hurry(&mut self) {
        self.pushed_ms = None;
    }

    /// Takes the interval that a reply asks for.
    pub fn told(&mut self, interval_ms: u64) {
        self.interval_ms = interval_ms.max(PUSH_INTERVAL_MS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_push_comes_soon_and_the_others_as_often_as_was_told() {
        let mut timer = PushTimer::default();
        assert_eq!(timer.delay_ms(), FIRST_PUSH_MS);
        assert!(timer.begin(1_000_000));
        assert_eq!(timer.delay_ms(), PUSH_INTERVAL_MS);
        assert!(!timer.begin(1_004_000));
        assert!(timer.begin(1_004_600));
        timer.told(20_000);
        assert!(!timer.begin(1_024_000));
        assert!(timer.begin(1_024_600));
        timer.hurry();
        assert!(timer.begin(1_025_000));
        assert!(timer.begin(600_000), "the clock was set back");
        assert!(!timer.begin(610_000));
        timer.told(0);
        assert_eq!(timer.interval_ms(), PUSH_INTERVAL_MS);
    }
}
