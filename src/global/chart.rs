//! A chart: the leaderboard of a scope and window, with the rank that each place had before.
//!
//! Charts are made of ladders, which change with a flush, and of what is merged of live panes, which
//! serves for [`LIVE_MAX_AGE_MS`]. Until either changes, another shard that asks for the same chart gets
//! the one that is there: with ten regions whose readers look at the same charts, a tenth of the work. What
//! the catalog says of a place is filled in when the chart is given.

use std::rc::Rc;

use super::LIVE_MAX_AGE_MS;
use super::cache::Key;
use super::members::request_of;
use super::ranking::{Ranked, Ranking};
use super::state::Global;
use super::window_plays::Ahead;
use crate::filter::Filter;
use crate::leaderboard::{Card, Leaderboard, MAX_K, Place};
use crate::settings::VisiblePosts;
use crate::storage::Storage;
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, Span, Window};
use crate::wire::{CatalogPosition, ChartRequest, MatchRequest, Refusal, Sort, WindowRequest};

/// Settings that change what a chart shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChartRules {
    pub visible: VisiblePosts,
}

/// A chart that was given, without what the catalog says of its places.
struct CachedChart {
    rules: ChartRules,
    /// Which posts are hidden or known was looked up there.
    catalog: Option<CatalogPosition>,
    /// When the oldest live panes that it is made of were merged.
    merged_ms: u64,
    leaderboard: Leaderboard,
}

impl CachedChart {
    /// Whether it would come out the same: of the same window, from the same live panes and catalog.
    fn is_same(
        &self,
        (rules, catalog): (ChartRules, Option<CatalogPosition>),
        span: Span,
        now_ms: u64,
    ) -> bool {
        let age_ms = now_ms.checked_sub(self.merged_ms);
        self.rules == rules
            && self.catalog == catalog
            && self.leaderboard.span == span
            && age_ms.is_some_and(|age_ms| age_ms < LIVE_MAX_AGE_MS)
    }
}

/// Which ranks are kept: of a scope's window that is over.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RanksOf {
    /// Its key.
    scope: String,
    span: Span,
    /// Of the window before it, where that has a say.
    before: Option<Span>,
    sort: Sort,
    /// Which posts are ranked: other ones in an hour, where those published in so many hours are.
    asked: MatchRequest,
}

impl RanksOf {
    /// Whether they may be others once something is folded into a pane.
    pub fn are_of(&self, scope: &str, pane: Span) -> bool {
        let made_of = self.made_of();
        let is_within = pane.from_ms < made_of.to_ms && made_of.from_ms < pane.to_ms;
        self.scopes().any(|of| of == scope) && is_within
    }

    /// The scopes whose plays they are made of.
    fn scopes(&self) -> impl Iterator<Item = &str> {
        let compared = (self.sort == Sort::Distinctive).then_some(GLOBAL_SCOPE);
        std::iter::once(&self.scope[..]).chain(compared)
    }

    /// From when until when these plays are: what rises is compared with the window before.
    fn made_of(&self) -> Span {
        let from_ms = self.before.map_or(self.span.from_ms, |it| it.from_ms);
        Span::new(from_ms, self.span.to_ms)
    }
}

/// The ranks of a window.
#[derive(Default)]
struct Ranks {
    rules: ChartRules,
    catalog: Option<CatalogPosition>,
    /// By id.
    ranks: Vec<(String, u32)>,
    incomplete: bool,
}

impl Ranks {
    fn of(&self, post_id: &str) -> Option<u32> {
        let at = (self.ranks).binary_search_by(|(id, _)| id[..].cmp(post_id));
        let (_, rank) = self.ranks.get(at.ok()?)?;
        Some(*rank)
    }

    fn heap_bytes(&self) -> usize {
        let texts = self.ranks.iter().map(|(id, _)| id.capacity() + 16);
        self.ranks.capacity() * size_of::<(String, u32)>() + texts.sum::<usize>()
    }
}

