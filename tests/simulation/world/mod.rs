//! Clients, Workers, shards, the global object, the network and the disks, on virtual time.
//!
//! Shards and the global object run their drivers of `src/`, and Workers route batches by `src/routing.rs`,
//! on a platform that does all that a platform may. Around these, Workers do what `edge/plays.rs` and
//! `edge/directory.rs` do, step by step; between any two steps anything may happen.

mod boards;
mod catalog;
mod checks;
mod clients;
mod deletions;
mod exports;
mod faults;
mod global;
mod hosts;
mod instances;
mod messages;
mod nodes;
mod objects;
mod profile;
mod published;
mod pulls;
mod pushes;
mod readers;
mod regional;
mod registry;
mod resets;
mod resharding;
mod shards;
mod watching;
mod workers;

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::rc::Rc;

use hitparade::board::{Board, Directory};
use hitparade::codec;
use hitparade::filter::Filter;
use hitparade::global::Global;
use hitparade::home::Home;
use hitparade::leaderboard::{Count, Leaderboard};
use hitparade::mutants::{self, Mutant};
use hitparade::play::{Clock, Envelope};
use hitparade::region::{self, Driver, PUSH_TIMEOUT_MS, Shard};
use hitparade::storage::{Storage, StorageError, Table, Write};
use hitparade::topology::{Epoch, Region, RegionTable, parts_of_key};
use hitparade::window::{
    CalendarFrame, ClockChange, DAY_MS, HOUR_MS, MINUTE_MS, PeriodKind, Span, Zone,
};
use hitparade::wire::*;

use crate::disk::{Disk, Fault};
use crate::executor::Executor;
use crate::model::*;
use crate::random::Random;
use boards::{BOARDS, MadeBoard, NamedBoards, PARTS, StoredBoards, board_name, part_of};
use catalog::CatalogNode;
use checks::{CHART_AGE_MS, PROMISED_WITHIN_MS};
use clients::POPULAR_POSTS;
use hosts::{Call, DiskHandle, Errand, Instance, Node, Owner, Platform, SimHost, Then};
use messages::Waiting;
use nodes::{Backup, Drive, GlobalNode, OldInstance, PendingAlarm, Sent, ShardNode, Worker};
use objects::ObjectOfBoard;
use profile::Profile;
use published::{Ending, PublishedInModel};
use pushes::PushAsked;
use regional::Made;
use registry::RegistryNode;
use resets::Telling;
use shards::VotesInModel;
use workers::Rpc;

const RECORD_TIMEOUT_MS: u64 = 10_000;
const PLAYS_FRESH_MS: u64 = 60_000;
const REFETCH_MS: u64 = 1_000;
/// The clocks of two nodes differ by at most twice this.
const MAX_SKEW_MS: u64 = 75_000;
/// A request reaches its Worker within this, or not at all.
const MAX_UNDER_WAY_MS: u64 = 60_000;

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
    /// The number of the batch that had its name first.
    seq: u64,
    /// It shows the token.
    is_trusted: bool,
    has_key: bool,
    /// Its name is `client` and `seq`, not a key.
    has_client: bool,
    says_sent: bool,
    /// Where its client was at home when it was sealed, as far as the client knew.
    home: Option<Home>,
    /// By the client's clock.
    sent_ms: u64,
    /// Of plays that name none of their own.
    boards: NamedBoards,
    first_ms: u64,
    plays: Vec<SentPlay>,
    attempts: u64,
    fate: Fate,
    /// Plays that attempts, by their arrivals, were told to be rejected: on all boards, or on those of a name.
    rejected: BTreeSet<(usize, usize, Option<usize>)>,
    /// The arrivals whose answers came back, and said that all is counted.
    acknowledged: BTreeSet<usize>,
    /// It has no key, and its Worker knows that it was not counted.
    not_counted: bool,
    /// Of parts that were counted for sure, how many plays were, as a Worker was told.
    counted_plays: BTreeMap<usize, usize>,
    /// Shards to which messages about it were sent.
    met: BTreeSet<usize>,
    /// It met a storage that was lost: nothing is promised.
    excused: bool,
}

impl Batch {
    /// The names of a play's boards, in their order.
    fn boards_of(&self, play: &SentPlay) -> impl Iterator<Item = usize> {
        let named = [play.boards, self.boards];
        let named = named.into_iter().find(|named| *named != [false; BOARDS]);
        let named = named.unwrap_or([true, false, false]);
        (0..BOARDS).filter(move |name| named[*name])
    }

