//! How far telling shards some news has come, which takes more than one request.

use serde::{Deserialize, Serialize};

use super::Refusal;

/// Shards that did not answer and are remembered: while there are so many, no others are told.
const MAX_SILENT: usize = 200;

/// A shard: its region's key, and its number.
pub type ShardName = (String, u32);

/// Worker → registry: asks what is remembered, or says what is to be. Remembered as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Telling {
    /// No other news have this name.
    pub news: String,
    /// To be remembered; none to ask.
    pub progress: Option<ToldSoFar>,
}

/// Registry → Worker: what is remembered of these news.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellingReply(pub Result<Option<ToldSoFar>, Refusal>);

/// Which shards know: all up to one, but for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToldSoFar {
    /// None of them yet.
    pub up_to: Option<ShardName>,
    /// Those that did not answer, the one that was tried last behind the others.
    pub silent: Vec<ShardName>,
}

impl ToldSoFar {
    /// Which of all shards, in their order, the next request tells. Those that were silent have half of
    /// it at most, so that one which never answers keeps the news from nobody behind it.
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

    /// Some shards were told, and have taken note or not.
    pub fn told(&mut self, shards: &[ShardName], heard: &[bool]) {
        self.silent.retain(|name| !shards.contains(name));
        let failed = shards.iter().zip(heard).filter(|(_, heard)| !**heard);
        self.silent.extend(failed.map(|(name, _)| name.clone()));
        self.up_to = self.up_to.take().max(shards.iter().max().cloned());
    }

    /// How many of the shards that there are now know.
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

    /// Requests until all know, or none can be added.
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
