//! How many counters a pane has, by its level.
//!
//! A summary with m counters overcounts by at most N/m, N being the plays of its span. Coarser
//! panes hold more plays and live longer, so they get more counters; the all-time summary is a
//! single one and gets the most.
//!
//! What that takes, measured by `npm run bench -- time` (Zipf 1.0, a million posts), encoded: 7 kB
//! a minute, 13 kB 15 minutes, 29 kB two hours, 72 kB a day, 162 kB all time. A year of a region
//! is 36 MB, of which the days are 26: twice the counters of a day would be over 60 MB. Half of
//! them would save 13 MB, but N/m, which the bounds promise, would be twice as much, for as long
//! as the 800 days that nothing else remembers.

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