    /// The part of a play on a board.
    fn part_of(&self, play: &SentPlay, board: usize) -> usize {
        part_of(board, play.region.filter(|_| self.has_key))
    }
}

/// A play as its sender sends it.
#[derive(Clone, Copy, Debug)]
struct SentPlay {
    post: usize,
    /// The region that it names.
    region: Option<usize>,
    boards: NamedBoards,
    /// By the client's clock; the Worker corrects it.
    timestamp_ms: u64,
    count: u32,
}

struct Client {
    skew_ms: i64,
    /// The region where it is.
    here: usize,
    /// What the last answer said.
    home: Option<Home>,
}

/// An attempt on its way to a Worker.
#[derive(Clone, Copy)]
struct Arrival {
    batch: usize,
    attempt: u64,
    worker: usize,
    /// The region where it is seen.
    here: usize,
    sender_now_ms: u64,
}

/// The answer to a push, and how often the global object had forgotten something before it.
type Heard = (PushReply, u64);

enum Event {
    NewBatch,
    Attempt(usize),
    Arrive(Arrival),
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
    /// The shard is away.
    RecordFailed {
        rpc: usize,
        stage: u32,
    },
    RecordTimeout {
        rpc: usize,
    },
    Outcome {
        rpc: usize,
        batch: usize,
        attempt: u64,
        answer: Answer,
        home: Option<Home>,
    },
    ClientTimeout {
        batch: usize,
        attempt: u64,
    },
    /// While a commit is on its way into the disk, for so long still.
    RefuseCheckpoint {
        shard: usize,
        life: u64,
        left_ms: u64,
    },
    Die {
        shard: usize,
        life: u64,
    },
    Alarm {
        shard: usize,
        number: u64,
        /// It fired already.
        is_again: bool,
    },
    Push(Sent),
    PushAnswer {
        number: u64,
        reply: Option<Heard>,
    },
    TellEpoch {
        number: usize,
        shard: usize,
    },
    EpochTold {
        number: usize,
        shard: usize,
    },
    Then(Then),
    ShardCrash,
    /// A shard begins elsewhere while it is alive still.
    Move,
    /// A clock goes back, or jumps.
    ClockStep,
    GlobalCrash,
    RegistryCrash,
    /// The registry begins elsewhere while it is alive still.
    RegistryMove,
    /// An operator hides a post or shows it.
    PutPost,
    CatalogCrash,
    CatalogFault,
    /// A backup of the catalog is made, or put back.
    CatalogSetBack,
    WriteFault,
    Reshard,
    /// An operator makes a board.
    MakeBoard,
    /// Boards change, or what they consist of.
    Boards,
    Reset,
    Delete,
    Export,
    CutOff,
    LoseStorage,
    Backup,
    SetBack,
    Outage,
    Foreign,
    DamageOutbox,
    DamageSeen,
    DamageJournal,
    Chart,
    /// A chart of a region.
    LookAt(usize),
}

pub struct World {
    random: Random,
    profile: Profile,
    now_ms: u64,
    start_ms: u64,
    end_ms: u64,
    calm: bool,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    next_event: u64,
    posts: Vec<String>,
    batches: Vec<Batch>,
    rpcs: Vec<Rpc>,
    clients: Vec<Client>,
    workers: Vec<Worker>,
    /// Those that were ever made, `main` first.
    boards: Vec<MadeBoard>,
    shards: Vec<ShardNode>,
    /// Of other boards than `main`.
    objects: Vec<ObjectOfBoard>,
    global: GlobalNode,
    registry: RegistryNode,
    catalog: CatalogNode,
    platform: Rc<Platform>,
    executor: Executor<Owner, Option<Then>>,
    /// What `TIME_ZONE` says.
    zone: Rc<RefCell<Option<Zone>>>,
    /// How many of a thousand times memory is short in an instance.
    memory_is_short: Rc<Cell<u64>>,
    /// Pushes that wait for their answers, by number.
    pushes: BTreeMap<u64, PushAsked>,
    /// Charts that the global object gave to shards.
    made: Vec<Made>,
    /// When a shard did not answer last that was asked what it has.
    unanswered_ms: u64,
    /// When a shard was asked last what it has.
    asked_ms: u64,
    /// What the global object knows looks younger to it by so much, until then.
    looks_young: (u64, u64),
    /// Somebody looks at charts of `main` over sockets.
    are_sockets_open: bool,
    telling: Vec<Telling>,
    /// How many regions of each name were deleted, and whether there is one.
    incarnations: [(u32, bool); 2],
    /// The last epoch that has begun, and the last of which every shard was told.
    epoch_ms: u64,
    told_epoch_ms: u64,
    /// Pushes that were sent, to come again when they are old.
    old_pushes: Vec<Sent>,
    /// A day that ends during the run, and what is known of its chart.
    ending: Option<Ending>,
    published: PublishedInModel,
    /// What charts of all time said of a scope, since the global object last forgot something.
    shown: BTreeMap<Option<usize>, u64>,
    violation: Option<String>,
    pub figures: Figures,
    trace: bool,
}

