//! The way of a batch from the Worker to the shard that counts it, once, even where Workers disagree about
//! regions and shards.
//!
//! `docs/inside/how-it-works.md` ("A batch has a home") has the protocol: what a *part* of a batch is, which
//! shard is its *decider*, and how that gives it up to the *target*, the shard that should count it by this
//! Worker's table (a [`Claim`]).
//!
//! # Invariants
//! - All attempts of a part ask the same decider: it depends neither on the table nor on the time. Where the
//!   decider does not answer, or its region is unknown to this Worker, no other shard is asked.
//! - Another shard counts a part only after the decider has said, durably, that it never will.
//! - A sender is told that a batch is counted when each part's shard has said so, or has said that its board
//!   is gone: then those plays are rejected on that board.
//! - A shard is told of no epoch that is older than the first table in which it stands.
//! - A board that is made again under its name is another one: a part that was counted on the one before and is
//!   sent again is counted there for the first time.
//!
//! # Cost
//! One message a part where the decider counts it, two where another shard does. Where a sender with a token
//! sends several parts, the batch's name is checked at all deciders before anything is counted, so that a
//! reused name loses nothing: two messages a part. At most [`MAX_PARTS`] parts.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use futures_util::{StreamExt, stream};

use crate::board::{Board, Directory, MAIN, check_board_id};
use crate::codec;
use crate::home::{Home, hash_of, shard_of};
use crate::mutants::{self, Mutant};
use crate::play::{BoardIds, Play, Refused};
use crate::topology::{Region, RegionTable, ShardId, parts_of_key};
use crate::wire::{
    self, BatchPlay, BlindRequest, Claim, NameCheck, RecordReply, RecordRequest, ShardListing,
};

/// The platform opens at most six connections at once for a request.
const SHARDS_AT_ONCE: usize = 6;
/// The most parts of a batch. On its free plan the platform lets a request make 50 subrequests: two for each
/// part, and two for the directory.
pub const MAX_PARTS: usize = 24;
/// A batch that was first sent longer than this before a board was made is not counted on the board when it
/// is sent again: its sender may have been told that it was rejected, or it was for a deleted board of the
/// same name. The clocks of a Worker and of the registry may differ by so much.
const BEFORE_BOARD_MS: u64 = 180_000;

/// What routing needs of the platform.
pub trait Network {
    /// Why a shard did not answer.
    type Error;

    /// Sends an encoded [`RecordRequest`] to a shard of a board. `hint`: where the shard should live.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    fn send(
        &self,
        board_key: &str,
        to: &ShardId,
        hint: Option<&str>,
        kind: MessageKind,
        request: &[u8],
    ) -> impl Future<Output = Result<RecordReply, Self::Error>>;

    /// The directory as it is now, unless the registry was asked a moment ago; `None` where it is away.
    fn newer_directory(&self) -> impl Future<Output = Option<Rc<Directory>>>;

    /// The id of the region where the sender is.
    fn here(&self, table: &RegionTable) -> Option<String>;
}

/// What a message to a shard wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageKind {
    Count,
    /// Count a batch that has no name. Only the answer tells what became of it.
    CountUnnamed,
    Claim,
    CheckName,
}

/// How a repeat of a batch is recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    ClientSeq(String, u64),
    IdempotencyKey(String),
}

impl Name {
    /// The bytes under which a shard remembers a part of a batch. Trusted and untrusted senders, and the two
    /// kinds of names, have keys of their own, so that nobody can make another sender's batch look like a
    /// repeat. The placed part of a trusted batch has another key than the others, since two parts may
    /// meet at one shard.
    fn key(&self, is_trusted: bool, is_placed: bool) -> Vec<u8> {
        let sender = match (is_trusted, is_placed) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) if mutants::active(Mutant::PartsShareAKey) => 1,
            (true, true) => 2,
        };
        match self {
            Name::ClientSeq(client, seq) => {
                [&[sender, b'c'], &seq.to_be_bytes()[..], client.as_bytes()].concat()
            }
            Name::IdempotencyKey(key) => [&[sender, b'k'], key.as_bytes()].concat(),
        }
    }

    /// Spreads batches over shards; all batches of a client go to one shard.
    fn hash(&self) -> u64 {
        match self {
            Name::ClientSeq(client, _) => hash_of(client.as_bytes()),
            Name::IdempotencyKey(key) => hash_of(key.as_bytes()),
        }
    }
}