impl Global {
    /// The ranks of a window. Those of one in which nothing is live are kept: most windows are compared with
    /// the same one for a quarter of an hour, or for a day.
    fn ranks(
        &self,
        storage: &impl Storage,
        asked: &Ranked<'_>,
        (filter, rules): (&Filter, ChartRules),
        now_ms: u64,
    ) -> Result<Rc<Ranks>, Refusal> {
        let before = window::previous(&asked.window, now_ms, self.days());
        let ranks_of = RanksOf {
            scope: self.key_of(asked.scope),
            span: asked.window.span,
            before: before
                .map(|it| it.span)
                .filter(|_| asked.sort == Sort::Rising),
            sort: asked.sort,
            asked: request_of(filter, now_ms),
        };
        let catalog = self.catalog.position();
        let is_within = |scope| self.live.is_within(scope, ranks_of.made_of());
        let is_live = ranks_of.scopes().any(is_within);
        let key = Key::Ranks(ranks_of);
        let known = self.cache.get::<Ranks>(&key);
        let is_same = |known: &Ranks| known.rules == rules && known.catalog == catalog && !is_live;
        if let Some(known) = known.filter(|known| is_same(known)) {
            return Ok(known);
        }
        let misses = self.catalog.misses();
        let Ranking {
            rows, incomplete, ..
        } = self.ranking(storage, asked, rules, now_ms)?;
        let ids = rows.into_iter().map(|row| row.post_id);
        let mut ranks: Vec<(String, u32)> = ids.zip(1..).collect();
        ranks.sort_unstable();
        let ranks = Rc::new(Ranks {
            rules,
            catalog,
            ranks,
            incomplete,
        });
        if !is_live && !incomplete && self.catalog.misses() == misses {
            let bytes = ranks.heap_bytes() + 2 * filter.heap_bytes();
            self.cache.put(key, Rc::clone(&ranks), bytes);
        }
        Ok(ranks)
    }

