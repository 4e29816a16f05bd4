//! What the Worker, the shards, the global objects and the registry say to each other.
//!
//! Every message is a [`codec::Record`]: kind, version, checksum, postcard. Receivers check
//! everything; a message that cannot be decoded changes nothing. Which object is asked what, and what it
//! answers: [`questions`].

use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher13;

use crate::codec::{self, RecordError, record};
use crate::filter::Filter;
use crate::leaderboard::{Card, ChartForm, ClosedChart, Count, ListedChart, class_of_k};
use crate::topology::{Epoch, RegionTable, ShardId};
use crate::window::{Days, KnownDays, Period, PeriodKind};

mod catalog;
mod matching;
mod metrics;
mod questions;
mod registry;
mod telling;
mod votes;
mod watch;

pub use catalog::{
    CatalogNews, CatalogPosition, CatalogQuestion, CatalogSize, MAX_ASKED_ENTRIES, MAX_ASKED_IDS,
    MAX_ENTRIES_BYTES, MAX_KEPT_SETS, PostChange, PostSet,
};
pub use matching::{MatchRequest, Matches};
pub use metrics::{
    Committed, GlobalMetrics, InstanceMetrics, RegistryMetrics, ShardFigures, ShardMetrics, Sizes,
    Spent,
};
pub use questions::*;
pub use registry::{
    AdoptSeed, DeleteBoard, Deletion, DirectoryQuestion, Enlist, Learn, PutBoard, Wipe,
};
pub use telling::{ShardName, Telling, ToldSoFar};
pub use votes::Voter;
pub use watch::{Look, Watch};

pub use crate::leaderboard::Sort;

record! {
    RecordRequest<'_> v 1;
    RecordReply v 1;
    Batch<'_> v 1;
    SealedPane<'_> v 1;
    Push<'_> v 1;
    PushReplyOrRefusal v 1;
    ChartRequest v 1;
    PostQuestion v 1;
    PutPosts v 1;
    PutRegion v 1;
    CatalogEntry v 1;
    KeptChart<'_> v 1;
    LiveRequest v 1;
    Claim<'_> v 1;
    BeginEpoch<'_> v 1;
    ExportRequest v 1;
    ImportRequest v 1;
    ExportCursor v 1;
    NameCheck<'_> v 1;
    BlindRequest<'_> v 1;
    DeleteRegion v 1;
    Reset v 1;
    BeginExport v 1;
    CutRequest<'_> v 1;
    ShardReport<'_> v 1;
    Telling v 1;
    ListPosts v 1;
    Enlist v 1;
    DirectoryQuestion v 1;
    Learn v 1;
    AdoptSeed v 1;
    Wipe v 1;
    PutBoard v 1;
    DeleteBoard v 1;
    ListPublished v 1;
    CloseHistory v 1;
    Watch v 1;
    Look v 1;
    ListRegions v 1;
    Pull v 1;
}

/// One play of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchPlay<'a> {
    pub post_id: &'a str,
    pub timestamp_ms: u64,
    pub count: u32,
}

/// Plays that are counted together or not at all: what a shard journals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// Batches with the same key are the same batch; `None` for a batch that cannot be repeated.
    #[serde(borrow)]
    pub key: Option<&'a [u8]>,
    /// A hash of all plays as they were sent, also of those that are not in `plays`
    /// ([`crate::play::Body::plays_hash`]). Unused without a key.
    pub plays_hash: u32,
    /// When it was first sent, by the Worker's clock.
    pub sent_ms: u64,
    #[serde(borrow)]
    pub plays: Vec<BatchPlay<'a>>,
}

/// Asks the decider of a batch to leave it to another shard, if the decider has not counted it. A claim is
/// journaled and remembered like a batch, with the shard that it names; the first claim decides for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim<'a> {
    /// The batch's [`Batch::key`].
    #[serde(borrow)]
    pub key: &'a [u8],
    /// The batch's [`Batch::plays_hash`].
    pub plays_hash: u32,
    /// The batch's [`Batch::sent_ms`].
    pub sent_ms: u64,
    pub to: ShardId,
}

/// Asks each decider of a batch of several parts, before any part is counted, whether other plays had this
/// name. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameCheck<'a> {
    /// The batch's [`Batch::key`].
    #[serde(borrow)]
    pub key: &'a [u8],
    /// The batch's [`Batch::plays_hash`].
    pub plays_hash: u32,
}

