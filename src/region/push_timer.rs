//! When a shard pushes.
//!
//! `docs/inside/how-it-works.md` ("Busy and quiet") has the rules. [`OpenPanes::sealed_quietly_at_ms`] says when
//! something of a quiet shard is to be sealed, [`Shard::has_watched_news`] that watchers are to be told soon.
//!
//! Nothing of this is stored. A shard that has just been woken does not know what it was told; what it has
//! open tells it that somebody has set the alarm for that, and as long as there is one, it goes on as a
//! quiet one. When the alarm comes it pushes, and is told.
//!
//! [`Shard::has_watched_news`]: super::Shard::has_watched_news
//! [`OpenPanes::sealed_quietly_at_ms`]: super::panes::OpenPanes::sealed_quietly_at_ms

use super::FIRST_PUSH_MS;
use crate::mutants::{self, Mutant};
use crate::wire::PUSH_INTERVAL_MS;

/// An alarm may fire so much too early.
pub const EARLY_MS: u64 = 500;

/// What a shard was told in the last reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rhythm {
    /// Nothing yet: it has just started.
    Unknown,
    Busy,
    Quiet,
}

/// What a shard has that is to be pushed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ToPush {
    /// It has something sealed, or so much that it is no quiet shard any more, or news for whoever watches.
    pub is_urgent: bool,
    /// When the first of its open panes is to be sealed, if it has any.
    pub seals_at_ms: Option<u64>,
}

/// When a shard pushes: see the introduction.
#[derive(Clone, Copy, Debug)]
pub struct PushTimer {
    rhythm: Rhythm,
    interval_ms: u64,
    pushed_ms: Option<u64>,
    /// The global object knows, durably, that something is open here; or an alarm is set to tell it.
    is_open_told: bool,
    has_fired: bool,
}

impl Default for PushTimer {
    fn default() -> Self {
        PushTimer {
            rhythm: Rhythm::Unknown,
            interval_ms: PUSH_INTERVAL_MS,
            pushed_ms: None,
            is_open_told: false,
            has_fired: false,
        }
    }
}

impl PushTimer {
    /// How long to wait between two pushes.
    pub fn interval_ms(&self) -> u64 {
        self.interval_ms
    }

    /// The state was loaded: it is told of what is open if something is.
    pub fn loaded(&mut self, has_open: bool) {
        self.is_open_told = has_open && !self.has_fired;
    }

    /// An alarm has fired: of a shard that does not know what for, it may be the one that was to tell.
    pub fn fired(&mut self) {
        self.has_fired = true;
        if self.rhythm == Rhythm::Unknown {
            self.is_open_told = false;
        }
    }

    /// The log that the global object was told of is no more.
    pub fn begins_anew(&mut self) {
        self.is_open_told = false;
    }

    /// Whether the shard pushes all the time, so that its next alarm is set before a push.
    pub fn is_busy(&self) -> bool {
        self.rhythm == Rhythm::Busy
    }

    /// How long plays that were just counted may wait for their push.
    pub fn delay_ms(&self, to_push: ToPush, now_ms: u64) -> u64 {
        // The first ones after a while wait less: nobody else's are expected, and they are to be in charts
        // soon.
        let soon_ms = self.pushed_ms.map_or(FIRST_PUSH_MS, |pushed_ms| {
            let since_ms = now_ms.saturating_sub(pushed_ms);
            (self.interval_ms.saturating_sub(since_ms)).max(FIRST_PUSH_MS)
        });
        let told = self.is_open_told || mutants::active(Mutant::OpenUntold);
        match to_push.seals_at_ms {
            Some(at_ms) if told && !to_push.is_urgent && !self.is_busy() => {
                let in_ms = at_ms.saturating_sub(now_ms);
                // One that was due and failed is tried again as often as ever.
                if in_ms > EARLY_MS { in_ms } else { soon_ms }
            }
            _ => soon_ms,
        }
    }

    /// Whether an alarm is for a push of this. Of a shard that does not know, it mostly is.
    pub fn is_due(&self, to_push: ToPush, now_ms: u64) -> bool {
        let seals_now = |at_ms| at_ms <= now_ms + EARLY_MS;
        self.rhythm != Rhythm::Quiet
            || !(self.is_open_told || mutants::active(Mutant::OpenUntold))
            || to_push.is_urgent
            || to_push.seals_at_ms.is_none_or(seals_now)
    }

    /// It is now. Where the clock was set back, no push waits longer from here on than it would after one: when the
    /// clock is there again, the wait would begin anew.
    pub fn look(&mut self, now_ms: u64) {
        if !mutants::active(Mutant::ClockTrusted) {
            self.pushed_ms = self.pushed_ms.map(|pushed_ms| pushed_ms.min(now_ms));
        }
    }