/// A batch as one attempt brings it.
#[derive(Debug)]
pub struct SentBatch<'a> {
    pub name: Option<&'a Name>,
    pub is_trusted: bool,
    pub home: Option<&'a Home>,
    /// When it was first sent, by this Worker's clock; its arrival where the sender does not say.
    pub sent_ms: u64,
    pub says_sent: bool,
    /// [`crate::play::Body::plays_hash`].
    pub plays_hash: u32,
    /// The boards of plays that name none themselves. `None`: `main`.
    pub boards: Option<BoardIds>,
    /// In their order.
    pub plays: Vec<Result<Play<'a>, Refused>>,
}

/// A play that is not counted at all, or not on one of its boards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its place in the batch.
    pub index: usize,
    /// `None` where it counts on no board.
    pub board: Option<Rc<str>>,
    pub refused: Refused,
}

/// What is rejected of a batch, in the order of its plays.
pub type Rejected = Vec<Rejection>;

/// What the sender is told.
#[derive(Debug)]
pub struct Verdict {
    /// Plays that are counted on one board at least.
    pub accepted: usize,
    pub rejected: Rejected,
    /// All of it had been counted before.
    pub repeated: bool,
}

/// Why a batch is not acknowledged.
#[derive(Debug)]
pub enum NotCounted<E> {
    NoGoodPlay(Rejected),
    /// Over [`MAX_PARTS`].
    TooManyParts,
    /// A batch without a name has several parts.
    KeyRequired,
    /// Its home names no region, and some of its plays name none either.
    HomeWithoutRegion,
    /// This Worker does not know the region or the number of shards of its home, or of the shard that it was
    /// claimed for.
    UnknownHome,
    TooOld,
    KeyReused,
    Busy {
        retry_after_s: u32,
    },
    /// A shard's storage failed while the batch was being written.
    InDoubt,
    /// A shard did not answer.
    Unanswered(E),
    /// A shard runs another release, or its sender gave a name two homes.
    Refused(RecordReply),
}

/// A part of a batch: plays that count together, on one board and in one region.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    board_id: Rc<str>,
    region_id: String,
    /// Its plays name no region.
    is_placed: bool,
}

/// The plays of each part, with their places in the batch.
type Parts<'p, 'a> = BTreeMap<Part, Vec<(usize, &'p Play<'a>)>>;