/// Worker → shard: count this.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RecordRequest<'a> {
    /// The shard's name, which it learns from its first request: the key of its board, the key of its region,
    /// and its number.
    pub board: &'a str,
    pub region_id: &'a str,
    pub shard: u32,
    /// [`Epoch::began_ms`]: a shard of an earlier one begins anew.
    pub epoch_ms: u64,
    /// The installation's seed, for a shard that has none yet.
    pub seed: [u8; 16],
    /// Of shards of `main`, where their region is there.
    pub listed: Option<ShardListing>,
    /// An encoded [`Batch`] or [`Claim`], passed to the journal as it is, or a [`NameCheck`].
    #[serde(borrow)]
    pub batch: &'a [u8],
}

/// Most replies are [`RecordReply::Counted`] without rejected plays: they are sent as one of these numbers, for
/// a new batch and for a repeat.
pub const COUNTED: u16 = 202;
pub const REPEATED: u16 = 208;

/// What a Worker with a directory tells a shard of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardListing {
    /// How many shards of the region count.
    pub shards: u32,
    /// Whether browsers may send plays to the board.
    pub beacons: bool,
}

/// Worker → shard of `main`, from one without a directory that is fresh: a batch of a browser's that is at home
/// here, to be counted if this region is the sender's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlindRequest<'a> {
    /// The key of the region of the batch's home, and the shard that its home names.
    pub region_id: &'a str,
    pub shard: u32,
    /// The id of the region where the sender is, by `REGIONS`, if all of them are made.
    pub here: &'a str,
    /// An encoded [`Batch`].
    #[serde(borrow)]
    pub batch: &'a [u8],
}

/// Shard → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RecordReply {
    /// Counted, durably; `repeated` if it was counted before. Also the answer to a [`Claim`] that comes too late.
    Counted {
        repeated: bool,
        /// Places in the batch of plays over the sender's limit, ascending: all others are counted.
        too_many: Vec<u16>,
    },
    /// Not counted here, and never will be, durably: that shard is to count it, and no other.
    Moved { to: ShardId },
    /// First sent so long ago that the shard may have forgotten it.
    TooOld,
    /// Not counted. Try again later.
    Busy { retry_after_s: u32 },
    /// The request itself is wrong; repeating it does not help.
    Invalid,
    /// It may be counted or not: storage failed while its commit was under way.
    InDoubt,
    /// Not counted: other plays were counted or claimed under its key, or are about to be.
    KeyReused,
    /// To a [`NameCheck`]: no other plays had this key here.
    NameFree,
    /// Not counted: the board was deleted, with everything here.
    Gone,
    /// To a [`BlindRequest`]: not counted; whoever has a directory knows where it goes.
    Unlisted,
}

impl RecordReply {
    /// All plays of a batch are counted.
    pub fn counted(repeated: bool) -> Self {
        RecordReply::Counted {
            repeated,
            too_many: Vec::new(),
        }
    }

    /// The same, but for the plays at these places, which are not counted.
    #[must_use]
    pub fn without(mut self, places: &[u16]) -> Self {
        if let RecordReply::Counted { too_many, .. } = &mut self {
            too_many.extend(places);
        }
        self
    }
}

/// Worker → every shard: counting has begun anew; forget what was counted before. The operator's request is
/// answered when all shards know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginEpoch<'a> {
    /// Whom it is for.
    pub region_id: &'a str,
    pub shard: u32,
    pub epoch: Epoch,
}

/// Shards that one request tells something. The platform allows a request 50 subrequests on its free plan and
/// 1,000 on the paid one; ten are left for what goes before and after. 10,000 shards take 250 requests of a
/// few tenths of a second.
pub const SHARDS_A_REQUEST: usize = 40;

/// The header in which the Worker tells a shard which chart a socket is for: an encoded [`LiveRequest`], in
/// hexadecimal digits.
pub const LIVE_HEADER: &str = "X-Hitparade-Live";
/// The headers that tell the shard the address of the socket's reader, and how many sockets an address may
/// have there; absent where addresses are not limited.
pub const LIVE_ADDRESS_HEADER: &str = "X-Hitparade-Live-Address";
pub const LIVE_LIMIT_HEADER: &str = "X-Hitparade-Live-Limit";

/// What one push may be. The shard that fills a push and the global object that checks it keep
/// these same limits, so whatever a shard has to tell goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushLimits {
    /// Bytes of entries and copies together. A single entry may pass it.
    pub bytes: usize,
    /// Of them, bytes of copies.
    pub copy_bytes: usize,
    /// Entries and copies together.
    pub panes: usize,
}

