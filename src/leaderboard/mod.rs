//! A leaderboard: the computed Top K of one scope and window, with the bounds that hold for it.
//!
//! It is computed once for a class of k and shortened for a smaller k, which needs no
//! second look at the plays: what is left out goes into `unlisted_max`.

mod format;
mod published;

use serde::{Deserialize, Serialize};
use strum::EnumString;

use crate::codec::record;
use crate::window::Span;

pub use format::{Chart, ChartForm, Format, NamedWindow, Rendered, csv_text};
pub use published::{
    ClosedChart, ClosedPlace, ListedChart, PUBLISHED_KINDS, PUBLISHED_PLACES, Published, Run,
};

/// The largest k that can be asked for.
pub const MAX_K: usize = 1_000;

/// The classes of k that are computed; an answer is a beginning of the smallest that is large enough.
pub const K_CLASSES: [usize; 3] = [10, 100, MAX_K];

/// The class that answers a k.
pub fn class_of_k(k: usize) -> usize {
    let class = K_CLASSES.into_iter().find(|class| *class >= k);
    class.unwrap_or(MAX_K)
}

/// The order of a chart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, EnumString)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Sort {
    /// Most plays first.
    #[default]
    Views,
    /// What grows most against the window just before.
    Rising,
    /// What is played here more than everywhere else.
    Distinctive,
}

/// What the catalog knows of a post. Everything may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    pub author: Option<String>,
    pub content: Option<String>,
    pub url: Option<String>,
    pub image: Option<String>,
    /// In order, each once.
    pub tags: Vec<String>,
}

/// Plays of one post in one scope and span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub view_count: u64,
    pub view_count_min: u64,
    pub view_count_max: u64,
}

/// The same post on the other side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub count: Count,
    /// Here it is played at least so many times as often, allowing for bounds and chance.
    pub times: f64,
    /// What `times` would be at most if all counts were exact.
    pub times_max: f64,
}

/// The other side of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparedWith {
    /// A region's id or `global`.
    pub scope: String,
    /// The scope without the chart's own region.
    pub elsewhere: bool,
    pub span: Span,
    pub total_views: u64,
    /// No visible post that is not listed would have more `times` if all counts were exact.
    pub unlisted_times_max: f64,
}

/// One place of a leaderboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Place {
    pub post_id: String,
    pub count: Count,
    /// What its place is made of, where charts are not sorted by plays.
    pub compared: Option<Compared>,
    /// Its rank in the window before, where it was among the first [`MAX_K`].
    pub previous_rank: Option<u32>,
    /// Of published charts alone.
    pub run: Option<Run>,
    pub card: Card,
}

impl Place {
    /// The rank at this position, counted from 0: of a published chart the one that it was published with.
    pub fn rank_at(&self, position: usize) -> usize {
        self.run.map_or(position + 1, |run| run.rank as usize)
    }
}

/// The Top K of a scope and window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leaderboard {
    pub span: Span,
    /// When it was computed: everything that had reached the global object by then is in it.
    pub as_of_ms: u64,
    /// All plays of the window, exact.
    pub total_views: u64,
    /// No visible post that is not listed has more plays.
    pub unlisted_max: u64,
    pub compared_with: Option<ComparedWith>,
    pub published: Option<Published>,
    /// Plays may be missing: a stored row that belongs to the window could not be read, or the global
    /// object does not know yet, or could not hold, what shards have open.
    pub incomplete: bool,
    /// Nothing is missing, and every count is exact, also of what is not listed: the order is the true one.
    pub exact: bool,
    /// By `view_count` or `times` down, then `post_id` up by bytes.
    pub places: Vec<Place>,
}

record!(Leaderboard v 1);

impl Card {
    /// What its texts hold.
    pub fn text_bytes(&self) -> usize {
        let texts = [&self.author, &self.content, &self.url, &self.image];
        let tags = self.tags.iter().map(|tag| size_of::<String>() + tag.len());
        texts.into_iter().flatten().map(String::len).sum::<usize>() + tags.sum::<usize>()
    }
}

impl Leaderboard {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let texts = |place: &Place| place.post_id.len() + place.card.text_bytes();
        let places = self.places.capacity() * size_of::<Place>();
        places + self.places.iter().map(texts).sum::<usize>()
    }

    /// How many places the Top k has: fewer than k also where posts were hidden since.
    pub fn places_of(&self, k: usize) -> usize {
        let places = self.places.iter().enumerate();
        places
            .take_while(|(position, place)| place.rank_at(*position) <= k)
            .count()
    }

    /// The bound of everything outside the first k places.
    pub fn unlisted_max_at(&self, k: usize) -> u64 {
        let cut_off = self.places.get(k..).unwrap_or_default();
        let most = cut_off.iter().map(|place| place.count.view_count_max).max();
        self.unlisted_max.max(most.unwrap_or(0))
    }

    /// For each of the first k places, whether it belongs to the Top k for sure: were all counts
    /// exact, nothing outside of them could come before it, not even by a tie. Where they are exact, who
    /// ties stands in the order of ids already.
    pub fn certain(&self, k: usize) -> Vec<bool> {
        if self.exact {
            return vec![true; k.min(self.places.len())];
        }
        match &self.compared_with {
            None => certain(&self.places, k, self.unlisted_max, |place| {
                (place.count.view_count_min, place.count.view_count_max)
            }),
            Some(other) => certain(&self.places, k, other.unlisted_times_max, |place| {
                let compared = place.compared.as_ref();
                compared.map_or((0.0, 0.0), |it| (it.times, it.times_max))
            }),
        }
    }
}