/// A question to the catalog that was lost before nothing went wrong any more is missed 2 s later, and from then
/// on nobody asks for 5 s; one to the registry is missed 5 s later.
const MISSED_FOR_MS: u64 = 7_500;

/// What a run did, to see that it did something.
#[derive(Default, Debug, Clone, Copy)]
pub struct Figures {
    pub batches: u64,
    pub acknowledged: u64,
    pub pushes: u64,
    pub pulls: u64,
    pub charts: u64,
    pub pages: u64,
    pub exports: u64,
    pub puts: u64,
    pub published: u64,
    pub crashes: u64,
    pub claims: u64,
    pub boards: u64,
    pub deletions: u64,
    pub unknown_homes: u64,
    pub events: u64,
}

impl Figures {
    /// Adds what another run did.
    pub fn add(&mut self, other: &Figures) {
        self.batches += other.batches;
        self.acknowledged += other.acknowledged;
        self.pushes += other.pushes;
        self.pulls += other.pulls;
        self.charts += other.charts;
        self.pages += other.pages;
        self.exports += other.exports;
        self.puts += other.puts;
        self.published += other.published;
        self.crashes += other.crashes;
        self.claims += other.claims;
        self.boards += other.boards;
        self.deletions += other.deletions;
        self.unknown_homes += other.unknown_homes;
        self.events += other.events;
    }
}

fn shifted(time_ms: u64, skew_ms: i64) -> u64 {
    time_ms.saturating_add_signed(skew_ms)
}

pub fn region_name(region: usize) -> &'static str {
    ["NA", "EU"][region]
}

/// The region of a key, and which of its name it is.
pub fn region_of(key: &str) -> (usize, u32) {
    let (id, incarnation) = parts_of_key(key);
    let region = (0..2).find(|region| region_name(*region) == id);
    (region.unwrap_or_default(), incarnation)
}

/// What its shards are known by.
pub fn region_key(region: usize, incarnation: u32) -> String {
    let table_region = Region {
        incarnation,
        ..Region::new(region_name(region), "", 1)
    };
    table_region.key().into_owned()
}

/// A zone whose clocks change in the days around a moment, by a part of an hour or by several.
fn drawn_zone(random: &mut Random, ms: u64) -> Zone {
    let offset_s = |random: &mut Random| random.below(105) as i32 * 900 - 48 * 900;
    let first_s = offset_s(random);
    let mut changes = Vec::new();
    let mut at_ms = ms - 4 * DAY_MS;
    for _ in 0..random.below(3) {
        at_ms += random.between(1, 3 * 96) * 15 * MINUTE_MS;
        changes.push(ClockChange {
            at_ms,
            offset_s: offset_s(random),
        });
    }
    Zone::new("Drawn/Zone", first_s, changes).unwrap_or_else(Zone::utc)
}

/// Runs one seed.
///
/// # Errors
/// What was violated.
pub fn run(seed: u64, trace: bool) -> Result<Figures, String> {
    let mut world = World::new(seed, trace);
    hitparade::capacity::simulate(Some(world.profile.panes));
    world.run();
    hitparade::capacity::simulate(None);
    match world.violation {
        None => Ok(world.figures),
        Some(violation) => Err(format!("seed {seed}: {violation}")),
    }
}

