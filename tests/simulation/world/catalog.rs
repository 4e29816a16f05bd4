//! The catalog: the driver of `src/catalog/driver.rs`, on a machine of its own that dies; an operator who
//! hides posts and shows them again; and what charts must show of that.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use futures_util::FutureExt;
use hitparade::board::ObjectName;
use hitparade::catalog::{self, CatalogLimits, STALE_AFTER_MS};
use hitparade::host::SendError;

use super::*;

/// Posts that are hidden and shown.
const POSTS: u64 = 4;
/// What posts have, where charts leave them out by their tag.
const OUT: &str = "out";
/// How long what was acknowledged may take into charts that nobody keeps, and a little.
pub(super) const SHOWN_WITHIN_MS: u64 = STALE_AFTER_MS + 1_000;

/// The machine, and what its operator did.
pub struct CatalogNode {
    drive: Drive<()>,
    driver: Option<catalog::Driver<SimHost>>,
    pub life: u64,
    down_until_ms: u64,
    puts: Vec<Put>,
    backup: Option<[BTreeMap<Vec<u8>, Vec<u8>>; Table::ALL.len()]>,
}

struct Put {
    post: usize,
    hides: bool,
    life: u64,
    acknowledged_ms: Option<u64>,
    is_refused: bool,
}

impl CatalogNode {
    pub fn new() -> Self {
        CatalogNode {
            drive: Drive::new(),
            driver: None,
            life: 0,
            down_until_ms: 0,
            puts: Vec::new(),
            backup: None,
        }
    }

    /// Whether charts that were asked for at a time may list a post, and may leave it out.
    fn may_be(&self, post: usize, asked_ms: u64) -> (bool, bool) {
        let by_then = asked_ms.saturating_sub(SHOWN_WITHIN_MS);
        let puts = self.puts.iter().filter(|put| put.post == post);
        let puts: Vec<&Put> = puts.collect();
        let is_settled = |put: &&Put| put.acknowledged_ms.is_some_and(|ms| ms <= by_then);
        let settled = puts.iter().rposition(is_settled);
        let first = match settled {
            Some(place) => puts[place].hides,
            None => false,
        };
        let later = puts.iter().skip(settled.map_or(0, |place| place + 1));
        let states: Vec<bool> = later.map(|put| put.hides).chain([first]).collect();
        (states.contains(&false), states.contains(&true))
    }
}

impl World {
    fn catalog_instance(&self) -> Instance {
        Instance {
            node: Node::Catalog,
            life: self.catalog.life,
        }
    }

    fn catalog_driver(&mut self) -> catalog::Driver<SimHost> {
        self.platform.now_ms.set(self.now_ms);
        let instance = self.catalog_instance();
        let (node, random) = (&mut self.catalog, &mut self.random);
        let limits = self.profile.on_catalog;
        let made = node.driver.get_or_insert_with(|| {
            let host = SimHost {
                platform: Rc::clone(&self.platform),
                instance,
                skew_ms: Rc::default(),
                handle: DiskHandle::new(&node.drive.disk),
                random: RefCell::new(Random::new(random.next())),
                memory_is_short: Rc::default(),
                object: ObjectName::Registry,
                zone: Rc::clone(&self.zone),
            };
            catalog::Driver::new(host, limits)
        });
        made.clone()
    }

