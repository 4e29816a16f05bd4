//! The order of a chart: by plays, by growth, by what is special here.
//!
//! All three give rows in their order and a bound for what is not among them. A row of the last
//! two carries what it was compared with.

use std::cmp::Ordering;

use super::ChartRules;
use super::contrast::{Exposed, Times, times};
use super::members::{Absent, Found, find};
use super::state::Global;
use super::window_plays::Merged;
use crate::catalog::Follower;
use crate::filter::Members;
use crate::leaderboard::{Compared, ComparedWith, Count};
use crate::settings::VisiblePosts;
use crate::storage::Storage;
use crate::summary::{Bounds, Row, Summary};
use crate::topology::GLOBAL_SCOPE;
use crate::window::{self, Span, Window};
use crate::wire::{Refusal, Sort};

/// A chart's rows before the catalog is asked about them.
pub struct Ranking {
    pub rows: Vec<RankedRow>,
    /// No visible post outside the rows has more plays.
    pub unlisted_max: u64,
    pub total_views: u64,
    pub compared_with: Option<ComparedWith>,
    /// As [`Merged::incomplete`].
    pub incomplete: bool,
    /// All counts are exact that the order is made of, and of every post it is known whether it shows.
    pub exact: bool,
}

pub struct RankedRow {
    pub post_id: String,
    pub count: Count,
    pub compared: Option<Compared>,
}

/// What a ranking is asked for.
pub struct Ranked<'a> {
    pub scope: &'a str,
    /// The posts that it is of; `None` for all.
    pub members: Option<&'a Members>,
    pub window: Window,
    pub sort: Sort,
    pub k: usize,
}

impl Global {
    /// The first k visible posts in an order.
    pub(super) fn ranking(
        &self,
        storage: &impl Storage,
        asked: &Ranked<'_>,
        rules: ChartRules,
        now_ms: u64,
    ) -> Result<Ranking, Refusal> {
        let mut merged = self.merged(storage, asked.scope, asked.window.span, now_ms)?;
        if asked.members.is_some() {
            merged.summary.index();
        }
        match self.other_side(storage, asked, &merged.summary, now_ms)? {
            None => {
                let visible = self.visible(rules, asked.members);
                Ok(visible.by_views((&merged.summary, merged.incomplete), asked.k))
            }
            Some(other) => {
                let visible = self.visible(rules, asked.members);
                Ok(visible.by_times(merged, &other, asked, now_ms))
            }
        }
    }

    /// The first k visible posts of what was merged, by plays.
    pub(super) fn by_views(&self, merged: &Merged, k: usize, rules: ChartRules) -> Ranking {
        let merged = (&merged.summary, merged.incomplete);
        self.visible(rules, None).by_views(merged, k)
    }

    /// The same with posts of which nobody knows whether they show: of what is made once, and looked at
    /// again whenever it is shown.
    pub(super) fn by_views_and_unknown(
        &self,
        merged: (&Summary, bool),
        k: usize,
        rules: ChartRules,
    ) -> Ranking {
        let visible = Visible {
            lists_unknown: true,
            ..self.visible(rules, None)
        };
        visible.by_views(merged, k)
    }

    fn visible<'a>(&'a self, rules: ChartRules, members: Option<&'a Members>) -> Visible<'a> {
        Visible {
            members,
            catalog: &self.catalog,
            rules,
            lists_unknown: false,
        }
    }

    /// What the rows of a sort are compared with.
    fn other_side(
        &self,
        storage: &impl Storage,
        asked: &Ranked<'_>,
        here: &Summary,
        now_ms: u64,
    ) -> Result<Option<Other>, Refusal> {
        let (scope, span, including_here) = match asked.sort {
            Sort::Views => return Ok(None),
            Sort::Rising => {
                let before =
                    window::previous(&asked.window, now_ms, self.days()).ok_or_else(|| {
                        Refusal::Invalid(
                            "rising needs a window with one of its length before it".into(),
                        )
                    })?;
                (asked.scope, before.span, false)
            }
            Sort::Distinctive if asked.scope == GLOBAL_SCOPE => {
                let detail = "distinctive compares a region with all others: name a region";
                return Err(Refusal::Invalid(detail.into()));
            }
            Sort::Distinctive => (GLOBAL_SCOPE, asked.window.span, true),
        };
        let (there, total, is_exact, incomplete) = match asked.members {
            None => {
                let there = self.merged_beside(storage, (scope, span), here, now_ms)?;
                let (total, is_exact) = (there.total, there.is_exact);
                let incomplete = there.incomplete;
                (There::OfRows(there.bounds), total, is_exact, incomplete)
            }
            // Posts of a filter may be listed there and not here.
            Some(_) => {
                let mut there = self.merged(storage, scope, span, now_ms)?;
                there.summary.index();
                let (total, is_exact) = (there.summary.total(), there.summary.is_exact());
                let incomplete = there.incomplete;
                (
                    There::OfAny(Box::new(there.summary)),
                    total,
                    is_exact,
                    incomplete,
                )
            }
        };
        Ok(Some(Other {
            there,
            total,
            is_exact,
            incomplete,
            scope: scope.to_owned(),
            span,
            including_here,
        }))
    }
}

