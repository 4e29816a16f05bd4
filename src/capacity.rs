//! How many counters a pane has, by its level.
//!
//! A summary with m counters overcounts by at most N/m, N being the plays of its span, and by a
//! tenth of that as measured. Charts have up to a thousand places. So a level has as many counters
//! as it takes for the places that charts over it are asked for, and not twice as many.
//! `npm run bench -- accuracy` measures it (`docs/inside/accuracy.md`); at a thousand plays a second,
//! over a million posts:
//!
//! - *A day*: 4,096 counters find 999 of the first 1,000 even of a flat catalogue (Zipf 0.8), each
//!   within 0.6 % of its count. Half of them find 978, the last of them with bounds as wide as the
//!   count, and nothing else remembers these plays for 800 days. Twice as many find the last one,
//!   for 62 kB more a day: 23 MB a year and region, where 40 MB is all there is.
//! - *Two hours*: with 2,048, `24h` finds 1,000 of 1,000 (Zipf 1.0), within 2.3 %. With half of
//!   them 949, the last ones within 139 %; twice as many make 0.4 % of the 2.3, for 4.2 MB.
//! - *A minute, 15 minutes*: with 1,024, `1h` and `5h` have their first 100 places right, within
//!   1.3 %, and 931 and 949 of 1,000. Twice as many would find 984 and 994. They would cost little
//!   storage (2.6 MB), but these panes are the ones that every shard holds open and sends every
//!   five seconds, and that each chart merges dozens of.
//! - *All time* is a single pane: 8,192 counters are 0.2 MB, once.
//!
//! Encoded that is 7 kB a minute, 13 kB 15 minutes, 29 kB two hours, 72 kB a day, 162 kB all time
//! (`npm run bench -- time`: weighted plays of a region of ten shards), and 36 MB a year and
//! region, of which the days are 26.

use crate::window::Level;

/// Counters of a pane.
pub fn counters(level: Level) -> usize {
    #[cfg(feature = "simulation")]
    if let Some(counters) = simulated::COUNTERS.get() {
        return counters << level.code();
    }
    match level {
        Level::Minute | Level::Quarter => 1_024,
        Level::TwoHours => 2_048,
        Level::Day => 4_096,
        Level::All => 8_192,
    }
}

/// Small summaries for the simulation: they are full after a handful of plays.
#[cfg(feature = "simulation")]
mod simulated {
    use std::cell::Cell;

    thread_local! {
        pub static COUNTERS: Cell<Option<usize>> = const { Cell::new(None) };
    }

    /// Gives a minute's pane so many counters in this thread, each coarser level twice as many.
    pub fn set_counters(of_a_minute: Option<usize>) {
        COUNTERS.set(of_a_minute);
    }
}

#[cfg(feature = "simulation")]
pub use simulated::set_counters;
