//! What a seed is made of.

use hitparade::capacity::SmallPanes;
use hitparade::catalog::CatalogLimits;
use hitparade::global::GlobalLimits;
use hitparade::mutants::Mutant;
use hitparade::region::Limits;
use hitparade::window::MINUTE_MS;

use super::MAX_SKEW_MS;
use super::catalog::small_limits;
use crate::random::Random;

/// What goes wrong in a run, and how large it is. Each fault is there in half of the runs, so that
/// they meet in all combinations.
pub struct Profile {
    pub regions: usize,
    /// Names that boards have.
    pub boards: usize,
    /// How often they are made, changed, deleted.
    pub boards_every_ms: u64,
    pub most_shards: u64,
    pub workers: usize,
    pub clients: usize,
    pub active_ms: u64,
    pub batch_every_ms: u64,
    pub lost: u64,
    pub doubled: u64,
    pub slow: u64,
    pub answer_lost: u64,
    pub skew_ms: u64,
    pub shard_crash_every_ms: u64,
    /// How often a shard begins elsewhere while it is alive still.
    pub clock_step_every_ms: u64,
    pub move_every_ms: u64,
    /// How many Workers hang up before they are answered.
    pub hung_up: u64,
    /// How many of a thousand times a shard finds that memory is short.
    pub memory_is_short: u64,
    /// How many of the batches have the name of another one.
    pub reused_keys: u64,
    /// What an address may add to a post a minute.
    pub votes_limit: Option<u32>,
    pub global_crash_every_ms: u64,
    pub registry_crash_every_ms: u64,
    pub write_fault_every_ms: u64,
    pub reshard_every_ms: u64,
    pub storage_loss: bool,
    pub set_back: bool,
    pub outage: bool,
    pub late: u64,
    /// How many of the batches have plays of many times.
    pub scattered: u64,
    pub alarm_fault: u64,
    pub foreign_every_ms: u64,
    pub cut_off_every_ms: u64,
    pub damage_outbox: bool,
    pub damage_seen: bool,
    pub damage_journal: bool,
    /// How often a client is in another region at its next attempt.
    pub travel: u64,
    /// How many of the batches have no home.
    pub homeless: u64,
    /// How many of the batches show the token.
    pub trusted: u64,
    pub reset_every_ms: u64,
    pub delete_every_ms: u64,
    pub export_every_ms: u64,
    /// How often posts are hidden or shown; 0 where the catalog is empty and always there.
    pub put_every_ms: u64,
    /// They have a tag then, which charts exclude.
    pub hides_by_tag: bool,
    pub on_catalog: CatalogLimits,
    /// How long after its end a day is closed that ends during the run; none where no day ends.
    pub close_after_ms: Option<u64>,
    /// How many of the pushes that are remembered come again after a start.
    pub old_pushes: u64,
    /// How often a shard is not heard from for a while after a push that could not hold everything.
    pub silence: u64,
    pub panes: SmallPanes,
    /// No limit is reached: charts never lack what they have been told.
    pub is_roomy: bool,
    pub limits: Limits,
    pub on_global: GlobalLimits,
    /// How many of a thousand times the global object finds that memory is short.
    pub global_memory_is_short: u64,
    /// More pushes come than it takes: shards push less often.
    pub slow_pace: bool,
    /// How many of a thousand events objects without anything to do are put to sleep after.
    pub sleeps: u64,
}