/// What posts have on the other side.
enum There {
    /// Those with a row here, one after the other.
    OfRows(Vec<Bounds>),
    /// Whoever is asked for.
    OfAny(Box<Summary>),
}

/// The other side of a comparison.
struct Other {
    there: There,
    total: u64,
    is_exact: bool,
    incomplete: bool,
    scope: String,
    span: Span,
    /// It is worldwide, of which here is a part that must not be compared with itself.
    including_here: bool,
}

impl Other {
    /// The bounds of a post there: elsewhere is worldwide without here.
    fn elsewhere(&self, there: Bounds, here: Bounds) -> Bounds {
        if !self.including_here {
            return there;
        }
        Bounds {
            lower: there.lower.saturating_sub(here.upper),
            upper: there.upper.saturating_sub(here.lower),
        }
    }
}

/// Which posts may be listed.
struct Visible<'a> {
    members: Option<&'a Members>,
    catalog: &'a Follower,
    rules: ChartRules,
    lists_unknown: bool,
}

/// Whether a post may be listed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Visibility {
    Yes,
    No,
    /// The catalog was not asked, or is away: it is not listed, and may be one of those that are not.
    Unknown,
}

impl ChartRules {
    /// Whether only posts show that the catalog knows; `None` where nobody knows.
    pub(super) fn only_known(self, catalog: &Follower) -> Option<bool> {
        match self.visible {
            VisiblePosts::All => Some(false),
            VisiblePosts::KnownIfAny => catalog.describes_posts(),
            VisiblePosts::Known => Some(true),
        }
    }
}

