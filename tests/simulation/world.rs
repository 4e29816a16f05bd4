//! Clients, Workers, shards, the global object, the network and the disks, on virtual time.
//!
//! The nodes do what `edge/plays.rs`, `edge/table.rs`, `region/object.rs` and `global/object.rs`
//! do on the platform, step by step; between any two steps anything may happen.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::rc::Rc;

use hitparade::codec;
use hitparade::global::{ChartRules, FirstRegion, Global};
use hitparade::mutants::{self, Mutant};
use hitparade::play::{Clock, Envelope};
use hitparade::region::{self, Admission, Alarm, Limits, PUSH_TIMEOUT_MS, PUSHES_AN_ALARM, Shard};
use hitparade::storage::StorageError;
use hitparade::summary::{Seed, Summary};
use hitparade::topology::RegionTable;
use hitparade::window::{DAY_MS, HOUR_MS, MINUTE_MS, Span};
use hitparade::wire::*;

use crate::disk::{Disk, Fault};
use crate::model::*;
use crate::random::Random;

const SEED: [u8; 16] = [9; 16];
const RECORD_TIMEOUT_MS: u64 = 10_000;
const TABLE_FRESH_MS: u64 = 10_000;
/// The clocks of two nodes differ by at most twice this.
const MAX_SKEW_MS: u64 = 75_000;
/// A request reaches its Worker within this, or not at all: what `CLAIM_WITHIN_MS` reckons with.
const MAX_UNDER_WAY_MS: u64 = 60_000;

/// What goes wrong in a run, and how large it is. Each fault is there in half of the runs, so that
/// they meet in all combinations.
pub struct Profile {
    regions: usize,
    most_shards: u64,
    workers: usize,
    clients: usize,
    active_ms: u64,
    batch_every_ms: u64,
    lost: u64,
    doubled: u64,
    slow: u64,
    answer_lost: u64,
    skew_ms: u64,
    shard_crash_every_ms: u64,
    global_crash_every_ms: u64,
    write_fault_every_ms: u64,
    reshard_every_ms: u64,
    storage_loss: bool,
    set_back: bool,
    outage: bool,
    late: u64,
    alarm_fault: u64,
    foreign_every_ms: u64,
    damage_outbox: bool,
    counters: usize,
    limits: Limits,
}

impl Profile {
    fn new(random: &mut Random) -> Self {
        let often = |random: &mut Random, every_ms: u64| match random.chance(500) {
            true => random.between(every_ms / 4, every_ms),
            false => 0,
        };
        let rate = |random: &mut Random, most: u64| match random.chance(500) {
            true => random.below(most),
            false => 0,
        };
        let mut limits = Limits::default();
        if random.chance(700) {
            limits.journal_rows = random.between(3, 12);
            limits.checkpoint_rows = random.between(1, limits.journal_rows - 1);
            limits.late_panes = random.between(1, 4) as usize;
            limits.push_bytes = random.between(100, 4_000) as usize;
            limits.provisional_bytes = random.between(100, 4_000) as usize;
        }
        if random.chance(200) {
            limits.waiting_requests = random.between(1, 4) as usize;
            limits.outbox_bytes = random.between(200, 4_000);
        }
        Profile {
            regions: random.between(1, 2) as usize,
            most_shards: random.between(1, 4),
            workers: random.between(1, 3) as usize,
            clients: random.between(1, 5) as usize,
            active_ms: random.between(2, 14) * MINUTE_MS,
            batch_every_ms: random.between(1_500, 15_000),
            lost: rate(random, 200),
            doubled: rate(random, 300),
            slow: rate(random, 150),
            answer_lost: rate(random, 400),
            skew_ms: rate(random, MAX_SKEW_MS),
            shard_crash_every_ms: often(random, 2 * MINUTE_MS),
            global_crash_every_ms: often(random, 2 * MINUTE_MS),
            write_fault_every_ms: often(random, MINUTE_MS),
            reshard_every_ms: often(random, 4 * MINUTE_MS),
            storage_loss: random.chance(150),
            set_back: random.chance(150),
            outage: random.chance(150),
            late: rate(random, 600),
            alarm_fault: rate(random, 500),
            foreign_every_ms: often(random, 4 * MINUTE_MS),
            damage_outbox: random.chance(100),
            counters: match random.chance(700) {
                true => random.between(2, 8) as usize,
                false => 64,
            },
            limits,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accepted,
    TryAgain,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Acknowledged,
    /// Refused for good, or given up: it may be counted once, or not at all.
    Unknown,
}

struct Batch {
    client: usize,
    seq: u64,
    region: usize,
    has_key: bool,
    says_sent: bool,
    /// By the client's clock.
    sent_ms: u64,
    first_ms: u64,
    /// By the client's clock; the Worker corrects it.
    plays: Vec<(usize, u64, u32)>,
    attempts: u64,
    fate: Fate,
    /// It met a storage that was lost, or a state that was set back: nothing is promised.
    excused: bool,
}

struct Rpc {
    batch: usize,
    attempt: u64,
    worker: usize,
    stage: u32,
    done: bool,
    /// What to send once the claim is answered.
    then: Option<(u32, Rc<Vec<u8>>, Rc<Asked>)>,
}

enum Event {
    NewBatch,
    Attempt(usize),
    Arrive {
        batch: usize,
        attempt: u64,
        worker: usize,
        sender_now_ms: u64,
    },
    Record {
        rpc: usize,
        stage: u32,
        shard: usize,
        message: Rc<Vec<u8>>,
        asked: Rc<Asked>,
    },
    RecordAnswer {
        rpc: usize,
        stage: u32,
        reply: RecordReply,
    },
    RecordTimeout {
        rpc: usize,
        stage: u32,
    },
    Outcome {
        batch: usize,
        attempt: u64,
        answer: Answer,
    },
    ClientTimeout {
        batch: usize,
        attempt: u64,
    },
    Commit {
        shard: usize,
        life: u64,
    },
    Committed {
        shard: usize,
        life: u64,
        written: u64,
        point: region::SyncPoint,
    },
    Settled {
        shard: usize,
        life: u64,
        written: u64,
        point: region::SyncPoint,
    },
    Alarm {
        shard: usize,
        number: u64,
    },
    PushReady {
        shard: usize,
        life: u64,
        written: u64,
        point: region::SyncPoint,
    },
    Push {
        shard: usize,
        life: u64,
        number: u64,
        message: Rc<Vec<u8>>,
        pushed: Rc<Pushed>,
    },
    PushAnswer {
        shard: usize,
        life: u64,
        number: u64,
        reply: Option<PushReply>,
    },
    GlobalSynced {
        life: u64,
        written: u64,
        point: hitparade::global::SyncPoint,
    },
    ShardCrash,
    GlobalCrash,
    WriteFault,
    Reshard,
    LoseStorage,
    Backup,
    SetBack,
    Outage,
    Foreign,
    DamageOutbox,
    Chart,
}

/// A disk, and what ought to be on it after each batch of writes that is not durable.
struct Drive<D> {
    disk: Disk,
    durable: D,
    later: VecDeque<D>,
    /// Batches that became durable, ever.
    durable_count: u64,
}

impl<D: Clone + Default> Drive<D> {
    fn new() -> Self {
        Drive {
            disk: Disk::default(),
            durable: D::default(),
            later: VecDeque::new(),
            durable_count: 0,
        }
    }

    fn latest(&self) -> &D {
        self.later.back().unwrap_or(&self.durable)
    }

    fn written(&self) -> u64 {
        self.durable_count + self.later.len() as u64
    }

    fn sync(&mut self, up_to: u64) {
        let batches = up_to.saturating_sub(self.durable_count) as usize;
        let batches = batches.min(self.later.len());
        self.disk.make_durable(batches);
        for durable in self.later.drain(..batches) {
            self.durable = durable;
        }
        self.durable_count += batches as u64;
    }

    fn crash(&mut self, keep: usize) {
        self.disk.crash(keep);
        self.later.truncate(keep);
        self.durable_count += keep as u64;
        if let Some(last) = self.later.drain(..).next_back() {
            self.durable = last;
        }
    }
}

struct ShardNode {
    region: usize,
    shard: u32,
    skew_ms: i64,
    drive: Drive<ShardOnDisk>,
    memory: ShardInMemory,
    state: Option<Shard>,
    /// Counts deaths: what began before one does not end after it.
    life: u64,
    down_until_ms: u64,
    committing: bool,
    pushing: bool,
    pushes_left: usize,
    push_number: u64,
    alarm: Alarm,
    alarm_number: u64,
    alarm_comes: bool,
    waiters: BTreeMap<u64, Vec<(usize, u32, RecordReply)>>,
    log_id: Option<u128>,
    foreign_until_ms: u64,
}

struct GlobalNode {
    skew_ms: i64,
    drive: Drive<GlobalOnDisk>,
    memory: GlobalInMemory,
    state: Option<Global>,
    life: u64,
    down_until_ms: u64,
    syncing: bool,
    foreign_until_ms: u64,
    backup: Option<Backup>,
    reshards: u64,
    was_set_back: bool,
}

struct Backup {
    rows: [BTreeMap<Vec<u8>, Vec<u8>>; 9],
    model: GlobalOnDisk,
    reshards: u64,
}

struct Worker {
    skew_ms: i64,
    table: Option<(Rc<RegionTable>, u64)>,
    foreign_until_ms: u64,
}

pub struct World {
    random: Random,
    profile: Profile,
    now_ms: u64,
    end_ms: u64,
    calm: bool,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    posts: Vec<String>,
    batches: Vec<Batch>,
    rpcs: Vec<Rpc>,
    client_skews_ms: Vec<i64>,
    workers: Vec<Worker>,
    shards: Vec<ShardNode>,
    global: GlobalNode,
    violation: Option<String>,
    pub figures: Figures,
    trace: bool,
}

/// What a run did, to see that it did something.
#[derive(Default, Debug, Clone, Copy)]
pub struct Figures {
    pub batches: u64,
    pub acknowledged: u64,
    pub pushes: u64,
    pub charts: u64,
    pub crashes: u64,
    pub claims: u64,
    pub events: u64,
}

fn shifted(time_ms: u64, skew_ms: i64) -> u64 {
    time_ms.saturating_add_signed(skew_ms)
}

pub fn region_name(region: usize) -> &'static str {
    ["NA", "EU"][region]
}

/// Runs one seed.
///
/// # Errors
/// What was violated.
pub fn run(seed: u64, trace: bool) -> Result<Figures, String> {
    let mut world = World::new(seed, trace);
    hitparade::capacity::set_counters(Some(world.profile.counters));
    world.run();
    hitparade::capacity::set_counters(None);
    match world.violation {
        None => Ok(world.figures),
        Some(violation) => Err(format!("seed {seed}: {violation}")),
    }
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let profile = Profile::new(&mut random);
        let start_ms = 20_000 * DAY_MS + random.below(3 * DAY_MS);
        let mut skew = |most_ms: u64| random.below(2 * most_ms + 1) as i64 - most_ms as i64;
        let worker = |skew_ms| Worker {
            skew_ms,
            table: None,
            foreign_until_ms: 0,
        };
        let workers = (0..profile.workers)
            .map(|_| worker(skew(profile.skew_ms)))
            .collect();
        let client_skews_ms = (0..profile.clients)
            .map(|_| skew(10 * profile.skew_ms))
            .collect();
        let global = GlobalNode {
            skew_ms: skew(profile.skew_ms),
            drive: Drive::new(),
            memory: GlobalInMemory::default(),
            state: None,
            life: 0,
            down_until_ms: 0,
            syncing: false,
            foreign_until_ms: 0,
            backup: None,
            reshards: 0,
            was_set_back: false,
        };
        World {
            now_ms: start_ms,
            end_ms: start_ms + profile.active_ms,
            calm: false,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            posts: (0..12).map(|post| format!("post-{post}")).collect(),
            batches: Vec::new(),
            rpcs: Vec::new(),
            client_skews_ms,
            workers,
            shards: Vec::new(),
            global,
            violation: None,
            figures: Figures::default(),
            random,
            profile,
            trace,
        }
    }

