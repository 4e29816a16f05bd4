//! The way of a batch from the Worker to the shard that counts it: once, whatever the Workers know.
//!
//! A batch comes apart into *parts*: its plays that name one region, and those that name none, which
//! are *placed* where the sender is. Of each part one shard decides, the *decider*, which follows from
//! what the sender sent and from nothing else:
//!
//! - of placed plays it is a shard of the batch's [`Home`], which is fixed when the batch is sealed; of
//!   a batch without one, the first shard of the region that was made first of all;
//! - of plays that name a region, a shard of the *first* region of that id: one that was deleted and
//!   made again is another region under the same name. How many shards to choose from, the home says,
//!   or else there is one.
//!
//! Where the plays are to be counted is another matter: in the region that they name, or in the
//! sender's, at the *target*, a shard by the table that this Worker has. Where the decider is a shard
//! of that region it counts them itself. Else it is told that they are claimed for the target, and its
//! answer says what has become of the batch for good: counted, or claimed for that shard, by this
//! attempt or by one before. The Worker goes where the answer says, whatever its own table does.
//!
//! # Invariants
//! - All attempts of a part ask one decider: nothing of the table is in it, nor of the time. Where it
//!   does not answer, or is of a region that this Worker does not know, nobody else is asked.
//! - Nobody but the decider counts a part without the decider's durable word that it never will.
//! - A sender is told that all is counted when each shard that counts a part has said so.
//! - A shard hears of no epoch older than the table in which it stands first.
//!
//! # Cost
//! One message a part where sender and home agree, two where they do not.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::{StreamExt, stream};

use crate::codec;
use crate::home::{Home, hash_of, shard_of};
use crate::mutants::{self, Mutant};
use crate::play::{Play, Refused};
use crate::topology::{Region, RegionTable, ShardId};
use crate::wire::{self, BatchPlay, Claim, NameCheck, RecordReply, RecordRequest};

/// The platform opens at most six connections at once for a request.
const SHARDS_AT_ONCE: usize = 6;

/// What this needs of the platform.
pub trait Network {
    /// Why a shard did not answer.
    type Error;

    /// Sends an encoded [`RecordRequest`] to a shard. `hint`: where the shard should live.
    ///
    /// # Errors
    /// When there is no answer that can be read.
    fn send(
        &self,
        to: &ShardId,
        hint: Option<&str>,
        kind: Kind,
        request: &[u8],
    ) -> impl Future<Output = Result<RecordReply, Self::Error>>;

    /// The table as it is now, as far as asking is allowed; none where it cannot be had.
    fn newer_table(&self) -> impl Future<Output = Option<Rc<RegionTable>>>;

    /// The id of the region where the sender is.
    fn here(&self, table: &RegionTable) -> Option<String>;
}

/// What a message to a shard wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Count,
    /// To count a batch that has no name: what became of it is known from the answer alone.
    CountUnnamed,
    Claim,
    CheckName,
}

/// How a batch is known again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    ClientSeq(String, u64),
    IdempotencyKey(String),
}

impl Name {
    /// The bytes under which shards remember a part of a batch. Trusted and untrusted ones, names and
    /// keys are kept apart, so that nobody can make another's batch look like a repeat; so are the two
    /// parts of a trusted batch that may meet at one shard.
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

    /// Spreads batches over shards: all of a client go to one.
    fn hash(&self) -> u64 {
        match self {
            Name::ClientSeq(client, _) => hash_of(client.as_bytes()),
            Name::IdempotencyKey(key) => hash_of(key.as_bytes()),
        }
    }
}

/// A batch as one attempt brings it.
#[derive(Debug)]
pub struct Batch<'a> {
    pub name: Option<&'a Name>,
    pub is_trusted: bool,
    pub home: Option<&'a Home>,
    /// Its first attempt, by this Worker's clock; its arrival where it does not say.
    pub sent_ms: u64,
    pub says_sent: bool,
    /// [`crate::play::Body::plays_hash`].
    pub plays_hash: u32,
    /// In their order.
    pub plays: Vec<Result<Play<'a>, Refused>>,
}

/// Plays that are not counted, by their places in the batch.
pub type Rejected = Vec<(usize, Refused)>;

/// What the sender is told.
#[derive(Debug)]
pub struct Verdict {
    pub accepted: usize,
    pub rejected: Rejected,
    /// All of it had been counted before.
    pub repeated: bool,
}

