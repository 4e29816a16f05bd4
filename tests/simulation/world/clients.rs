//! Senders: what they send, how often they try, when they give up.

use super::*;

/// Posts that are played again and again.
pub const POPULAR_POSTS: u64 = 12;
/// The others are played once: where a chart has such a play twice, nothing that it lacks hides
/// it. A chart lists all of them.
const MAX_POSTS: usize = 900;

impl World {
    pub(super) fn new_batch(&mut self) {
        if self.calm {
            return;
        }
        let next_ms = self.random.below(2 * self.profile.batch_every_ms);
        self.after(next_ms, Event::NewBatch);
        self.send_batch();
    }

    /// When nothing goes wrong any more: somebody plays, and somebody looks, so long after that that every
    /// play must be there.
    pub(super) fn play_and_look(&mut self) {
        if self.random.chance(500) {
            self.open_or_close_sockets();
        }
        self.send_batch();
        self.after(2_000, Event::Then(Box::new(World::send_batch)));
        if self.random.chance(300) {
            let in_ms = self.random.below(4_000);
            self.after(in_ms, Event::Then(Box::new(World::step_clock)));
        }
        if self.random.chance(300) {
            self.after(3_500, Event::Then(Box::new(World::hide_quiet_shards)));
        }
        for within_ms in [1_000, 2_000, 10_000] {
            let in_ms = PROMISED_WITHIN_MS + self.random.between(50, within_ms);
            let region = self.random.below(self.profile.regions as u64) as usize;
            let look = move |world: &mut World| {
                world.check_chart(None, WindowRequest::All);
                world.check_chart(Some(region), WindowRequest::All);
            };
            self.after(in_ms, Event::Then(Box::new(look)));
        }
    }

    /// For a while nobody reaches the quiet shards that have something open: charts say that they lack it. Of one that
    /// has nothing open, or is busy, nobody would know.
    fn hide_quiet_shards(&mut self) {
        let now_ms = shifted(self.now_ms, self.global.skew_ms.get());
        let asked = self.look_at_global(|global| global.to_pull("global", u64::MAX, now_ms));
        for name in asked.unwrap_or_default() {
            let (region, incarnation) = region_of(&name.0);
            let shard = self.shard_node(0, (region, incarnation, name.1));
            let log_id = self.shards[shard].pushed_log;
            let is_quiet = self.look_at_global(|global| {
                let log = global.standing(&name, log_id);
                log.is_some_and(|log| log.is_quiet && log.has_open)
            });
            if is_quiet == Some(true) {
                self.shards[shard].down_until_ms = self.now_ms + PROMISED_WITHIN_MS + 3_000;
            }
        }
    }

    fn send_batch(&mut self) {
        let client = self.random.below(self.profile.clients as u64) as usize;
        let sent_ms = shifted(self.now_ms, self.clients[client].skew_ms);
        let is_trusted = self.random.chance(self.profile.trusted);
        // Nobody decides about a batch without a name: all of it goes to one region.
        let has_key = !self.random.chance(100);
        let regions = self.profile.regions as u64;
        let one_region = self.random.below(regions) as usize;
        let names = match self.random.below(3) {
            _ if !is_trusted => 0,
            1 if has_key => 500,
            _ => 1_000,
        };
        let most_plays = match self.random.chance(self.profile.scattered) {
            true => 24,
            false => 4,
        };
        // Without a name it is for one board.
        let boards = self.profile.boards as u64;
        let several = if has_key { 400 } else { 0 };
        let random = &mut self.random;
        let of_boards = |random: &mut Random| {
            let mut named = [false; BOARDS];
            named[random.below(boards) as usize] = true;
            for board in named.iter_mut().take(boards as usize) {
                *board |= random.chance(several);
            }
            named
        };
        let all_name = of_boards(random);
        let names_boards = random.chance(600);
        let mut plays = Vec::new();
        for _ in 0..random.between(1, most_plays) {
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
            let mut post = random.skewed(POPULAR_POSTS) as usize;
            if random.chance(300) && self.posts.len() < MAX_POSTS {
                post = self.posts.len();
                self.posts.push(format!("once-{post}"));
            }
            let of_another = has_key && random.chance(300);
            let region = match random.chance(names) {
                true if of_another => Some(random.below(regions) as usize),
                true => Some(one_region),
                false => None,
            };
            plays.push(SentPlay {
                post,
                region,
                boards: match names_boards && has_key && random.chance(300) {
                    true => of_boards(random),
                    false => [false; BOARDS],
                },
                timestamp_ms: sent_ms.saturating_sub(ago_ms),
                count: count as u32,
            });
        }
        let home = self.home_of(client, plays.iter().all(|play| play.region.is_some()));
        let random = &mut self.random;
        let number = self.batches.len();
        let mut batch = Batch {
            client,
            seq: number as u64,
            is_trusted,
            has_key,
            has_client: random.chance(800),
            says_sent: !random.chance(50),
            home,
            sent_ms,
            boards: match names_boards {
                true => all_name,
                false => [false; BOARDS],
            },
            first_ms: self.now_ms,
            plays,
            attempts: 0,
            fate: Fate::Open,
            rejected: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            not_counted: false,
            counted_plays: BTreeMap::new(),
            met: BTreeSet::new(),
            excused: false,
        };
        if self.random.chance(self.profile.reused_keys) {
            self.reuse_key(&mut batch);
        }
        self.batches.push(batch);
        self.figures.batches += 1;
        self.attempt(number);
        if self.random.chance(100) {
            // A sender that does not wait for its answer.
            let delay_ms = self.random.below(3_000);
            self.after(delay_ms, Event::Attempt(number));
        }
    }

