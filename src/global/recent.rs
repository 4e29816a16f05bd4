//! Leaderboards that would come out the same again.
//!
//! Charts are made of ladders, which change with a flush, and of merged copies of what is live,
//! which serve for [`LIVE_MAX_AGE_MS`]. Until either changes, another
//! shard that asks for the same chart gets the one that is there: with ten regions whose readers
//! look at the same charts, a tenth of the work. It is never older than the copies that it would
//! be made of again.
//!
//! # Limit
//! [`MAX_BYTES`] in all, 15,000 places of some 200 bytes; at the limit all are forgotten together.

use std::collections::HashMap;

use super::{ChartRules, LIVE_MAX_AGE_MS};
use crate::leaderboard::Leaderboard;
use crate::window::Span;
use crate::wire::ChartRequest;

const MAX_BYTES: usize = 3 << 20;

#[derive(Default)]
pub struct Recent {
    charts: HashMap<ChartRequest, Entry>,
    bytes: usize,
}

struct Entry {
    rules: ChartRules,
    /// When the oldest copy that it is made of was merged.
    merged_ms: u64,
    leaderboard: Leaderboard,
}

impl Recent {
    /// The leaderboard, if it would come out the same: of the same window, from the same copies.
    pub fn get(
        &self,
        request: &ChartRequest,
        rules: ChartRules,
        span: Span,
        now_ms: u64,
    ) -> Option<&Leaderboard> {
        let entry = self.charts.get(request)?;
        let is_same = entry.rules == rules && entry.leaderboard.span == span;
        let age_ms = now_ms.checked_sub(entry.merged_ms)?;
        (is_same && age_ms < LIVE_MAX_AGE_MS).then_some(&entry.leaderboard)
    }

    pub fn put(
        &mut self,
        request: &ChartRequest,
        rules: ChartRules,
        merged_ms: u64,
        leaderboard: &Leaderboard,
    ) {
        let bytes = leaderboard.heap_bytes();
        if bytes > MAX_BYTES {
            return;
        }
        if self.bytes + bytes > MAX_BYTES {
            self.forget();
        }
        let entry = Entry {
            rules,
            merged_ms,
            leaderboard: leaderboard.clone(),
        };
        self.bytes += bytes;
        if let Some(before) = self.charts.insert(request.clone(), entry) {
            self.bytes -= before.leaderboard.heap_bytes();
        }
    }

    /// Forgets all if they take more than so many bytes.
    pub fn keep_within(&mut self, bytes: usize) {
        if self.bytes > bytes {
            self.forget();
        }
    }

    /// Something changed that charts are made of.
    pub fn forget(&mut self) {
        self.charts.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leaderboard::{Place, Sort};
    use crate::wire::WindowRequest;

    fn request(length_ms: u64) -> ChartRequest {
        ChartRequest {
            scope: "NA".into(),
            window: WindowRequest::Sliding { length_ms },
            sort: Sort::Views,
            k_class: 1_000,
        }
    }

    fn leaderboard(places: usize) -> Leaderboard {
        let place = Place {
            post_id: "post".into(),
            count: Default::default(),
            compared: None,
            previous_rank: None,
            card: Default::default(),
        };
        Leaderboard {
            span: Span::new(1, 2),
            as_of_ms: 5_000,
            total_views: 3,
            unlisted_max: 0,
            compared_with: None,
            incomplete: false,
            places: vec![place; places],
        }
    }

    #[test]
    fn a_chart_is_given_again_as_long_as_it_would_come_out_the_same() {
        let mut recent = Recent::default();
        let (rules, span) = (ChartRules::default(), Span::new(1, 2));
        recent.put(&request(1), rules, 5_000, &leaderboard(1));
        let known = |recent: &Recent, rules, span, now_ms| {
            recent.get(&request(1), rules, span, now_ms).is_some()
        };
        assert!(known(&recent, rules, span, 5_999));
        assert!(
            !known(&recent, rules, span, 6_000),
            "the copies are merged anew"
        );
        assert!(!known(&recent, rules, span, 4_999), "the clock went back");
        assert!(
            !known(&recent, rules, Span::new(1, 3), 5_500),
            "another window"
        );
        let stricter = ChartRules {
            visible: crate::settings::VisiblePosts::Known,
        };
        assert!(!known(&recent, stricter, span, 5_500));
        recent.forget();
        assert!(!known(&recent, rules, span, 5_500));
    }

    #[test]
    fn it_holds_so_many_places_and_no_more() {
        let mut recent = Recent::default();
        for length_ms in 0..100 {
            recent.put(
                &request(length_ms),
                ChartRules::default(),
                0,
                &leaderboard(1_000),
            );
            recent.put(
                &request(length_ms),
                ChartRules::default(),
                0,
                &leaderboard(1_000),
            );
            let held: usize = recent
                .charts
                .values()
                .map(|entry| entry.leaderboard.heap_bytes())
                .sum();
            assert_eq!(recent.bytes, held);
            assert!((100_000..=MAX_BYTES).contains(&held), "{held}");
        }
    }
}