    fn fail(&mut self, what: impl Into<String>) {
        let what = what.into();
        if self.violation.is_none() {
            self.violation = Some(what);
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            let start_ms = self.end_ms - self.profile.active_ms;
            eprintln!("{:>9} {}", self.now_ms - start_ms, what());
        }
    }

    fn at(&mut self, time_ms: u64, event: Event) {
        self.queue
            .push(Reverse((time_ms.max(self.now_ms), self.next_event)));
        self.events.insert(self.next_event, event);
        self.next_event += 1;
    }

    fn after(&mut self, delay_ms: u64, event: Event) {
        self.at(self.now_ms.saturating_add(delay_ms), event);
    }

    fn run(&mut self) {
        self.schedule_faults();
        self.after(0, Event::NewBatch);
        self.after(20_000, Event::Chart);
        while let Some(Reverse((time_ms, number))) = self.queue.pop() {
            if self.violation.is_some() {
                return;
            }
            self.now_ms = time_ms;
            if !self.calm && time_ms >= self.end_ms {
                self.calm_down();
            }
            if time_ms > self.end_ms + 3 * HOUR_MS {
                self.fail("it does not come to rest");
                return;
            }
            if let Some(event) = self.events.remove(&number) {
                self.figures.events += 1;
                self.handle(event);
            }
        }
        if self.violation.is_none() {
            self.check_rest();
        }
    }

    fn schedule_faults(&mut self) {
        let profile = &self.profile;
        let mut planned: Vec<(u64, Event)> = Vec::new();
        let mut every = |every_ms: u64, make: fn() -> Event, random: &mut Random| {
            if every_ms == 0 {
                return;
            }
            let mut at_ms = random.below(2 * every_ms);
            while at_ms < profile.active_ms {
                planned.push((at_ms, make()));
                at_ms += random.below(2 * every_ms) + 1;
            }
        };
        let random = &mut self.random;
        every(profile.shard_crash_every_ms, || Event::ShardCrash, random);
        every(profile.global_crash_every_ms, || Event::GlobalCrash, random);
        every(profile.write_fault_every_ms, || Event::WriteFault, random);
        every(profile.reshard_every_ms, || Event::Reshard, random);
        every(profile.foreign_every_ms, || Event::Foreign, random);
        let once: [(bool, fn() -> Event); 4] = [
            (profile.storage_loss, || Event::LoseStorage),
            (profile.outage, || Event::Outage),
            (profile.damage_outbox, || Event::DamageOutbox),
            (profile.set_back, || Event::SetBack),
        ];
        for (happens, make) in once {
            if happens {
                planned.push((random.below(profile.active_ms), make()));
            }
        }
        if profile.set_back {
            planned.push((random.below(profile.active_ms), Event::Backup));
        }
        for (delay_ms, event) in planned {
            self.after(delay_ms, event);
        }
    }

