//! Telling all shards some news, over several requests, and how far that has come.

use serde::{Deserialize, Serialize};

/// The most silent shards that are remembered. While there are so many, no further shards are told.
const MAX_SILENT: usize = 200;

/// A shard: its region's key, and its number.
pub type ShardName = (String, u32);

/// Worker → registry: how far has this news come; or, remember that it has come so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// The name of the news, which is unique.
    pub news: String,
    /// What to remember; `None` to ask.
    pub progress: Option<ToldSoFar>,
}

/// Which shards know the news: all up to `up_to` in the order of shards, except the silent ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldSoFar {
    /// No shard knows yet.
    pub up_to: Option<ShardName>,
    /// The shards that did not answer, in the order in which they were tried last.
    pub silent: Vec<ShardName>,
}

impl ToldSoFar {
    /// The shards that the next request tells, out of all in their order. At most half of them were silent
    /// before, so that shards which never answer do not hold up the others.
    pub fn next(&self, shards: &[ShardName], most: usize) -> Vec<ShardName> {
        let mut behind = shards
            .iter()
            .filter(|name| Some(*name) > self.up_to.as_ref());
        let is_last = behind.clone().next().is_none();
        let is_full = self.silent.len() >= MAX_SILENT;
        let again = if is_last || is_full { most } else { most / 2 };
        let there = |name: &&ShardName| shards.contains(name);
        let silent = self.silent.iter().filter(there).take(again);
        let mut next: Vec<ShardName> = silent.cloned().collect();
        if !is_full {
            let room = most - next.len();
            next.extend(behind.by_ref().take(room).cloned());
        }
        next
    }

    /// Notes which of the shards that were told have answered.
    pub fn told(&mut self, shards: &[ShardName], heard: &[bool]) {
        self.silent.retain(|name| !shards.contains(name));
        let failed = shards.iter().zip(heard).filter(|(_, heard)| !**heard);
        self.silent.extend(failed.map(|(name, _)| name.clone()));
        self.up_to = self.up_to.take().max(shards.iter().max().cloned());
    }

    /// How many of the present shards know.
    pub fn count(&self, shards: &[ShardName]) -> usize {
        let knows =
            |name: &&ShardName| Some(*name) <= self.up_to.as_ref() && !self.silent.contains(name);
        shards.iter().filter(knows).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(count: u32) -> Vec<ShardName> {
        (0..count).map(|shard| ("NA".into(), shard)).collect()
    }

    /// Tells shards, request by request, until all know or no further one can be told.
    fn requests(count: u32, is_silent: impl Fn(&ShardName, usize) -> bool) -> (usize, usize) {
        let (all, mut so_far) = (shards(count), ToldSoFar::default());
        for request in 0..100 {
            let next = so_far.next(&all, 40);
            assert!(next.len() <= 40);
            let heard: Vec<bool> = next.iter().map(|name| !is_silent(name, request)).collect();
            so_far.told(&next, &heard);
            if so_far.count(&all) == all.len() {
                return (request + 1, all.len());
            }
        }
        (100, so_far.count(&all))
    }

    #[test]
    fn a_request_tells_forty_and_the_next_goes_on() {
        assert_eq!(requests(106, |_, _| false), (3, 106));
        assert_eq!(requests(1, |_, _| false), (1, 1));
    }

    #[test]
    fn one_that_never_answers_keeps_the_news_from_nobody_behind_it() {
        assert_eq!(requests(1_000, |(_, shard), _| *shard == 0), (100, 999));
        let first_forty = |(_, shard): &ShardName, _| *shard < 40;
        assert_eq!(requests(1_000, first_forty), (100, 960));
    }

    #[test]
    fn who_is_silent_for_a_while_is_told_again() {
        let away = |_: &ShardName, request| request < 10;
        let (took, told) = requests(300, away);
        assert_eq!(told, 300);
        assert!(took <= 20, "{took}");
    }
}