/// Which of the first k places are certain, in an order by what lies within a `range`; nothing that
/// is not a place has more than `unlisted_max` of it.
fn certain<N: PartialOrd + Copy>(
    places: &[Place],
    k: usize,
    unlisted_max: N,
    range: impl Fn(&Place) -> (N, N),
) -> Vec<bool> {
    let (listed, others) = places.split_at(k.min(places.len()));
    let more = |a: N, b: N| if b > a { b } else { a };
    let most = others.iter().map(|place| range(place).1).reduce(more);
    let first_with_most = others
        .iter()
        .filter(|place| Some(range(place).1) == most)
        .map(|place| place.post_id.as_str())
        .min();
    let beats_others = |place: &Place| {
        let (least, _) = range(place);
        most.is_none_or(|most| least > most)
            || most == Some(least)
                && first_with_most.is_none_or(|first| place.post_id.as_str() < first)
    };
    let is_certain = |place: &Place| range(place).0 > unlisted_max && beats_others(place);
    listed.iter().map(is_certain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(post_id: &str, min: u64, max: u64) -> Place {
        Place {
            post_id: post_id.into(),
            count: Count {
                view_count: max,
                view_count_min: min,
                view_count_max: max,
            },
            compared: None,
            previous_rank: None,
            run: None,
            card: Card::default(),
        }
    }

    fn leaderboard(places: Vec<Place>, unlisted_max: u64) -> Leaderboard {
        Leaderboard {
            span: Span {
                from_ms: 0,
                to_ms: 60_000,
            },
            as_of_ms: 0,
            total_views: 1_000,
            unlisted_max,
            compared_with: None,
            published: None,
            incomplete: false,
            exact: false,
            places,
        }
    }

    #[test]
    fn what_is_left_out_stays_bounded() {
        let places = vec![place("a", 9, 9), place("b", 4, 8), place("c", 2, 3)];
        let board = leaderboard(places, 1);
        assert_eq!(
            [0, 1, 2, 3, 9].map(|k| board.unlisted_max_at(k)),
            [9, 8, 3, 1, 1]
        );
    }

    #[test]
    fn a_place_is_certain_only_if_nothing_outside_can_pass_it() {
        let board = leaderboard(
            vec![place("a", 9, 9), place("b", 4, 8), place("c", 2, 6)],
            1,
        );
        assert_eq!(board.certain(1), [true]);
        assert_eq!(board.certain(2), [true, false]);
        assert_eq!(board.certain(3), [true, true, true]);
        let ties = leaderboard(
            vec![place("a", 5, 5), place("b", 5, 5), place("c", 5, 5)],
            0,
        );
        assert_eq!(ties.certain(2), [true, true], "ties are broken by id");
        let unknown = leaderboard(vec![place("a", 5, 5)], 5);
        assert_eq!(unknown.certain(10), [false], "an unknown id may come first");
        let exact = Leaderboard {
            exact: true,
            ..unknown
        };
        assert_eq!(exact.certain(10), [true], "it comes later by its id");
    }

    #[test]
    fn a_place_by_growth_is_certain_only_if_nothing_outside_can_have_grown_more() {
        let risen = |post_id, times, times_max| Place {
            compared: Some(Compared {
                count: Count::default(),
                times,
                times_max,
            }),
            ..place(post_id, 0, 9)
        };
        let places = vec![
            risen("a", 9.0, 9.5),
            risen("b", 3.0, 7.0),
            risen("c", 2.5, 4.0),
        ];
        let mut board = leaderboard(places, 1_000);
        board.compared_with = Some(ComparedWith {
            scope: "NA".into(),
            elsewhere: false,
            span: board.span,
            total_views: 1,
            unlisted_times_max: 2.75,
        });
        assert_eq!(board.certain(1), [true]);
        assert_eq!(board.certain(2), [true, false], "c may have 4");
        assert_eq!(
            board.certain(3),
            [true, true, false],
            "others may have 2.75"
        );
    }

    #[test]
    fn the_class_of_k_is_the_smallest_that_is_large_enough() {
        assert_eq!(
            [1, 10, 11, 100, 101, 1000].map(class_of_k),
            [10, 10, 100, 100, 1000, 1000]
        );
    }
}
