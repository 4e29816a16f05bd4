//! A play: what it is, its limits, and how it is read from what senders post.
//!
//! [`body`] finds the plays in a request body whatever its form; [`rules`] decides about each of
//! them on its own, so that one bad play does not lose the good ones; [`boards`] reads on which boards
//! they count.

mod boards;
mod body;
mod rules;
mod value;

pub use boards::{BoardIds, MAX_BOARDS_A_PLAY};
pub use body::{
    Body, BodyError, Envelope, RawPlay, lines, other_unicode_form, read_body, without_marks,
    wrong_in_line,
};
pub use rules::{
    Clock, ClockError, NormaliseId, Play, Refused, Rules, check_post_id, looks_like_seconds,
    normalised_id, read_post_id,
};

/// The longest `post_id`, in bytes. With it a row of a summary stays under 300 bytes, so that the
/// largest pane (4,096 counters) is stored in at most two parts.
pub const MAX_POST_ID_BYTES: usize = 256;
/// The longest name a sender gives itself, in bytes.
pub const MAX_CLIENT_BYTES: usize = 64;
/// The longest `Idempotency-Key`, in bytes.
pub const MAX_IDEMPOTENCY_KEY_BYTES: usize = 256;
/// The largest batch number: up to here JavaScript's numbers are exact.
pub const MAX_SEQ: u64 = (1 << 53) - 1;
/// The largest id that may be a number: JavaScript rounds larger ones before they are sent.
pub const MAX_NUMBER_ID: u64 = (1 << 53) - 1;
/// The largest `count` of one play.
pub const MAX_COUNT: u64 = u32::MAX as u64;
/// Plays in one request of a browser, and of a trusted sender. A play on several boards counts as that
/// many plays, since each board journals and answers for its own.
pub const MAX_PLAYS: usize = 1_000;
pub const MAX_PLAYS_TRUSTED: usize = 10_000;
/// Bytes in one request of a browser, and of a trusted sender.
pub const MAX_BODY_BYTES: usize = 1 << 20;
pub const MAX_BODY_BYTES_TRUSTED: usize = 4 << 20;
/// How far ahead of now a corrected timestamp may be.
pub const MAX_AHEAD_MS: u64 = 60_000;
/// How far back a browser's play may be, and a trusted sender's.
pub const MAX_AGE_MS: u64 = 24 * 3_600_000;
pub const MAX_AGE_TRUSTED_MS: u64 = 400 * 24 * 3_600_000;
/// How long after its first attempt a batch may be sent again. Shards remember batches a little
/// longer (`region::REMEMBER_MS`), so that no batch accepted here is one that a shard has forgotten.
pub const REPEAT_HORIZON_MS: u64 = 15 * 60_000;
