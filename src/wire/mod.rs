//! What the Worker, the shards, the global objects and the registry say to each other.
//!
//! Every message is a [`Record`] of [`crate::codec`]: kind, version, checksum, postcard. Receivers
//! check what they are told; a message that does not decode changes nothing.

use serde::{Deserialize, Serialize};
use siphasher::sip128::SipHasher13;

use crate::codec::{self, Record, RecordKind};
use crate::filter::Filter;
use crate::leaderboard::{Card, ChartForm, ClosedChart, Count, Leaderboard, Listed, class_of_k};
use crate::topology::{DeletedRegion, Epoch, Region, RegionTable, ShardId};
use crate::window::{Days, KnownDays, Period, PeriodKind};

mod catalog;
mod matching;
mod metrics;
mod registry;
mod telling;
mod votes;
mod watch;

pub use catalog::{
    CatalogAnswer, CatalogNews, CatalogPosition, CatalogQuestion, CatalogSize, MAX_ASKED_ENTRIES,
    MAX_ASKED_IDS, MAX_ENTRIES_BYTES, MAX_KEPT_SETS, PostChange, PostSet,
};
pub use matching::{MatchRequest, Matches};
pub use metrics::{
    Committed, GlobalMetrics, InstanceMetrics, RegistryMetrics, ShardFigures, ShardMetrics, Sizes,
    Spent,
};
pub use registry::{
    AdoptSeed, AdoptSeedReply, Close, DeleteBoard, DeleteBoardReply, Deletion, DirectoryQuestion,
    DirectoryReply, Enlist, EnlistReply, Learn, PutBoard, PutBoardReply,
};
pub use telling::{ShardName, Telling, TellingReply, ToldSoFar};
pub use votes::Voter;
pub use watch::{Look, Watch, WatchReply};

pub use crate::leaderboard::Sort;

/// Gives message types their kind and version.
macro_rules! records {
    ($($name:ident $(<$life:lifetime>)? v $version:literal;)*) => {
        $(impl $(<$life>)? Record for $name $(<$life>)? {
            const KIND: RecordKind = RecordKind::$name;
            const VERSION: u8 = $version;
        })*
    };
}

records! {
    RecordRequest<'a> v 1;
    RecordReply v 1;
    Batch<'a> v 1;
    SealedPane<'a> v 1;
    Push<'a> v 1;
    PushReplyOrRefusal v 1;
    ChartRequest v 1;
    ChartReply v 1;
    PostQuestion v 1;
    PostReply v 1;
    PutPosts v 1;
    PutRegion v 1;
    RegionsReply v 1;
    CatalogEntry v 1;
    PutPostsReply v 1;
    PutRegionReply v 1;
    KeptChart<'a> v 1;
    LiveRequest v 1;
    Claim<'a> v 1;
    BeginEpoch<'a> v 1;
    Noted v 1;
    ExportRequest v 1;
    ExportReply v 1;
    ImportRequest v 1;
    ImportReply v 1;
    ExportCursor v 1;
    NameCheck<'a> v 1;
    BlindRequest<'a> v 1;
    DeleteRegion v 1;
    DeleteRegionReply v 1;
    Reset v 1;
    ResetReply v 1;
    BeginExport v 1;
    BeginExportReply v 1;
    CutRequest<'a> v 1;
    ShardReport<'a> v 1;
    Telling v 1;
    TellingReply v 1;
    ListPosts v 1;
    ListPostsReply v 1;
    Enlist v 1;
    EnlistReply v 1;
    DirectoryQuestion v 1;
    DirectoryReply v 1;
    Learn v 1;
    AdoptSeed v 1;
    AdoptSeedReply v 1;
    Close v 1;
    PutBoard v 1;
    PutBoardReply v 1;
    DeleteBoard v 1;
    DeleteBoardReply v 1;
    ListPublished v 1;
    ListPublishedReply v 1;
    CloseHistory v 1;
    CloseHistoryReply v 1;
    Watch v 1;
    WatchReply v 1;
    Look v 1;
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
    /// What makes two batches the same one; none for a batch that cannot be repeated.
    #[serde(borrow)]
    pub key: Option<&'a [u8]>,
    /// A hash of the plays as they were sent, whichever of them are in `plays`
    /// ([`crate::play::Body::plays_hash`]). Says nothing where there is no key.
    pub plays_hash: u32,
    /// Its first attempt, by the Worker's clock.
    pub sent_ms: u64,
    #[serde(borrow)]
    pub plays: Vec<BatchPlay<'a>>,
}

/// Said to the decider of a batch that is to be counted elsewhere: if you have not counted it, you
/// never will. Journaled and remembered like a batch, with the shard that it is to go to: where the
/// first claim says, for good.
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