impl Default for PushLimits {
    /// 4 MiB, half of them for copies. The largest pane has 1 MB ([`crate::capacity`]). Checking 10,000
    /// of the smallest panes takes the global object some 20 ms.
    fn default() -> Self {
        PushLimits {
            bytes: 4 << 20,
            copy_bytes: 2 << 20,
            panes: 10_000,
        }
    }
}

/// How often a busy shard with news pushes, unless the global object asks for less often: half of the 10 s from
/// 202 to chart.
pub const PUSH_INTERVAL_MS: u64 = 5_000;
/// The longest that is asked for.
pub const MAX_PUSH_INTERVAL_MS: u64 = 300_000;

/// A quiet shard with more plays than this in a minute pushes soon, and is told that it is busy: 4 plays a
/// second. Until then 15 minutes of it, each with as many posts of 30 bytes, are 108 KB to whoever pulls
/// them; of ids of 256 bytes 900 KB, less than half of what a push may have of copies.
pub const MOST_QUIET_PLAYS: u64 = 240;
/// The same of the bytes of all that it has open: 40 such shards answer who looks with 10 MB, and with 20 where
/// their ids are long, until they have pushed.
pub const MOST_QUIET_BYTES: usize = 256 << 10;

/// A quiet shard seals all panes of a quarter together. Of six regions with a play a minute each, sealed minute
/// by minute, a day would take 6 × 1,440 × (7 rows of the shard, 12 of the global object) = 160,000 rows;
/// the free plan has 100,000. By the quarter the levels above a minute, the offsets and the shard's rows are
/// written once for all of its minutes: 27,000. Days end where quarters do.
pub const QUIET_SEALING_MS: u64 = 15 * 60_000;

/// A pane that begins later than this from now is passed over by the global object. A shard refuses
/// plays that are half as far ahead, so their clocks may differ by the other half. Where a shard's was further
/// ahead and was set back, plays that it acknowledged wait in their open pane, and count when their time has
/// come; what it had sealed of them by then is lost, and counted as a gap. Nothing else waits for them.
pub const MAX_PANE_AHEAD_MS: u64 = crate::window::DAY_MS;

/// Plays of one span as they leave a shard, sealed or as a copy.
///
/// It holds only plays whose commit's number is in `first_seq..=last_seq`. So two panes of a shard can hold the
/// same play only where both their spans and their ranges of numbers overlap. That holds across all logs of
/// the shard: the numbers never begin anew, and a pane that was open when a log's header was lost keeps its
/// first number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedPane<'a> {
    /// [`crate::window::Level::code`].
    pub level: u8,
    pub start_ms: u64,
    pub end_ms: u64,
    /// The journal's number of the commit that opened the pane.
    pub first_seq: u64,
    /// The last commit that was applied when the pane was sealed or copied.
    pub last_seq: u64,
    /// An encoded [`crate::summary::Summary`].
    #[serde(borrow)]
    pub summary: &'a [u8],
}

/// Shard → global: all that it has, sealed or not.
///
/// Each play that the shard has applied is either in an entry below `next_offset`, sent or not, or in an open
/// pane: then it is in a copy, unless the copies did not fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Push<'a> {
    /// The key of the region.
    pub region_id: &'a str,
    pub shard: u32,
    /// [`Epoch::began_ms`]: what was counted before the one that the global object knows is not taken.
    pub epoch_ms: u64,
    /// The random name of this log; a shard that lost its storage starts another.
    pub log_id: u128,
    /// When this log began, by the shard's clock: later than each earlier log of the shard.
    pub log_began_ms: u64,
    /// The lowest offset that the shard can still send.
    pub oldest_offset: u64,
    /// The offset of the first entry.
    pub first_offset: u64,
    /// Encoded [`SealedPane`]s, one for each offset, in order. An empty entry is lost, because its row in the
    /// shard cannot be read. It is counted as a gap and passed over.
    #[serde(borrow)]
    pub entries: Vec<&'a [u8]>,
    /// The offset below which the shard's sealed panes are durable: they never change, and are in no copy.
    pub next_offset: u64,
    /// The last commit that the copies hold.
    pub journal_seq: u64,
    /// Encoded [`SealedPane`]s of what is applied and not below `next_offset`.
    #[serde(borrow)]
    pub copies: Vec<&'a [u8]>,
    /// There was no room for some of them.
    pub copies_left_out: bool,
    /// The last cut of the log.
    pub cut: Option<Cut>,
    /// What the shard knows, durably, of [`PushReply::watched_since_ms`]: where that is so still, it need not be asked.
    pub watched_since_ms: Option<u64>,
    /// [`PushReply::state`] of the last reply that the shard has; 0 where it has none.
    pub replied_by: u64,
}