/// Counts a batch.
///
/// # Errors
/// [`NotCounted`]. Where the batch has a name, it may be sent again.
pub async fn count<N: Network>(
    network: &N,
    mut directory: Rc<Directory>,
    mut batch: SentBatch<'_>,
) -> Result<Verdict, NotCounted<N::Error>> {
    let plays = std::mem::take(&mut batch.plays);
    let names = Named::of(&batch, &plays);
    if !names.are_known(&directory) || !knows_home(&directory, &batch, &names) {
        directory = network.newer_directory().await.unwrap_or(directory);
    }
    if !knows_home(&directory, &batch, &names) {
        if !mutants::active(Mutant::UnknownHomeTakenForNone) {
            return Err(NotCounted::UnknownHome);
        }
        batch.home = None;
    }
    let here = network.here(&directory.table);
    let (parts, mut rejected) = apart(&batch, &plays, &directory, here.as_deref());
    if parts.is_empty() {
        return Err(NotCounted::NoGoodPlay(rejected));
    }
    if parts.len() > MAX_PARTS {
        return Err(NotCounted::TooManyParts);
    }
    if parts.len() > 1 && batch.name.is_none() {
        return Err(NotCounted::KeyRequired);
    }
    let is_placed = parts.keys().any(|part| part.is_placed);
    if is_placed && batch.home.is_some_and(|home| home.key.is_none()) {
        return Err(NotCounted::HomeWithoutRegion);
    }
    let first = parts
        .keys()
        .next()
        .and_then(|part| directory.board(&part.board_id));
    let routing = Routing {
        network,
        directory: &directory,
        batch: &batch,
        first_board: first,
    };
    let claimed = match parts.len() > 1 && batch.is_trusted {
        true => routing.prepare(parts.keys()).await?,
        false => BTreeMap::new(),
    };
    let replies = parts.iter().map(async |(part, plays)| {
        let counted = routing.count_part(part, plays, claimed.get(part)).await;
        (part, plays, counted)
    });
    let mut replies = stream::iter(replies).buffer_unordered(SHARDS_AT_ONCE);
    let mut counted_plays = BTreeSet::new();
    let mut repeated = true;
    let mut is_any_gone = false;
    // Waits for all parts: one whose answer is not heard may be counted nevertheless.
    let mut failed = None;
    while let Some((part, plays, counted)) = replies.next().await {
        let reject = |index: &usize, refused| Rejection {
            index: *index,
            board: Some(Rc::clone(&part.board_id)),
            refused,
        };
        match counted {
            Ok(PartOutcome::Gone) => {
                is_any_gone = true;
                let indices = plays.iter().map(|(index, _)| index);
                rejected.extend(indices.map(|index| reject(index, unknown_board())));
            }
            Ok(PartOutcome::Here {
                repeated: again,
                too_many,
            }) => {
                repeated &= again;
                let is_over = |index: &usize| too_many.contains(index);
                let indices = plays.iter().map(|(index, _)| *index);
                counted_plays.extend(indices.filter(|index| !is_over(index)));
                let over = too_many.into_iter();
                rejected.extend(over.map(|index| too_many_votes(index, Rc::clone(&part.board_id))));
            }
            Err(error) => failed = failed.or(Some(error)),
        }
        if mutants::active(Mutant::FirstPartAnswers) {
            break;
        }
    }
    drop(replies);
    if is_any_gone {
        // The next batch finds it in the directory.
        network.newer_directory().await;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    verdict(counted_plays.len(), rejected, repeated)
}

fn verdict<E>(
    accepted: usize,
    mut rejected: Rejected,
    repeated: bool,
) -> Result<Verdict, NotCounted<E>> {
    rejected.sort_by(|a, b| (a.index, &a.board).cmp(&(b.index, &b.board)));
    match accepted {
        0 => Err(NotCounted::NoGoodPlay(rejected)),
        accepted => Ok(Verdict {
            accepted,
            rejected,
            repeated,
        }),
    }
}

/// Has a batch counted at its home by a Worker that has no directory, or an old one. The batch must come from a
/// browser, for `main`, with a home in the sender's own region; `here` is that region's id by `REGIONS`, if all
/// of its regions are made. `None` where that is not so, or where the shard does not know: then [`count`] decides.
///
/// # Errors
/// As [`count`].
pub async fn count_blind<N: Network>(
    network: &N,
    (here, hint): (&str, Option<&str>),
    batch: &SentBatch<'_>,
) -> Option<Result<Verdict, NotCounted<N::Error>>> {
    let name = batch
        .name
        .filter(|_| !batch.is_trusted && batch.says_sent)?;
    let home = batch.home?;
    let key = home
        .key
        .as_deref()
        .filter(|key| parts_of_key(key).0 == here)?;
    let good = batch.plays.iter().enumerate();
    let good = good.filter_map(|(index, play)| Some((index, play.as_ref().ok()?)));
    let good: Vec<(usize, &Play<'_>)> = good.collect();
    let is_plain = |play: &Play<'_>| play.region_id.is_none() && play.boards.is_none();
    if batch.boards.is_some() || good.is_empty() || !good.iter().all(|(_, play)| is_plain(play)) {
        return None;
    }
    let to = ShardId {
        key: key.to_owned(),
        shard: shard_of(name.hash(), home.shards_of(MAIN)),
    };
    let key = Some(name.key(false, true));
    let key = key.filter(|_| !mutants::active(Mutant::BlindForgetsName));
    let encoded = encoded(batch, &key, &good);
    let request = codec::encode(&BlindRequest {
        region_id: &to.key,
        shard: to.shard,
        here,
        batch: &encoded,
    });
    let reply = network
        .send(MAIN, &to, hint, MessageKind::Count, &request)
        .await;
    let counted = match reply.map_err(NotCounted::Unanswered) {
        Ok(RecordReply::Unlisted | RecordReply::Moved { .. }) => return None,
        Ok(reply) => counted(reply, &good),
        Err(error) => Err(error),
    };
    let (repeated, too_many) = match counted {
        Ok(PartOutcome::Here { repeated, too_many }) => (repeated, too_many),
        // `main` is never deleted.
        Ok(PartOutcome::Gone) => return None,
        Err(error) => return Some(Err(error)),
    };
    let bad = batch.plays.iter().enumerate();
    let bad = bad.filter_map(|(index, play)| {
        let refused = play.as_ref().err()?.clone();
        Some(Rejection {
            index,
            board: None,
            refused,
        })
    });
    let accepted = good.len() - too_many.len();
    let over = too_many
        .into_iter()
        .map(|index| too_many_votes(index, MAIN.into()));
    Some(verdict(accepted, bad.chain(over).collect(), repeated))
}

fn too_many_votes(index: usize, board: Rc<str>) -> Rejection {
    let detail = "one address may add only so many plays to one post a minute";
    Rejection {
        index,
        board: Some(board),
        refused: Refused::new("too_many_votes", detail),
    }
}

/// A part of a batch as a shard journals it.
fn encoded(batch: &SentBatch<'_>, key: &Option<Vec<u8>>, plays: &[(usize, &Play<'_>)]) -> Vec<u8> {
    let plays = plays.iter().map(|(_, play)| BatchPlay {
        post_id: &play.post_id,
        timestamp_ms: play.timestamp_ms,
        count: play.count,
    });
    codec::encode(&wire::Batch {
        key: key.as_deref(),
        plays_hash: batch.plays_hash,
        sent_ms: batch.sent_ms,
        plays: plays.collect(),
    })
}