impl Visible<'_> {
    fn of(&self, post_id: &str) -> Visibility {
        let is_known = || match self.rules.only_known(self.catalog)? {
            // The catalog knows what it has found.
            _ if matches!(self.members, Some(Members::Only(_))) => Some(true),
            true => self.catalog.is_known(post_id),
            false => Some(true),
        };
        match (self.catalog.is_hidden(post_id), is_known()) {
            (Some(false), Some(true)) => Visibility::Yes,
            (Some(true), _) | (_, Some(false)) => Visibility::No,
            _ => Visibility::Unknown,
        }
    }

    fn by_views(&self, (summary, incomplete): (&Summary, bool), k: usize) -> Ranking {
        let Found { mut rows, absent } = find(summary, self.members);
        let mut unlisted_max = absent.most();
        let mut exact = summary.is_exact();
        let mut listed: Vec<Row<'_>> = Vec::with_capacity(k.min(rows.len()));
        let (mut sorted, mut looked_at) = (0, 0);
        while listed.len() < k && looked_at < rows.len() {
            // Mostly nothing is hidden, and the first slice is enough.
            let up_to = (2 * k).max(100).max(8 * sorted);
            sorted = sort_next(&mut rows, sorted, up_to, by_estimate);
            for row in rows.get(looked_at..sorted).unwrap_or_default() {
                if listed.len() == k {
                    break;
                }
                looked_at += 1;
                match self.of(row.id) {
                    Visibility::Yes => listed.push(*row),
                    Visibility::No => {}
                    Visibility::Unknown if self.lists_unknown => {
                        listed.push(*row);
                        exact = false;
                    }
                    Visibility::Unknown => {
                        unlisted_max = unlisted_max.max(row.upper);
                        exact = false;
                    }
                }
            }
        }
        for row in rows.get(looked_at..).unwrap_or_default() {
            if row.upper > unlisted_max && self.of(row.id) != Visibility::No {
                unlisted_max = row.upper;
            }
        }
        let rows = listed.into_iter().map(|row| RankedRow {
            post_id: row.id.to_owned(),
            count: count(row.bounds()),
            compared: None,
        });
        Ranking {
            rows: rows.collect(),
            unlisted_max,
            total_views: summary.total(),
            compared_with: None,
            incomplete,
            exact,
        }
    }

    /// Posts that are above the other side for sure, by how much.
    fn by_times(&self, merged: Merged, other: &Other, asked: &Ranked<'_>, now_ms: u64) -> Ranking {
        let summary = &merged.summary;
        let (exposure, other_exposure) = exposures(summary, other, asked.window.span, now_ms);
        let compare = |here: Bounds, there: Bounds| {
            let exposed = |bounds, exposure| Exposed { bounds, exposure };
            times(exposed(here, exposure), exposed(there, other_exposure))
        };
        let Found { rows, absent } = find(summary, self.members);
        let mut unlisted_max = absent.most();
        let mut exact = summary.is_exact() && other.is_exact;
        let up_to = |upper| Bounds { lower: 0, upper };
        let mut unlisted_times_max = match absent {
            // What has no counter here may have had so much, and nothing there.
            Absent::Any(most) => compare(up_to(most), up_to(0)).max,
            Absent::Each(each) => {
                let each = each.into_iter().map(|(key, most)| {
                    let there = match &other.there {
                        There::OfAny(there) => there.by_key(key).bounds(),
                        There::OfRows(_) => up_to(u64::MAX),
                    };
                    let there = other.elsewhere(there, up_to(most));
                    compare(up_to(most), there).max
                });
                each.fold(0.0, f64::max)
            }
        };
        let mut compared: Vec<(Times, Row<'_>, Bounds)> = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            let there = match &other.there {
                There::OfAny(there) => there.bounds(row.id),
                There::OfRows(all) => all.get(at).copied().unwrap_or(up_to(u64::MAX)),
            };
            let there = other.elsewhere(there, row.bounds());
            let times = compare(row.bounds(), there);
            // Of the others nothing is to be told.
            if times.is_more() || row.upper > unlisted_max || times.max > unlisted_times_max {
                compared.push((times, row, there));
            }
        }
        let order = |a: &(Times, Row<'_>, Bounds), b: &(Times, Row<'_>, Bounds)| {
            let by_times = b.0.min.total_cmp(&a.0.min);
            by_times.then_with(|| a.1.id.cmp(b.1.id))
        };
        let mut rows = Vec::new();
        let (mut sorted, mut more) = (0, true);
        for at in 0..compared.len() {
            // Mostly nothing is hidden, and the first slice is enough.
            if at == sorted && more && rows.len() < asked.k {
                let up_to = (2 * asked.k).max(100).max(8 * sorted);
                sorted = sort_next(&mut compared, sorted, up_to, order);
            }
            let Some((times, row, there)) = compared.get(at) else {
                break;
            };
            more &= times.is_more();
            let is_listed = times.is_more() && rows.len() < asked.k;
            let is_news = row.upper > unlisted_max || times.max > unlisted_times_max;
            if !(is_listed || is_news) {
                continue;
            }
            let visibility = self.of(row.id);
            if visibility == Visibility::No {
                continue;
            }
            if is_listed && visibility == Visibility::Yes {
                rows.push(RankedRow {
                    post_id: row.id.to_owned(),
                    count: count(row.bounds()),
                    compared: Some(Compared {
                        count: count(*there),
                        times: times.min,
                        times_max: times.max,
                    }),
                });
            } else {
                unlisted_max = unlisted_max.max(row.upper);
                unlisted_times_max = unlisted_times_max.max(times.max);
                exact &= visibility == Visibility::Yes;
            }
        }
        let here = if other.including_here {
            summary.total()
        } else {
            0
        };
        Ranking {
            rows,
            unlisted_max,
            total_views: summary.total(),
            compared_with: Some(ComparedWith {
                scope: other.scope.clone(),
                elsewhere: other.including_here,
                span: other.span,
                total_views: other.total.saturating_sub(here),
                unlisted_times_max,
            }),
            incomplete: merged.incomplete || other.incomplete,
            exact,
        }
    }
}

/// Most plays first, then by the bytes of their ids.
fn by_estimate(a: &Row<'_>, b: &Row<'_>) -> Ordering {
    let by_estimate = b.estimate().cmp(&a.estimate());
    by_estimate.then_with(|| a.id.cmp(b.id))
}

/// Sorts the rows behind those that are sorted, up to so many. Returns how many are sorted now.
fn sort_next<T>(
    rows: &mut [T],
    sorted: usize,
    up_to: usize,
    order: impl Fn(&T, &T) -> Ordering + Copy,
) -> usize {
    let up_to = up_to.min(rows.len());
    let rest = rows.get_mut(sorted..).unwrap_or_default();
    let next = up_to.saturating_sub(sorted);
    if next > 0 && next < rest.len() {
        rest.select_nth_unstable_by(next - 1, order);
    }
    let next = rest.get_mut(..next).unwrap_or_default();
    next.sort_unstable_by(order);
    up_to.max(sorted)
}