/// Asked of every decider of a batch of several parts before any of them decides: have other plays had
/// this name? Changes nothing.
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
    /// Who the shard is; it learns its own name from its first request: the key of its board, the key of
    /// its region, and its number.
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

/// A number instead of a message says [`RecordReply::Counted`] of all plays, for the first time and of
/// a repeat.
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
    /// Durable and counted; `repeated` if it was so before. Also to a [`Claim`] that comes too late.
    Counted {
        repeated: bool,
        /// Places in the batch of plays that its sender may not add, ascending: all others count.
        too_many: Vec<u16>,
    },
    /// It was not counted here and never will be, durably: it is for that shard to count, and no other.
    Moved { to: ShardId },
    /// Sent first so long ago that the shard may have forgotten it.
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
    /// Not counted: its board was deleted, and so is everything here.
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

    /// Of what is counted, these places are not.
    #[must_use]
    pub fn without(mut self, places: &[u16]) -> Self {
        if let RecordReply::Counted { too_many, .. } = &mut self {
            too_many.extend(places);
        }
        self
    }
}

/// Worker → every shard: counting has begun anew; forget what was counted before. The operator is told
/// so when all know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginEpoch<'a> {
    /// Whom it is for.
    pub region_id: &'a str,
    pub shard: u32,
    pub epoch: Epoch,
}

/// Shard → Worker: it knows, durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noted(pub Result<(), Refusal>);

/// Shards that one request tells something. The platform lets a request ask 50 others on its free plan,
/// 1,000 on the paid one: so many, and ten for what goes before and after. 10,000 shards take 250 requests
/// of a few tenths of a second.
pub const SHARDS_A_REQUEST: usize = 40;

/// The header in which the Worker tells a shard which chart a socket is for: an encoded [`LiveRequest`], in
/// hexadecimal digits.
pub const LIVE_HEADER: &str = "X-Hitparade-Live";
/// The headers that tell it whose socket it is, and how many its address may have there; none where
/// addresses are not limited.
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

/// How often a shard with something to tell tells it, unless it is told to do so less often: half
/// of the 10 s from 202 to chart.
pub const PUSH_INTERVAL_MS: u64 = 5_000;

/// A pane that begins later than this from now is refused by the global object. A shard refuses
/// plays that are half as far ahead, so their clocks may differ by the other half.
pub const MAX_PANE_AHEAD_MS: u64 = crate::window::DAY_MS;

/// Plays of one span as they leave a shard, sealed or as a copy.
///
/// A play of this span whose commit's number is outside `first_seq..=last_seq` is not in it. So
/// two panes of a shard can hold the same play only where both their spans and their ranges of
/// numbers overlap. That holds over all its logs: numbers never begin anew, and what was open when a
/// header was lost keeps its first one.
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
/// Each play that the shard has applied is either in an entry below `next_offset`, sent or not, or
/// waits to be sealed: then it is in a copy, unless the copies did not fit.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Push<'a> {
    /// The key of the region.
    pub region_id: &'a str,
    pub shard: u32,
    /// [`Epoch::began_ms`]: what was counted before the one that the global object knows is not taken.
    pub epoch_ms: u64,
    /// Names this log: a shard that lost its storage starts another.
    pub log_id: u128,
    /// When this log began, by the shard's clock: a later one of the shard began later.
    pub log_began_ms: u64,
    /// The lowest offset that the shard can still send.
    pub oldest_offset: u64,
    /// The offset of the first entry.
    pub first_offset: u64,
    /// Encoded [`SealedPane`]s, one an offset, in their order. An empty one is lost: its row in the
    /// shard cannot be read. It is counted as a gap and passed over.
    #[serde(borrow)]
    pub entries: Vec<&'a [u8]>,
    /// The offset up to which the shard's sealed panes are durable: what lies below is the same
    /// for ever, and in no copy.
    pub next_offset: u64,
    /// The last commit that the copies hold.
    pub journal_seq: u64,
    /// Encoded [`SealedPane`]s of what is applied and not below `next_offset`.
    #[serde(borrow)]
    pub copies: Vec<&'a [u8]>,
    /// There was no room for some of them.
    pub copies_left_out: bool,
    /// Where the log was cut last.
    pub cut: Option<Cut>,
}

/// A moment in a shard's log: what was counted by then lies below the offset, all that was counted
/// later does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    /// By the shard's clock. It names the export that asked for it.
    pub at_ms: u64,
    pub offset: u64,
}

/// Worker → every shard: cut your log at this moment, and push at once. Answered by [`Noted`] as soon
/// as it is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutRequest<'a> {
    /// Whom it is for.
    pub region_id: &'a str,
    pub shard: u32,
    pub epoch: Epoch,
    pub at_ms: u64,
}