/// For a board that does not exist, was deleted, or does not take this sender's plays. The answer does not
/// tell which, so that nobody learns of boards that are not theirs.
fn unknown_board() -> Refused {
    Refused::new(
        "unknown_board",
        "there is no such board for plays; PUT /boards makes one",
    )
}

/// The boards that a play is for: its own, those of its envelope, or `main`.
pub fn boards_of<'p>(
    own: Option<&'p BoardIds>,
    envelope: Option<&'p BoardIds>,
) -> impl Iterator<Item = &'p str> {
    let named = own.or(envelope);
    let names = named.map_or(&[][..], |boards| boards);
    let main = named.is_none().then_some(MAIN);
    names.iter().map(String::as_str).chain(main)
}

/// What the plays of a batch name, each once.
struct Named<'p> {
    regions: BTreeSet<&'p str>,
    boards: BTreeSet<&'p str>,
    /// The boards of plays that name no region.
    placed_on: BTreeSet<&'p str>,
}

impl<'p> Named<'p> {
    fn of(batch: &'p SentBatch<'_>, plays: &'p [Result<Play<'_>, Refused>]) -> Self {
        let mut named = Named {
            regions: BTreeSet::new(),
            boards: BTreeSet::new(),
            placed_on: BTreeSet::new(),
        };
        for play in plays.iter().flatten() {
            let boards = || boards_of(play.boards.as_ref(), batch.boards.as_ref());
            named.boards.extend(boards());
            match &play.region_id {
                Some(region_id) => {
                    named.regions.insert(region_id);
                }
                None => named.placed_on.extend(boards()),
            }
        }
        named
    }

    /// Whether the directory has all regions, and all boards whose ids are well-formed.
    fn are_known(&self, directory: &Directory) -> bool {
        let mut regions = self.regions.iter();
        let mut boards = self.boards.iter().filter(|id| check_board_id(id).is_ok());
        regions.all(|id| directory.table.find(id).is_some())
            && boards.all(|id| directory.board(id).is_some())
    }
}

/// Whether this Worker knows a batch's home, if the home decides about any of its plays.
fn knows_home(directory: &Directory, batch: &SentBatch<'_>, named: &Named<'_>) -> bool {
    let Some((home, key)) = batch.home.and_then(|home| Some((home, home.key.as_ref()?))) else {
        return true;
    };
    if batch.name.is_none() || named.placed_on.is_empty() {
        return true;
    }
    let known = directory.table.ever_had_key(key);
    known.is_some_and(|region| {
        let mut boards = named.placed_on.iter().filter_map(|id| directory.board(id));
        boards.all(|board| home.shards_of(&board.key()) <= board.shards_in(region).most_shards)
    })
}