    /// The leaderboard, if it was asked for a moment ago and would come out the same.
    pub fn known_chart(
        &self,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Option<Leaderboard> {
        let window = self.window(&request.scope, request.window, now_ms).ok()?;
        let known = self
            .cache
            .get::<CachedChart>(&Key::Chart(request.clone()))?;
        let by = (rules, self.catalog.position());
        let is_same = known.is_same(by, window.named(), now_ms);
        is_same.then(|| self.with_cards(known.leaderboard.clone()))
    }

    /// A leaderboard with what the catalog says of its posts.
    fn with_cards(&self, mut leaderboard: Leaderboard) -> Leaderboard {
        for place in &mut leaderboard.places {
            if let Some(entry) = self.catalog.entry(&place.post_id)
                && let Some(entry) = &*entry
            {
                place.card.clone_from(&entry.card);
            }
        }
        leaderboard
    }

    /// The leaderboard of a scope and window, as far as the catalog is known: where something of it was
    /// missing ([`crate::catalog::Follower::misses`]), places or their cards may be.
    ///
    /// # Errors
    /// [`Refusal`] for an unknown region, a window that cannot be answered, or a failing disk.
    pub fn chart(
        &self,
        storage: &impl Storage,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<Leaderboard, Refusal> {
        if let WindowRequest::Published { kind, period } = request.window {
            return self.published(storage, &request.scope, (kind, period), now_ms);
        }
        if let Some(known) = self.known_chart(request, rules, now_ms) {
            return Ok(known);
        }
        self.fit_cache();
        let key = self.key_of(&request.scope);
        if request.sort == Sort::Distinctive {
            self.live.align(self.seed(), now_ms);
        }
        let misses = self.catalog.misses();
        let leaderboard = self.new_chart(storage, request, rules, now_ms)?;
        if self.catalog.misses() > misses {
            return Ok(self.with_cards(leaderboard));
        }
        let mut merged_ms = self.live.merged_ms(&key, now_ms);
        if request.sort == Sort::Distinctive {
            merged_ms = merged_ms.min(self.live.merged_ms(GLOBAL_SCOPE, now_ms));
        }
        let kept = CachedChart {
            rules,
            catalog: self.catalog.position(),
            merged_ms,
            leaderboard: leaderboard.clone(),
        };
        let bytes = leaderboard.heap_bytes() + 2 * request.filter.heap_bytes();
        (self.cache).put(Key::Chart(request.clone()), Rc::new(kept), bytes);
        Ok(self.with_cards(leaderboard))
    }

    /// What is to be merged before [`Global::chart`] is asked, a stretch at a time: most of what a chart costs that
    /// nobody asked for since the start. Nothing where the chart is known, or refused.
    pub fn ahead_of_chart(&self, request: &ChartRequest, now_ms: u64) -> Vec<Ahead> {
        let Ok(window) = self.window(&request.scope, request.window, now_ms) else {
            return Vec::new();
        };
        let before = window::previous(&window, now_ms, self.days());
        let windows: Vec<Window> = before.into_iter().chain([window]).collect();
        self.ahead(&request.scope, &windows, now_ms)
    }

    fn new_chart(
        &self,
        storage: &impl Storage,
        request: &ChartRequest,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<Leaderboard, Refusal> {
        let window = self.window(&request.scope, request.window, now_ms)?;
        // Of the posts that match today, also in the window before.
        let members = self.members(&request.filter, now_ms)?;
        let mut asked = Ranked {
            scope: &request.scope,
            members: members.as_deref(),
            window,
            sort: request.sort,
            k: (request.k_class as usize).min(MAX_K),
        };
        let ranking = self.ranking(storage, &asked, rules, now_ms)?;
        let mut incomplete = ranking.incomplete;
        let mut previous = Rc::default();
        if let Some(before) = window::previous(&window, now_ms, self.days()) {
            (asked.window, asked.k) = (before, MAX_K);
            // A window before without one before it has no risers.
            if asked.sort != Sort::Rising
                || window::previous(&before, now_ms, self.days()).is_some()
            {
                previous = self.ranks(storage, &asked, (&request.filter, rules), now_ms)?;
                incomplete |= previous.incomplete;
            }
        }
        let mut places = Vec::with_capacity(ranking.rows.len());
        for row in ranking.rows {
            places.push(Place {
                previous_rank: previous.of(&row.post_id),
                post_id: row.post_id,
                count: row.count,
                compared: row.compared,
                run: None,
                card: Card::default(),
            });
        }
        Ok(Leaderboard {
            span: window.named(),
            as_of_ms: now_ms,
            total_views: ranking.total_views,
            unlisted_max: ranking.unlisted_max,
            compared_with: ranking.compared_with,
            published: None,
            incomplete,
            exact: ranking.exact && !incomplete,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_is_given_again_as_long_as_it_would_come_out_the_same() {
        let (rules, span) = (ChartRules::default(), Span::new(1, 2));
        let kept = CachedChart {
            rules,
            catalog: None,
            merged_ms: 5_000,
            leaderboard: Leaderboard {
                span,
                as_of_ms: 5_000,
                total_views: 3,
                unlisted_max: 0,
                compared_with: None,
                published: None,
                incomplete: false,
                exact: true,
                places: Vec::new(),
            },
        };
        assert!(kept.is_same((rules, None), span, 5_999));
        assert!(
            !kept.is_same((rules, None), span, 6_000),
            "live panes are merged anew"
        );
        assert!(
            !kept.is_same((rules, None), span, 4_999),
            "the clock went back"
        );
        assert!(
            !kept.is_same((rules, None), Span::new(1, 3), 5_500),
            "another window"
        );
        let changed = Some(CatalogPosition { number: 1, mark: 2 });
        assert!(
            !kept.is_same((rules, changed), span, 5_500),
            "the catalog changed"
        );
        let stricter = ChartRules {
            visible: crate::settings::VisiblePosts::Known,
        };
        assert!(!kept.is_same((stricter, None), span, 5_500));
    }
}