/// Why a batch is not acknowledged.
#[derive(Debug)]
pub enum NotCounted<E> {
    NoGoodPlay(Rejected),
    /// A batch without a name has several parts.
    KeyRequired,
    /// Its home names no region, and plays of it name none either.
    HomeWithoutRegion,
    /// Its home, or the shard that it was claimed for, is of a region, or of a number of shards, that
    /// this Worker does not know.
    UnknownHome,
    TooOld,
    KeyReused,
    Busy {
        retry_after_s: u32,
    },
    /// Its storage failed while a shard wrote it.
    InDoubt,
    /// A shard did not answer.
    Unanswered(E),
    /// A shard runs another release, or its sender gave a name two homes.
    Refused(RecordReply),
}

/// Parts of a batch: by the id of the region that they are to count in, and whether they are placed.
type Parts<'a> = BTreeMap<(String, bool), Vec<(usize, Play<'a>)>>;

/// Counts a batch.
///
/// # Errors
/// [`NotCounted`]. Where the batch has a name, it may be sent again.
pub async fn count<N: Network>(
    network: &N,
    mut table: Rc<RegionTable>,
    mut batch: Batch<'_>,
) -> Result<Verdict, NotCounted<N::Error>> {
    let plays = std::mem::take(&mut batch.plays);
    if names_unknown_region(&table, &plays) || !knows_home(&table, &batch, &plays) {
        table = network.newer_table().await.unwrap_or(table);
    }
    if !knows_home(&table, &batch, &plays) {
        if !mutants::active(Mutant::UnknownHomeTakenForNone) {
            return Err(NotCounted::UnknownHome);
        }
        batch.home = None;
    }
    let here = network.here(&table);
    let is_named = batch.name.is_some();
    let (parts, mut rejected) = by_region(plays, &table, here.as_deref(), is_named);
    if parts.is_empty() {
        return Err(NotCounted::NoGoodPlay(rejected));
    }
    if parts.len() > 1 && !is_named {
        return Err(NotCounted::KeyRequired);
    }
    let is_placed = parts.keys().any(|(_, is_placed)| *is_placed);
    if is_placed && batch.home.is_some_and(|home| home.key.is_none()) {
        return Err(NotCounted::HomeWithoutRegion);
    }
    let routing = Routing {
        network,
        table: &table,
        batch: &batch,
    };
    if parts.len() > 1 {
        routing.check_names(parts.keys()).await?;
    }
    let replies = parts
        .iter()
        .map(|(part, plays)| routing.count_part(part, plays));
    let replies: Vec<_> = stream::iter(replies)
        .buffer_unordered(SHARDS_AT_ONCE)
        .collect()
        .await;
    let mut accepted: usize = parts.values().map(Vec::len).sum();
    let mut repeated = true;
    for reply in replies {
        let counted = reply?;
        repeated &= counted.repeated;
        accepted = accepted.saturating_sub(counted.too_many.len());
        rejected.extend(counted.too_many.into_iter().map(|index| {
            let detail = "one address may add only so many plays to one post a minute";
            (index, Refused::new("too_many_votes", detail))
        }));
    }
    if accepted == 0 {
        return Err(NotCounted::NoGoodPlay(rejected));
    }
    rejected.sort_by_key(|(index, _)| *index);
    Ok(Verdict {
        accepted,
        rejected,
        repeated,
    })
}

fn names_unknown_region(table: &RegionTable, plays: &[Result<Play<'_>, Refused>]) -> bool {
    let named = plays
        .iter()
        .flatten()
        .filter_map(|play| play.region_id.as_ref());
    named.into_iter().any(|id| table.find(id).is_none())
}

/// Whether this Worker knows of a batch's home, where it matters.
fn knows_home(table: &RegionTable, batch: &Batch<'_>, plays: &[Result<Play<'_>, Refused>]) -> bool {
    let Some((home, key)) = batch.home.and_then(|home| Some((home, home.key.as_ref()?))) else {
        return true;
    };
    let is_placed = |play: &Play<'_>| play.region_id.is_none();
    let matters = batch.name.is_some() && plays.iter().flatten().any(is_placed);
    let known = table.ever_had_key(key);
    !matters || known.is_some_and(|region| home.shards <= region.most_shards)
}

fn knows_shard(table: &RegionTable, to: &ShardId) -> bool {
    let region = table.ever_had_key(&to.key);
    region.is_some_and(|region| to.shard < region.most_shards)
}

