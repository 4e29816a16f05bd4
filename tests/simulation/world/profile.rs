//! What a seed is made of.

use hitparade::region::Limits;
use hitparade::window::MINUTE_MS;

use super::MAX_SKEW_MS;
use crate::random::Random;

/// What goes wrong in a run, and how large it is. Each fault is there in half of the runs, so that
/// they meet in all combinations.
pub struct Profile {
    pub regions: usize,
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
    pub global_crash_every_ms: u64,
    pub write_fault_every_ms: u64,
    pub reshard_every_ms: u64,
    pub storage_loss: bool,
    pub set_back: bool,
    pub outage: bool,
    pub late: u64,
    pub alarm_fault: u64,
    pub foreign_every_ms: u64,
    pub cut_off_every_ms: u64,
    pub damage_outbox: bool,
    pub counters: usize,
    pub limits: Limits,
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
        let reshard_every_ms = often(random, 4 * MINUTE_MS);
        let cut_off_every_ms = often(random, 8 * MINUTE_MS);
        // What a change of shards brings is there minutes after it only.
        let fewest_minutes = match reshard_every_ms > 0 && cut_off_every_ms > 0 {
            true => 12,
            false => 2,
        };
        Profile {
            regions: random.between(1, 2) as usize,
            most_shards: random.between(1, 4),
            workers: random.between(1, 3) as usize,
            clients: random.between(1, 5) as usize,
            active_ms: random.between(fewest_minutes, fewest_minutes + 12) * MINUTE_MS,
            batch_every_ms: random.between(1_500, 15_000),
            lost: rate(random, 200),
            doubled: rate(random, 300),
            slow: rate(random, 150),
            answer_lost: rate(random, 400),
            skew_ms: rate(random, MAX_SKEW_MS),
            shard_crash_every_ms: often(random, 2 * MINUTE_MS),
            global_crash_every_ms: often(random, 2 * MINUTE_MS),
            write_fault_every_ms: often(random, MINUTE_MS),
            reshard_every_ms,
            storage_loss: random.chance(150),
            set_back: random.chance(150),
            outage: random.chance(150),
            late: rate(random, 600),
            alarm_fault: rate(random, 500),
            foreign_every_ms: often(random, 4 * MINUTE_MS),
            cut_off_every_ms,
            damage_outbox: random.chance(100),
            counters: match random.chance(700) {
                true => random.between(2, 8) as usize,
                false => 64,
            },
            limits,
        }
    }
}
