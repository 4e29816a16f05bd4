//! How many counters a pane has, by its level.
//!
//! A summary with m counters overcounts by at most N/m, N being the plays of its span. Coarser
//! panes hold more plays and live longer, so they get more counters; the all-time summary is a
//! single one and gets the most.

use crate::window::Level;

/// Counters of a pane.
pub const fn counters(level: Level) -> usize {
    match level {
        Level::Minute | Level::Quarter => 1_024,
        Level::TwoHours => 2_048,
        Level::Day => 4_096,
        Level::All => 8_192,
    }
}