fn by_region<'a>(
    plays: Vec<Result<Play<'a>, Refused>>,
    table: &RegionTable,
    here: Option<&str>,
    is_named: bool,
) -> (Parts<'a>, Rejected) {
    let mut parts = Parts::new();
    let mut rejected = Vec::new();
    for (index, play) in plays.into_iter().enumerate() {
        let part = play.and_then(|play| {
            let region_id = play.region_id.as_deref().or(here).unwrap_or_default();
            if table.is_deleted(region_id) {
                return Err(Refused::new("region_deleted", "this region was deleted"));
            }
            if table.find(region_id).is_none() {
                let detail = "there is no such region; PUT /regions makes one";
                return Err(Refused::new("unknown_region", detail));
            }
            // Nobody decides about a batch without a name, as it cannot come again.
            let is_placed = is_named && play.region_id.is_none();
            Ok(((region_id.to_owned(), is_placed), play))
        });
        match part {
            Ok((part, play)) => parts.entry(part).or_default().push((index, play)),
            Err(refused) => rejected.push((index, refused)),
        }
    }
    (parts, rejected)
}

/// The shards that a part concerns.
struct Route<'a> {
    region: &'a Region,
    decider: ShardId,
    /// It counts the part itself, where it has not been claimed.
    decider_counts: bool,
    target: ShardId,
}

/// What a shard did.
struct Counted {
    repeated: bool,
    /// The places in the batch of plays that it rejected.
    too_many: Vec<usize>,
}

/// What all parts of a batch have in common.
struct Routing<'a, N> {
    network: &'a N,
    table: &'a RegionTable,
    batch: &'a Batch<'a>,
}