fn knows_shard(directory: &Directory, board: &Board, to: &ShardId) -> bool {
    let region = directory.table.ever_had_key(&to.key);
    region.is_some_and(|region| to.shard < board.shards_in(region).most_shards)
}

/// Divides a batch into its parts.
fn apart<'p, 'a>(
    batch: &SentBatch<'_>,
    plays: &'p [Result<Play<'a>, Refused>],
    directory: &Directory,
    here: Option<&str>,
) -> (Parts<'p, 'a>, Rejected) {
    let mut parts = Parts::new();
    let mut rejected = Vec::new();
    // One copy of each name, shared by the plays that have it.
    let mut names: BTreeMap<String, Rc<str>> = BTreeMap::new();
    for (index, play) in plays.iter().enumerate() {
        let reject = |board, refused| Rejection {
            index,
            board,
            refused,
        };
        let play = match play {
            Ok(play) => play,
            Err(refused) => {
                rejected.push(reject(None, refused.clone()));
                continue;
            }
        };
        let region_id = play.region_id.as_deref().or(here).unwrap_or_default();
        if let Err(refused) = check_region(&directory.table, region_id) {
            rejected.push(reject(None, refused));
            continue;
        }
        for board_id in boards_of(play.boards.as_ref(), batch.boards.as_ref()) {
            let name = names.entry(board_id.to_owned());
            let name = name.or_insert_with_key(|name| name.as_str().into());
            if let Err(refused) = check_board(batch, directory.board(board_id)) {
                rejected.push(reject(Some(Rc::clone(name)), refused));
                continue;
            }
            let part = Part {
                board_id: Rc::clone(name),
                region_id: region_id.to_owned(),
                // A batch without a name cannot be repeated, so it needs no decider.
                is_placed: batch.name.is_some() && play.region_id.is_none(),
            };
            parts.entry(part).or_default().push((index, play));
        }
    }
    (parts, rejected)
}

fn check_region(table: &RegionTable, region_id: &str) -> Result<(), Refused> {
    if table.is_deleted(region_id) {
        return Err(Refused::new("region_deleted", "this region was deleted"));
    }
    match table.find(region_id) {
        Some(_) => Ok(()),
        None => {
            let detail = "there is no such region; PUT /regions makes one";
            Err(Refused::new("unknown_region", detail))
        }
    }
}

/// Whether plays of a batch count on a board.
fn check_board(batch: &SentBatch<'_>, board: Option<&Board>) -> Result<(), Refused> {
    let is_open = |board: &&Board| batch.is_trusted || board.beacons;
    let board = board.filter(is_open).ok_or_else(unknown_board)?;
    if batch.sent_ms.saturating_add(BEFORE_BOARD_MS) < board.made_ms {
        let detail = "this board was made after the batch was first sent";
        return Err(Refused::new("unknown_board", detail));
    }
    Ok(())
}

/// The shards that a part concerns.
struct Route<'a> {
    board: &'a Board,
    region: &'a Region,
    decider: ShardId,
    /// The decider counts the part itself, unless it was claimed before.
    decider_counts: bool,
    target: ShardId,
}

/// What became of a part.
enum PartOutcome {
    /// A shard counted it.
    Here {
        repeated: bool,
        /// The places in the batch of the plays that the shard rejected.
        too_many: Vec<usize>,
    },
    /// Its board is no more.
    Gone,
}

/// What all parts of a batch have in common.
struct Routing<'a, N> {
    network: &'a N,
    directory: &'a Directory,
    batch: &'a SentBatch<'a>,
    /// The board of its first part.
    first_board: Option<&'a Board>,
}

