//! The catalog: what is known of posts besides their plays, and which of them are hidden. It is kept once
//! for all boards that share it; a board may have its own.
//!
//! # Two sides
//! - The *keeper* ([`Keeper`], [`Driver`]) has the entries, and numbers every change of them in a log
//!   ([`log`]). What is put is stored in slices of [`CatalogLimits::slice_posts`], each with a row of the
//!   log, atomically.
//! - A *follower* ([`Follower`]) is what a board knows: the hidden posts, and which there are, as sets of
//!   keys ([`set`]), and the entries of the posts that it shows. All of it is as the catalog was at one
//!   number; the follower is told what changed since, at most once in [`STALE_AFTER_MS`]. What boards in one
//!   instance know they know together ([`Catalogs`]).
//!
//! Filters are answered from [`postings`], for boards that ask for them.
//!
//! A change so reaches every chart within 10 s, 5 s of them here and 3 s in the caches of charts, and costs
//! a message for each board that somebody looks at, not for each chart.
//!
//! # Invariants
//! - Whatever a follower has is as the catalog was at its number: nothing is taken of an answer that
//!   belongs to no state that it knows.
//! - A number says which state it is only with its mark, which is random: a keeper that lost its latest
//!   changes, or was restored, gives the same numbers to others.
//! - Nothing is shown that is not known to be there to see: who has never heard from the catalog lists no
//!   post, and says that something is missing.
//!
//! # Cost
//! A question of a board that knows everything costs the keeper no look into its storage. A change costs
//! three rows, and a fourth once the log is full; 500 posts at once 502 or 503. A follower holds 16 bytes
//! for each hidden post, as much for each post where only known ones show, and the entries that it shows:
//! [`FOLLOWED_BYTES`] at most, in an instance.
//!
//! # At its limits
//! So many posts and bytes and no more ([`MAX_CATALOG_POSTS`], [`MAX_CATALOG_BYTES`]), and so many hidden ones
//! ([`MAX_HIDDEN_POSTS`], [`MAX_HIDDEN_BYTES`]): a slice that would pass them is refused whole. What is there can be
//! changed all the same, as long as it grows by nothing; and hidden. Who is more than
//! [`CatalogLimits::most_behind`] changes behind, or further than the log goes back, forgets what it knows,
//! and asks for what it shows.

mod driver;
mod follower;
mod keeper;
mod log;
pub(crate) mod postings;
mod set;

pub use driver::Driver;
pub use follower::{Catalogs, Follower};
pub use keeper::Keeper;
pub use set::{KeySet, PostKey, post_key};

/// The key of the catalog that boards share.
pub const SHARED: &str = "shared";
/// What may be in a catalog, keys included: 1,000,000 posts of 4 KiB.
pub const MAX_CATALOG_POSTS: u64 = 1_000_000;
pub const MAX_CATALOG_BYTES: u64 = 4_000_000_000;
/// Hidden posts, all of them in memory: 100,000 of up to 35 bytes.
pub const MAX_HIDDEN_POSTS: usize = 100_000;
/// Bytes that they hold: of ids of 256 bytes 27,000 fit.
pub const MAX_HIDDEN_BYTES: usize = 8 << 20;
/// Entries in one message.
pub const MAX_PUT_POSTS: usize = 10_000;
/// What is known is asked for again when it is so old: with the 3 s of all caches of charts a change is
/// everywhere within 10 s.
pub const STALE_AFTER_MS: u64 = 5_000;
/// What all boards of an instance know of all catalogs. Two sets of the largest size, and 15,000 entries of
/// 500 bytes; or 30,000 entries.
pub const FOLLOWED_BYTES: usize = 12 << 20;
/// Posts of the largest set that is sent: 2 MiB of keys.
pub const MAX_SET_POSTS: usize = 131_072;
/// Sets that are sent with one answer: of two of the largest size it has 4 MiB.
const MAX_SETS_AT_ONCE: usize = 2;

/// The limits of a keeper. Tests run with smaller ones, to be at them after a handful of posts.
#[derive(Clone, Copy, Debug)]
pub struct CatalogLimits {
    /// Posts that are stored together. With texts of 4 KiB they are 2 MB.
    pub slice_posts: usize,
    /// Ids of changes that the log keeps: 4 MB, or 26 MB of the longest ids.
    pub log_ids: u64,
    /// Who is more changes behind is told to forget everything: as many cards are a chart's.
    pub most_behind: usize,
    /// Posts of the largest set that is sent.
    pub set_posts: usize,
}

impl Default for CatalogLimits {
    fn default() -> Self {
        CatalogLimits {
            slice_posts: 500,
            log_ids: 100_000,
            most_behind: 1_000,
            set_posts: MAX_SET_POSTS,
        }
    }
}
