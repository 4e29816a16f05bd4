//! Everything that the global object keeps and could make again: one cache with one limit, in bytes as
//! they are held, and one rule.
//!
//! | what | made of | goes, besides, when |
//! |---|---|---|
//! | a stretch of stored panes ([`super::stretches`]) | their rows | one of them is folded into |
//! | how often a stretch that is not kept was looked into ([`super::stretches`]) | pages of posts | one of them is folded into |
//! | what is live in a scope ([`super::live`]) | entries, and the copies of its shards | it is a second old, or folded |
//! | the entries of a region that are in no ladder yet ([`super::live`]) | what was sent | they are folded |
//! | the copies of some shards ([`super::live`]) | what they sent | one of them pushes |
//! | a chart ([`super::chart`]) | stretches, and what is live | it would come out otherwise |
//! | the ranks of a window that is over ([`super::chart`]) | stretches | one of its panes is folded into |
//! | a post's page ([`super::post`]) | stretches, and what is live | it is a second old, or something is stored |
//!
//! [`crate::cache`] says what goes first: whoever asks for any number of different windows, each once,
//! makes nobody else's charts costly.
//!
//! # What pays
//! `cargo bench --bench cache`, processor time on 2 x Intel Xeon shared with other work, 2026-11-26, with
//! a limit and a rule for each of these before, and with one for all:
//!
//! | | before | now |
//! |---|---|---|
//! | 10 regions of 100 shards: charts of all scopes, a second | 263 ms | 109 ms |
//! | 10 regions of 10 shards | 32 ms | 34 ms |
//! | 1 region of 100 shards | 6 ms | 10 ms |
//! | 3 regions: a warm chart of a day or a month | 5.5 ms | 2.8 ms |
//!
//! What was decoded to check a push is not kept until it is merged: that would save the 4 ms of the third
//! row. Stretches are kept encoded too, in a cache of their own ([`super::stretches::Stretches`]).

use super::MOST_CACHE_BYTES;
use super::chart::RanksOf;
use super::stretches::Stretch;
use crate::wire::{ChartRequest, PostRequest};

pub type Cache = crate::cache::Cache<Key>;

impl Default for Cache {
    fn default() -> Self {
        Cache::new(MOST_CACHE_BYTES)
    }
}

/// What is kept under it has one type each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    Stretch(Stretch),
    /// How often one that is not kept was looked into.
    LookedInto(Stretch),
    /// Of a scope.
    Live(String),
    /// Of the entries of a region that are in no ladder yet.
    Pending(String),
    /// Of some shards, by the number of their group.
    Copies(u64),
    Chart(ChartRequest),
    Ranks(RanksOf),
    Page(PostRequest),
}
