//! Workers: `src/routing.rs`, and around it what `edge/plays.rs` and `edge/directory.rs` do.

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use futures_channel::oneshot::{self, Sender};
use hitparade::play;
use hitparade::routing::{self, MessageKind, Name, Network, NotCounted, Verdict};
use hitparade::topology::{ShardId, parts_of_key};

use super::*;

/// What a shard said; an error where it did not.
type Reply = Result<RecordReply, ()>;

/// What the routing of an attempt asks of the world.
enum Outgoing {
    Message {
        board_key: String,
        to: ShardId,
        kind: MessageKind,
        request: Vec<u8>,
        reply: Sender<Reply>,
    },
    Directory(Sender<Option<Rc<Directory>>>),
}

/// The network as an attempt sees it.
struct Wires {
    here: usize,
    outgoing: Rc<RefCell<Vec<Outgoing>>>,
}

impl Network for Wires {
    type Error = ();

    async fn send(
        &self,
        board_key: &str,
        to: &ShardId,
        _: Option<&str>,
        kind: MessageKind,
        request: &[u8],
    ) -> Reply {
        let (reply, answered) = oneshot::channel();
        self.outgoing.borrow_mut().push(Outgoing::Message {
            board_key: board_key.to_owned(),
            to: to.clone(),
            kind,
            request: request.to_vec(),
            reply,
        });
        answered.await.unwrap_or(Err(()))
    }

    async fn newer_directory(&self) -> Option<Rc<Directory>> {
        let (directory, answered) = oneshot::channel();
        let outgoing = Outgoing::Directory(directory);
        self.outgoing.borrow_mut().push(outgoing);
        answered.await.ok().flatten()
    }

    fn here(&self, table: &RegionTable) -> Option<String> {
        region_of(table, self.here).map(|region| region.region_id.clone())
    }
}

/// Where plays of a place count: as REGIONS says, else in the first region that there is.
fn region_of(table: &RegionTable, here: usize) -> Option<&Region> {
    let named = table.find(region_name(here));
    named.or(table.regions.first())
}

fn names_of(boards: NamedBoards) -> Option<play::BoardIds> {
    let named = (0..BOARDS).filter(|name| boards[*name]);
    let names: Vec<String> = named.map(|name| board_name(name).to_owned()).collect();
    (!names.is_empty()).then(|| names.into())
}

type Task = Pin<Box<dyn Future<Output = Result<Verdict, NotCounted<()>>>>>;

/// An attempt at a Worker.
pub struct Rpc {
    pub batch: usize,
    attempt: u64,
    worker: usize,
    /// Where the sender was.
    here: usize,
    /// `None` once it was answered.
    task: Option<Task>,
    outgoing: Rc<RefCell<Vec<Outgoing>>>,
    /// Messages that wait for their answer, by their number.
    asking: BTreeMap<u32, (Sender<Reply>, Rc<Asked>)>,
    messages: u32,
    /// The boards whose shards it asked, by their names.
    pub boards: BTreeMap<usize, usize>,
}

impl World {
    fn known_directory(&mut self, worker: usize, fresh_ms: u64) -> Option<Rc<Directory>> {
        let now_ms = self.now_ms;
        let copy = self.workers[worker].directory.clone();
        if let Some((directory, fetched_ms)) = &copy
            && now_ms - fetched_ms < fresh_ms
        {
            return Some(Rc::clone(directory));
        }
        let reaches = self.workers[worker].cut_off_until_ms <= now_ms && self.registry_is_up();
        let known = copy.map(|(directory, _)| directory);
        let fresh = match reaches {
            true => self.directory(known.as_deref()),
            false => None,
        };
        if let Some(directory) = fresh {
            self.check_directory(known.as_deref(), &directory);
            self.workers[worker].directory = Some((Rc::new(directory), now_ms));
        }
        let directory = self.workers[worker].directory.as_ref();
        directory.map(|(directory, _)| Rc::clone(directory))
    }