/// A moment in a shard's log: plays that were counted by then lie below the offset, later ones do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// The moment, by the shard's clock. It names the export that asked for the cut.
    pub at_ms: u64,
    pub offset: u64,
}

/// Worker → every shard: cut your log at this moment, and push at once. Answered by [`Noted`] as soon as the
/// shard knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutRequest<'a> {
    /// Whom it is for.
    pub region_id: &'a str,
    pub shard: u32,
    pub epoch: Epoch,
    pub at_ms: u64,
}

/// Shard → global: a push, with the shard's figures for the operator, so that `/metrics` need not wake the
/// shard. The figures are 250 bytes, a push is some 10 KB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport<'a> {
    /// As in the push.
    pub region_id: &'a str,
    pub shard: u32,
    /// An encoded [`Push`].
    #[serde(borrow)]
    pub push: &'a [u8],
    /// Encoded [`ShardMetrics`].
    #[serde(borrow)]
    pub figures: &'a [u8],
}

/// Global → shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReply {
    /// The offset that the global object wants next.
    pub wanted_offset: u64,
    /// Below this everything is folded and durable; the shard may forget it.
    pub durable_offset: u64,
    /// [`Epoch::began_ms`]: a shard of an earlier one begins anew.
    pub epoch_ms: u64,
    /// The installation's seed, for the summaries that the shard opens next.
    pub seed: [u8; 16],
    /// How long the shard is to wait before it pushes again; a quiet one, where a push failed.
    pub push_interval_ms: u64,
    /// What it has is asked for when somebody looks ([`Pull`]): it is to push when something is to be sealed,
    /// and when it has something open for the first time after it had not. Said of what is durable here:
    /// all that it has sealed, and whether it has something open.
    pub is_quiet: bool,
    /// Since when somebody watches the board's charts over sockets, by the global object's clock; none where nobody
    /// does. Otherwise a quiet shard, too, is to push what is new soon.
    pub watched_since_ms: Option<u64>,
    /// A random number of the global object's state: another after each load. What a shard pushes that has it is later
    /// than all that states before have taken.
    pub state: u64,
    /// Where days begin, for late plays: 120 bytes where clocks change, 10 in UTC. `None` while that is not
    /// known to be durable.
    pub days: Option<KnownDays>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReplyOrRefusal(pub Result<PushReply, Refusal>);

/// Global → quiet shard: somebody looks; what have you that I have not folded?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pull {
    /// As in a [`PushReply`]. Only that says that nobody does any more: this may come late.
    pub watched_since_ms: Option<u64>,
}

/// Why a push or a question was refused. Nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    UnknownRegion,
    /// The board was deleted, or made again since.
    Gone,
    /// To a push: it is of an epoch that this global object has not heard of.
    LaterEpoch,
    /// The message contradicts itself or its limits.
    Invalid(String),
    /// A stored row that is needed cannot be read; the operator must look at it.
    Damaged(String),
    /// A limit is reached: too many regions, or too much to do.
    Busy {
        retry_after_s: u32,
    },
    Storage(String),
    /// Nobody played this post in this window and it is not in the catalog, or only what is in the catalog shows.
    NotFound,
    /// This post is not in the catalog and not among those that were counted in this window: it was
    /// played so often at most.
    NotCounted {
        view_count_max: u64,
    },
    RegionDeleted,
    /// To a [`Reset`]: this is another installation.
    WrongInstallation,
    /// To a page of an export that ended, or whose moment is kept no more.
    ExportIsOver,
    /// A filter matches more posts than [`crate::filter::MAX_MEMBERS`].
    FilterTooWide,
    /// There is no published chart of this period, and why.
    NotPublished {
        detail: String,
        /// When there will be.
        closes_ms: Option<u64>,
    },
    /// To a chart that only an object that is awake is to make: this one was asleep, and is a step further now.
    Waking,
}

/// Of a message that cannot be read.
impl From<RecordError> for Refusal {
    fn from(error: RecordError) -> Self {
        Refusal::Invalid(error.to_string())
    }
}

