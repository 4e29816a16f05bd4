//! When an object looks at the charts that its sockets show.
//!
//! It is told when a play came or something else changed ([`crate::watchers`]), and looks then. By itself it
//! looks where a chart changes with time alone: when the beginning of a sliding window passes the end of a
//! pane, once a minute for `1h`, four times an hour for `24h`. And it says again that it watches.
//!
//! These moments follow from the clock and the object's name, so an object that slept knows them too; they
//! are spread, so that not all objects wake in the same second.
//!
//! # Cost
//! A socket that shows `24h` and that nobody closes, on a day without plays: 4 + 2 alarms an hour, 144 a day,
//! as many rows, 96 questions for the chart (each sent twice to an object that was asleep), and 48 messages to say that it watches. Of a calendar's period: 48
//! alarms, rows and messages.

use siphasher::sip::SipHasher13;

use crate::watchers::WATCH_AGAIN_MS;
use crate::window::{DAY_MS, Level, MINUTE_MS};
use crate::wire::{LiveRequest, WindowRequest};

/// Where a look was in vain, or nobody tells of changes, it looks again so soon.
pub const LOOK_AGAIN_MS: u64 = 5_000;
/// Moments are spread over so long; an alarm that is later is taken for that of the next one.
const SPREAD_MS: u64 = 10_000;
const LATE_MS: u64 = 10_000;

/// A moment that comes again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Beat {
    every_ms: u64,
    phase_ms: u64,
}

impl Beat {
    fn last_ms(self, now_ms: u64) -> u64 {
        now_ms - (now_ms + self.every_ms - self.phase_ms % self.every_ms) % self.every_ms
    }

    fn next_ms(self, now_ms: u64) -> u64 {
        self.last_ms(now_ms) + self.every_ms
    }
}

/// When a chart comes out otherwise though nothing was played.
fn beat_of(request: &LiveRequest) -> Option<Beat> {
    let of_window = match request.window {
        WindowRequest::Sliding { length_ms } => {
            // Its beginning snaps to panes of the finest level that is kept so long.
            let level = Level::LADDER.into_iter();
            let mut level = level.filter(|level| level.retention_ms() >= length_ms);
            let every_ms = level.next().map_or(DAY_MS, Level::length_ms).min(DAY_MS);
            Some((every_ms, length_ms % every_ms))
        }
        WindowRequest::Tumbling { length_ms } => Some((length_ms.clamp(MINUTE_MS, DAY_MS), 0)),
        _ => None,
    };
    // Posts leave the filter by the hour.
    let of_filter = request
        .form
        .filter
        .published_hours
        .map(|_| (15 * MINUTE_MS, 0));
    let (every_ms, phase_ms) = of_window.into_iter().chain(of_filter).min()?;
    Some(Beat { every_ms, phase_ms })
}

/// See the module's introduction.
#[derive(Debug)]
pub struct Looks {
    /// From the object's name.
    hash: u64,
    looked_ms: u64,
    watched_ms: u64,
    /// The last look was in vain: it is to be repeated then.
    again_ms: Option<u64>,
}

impl Looks {
    pub fn new(object_name: &str, now_ms: u64) -> Self {
        let done_ms = now_ms.saturating_sub(LATE_MS);
        Looks {
            hash: SipHasher13::new().hash(object_name.as_bytes()),
            looked_ms: done_ms,
            watched_ms: done_ms,
            again_ms: None,
        }
    }

    fn watch_beat(&self) -> Beat {
        Beat {
            every_ms: WATCH_AGAIN_MS,
            phase_ms: self.hash % WATCH_AGAIN_MS,
        }
    }

    fn chart_beat(&self, request: &LiveRequest) -> Option<Beat> {
        let beat = beat_of(request)?;
        Some(Beat {
            phase_ms: beat.phase_ms + 1 + self.hash % SPREAD_MS,
            ..beat
        })
    }

    /// Whether it is time to say again that this object watches.
    pub fn watch_is_due(&self, now_ms: u64) -> bool {
        self.again_ms.is_some_and(|again_ms| again_ms <= now_ms)
            || self.watch_beat().last_ms(now_ms) > self.watched_ms
    }

    pub fn watched(&mut self, now_ms: u64) {
        self.watched_ms = now_ms;
    }

    /// Whether it is time to look at a chart.
    pub fn is_due(&self, request: &LiveRequest, now_ms: u64) -> bool {
        let beat = self.chart_beat(request);
        self.again_ms.is_some_and(|again_ms| again_ms <= now_ms)
            || request.ends_ms.is_some_and(|ends_ms| ends_ms <= now_ms)
            || beat.is_some_and(|beat| beat.last_ms(now_ms) > self.looked_ms)
    }

    /// All that was due was looked at, as of a moment; `in_vain`: not all of it could be.
    pub fn looked(&mut self, began_ms: u64, in_vain: bool, now_ms: u64) {
        self.looked_ms = began_ms;
        self.again_ms = in_vain.then_some(now_ms + LOOK_AGAIN_MS);
    }