    pub(super) fn arrive(&mut self, arrival: Arrival) {
        let Arrival {
            batch: number,
            attempt,
            worker,
            here,
            sender_now_ms,
        } = arrival;
        let rpc = self.rpcs.len();
        let outgoing = Rc::default();
        self.rpcs.push(Rpc {
            batch: number,
            attempt,
            worker,
            here,
            task: None,
            outgoing: Rc::clone(&outgoing),
            asking: BTreeMap::new(),
            messages: 0,
            boards: BTreeMap::new(),
        });
        let Some(directory) = self.known_directory(worker, PLAYS_FRESH_MS) else {
            return self.worker_answers(rpc, Answer::TryAgain);
        };
        let batch = &self.batches[number];
        let arrival_ms = shifted(self.now_ms, self.workers[worker].skew_ms);
        let envelope = Envelope {
            sent_ms: batch.says_sent.then_some(batch.sent_ms),
            now_ms: Some(sender_now_ms),
            ..Envelope::default()
        };
        let Ok(clock) = Clock::new(&envelope, arrival_ms) else {
            return self.worker_answers(rpc, Answer::Refused);
        };
        let correction_ms = arrival_ms as i64 - sender_now_ms as i64;
        let plays: Vec<play::Play<'static>> = batch
            .plays
            .iter()
            .map(|play| play::Play {
                post_id: Cow::Owned(self.posts[play.post].clone()),
                region_id: play.region.map(|region| region_name(region).into()),
                boards: names_of(play.boards),
                timestamp_ms: shifted(play.timestamp_ms, correction_ms),
                count: play.count,
            })
            .collect();
        let client = format!("client-{}", batch.client);
        let name = match batch.has_client {
            true => Name::ClientSeq(client, batch.seq),
            false => Name::IdempotencyKey(format!("{client} {}", batch.seq)),
        };
        let name = batch.has_key.then_some(name);
        let home = batch.home.clone();
        let boards = names_of(batch.boards);
        let (is_trusted, says_sent) = (batch.is_trusted, batch.says_sent);
        let network = Wires { here, outgoing };
        // A Worker that has just been started, which has no directory yet.
        let is_blind = self.random.chance(300);
        self.rpcs[rpc].task = Some(Box::pin(async move {
            let batch = routing::SentBatch {
                name: name.as_ref(),
                is_trusted,
                home: home.as_ref(),
                sent_ms: clock.sent_ms,
                says_sent,
                plays_hash: number as u32,
                boards,
                plays: plays.into_iter().map(Ok).collect(),
            };
            if is_blind {
                let here = (region_name(here), None);
                let counted = routing::count_blind(&network, here, &batch).await;
                if let Some(counted) = counted {
                    return counted;
                }
            }
            routing::count(&network, directory, batch).await
        }));
        self.after(RECORD_TIMEOUT_MS, Event::RecordTimeout { rpc });
        self.go_on(rpc);
    }

    /// Lets the routing of an attempt run until it waits for an answer, or is done.
    fn go_on(&mut self, rpc: usize) {
        loop {
            let Some(task) = self.rpcs[rpc].task.as_mut() else {
                return;
            };
            let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            if let Poll::Ready(outcome) = polled {
                return self.routed(rpc, outcome);
            }
            let outgoing = self.rpcs[rpc].outgoing.take();
            let mut asks_for_table = false;
            for outgoing in outgoing {
                match outgoing {
                    Outgoing::Directory(answer) => {
                        let worker = self.rpcs[rpc].worker;
                        let table = self.known_directory(worker, REFETCH_MS);
                        // Nobody hangs up here.
                        let _ = answer.send(table);
                        asks_for_table = true;
                    }
                    Outgoing::Message {
                        board_key,
                        to,
                        kind,
                        request,
                        reply,
                    } => {
                        let stage = self.rpcs[rpc].messages;
                        self.rpcs[rpc].messages += 1;
                        let Some(board) = self.board_of(&board_key) else {
                            return;
                        };
                        let asked = self.send((rpc, stage), (board, &to), kind, request);
                        self.rpcs[rpc].asking.insert(stage, (reply, asked));
                    }
                }
            }
            if !asks_for_table {
                return;
            }
        }
    }

    /// The shard of a place.
    pub(super) fn node_of(&mut self, board: usize, place: &ShardId) -> usize {
        let (region_id, incarnation) = parts_of_key(&place.key);
        let region = (0..2).find(|region| region_name(*region) == region_id);
        self.shard_node(
            board,
            (region.unwrap_or_default(), incarnation, place.shard),
        )
    }

    fn send(
        &mut self,
        (rpc, stage): (usize, u32),
        (board, to): (usize, &ShardId),
        kind: MessageKind,
        mut request: Vec<u8>,
    ) -> Rc<Asked> {
        let number = self.rpcs[rpc].batch;
        let node = self.node_of(board, to);
        let (key, shard) = (&to.key, to.shard);
        let board_key = self.key_of_board(board);
        self.say(|| format!("batch {number}: {kind:?} to {board_key}/{key}/{shard}"));
        let asked = self.rpcs[rpc].boards.insert(self.boards[board].name, board);
        if asked.is_some_and(|asked| asked != board) {
            self.fail(format!(
                "an attempt of batch {number} asks two boards of one name"
            ));
        }
        self.figures.claims += u64::from(kind == MessageKind::Claim);
        let routed = codec::decode::<RecordRequest<'_>>(&request).map(|request| request.batch);
        let blind = || codec::decode::<BlindRequest<'_>>(&request).map(|request| request.batch);
        let counts = routed.or_else(|_| blind()).ok().and_then(|batch| {
            let batch = codec::decode::<hitparade::wire::Batch<'_>>(batch).ok()?;
            let names_region = batch.key.and_then(<[u8]>::first) == Some(&1);
            let region = self.shards[node].region;
            let part = part_of(board, names_region.then_some(region));
            Some((part, batch.plays.len()))
        });
        let (part, plays) = counts.unwrap_or((part_of(board, None), 0));
        let asked = Rc::new(Asked {
            batch: number,
            part,
            is_claim: kind == MessageKind::Claim,
            plays,
        });
        let worker = &self.workers[self.rpcs[rpc].worker];
        if worker.foreign_until_ms > self.now_ms {
            request[1] += 1;
        }
        let message = Rc::new(request);
        let batch = &mut self.batches[number];
        batch.met.insert(node);
        let slowest_ms = if batch.says_sent {
            25 * MINUTE_MS
        } else {
            4 * MINUTE_MS
        };
        let most = if batch.has_key { 2 } else { 1 };
        for delay_ms in self.deliveries(slowest_ms).into_iter().take(most) {
            let record = Event::Record {
                rpc,
                stage,
                shard: node,
                message: Rc::clone(&message),
                asked: Rc::clone(&asked),
            };
            self.after(delay_ms, record);
        }
        asked
    }