    /// An operator hides a post, or shows it again.
    pub(super) fn put_post(&mut self) {
        let post = self.random.below(POSTS) as usize;
        let node = &self.catalog;
        let is_under_way = |put: &Put| {
            let is_open = put.acknowledged_ms.is_none() && !put.is_refused;
            put.post == post && is_open && put.life == node.life
        };
        if node.down_until_ms > self.now_ms || node.puts.iter().any(is_under_way) {
            return;
        }
        let hides = self.random.chance(500);
        let number = self.catalog.puts.len();
        self.catalog.puts.push(Put {
            post,
            hides,
            life: self.catalog.life,
            acknowledged_ms: None,
            is_refused: false,
        });
        let post_id = self.posts[post].clone();
        let patch = match self.profile.hides_by_tag {
            true => PostPatch {
                post_id,
                tags: Some(if hides { vec![OUT.into()] } else { Vec::new() }),
                ..PostPatch::default()
            },
            false => PostPatch {
                hidden: Some(hides),
                ..PostPatch::hiding(post_id)
            },
        };
        let message = codec::encode(&PutPosts {
            patches: vec![patch],
            only_new: false,
        });
        let driver = self.catalog_driver();
        let work = async move {
            let reply = driver.put_posts(&message).await;
            let then: Then = Box::new(move |world| world.put_answered(number, &reply));
            Some(then)
        };
        let owner = Owner {
            instance: self.catalog_instance(),
            errand: Errand::Other,
        };
        self.start(owner, Box::pin(work));
        if self.random.chance(300) {
            // By chance alone a board would hardly ever hear of a change that is lost, and then of another.
            let charted_ms = self.random.below(300);
            self.after(charted_ms, Event::LookAt(0));
            let dies_ms = charted_ms + self.random.below(500);
            self.after(dies_ms, Event::CatalogCrash);
            let again_ms = dies_ms + self.random.below(30_000);
            self.after(again_ms, Event::PutPost);
        }
    }

    fn put_answered(&mut self, number: usize, reply: &[u8]) {
        let post = self.catalog.puts[number].post;
        let hides = self.catalog.puts[number].hides;
        match codec::decode::<PutPostsReply>(reply) {
            Ok(PutPostsReply(Ok(Some(PutPost { entry, .. }))))
                if entry.hidden == hides || self.profile.hides_by_tag =>
            {
                self.catalog.puts[number].acknowledged_ms = Some(self.now_ms);
                self.figures.puts += 1;
                self.say(|| format!("post {post} hidden: {hides}"));
            }
            Ok(PutPostsReply(Err(Refusal::Storage(_)))) => {
                self.catalog.puts[number].is_refused = true;
            }
            answer => self.fail(format!("{answer:?} for a put")),
        }
    }

    /// Of which posts charts are, where a tag hides them.
    pub(super) fn filter(&self) -> Filter {
        // Where nothing is ever hidden, the catalog has no say in other worlds either.
        let hides_by_tag = self.profile.hides_by_tag && self.profile.put_every_ms > 0;
        let excluded_tags = match hides_by_tag {
            true => vec![OUT.into()],
            false => Vec::new(),
        };
        Filter {
            excluded_tags,
            ..Filter::default()
        }
    }

    /// A board asks. What it is told may be lost again with the machine.
    pub(super) fn asked_catalog(
        &mut self,
        path: &'static str,
        message: Vec<u8>,
        limit_ms: u64,
        answer: Sender<Result<Vec<u8>, SendError>>,
    ) {
        let has_faults = !self.calm && self.profile.put_every_ms > 0;
        let lost = has_faults && self.random.chance(30);
        let is_slow = has_faults && self.random.chance(60);
        let delay_ms = match is_slow {
            true => self.random.between(500, 5_000),
            false => self.random.between(1, 20),
        };
        if lost || 2 * delay_ms > limit_ms {
            let late = Err(SendError("no answer in time".into()));
            return self.then_send(limit_ms, answer, late);
        }
        let arrives = move |world: &mut World| {
            if world.catalog.down_until_ms > world.now_ms {
                return world.then_send(delay_ms, answer, Err(SendError("it is down".into())));
            }
            let life = world.catalog.life;
            let driver = world.catalog_driver();
            let reply = match path {
                "/catalog" => driver.answer(&message).now_or_never(),
                _ => driver.list_posts(&message).now_or_never(),
            };
            // The catalog of all boards asks nobody.
            let reply = reply.unwrap_or_default();
            world.see_catalog();
            world.serve_calls();
            let reply = match world.catalog.life == life {
                true => Ok(reply),
                false => Err(SendError("it died".into())),
            };
            world.then_send(delay_ms, answer, reply);
        };
        self.after(delay_ms, Event::Then(Box::new(arrives)));
    }