    /// In how long the object is to wake up for those who look at these.
    pub fn wake_in_ms<'a>(
        &self,
        requests: impl Iterator<Item = &'a LiveRequest>,
        now_ms: u64,
    ) -> u64 {
        let mut next_ms = self.watch_beat().next_ms(now_ms);
        for request in requests {
            let beat = self.chart_beat(request).map(|beat| beat.next_ms(now_ms));
            // Later than that it is due, and has been looked at.
            let ends_ms = request.ends_ms.filter(|ends_ms| *ends_ms > now_ms);
            for moment_ms in beat.into_iter().chain(ends_ms) {
                next_ms = next_ms.min(moment_ms);
            }
        }
        next_ms
            .min(self.again_ms.unwrap_or(u64::MAX))
            .saturating_sub(now_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::Filter;
    use crate::leaderboard::ChartForm;
    use crate::window::{HOUR_MS, MINUTE_MS};
    use crate::wire::Sort;

    const NOW_MS: u64 = 1_800_000_000_000;

    fn showing(window: WindowRequest, ends_ms: Option<u64>) -> LiveRequest {
        LiveRequest {
            window,
            ends_ms,
            form: ChartForm {
                board: "main".into(),
                scope: "global".into(),
                timeframe: None,
                time_zone: None,
                sort: Sort::Views,
                k: 10,
                filter: Filter::default(),
            },
            has_token: false,
        }
    }

    /// Alarms, looks and messages to say that it watches, of a day without plays. An object that sleeps
    /// remembers nothing.
    fn day(request: &LiveRequest, sleeps: bool) -> [u32; 3] {
        let mut now_ms = NOW_MS;
        let mut looks = Looks::new("main/NA/0", now_ms);
        looks.looked(now_ms, false, now_ms);
        let [mut alarms, mut looked, mut watched] = [0; 3];
        while now_ms < NOW_MS + DAY_MS {
            now_ms += looks.wake_in_ms([request].into_iter(), now_ms);
            if sleeps {
                looks = Looks::new("main/NA/0", now_ms);
            }
            alarms += 1;
            if looks.watch_is_due(now_ms) {
                watched += 1;
                looks.watched(now_ms);
            }
            if looks.is_due(request, now_ms) {
                looked += 1;
                looks.looked(now_ms, false, now_ms);
            }
        }
        [alarms, looked, watched]
    }

    #[test]
    fn one_forgotten_socket_costs_a_quiet_day_144_alarms_at_24h_and_48_in_a_period() {
        let sliding = |length_ms| showing(WindowRequest::Sliding { length_ms }, None);
        let since = WindowRequest::Since {
            from_ms: NOW_MS,
            to_ms: NOW_MS + 7 * DAY_MS,
            before_ms: None,
        };
        for sleeps in [false, true] {
            // One more each, where the day begins between two of them.
            let about = |request: LiveRequest, wanted: [u32; 3]| {
                let counted = day(&request, sleeps);
                let is_near = |(counted, wanted): (&u32, u32)| counted.abs_diff(wanted) <= 1;
                let all = counted.iter().zip(wanted).all(is_near);
                assert!(all, "{counted:?}, {wanted:?}, sleeps: {sleeps}");
            };
            about(sliding(24 * HOUR_MS), [144, 96, 48]);
            about(sliding(7 * DAY_MS), [60, 12, 48]);
            about(sliding(30 * DAY_MS), [49, 1, 48]);
            about(sliding(HOUR_MS), [1_488, 1_440, 48]);
            about(showing(since, None), [48, 0, 48]);
            about(showing(WindowRequest::All, None), [48, 0, 48]);
        }
    }

    #[test]
    fn a_look_in_vain_is_repeated_soon_and_one_is_due_when_a_period_ends() {
        let ends_ms = NOW_MS + 3 * MINUTE_MS;
        let request = showing(WindowRequest::All, Some(ends_ms));
        let mut looks = Looks::new("main/NA/0", NOW_MS);
        looks.watched(NOW_MS);
        assert!(!looks.is_due(&request, NOW_MS));
        let wake_in_ms = |looks: &Looks, now_ms| looks.wake_in_ms([&request].into_iter(), now_ms);
        assert!(wake_in_ms(&looks, NOW_MS) <= 3 * MINUTE_MS);
        looks.looked(NOW_MS, true, NOW_MS + 500);
        assert_eq!(wake_in_ms(&looks, NOW_MS + 500), LOOK_AGAIN_MS);
        let again_ms = NOW_MS + 500 + LOOK_AGAIN_MS;
        assert!(looks.is_due(&request, again_ms) && looks.watch_is_due(again_ms));
        looks.looked(again_ms, false, again_ms);
        assert!(!looks.is_due(&request, again_ms + 1));
        assert!(looks.is_due(&request, ends_ms));
    }
}
