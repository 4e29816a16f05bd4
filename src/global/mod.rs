//! The global object: it folds what shards push, keeps every scope's ladder and answers charts.
//!
//! # The way of a sealed pane
//! 1. [`Global::take_push`] checks the message whole, takes the entries at the offset that is
//!    next in the shard's log, and keeps them in memory: they are *pending*, and in every chart.
//!    Copies of what is not sealed replace the shard's last ones.
//! 2. [`Global::flush`] folds all pending panes of all shards into the ladders, one read, one
//!    merge and one write a pane of a ladder, and stores the offsets up to there in the same
//!    atomic batch.
//! 3. When that is durable, replies tell the shards so, and they forget what they kept.
//!
//! A crash loses what is pending; the stored offsets say so, and the shards send it again. So
//! nothing here waits for a disk, and rows written do not grow with the number of shards.
//!
//! # The rooms
//! | what | where |
//! |---|---|
//! | what the platform calls, and what happens when something fails | [`driver`] (`object.rs` on the platform) |
//! | the state, and changes of it that operators ask for | [`state`], [`transfer`] |
//! | what it hears of regions, of counting that begins anew, of where days begin | [`hearing`], [`days`] |
//! | taking pushes: offsets, what is pending or open | [`intake`], [`offsets`], [`live`], [`pace`] |
//! | folding into the ladders, within the room there is | [`folding`], [`ladder`], [`room`], [`moment`] |
//! | published charts: closing them, showing them | [`closed`] |
//! | charts, pages of posts, the list of regions | [`chart`], [`ranking`], [`contrast`], [`post`], [`pages`], [`region_list`] |
//! | which posts a chart is of | [`members`] |
//! | what they are made of | [`window_plays`], [`stretches`], [`merging`] |
//! | whose turn it is to read, and what that costs | [`turns`], [`work`] |
//! | memory | [`memory`], [`cache`], [`limits`] |
//! | what operators are told | [`figures`], [`metrics`] |
//!
//! # Invariants
//! - An entry is taken only at the offset that is next: below it was taken, above it is missing.
//! - Stored offsets and folded panes change together.
//! - Copies are in charts, never in a ladder, and no play is in a taken entry and in a copy at
//!   once: see [`live`].
//! - A period's chart is closed before anything is folded after its time: see [`closed`].
//! - A pane that is folded goes into every level that still covers its time, and into all time.
//!
//! # Cost
//! A flush writes (regions that sealed + 1) × 5 panes + 2 rows a region; with the shards of 10
//! regions sealing once a minute that is 75 rows, once a minute, and at most 8 times where
//! something is sealed all the time. Late plays of many spans are folded once a minute
//! (`tests/rows.rs`).
//! `npm run bench -- time` measures all of it: a push is half a millisecond, a chart of a day or a month
//! 6.4 ms; 35 and 90 ms where its panes were not merged before.
//!
//! In memory: what shards have open, encoded (40 MiB), pending entries (8 MiB), what is known of catalogs
//! (12 MiB, of all boards of the instance together), and with what is left of [`HELD_BYTES`] one [`cache`] of
//! all that is merged.
//! All boards of an instance share the budget ([`memory`]). `tests/memory.rs` counts it with the worst that
//! the limits allow.
//!
//! # At its limits
//! A push that contradicts itself, or is too large, is refused whole and changes nothing. A row
//! that cannot be read is left alone: what is new goes beside it, charts say `incomplete`.

mod cache;
mod chart;
mod closed;
mod contrast;
mod days;
mod driver;
mod figures;
mod folding;
mod hearing;
mod intake;
mod ladder;
mod limits;
mod live;
mod members;
mod memory;
mod merging;
mod metrics;
mod moment;
#[cfg(target_arch = "wasm32")]
mod object;
mod offsets;
mod pace;
mod pages;
mod post;
mod ranking;
mod region_list;
mod room;
mod state;
mod stretches;
mod transfer;
mod turns;
mod window_plays;
mod work;

