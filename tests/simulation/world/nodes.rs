//! Machines: a disk, what is in memory, and what the model says of both.

use super::*;

/// A disk, and what is counted on it after each batch of writes that is not durable.
pub struct Drive<D> {
    pub disk: Disk,
    pub durable: D,
    pub later: VecDeque<D>,
    /// Batches that became durable, ever.
    pub durable_count: u64,
}

impl<D: Clone + Default> Drive<D> {
    pub fn new() -> Self {
        Drive {
            disk: Disk::default(),
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
    pub region: usize,
    pub incarnation: u32,
    pub shard: u32,
    pub skew_ms: i64,
    pub drive: Drive<usize>,
    pub memory: ShardInMemory,
    /// What its panes showed when it died.
    pub died_at: usize,
    /// One for each storage that it had; the last is that of `drive`.
    pub ledgers: Vec<Ledger>,
    pub state: Option<Shard>,
    /// Counts deaths: what began before one does not end after it.
    pub life: u64,
    pub down_until_ms: u64,
    pub committing: bool,
    pub pushing: bool,
    pub pushes_left: usize,
    pub push_timer: PushTimer,
    /// When it began to push last, by its clock, and how long it was told to wait then.
    pub push_began_ms: u64,
    pub told_interval_ms: u64,
    pub push_number: u64,
    /// What it had counted when it made its last push.
    pub push_moment: usize,
    /// Its pushes get lost until then.
    pub silent_until_ms: u64,
    pub alarm: Alarm,
    pub alarm_number: u64,
    pub alarm_comes: bool,
    pub waiters: BTreeMap<u64, Vec<(usize, u32, RecordReply)>>,
    /// It lost its storage once, and with it which changes it had been told of.
    pub lost_storage: bool,
    pub foreign_until_ms: u64,
}

impl ShardNode {
    /// The key of its region.
    pub fn key(&self) -> String {
        region_key(self.region, self.incarnation)
    }

    pub fn ledger(&mut self) -> &mut Ledger {
        let last = self.ledgers.len() - 1;
        &mut self.ledgers[last]
    }
}

/// A push on its way.
#[derive(Clone)]
pub struct Sent {
    pub shard: usize,
    /// Of the shard, when it made the push.
    pub life: u64,
    pub number: u64,
    /// Which storage it had, and what it had counted.
    pub ledger: usize,
    pub moment: usize,
    pub message: Rc<Vec<u8>>,
}

/// By shard: which storage it had, and what it had told.
pub type ArrivedByShard = BTreeMap<usize, (usize, Arrived)>;

pub struct GlobalNode {
    pub skew_ms: i64,
    /// On its disk is what each shard had told when what was taken of its region was stored last.
    pub drive: Drive<ArrivedByShard>,
    pub state: Option<Global>,
    pub life: u64,
    pub down_until_ms: u64,
    pub syncing: bool,
    pub foreign_until_ms: u64,
    pub backup: Option<Backup>,
    pub reshards: u64,
    pub was_set_back: bool,
    /// How often it lost what it had in memory alone.
    pub times_forgot: u64,
}

pub struct Backup {
    pub rows: [BTreeMap<Vec<u8>, Vec<u8>>; 9],
    /// Of each ledger, what it was known to keep.
    pub kept: Vec<Vec<usize>>,
    pub reshards: u64,
}

pub struct Worker {
    pub skew_ms: i64,
    pub table: Option<(Rc<RegionTable>, u64)>,
    pub foreign_until_ms: u64,
    /// It does not reach the global object.
    pub cut_off_until_ms: u64,
}
