//! What ought to be: every play, exactly, wherever it is. It watches messages and writes, and
//! shares no code with what it checks but the encodings and the arithmetic of panes.

use std::collections::BTreeMap;
use std::rc::Rc;

use hitparade::codec;
use hitparade::storage::{Table, Write};
use hitparade::summary::{Seed, Summary};
use hitparade::window::{PaneKey, recording_pane};
use hitparade::wire::SealedPane;

/// A play as the model knows it.
#[derive(Clone, Copy, Debug)]
pub struct Play {
    pub batch: usize,
    pub post: usize,
    pub timestamp_ms: u64,
    pub count: u32,
}

/// What one attempt asks a shard to journal; no plays for a claim.
#[derive(Debug)]
pub struct Asked {
    pub batch: usize,
    pub is_claim: bool,
    pub plays: Vec<Play>,
}

/// The plays of a pane: a sealed one, or a copy of one that is open.
#[derive(Debug)]
pub struct Pane {
    pub region: usize,
    pub key: PaneKey,
    pub plays: Rc<Vec<Play>>,
}

pub fn total(plays: &[Play]) -> u64 {
    plays.iter().map(|play| u64::from(play.count)).sum()
}

/// Checks a summary against the plays that it must hold.
pub fn check_summary(summary: &Summary, plays: &[Play], posts: &[String]) -> Result<(), String> {
    if summary.total() != total(plays) {
        return Err(format!(
            "a pane of {} plays holds {}",
            total(plays),
            summary.total()
        ));
    }
    for (post, id) in posts.iter().enumerate() {
        let of_post = plays.iter().filter(|play| play.post == post);
        let exact: u64 = of_post.map(|play| u64::from(play.count)).sum();
        let bounds = summary.bounds(id);
        if !(bounds.lower..=bounds.upper).contains(&exact) {
            return Err(format!("{id} has {exact}, not within {bounds:?}"));
        }
    }
    Ok(())
}

/// What a shard's disk holds.
#[derive(Clone, Default)]
pub struct ShardOnDisk {
    pub open: BTreeMap<PaneKey, Rc<Vec<Play>>>,
    pub outbox: BTreeMap<u64, Rc<Pane>>,
    /// Commits that no checkpoint covers.
    pub journal: Vec<Rc<Vec<Rc<Asked>>>>,
}

/// What a shard has in memory.
#[derive(Default)]
pub struct ShardInMemory {
    pub open: BTreeMap<PaneKey, Rc<Vec<Play>>>,
    /// Sealed, not in the outbox yet.
    pub sealed: Vec<(PaneKey, Rc<Vec<Play>>)>,
    /// Admitted and not written.
    pub waiting: Vec<Rc<Asked>>,
    /// Written and not applied.
    pub in_flight: Option<Rc<Vec<Rc<Asked>>>>,
}

impl ShardInMemory {
    /// What a start makes of the disk, before it writes anything.
    pub fn load(disk: &ShardOnDisk, now_ms: u64) -> Self {
        let mut memory = ShardInMemory {
            open: disk.open.clone(),
            ..Self::default()
        };
        for commit in &disk.journal {
            memory.apply(commit, now_ms);
        }
        memory
    }

    pub fn apply(&mut self, commit: &[Rc<Asked>], now_ms: u64) {
        for play in commit.iter().flat_map(|asked| &asked.plays) {
            let key = recording_pane(play.timestamp_ms, now_ms);
            Rc::make_mut(self.open.entry(key).or_default()).push(*play);
        }
    }

    /// A batch of writes happened: what the disk holds after it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn written(
        &mut self,
        disk: &mut ShardOnDisk,
        writes: &[Write],
        region: usize,
        posts: &[String],
        seed: Seed,
    ) -> Result<(), String> {
        let mut is_commit = false;
        let mut is_checkpoint = false;
        for write in writes {
            match (write.table(), write) {
                (Table::Journal, _) => is_commit = true,
                (Table::Outbox, Write::Put { key, value, .. }) => {
                    is_checkpoint = true;
                    let offset = offset_of(key);
                    let pane = codec::decode::<SealedPane<'_>>(value).map_err(|e| e.to_string())?;
                    let summary = Summary::decode(pane.summary, seed).map_err(|e| e.to_string())?;
                    let level = hitparade::window::Level::from_code(pane.level);
                    let pane_key = PaneKey::of(level.ok_or("no level")?, pane.start_ms);
                    let early = self.sealed.iter().position(|(key, _)| *key == pane_key);
                    let plays = match early {
                        Some(position) => Some(self.sealed.remove(position).1),
                        None => self.open.remove(&pane_key),
                    };
                    let plays = plays.ok_or("a pane was sealed that was not open")?;
                    check_summary(&summary, &plays, posts)?;
                    let sealed = Pane {
                        region,
                        key: pane_key,
                        plays,
                    };
                    disk.outbox.insert(offset, Rc::new(sealed));
                }
                (Table::Outbox, Write::Delete { key, .. }) => {
                    disk.outbox.remove(&offset_of(key));
                }
                (Table::OpenPanes | Table::Seen, _) => is_checkpoint = true,
                _ => {}
            }
        }
        if is_checkpoint {
            disk.open = self.open.clone();
            disk.journal = self.in_flight.iter().cloned().collect();
        }
        if is_commit {
            let commit = Rc::new(std::mem::take(&mut self.waiting));
            disk.journal.push(Rc::clone(&commit));
            self.in_flight = Some(commit);
        }
        Ok(())
    }
}