impl<N: Network> Routing<'_, N> {
    fn route(&self, part: &Part) -> Option<Route<'_>> {
        let table = &self.directory.table;
        let board = self.directory.board(&part.board_id)?;
        let region = table.find(&part.region_id)?;
        let shards = board.shards_in(region);
        let key = region.key();
        let at = |key: &str, shard| ShardId {
            key: key.to_owned(),
            shard,
        };
        let Some(name) = self.batch.name else {
            let first = at(&key, 0);
            return Some(Route {
                board,
                region,
                decider: first.clone(),
                decider_counts: true,
                target: first,
            });
        };
        let hash = name.hash();
        let target = at(&key, shard_of(hash, shards.shards));
        let home = self.batch.home;
        let home_board = match self.first_board {
            Some(first) if mutants::active(Mutant::HomeOfOneBoardForAll) => first,
            _ => board,
        };
        let shard_at_home =
            home.map_or(0, |home| shard_of(hash, home.shards_of(&home_board.key())));
        let decider = if mutants::active(Mutant::HomeIgnored) {
            target.clone()
        } else if !part.is_placed && mutants::active(Mutant::DeciderOfToday) {
            at(&key, shard_at_home)
        } else if !part.is_placed {
            at(&part.region_id, shard_at_home)
        } else if let Some(home_key) = home.and_then(|home| home.key.as_ref()) {
            at(home_key, shard_at_home)
        } else if mutants::active(Mutant::AbsentHomeByCountry) {
            at(&key, 0)
        } else {
            at(&table.origin, 0)
        };
        // Shards beyond these decide, and do not count. A home without a region may name more shards than
        // this region ever had. And each shard that counts limits what one address adds to a post, so an
        // old home would multiply that limit. A batch that does not say when it was first sent may be
        // repeated after its claim is forgotten: it is counted where it was before.
        let counting = match self.batch.says_sent {
            true => shards.shards,
            false => shards.most_shards,
        };
        let is_of_region = decider.key == key && decider.shard < counting;
        let is_told_to = home.is_some() || decider == target || !self.batch.says_sent;
        Some(Route {
            board,
            region,
            decider_counts: is_of_region && is_told_to,
            decider,
            target,
        })
    }

    fn key(&self, part: &Part) -> Option<Vec<u8>> {
        let name = self.batch.name?;
        Some(name.key(self.batch.is_trusted, part.is_placed))
    }

    /// Asks all deciders before any part is counted: if one of them refuses the name, nothing is counted. A
    /// decider that does not count the part itself is sent the claim at once, which asks the same; its answer
    /// is returned.
    async fn prepare(
        &self,
        parts: impl Iterator<Item = &Part>,
    ) -> Result<BTreeMap<Part, RecordReply>, NotCounted<N::Error>> {
        let asked = parts.map(async |part| {
            let (Some(route), Some(key)) = (self.route(part), self.key(part)) else {
                return (part, Ok(RecordReply::NameFree));
            };
            if !route.decider_counts {
                return (part, self.claim(&route, &key).await);
            }
            let check = codec::encode(&NameCheck {
                key: &key,
                plays_hash: self.batch.plays_hash,
            });
            let reply = self.send(&route.decider, &route, MessageKind::CheckName, &check);
            (part, reply.await)
        });
        let mut replies = stream::iter(asked).buffer_unordered(SHARDS_AT_ONCE);
        let mut claimed = BTreeMap::new();
        while let Some((part, reply)) = replies.next().await {
            match reply? {
                RecordReply::NameFree => {}
                reply @ (RecordReply::Moved { .. }
                | RecordReply::Counted { .. }
                | RecordReply::Gone) => {
                    claimed.insert(part.clone(), reply);
                }
                reply => {
                    counted(reply, &[])?;
                }
            }
        }
        Ok(claimed)
    }

    /// Tells the decider of a part that another shard is to count it.
    async fn claim(
        &self,
        route: &Route<'_>,
        key: &[u8],
    ) -> Result<RecordReply, NotCounted<N::Error>> {
        let claim = codec::encode(&Claim {
            key,
            plays_hash: self.batch.plays_hash,
            sent_ms: self.batch.sent_ms,
            to: route.target.clone(),
        });
        let reply = self
            .send(&route.decider, route, MessageKind::Claim, &claim)
            .await;
        match reply {
            Err(_) if mutants::active(Mutant::AwayDeciderSkipped) => {
                let to = route.target.clone();
                Ok(RecordReply::Moved { to })
            }
            reply => reply,
        }
    }

    /// Has a part counted, by its decider or by the shard that the decider names. `said` is what the decider
    /// has said already.
    async fn count_part(
        &self,
        part: &Part,
        plays: &[(usize, &Play<'_>)],
        said: Option<&RecordReply>,
    ) -> Result<PartOutcome, NotCounted<N::Error>> {
        let Some(route) = self.route(part) else {
            return Err(NotCounted::Refused(RecordReply::Invalid));
        };
        let key = self.key(part);
        let claim = key.as_ref().filter(|_| !route.decider_counts);
        let reply = match (said, claim) {
            (Some(said), _) => said.clone(),
            (None, Some(key)) => self.claim(&route, key).await?,
            (None, None) => self.count_at(&route.decider, &route, &key, plays).await?,
        };
        let RecordReply::Moved { to } = reply else {
            return counted(reply, plays);
        };
        let key = key.filter(|_| !mutants::active(Mutant::TargetForgets));
        if knows_shard(self.directory, route.board, &to) {
            return counted(self.count_at(&to, &route, &key, plays).await?, plays);
        }
        // That shard was made after this table. If counting began anew before that, the shard has not been
        // told: it would count plays under this table's epoch, and drop them with its next message.
        let newer = self.network.newer_directory().await;
        let knows_it = |directory: &Rc<Directory>| {
            let board = directory.board_of_key(&route.board.key());
            board.is_some_and(|board| knows_shard(directory, board, &to))
        };
        let Some(directory) = newer.filter(knows_it) else {
            return Err(NotCounted::UnknownHome);
        };
        let routing = Routing {
            directory: &directory,
            ..*self
        };
        counted(routing.count_at(&to, &route, &key, plays).await?, plays)
    }

    async fn count_at(
        &self,
        shard: &ShardId,
        route: &Route<'_>,
        key: &Option<Vec<u8>>,
        plays: &[(usize, &Play<'_>)],
    ) -> Result<RecordReply, NotCounted<N::Error>> {
        let batch = encoded(self.batch, key, plays);
        let kind = match self.batch.name {
            Some(_) => MessageKind::Count,
            None => MessageKind::CountUnnamed,
        };
        self.send(shard, route, kind, &batch).await
    }

    async fn send(
        &self,
        to: &ShardId,
        route: &Route<'_>,
        kind: MessageKind,
        batch: &[u8],
    ) -> Result<RecordReply, NotCounted<N::Error>> {
        let table = &self.directory.table;
        let board_key = route.board.key();
        let region = match to.key == route.region.key() {
            true => Some(route.region),
            false => table.ever_had_key(&to.key),
        };
        let is_there =
            |region: &&Region| route.board.is_main() && table.find_key(&region.key()).is_some();
        let request = codec::encode(&RecordRequest {
            board: &board_key,
            region_id: &to.key,
            shard: to.shard,
            epoch_ms: table.epoch_ms,
            seed: table.seed,
            listed: region.filter(is_there).map(|region| ShardListing {
                shards: region.shards,
                beacons: route.board.beacons,
            }),
            batch,
        });
        let hint = region.and_then(|region| region.hint.as_deref());
        let reply = self.network.send(&board_key, to, hint, kind, &request);
        reply.await.map_err(NotCounted::Unanswered)
    }
}

/// What became of a part, by the answer of the shard that counts it.
fn counted<E>(
    reply: RecordReply,
    plays: &[(usize, &Play<'_>)],
) -> Result<PartOutcome, NotCounted<E>> {
    match reply {
        RecordReply::Counted { repeated, too_many } => {
            let places = too_many.iter();
            let places = places.filter_map(|place| plays.get(usize::from(*place)));
            Ok(PartOutcome::Here {
                repeated,
                too_many: places.map(|(index, _)| *index).collect(),
            })
        }
        RecordReply::Gone => Ok(PartOutcome::Gone),
        RecordReply::TooOld => Err(NotCounted::TooOld),
        RecordReply::Busy { retry_after_s } => Err(NotCounted::Busy { retry_after_s }),
        RecordReply::InDoubt => Err(NotCounted::InDoubt),
        RecordReply::KeyReused => Err(NotCounted::KeyReused),
        // A shard to which a batch was moved has a claim of it: its name was sent with two homes.
        RecordReply::Moved { .. }
        | RecordReply::Invalid
        | RecordReply::NameFree
        | RecordReply::Unlisted => Err(NotCounted::Refused(reply)),
    }
}
