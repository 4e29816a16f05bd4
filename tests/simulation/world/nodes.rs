//! Machines: a disk, what is in memory, and what the model says of both.

use hitparade::board::Directory;

use super::global::GlobalDriver;
use super::*;

/// A disk, and what is counted on it after each batch of writes that is not durable.
pub struct Drive<D> {
    pub disk: Rc<Disk>,
    pub durable: D,
    pub later: VecDeque<D>,
    /// Batches that became durable, ever.
    pub durable_count: u64,
}

impl<D: Clone + Default> Drive<D> {
    pub fn new() -> Self {
        Drive {
            disk: Rc::default(),
            durable: D::default(),
            later: VecDeque::new(),
            durable_count: 0,
        }
    }

    pub fn latest(&self) -> &D {
        self.later.back().unwrap_or(&self.durable)
    }

    pub fn written(&self) -> u64 {
        self.durable_count + self.later.len() as u64
    }

    pub fn sync(&mut self, up_to: u64) {
        let batches = up_to.saturating_sub(self.durable_count) as usize;
        let batches = batches.min(self.later.len());
        self.disk.make_durable(batches);
        for durable in self.later.drain(..batches) {
            self.durable = durable;
        }
        self.durable_count += batches as u64;
    }

    pub fn crash(&mut self, keep: usize) {
        self.disk.crash(keep);
        self.later.truncate(keep);
        self.durable_count += keep as u64;
        if let Some(last) = self.later.drain(..).next_back() {
            self.durable = last;
        }
    }
}

pub struct ShardNode {
    pub board: usize,
    pub region: usize,
    pub incarnation: u32,
    pub shard: u32,
    pub skew_ms: Rc<Cell<i64>>,
    /// Before its clock stepped last, the highest.
    pub highest_skew_ms: i64,
    pub drive: Drive<usize>,
    /// The object, where it is in memory.
    pub driver: Option<Driver<SimHost>>,
    /// Counts instances of the object: what one began does not end in the next.
    pub life: u64,
    /// One that is alive still, though another has taken over.
    pub old: Option<OldInstance>,
    /// What its panes show, and what they showed when it died.
    pub applied: usize,
    pub died_at: usize,
    /// What it had counted after each commit, by the commit's number.
    pub moments: BTreeMap<u64, usize>,
    /// One for each storage that it had; the last is that of `drive`.
    pub ledgers: Vec<Ledger>,
    pub votes: VotesInModel,
    /// How many batches waited before it was called; none where it was not loaded.
    pub waiting_before: Option<usize>,
    pub down_until_ms: u64,
    /// The task that pushed last, when it began to by its clock, and how long it was told to wait then.
    pub push_task: Option<u64>,
    pub push_began_ms: u64,
    /// From then on it waits, or from later: as `push_began_ms`, or when its clock went back since.
    pub waits_from_ms: u64,
    /// When it pushed last, or its clock stepped: from then on it waits no longer than it was told.
    pub could_push_ms: u64,
    pub told_interval_ms: u64,
    /// It pushes by the quarter, and when it is asked.
    pub is_told_quiet: bool,
    /// Of the push that was taken last.
    pub pushed_log: u128,
    /// It was told to cut its log at this moment, and not yet that all below the cut is taken: then it pushes at once.
    pub at_once_for_ms: Option<u64>,
    /// The cut below which it has more than its pushes hold in so long.
    pub behind_cut_ms: Option<u64>,
    /// Its pushes get lost until then.
    pub silent_until_ms: u64,
    pub alarm_number: u64,
    pub alarm_comes: bool,
    /// When the last that it set is due, until it fires: what the platform says of it.
    pub alarm_due_ms: Option<u64>,
    /// The last that it set gets lost: that is a fault of the platform's.
    pub alarm_is_lost: bool,
    /// When the platform refused to set one, and none was set since: it was told.
    pub alarm_refused_ms: Option<u64>,
    pub alarms_asked: u64,
    pub alarm_pending: Option<PendingAlarm>,
    /// It lost its storage once.
    pub lost_storage: bool,
    pub foreign_until_ms: u64,
}

/// An alarm that is being set.
pub struct PendingAlarm {
    /// The how manieth it was to be asked for.
    pub number: u64,
    pub delay_ms: u64,
    /// What was written before it.
    pub written: u64,
    /// It was asked for while an alarm that had fired was not done with.
    pub follows_fired: bool,
}

