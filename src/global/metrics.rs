//! What the global object tells the operator.

use super::live::Copies;
use super::{DATABASE_BYTES, Global};
use crate::catalog::{MAX_CATALOG_BYTES, MAX_CATALOG_POSTS};
use crate::topology::{GLOBAL_SCOPE, parts_of_key};
use crate::window::MINUTE_MS;
use crate::wire::{GlobalMetrics, QUIET_SEALING_MS};

/// A quiet shard that has these open pushes by then, about.
fn quiet_until_ms(copies: &Copies) -> u64 {
    let quarter_of = |end_ms: u64| {
        end_ms
            .div_ceil(QUIET_SEALING_MS)
            .saturating_mul(QUIET_SEALING_MS)
    };
    let quarters = copies.panes.iter().map(|pane| quarter_of(pane.key.end_ms));
    // Late panes are sealed a minute after they were opened; live ones are pushed 35 to 37 s after the quarter.
    let late_ms = copies.received_ms + MINUTE_MS;
    let first_ms = quarters.min().unwrap_or_default().saturating_add(MINUTE_MS);
    first_ms.max(late_ms)
}

impl Global {
    /// Adds what the state knows.
    pub fn tell(&self, metrics: GlobalMetrics, now_ms: u64) -> GlobalMetrics {
        let (catalog, damaged_rows) = self.catalog.stands();
        let copies = self.live.copies_of(GLOBAL_SCOPE);
        let open = copies.filter(|(_, copies)| !copies.panes.is_empty());
        let push_ages_ms = open.map(|(name @ (region_id, shard), copies)| {
            let since_ms = match self.offsets.is_quiet(name) {
                true => quiet_until_ms(copies),
                false => copies.received_ms,
            };
            let age_ms = now_ms.saturating_sub(since_ms);
            (parts_of_key(region_id).0.to_owned(), *shard, age_ms)
        });
        GlobalMetrics {
            folds: self.folds,
            folded_panes: self.folded_panes,
            closed_charts: self.closed_charts,
            gaps: self.offsets.gaps,
            refused_pushes: self.refused_pushes,
            damaged_rows: self.damaged_rows() + damaged_rows,
            damaged_regions: self.offsets.damaged_regions() as u64,
            pending_bytes: self.live.pending_bytes as u64,
            catalog_posts: catalog.posts,
            most_stored_bytes: DATABASE_BYTES,
            most_catalog_posts: MAX_CATALOG_POSTS,
            catalog_bytes: catalog.bytes,
            most_catalog_bytes: MAX_CATALOG_BYTES,
            push_ages_ms: push_ages_ms.collect(),
            ..metrics
        }
    }
}
