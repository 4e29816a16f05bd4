//! How many counters a pane has, by its level.
//!
//! A summary with m counters overcounts by at most N/m, N being the plays of its span. Coarser
//! panes hold more plays and live longer, so they get more counters; the all-time summary is a
//! single one and gets the most.

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