/// Shard → global: a push, and beside it the shard's figures for the operator, which nobody then has
/// to wake it for. 250 bytes, to a push of some 10 KB.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardReport<'a> {
    /// Whose they are, as in the push.
    pub region_id: &'a str,
    pub shard: u32,
    /// An encoded [`Push`].
    #[serde(borrow)]
    pub push: &'a [u8],
    /// An encoded `ShardMetrics` of the region: whoever shows them reads them.
    #[serde(borrow)]
    pub figures: &'a [u8],
}

/// Global → shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReply {
    /// The offset that it wants next.
    pub wanted_offset: u64,
    /// Below this everything is folded and durable; the shard may forget it.
    pub durable_offset: u64,
    /// [`Epoch::began_ms`]: a shard of an earlier one begins anew.
    pub epoch_ms: u64,
    /// The installation's seed, for the summaries that the shard opens next.
    pub seed: [u8; 16],
    /// How long the shard is to wait before it pushes again.
    pub push_interval_ms: u64,
    /// Where days begin, for plays that come late: 120 bytes where clocks change, 10 in UTC. None where
    /// that is not known to be durable yet.
    pub days: Option<KnownDays>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PushReplyOrRefusal(pub Result<PushReply, Refusal>);

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
    /// Nobody played this post in this window, and it is not in the catalog.
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
    /// Until now, `to_ms` at the latest: a period of the calendar, which may be under way.
    Since {
        from_ms: u64,
        to_ms: u64,
        /// Where the period before begins, which ends at `from_ms`; None where it is compared with a
        /// window of the same length.
        before_ms: Option<u64>,
    },
    /// No window, but the chart that was closed: of this period, or the latest of the kind.
    Published {
        kind: PeriodKind,
        period: Option<Period>,
    },
}

/// Worker → global: a leaderboard, please.
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChartReply(pub Result<Leaderboard, Refusal>);

/// Shard → Worker: a [`ChartReply`] of the global object, and how long ago it gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptChart<'a> {
    pub age_ms: u64,
    /// The global object did not answer: this is the last that it said.
    pub stale: bool,
    #[serde(borrow)]
    pub reply: &'a [u8],
}

/// Cuts of charts that the sockets of one address may read at a shard: a page shows one or two.
pub const MAX_CUTS_OF_ADDRESS: usize = 16;

/// Worker → shard: send this chart, now and whenever it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveRequest {
    pub window: WindowRequest,
    /// From then on who asks the same asks for another period: this one's sockets are closed, to ask anew.
    pub ends_ms: Option<u64>,
    pub form: ChartForm,
    /// Who asks showed a token: the others' sockets are closed where the board is closed to the public.
    pub has_token: bool,
}

impl LiveRequest {
    /// The tag of the sockets that ask for this, by which the platform finds them after the object's sleep:
    /// a name of the chart for the whole class of k, and behind a colon the k that it is cut for.
    pub fn tag(&self) -> String {
        let mut chart = self.clone();
        chart.form.k = class_of_k(self.form.k);
        let name = SipHasher13::new().hash(&codec::encode(&chart)).as_u128();
        format!("{name:032x}:{}", self.form.k)
    }

    /// The leaderboard that the chart is cut from.
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

/// Worker → global: one post's numbers, for an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostQuestion {
    /// Whose turn it is: a hash of today, as [`crate::visitor::sender`] makes it.
    pub asker: u64,
    pub page: PostRequest,
}

/// One post's numbers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PostRequest {
    pub post_id: String,
    pub scope: String,
    pub window: WindowRequest,
    /// Also where the post is hidden.
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
    /// Whether it says anything of its post, besides whether it is hidden.
    pub fn describes(&self) -> bool {
        self.card != Card::default() || self.timestamp_ms.is_some()
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostReply(pub Result<PostReport, Refusal>);

/// A change of an entry: fields that are `None` stay, `Some(None)` are cleared.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostPatch {
    pub post_id: String,
    pub author: Option<Option<String>>,
    pub content: Option<Option<String>>,
    pub url: Option<Option<String>>,
    pub image: Option<Option<String>>,
    /// In order, each once; none at all clears them.
    pub tags: Option<Vec<String>>,
    pub timestamp_ms: Option<Option<u64>>,
    /// `None` leaves it hidden, or not.
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

    /// Hides a post and removes all that is known of it.
    pub fn erasing(post_id: String) -> Self {
        PostPatch {
            author: Some(None),
            content: Some(None),
            url: Some(None),
            image: Some(None),
            tags: Some(Vec::new()),
            timestamp_ms: Some(None),
            ..PostPatch::hiding(post_id)
        }
    }

    /// Whether nothing that was known stays.
    pub fn erases(&self) -> bool {
        let texts = [&self.author, &self.content, &self.url, &self.image];
        texts.into_iter().all(|text| *text == Some(None))
            && self.tags.as_ref().is_some_and(Vec::is_empty)
            && self.timestamp_ms == Some(None)
    }
}