/// Time passed in both windows, or plays on both sides.
fn exposures(summary: &Summary, other: &Other, span: Span, now_ms: u64) -> (u64, u64) {
    if other.including_here {
        let elsewhere = other.total.saturating_sub(summary.total());
        return (summary.total(), elsewhere);
    }
    let passed_ms = span.to_ms.min(now_ms).saturating_sub(span.from_ms);
    (passed_ms, other.span.length_ms())
}

pub(super) fn count(bounds: Bounds) -> Count {
    Count {
        view_count: bounds.estimate(),
        view_count_min: bounds.lower,
        view_count_max: bounds.upper,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogLimits, Catalogs, Keeper};
    use crate::storage::MemoryStorage;
    use crate::summary::Seed;
    use crate::wire::{MAX_ASKED_IDS, PostPatch, PutPosts};

    /// A catalog of a hundred songs, a summary of them and of many made-up ids that were played more.
    fn flooded(made_up: u64, limits: CatalogLimits) -> (Keeper, MemoryStorage, Summary) {
        let storage = MemoryStorage::new();
        let mut keeper = Keeper::load(&storage, limits, 1).unwrap();
        let mut summary = Summary::new(16_384, Seed::from_bytes([7; 16]));
        let mut patches = Vec::new();
        for song in 0..100 {
            let post_id = format!("song {song}");
            summary.record(&post_id, 1_000 - song);
            patches.push(PostPatch {
                post_id,
                content: Some(Some("A song".into())),
                ..PostPatch::default()
            });
        }
        for number in 0..made_up {
            summary.record(&format!("pills {number}"), 2_000);
        }
        let request = PutPosts {
            patches,
            only_new: false,
        };
        keeper.put(&storage, &request, 2).unwrap();
        (keeper, storage, summary)
    }

    /// The ranking, after so many questions at most, and how many there were.
    fn ranked(
        (keeper, storage, summary): (&Keeper, &MemoryStorage, Summary),
        most_questions: u32,
    ) -> (Ranking, u32) {
        let catalog = Follower::new(&Catalogs::default(), "shared");
        let visible = Visible {
            members: None,
            catalog: &catalog,
            rules: ChartRules {
                visible: VisiblePosts::KnownIfAny,
            },
            lists_unknown: false,
        };
        for questions in 0.. {
            let misses = catalog.misses();
            let ranking = visible.by_views((&summary, false), 1_000);
            if catalog.misses() == misses || questions == most_questions {
                return (ranking, questions);
            }
            let question = catalog.question();
            let news = keeper.answer(storage, &question).unwrap();
            assert!(catalog.take(&question, news, 1));
        }
        unreachable!()
    }

    #[test]
    fn made_up_ids_cost_a_small_catalog_one_question_for_all_its_posts() {
        let (keeper, storage, summary) = flooded(10_000, CatalogLimits::default());
        let (ranking, questions) = ranked((&keeper, &storage, summary), 9);
        assert_eq!(questions, 2, "how large it is, and which posts it has");
        let ids: Vec<&str> = ranking.rows.iter().map(|row| &row.post_id[..]).collect();
        let songs: Vec<String> = (0..100).map(|song| format!("song {song}")).collect();
        assert_eq!(ids, songs);
    }

    #[test]
    fn of_a_large_catalog_they_cost_so_many_questions_and_the_bound_of_others_holds() {
        let limits = CatalogLimits {
            set_posts: 99,
            ..CatalogLimits::default()
        };
        let (keeper, storage, summary) = flooded(10_000, limits);
        let (ranking, _) = ranked((&keeper, &storage, summary.clone()), 5);
        assert!(ranking.rows.is_empty());
        assert!(
            ranking.unlisted_max >= 1_000,
            "a song may be among the rest"
        );
        let (ranking, questions) = ranked((&keeper, &storage, summary), 9);
        assert_eq!((ranking.rows.len(), ranking.unlisted_max), (100, 0));
        assert_eq!(questions as usize, 2 + 10_100_usize.div_ceil(MAX_ASKED_IDS));
    }

    #[test]
    fn who_never_heard_from_the_catalog_lists_nothing() {
        let (keeper, storage, summary) = flooded(0, CatalogLimits::default());
        let (ranking, _) = ranked((&keeper, &storage, summary), 0);
        assert!(ranking.rows.is_empty());
        assert_eq!(ranking.unlisted_max, 1_000);
    }
}