/// Which window is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum WindowRequest {
    /// The last so many milliseconds.
    Sliding {
        length_ms: u64,
    },
    /// The last complete span of that length.
    Tumbling {
        length_ms: u64,
    },
    /// From the first play on.
    All,
    Between {
        from_ms: u64,
        to_ms: u64,
    },
    /// Until now, or until `to_ms` if that is earlier: a calendar period, which may be under way.
    Since {
        from_ms: u64,
        to_ms: u64,
        /// Where the period before begins, which ends at `from_ms`; `None`: the chart is compared with a window
        /// of the same length.
        before_ms: Option<u64>,
    },
    /// No window, but a published chart: of this period, or the latest of the kind.
    Published {
        kind: PeriodKind,
        period: Option<Period>,
    },
}

/// Worker → shard or global: a leaderboard.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChartRequest {
    /// A region's id or `global`.
    pub scope: String,
    pub window: WindowRequest,
    pub sort: Sort,
    /// One of [`crate::leaderboard::K_CLASSES`].
    pub k_class: u32,
    pub filter: Filter,
}

/// Shard → Worker: a [`ChartReply`] of the global object, and its age.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptChart<'a> {
    pub age_ms: u64,
    /// The global object did not answer, so this is an old reply.
    pub stale: bool,
    #[serde(borrow)]
    pub reply: &'a [u8],
}

/// Different charts that the sockets of one address may read at a shard; a page shows one or two.
pub const MAX_RENDERINGS_OF_ADDRESS: usize = 16;

/// Worker → shard: send this chart, now and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRequest {
    pub window: WindowRequest,
    /// When the same query begins to mean another period: then the socket is closed, so that the reader asks
    /// again.
    pub ends_ms: Option<u64>,
    pub form: ChartForm,
    /// Who asks showed a token: the others' sockets are closed where the board is closed to the public.
    pub has_token: bool,
}

impl LiveRequest {
    /// The tag of the sockets for this chart, by which the platform finds them after the object's sleep: a name
    /// of the chart for the whole class of k, a colon, and the k that it is rendered for.
    pub fn tag(&self) -> String {
        let mut chart = self.clone();
        chart.form.k = class_of_k(self.form.k);
        let name = SipHasher13::new().hash(&codec::encode(&chart)).as_u128();
        format!("{name:032x}:{}", self.form.k)
    }

    /// The leaderboard that the chart is rendered from.
    pub fn chart_request(&self) -> ChartRequest {
        ChartRequest {
            scope: self.form.scope.clone(),
            window: self.window,
            sort: self.form.sort,
            k_class: class_of_k(self.form.k) as u32,
            filter: self.form.filter.clone(),
        }
    }
}

/// Worker → global: one post's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostQuestion {
    /// Whose turn it is: a hash of the reader's address that changes daily ([`crate::visitor::sender`]).
    pub asker: u64,
    pub page: PostRequest,
}

/// One post's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PostRequest {
    pub post_id: String,
    pub scope: String,
    pub window: WindowRequest,
    /// Whether a hidden post is shown.
    pub hidden_too: bool,
}

/// An entry of the catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatalogEntry {
    pub post_id: String,
    pub card: Card,
    /// When the post was published, in milliseconds since 1970.
    pub timestamp_ms: Option<u64>,
    pub hidden: bool,
}

impl CatalogEntry {
    /// Whether it says more of its post than whether it is hidden.
    pub fn describes(&self) -> bool {
        self.card != Card::default() || self.timestamp_ms.is_some()
    }

    /// The entry after a change of it.
    #[must_use]
    pub fn patched(mut self, patch: &PostPatch) -> Self {
        fn set<T: Clone>(field: &mut T, change: &Option<T>) {
            if let Some(value) = change {
                field.clone_from(value);
            }
        }
        self.post_id.clone_from(&patch.post_id);
        set(&mut self.card.author, &patch.author);
        set(&mut self.card.content, &patch.content);
        set(&mut self.card.url, &patch.url);
        set(&mut self.card.image, &patch.image);
        set(&mut self.card.tags, &patch.tags);
        set(&mut self.timestamp_ms, &patch.timestamp_ms);
        set(&mut self.hidden, &patch.hidden);
        self
    }
}

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostReport {
    /// The catalog's entry, or an empty one.
    pub entry: CatalogEntry,
    pub span: crate::window::Span,
    pub count: Count,
    pub rank: Option<u32>,
    /// By time.
    pub series: Vec<(crate::window::Span, Count)>,
    /// By region, most plays first.
    pub regions: Vec<(String, Count)>,
    pub incomplete: bool,
}