    /// A message arrives at a shard.
    pub(super) fn deliver(
        &mut self,
        rpc: usize,
        stage: u32,
        shard: usize,
        message: &Rc<Vec<u8>>,
        asked: Rc<Asked>,
    ) {
        let is_down = self.shards[shard].down_until_ms > self.now_ms;
        if is_down && self.random.chance(500) {
            // The platform says so; else nobody answers.
            let within_ms = self.random.below(100);
            return self.after(within_ms, Event::RecordFailed { rpc, stage });
        }
        let is_claim = asked.is_claim;
        self.record(rpc, stage, shard, message, asked);
        // By chance alone a crash would hardly ever meet a claim on its way into the disk.
        let crashes = !self.calm && self.profile.shard_crash_every_ms > 0;
        if is_claim && crashes && self.random.chance(60) {
            let life = self.shards[shard].life;
            let within_ms = self.random.below(40);
            self.after(within_ms, Event::Die { shard, life });
        }
    }

    pub(super) fn record_answer(&mut self, rpc: usize, stage: u32, reply: Reply) {
        let Some((answer, asked)) = self.rpcs[rpc].asking.remove(&stage) else {
            return;
        };
        if let Ok(RecordReply::Counted {
            repeated: false,
            too_many,
        }) = &reply
            && asked.plays > too_many.len()
        {
            let counted = asked.plays - too_many.len();
            let batch = &mut self.batches[asked.batch];
            batch.counted_plays.insert(asked.part, counted);
        }
        // Its sender may have had its answer.
        let is_gone = reply == Ok(RecordReply::Gone);
        let _ = answer.send(reply);
        if is_gone && !self.is_gone_for_good(asked.part / PARTS) {
            let part = asked.part;
            return self.fail(format!(
                "part {part} is for a board that is there, and told to be gone"
            ));
        }
        self.go_on(rpc);
    }

    fn routed(&mut self, rpc: usize, outcome: Result<Verdict, NotCounted<()>>) {
        let batch = self.rpcs[rpc].batch;
        let has_key = self.batches[batch].has_key;
        let (answer, is_certain) = match outcome {
            Ok(verdict) => {
                let rejected = verdict.rejected.iter().map(|rejection| {
                    let board_id = rejection.board.as_deref();
                    let name = board_id.and_then(|id| (0..BOARDS).find(|it| board_name(*it) == id));
                    (rpc, rejection.index, name)
                });
                self.batches[batch].rejected.extend(rejected);
                (Answer::Accepted, false)
            }
            Err(NotCounted::NoGoodPlay(_) | NotCounted::TooOld | NotCounted::KeyReused) => {
                (Answer::Refused, true)
            }
            Err(NotCounted::Busy { .. } | NotCounted::Refused(_)) => (Answer::TryAgain, true),
            Err(NotCounted::InDoubt | NotCounted::Unanswered(())) => (Answer::TryAgain, false),
            Err(NotCounted::UnknownHome) => {
                self.figures.unknown_homes += 1;
                (Answer::TryAgain, false)
            }
            Err(error) => {
                self.fail(format!("batch {batch}: {error:?}"));
                (Answer::Refused, false)
            }
        };
        self.batches[batch].not_counted |= is_certain && !has_key;
        self.worker_answers(rpc, answer);
    }

    pub(super) fn record_timeout(&mut self, rpc: usize) {
        if self.rpcs[rpc].task.is_some() {
            self.worker_answers(rpc, Answer::TryAgain);
        }
    }

    fn worker_answers(&mut self, rpc: usize, answer: Answer) {
        let Rpc {
            batch,
            attempt,
            worker,
            here,
            ..
        } = self.rpcs[rpc];
        self.rpcs[rpc].task = None;
        self.rpcs[rpc].asking.clear();
        self.say(|| format!("batch {batch}.{attempt} answered {answer:?}"));
        if !self.calm && self.random.chance(self.profile.answer_lost) {
            return;
        }
        let directory = self.workers[worker].directory.as_ref();
        let home = directory.and_then(|(directory, _)| {
            let region = region_of(&directory.table, here)?;
            Some(Home::of(region, directory.boards()))
        });
        for delay_ms in self.deliveries(5 * MINUTE_MS) {
            let outcome = Event::Outcome {
                rpc,
                batch,
                attempt,
                answer,
                home: home.clone(),
            };
            self.after(delay_ms, outcome);
        }
    }
}