pub use chart::ChartRules;
pub use closed::{ClosingRules, ClosingStep, Knowing, PANES_A_STEP};
pub use driver::{Driver, GlobalSettings, MAX_WAITING_READERS};
pub use folding::FoldPoint;
pub use limits::GlobalLimits;
pub use memory::Together;
pub use moment::CUT_WITHIN_MS;
pub use room::DATABASE_BYTES;
pub use state::Global;
pub use transfer::ImportNeeds;
pub use work::Done;

/// Memory of copies as they came, of all shards together. Those of 1,000 busy shards are 36 MB.
/// When there are more, the shard that has most loses its copies until its next push.
pub const MAX_COPY_BYTES: usize = 40 << 20;
/// How long entries may be pending before a push makes them folded. They are in charts all the
/// while; longer than the 5 s within which all shards push what they have sealed at the end of a
/// minute, so that a minute is folded once.
pub const FLUSH_AFTER_MS: u64 = 8_000;
/// Where late plays are spread over more spans than [`SPANS_A_FLUSH`] for each region, folding waits
/// so long: each span costs rows, and so its plays of a minute cost them once.
pub const FLUSH_AT_LAST_MS: u64 = 60_000;
/// Two live minutes, and two late ones.
pub const SPANS_A_FLUSH: usize = 4;
/// Pending bytes, and what they take decoded, at which a push makes them folded at once.
pub const MAX_PENDING_BYTES: usize = 8 << 20;
pub const MAX_PENDING_DECODED_BYTES: usize = 24 << 20;
/// Decoded bytes of days, and of all time, that are folded together: 27 days of 4,000 posts in a tenth of a
/// second, so that whoever imports years leaves others their turns in between. What a push has more
/// of, its shard sends again at once.
pub const LATE_BYTES: usize = 4 << 20;
/// Merged panes that a flush has in memory at once.
pub const FOLDED_AT_ONCE_BYTES: usize = 8 << 20;
/// Everything that is held between two messages: copies of what shards have open (40 MiB at
/// most), pending entries (8 MiB), offsets, what is known of catalogs, and caches with the rest. A message, and
/// what a chart or a flush has in hand, come on top: 4 MiB, and 26 MiB at most (a merged window of 6 MiB, the
/// other side's rows and what is compared of both, and a pane of 6 MiB that is read; or [`merging`] with 12 MiB
/// while its rows grow). `tests/memory.rs` holds the
/// sum to 96 MiB, with an allocator that counts.
pub const HELD_BYTES: usize = 62 << 20;
/// What caches may always take, and at most.
pub const LEAST_CACHE_BYTES: usize = 6 << 20;
pub const MOST_CACHE_BYTES: usize = 40 << 20;
/// A shard that was not heard from for so long is not waited for any more: it has lost its storage, or
/// is gone.
pub const GONE_AFTER_MS: u64 = 24 * 3_600_000;
/// After a start, shards that have something open have told so by then: two push intervals.
pub const HEARD_AFTER_MS: u64 = 10_000;
/// A flush comes so long after the push that makes it due was heard of, at most.
pub const PUSHED_AFTER_MS: u64 = 2_000;
/// A region one of whose shards was heard from so shortly before a start may have something open. Offsets,
/// and when a shard was heard from, are stored once a minute while it has plays.
pub const BUSY_WITHIN_MS: u64 = 180_000;
/// Pending bytes that are folded where memory is short in the instance.
pub const WORTH_FLUSHING_BYTES: usize = 1 << 20;
/// How long the merged copies of open panes serve charts before they are merged again.
pub const LIVE_MAX_AGE_MS: u64 = 1_000;
/// Logs remembered for one shard: a new one begins only where a shard lost its storage. At the limit
/// the one that began first is forgotten, and what comes of it, or began before it, is refused: it
/// may have been folded.
pub const MAX_LOGS_A_SHARD: usize = 16;