/// A change of an entry: `None` leaves a field, `Some(None)` clears it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostPatch {
    pub post_id: String,
    pub author: Option<Option<String>>,
    pub content: Option<Option<String>>,
    pub url: Option<Option<String>>,
    pub image: Option<Option<String>>,
    /// In order, each once; an empty list clears them.
    pub tags: Option<Vec<String>>,
    pub timestamp_ms: Option<Option<u64>>,
    pub hidden: Option<bool>,
}

impl PostPatch {
    /// Hides a post.
    pub fn hiding(post_id: String) -> Self {
        PostPatch {
            post_id,
            hidden: Some(true),
            ..PostPatch::default()
        }
    }

    /// Hides a post and clears all its fields.
    pub fn erasing(post_id: String) -> Self {
        PostPatch {
            post_id,
            hidden: Some(true),
            ..CatalogEntry::default().into()
        }
    }

    /// Whether it clears all fields.
    pub fn erases(&self) -> bool {
        let hidden = self.hidden;
        let erasing = PostPatch::erasing(self.post_id.clone());
        *self == PostPatch { hidden, ..erasing }
    }
}

/// What makes any entry this one.
impl From<CatalogEntry> for PostPatch {
    fn from(entry: CatalogEntry) -> Self {
        PostPatch {
            post_id: entry.post_id,
            author: Some(entry.card.author),
            content: Some(entry.card.content),
            url: Some(entry.card.url),
            image: Some(entry.card.image),
            tags: Some(entry.card.tags),
            timestamp_ms: Some(entry.timestamp_ms),
            hidden: Some(entry.hidden),
        }
    }
}

/// Worker → catalog: change these entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPosts {
    pub patches: Vec<PostPatch>,
    /// Leave existing entries as they are.
    pub only_new: bool,
}

/// The last of the entries that a request changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPost {
    /// As it is stored now.
    pub entry: CatalogEntry,
    /// Whether there was one before.
    pub was_known: bool,
}

/// Worker or global → catalog: list the entries after this id, or from the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPosts {
    pub after: Option<String>,
}

/// A page of the catalog, in the order of the ids' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostList {
    pub entries: Vec<CatalogEntry>,
    /// The id after which the next page begins; `None` on the last page.
    pub next_after: Option<String>,
    /// Entries that cannot be read and are left out.
    pub damaged_rows: u64,
}

/// The most charts of a list: weeks of more than a year, days of a quarter.
pub const MAX_LISTED_CHARTS: usize = 100;

/// Worker → global: which charts are published, latest first.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ListPublished {
    /// Whose turn it is: see [`PostQuestion::asker`].
    pub asker: u64,
    /// A region's id or `global`.
    pub scope: String,
    pub kind: PeriodKind,
    /// Only charts before this one.
    pub before: Option<Period>,
    /// Only charts with this post, and of each only this post's place.
    pub post_id: Option<String>,
    /// At most so many charts, up to [`MAX_LISTED_CHARTS`], with at most so many places each.
    pub limit: u32,
    pub places: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedList {
    pub charts: Vec<ListedChart>,
    /// `before` of the next page; `None` on the last page.
    pub next_before: Option<Period>,
}

/// Worker → global: publish charts of the time before the board began publishing, and of imported plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseHistory;

/// How far that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryClosed {
    /// Charts that this request closed.
    pub charts: u64,
    /// Periods that are left, for the next request.
    pub periods_left: u64,
    /// Those of them that wait for plays that were accepted and are not folded yet.
    pub periods_waiting: u64,
}

/// Worker or global → registry: make or change a region. Fields left out stay as they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRegion {
    pub region_id: String,
    pub region_name: Option<String>,
    pub shards: Option<u32>,
    /// `Some(None)`: the platform decides.
    pub hint: Option<Option<String>>,
}

/// Worker → registry: delete a region, or say when it was deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRegion {
    pub region_id: String,
}

/// Worker → registry: begin counting anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// [`RegionTable::installation_id`]; the id from before the last reset marks a repeat.
    pub installation_id: [u8; 16],
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetDone {
    pub table: RegionTable,
    pub repeated: bool,
    /// Boards of which something is left that was deleted, with this reset or before.
    pub boards_left: u64,
}