pub fn offset_of(key: &[u8]) -> u64 {
    key.first_chunk()
        .map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// A shard's log.
pub type LogName = (usize, u32, u128);

/// What the global object's disk holds.
#[derive(Clone, Default)]
pub struct GlobalOnDisk {
    pub folded: Vec<Rc<Pane>>,
    pub consumed: BTreeMap<LogName, u64>,
}

pub struct Copies {
    pub log_id: u128,
    pub next_offset: u64,
    pub journal_seq: u64,
    pub panes: Vec<Rc<Pane>>,
}

/// What a push carries.
pub struct Pushed {
    pub region: usize,
    pub shard: u32,
    pub log_id: u128,
    pub oldest_offset: u64,
    pub first_offset: u64,
    pub entries: Vec<Rc<Pane>>,
    pub next_offset: u64,
    pub journal_seq: u64,
    pub provisional: Vec<Rc<Pane>>,
}

/// Panes that a chart is made of.
pub type Panes = Rc<Vec<Rc<Pane>>>;

/// What the global object has in memory.
#[derive(Default)]
pub struct GlobalInMemory {
    pub pending: Vec<Rc<Pane>>,
    pub accepted: BTreeMap<LogName, u64>,
    /// Where a log began that no disk knows of yet.
    pub began: BTreeMap<LogName, u64>,
    pub copies: BTreeMap<(usize, u32), Copies>,
    /// The live panes of a scope as they were merged last: by region, or all.
    merged: BTreeMap<Option<usize>, (u64, Panes)>,
}

impl GlobalInMemory {
    pub fn load(disk: &GlobalOnDisk) -> Self {
        GlobalInMemory {
            accepted: disk.consumed.clone(),
            ..Self::default()
        }
    }

    /// A push is taken, by the rules of `docs/how-it-works.md`. Returns the offset to be wanted next, and how
    /// many offsets were passed over.
    pub fn take(&mut self, push: &Pushed) -> (u64, u64) {
        let log = (push.region, push.shard, push.log_id);
        self.began.entry(log).or_insert(push.oldest_offset);
        let accepted = self.accepted.entry(log).or_insert(push.oldest_offset);
        let gap = push.oldest_offset.saturating_sub(*accepted);
        *accepted += gap;
        let entries = (push.first_offset..).zip(&push.entries);
        for (offset, pane) in entries {
            if offset == *accepted {
                self.pending.push(Rc::clone(pane));
                *accepted += 1;
            }
        }
        let accepted = *accepted;
        let last = self.copies.get(&(push.region, push.shard));
        let is_older = last.is_some_and(|last| {
            last.log_id == push.log_id
                && (push.journal_seq, push.next_offset) < (last.journal_seq, last.next_offset)
        });
        if accepted == push.next_offset && !is_older {
            let copies = Copies {
                log_id: push.log_id,
                next_offset: push.next_offset,
                journal_seq: push.journal_seq,
                panes: push.provisional.clone(),
            };
            self.copies.insert((push.region, push.shard), copies);
        }
        (accepted, gap)
    }

    pub fn written(&mut self, disk: &mut GlobalOnDisk, writes: &[Write]) {
        if writes.iter().any(|write| write.table() == Table::Panes) {
            disk.folded.append(&mut self.pending);
            self.merged.clear();
        }
        let offsets = writes
            .iter()
            .filter(|write| write.table() == Table::Offsets);
        for write in offsets {
            for (log, accepted) in &self.accepted {
                if write
                    .key()
                    .starts_with(crate::world::region_name(log.0).as_bytes())
                {
                    disk.consumed.insert(*log, *accepted);
                }
            }
        }
    }

    /// What is live in a scope; merged at most once a second.
    pub fn live(&mut self, scope: Option<usize>, now_ms: u64) -> Panes {
        if let Some((merged_ms, panes)) = self.merged.get(&scope)
            && (*merged_ms..*merged_ms + 1_000).contains(&now_ms)
        {
            return Rc::clone(panes);
        }
        let copies = self.copies.values().flat_map(|copies| &copies.panes);
        let here = self.pending.iter().chain(copies);
        let panes: Vec<Rc<Pane>> = match scope {
            Some(region) => here.filter(|pane| pane.region == region).cloned().collect(),
            None => {
                // Each region that was heard of is merged once for itself and for all.
                let heard = self.copies.keys().map(|(region, _)| *region);
                let mut regions: Vec<usize> = self
                    .pending
                    .iter()
                    .map(|pane| pane.region)
                    .chain(heard)
                    .collect();
                regions.sort_unstable();
                regions.dedup();
                let all: Vec<Panes> = regions
                    .into_iter()
                    .map(|region| self.live(Some(region), now_ms))
                    .collect();
                all.iter().flat_map(|panes| panes.iter().cloned()).collect()
            }
        };
        let panes = Rc::new(panes);
        self.merged.insert(scope, (now_ms, Rc::clone(&panes)));
        panes
    }
}
