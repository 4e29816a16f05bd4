//! Workers: `src/routing.rs`, and around it what `src/edge/plays.rs`, `directory.rs` and `leaderboards.rs` do.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use hitparade::board::{Board, Directory, MAIN, ObjectName};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::home::Home;
use hitparade::leaderboard::Leaderboard;
use hitparade::play::Play;
use hitparade::routing::{self, MessageKind, Name, Network, SentBatch};
use hitparade::topology::{RegionTable, ShardId};
use hitparade::wire::{
    ChartReply, ChartRequest, DirectoryQuestion, DirectoryReply, KeptChart, RecordReply, Sort,
    WindowRequest,
};

use crate::platform::Platform;

/// As `src/edge/directory.rs` and `leaderboards.rs` have them.
const PLAYS_FRESH_MS: u64 = 60_000;
const CHARTS_FRESH_MS: u64 = 5_000;
const CHART_MEMORY_MS: u64 = 1_000;
const BLIND_BATCHES: u32 = 10;

/// Which isolates the platform runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolates {
    /// Each request meets one that has just been started, in a place whose cache is empty: nothing can cost
    /// more.
    Fresh,
    /// One for all: what a single machine has.
    One,
}

#[derive(Default)]
struct Memory {
    directory: Option<(Rc<Directory>, u64)>,
    /// Batches without one since it was asked for.
    blind: u32,
    charts: BTreeMap<Vec<u8>, u64>,
}

#[derive(Clone)]
pub struct Workers {
    platform: Platform,
    isolates: Isolates,
    memory: Rc<RefCell<Memory>>,
    pub requests: Rc<Cell<u64>>,
    pub accepted: Rc<Cell<u64>>,
    /// Charts that were shown, and those of them that may lack something.
    pub shown: Rc<Cell<u64>>,
    pub incomplete: Rc<Cell<u64>>,
}

impl Workers {
    pub fn new(platform: &Platform, isolates: Isolates) -> Self {
        Workers {
            platform: platform.clone(),
            isolates,
            memory: Rc::default(),
            requests: Rc::default(),
            accepted: Rc::default(),
            shown: Rc::default(),
            incomplete: Rc::default(),
        }
    }

    /// A request comes to an isolate.
    fn isolate(&self) -> Self {
        count(&self.requests);
        match self.isolates {
            Isolates::One => self.clone(),
            Isolates::Fresh => Workers {
                memory: Rc::default(),
                ..self.clone()
            },
        }
    }

    fn goes_blind(&self) -> bool {
        let mut memory = self.memory.borrow_mut();
        let now_ms = self.platform.now_ms();
        let directory = memory.directory.as_ref();
        let is_fresh = directory.is_some_and(|(_, at_ms)| now_ms - at_ms < PLAYS_FRESH_MS);
        if is_fresh || memory.blind >= BLIND_BATCHES {
            return false;
        }
        memory.blind += 1;
        true
    }

    async fn directory(&self, fresh_ms: u64) -> Rc<Directory> {
        let known = self.memory.borrow().directory.clone();
        let now_ms = self.platform.now_ms();
        if let Some((directory, fetched_ms)) = &known
            && now_ms - fetched_ms < fresh_ms
        {
            return Rc::clone(directory);
        }
        self.memory.borrow_mut().blind = 0;
        let version = known.as_ref().map(|(directory, _)| directory.version);
        let question = codec::encode(&DirectoryQuestion { version });
        let reply = self
            .platform
            .ask(&ObjectName::Registry, "/directory", &question);
        let DirectoryReply(news) = codec::decode(&reply.await.unwrap()).unwrap();
        let directory = match known {
            Some((mut directory, _)) => {
                Rc::make_mut(&mut directory).take(news.unwrap());
                directory
            }
            None => Rc::new(Directory::of_news(news.unwrap()).unwrap()),
        };
        let copy = (Rc::clone(&directory), self.platform.now_ms());
        self.memory.borrow_mut().directory = Some(copy);
        directory
    }