/// Worker → global: list the regions with their plays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRegions;

/// One region with what the global object has seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionStatus {
    pub region_id: String,
    pub region_name: String,
    pub shards: u32,
    pub hint: Option<String>,
    pub views_24h: u64,
    /// How long ago the quietest of its shards that still has panes open pushed last.
    pub push_age_ms: Option<u64>,
}

/// A row that leaves one installation and may arrive in another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransferRow {
    Region(PutRegion),
    Post(CatalogEntry),
    /// Where days begin: before all panes.
    Days(Days),
    Pane(TransferPane),
    Chart(TransferChart),
}

/// A published chart of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferChart {
    /// A region's id or `global`.
    pub scope: String,
    pub chart: ClosedChart,
}

/// One stored pane of a scope.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransferPane {
    /// A region's id or `global`.
    pub scope: String,
    /// [`crate::window::Level::code`].
    pub level: u8,
    pub start_ms: u64,
    pub end_ms: u64,
    /// An encoded [`crate::summary::Summary`].
    pub summary: Vec<u8>,
}

/// Where an export goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPosition {
    pub table: u8,
    pub key: Vec<u8>,
}

/// Worker → global: begin an export. It ends one that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginExport;

/// The moment of an export, which is still to come, and the shards to tell of it: at most
/// [`SHARDS_A_REQUEST`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToCut {
    /// The moment, by the clock of the global object.
    pub at_ms: u64,
    pub epoch: Epoch,
    /// The shards that are to cut their logs then: region key, number, and location hint.
    pub shards: Vec<(String, u32, Option<String>)>,
}

/// Worker → global: the next page of the export of this moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// [`ToCut::at_ms`].
    pub at_ms: u64,
    pub position: ExportPosition,
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// The installation's seed, without which its summaries cannot be read.
    pub seed: [u8; 16],
    pub rows: Vec<TransferRow>,
    /// Rows of this page that cannot be read and are left out.
    pub damaged_rows: u64,
    /// `None` after the last page.
    pub next: Option<ExportPosition>,
    /// Whether every shard has pushed all that it had counted by the export's moment.
    pub complete: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportAnswer {
    /// The moment is still to come, or some shards have not pushed yet what they had by then.
    Wait {
        ms: u64,
    },
    /// These shards are to be told of the moment first.
    Tell(ToCut),
    Page(ExportPage),
}

/// What an export remembers from page to page. Readers send it back as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportCursor {
    /// The key of the board.
    pub board: String,
    /// [`ToCut::at_ms`].
    pub at_ms: u64,
    pub position: ExportPosition,
    /// Lines before this page.
    pub rows: u64,
    pub damaged_rows: u64,
}

/// One numbered row of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ImportRow {
    /// A line that stores nothing; it has a number like the others.
    Nothing,
    Row(TransferRow),
}

/// Worker → global: store these rows, unless they were stored before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    /// The seed of the installation that they come from, which identifies it.
    pub source: [u8; 16],
    pub export_id: [u8; 16],
    /// The number of the first row.
    pub first_row: u64,
    pub rows: Vec<ImportRow>,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The next row to send: all before it are stored.
    pub next_row: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_the_chart_for_a_class_of_k_and_the_k_it_is_rendered_for() {
        let request = LiveRequest {
            window: WindowRequest::Since {
                from_ms: 1_795_694_400_000,
                to_ms: 1_795_694_400_000,
                before_ms: Some(1_795_694_400_000),
            },
            ends_ms: Some(1_795_694_400_000),
            form: ChartForm {
                board: "b".repeat(64),
                scope: "\u{e9}".repeat(32),
                timeframe: Some("last-month".into()),
                time_zone: Some("America/Argentina/ComodRivadavia".into()),
                sort: Sort::Rising,
                k: 1_000,
                filter: Filter::default(),
            },
            has_token: true,
        };
        assert!(request.tag().len() <= 256, "as long as the platform takes");
        assert!(request.tag().ends_with(":1000"));
        let chart = |k| {
            let form = ChartForm {
                k,
                ..request.form.clone()
            };
            let tag = LiveRequest {
                form,
                ..request.clone()
            }
            .tag();
            tag.split_once(':').unwrap().0.to_owned()
        };
        assert_eq!(chart(101), chart(1_000), "one chart for a class of k");
        assert_ne!(chart(100), chart(101));
    }
}