impl<N: Network> Routing<'_, N> {
    fn route(&self, (region_id, is_placed): &(String, bool)) -> Option<Route<'_>> {
        let region = self.table.find(region_id)?;
        let key = region.key();
        let at = |key: &str, shard| ShardId {
            key: key.to_owned(),
            shard,
        };
        let Some(name) = self.batch.name else {
            let first = at(&key, 0);
            return Some(Route {
                region,
                decider: first.clone(),
                decider_counts: true,
                target: first,
            });
        };
        let hash = name.hash();
        let target = at(&key, shard_of(hash, region.shards));
        let home = self.batch.home;
        let shard_at_home = home.map_or(0, |home| shard_of(hash, home.shards));
        let decider = if mutants::active(Mutant::HomeIgnored) {
            target.clone()
        } else if !is_placed && mutants::active(Mutant::DeciderOfToday) {
            at(&key, shard_at_home)
        } else if !is_placed {
            at(region_id, shard_at_home)
        } else if let Some(home_key) = home.and_then(|home| home.key.as_ref()) {
            at(home_key, shard_at_home)
        } else if mutants::active(Mutant::AbsentHomeByCountry) {
            at(&key, 0)
        } else {
            at(&self.table.origin, 0)
        };
        // Those beyond only decide: a home without a region may have more shards than this region ever
        // had; and each shard that counts has its own limit on what an address adds to a post, so that
        // an old home would reach as many as there were. What does not say when it was first sent may
        // come again after its claim is forgotten: it counts where it always did.
        let counting = match self.batch.says_sent {
            true => region.shards,
            false => region.most_shards,
        };
        let is_of_region = decider.key == key && decider.shard < counting;
        let is_told_to = home.is_some() || decider == target || !self.batch.says_sent;
        Some(Route {
            region,
            decider_counts: is_of_region && is_told_to,
            decider,
            target,
        })
    }

    /// Before any part of a batch is decided: a shard that refuses its name refuses all of it. Costs a
    /// message a part, to senders of up to 10,000 plays a batch.
    async fn check_names(
        &self,
        parts: impl Iterator<Item = &(String, bool)>,
    ) -> Result<(), NotCounted<N::Error>> {
        let checks = parts.map(async |part| {
            let (Some(route), Some(name)) = (self.route(part), self.batch.name) else {
                return Ok(RecordReply::NameFree);
            };
            let check = codec::encode(&NameCheck {
                key: &name.key(self.batch.is_trusted, part.1),
                plays_hash: self.batch.plays_hash,
            });
            self.send(&route.decider, route.region, Kind::CheckName, &check)
                .await
        });
        let mut replies = stream::iter(checks).buffer_unordered(SHARDS_AT_ONCE);
        while let Some(reply) = replies.next().await {
            match reply? {
                RecordReply::NameFree => {}
                reply => {
                    counted(reply, &[])?;
                }
            }
        }
        Ok(())
    }

    /// Has a part counted, by its decider or where its decider says.
    async fn count_part(
        &self,
        part: &(String, bool),
        plays: &[(usize, Play<'_>)],
    ) -> Result<Counted, NotCounted<N::Error>> {
        let Some(route) = self.route(part) else {
            return Err(NotCounted::Refused(RecordReply::Invalid));
        };
        let batch = self.batch;
        let key = batch.name.map(|name| name.key(batch.is_trusted, part.1));
        let claim = key.as_ref().filter(|_| !route.decider_counts);
        let reply = match claim {
            None => self.count_at(&route.decider, &route, &key, plays).await?,
            Some(key) => {
                let claim = codec::encode(&Claim {
                    key,
                    plays_hash: batch.plays_hash,
                    sent_ms: batch.sent_ms,
                    to: route.target.clone(),
                });
                let reply = self.send(&route.decider, route.region, Kind::Claim, &claim);
                match reply.await {
                    Err(_) if mutants::active(Mutant::AwayDeciderSkipped) => {
                        let to = route.target.clone();
                        RecordReply::Moved { to }
                    }
                    reply => reply?,
                }
            }
        };
        let RecordReply::Moved { to } = reply else {
            return counted(reply, plays);
        };
        let key = key.filter(|_| !mutants::active(Mutant::TargetForgets));
        if knows_shard(self.table, &to) {
            return counted(self.count_at(&to, &route, &key, plays).await?, plays);
        }
        // It was made after this table. Counting may have begun anew before, of which nobody told it:
        // it would count what comes with this table's epoch, and drop that with its next message.
        let newer = self.network.newer_table().await;
        let Some(table) = newer.filter(|table| knows_shard(table, &to)) else {
            return Err(NotCounted::UnknownHome);
        };
        let routing = Routing {
            table: &table,
            network: self.network,
            batch,
        };
        counted(routing.count_at(&to, &route, &key, plays).await?, plays)
    }

    async fn count_at(
        &self,
        shard: &ShardId,
        route: &Route<'_>,
        key: &Option<Vec<u8>>,
        plays: &[(usize, Play<'_>)],
    ) -> Result<RecordReply, NotCounted<N::Error>> {
        let batch_plays = plays.iter().map(|(_, play)| BatchPlay {
            post_id: &play.post_id,
            timestamp_ms: play.timestamp_ms,
            count: play.count,
        });
        let batch = codec::encode(&wire::Batch {
            key: key.as_deref(),
            plays_hash: self.batch.plays_hash,
            sent_ms: self.batch.sent_ms,
            plays: batch_plays.collect(),
        });
        let kind = match self.batch.name {
            Some(_) => Kind::Count,
            None => Kind::CountUnnamed,
        };
        self.send(shard, route.region, kind, &batch).await
    }

    async fn send(
        &self,
        to: &ShardId,
        region: &Region,
        kind: Kind,
        batch: &[u8],
    ) -> Result<RecordReply, NotCounted<N::Error>> {
        let request = codec::encode(&RecordRequest {
            region_id: &to.key,
            shard: to.shard,
            epoch_ms: self.table.epoch_ms,
            seed: self.table.seed,
            batch,
        });
        let region = match to.key == region.key() {
            true => Some(region),
            false => self.table.ever_had_key(&to.key),
        };
        let hint = region.and_then(|region| region.hint.as_deref());
        let reply = self.network.send(to, hint, kind, &request).await;
        reply.map_err(NotCounted::Unanswered)
    }
}

/// What became of a part, by what the shard said that counts it.
fn counted<E>(reply: RecordReply, plays: &[(usize, Play<'_>)]) -> Result<Counted, NotCounted<E>> {
    match reply {
        RecordReply::Counted { repeated, too_many } => {
            let places = too_many.iter();
            let places = places.filter_map(|place| plays.get(usize::from(*place)));
            Ok(Counted {
                repeated,
                too_many: places.map(|(index, _)| *index).collect(),
            })
        }
        RecordReply::TooOld => Err(NotCounted::TooOld),
        RecordReply::Busy { retry_after_s } => Err(NotCounted::Busy { retry_after_s }),
        RecordReply::InDoubt => Err(NotCounted::InDoubt),
        RecordReply::KeyReused => Err(NotCounted::KeyReused),
        // A shard to which a batch was moved has a claim of it: its name was sent with two homes.
        RecordReply::Moved { .. } | RecordReply::Invalid | RecordReply::NameFree => {
            Err(NotCounted::Refused(reply))
        }
    }
}
