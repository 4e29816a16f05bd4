//! Telling shards what they must know, all of them, whatever it is: this is the only place that does.
//!
//! The platform lets one request ask so many others (50 on its free plan), and an installation may have
//! 10,000 shards. So one request tells [`SHARDS_A_REQUEST`] of them, the registry remembers
//! which ([`ToldSoFar`]), and the same request sent again goes on from there; its answer says how many know. Fewer
//! shards than that cost no message more. What is remembered is of the last news alone: where two
//! requests tell of different ones in turn, each begins at the front again, and who knows already is
//! told once more.

use std::borrow::Cow;

use futures_util::{StreamExt, stream};
use worker::Env;

use super::ASK_TIMEOUT_MS;
use crate::board::{MAIN, ObjectName};
use crate::host::{ASKED_AT_ONCE, QUESTION_TIMEOUT_MS};
use crate::http::Problem;
use crate::log::report;
use crate::objects::ask;
use crate::topology::{Epoch, Region};
use crate::wire::{
    BeginEpoch, CutRequest, Noted, Question, SHARDS_A_REQUEST, ShardName, Telling, ToCut, ToldSoFar,
};

/// A shard: the key of its region, its number, and a hint where it lives.
type ShardAddress<'a> = (Cow<'a, str>, u32, Option<&'a str>);

/// All shards that a region ever had.
pub fn shards_of(region: &Region) -> impl Iterator<Item = ShardAddress<'_>> {
    (0..region.most_shards).map(|shard| (region.key(), shard, region.hint.as_deref()))
}

/// What one request tells.
pub struct Teller<'a> {
    env: &'a Env,
    /// How many more shards it may tell.
    left: usize,
}

/// Not every shard knows; who sends the same request again goes on.
pub struct Untold {
    told: usize,
    of: usize,
}

impl Untold {
    /// What is said of it: `what` happened, and what follows while some do not know.
    pub fn problem(&self, what: &str) -> Problem {
        let Untold { told, of } = *self;
        let detail = format!("{what}: {told} of {of} shards know; send the same request again");
        let problem = Problem::busy("not_announced", 1, &detail);
        problem.with("told", told).with("of", of)
    }
}

impl<'a> Teller<'a> {
    pub fn new(env: &'a Env) -> Self {
        Teller {
            env,
            left: SHARDS_A_REQUEST,
        }
    }

    /// Tells shards that counting has begun anew.
    ///
    /// # Errors
    /// Where not all of them are known to know.
    pub async fn begin_epoch(
        &mut self,
        epoch: Epoch,
        shards: impl Iterator<Item = ShardAddress<'_>>,
    ) -> Result<(), Untold> {
        let name = format!("began {}", epoch.began_ms);
        let mut shards: Vec<ShardAddress<'_>> = shards.collect();
        // An order that holds when regions are made or deleted in between.
        shards.sort();
        let names: Vec<ShardName> = shards.iter().map(name_of).collect();
        let (of, is_long) = (shards.len(), shards.len() > self.left);
        let known = match is_long {
            true => self.remembered(&name, None).await.unwrap_or_default(),
            false => None,
        };
        let mut so_far = known.unwrap_or_default();
        let next = so_far.next(&names, self.left);
        self.left -= next.len();
        shards.retain(|shard| next.contains(&name_of(shard)));
        let heard = self
            .tell(MAIN, &shards, |region_id, shard| BeginEpoch {
                region_id,
                shard,
                epoch,
            })
            .await;
        let tried: Vec<ShardName> = shards.iter().map(name_of).collect();
        so_far.told(&tried, &heard);
        let told = so_far.count(&names);
        if is_long && let Err(error) = self.remembered(&name, Some(so_far)).await {
            report!("worker", "telling shards: {error}");
        }
        if told == of {
            Ok(())
        } else {
            Err(Untold { told, of })
        }
    }

    /// Tells shards of the moment of an export. One that does not hear of it does not cut its log: then
    /// the export says that plays are missing.
    pub async fn cut(&mut self, board_key: &str, to_cut: &ToCut) {
        let shards = to_cut.shards.iter();
        let shards: Vec<ShardAddress<'_>> = shards
            .map(|(key, shard, hint)| (Cow::from(key), *shard, hint.as_deref()))
            .collect();
        self.tell(board_key, &shards, |region_id, shard| CutRequest {
            region_id,
            shard,
            epoch: to_cut.epoch,
            at_ms: to_cut.at_ms,
        })
        .await;
    }

    /// Whether each of some shards has taken note.
    async fn tell<'b, Q: Question<Reply = Noted> + 'b>(
        &self,
        board_key: &str,
        shards: &'b [ShardAddress<'b>],
        message: impl Fn(&'b str, u32) -> Q,
    ) -> Vec<bool> {
        let tell = async |(key, shard, hint): &'b ShardAddress<'b>| {
            let object = ObjectName::shard(board_key, key, *shard);
            let message = message(key, *shard);
            let noted = ask(self.env, (&object, *hint), &message, QUESTION_TIMEOUT_MS).await?;
            noted.map_err(|refusal| worker::Error::from(format!("{refusal:?}")))
        };
        let told = shards.iter().map(async |shard| {
            let told = tell(shard).await;
            told.inspect_err(|error| {
                report!("worker", "{} of {}/{}: {error}", Q::PATH, shard.0, shard.1);
            })
            .is_ok()
        });
        stream::iter(told).buffered(ASKED_AT_ONCE).collect().await
    }

    /// Which shards news were told, as the registry remembers; `progress` is to be remembered.
    async fn remembered(
        &self,
        name: &str,
        progress: Option<ToldSoFar>,
    ) -> worker::Result<Option<ToldSoFar>> {
        let news = name.to_owned();
        let question = Telling { news, progress };
        let registry = (&ObjectName::Registry, None);
        let told = ask(self.env, registry, &question, ASK_TIMEOUT_MS).await?;
        told.map_err(|refusal| worker::Error::from(format!("{refusal:?}")))
    }
}

fn name_of((key, shard, _): &ShardAddress<'_>) -> ShardName {
    (key.clone().into_owned(), *shard)
}