    /// From now on nothing goes wrong any more: everything must come to rest, and be exact.
    fn calm_down(&mut self) {
        self.calm = true;
        self.say(|| "calm".into());
        self.global.down_until_ms = 0;
        self.global.foreign_until_ms = 0;
        self.global.drive.disk.clear_fault();
        for worker in &mut self.workers {
            worker.foreign_until_ms = 0;
        }
        for shard in 0..self.shards.len() {
            let node = &mut self.shards[shard];
            node.down_until_ms = 0;
            node.foreign_until_ms = 0;
            node.drive.disk.clear_fault();
            // Alarms that were lost come with the next request; here it comes.
            node.alarm_number += 1;
            node.alarm_comes = true;
            let number = node.alarm_number;
            self.after(1, Event::Alarm { shard, number });
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::NewBatch => self.new_batch(),
            Event::Attempt(batch) => self.attempt(batch),
            Event::Arrive {
                batch,
                attempt,
                worker,
                sender_now_ms,
            } => {
                self.arrive(batch, attempt, worker, sender_now_ms);
            }
            Event::Record {
                rpc,
                stage,
                shard,
                message,
                asked,
            } => {
                self.record(rpc, stage, shard, &message, asked);
            }
            Event::RecordAnswer { rpc, stage, reply } => self.record_answer(rpc, stage, reply),
            Event::RecordTimeout { rpc, stage } => {
                if self.rpcs[rpc].stage == stage {
                    self.worker_answers(rpc, Answer::TryAgain);
                }
            }
            Event::Outcome {
                batch,
                attempt,
                answer,
            } => self.outcome(batch, attempt, answer),
            Event::ClientTimeout { batch, attempt } => {
                if self.batches[batch].attempts == attempt {
                    self.outcome(batch, attempt, Answer::TryAgain);
                }
            }
            Event::Commit { shard, life } if self.lives(shard, life) => self.commit(shard),
            Event::Committed {
                shard,
                life,
                written,
                point,
            } if self.lives(shard, life) => {
                self.committed(shard, written, point);
            }
            Event::Settled {
                shard,
                life,
                written,
                point,
            } if self.lives(shard, life) => {
                self.shards[shard].drive.sync(written);
                self.shard_op(shard, |state, _, _| {
                    state.synced(point);
                    Ok(())
                });
            }
            Event::Alarm { shard, number } => self.alarm(shard, number),
            Event::PushReady {
                shard,
                life,
                written,
                point,
            } if self.lives(shard, life) => {
                self.push(shard, written, point);
            }
            Event::Push {
                shard,
                life,
                number,
                message,
                pushed,
            } => {
                self.take_push(shard, life, number, &message, &pushed);
            }
            Event::PushAnswer {
                shard,
                life,
                number,
                reply,
            } if self.lives(shard, life) => {
                self.pushed(shard, number, reply);
            }
            Event::GlobalSynced {
                life,
                written,
                point,
            } if self.global.life == life => {
                self.global.drive.sync(written);
                self.global.syncing = false;
                self.global_op(|global, _, _| {
                    global.synced(&point);
                    Ok(())
                });
            }
            Event::Chart => {
                self.chart();
                self.check_conservation();
                let next_ms = self.random.between(300, 60_000);
                if self.now_ms + next_ms < self.end_ms + 3 * MINUTE_MS {
                    self.after(next_ms, Event::Chart);
                }
            }
            _ if self.calm => {}
            fault => self.strike(fault),
        }
    }

    fn lives(&self, shard: usize, life: u64) -> bool {
        self.shards[shard].life == life
    }

    // ------------------------------------------------------------------------- clients

    fn new_batch(&mut self) {
        if self.calm {
            return;
        }
        let next_ms = self.random.below(2 * self.profile.batch_every_ms);
        self.after(next_ms, Event::NewBatch);
        let random = &mut self.random;
        let client = random.below(self.profile.clients as u64) as usize;
        let sent_ms = shifted(self.now_ms, self.client_skews_ms[client]);
        let mut plays = Vec::new();
        for _ in 0..random.between(1, 4) {
            let late = random.chance(self.profile.late);
            let mut ago_ms = random.below(20_000);
            if late {
                let most_ms = [10 * MINUTE_MS, 4 * HOUR_MS, 23 * HOUR_MS][random.below(3) as usize];
                ago_ms = random.below(most_ms);
            }
            let count = if random.chance(100) {
                random.between(2, 1_000)
            } else {
                1
            };
            let post = random.skewed(12) as usize;
            plays.push((post, sent_ms.saturating_sub(ago_ms), count as u32));
        }
        let batch = Batch {
            client,
            seq: self.batches.len() as u64,
            region: random.below(self.profile.regions as u64) as usize,
            has_key: !random.chance(100),
            says_sent: !random.chance(50),
            sent_ms,
            first_ms: self.now_ms,
            plays,
            attempts: 0,
            fate: Fate::Open,
            excused: false,
        };
        self.batches.push(batch);
        self.figures.batches += 1;
        let number = self.batches.len() - 1;
        self.attempt(number);
        if random_repeat(&mut self.random) {
            // A sender that does not wait for its answer.
            let delay_ms = self.random.below(3_000);
            self.after(delay_ms, Event::Attempt(number));
        }
    }

    fn attempt(&mut self, number: usize) {
        let worker = self.random.below(self.workers.len() as u64) as usize;
        let batch = &mut self.batches[number];
        let another = batch.attempts == 0 || batch.has_key;
        if batch.fate != Fate::Open || !another {
            return;
        }
        batch.attempts += 1;
        let attempt = batch.attempts;
        let sender_now_ms = shifted(self.now_ms, self.client_skews_ms[batch.client]);
        // Nothing tells a doubled request without a key from two requests.
        let most = if self.batches[number].has_key { 2 } else { 1 };
        for delay_ms in self.deliveries(MAX_UNDER_WAY_MS).into_iter().take(most) {
            let arrive = Event::Arrive {
                batch: number,
                attempt,
                worker,
                sender_now_ms,
            };
            self.after(delay_ms, arrive);
        }
        let patience_ms = self.random.between(11_000, 40_000);
        self.after(
            patience_ms,
            Event::ClientTimeout {
                batch: number,
                attempt,
            },
        );
    }

    /// When a message arrives: once, twice or never, mostly soon.
    fn deliveries(&mut self, slowest_ms: u64) -> Vec<u64> {
        let random = &mut self.random;
        if self.calm {
            return vec![random.between(1, 50)];
        }
        let mut deliveries = Vec::new();
        if !random.chance(self.profile.lost) {
            deliveries.push(0);
        }
        if random.chance(self.profile.doubled) {
            deliveries.push(0);
        }
        for delay_ms in &mut deliveries {
            *delay_ms = random.between(1, 100);
            if random.chance(self.profile.slow) {
                *delay_ms = random.skewed(slowest_ms);
            }
        }
        deliveries
    }

    fn outcome(&mut self, number: usize, attempt: u64, answer: Answer) {
        let now_ms = self.now_ms;
        let batch = &mut self.batches[number];
        if answer == Answer::Accepted {
            if batch.fate != Fate::Acknowledged {
                self.figures.acknowledged += 1;
            }
            batch.fate = Fate::Acknowledged;
            return;
        }
        if batch.fate != Fate::Open {
            return;
        }
        // What says nothing about its first attempt must not be repeated for as long.
        let patience_ms = if batch.says_sent {
            18 * MINUTE_MS
        } else {
            10 * MINUTE_MS
        };
        let gives_up = now_ms > batch.first_ms + patience_ms || self.random.chance(10);
        if answer == Answer::Refused || !batch.has_key || gives_up {
            batch.fate = Fate::Unknown;
            return;
        }
        if batch.attempts == attempt {
            let most_ms = [3_000, 30_000, 5 * MINUTE_MS][self.random.below(3) as usize];
            let delay_ms = self.random.below(most_ms) + 500;
            self.after(delay_ms, Event::Attempt(number));
        }
    }

    // ------------------------------------------------------------------------- Workers

    fn table(&mut self, worker: usize) -> Option<Rc<RegionTable>> {
        let now_ms = self.now_ms;
        let copy = self.workers[worker].table.clone();
        if let Some((table, fetched_ms)) = &copy
            && now_ms - fetched_ms < TABLE_FRESH_MS
        {
            return Some(Rc::clone(table));
        }
        let fresh = match self.global_is_up() {
            true => self.global_op(|global, _, _| Ok(global.table().clone())),
            false => None,
        };
        // What the platform's output gate does: nobody sees what is not durable.
        let written = self.global.drive.written();
        self.global.drive.sync(written);
        if let Some(table) = fresh {
            self.workers[worker].table = Some((Rc::new(table), now_ms));
        }
        self.workers[worker]
            .table
            .as_ref()
            .map(|(table, _)| Rc::clone(table))
    }