impl Profile {
    pub fn new(random: &mut Random) -> Self {
        let often = |random: &mut Random, every_ms: u64| match random.chance(500) {
            true => random.between(every_ms / 4, every_ms),
            false => 0,
        };
        let rate = |random: &mut Random, most: u64| match random.chance(500) {
            true => random.below(most),
            false => 0,
        };
        let mut limits = Limits::default();
        let is_roomy = random.chance(300);
        if !is_roomy {
            limits.journal_rows = random.between(3, 12);
            limits.checkpoint_rows = random.between(1, limits.journal_rows - 1);
            limits.late_panes = random.between(1, 4) as usize;
            limits.open_bytes = random.between(1_000, 40_000) as usize;
            limits.sealed_bytes = random.between(100, 20_000) as usize;
            limits.row_bytes = random.between(50, 1_000) as usize;
            limits.push.bytes = random.between(100, 4_000) as usize;
            limits.push.copy_bytes = random.between(50, limits.push.bytes as u64) as usize;
            limits.push.panes = random.between(2, 40) as usize;
        }
        let mut on_global = GlobalLimits {
            push: limits.push,
            // What goes wrong between a flush and its sync needs many flushes to go wrong.
            flush_after_ms: 2_000,
            ..GlobalLimits::default()
        };
        let mut global_memory_is_short = 0;
        if !is_roomy && random.chance(400) {
            on_global.copy_bytes = random.between(100, 10_000) as usize;
            on_global.pending_bytes = random.between(100, 10_000) as usize;
            on_global.worth_flushing_bytes = random.between(0, 1_000) as usize;
            on_global.late_bytes = random.between(1, 10_000) as usize;
            global_memory_is_short = random.between(50, 800);
        }
        if random.chance(200) {
            on_global.pulled_shards = random.between(1, 3) as usize;
        }
        let slow_pace = random.chance(100);
        if slow_pace {
            on_global.push_gap_ms = random.between(2_000, 20_000);
        }
        if !is_roomy && random.chance(300) {
            limits.waiting_requests = random.between(1, 4) as usize;
            limits.outbox_bytes = random.between(200, 4_000);
        }
        if random.chance(300) {
            limits.group_after_a_second = 1;
            limits.group_requests = random.between(1, 3) as usize;
        }
        let mut profile = Profile {
            regions: random.between(1, 2) as usize,
            boards: [1, 2, 3][random.below(3) as usize],
            boards_every_ms: often(random, 2 * MINUTE_MS),
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
            move_every_ms: often(random, 2 * MINUTE_MS),
            clock_step_every_ms: often(random, 2 * MINUTE_MS),
            hung_up: rate(random, 300),
            memory_is_short: rate(random, 100),
            reused_keys: match random.chance(200) {
                true => random.below(300),
                false => 0,
            },
            votes_limit: random.chance(300).then(|| random.between(1, 4) as u32),
            global_crash_every_ms: often(random, 2 * MINUTE_MS),
            registry_crash_every_ms: often(random, 2 * MINUTE_MS),
            write_fault_every_ms: often(random, MINUTE_MS),
            reshard_every_ms: often(random, 4 * MINUTE_MS),
            storage_loss: random.chance(150),
            set_back: random.chance(150),
            outage: random.chance(150),
            late: rate(random, 600),
            scattered: rate(random, 400),
            alarm_fault: rate(random, 500),
            foreign_every_ms: often(random, 4 * MINUTE_MS),
            cut_off_every_ms: often(random, 8 * MINUTE_MS),
            damage_outbox: random.chance(100),
            damage_seen: random.chance(150),
            damage_journal: random.chance(100),
            travel: rate(random, 800),
            homeless: rate(random, 400),
            trusted: rate(random, 600),
            delete_every_ms: match random.chance(100) {
                true => random.between(MINUTE_MS, 5 * MINUTE_MS),
                false => 0,
            },
            reset_every_ms: match random.chance(100) {
                true => random.between(MINUTE_MS, 6 * MINUTE_MS),
                false => 0,
            },
            export_every_ms: match random.chance(150) {
                true => random.between(MINUTE_MS, 4 * MINUTE_MS),
                false => 0,
            },
            put_every_ms: match random.chance(200) {
                true => random.between(5_000, 60_000),
                false => 0,
            },
            hides_by_tag: random.chance(500),
            on_catalog: small_limits(random),
            close_after_ms: None,
            old_pushes: rate(random, 300),
            silence: rate(random, 500),
            panes: SmallPanes {
                counters: match random.chance(600) {
                    true => random.between(2, 8) as usize,
                    false => 1_024,
                },
                open_bytes: random
                    .chance(500)
                    .then(|| random.between(300, 6_000) as usize),
            },
            is_roomy,
            limits,
            on_global,
            global_memory_is_short,
            slow_pace,
            // Where there is so much to take, it has always something to do.
            sleeps: match if slow_pace { 2 } else { random.below(3) } {
                0 => 1_000,
                1 => random.below(300),
                _ => 0,
            },
        };
        if random.chance(200) {
            profile.move_batches(random);
        }
        if random.chance(400) {
            profile.close_after_ms = Some(random.between(1_000, 3 * MINUTE_MS));
        }
        if profile.damage_seen || profile.damage_journal {
            // What a shard forgets it refuses by the clock of its Worker, with a margin of 15 s.
            profile.skew_ms = profile.skew_ms.min(7_000);
            profile.slow = 0;
        }
        profile
    }

    /// Whether all objects have the same time.
    pub fn has_one_clock(&self) -> bool {
        self.skew_ms == 0 && self.clock_step_every_ms == 0
    }

    /// Whether a mistake may be seen in such a run: some need what is in a run of ten.
    pub fn may_show(&self, mutant: Mutant) -> bool {
        use Mutant::*;
        let crashes = self.shard_crash_every_ms > 0;
        match mutant {
            ClockTrusted => self.skew_ms > 30_000 && self.clock_step_every_ms > 0,
            RefusedAlarmTakenForSet => self.alarm_fault > 100,
            VotesIgnored => self.votes_limit.is_some(),
            NamesReused => self.reused_keys > 0,
            ToldBeforeDurable => self.reset_every_ms > 0 && crashes,
            MomentInMemoryAlone => self.has_one_clock() && self.sleeps > 0,
            OldEpochTaken | PanesSurviveTheirEpoch => self.reset_every_ms > 0,
            DeciderOfToday => self.delete_every_ms > 0,
            DamagedClaimsForgotten => self.damage_seen,
            FoldedBeforeClosed | ClosedTwice => self.close_after_ms.is_some(),
            NumberWithoutMark | MembersKept => self.put_every_ms > 0,
            BirthUnasked | NameWithoutIncarnation | TombstoneGoneEarly => self.boards_every_ms > 0,
            _ => true,
        }
    }

    /// What senders that travel and changes of the number of shards can break takes several things at
    /// once.
    fn move_batches(&mut self, random: &mut Random) {
        self.regions = random.between(1, 2) as usize;
        self.boards = random.between(1, 3) as usize;
        self.most_shards = random.between(2, 4);
        self.workers = random.between(2, 3) as usize;
        self.travel = random.below(1_000);
        self.active_ms = random.between(12, 24) * MINUTE_MS;
        self.reshard_every_ms = random.between(MINUTE_MS, 4 * MINUTE_MS);
        self.cut_off_every_ms = random.between(MINUTE_MS, 4 * MINUTE_MS);
        self.answer_lost = random.below(600);
        self.storage_loss = false;
        self.set_back = false;
        self.outage = false;
        self.reset_every_ms = 0;
    }
}
