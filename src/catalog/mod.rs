//! The catalog: what is known of posts besides their plays, and which of them are hidden. It is kept once
//! for all boards that share it; a board may have its own.
//!
//! The *keeper* ([`Keeper`], [`Driver`]) stores the entries, and numbers every change in a log ([`log`]). A
//! *follower* ([`Follower`]) is a board's copy of what it needs of them, with [`set`]s of hidden and of known
//! posts; boards in one instance share what they know ([`Catalogs`]). Filters are answered from [`postings`], an
//! index that is built when a board first asks for a filter. `docs/inside/how-it-works.md` ("The catalog on all
//! boards") has what the two say to each other, and when.
//!
//! # Invariants
//! - A follower's copy is the catalog's state at the follower's number: an answer that does not continue
//!   that state is dropped.
//! - A number identifies a state only together with its mark, which is random: a keeper that lost its latest
//!   changes, or was restored from a backup, gives the same numbers to other changes.
//! - A post is shown only if it is known that it may be: a board that has never reached its catalog lists no
//!   post, and its charts say `incomplete`.
//!
//! # Cost
//! A follower that is up to date asks without costing a read of storage. A change of one post writes three
//! rows, and a fourth once the log is full; 500 posts at once write 502 or 503. A follower holds 16 bytes for
//! each hidden post, 16 for each post where only known posts show, and the entries that it shows: all
//! followers of an instance together at most [`FOLLOWED_BYTES`].
//!
//! # At its limits
//! A slice that would pass the limits on posts and bytes ([`MAX_CATALOG_POSTS`], [`MAX_CATALOG_BYTES`]), or on
//! hidden posts ([`MAX_HIDDEN_POSTS`], [`MAX_HIDDEN_BYTES`]), is refused whole. At the limit, entries can still
//! be changed, as long as they do not grow, and posts can be hidden. A follower that is more than
//! [`CatalogLimits::most_behind`] changes behind, or further back than the log goes, forgets its copy and
//! asks for what it needs.

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

/// The size of a catalog, keys included: 1,000,000 posts of 4 KiB.
pub const MAX_CATALOG_POSTS: u64 = 1_000_000;
pub const MAX_CATALOG_BYTES: u64 = 4_000_000_000;
/// Hidden posts, all of them in memory: 100,000 of up to 35 bytes.
pub const MAX_HIDDEN_POSTS: usize = 100_000;
/// Memory of hidden posts: enough for 27,000 ids of 256 bytes.
pub const MAX_HIDDEN_BYTES: usize = 8 << 20;
/// Entries in one message.
pub const MAX_PUT_POSTS: usize = 10_000;
/// A follower asks for changes when its copy is so old. With the 3 s of the caches of charts, a change is
/// everywhere within 10 s.
pub const STALE_AFTER_MS: u64 = 5_000;
/// Memory of all followers of an instance: two sets of the largest size and 15,000 entries of 500 bytes, or
/// 30,000 entries.
pub const FOLLOWED_BYTES: usize = 12 << 20;
/// The largest set that is sent: 2 MiB of keys.
pub const MAX_SET_POSTS: usize = 131_072;
/// Sets in one answer: 4 MiB, where both have the largest size.
const MAX_SETS_AT_ONCE: usize = 2;

/// The limits of a keeper. Tests run with smaller ones, to be at them after a handful of posts.
#[derive(Clone, Copy, Debug)]
pub struct CatalogLimits {
    /// Posts that are stored together: 2 MB with texts of 4 KiB.
    pub slice_posts: usize,
    /// Ids of changes that the log keeps: 4 MB, or 26 MB of the longest ids.
    pub log_ids: u64,
    /// A follower that is more changes behind is told to forget everything: a chart shows as many entries.
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