    /// Begins a push, if the last one is long enough ago.
    pub fn begin(&mut self, now_ms: u64) -> bool {
        // A clock that was set back must not put pushes off for as long.
        let is_due = |pushed_ms| match now_ms.checked_sub(pushed_ms) {
            Some(since_ms) => since_ms + EARLY_MS >= self.interval_ms,
            None => !mutants::active(Mutant::ClockTrusted),
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

    /// Takes what a reply asks for. `has_open`: that something is open was told with the push.
    pub fn told(&mut self, interval_ms: u64, is_quiet: bool, has_open: bool) {
        self.interval_ms = interval_ms.max(PUSH_INTERVAL_MS);
        self.rhythm = if is_quiet {
            Rhythm::Quiet
        } else {
            Rhythm::Busy
        };
        self.is_open_told = is_quiet && has_open;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEALED: ToPush = ToPush {
        is_urgent: true,
        seals_at_ms: None,
    };

    fn open(seals_at_ms: u64) -> ToPush {
        ToPush {
            is_urgent: false,
            seals_at_ms: Some(seals_at_ms),
        }
    }

    #[test]
    fn the_first_push_comes_soon_and_the_others_as_often_as_was_told() {
        let mut timer = PushTimer::default();
        assert_eq!(timer.delay_ms(open(2_000_000), 1_000_000), FIRST_PUSH_MS);
        assert!(timer.begin(1_000_000));
        timer.told(PUSH_INTERVAL_MS, false, true);
        assert_eq!(timer.delay_ms(open(2_000_000), 1_003_000), 2_000);
        assert_eq!(timer.delay_ms(open(2_000_000), 1_009_000), FIRST_PUSH_MS);
        assert!(!timer.begin(1_004_000));
        assert!(timer.begin(1_004_600));
        timer.told(20_000, false, true);
        assert!(!timer.begin(1_024_000));
        assert!(timer.begin(1_024_600));
        timer.hurry();
        assert!(timer.begin(1_025_000));
        assert!(timer.begin(600_000), "the clock was set back");
        assert!(!timer.begin(610_000));
        timer.look(600_000);
        timer.look(500_000);
        assert_eq!(timer.delay_ms(open(2_000_000), 502_000), 18_000);
        assert!(timer.begin(520_000), "it waited as long as it was told");
        timer.told(0, false, true);
        assert_eq!(timer.interval_ms(), PUSH_INTERVAL_MS);
    }

    #[test]
    fn a_quiet_shard_tells_that_something_is_open_and_then_waits_until_it_is_sealed() {
        let mut timer = PushTimer::default();
        assert!(timer.begin(1_000_000));
        timer.told(PUSH_INTERVAL_MS, true, true);
        assert_eq!(timer.delay_ms(open(1_900_000), 1_001_000), 899_000);
        assert!(!timer.is_due(open(1_900_000), 1_001_000));
        assert!(timer.is_due(open(1_900_000), 1_899_600));
        assert!(timer.begin(1_899_600));
        let again_ms = PUSH_INTERVAL_MS;
        assert_eq!(timer.delay_ms(open(1_900_000), 1_899_600), again_ms);
        timer.told(PUSH_INTERVAL_MS, true, false);
        // The next play is the first that is open.
        assert_eq!(timer.delay_ms(ToPush::default(), 1_902_000), 2_600);
        assert_eq!(timer.delay_ms(open(2_800_000), 2_000_000), FIRST_PUSH_MS);
        assert!(timer.is_due(open(2_800_000), 2_000_000));
    }

    #[test]
    fn a_quiet_shard_that_seals_early_or_is_quiet_no_more_pushes_soon() {
        let mut timer = PushTimer::default();
        timer.told(PUSH_INTERVAL_MS, true, true);
        assert_eq!(timer.delay_ms(SEALED, 1_000_000), FIRST_PUSH_MS);
        assert!(timer.is_due(SEALED, 1_000_000));
    }

    #[test]
    fn a_shard_that_wakes_goes_on_where_it_has_something_open_and_tells_where_it_has_not() {
        let to_push = open(1_900_000);
        let mut timer = PushTimer::default();
        timer.loaded(true);
        assert_eq!(timer.delay_ms(to_push, 1_000_000), 900_000);
        timer.fired();
        assert!(timer.is_due(to_push, 1_000_000));
        assert_eq!(timer.delay_ms(to_push, 1_000_000), FIRST_PUSH_MS);
        timer.loaded(true);
        assert_eq!(
            timer.delay_ms(to_push, 1_000_000),
            FIRST_PUSH_MS,
            "its alarm has come"
        );
        let mut timer = PushTimer::default();
        timer.loaded(false);
        assert_eq!(timer.delay_ms(to_push, 1_000_000), FIRST_PUSH_MS);
        timer.loaded(true);
        timer.begins_anew();
        assert_eq!(timer.delay_ms(to_push, 1_000_000), FIRST_PUSH_MS);
    }
}