    /// A sender gives the name of one of its last batches to other plays.
    fn reuse_key(&mut self, batch: &mut Batch) {
        let since_ms = self.now_ms.saturating_sub(5 * MINUTE_MS);
        let is_named = |it: &&Batch| it.client == batch.client && it.has_key;
        let last = self.batches.iter().rev().take(20).find(is_named);
        if let Some(named) = last.filter(|named| named.first_ms > since_ms) {
            batch.seq = named.seq;
            batch.is_trusted = named.is_trusted;
            batch.has_key = true;
            batch.has_client = named.has_client;
            batch.says_sent = named.says_sent;
            batch.home = named.home.clone();
            batch.sent_ms = named.sent_ms;
            batch.first_ms = named.first_ms;
            // Names are known where they are decided about: of parts that have nothing in common, nobody
            // can say that they have one name.
            batch.boards = named.boards;
            for (play, of) in batch.plays.iter_mut().zip(named.plays.iter().cycle()) {
                play.region = of.region;
                play.boards = of.boards;
            }
        }
    }

    /// What a client says to be the home of a batch that it seals now: mostly what it was told last.
    fn home_of(&mut self, client: usize, names_regions: bool) -> Option<Home> {
        let random = &mut self.random;
        let most_shards = self.profile.most_shards;
        let boards = &self.boards;
        let numbers = |random: &mut Random| {
            let known = boards.iter().skip(1).filter(|_| random.chance(500));
            let known: Vec<String> = known.map(|it| it.board.key().into_owned()).collect();
            let number = |key| (key, random.between(1, most_shards + 1) as u32);
            known.into_iter().map(number).collect()
        };
        match random.below(1_000) {
            kind if kind < self.profile.homeless => None,
            // One of long ago, or of nobody.
            kind if kind >= 900 => {
                let region = random.below(self.profile.regions as u64) as usize;
                let incarnation = random.below(u64::from(self.incarnations[region].0) + 1) as u32;
                Some(Home {
                    key: Some(region_key(region, incarnation)),
                    shards: random.between(1, most_shards + 1) as u32,
                    boards: numbers(random),
                })
            }
            kind if kind >= 800 && names_regions => Some(Home {
                key: None,
                shards: random.between(1, most_shards + 1) as u32,
                boards: numbers(random),
            }),
            _ => self.clients[client].home.clone(),
        }
    }

    pub(super) fn attempt(&mut self, number: usize) {
        if self.random.chance(self.profile.travel) {
            let here = self.random.below(self.profile.regions as u64) as usize;
            let client = self.batches[number].client;
            self.clients[client].here = here;
        }
        let worker = self.random.below(self.workers.len() as u64) as usize;
        let batch = &mut self.batches[number];
        let another = batch.attempts == 0 || batch.has_key;
        if batch.fate != Fate::Open || !another {
            return;
        }
        batch.attempts += 1;
        let attempt = batch.attempts;
        let client = &self.clients[batch.client];
        let here = client.here;
        let sender_now_ms = shifted(self.now_ms, client.skew_ms);
        if mutants::active(Mutant::HomeAtAttempt) {
            batch.home = client.home.clone().or(batch.home.take());
        }
        // Nothing tells a doubled request without a key from two requests.
        let most = if self.batches[number].has_key { 2 } else { 1 };
        for delay_ms in self.deliveries(MAX_UNDER_WAY_MS).into_iter().take(most) {
            let arrival = Arrival {
                batch: number,
                attempt,
                worker,
                here,
                sender_now_ms,
            };
            self.after(delay_ms, Event::Arrive(arrival));
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
    pub(super) fn deliveries(&mut self, slowest_ms: u64) -> Vec<u64> {
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

    pub(super) fn outcome(&mut self, number: usize, attempt: u64, answer: Answer) {
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
}