/// Whether a mistake may be seen in a seed's run.
pub fn may_show(seed: u64, mutant: Mutant) -> bool {
    Profile::new(&mut Random::new(seed)).may_show(mutant)
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut random = Random::new(seed);
        let profile = Profile::new(&mut random);
        let mut start_ms = 20_000 * DAY_MS + random.below(3 * DAY_MS);
        let ending = profile.close_after_ms.and_then(|close_after_ms| {
            // Days end where panes do.
            let end_ms = start_ms - start_ms % (15 * MINUTE_MS);
            start_ms = end_ms - random.below(profile.active_ms);
            Ending::new(end_ms, close_after_ms)
        });
        let drawn = drawn_zone(&mut random, start_ms);
        let zone = ending.as_ref().map_or(drawn, |it: &Ending| it.zone.clone());
        let mut skew = |most_ms: u64| random.below(2 * most_ms + 1) as i64 - most_ms as i64;
        let worker = |skew_ms| Worker {
            skew_ms,
            directory: None,
            foreign_until_ms: 0,
            cut_off_until_ms: 0,
        };
        let workers = (0..profile.workers)
            .map(|_| worker(skew(profile.skew_ms)))
            .collect();
        let skews_ms = (0..profile.clients).map(|_| skew(10 * profile.skew_ms));
        let skews_ms: Vec<i64> = skews_ms.collect();
        let global = GlobalNode {
            skew_ms: Rc::new(Cell::new(skew(profile.skew_ms))),
            drive: Drive::new(),
            driver: None,
            life: 0,
            down_until_ms: 0,
            syncs: 0,
            states_dropped: 0,
            memory_is_short: Rc::new(Cell::new(profile.global_memory_is_short)),
            question: None,
            last_questions: 0,
            foreign_until_ms: 0,
            backup: None,
            reshards: 0,
            was_set_back: false,
            busy_ms: 0,
            times_forgot: 0,
        };
        let registry = RegistryNode::new(skew(profile.skew_ms));
        let clients = skews_ms.into_iter().map(|skew_ms| Client {
            skew_ms,
            here: random.below(profile.regions as u64) as usize,
            home: None,
        });
        World {
            clients: clients.collect(),
            now_ms: start_ms,
            start_ms,
            end_ms: start_ms + profile.active_ms,
            calm: false,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next_event: 0,
            posts: (0..POPULAR_POSTS)
                .map(|post| format!("post-{post}"))
                .collect(),
            batches: Vec::new(),
            rpcs: Vec::new(),
            workers,
            boards: vec![MadeBoard::main()],
            shards: Vec::new(),
            objects: Vec::new(),
            global,
            registry,
            catalog: CatalogNode::new(),
            platform: Rc::default(),
            executor: Executor::new(),
            zone: Rc::new(RefCell::new(Some(zone))),
            memory_is_short: Rc::new(Cell::new(profile.memory_is_short)),
            pushes: BTreeMap::new(),
            made: Vec::new(),
            unanswered_ms: 0,
            asked_ms: 0,
            looks_young: (0, 0),
            are_sockets_open: false,
            telling: Vec::new(),
            incarnations: [(0, true); 2],
            epoch_ms: 0,
            told_epoch_ms: 0,
            old_pushes: Vec::new(),
            ending,
            published: PublishedInModel::default(),
            shown: BTreeMap::new(),
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
            let since_ms = self.now_ms - self.start_ms;
            eprintln!("{since_ms:>9} {}", what());
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
        self.run_events();
        if self.violation.is_none() {
            self.check_rest();
        }
    }

    /// Lets happen what is to come, until nothing is any more.
    fn run_events(&mut self) {
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
                self.note_due();
                self.figures.events += 1;
                self.handle(event);
                self.run_ready();
                self.let_sleep();
            }
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
        every(profile.move_every_ms, || Event::Move, random);
        every(profile.clock_step_every_ms, || Event::ClockStep, random);
        every(profile.global_crash_every_ms, || Event::GlobalCrash, random);
        every(
            profile.registry_crash_every_ms,
            || Event::RegistryCrash,
            random,
        );
        every(
            profile.registry_crash_every_ms,
            || Event::RegistryMove,
            random,
        );
        every(profile.put_every_ms, || Event::PutPost, random);
        every(4 * profile.put_every_ms, || Event::CatalogCrash, random);
        every(6 * profile.put_every_ms, || Event::CatalogFault, random);
        every(8 * profile.put_every_ms, || Event::CatalogSetBack, random);
        every(profile.write_fault_every_ms, || Event::WriteFault, random);
        every(profile.reshard_every_ms, || Event::Reshard, random);
        every(profile.reset_every_ms, || Event::Reset, random);
        every(profile.delete_every_ms, || Event::Delete, random);
        every(profile.export_every_ms, || Event::Export, random);
        every(profile.foreign_every_ms, || Event::Foreign, random);
        every(profile.cut_off_every_ms, || Event::CutOff, random);
        every(profile.boards_every_ms, || Event::Boards, random);
        let once: [(bool, fn() -> Event); 6] = [
            (profile.storage_loss, || Event::LoseStorage),
            (profile.outage, || Event::Outage),
            (profile.damage_outbox, || Event::DamageOutbox),
            (profile.damage_seen, || Event::DamageSeen),
            (profile.damage_journal, || Event::DamageJournal),
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
        for _ in 1..profile.boards {
            planned.push((random.below(profile.active_ms / 2), Event::MakeBoard));
        }
        for (delay_ms, event) in planned {
            self.after(delay_ms, event);
        }
    }

    /// From now on nothing goes wrong any more: everything must come to rest, and be exact.
    fn calm_down(&mut self) {
        self.calm = true;
        self.memory_is_short.set(0);
        self.global.memory_is_short.set(0);
        self.say(|| "calm".into());
        self.global.down_until_ms = 0;
        self.global.foreign_until_ms = 0;
        self.catalog_comes_back();
        self.objects_come_back();
        self.global.drive.disk.clear_fault();
        self.registry.down_until_ms = 0;
        self.registry.drive.disk.clear_fault();
        for worker in &mut self.workers {
            worker.foreign_until_ms = 0;
            worker.cut_off_until_ms = 0;
        }
        for _ in 0..self.random.between(2, 8) {
            let in_ms = self.random.between(40_000, 40 * MINUTE_MS);
            self.after(in_ms, Event::Then(Box::new(World::play_and_look)));
        }
        let in_ms = self.random.between(MINUTE_MS, 20 * MINUTE_MS);
        self.after(in_ms, Event::Then(Box::new(World::export)));
        for shard in 0..self.shards.len() {
            let node = &mut self.shards[shard];
            node.down_until_ms = 0;
            node.foreign_until_ms = 0;
            node.silent_until_ms = 0;
            node.drive.disk.clear_fault();
            // Alarms that were lost come with the next request; here it comes.
            node.alarm_number += 1;
            node.alarm_comes = true;
            let number = node.alarm_number;
            let alarm = Event::Alarm {
                shard,
                number,
                is_again: false,
            };
            self.after(1, alarm);
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::NewBatch => self.new_batch(),
            Event::Attempt(batch) => self.attempt(batch),
            Event::Arrive(arrival) => self.arrive(arrival),
            Event::Record {
                rpc,
                stage,
                shard,
                message,
                asked,
            } => {
                self.deliver(rpc, stage, shard, &message, asked);
            }
            Event::RecordAnswer { rpc, stage, reply } => self.record_answer(rpc, stage, Ok(reply)),
            Event::RecordFailed { rpc, stage } => self.record_answer(rpc, stage, Err(())),
            Event::RecordTimeout { rpc } => self.record_timeout(rpc),
            Event::Outcome {
                rpc,
                batch,
                attempt,
                answer,
                home,
            } => {
                if answer == Answer::Accepted {
                    self.batches[batch].acknowledged.insert(rpc);
                }
                let client = self.batches[batch].client;
                self.clients[client].home = home;
                self.outcome(batch, attempt, answer);
            }
            Event::ClientTimeout { batch, attempt } => {
                if self.batches[batch].attempts == attempt {
                    self.outcome(batch, attempt, Answer::TryAgain);
                }
            }
            Event::Alarm {
                shard,
                number,
                is_again,
            } => self.alarm(shard, number, is_again),
            Event::Push(sent) => self.take_push(&sent),
            Event::TellEpoch { number, shard } => self.hear_epoch(number, shard),
            Event::EpochTold { number, shard } => self.epoch_told(number, shard),
            Event::PushAnswer { number, reply } => self.pushed(number, reply),
            Event::Then(then) => then(self),
            Event::Chart => {
                self.chart();
                self.read();
                self.ask_published();
                if self.random.chance(300) {
                    self.ask_shard();
                }
                self.chart_of_some_board();
                self.check_wiped();
                self.check_storage();
                let next_ms = self.random.between(300, 60_000);
                // It goes through all plays, and what it finds seldom goes away: a seventh of a run's time.
                if next_ms.is_multiple_of(8) {
                    self.check_batches();
                }
                if self.now_ms + next_ms < self.end_ms + 3 * MINUTE_MS {
                    self.after(next_ms, Event::Chart);
                }
            }
            Event::LookAt(region) => {
                if self.global_is_up() {
                    self.check_chart(Some(region), WindowRequest::All);
                }
            }
            _ if self.calm => {}
            fault => self.strike(fault),
        }
    }

    fn lives(&self, shard: usize, life: u64) -> bool {
        self.shards[shard].life == life
    }
}