/// An instance of an object after another has taken over.
pub struct OldInstance {
    pub life: u64,
    pub driver: Driver<SimHost>,
    /// What its panes show.
    pub applied: usize,
}

impl ShardNode {
    pub fn new(board: usize, place: (usize, u32, u32), skew_ms: i64, is_late: bool) -> Self {
        let (region, incarnation, shard) = place;
        ShardNode {
            board,
            region,
            incarnation,
            shard,
            skew_ms: Rc::new(Cell::new(skew_ms)),
            highest_skew_ms: skew_ms,
            drive: Drive::new(),
            driver: None,
            life: 0,
            old: None,
            applied: 0,
            died_at: 0,
            moments: BTreeMap::new(),
            ledgers: vec![Ledger::new(is_late)],
            votes: VotesInModel::default(),
            waiting_before: None,
            down_until_ms: 0,
            push_task: None,
            push_began_ms: 0,
            waits_from_ms: 0,
            could_push_ms: 0,
            told_interval_ms: 0,
            is_told_quiet: false,
            pushed_log: 0,
            at_once_for_ms: None,
            behind_cut_ms: None,
            silent_until_ms: 0,
            alarm_number: 0,
            alarm_comes: false,
            alarm_due_ms: None,
            alarm_is_lost: false,
            alarm_refused_ms: None,
            alarms_asked: 0,
            alarm_pending: None,
            lost_storage: false,
            foreign_until_ms: 0,
        }
    }

    /// The key of its region.
    pub fn key(&self) -> String {
        region_key(self.region, self.incarnation)
    }

    pub fn ledger(&mut self) -> &mut Ledger {
        let last = self.ledgers.len() - 1;
        &mut self.ledgers[last]
    }

    /// What is in the memory of its object.
    pub fn look<T>(&self, look: impl FnOnce(&Shard) -> T) -> Option<T> {
        self.driver.as_ref().and_then(|driver| driver.look(look))
    }

    /// What it had counted after a commit.
    pub fn moment_of(&self, seq: u64) -> usize {
        let before = self.moments.range(..=seq).next_back();
        before.map_or(0, |(_, moment)| *moment)
    }

    /// A crash took back what was counted after a moment.
    pub fn set_back(&mut self, to: usize) {
        self.ledger().set_back(to);
        self.moments.retain(|_, moment| *moment <= to);
    }
}

/// A push on its way.
#[derive(Clone)]
pub struct Sent {
    pub shard: usize,
    pub number: u64,
    /// Which storage it had, and what it had counted.
    pub ledger: usize,
    pub moment: usize,
    pub message: Rc<Vec<u8>>,
}

/// By shard: which storage it had, and what it had told.
pub type ArrivedByShard = BTreeMap<usize, (usize, Arrived)>;

pub struct GlobalNode {
    pub skew_ms: Rc<Cell<i64>>,
    /// On its disk is what each shard had told when what was taken of its region was stored last.
    pub drive: Drive<ArrivedByShard>,
    /// The object, where it is in memory.
    pub driver: Option<GlobalDriver>,
    pub life: u64,
    pub down_until_ms: u64,
    /// Syncs that are under way.
    pub syncs: u64,
    /// How often this instance has dropped its state.
    pub states_dropped: u64,
    /// How many of a thousand times it finds that memory is short.
    pub memory_is_short: Rc<Cell<u64>>,
    /// The last question to the registry.
    pub question: Option<Waiting>,
    /// Answers that somebody waits for after all has come to rest.
    pub last_questions: u64,
    pub foreign_until_ms: u64,
    pub backup: Option<Backup>,
    pub reshards: u64,
    pub was_set_back: bool,
    /// When a shard pushed last that will push again by itself.
    pub busy_ms: u64,
    /// How often it lost what it had in memory alone.
    pub times_forgot: u64,
}

pub struct Backup {
    pub rows: [BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()],
    /// Of each ledger, what it was known to keep.
    pub kept: Vec<Vec<usize>>,
    pub reshards: u64,
}

pub struct Worker {
    pub skew_ms: i64,
    pub directory: Option<(Rc<Directory>, u64)>,
    pub foreign_until_ms: u64,
    /// It does not reach the registry.
    pub cut_off_until_ms: u64,
}