    /// Does what the driver asks of the platform.
    pub(super) fn serve_catalog(&mut self, instance: Instance, call: Call) {
        let Call::Sync(done) = call else { return };
        let written = self.catalog.drive.written();
        let sync_ms = match !self.calm && self.random.chance(300) {
            true => self.random.between(50, 5_000),
            false => self.random.between(1, 20),
        };
        let synced = move |world: &mut World| {
            if world.catalog.life == instance.life {
                world.catalog.drive.sync(written);
                let _ = done.send(Ok(()));
            }
        };
        self.after(sync_ms, Event::Then(Box::new(synced)));
    }

    pub(super) fn see_catalog(&mut self) {
        let drive = &mut self.catalog.drive;
        for _ in drive.disk.take_recent() {
            drive.later.push_back(());
        }
        if drive.disk.crashed.get() {
            self.crash_catalog();
        }
    }

    pub(super) fn crash_catalog(&mut self) {
        self.say(|| "the catalog dies".into());
        let keep = self.random.below(self.catalog.drive.later.len() as u64 + 1) as usize;
        let down_ms = self.random.skewed(20_000);
        let dead = self.catalog_instance();
        self.executor.drop_owned(|owner| owner.instance == dead);
        let node = &mut self.catalog;
        node.drive.crash(keep);
        node.driver = None;
        node.life += 1;
        if !self.calm {
            node.down_until_ms = self.now_ms + down_ms;
        }
    }

    /// Its disk refuses a write, or its machine dies by one.
    pub(super) fn fault_of_catalog(&mut self) {
        let kinds = [Fault::Refuse, Fault::CrashBefore, Fault::CrashAfter];
        let kind = kinds[self.random.below(3) as usize];
        self.catalog.drive.disk.set_fault(0, kind);
    }

    /// The catalog is restored from a backup, or one is made: what was acknowledged since is lost, and is
    /// put again.
    pub(super) fn restore_catalog(&mut self) {
        let Some(backup) = self.catalog.backup.take() else {
            let written = self.catalog.drive.written();
            self.catalog.drive.sync(written);
            self.catalog.backup = Some(self.catalog.drive.disk.backup());
            return;
        };
        self.say(|| "the catalog is set back".into());
        self.crash_catalog();
        let node = &mut self.catalog;
        node.drive.disk.restore(backup);
        node.drive.later.clear();
        // Nobody knows which of them it still has.
        for put in &mut node.puts {
            put.acknowledged_ms = None;
            put.is_refused = true;
        }
        for _ in 0..2 {
            let again_ms = self.random.below(30_000);
            self.after(again_ms, Event::PutPost);
        }
    }

    pub(super) fn catalog_comes_back(&mut self) {
        self.catalog.down_until_ms = 0;
        self.catalog.drive.disk.clear_fault();
    }

    /// Whether the catalog or the registry may have been away for whoever asked then.
    pub(super) fn may_miss_others(&self, asked_ms: u64) -> bool {
        asked_ms < self.end_ms + MISSED_FOR_MS
    }

    /// Whether a chart may leave a post out, whatever it was played. One that was made while the catalog
    /// was away is as the catalog was at whatever time.
    pub(super) fn may_be_hidden(&self, board: &Leaderboard, post: usize, asked_ms: u64) -> bool {
        match board.incomplete {
            true => self.catalog.puts.iter().any(|put| put.post == post),
            false => self.catalog.may_be(post, self.seems_ms(asked_ms)).1,
        }
    }

    /// What a chart lists may be shown.
    pub(super) fn check_hidden(&self, board: &Leaderboard, asked_ms: u64) -> Result<(), String> {
        if board.incomplete {
            return Ok(());
        }
        for (post, id) in self.posts.iter().enumerate() {
            let is_listed = board.places.iter().any(|place| place.post_id == *id);
            if is_listed && !self.catalog.may_be(post, self.seems_ms(asked_ms)).0 {
                return Err(format!("{id} is hidden, and listed"));
            }
        }
        Ok(())
    }
}

/// Limits that are reached with a handful of changes.
pub fn small_limits(random: &mut Random) -> CatalogLimits {
    CatalogLimits {
        log_ids: random.between(1, 6),
        most_behind: random.between(1, 4) as usize,
        ..CatalogLimits::default()
    }
}