    fn arrive(&mut self, number: usize, attempt: u64, worker: usize, sender_now_ms: u64) {
        let rpc = self.rpcs.len();
        self.rpcs.push(Rpc {
            batch: number,
            attempt,
            worker,
            stage: 0,
            done: false,
            then: None,
        });
        let Some(table) = self.table(worker) else {
            return self.worker_answers(rpc, Answer::TryAgain);
        };
        let batch = &self.batches[number];
        let arrival_ms = shifted(self.now_ms, self.workers[worker].skew_ms);
        let envelope = Envelope {
            client_seq: None,
            sent_ms: batch.says_sent.then_some(batch.sent_ms),
            now_ms: Some(sender_now_ms),
        };
        let Ok(clock) = Clock::new(&envelope, arrival_ms) else {
            return self.worker_answers(rpc, Answer::Refused);
        };
        let correction_ms = arrival_ms as i64 - sender_now_ms as i64;
        let plays: Vec<Play> = batch
            .plays
            .iter()
            .map(|(post, timestamp_ms, count)| Play {
                batch: number,
                post: *post,
                timestamp_ms: shifted(*timestamp_ms, correction_ms),
                count: *count,
            })
            .collect();
        let region = batch.region;
        let key_bytes = [&[batch.client as u8][..], &batch.seq.to_be_bytes()].concat();
        let key = batch.has_key.then_some(&key_bytes[..]);
        let client_name = format!("client-{}", batch.client);
        let client = (batch.has_key && batch.says_sent).then_some(client_name.as_str());
        let Some(known) = table.find(region_name(region)) else {
            return self.fail("a region is missing");
        };
        let route = known.route(client, clock.sent_ms);
        let message = codec::encode(&hitparade::wire::Batch {
            key,
            sent_ms: clock.sent_ms,
            plays: plays
                .iter()
                .map(|play| BatchPlay {
                    post_id: &self.posts[play.post],
                    timestamp_ms: play.timestamp_ms,
                    count: play.count,
                })
                .collect(),
        });
        let asked = Rc::new(Asked {
            batch: number,
            is_claim: false,
            plays,
        });
        let message = Rc::new(message);
        if let (Some(old_shard), Some(key)) = (route.claim_at, key) {
            self.figures.claims += 1;
            let claim = codec::encode(&Claim {
                key,
                sent_ms: clock.sent_ms,
            });
            self.rpcs[rpc].then = Some((route.shard, message, asked));
            let asked = Rc::new(Asked {
                batch: number,
                is_claim: true,
                plays: Vec::new(),
            });
            return self.send(rpc, old_shard, Rc::new(claim), asked);
        }
        self.send(rpc, route.shard, message, asked);
    }

    fn send(&mut self, rpc: usize, shard: u32, batch: Rc<Vec<u8>>, asked: Rc<Asked>) {
        let region = self.batches[asked.batch].region;
        let mut message = codec::encode(&RecordRequest {
            region_id: region_name(region),
            shard,
            seed: SEED,
            batch: &batch,
        });
        let worker = &self.workers[self.rpcs[rpc].worker];
        if worker.foreign_until_ms > self.now_ms {
            message[1] += 1;
        }
        let node = self.shard_node(region, shard);
        let message = Rc::new(message);
        let stage = self.rpcs[rpc].stage;
        let says_sent = self.batches[asked.batch].says_sent;
        let slowest_ms = if says_sent {
            25 * MINUTE_MS
        } else {
            4 * MINUTE_MS
        };
        let most = if self.batches[asked.batch].has_key {
            2
        } else {
            1
        };
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
        self.after(RECORD_TIMEOUT_MS, Event::RecordTimeout { rpc, stage });
    }

    fn record_answer(&mut self, rpc: usize, stage: u32, reply: RecordReply) {
        if self.rpcs[rpc].stage != stage || self.rpcs[rpc].done {
            return;
        }
        if reply == RecordReply::Claimed
            && let Some((shard, message, asked)) = self.rpcs[rpc].then.take()
        {
            self.rpcs[rpc].stage += 1;
            return self.send(rpc, shard, message, asked);
        }
        let answer = match reply {
            RecordReply::Counted { .. } => Answer::Accepted,
            RecordReply::TooOld => Answer::Refused,
            _ => Answer::TryAgain,
        };
        self.worker_answers(rpc, answer);
    }

    fn worker_answers(&mut self, rpc: usize, answer: Answer) {
        let Rpc {
            batch,
            attempt,
            done,
            ..
        } = &mut self.rpcs[rpc];
        if std::mem::replace(done, true) {
            return;
        }
        let (batch, attempt) = (*batch, *attempt);
        self.say(|| format!("batch {batch}.{attempt} answered {answer:?}"));
        if !self.calm && self.random.chance(self.profile.answer_lost) {
            return;
        }
        for delay_ms in self.deliveries(5 * MINUTE_MS) {
            self.after(
                delay_ms,
                Event::Outcome {
                    batch,
                    attempt,
                    answer,
                },
            );
        }
    }

    // ------------------------------------------------------------------------- shards

    fn shard_node(&mut self, region: usize, shard: u32) -> usize {
        let found = self
            .shards
            .iter()
            .position(|node| node.region == region && node.shard == shard);
        found.unwrap_or_else(|| {
            let most_ms = self.profile.skew_ms;
            let skew_ms = self.random.below(2 * most_ms + 1) as i64 - most_ms as i64;
            self.shards.push(ShardNode {
                region,
                shard,
                skew_ms,
                drive: Drive::new(),
                memory: ShardInMemory::default(),
                state: None,
                life: 0,
                down_until_ms: 0,
                committing: false,
                pushing: false,
                pushes_left: 0,
                push_number: 0,
                alarm: Alarm::default(),
                alarm_number: 0,
                alarm_comes: false,
                waiters: BTreeMap::new(),
                log_id: None,
                foreign_until_ms: 0,
            });
            self.shards.len() - 1
        })
    }

    /// Runs a change of a shard's state, loading it first; `None` when its disk refused.
    fn shard_op<T>(
        &mut self,
        shard: usize,
        change: impl FnOnce(&mut Shard, &Disk, u64) -> Result<T, StorageError>,
    ) -> Option<T> {
        let random = self.random.bytes();
        let limits = self.profile.limits;
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        let mut outcome = Ok(());
        if node.state.is_none() {
            node.memory = ShardInMemory::load(node.drive.latest(), now_ms);
            match Shard::load_within(&node.drive.disk, random, now_ms, limits) {
                Ok(state) => node.state = Some(state),
                Err(error) => outcome = Err(error),
            }
            self.shard_written(shard);
        }
        let node = &mut self.shards[shard];
        let changed = match (outcome, node.state.as_mut()) {
            (Ok(()), Some(state)) => change(state, &node.drive.disk, now_ms),
            (outcome, _) => Err(outcome.err().unwrap_or(StorageError(String::new()))),
        };
        self.shard_written(shard);
        match changed {
            Ok(value) => {
                self.check_limits(shard);
                Some(value)
            }
            Err(error) => {
                self.say(|| format!("shard {shard}: {error}"));
                if self.shards[shard].drive.disk.crashed.get() {
                    self.crash_shard(shard);
                } else {
                    self.drop_shard_state(shard);
                }
                None
            }
        }
    }

    fn shard_written(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        for writes in node.drive.disk.take_recent() {
            let mut on_disk = node.drive.latest().clone();
            let seed = Seed::from_bytes(SEED);
            let done = node
                .memory
                .written(&mut on_disk, &writes, node.region, &self.posts, seed);
            node.drive.later.push_back(on_disk);
            if let Err(what) = done {
                self.violation
                    .get_or_insert(format!("shard {shard}: {what}"));
                return;
            }
        }
    }

    fn check_limits(&mut self, shard: usize) {
        let limits = self.profile.limits;
        let Some(state) = &self.shards[shard].state else {
            return;
        };
        let health = state.health();
        // Live panes: the minutes between the slowest and the fastest clock, and two to seal.
        let most_open = limits.late_panes + 16;
        if health.open_panes > most_open || health.waiting > limits.waiting_requests {
            self.fail(format!("shard {shard} is over its limits: {health:?}"));
        }
    }

    fn drop_shard_state(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        node.state = None;
        node.memory = ShardInMemory::default();
        let waiters = std::mem::take(&mut node.waiters);
        for (rpc, stage, _) in waiters.into_values().flatten() {
            self.answer_record(shard, rpc, stage, RecordReply::Busy { retry_after_s: 2 });
        }
    }

