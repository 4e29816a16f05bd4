//! A shard: the one writer of a part of a region's plays.
//!
//! [`Shard`] is its state and every change of it, [`Driver`] brings them into their order, and the
//! Durable Object (`object.rs`) is a table of routes.
//!
//! # The way of a batch
//! 1. [`Shard::admit`] drops a repeat, or queues the batch and hands out a ticket.
//! 2. [`Shard::commit`] writes what is queued to the journal: one row for many batches.
//! 3. The driver waits until the row is durable.
//! 4. [`Shard::committed`] records the plays in their panes, marks the batches as seen and says
//!    which tickets may be answered with 202.
//!
//! [`Shard::checkpoint`] writes, in one atomic batch, the open panes that changed, the panes that
//! were sealed (into the outbox) and the new fingerprints; then the journal up to there is free.
//! [`Shard::push`] sends what is in the outbox *and durable*, and a copy of the open panes.
//!
//! # Invariants
//! - Nothing is recorded, marked as seen or acknowledged before its journal row is durable.
//! - State in memory is always what [`Shard::load`] makes of the storage, plus what is queued.
//!   After any storage error the driver drops the shard and loads it anew.
//! - An offset is sent only when the checkpoint that made it is durable: it can never be given to
//!   another pane after a crash.
//! - What a push holds passes none of the limits that the global object checks: both keep
//!   [`PushLimits`](crate::wire::PushLimits).
//! - Offsets and journal numbers only grow within a `log_id`.
//! - Of a batch with a name it says one thing for ever: counted here, or claimed, and for which shard to
//!   count ([`Shard::admit`]).
//!
//! # Cost
//! Rows written: one a commit, none for a start; 4 a checkpoint (header twice, open panes, fingerprints) and one
//! more for each further megabyte of these or of the last time, which comes every [`CHECKPOINT_ROWS`] commits and before a push
//! that has something to seal; two for what that checkpoint seals, however many panes. At 100
//! beacons/s and a commit each 100 ms: 10 + 4 × 10/128 + 0.2 alarms + 0.1 ≈ 10.6 rows/s, 0.106 a
//! beacon.
//!
//! # At its limits
//! A full queue or a full outbox answers [`RecordReply::Busy`](crate::wire::RecordReply::Busy);
//! too many late panes, or too large ones, are sealed early. Nothing is dropped.

mod alarm;
mod arrivals;
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code))]
mod backlog;
mod charts;
mod driver;
mod journal;
mod limits;
#[cfg(target_arch = "wasm32")]
mod live;
#[cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only the object uses it")
)]
mod looks;
#[cfg(target_arch = "wasm32")]
mod object;
mod outbox;
mod panes;
#[cfg_attr(
    not(target_arch = "wasm32"),
    allow(dead_code, reason = "only the object uses it")
)]
mod places;
mod push;
mod push_timer;
mod seen;
mod shard;
#[cfg(target_arch = "wasm32")]
mod sockets;
mod votes;

use alarm::Alarm;
pub use driver::{Driver, Inner, KeptReply, Trouble};
#[cfg(feature = "simulation")]
pub use journal::journaled;
pub use limits::Limits;
use push_timer::{PushTimer, ToPush};
pub use shard::{Admission, LISTED_FOR_MS, LISTING_RENEWED_MS, Shard, SyncPoint};
pub use votes::{MAX_VOTES_OF_ADDRESS, TakenVotes, Votes, VotesOfInstance};

/// How long batches are remembered: the 15 minutes in which a batch may be sent again, and five
/// for messages under way and clocks that differ. At 1,000 batches/s and 16 bytes a batch: 19.2 MB.
pub const REMEMBER_MS: u64 = 20 * 60_000;
/// A batch whose first attempt is older than this is refused: less than what is remembered, more
/// than what Workers let through, by a margin for clocks that differ.
pub const TOO_OLD_MS: u64 = 17 * 60_000;
/// Requests and bytes that wait for a commit. 4,096 waiting at 1,000/s are 4 s: whoever comes
/// later is told to come back.
pub const MAX_WAITING_REQUESTS: usize = 4_096;
pub const MAX_WAITING_BYTES: usize = 16 << 20;
/// What one commit takes from the queue.
pub const MAX_COMMIT_REQUESTS: usize = 1_024;
pub const MAX_COMMIT_BYTES: usize = 4 << 20;
/// Rows of the journal's ring. A checkpoint comes every [`CHECKPOINT_ROWS`], a commit has at most
/// `MAX_COMMIT_BYTES` / 1 MiB + 5 rows: the ring is never full.
pub const JOURNAL_ROWS: u64 = 256;
pub const CHECKPOINT_ROWS: u64 = 128;
/// Journal bytes after which a checkpoint comes: bounds what a restart reads.
pub const CHECKPOINT_BYTES: u64 = 8 << 20;
/// A shard with fewer requests a second commits each at once. A busier one lets a group grow until
/// it has so many requests or bytes, or has waited so long: at 1,280/s and more the requests close it.
pub const GROUP_AFTER_A_SECOND: u32 = 20;
pub const GROUP_REQUESTS: usize = 128;
pub const GROUP_BYTES: usize = 128 << 10;
pub const GROUP_WAIT_MS: u64 = 100;
/// An alarm that is overdue by so long was lost: it is set again.
pub const ALARM_OVERDUE_MS: u64 = 10_000;
/// From the first play after a start to its push. Costs an alarm and a push more for each start.
pub const FIRST_PUSH_MS: u64 = 1_000;
/// How long a push may take, and how many one alarm sends when there is a backlog: 32 MiB every
/// 5 s, 1 GiB in three minutes.
pub const PUSH_TIMEOUT_MS: u64 = 30_000;
pub const PUSHES_AN_ALARM: usize = 8;
/// A live pane is sealed so long after its end; a late one so long after it was opened.
pub const SEAL_AFTER_END_MS: u64 = 30_000;
pub const SEAL_LATE_AFTER_MS: u64 = 60_000;
/// A quiet shard pushes so much later than its panes are to be sealed, as alarms come early, and as much
/// later again as its board's name says: up to [`PUSH_SPREAD_MS`], so that the boards of an instance do not
/// push all at once. The shards of one board do: what they push is folded together.
pub const QUIET_MARGIN_MS: u64 = 5_000;
pub const PUSH_SPREAD_MS: u64 = 2_000;
/// Late panes that are open at once; the one opened first is sealed early. The panes of 400 days
/// are 870: 135 minutes, 192 quarters, 157 of two hours, 385 days. So no order of plays makes a
/// shard seal a pane twice a minute for their number; small panes take a kilobyte each.
pub const MAX_LATE_PANES: usize = 1_024;
/// Memory of all open panes of a shard, and of those that wait for a checkpoint to go into the
/// outbox.
pub const MAX_OPEN_BYTES: usize = 12 << 20;
pub const MAX_SEALED_BYTES: usize = 4 << 20;
/// Bytes of panes that one row holds: the platform takes 2 MB, and rows are what is billed.
pub const ROW_BYTES: usize = 1_000_000;
/// The outbox while the global object is away.
pub const MAX_OUTBOX_BYTES: u64 = 1 << 30;
pub const MAX_OUTBOX_AGE_MS: u64 = 7 * 24 * 3_600_000;
