//! A chart beside exact counts of every id.

use std::collections::HashMap;

use hitparade::leaderboard::Leaderboard;

/// The first so many posts are looked at.
pub const FIRST: [usize; 3] = [10, 100, 1_000];

/// What a chart says, beside what is true.
#[derive(Clone, Debug)]
pub struct Judged {
    /// Of the first posts, how many a chart of as many places lists.
    pub found: [usize; FIRST.len()],
    /// The largest error of `view_count` among the first places, as a share of the true count.
    pub error: [f64; FIRST.len()],
    /// The widest bounds of these places, as a share of the true count.
    pub width: [f64; FIRST.len()],
    /// Places that a chart of as many calls certain, as a share of its places.
    pub certain: [f64; FIRST.len()],
    /// Whether every place is exact, and nothing else is said to have had more than it had.
    pub exact: bool,
    /// Posts with plays.
    pub posts: usize,
}

/// Judges a chart of a thousand places. `exact`: every id with plays in the chart's window.
///
/// # Errors
/// Where a bound of any id does not hold, a place is wrongly said to be certain, or the order is not
/// that of the numbers shown.
pub fn judge(chart: &Leaderboard, mut exact: Vec<(&str, u64)>) -> Result<Judged, String> {
    exact.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(b.0)));
    let total: u64 = exact.iter().map(|(_, count)| count).sum();
    if chart.total_views != total || chart.incomplete {
        return Err(format!(
            "{} plays of {total} in {:?}, incomplete: {}",
            chart.total_views, chart.span, chart.incomplete
        ));
    }
    let counts: HashMap<&str, u64> = exact.iter().copied().collect();
    let listed: HashMap<&str, usize> = chart
        .places
        .iter()
        .enumerate()
        .map(|(rank, place)| (place.post_id.as_str(), rank))
        .collect();
    for place in &chart.places {
        let truth = counts.get(place.post_id.as_str()).copied().unwrap_or(0);
        let count = place.count;
        let holds = count.view_count_min <= truth
            && truth <= count.view_count_max
            && (count.view_count_min..=count.view_count_max).contains(&count.view_count);
        if !holds {
            return Err(format!("{}: {truth} is not {count:?}", place.post_id));
        }
    }
    let order = |place: &hitparade::leaderboard::Place| std::cmp::Reverse(place.count.view_count);
    if !chart.places.is_sorted_by_key(order) {
        return Err("places are not in the order of their numbers".into());
    }
    for (id, count) in &exact {
        for k in FIRST {
            let is_listed = listed.get(id).is_some_and(|rank| *rank < k);
            if !is_listed && *count > chart.unlisted_max_at(k) {
                return Err(format!("{id} is not among {k} and has {count}"));
            }
        }
    }
    for k in FIRST {
        let top: HashMap<&str, u64> = exact.iter().take(k).copied().collect();
        let certain = chart.certain(k);
        for (place, is_certain) in chart.places.iter().zip(certain) {
            if is_certain && !top.contains_key(place.post_id.as_str()) {
                return Err(format!("{} is not certain among {k}", place.post_id));
            }
        }
    }
    let truth = |place: &hitparade::leaderboard::Place| {
        counts.get(place.post_id.as_str()).copied().unwrap_or(0)
    };
    let found = |k: usize| {
        // Posts that are level with the last of the first k are as good.
        let least = exact.get(k - 1).map_or(1, |(_, count)| *count);
        let places = chart.places.iter().take(k);
        places.filter(|place| truth(place) >= least).count()
    };
    let largest = |k: usize, of: &dyn Fn(&hitparade::leaderboard::Place) -> u64| {
        let places = chart.places.iter().take(k);
        let share = places.map(|place| of(place) as f64 / truth(place).max(1) as f64);
        share.fold(0.0, f64::max)
    };
    let error =
        |place: &hitparade::leaderboard::Place| place.count.view_count.abs_diff(truth(place));
    let width = |place: &hitparade::leaderboard::Place| {
        place.count.view_count_max - place.count.view_count_min
    };
    let certain = |k: usize| {
        let certain = chart.certain(k);
        certain.iter().filter(|it| **it).count() as f64 / certain.len().max(1) as f64
    };
    let next = exact.get(chart.places.len()).map_or(0, |(_, count)| *count);
    Ok(Judged {
        found: FIRST.map(found),
        error: FIRST.map(|k| largest(k, &error)),
        width: FIRST.map(|k| largest(k, &width)),
        certain: FIRST.map(certain),
        exact: chart.places.iter().all(|place| width(place) == 0) && chart.unlisted_max == next,
        posts: exact.len(),
    })
}