    fn crash_shard(&mut self, shard: usize) {
        self.figures.crashes += 1;
        let keep = self
            .random
            .below(self.shards[shard].drive.later.len() as u64 + 1) as usize;
        self.say(|| format!("shard {shard} dies"));
        let down_ms = self.random.skewed(10_000);
        let node = &mut self.shards[shard];
        node.drive.crash(keep);
        if node.drive.disk.is_empty() {
            node.log_id = None;
        }
        node.state = None;
        node.memory = ShardInMemory::default();
        node.life += 1;
        node.committing = false;
        node.pushing = false;
        node.alarm = Alarm::default();
        node.waiters.clear();
        if !self.calm {
            node.down_until_ms = self.now_ms + down_ms;
        }
    }

    fn record(&mut self, rpc: usize, stage: u32, shard: usize, message: &[u8], asked: Rc<Asked>) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let Ok(request) = codec::decode::<RecordRequest<'_>>(message) else {
            return self.answer_record(shard, rpc, stage, RecordReply::Invalid);
        };
        let unsettled = self.shard_op(shard, |state, _, _| {
            Ok((!state.is_settled()).then(|| state.sync_point()))
        });
        if let Some(Some(point)) = unsettled {
            let (life, written) = (self.shards[shard].life, self.shards[shard].drive.written());
            let message = Rc::new(message.to_vec());
            let record = Event::Record {
                rpc,
                stage,
                shard,
                message,
                asked,
            };
            let sync_ms = self.random.below(20);
            self.after(
                sync_ms,
                Event::Settled {
                    shard,
                    life,
                    written,
                    point,
                },
            );
            return self.after(sync_ms + 1, record);
        }
        let admitted = self.shard_op(shard, |state, _, now_ms| {
            let before = state.waiting().0;
            let admission = state.admit(&request, now_ms);
            Ok((admission, state.waiting().0 > before))
        });
        let Some((admission, is_new)) = admitted else {
            return self.answer_record(shard, rpc, stage, RecordReply::Busy { retry_after_s: 2 });
        };
        let number = asked.batch;
        self.say(|| {
            format!(
                "shard {shard} batch {number} claim {} {admission:?}",
                asked.is_claim
            )
        });
        let node = &mut self.shards[shard];
        match admission {
            Admission::Answer(reply) => return self.answer_record(shard, rpc, stage, reply),
            Admission::Wait { ticket, reply } => {
                node.waiters
                    .entry(ticket)
                    .or_default()
                    .push((rpc, stage, reply));
            }
        }
        if is_new {
            node.memory.waiting.push(asked);
        }
        if !std::mem::replace(&mut node.committing, true) {
            let life = node.life;
            self.ensure_alarm(shard);
            let wait_ms = if self.random.chance(300) { 100 } else { 0 };
            self.after(wait_ms, Event::Commit { shard, life });
        }
    }

    fn answer_record(&mut self, shard: usize, rpc: usize, stage: u32, reply: RecordReply) {
        if self.shards[shard].foreign_until_ms > self.now_ms {
            // The Worker cannot read it: no answer.
            return;
        }
        for delay_ms in self.deliveries(20_000) {
            self.after(delay_ms, Event::RecordAnswer { rpc, stage, reply });
        }
    }

    fn answer_tickets(&mut self, shard: usize, tickets: std::ops::RangeInclusive<u64>) {
        for ticket in tickets {
            let waiters = self.shards[shard].waiters.remove(&ticket);
            for (rpc, stage, reply) in waiters.into_iter().flatten() {
                self.answer_record(shard, rpc, stage, reply);
            }
        }
    }

    fn commit(&mut self, shard: usize) {
        let written = self.shard_op(shard, |state, disk, now_ms| {
            let written = state.commit(disk, now_ms)?;
            Ok((written, state.sync_point(), state.waiting().0))
        });
        let life = self.shards[shard].life;
        match written {
            Some((true, point, _)) => {
                if mutants::active(Mutant::AcknowledgeBeforeDurable) {
                    self.answer_tickets(shard, 0..=50);
                }
                if mutants::active(Mutant::RecordBeforeDurable) {
                    self.shard_op(shard, |state, _, now_ms| Ok(state.committed(now_ms)));
                }
                let written = self.shards[shard].drive.written();
                let sync_ms = match self.random.chance(100) {
                    true => self.random.between(50, 5_000),
                    false => self.random.between(1, 20),
                };
                self.after(
                    sync_ms,
                    Event::Committed {
                        shard,
                        life,
                        written,
                        point,
                    },
                );
            }
            Some((false, _, 1..)) => self.after(1, Event::Commit { shard, life }),
            _ => self.shards[shard].committing = false,
        }
    }

    fn committed(&mut self, shard: usize, written: u64, point: region::SyncPoint) {
        self.shards[shard].drive.sync(written);
        let counted = self.shard_op(shard, |state, _, now_ms| {
            let tickets = state.committed(now_ms);
            state.synced(point);
            Ok((tickets, now_ms))
        });
        let Some((tickets, now_ms)) = counted else {
            self.shards[shard].committing = false;
            return;
        };
        let memory = &mut self.shards[shard].memory;
        if tickets.is_some()
            && let Some(commit) = memory.in_flight.take()
        {
            memory.apply(&commit, now_ms);
        }
        let more = self.shard_op(shard, |state, disk, now_ms| {
            if state.checkpoint_is_due(now_ms) {
                state.checkpoint(disk, now_ms)?;
            }
            Ok(state.waiting().0 > 0)
        });
        let Some(more) = more else {
            self.shards[shard].committing = false;
            return;
        };
        if let Some(tickets) = tickets {
            self.answer_tickets(shard, tickets);
        }
        let life = self.shards[shard].life;
        if more {
            self.after(0, Event::Commit { shard, life });
        } else {
            self.shards[shard].committing = false;
        }
    }

    fn ensure_alarm(&mut self, shard: usize) {
        let node = &mut self.shards[shard];
        let now_ms = shifted(self.now_ms, node.skew_ms);
        let Some(due_ms) = node.alarm.to_be_set(now_ms) else {
            return;
        };
        node.alarm.was_set(due_ms);
        node.alarm_number += 1;
        node.alarm_comes = true;
        let number = node.alarm_number;
        let mut delay_ms = due_ms - now_ms;
        // What happens every 5 s happens less often while the global object is away for days.
        let away_ms = self.global.down_until_ms.saturating_sub(self.now_ms);
        if away_ms > 10 * MINUTE_MS && !self.calm {
            delay_ms += self.random.below(away_ms / 5);
        }
        let faulty = !self.calm && self.random.chance(self.profile.alarm_fault);
        match if faulty { self.random.below(3) } else { 3 } {
            0 => self.shards[shard].alarm_comes = false,
            1 => {
                let late_ms = self.random.skewed(2 * MINUTE_MS);
                self.after(delay_ms + late_ms, Event::Alarm { shard, number });
            }
            2 => {
                let apart_ms = self.random.skewed(1_000);
                self.after(delay_ms, Event::Alarm { shard, number });
                self.after(delay_ms + apart_ms, Event::Alarm { shard, number });
            }
            _ => self.after(delay_ms, Event::Alarm { shard, number }),
        }
    }

    fn alarm(&mut self, shard: usize, number: u64) {
        let down_until_ms = self.shards[shard].down_until_ms;
        if down_until_ms > self.now_ms {
            return self.at(down_until_ms, Event::Alarm { shard, number });
        }
        let node = &mut self.shards[shard];
        if node.alarm_number == number {
            node.alarm_comes = false;
        }
        node.alarm.fired();
        let has_work = self.shard_op(shard, |state, _, _| Ok(state.has_work()));
        if has_work == Some(false) {
            return;
        }
        self.ensure_alarm(shard);
        if has_work.is_none() || std::mem::replace(&mut self.shards[shard].pushing, true) {
            return;
        }
        self.shards[shard].pushes_left = PUSHES_AN_ALARM;
        self.prepare_push(shard);
    }

    fn prepare_push(&mut self, shard: usize) {
        self.shards[shard].pushes_left -= 1;
        let point = self.shard_op(shard, |state, disk, now_ms| {
            if state.checkpoint_is_due(now_ms) {
                state.checkpoint(disk, now_ms)?;
            }
            Ok(state.sync_point())
        });
        let Some(point) = point else {
            self.shards[shard].pushing = false;
            return;
        };
        let life = self.shards[shard].life;
        let written = self.shards[shard].drive.written();
        let sync_ms = self.random.between(1, 20);
        let ready = Event::PushReady {
            shard,
            life,
            written,
            point,
        };
        if mutants::active(Mutant::SentBeforeDurable) {
            return self.push(shard, 0, point);
        }
        self.after(sync_ms, ready);
    }

    fn push(&mut self, shard: usize, written: u64, point: region::SyncPoint) {
        self.shards[shard].drive.sync(written);
        let push = self.shard_op(shard, |state, disk, _| {
            state.synced(point);
            state.push(disk)
        });
        let Some(Some(mut message)) = push else {
            self.shards[shard].pushing = false;
            return;
        };
        self.figures.pushes += 1;
        let pushed = match self.read_push(shard, &message) {
            Ok(pushed) => Rc::new(pushed),
            Err(what) => return self.fail(format!("push of shard {shard}: {what}")),
        };
        let node = &mut self.shards[shard];
        if node.foreign_until_ms > self.now_ms {
            message[1] += 1;
        }
        node.push_number += 1;
        let (life, number) = (node.life, node.push_number);
        let message = Rc::new(message);
        for delay_ms in self.deliveries(20 * MINUTE_MS) {
            let (message, pushed) = (Rc::clone(&message), Rc::clone(&pushed));
            self.after(
                delay_ms,
                Event::Push {
                    shard,
                    life,
                    number,
                    message,
                    pushed,
                },
            );
        }
        let timeout = Event::PushAnswer {
            shard,
            life,
            number,
            reply: None,
        };
        self.after(PUSH_TIMEOUT_MS, timeout);
    }

    /// What a push says, checked against what the shard has.
    fn read_push(&mut self, shard: usize, message: &[u8]) -> Result<Pushed, String> {
        let push = codec::decode::<Push<'_>>(message).map_err(|error| error.to_string())?;
        let node = &mut self.shards[shard];
        node.log_id = Some(push.log_id);
        let region = node.region;
        let mut provisional = Vec::new();
        for copy in &push.provisional {
            let pane = codec::decode::<SealedPane<'_>>(copy).map_err(|error| error.to_string())?;
            let level = hitparade::window::Level::from_code(pane.level).ok_or("no level")?;
            let key = hitparade::window::PaneKey::of(level, pane.start_ms);
            let summary = Summary::decode(pane.summary, Seed::from_bytes(SEED))
                .map_err(|error| error.to_string())?;
            let plays = node
                .memory
                .open
                .get(&key)
                .ok_or("a copy of a pane that is not open")?;
            check_summary(&summary, plays, &self.posts)?;
            provisional.push(Rc::new(Pane {
                region,
                key,
                plays: Rc::clone(plays),
            }));
        }
        // What is open and was not sent was sealed to make room.
        let is_sent = |key| provisional.iter().any(|pane| pane.key == key);
        let keys: Vec<_> = node.memory.open.keys().copied().collect();
        for key in keys.into_iter().filter(|key| !is_sent(*key)) {
            let plays = node.memory.open.remove(&key).unwrap_or_default();
            node.memory.sealed.push((key, plays));
        }
        let mut entries = Vec::new();
        for (offset, entry) in (push.first_offset..).zip(&push.entries) {
            let held = node.drive.latest().outbox.get(&offset);
            let held = match (held, entry.is_empty()) {
                (Some(held), false) => Rc::clone(held),
                (_, true) => Rc::new(Pane {
                    region,
                    key: hitparade::window::PaneKey::ALL,
                    plays: Rc::default(),
                }),
                (None, false) => return Err(format!("offset {offset} is not in the outbox")),
            };
            entries.push(held);
        }
        if push.next_offset < push.first_offset + entries.len() as u64 {
            return Err("offsets contradict each other".into());
        }
        Ok(Pushed {
            region,
            shard: node.shard,
            log_id: push.log_id,
            oldest_offset: push.oldest_offset,
            first_offset: push.first_offset,
            entries,
            next_offset: push.next_offset,
            journal_seq: push.journal_seq,
            provisional,
        })
    }

    fn pushed(&mut self, shard: usize, number: u64, reply: Option<PushReply>) {
        let node = &mut self.shards[shard];
        if node.push_number != number || !node.pushing {
            return;
        }
        // Nobody waits for another answer to this push.
        node.push_number += 1;
        let Some(reply) = reply else {
            node.pushing = false;
            return;
        };
        let random = self.random.bytes();
        let more = self.shard_op(shard, |state, disk, _| {
            state.pushed(disk, &reply, random)?;
            Ok(state.has_more_to_send())
        });
        if more == Some(true) && self.shards[shard].pushes_left > 0 {
            self.prepare_push(shard);
        } else {
            self.shards[shard].pushing = false;
        }
    }

    // ------------------------------------------------------------------------- the global object

    fn global_is_up(&self) -> bool {
        self.global.down_until_ms <= self.now_ms
    }

    fn global_op<T>(
        &mut self,
        run: impl FnOnce(&mut Global, &Disk, u64) -> Result<T, Refusal>,
    ) -> Option<T> {
        let now_ms = shifted(self.now_ms, self.global.skew_ms);
        let node = &mut self.global;
        let mut failed = None;
        if node.state.is_none() {
            let first: Vec<FirstRegion> = (0..self.profile.regions)
                .map(|region| FirstRegion {
                    region_id: region_name(region).into(),
                    region_name: region_name(region).into(),
                    hint: None,
                })
                .collect();
            node.memory = GlobalInMemory::load(node.drive.latest());
            match Global::load(&node.drive.disk, &first, SEED) {
                Ok(state) => node.state = Some(state),
                Err(error) => failed = Some(Refusal::Storage(error.0)),
            }
            self.global_written();
        }
        let node = &mut self.global;
        let outcome = match (failed, node.state.as_mut()) {
            (None, Some(state)) => run(state, &node.drive.disk, now_ms),
            (failed, _) => Err(failed.unwrap_or(Refusal::NotFound)),
        };
        self.global_written();
        match outcome {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.say(|| format!("global: {refusal:?}"));
                if self.global.drive.disk.crashed.get() {
                    self.crash_global();
                } else if matches!(refusal, Refusal::Storage(_)) {
                    self.global.state = None;
                    self.global.memory = GlobalInMemory::default();
                }
                None
            }
        }
    }

    fn global_written(&mut self) {
        let node = &mut self.global;
        for writes in node.drive.disk.take_recent() {
            let mut on_disk = node.drive.latest().clone();
            node.memory.written(&mut on_disk, &writes);
            node.drive.later.push_back(on_disk);
        }
    }

    fn crash_global(&mut self) {
        self.figures.crashes += 1;
        self.say(|| "global dies".into());
        let keep = self.random.below(self.global.drive.later.len() as u64 + 1) as usize;
        let down_ms = self.random.skewed(20_000);
        let node = &mut self.global;
        node.drive.crash(keep);
        node.state = None;
        node.memory = GlobalInMemory::default();
        node.life += 1;
        node.syncing = false;
        if !self.calm {
            node.down_until_ms = node.down_until_ms.max(self.now_ms + down_ms);
        }
    }

    fn take_push(
        &mut self,
        shard: usize,
        life: u64,
        number: u64,
        message: &[u8],
        pushed: &Rc<Pushed>,
    ) {
        if !self.global_is_up() {
            return;
        }
        let taken = self.global_op(|global, _, now_ms| {
            let refused_before = global.health().refused_pushes;
            match global.take_push(message, now_ms) {
                Ok(reply) => Ok(Some((reply, global.health().gaps))),
                Err(refusal) => {
                    let counted = global.health().refused_pushes == refused_before + 1;
                    assert!(counted, "{refusal:?} is counted");
                    Ok(None)
                }
            }
        });
        let Some(taken) = taken else { return };
        let mut reply = None;
        if let Some((taken, _)) = taken {
            let log = (pushed.region, pushed.shard, pushed.log_id);
            let before = self.global.memory.accepted.get(&log).copied();
            let (wanted, gap) = self.global.memory.take(pushed);
            if taken.wanted_offset != wanted {
                return self.fail(format!(
                    "offset {wanted} of {log:?} is next, {} is wanted",
                    taken.wanted_offset
                ));
            }
            if before.is_some_and(|before| wanted < before) {
                return self.fail("an offset went back");
            }
            if gap > 0 && !self.global.was_set_back && !self.profile.damage_outbox {
                return self.fail(format!("a gap of {gap} in {log:?}"));
            }
            let durable = self.global.drive.durable.consumed.get(&log);
            let promised = durable.or(self.global.memory.began.get(&log));
            if taken.durable_offset > promised.copied().unwrap_or(0) {
                let what = taken.durable_offset;
                return self.fail(format!(
                    "{what} is promised of {log:?}, {promised:?} is durable"
                ));
            }
            reply = Some(taken);
        } else if message[1] == 1 {
            return self.fail("a sound push was refused");
        }
        let flushed = self.global_op(|global, disk, now_ms| {
            if global.flush_is_due(now_ms) {
                let refused = |error: StorageError| Refusal::Storage(error.0);
                global.flush(disk, now_ms).map_err(refused)?;
            }
            Ok(global.sync_is_due().then(|| global.sync_point()))
        });
        let Some(point) = flushed else { return };
        if let Some(point) = point
            && !std::mem::replace(&mut self.global.syncing, true)
        {
            let (life, written) = (self.global.life, self.global.drive.written());
            let sync_ms = match self.random.chance(100) {
                true => self.random.between(50, 10_000),
                false => self.random.between(1, 20),
            };
            self.after(
                sync_ms,
                Event::GlobalSynced {
                    life,
                    written,
                    point,
                },
            );
        }
        if self.global.foreign_until_ms > self.now_ms {
            reply = None;
        }
        for delay_ms in self.deliveries(PUSH_TIMEOUT_MS + 10_000) {
            let reply = reply.clone();
            self.after(
                delay_ms,
                Event::PushAnswer {
                    shard,
                    life,
                    number,
                    reply,
                },
            );
        }
    }

    // ------------------------------------------------------------------------- faults

    fn strike(&mut self, fault: Event) {
        let some_shard = self.random.below(self.shards.len() as u64) as usize;
        let has_shard = !self.shards.is_empty();
        match fault {
            Event::ShardCrash if has_shard => self.crash_shard(some_shard),
            Event::GlobalCrash => self.crash_global(),
            Event::WriteFault => {
                let kinds = [Fault::Refuse, Fault::CrashBefore, Fault::CrashAfter];
                let kind = kinds[self.random.below(3) as usize];
                let writes = self.random.below(4);
                if has_shard && self.random.chance(600) {
                    self.shards[some_shard].drive.disk.set_fault(writes, kind);
                } else {
                    self.global.drive.disk.set_fault(writes, kind);
                }
            }
            Event::Reshard => self.reshard(),
            Event::LoseStorage if has_shard => self.lose_storage(some_shard),
            Event::Backup => {
                let node = &mut self.global;
                let (rows, model) = (node.drive.disk.backup(), node.drive.latest().clone());
                node.backup = Some(Backup {
                    rows,
                    model,
                    reshards: node.reshards,
                });
            }
            Event::SetBack => self.set_back(),
            Event::Outage => {
                let away_ms = self.random.between(10 * MINUTE_MS, 60 * HOUR_MS);
                self.say(|| format!("global away for {} min", away_ms / MINUTE_MS));
                self.crash_global();
                self.global.down_until_ms = self.now_ms + away_ms;
                // Life goes on for a while after it is back; only few plays come meanwhile.
                self.profile.batch_every_ms = self.profile.batch_every_ms.max(away_ms / 40);
                self.end_ms = self.now_ms + away_ms + 5 * MINUTE_MS;
            }
            Event::Foreign => {
                let until_ms = self.now_ms + self.random.below(MINUTE_MS);
                let workers = self.workers.len() as u64;
                match self.random.below(3) {
                    0 => self.global.foreign_until_ms = until_ms,
                    1 if has_shard => self.shards[some_shard].foreign_until_ms = until_ms,
                    _ => {
                        let worker = self.random.below(workers) as usize;
                        self.workers[worker].foreign_until_ms = until_ms;
                    }
                }
            }
            Event::DamageOutbox if has_shard => self.damage_outbox(some_shard),
            _ => {}
        }
    }

    fn reshard(&mut self) {
        if !self.global_is_up() || self.global.down_until_ms > 0 && self.profile.outage {
            return;
        }
        let region = self.random.below(self.profile.regions as u64) as usize;
        let shards = self.random.between(1, self.profile.most_shards) as u32;
        let request = PutRegion {
            region_id: region_name(region).into(),
            region_name: None,
            shards: Some(shards),
            hint: None,
        };
        self.say(|| format!("reshard {region} to {shards}"));
        self.global_op(|global, disk, now_ms| global.put_region(disk, &request, now_ms));
        // GAP: a Worker that misses the change and then cannot reach the global object would go on
        // with its old copy; here every Worker hears of it.
        let changed = self.global_op(|global, _, _| Ok(Rc::new(global.table().clone())));
        for worker in &mut self.workers {
            if let (Some(copy), Some(changed)) = (&mut worker.table, &changed) {
                copy.0 = Rc::clone(changed);
            }
        }
        self.global.reshards += 1;
        let written = self.global.drive.written();
        self.global.drive.sync(written);
    }

    fn excuse(&mut self, plays: &[Play]) {
        for play in plays {
            self.batches[play.batch].excused = true;
        }
    }

    /// A shard's storage is gone, with all that it knew.
    fn lose_storage(&mut self, shard: usize) {
        self.say(|| format!("shard {shard} loses its storage"));
        let region = self.shards[shard].region;
        for batch in &mut self.batches {
            batch.excused |= batch.region == region;
        }
        self.crash_shard(shard);
        self.shards[shard].drive = Drive::new();
        self.shards[shard].log_id = None;
    }

    /// The global object is restored from a backup.
    fn set_back(&mut self) {
        let node = &mut self.global;
        let Some(backup) = node
            .backup
            .take_if(|backup| backup.reshards == node.reshards)
        else {
            return;
        };
        // What was folded since, and forgotten by the shards, is lost.
        let lost: Vec<Rc<Pane>> = node.drive.latest().folded[backup.model.folded.len()..].to_vec();
        self.crash_global();
        let node = &mut self.global;
        node.drive.disk.restore(backup.rows);
        node.drive.durable = backup.model;
        node.drive.later.clear();
        node.was_set_back = true;
        self.say(|| "global set back".into());
        for pane in lost {
            self.excuse(&pane.plays);
        }
    }

    fn damage_outbox(&mut self, shard: usize) {
        use hitparade::storage::{Storage, Table, Write};
        let node = &mut self.shards[shard];
        let written = node.drive.written();
        node.drive.sync(written);
        let keys = node.drive.disk.keys(Table::Outbox, &[]).unwrap_or_default();
        if keys.is_empty() {
            return;
        }
        let key = keys[self.random.below(keys.len() as u64) as usize].clone();
        let offset = offset_of(&key);
        let node = &mut self.shards[shard];
        node.drive.disk.clear_fault();
        let damage = Write::put(Table::Outbox, key, b"damaged".to_vec());
        if node.drive.disk.write(&[damage]).is_err() {
            return;
        }
        node.drive.disk.take_recent();
        node.drive.disk.make_durable(1);
        let lost = node.drive.durable.outbox.remove(&offset);
        let lost = lost.map(|pane| pane.plays.to_vec()).unwrap_or_default();
        self.excuse(&lost);
    }

    // ------------------------------------------------------------------------- checks

    fn chart(&mut self) {
        if !self.global_is_up() {
            return;
        }
        let now_ms = shifted(self.now_ms, self.global.skew_ms);
        let random = &mut self.random;
        let scope = match random.below(3) {
            0 => None,
            _ => Some(random.below(self.profile.regions as u64) as usize),
        };
        let window = match random.below(6) {
            0 | 1 => WindowRequest::All,
            2 => WindowRequest::Sliding {
                length_ms: random.between(1, 90) * MINUTE_MS,
            },
            3 => WindowRequest::Sliding {
                length_ms: random.between(1, 80) * HOUR_MS,
            },
            4 => WindowRequest::Tumbling { length_ms: HOUR_MS },
            _ => {
                let from_ms = now_ms - random.skewed(30 * HOUR_MS) - MINUTE_MS;
                let to_ms = from_ms + random.skewed(10 * HOUR_MS) + MINUTE_MS;
                WindowRequest::Between { from_ms, to_ms }
            }
        };
        self.check_chart(scope, window);
    }

    fn check_chart(&mut self, scope: Option<usize>, window: WindowRequest) {
        self.figures.charts += 1;
        let request = ChartRequest {
            scope: scope.map_or("global", region_name).into(),
            window,
            sort: Sort::Views,
            k_class: 1_000,
        };
        let asked = self.global_op(|global, disk, now_ms| {
            Ok((
                global.chart(disk, &request, ChartRules::default(), now_ms)?,
                now_ms,
            ))
        });
        let Some((board, now_ms)) = asked else {
            if self.calm {
                self.fail(format!("no answer to {request:?}"));
            }
            return;
        };
        let live = self.global.memory.live(scope, now_ms);
        let folded = &self.global.drive.latest().folded;
        let span = if window == WindowRequest::All {
            Span::ALL
        } else {
            board.span
        };
        let mut exact = vec![0_u64; self.posts.len()];
        let panes = folded.iter().chain(live.iter());
        for pane in panes.filter(|pane| scope.is_none_or(|scope| pane.region == scope)) {
            for play in pane
                .plays
                .iter()
                .filter(|play| span.contains_ms(play.timestamp_ms))
            {
                exact[play.post] += u64::from(play.count);
            }
        }
        let total: u64 = exact.iter().sum();
        let mut wrong = Vec::new();
        if board.total_views != total {
            wrong.push(format!(
                "{total} plays, the chart says {}",
                board.total_views
            ));
        }
        if board.incomplete {
            wrong.push("incomplete".into());
        }
        for (id, exact) in self.posts.iter().zip(&exact) {
            match board.places.iter().find(|place| place.post_id == *id) {
                Some(place) => {
                    let (min, max) = (place.count.view_count_min, place.count.view_count_max);
                    if !(min..=max).contains(exact) {
                        wrong.push(format!("{id} has {exact}, not {min} to {max}"));
                    }
                }
                None if *exact > board.unlisted_max => {
                    wrong.push(format!("{id} has {exact}, unlisted {}", board.unlisted_max));
                }
                None => {}
            }
        }
        if !wrong.is_empty() {
            self.fail(format!(
                "{request:?} {:?}: {}",
                board.span,
                wrong.join("; ")
            ));
        }
    }

    /// Where every batch is: each acknowledged one in exactly one place, any other in at most one.
    fn check_conservation(&mut self) {
        let mut found = vec![0_u32; self.batches.len()];
        fn count(found: &mut [u32], plays: &[Play]) {
            let mut last = None;
            for play in plays {
                // The plays of a batch may lie in several panes: the first one stands for all.
                if last != Some(play.batch) {
                    last = Some(play.batch);
                }
                found[play.batch] += 1;
            }
        }
        let global = &self.global;
        let on_disk = global.drive.latest();
        let accepted = match global.state {
            Some(_) => &global.memory.accepted,
            None => &on_disk.consumed,
        };
        for pane in on_disk.folded.iter().chain(&global.memory.pending) {
            count(&mut found, &pane.plays);
        }
        for node in &self.shards {
            let stored = node.drive.latest();
            let log = node.log_id.map(|log_id| (node.region, node.shard, log_id));
            let taken = log.and_then(|log| accepted.get(&log).copied()).unwrap_or(0);
            for (_, pane) in stored.outbox.range(taken..) {
                count(&mut found, &pane.plays);
            }
            let asked = |commit: &Rc<Vec<Rc<Asked>>>| commit.to_vec();
            let (open, commits): (Vec<_>, Vec<_>) = match node.state {
                Some(_) => {
                    let sealed = node.memory.sealed.iter().map(|(_, plays)| plays);
                    let open = node.memory.open.values().chain(sealed).cloned().collect();
                    (open, node.memory.in_flight.iter().flat_map(asked).collect())
                }
                None => (
                    stored.open.values().cloned().collect(),
                    stored.journal.iter().flat_map(asked).collect(),
                ),
            };
            for plays in open {
                count(&mut found, &plays);
            }
            for asked in commits {
                count(&mut found, &asked.plays);
            }
        }
        for (number, batch) in self.batches.iter().enumerate() {
            if batch.excused {
                continue;
            }
            // Each play of the batch was met once if the batch is counted once.
            let plays = batch.plays.len() as u32;
            let times = f64::from(found[number]) / f64::from(plays);
            let wrong = match batch.fate {
                Fate::Acknowledged => found[number] != plays,
                _ => found[number] != plays && found[number] != 0,
            };
            if wrong {
                let fate = batch.fate;
                let mut what = format!("batch {number} ({fate:?}) is counted {times} times:");
                what.push_str(&self.places_of(number));
                self.violation.get_or_insert(what);
                return;
            }
        }
    }

    /// Where a batch is, for whoever looks into a violation.
    fn places_of(&self, batch: usize) -> String {
        let mut places = String::new();
        let mut look = |place: String, plays: &[Play]| {
            let met = plays.iter().filter(|play| play.batch == batch).count();
            if met > 0 {
                places.push_str(&format!(" {met} in {place};"));
            }
        };
        for pane in &self.global.drive.latest().folded {
            look(format!("folded {:?}", pane.key), &pane.plays);
        }
        for pane in &self.global.memory.pending {
            look(format!("pending {:?}", pane.key), &pane.plays);
        }
        for (shard, node) in self.shards.iter().enumerate() {
            let stored = node.drive.latest();
            for (offset, pane) in &stored.outbox {
                look(format!("outbox {shard} at {offset}"), &pane.plays);
            }
            let loaded = node.state.is_some();
            for (key, plays) in &node.memory.open {
                look(format!("open {shard} {key:?}"), plays);
            }
            for (key, plays) in &node.memory.sealed {
                look(format!("sealed {shard} {key:?}"), plays);
            }
            for (key, plays) in &stored.open {
                look(format!("stored {shard} {key:?} (loaded {loaded})"), plays);
            }
            for asked in stored.journal.iter().flat_map(|commit| commit.iter()) {
                look(format!("journal {shard} (loaded {loaded})"), &asked.plays);
            }
        }
        places
    }

    /// Everything has come to rest: nothing is left to do, and every chart is exact.
    fn check_rest(&mut self) {
        for shard in 0..self.shards.len() {
            if self.shards[shard].alarm_comes {
                return self.fail(format!("shard {shard} still has an alarm"));
            }
            let left = self.shard_op(shard, |state, _, _| Ok((state.has_work(), state.health())));
            if let Some((true, health)) = left {
                return self.fail(format!("shard {shard} has work left: {health:?}"));
            }
        }
        self.now_ms += 2_000;
        let scopes = (0..self.profile.regions).map(Some).chain([None]);
        for scope in scopes {
            self.check_chart(scope, WindowRequest::All);
            self.check_chart(
                scope,
                WindowRequest::Sliding {
                    length_ms: 30 * HOUR_MS,
                },
            );
        }
        self.check_conservation();
        let copies = &self.global.memory.copies;
        // Old messages of a log that has ended, or that a restored state had forgotten, may come
        // after its last one. What they bring is in charts; no shard asks for it to be stored.
        let strays = self.profile.storage_loss || self.global.was_set_back;
        if !strays && copies.values().any(|copies| !copies.panes.is_empty()) {
            self.fail("copies of open panes are left where no pane is open");
        }
        if !strays && !self.global.memory.pending.is_empty() {
            self.fail("sealed panes are left that are not folded");
        }
    }
}

fn random_repeat(random: &mut Random) -> bool {
    random.chance(100)
}