    /// A visitor's page sends a play.
    ///
    /// # Panics
    /// Where it is not counted.
    pub async fn play(self, region_id: &'static str, visitor: u64, post_id: String) {
        let isolate = self.isolate();
        // The beacon's file says it.
        let home = Home {
            key: Some(region_id.to_owned()),
            shards: 1,
            boards: BTreeMap::new(),
        };
        let now_ms = self.platform.now_ms();
        let name = Name::ClientSeq(format!("visitor-{visitor:016x}"), 1);
        let batch = SentBatch {
            name: Some(&name),
            is_trusted: false,
            home: Some(&home),
            sent_ms: now_ms,
            says_sent: true,
            plays_hash: visitor as u32,
            boards: None,
            plays: vec![Ok(Play {
                post_id: Cow::Owned(post_id),
                region_id: None,
                boards: None,
                timestamp_ms: now_ms,
                count: 1,
            })],
        };
        let network = Shards {
            worker: isolate,
            region_id,
        };
        let blind = match network.worker.goes_blind() {
            true => routing::count_blind(&network, (region_id, None), &batch).await,
            false => None,
        };
        let verdict = match blind {
            Some(verdict) => verdict,
            None => {
                let directory = network.worker.directory(PLAYS_FRESH_MS).await;
                routing::count(&network, directory, batch).await
            }
        };
        assert_eq!(verdict.unwrap().accepted, 1);
        count(&self.accepted);
    }

    /// A visitor's page shows a chart.
    ///
    /// # Panics
    /// Where there is none.
    pub async fn chart(self, region_id: &'static str, scope: &'static str) {
        let isolate = self.isolate();
        let directory = isolate.directory(CHARTS_FRESH_MS).await;
        let board = directory.board(MAIN).map(Board::key).unwrap();
        let question = codec::encode(&chart_request(scope));
        let now_ms = self.platform.now_ms();
        let received_ms = isolate.memory.borrow().charts.get(&question).copied();
        count(&self.shown);
        if received_ms.is_some_and(|received_ms| now_ms - received_ms < CHART_MEMORY_MS) {
            return;
        }
        let shard = ObjectName::shard(&board, region_id, 0);
        let reply = self
            .platform
            .ask(&shard, "/chart", &question)
            .await
            .unwrap();
        let leaderboard = leaderboard_of(&reply);
        if leaderboard.incomplete {
            count(&self.incomplete);
        }
        let received_ms = self.platform.now_ms();
        isolate
            .memory
            .borrow_mut()
            .charts
            .insert(question, received_ms);
    }

    /// All plays of the last day, as a chart has them.
    ///
    /// # Panics
    /// Where there is none.
    pub async fn total(self, told: Rc<Cell<u64>>) {
        let question = codec::encode(&chart_request("global"));
        let global = ObjectName::global(MAIN);
        let reply = self
            .platform
            .ask(&global, "/chart", &question)
            .await
            .unwrap();
        let ChartReply(reply) = codec::decode(&reply).unwrap();
        told.set(reply.unwrap().total_views);
    }
}

fn count(what: &Cell<u64>) {
    what.set(what.get() + 1);
}

fn chart_request(scope: &str) -> ChartRequest {
    ChartRequest {
        scope: scope.into(),
        window: WindowRequest::Sliding {
            length_ms: hitparade::window::DAY_MS,
        },
        sort: Sort::Views,
        k_class: 10,
        filter: Filter::default(),
    }
}

fn leaderboard_of(kept: &[u8]) -> Leaderboard {
    let kept: KeptChart<'_> = codec::decode(kept).unwrap();
    let ChartReply(reply) = codec::decode(kept.reply).unwrap();
    reply.unwrap()
}

/// The shards, for one request.
struct Shards {
    worker: Workers,
    region_id: &'static str,
}

impl Network for Shards {
    type Error = ();

    async fn send(
        &self,
        board_key: &str,
        to: &ShardId,
        _: Option<&str>,
        _: MessageKind,
        request: &[u8],
    ) -> Result<RecordReply, ()> {
        let shard = ObjectName::shard(board_key, &to.key, to.shard);
        let reply = self.worker.platform.ask(&shard, "/record", request);
        codec::decode(&reply.await.map_err(|_| ())?).map_err(|_| ())
    }

    async fn newer_directory(&self) -> Option<Rc<Directory>> {
        Some(self.worker.directory(0).await)
    }

    fn here(&self, _: &RegionTable) -> Option<String> {
        Some(self.region_id.to_owned())
    }
}