/// Worker → catalog: change these entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPosts {
    pub patches: Vec<PostPatch>,
    /// Those that are there already stay as they are.
    pub only_new: bool,
}

/// Catalog → Worker: the last of the entries as it is stored now, or why none is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutPostsReply(pub Result<Option<CatalogEntry>, Refusal>);

/// Worker → catalog: its entries behind this id, from the first one where there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPosts {
    pub after: Option<String>,
}

/// A page of the catalog, in the order of the ids' bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostList {
    pub entries: Vec<CatalogEntry>,
    /// The id behind which the next page begins; none where this one is the last.
    pub next_after: Option<String>,
    /// Entries that cannot be read, and are left out.
    pub damaged_rows: u64,
}

/// Catalog → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListPostsReply(pub Result<PostList, Refusal>);

/// Charts of a list: a year and more of weeks, a quarter of days.
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
    /// Only charts with this post, and its own place of each.
    pub post_id: Option<String>,
    /// So many charts, [`MAX_LISTED_CHARTS`] at most, with so many places each.
    pub limit: u32,
    pub places: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PublishedList {
    pub charts: Vec<Listed>,
    /// What to ask for next; none where these are all.
    pub next_before: Option<Period>,
}

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListPublishedReply(pub Result<PublishedList, Refusal>);

/// Worker → global: close charts of all that was played before the board began, or came with an import.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseHistory;

/// How far that has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryClosed {
    /// Charts that this request closed.
    pub charts: u64,
    /// Periods that are left: ask again.
    pub periods_left: u64,
}

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseHistoryReply(pub Result<HistoryClosed, Refusal>);

/// Registry → Worker or global: the region as it is stored now, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutRegionReply(pub Result<Region, Refusal>);

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

/// Registry → Worker: what is remembered of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteRegionReply(pub Result<DeletedRegion, Refusal>);

/// Worker → registry: begin counting anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// [`RegionTable::installation_id`]; that of before says that this is a repeat.
    pub installation_id: [u8; 16],
}

/// Registry → Worker: what is so now, and whether it was before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetReply(pub Result<ResetDone, Refusal>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResetDone {
    pub table: RegionTable,
    pub repeated: bool,
    /// Boards of which something is left that was deleted, with this reset or before.
    pub boards_left: u64,
}

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegionsReply(pub Result<Vec<RegionStatus>, Refusal>);

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

/// Worker → global: there is to be an export. One that was under way is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginExport;

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeginExportReply(pub Result<ToCut, Refusal>);

/// Shards that are to hear of the moment of an export, which is still to come: [`SHARDS_A_REQUEST`] at
/// most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToCut {
    /// The moment, by the clock of the global object.
    pub at_ms: u64,
    pub epoch: Epoch,
    /// Who is to cut its log then: the key of a region, the number, and a hint where it lives.
    pub shards: Vec<(String, u32, Option<String>)>,
}

/// Worker → global: everything that was kept at a moment, from here on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// [`ToCut::at_ms`].
    pub at_ms: u64,
    pub position: ExportPosition,
}

/// A page of an export.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportPage {
    /// The installation's seed, which its summaries need to be read.
    pub seed: [u8; 16],
    pub rows: Vec<TransferRow>,
    /// Rows of this page that cannot be read and are left out.
    pub damaged_rows: u64,
    /// `None` after the last page.
    pub next: Option<ExportPosition>,
    /// Every shard has told what it had counted by then.
    pub complete: bool,
}

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportReply(pub Result<ExportAnswer, Refusal>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExportAnswer {
    /// Its moment is to come, or some shards have not told yet what they had by then.
    Wait {
        ms: u64,
    },
    /// As long as shards are to hear of it: these are handed out, and to be told.
    Tell(ToCut),
    Page(ExportPage),
}

/// What an export remembers from page to page; readers hand it back as it is.
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
    /// Has a number, and nothing to be stored.
    Nothing,
    Row(TransferRow),
}

/// Worker → global: take these rows, unless they were taken before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRequest {
    /// The seed of the installation that they come from: what it is known by.
    pub source: [u8; 16],
    pub export_id: [u8; 16],
    /// The number of the first row.
    pub first_row: u64,
    pub rows: Vec<ImportRow>,
}

/// How far an import has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// The row that is wanted next: all below are stored.
    pub next_row: u64,
}

/// Global → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReply(pub Result<Imported, Refusal>);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_the_chart_for_a_class_of_k_and_the_k_it_is_cut_for() {
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
