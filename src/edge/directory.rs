//! The Worker's copy of the directory: which regions and boards there are.
//!
//! Each isolate asks the registry what changed since the copy that it has. How old a copy may be is up
//! to who uses it: what is right of a play never depends on it ([`crate::routing`]), so plays take one
//! that is [`PLAYS_FRESH_MS`] old, and the first ones of an isolate that has none go without ([`goes_blind`]); a chart that is computed anew takes one of [`CHART_FRESH_MS`]. If the registry
//! is away, an older one serves. At most once in [`REFETCH_MS`] an isolate asks anew, and one request at a time
//! does: whoever names unknown regions and boards cannot make it ask more often, however long the answer
//! takes.

use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;

use worker::{Delay, Env};

use super::isolate::here;
use super::request::Call;
use crate::board::{Directory, ObjectName};
use crate::clock::{steady_ms, within};
use crate::host::QUESTION_TIMEOUT_MS;
use crate::http::Problem;
use crate::log::report;
use crate::objects::ask;
use crate::topology::{GLOBAL_SCOPE, RegionTable};
use crate::wire::DirectoryQuestion;

const PLAYS_FRESH_MS: u64 = 60_000;
/// Of charts, caches before and behind take their part of the 10 s after which a change is seen.
const CHART_FRESH_MS: u64 = 5_000;
/// How long a page may wait for the names of regions, or for its beacon's home.
const ANY_WITHIN_MS: u64 = 1_000;
const REFETCH_MS: u64 = 1_000;
/// While another request asks, one that cannot do with what is known looks so often whether it has heard.
const HEARD_LOOK_MS: u64 = 20;
/// For so long a name is believed to be of no region.
const UNKNOWN_FOR_MS: u64 = 10_000;

#[derive(Clone)]
struct KnownCopy {
    directory: Rc<Directory>,
    fetched_ms: u64,
    asked: AskedAt,
}

/// A question to the registry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct AskedAt {
    /// How often this isolate had changed something itself by then.
    changes: u64,
    at_ms: u64,
}

/// Batches that go to the shards of their homes while an isolate has no fresh copy: one that is hardly used asks
/// for none, and one that is busy has it after a moment, to tell senders of more shards.
const BLIND_BATCHES: u32 = 10;

/// Names that are known to be of no region: 1,000 of what may be a region's, 64 bytes each and as much
/// around them, are 130 KB.
const MAX_UNKNOWN: usize = 1_000;

/// What this isolate knows of regions and boards.
#[derive(Default)]
pub struct DirectoryMemory {
    copy: Option<KnownCopy>,
    /// When it was asked for in vain.
    failed_ms: u64,
    /// When somebody asked for it who can do without.
    tried_ms: u64,
    /// How often this isolate has changed something itself: copies that were asked for before are older than
    /// that.
    changes: u64,
    /// The question that a request waits for.
    asking: Option<AskedAt>,
    /// Batches that went without a fresh copy since one was asked for.
    blind: u32,
    /// Names of no region, and until when that is believed.
    unknown: HashMap<String, u64>,
}

fn memory<T>(run: impl FnOnce(&mut DirectoryMemory) -> T) -> T {
    here(|isolate| run(&mut isolate.directory.borrow_mut()))
}

/// The directory for plays, from memory where it is fresh.
///
/// # Errors
/// 503 where there is none and the registry is away.
pub async fn fresh(env: &Env) -> Result<Rc<Directory>, Problem> {
    of_age(env, PLAYS_FRESH_MS).await
}

/// Whether a batch is to be tried without a directory ([`crate::routing::count_blind`]), rather than to ask for
/// one. Not where this isolate itself has changed something since.
pub fn goes_blind() -> bool {
    memory(|memory| {
        let copy = memory.copy.as_ref();
        let is_fresh =
            |copy: &KnownCopy| steady_ms().saturating_sub(copy.fetched_ms) < PLAYS_FRESH_MS;
        let has_changed = copy.map_or(0, |copy| copy.asked.changes) < memory.changes;
        if copy.is_some_and(is_fresh) || has_changed || memory.blind >= BLIND_BATCHES {
            return false;
        }
        memory.blind += 1;
        true
    })
}

/// The directory for a chart that is to be computed.
///
/// # Errors
/// As [`fresh`].
pub async fn for_charts(env: &Env) -> Result<Rc<Directory>, Problem> {
    of_age(env, CHART_FRESH_MS).await
}

/// The directory as it is now, as far as the limit on asking allows: for a region or a board that the
/// copy does not know.
///
/// # Errors
/// As [`fresh`].
pub async fn newer(env: &Env) -> Result<Rc<Directory>, Problem> {
    of_age(env, REFETCH_MS).await
}

/// The directory from the registry itself.
///
/// # Errors
/// 503 where the registry is away.
pub async fn fetch(env: &Env) -> Result<Rc<Directory>, Problem> {
    let told = ask_registry(env, known()).await;
    told.map_err(|error| Problem::away("the registry", &error))
}

/// The regions, for plays.
///
/// # Errors
/// As [`fresh`].
pub async fn regions(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    Ok(Rc::clone(&fresh(env).await?.table))
}

/// The regions as they are now, as far as the limit on asking allows.
///
/// # Errors
/// As [`fresh`].
pub async fn newer_regions(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    Ok(Rc::clone(&newer(env).await?.table))
}

/// The directory as this isolate knows it, without asking.
pub fn known() -> Option<Rc<Directory>> {
    memory(|memory| memory.copy.as_ref().map(|copy| Rc::clone(&copy.directory)))
}

/// The regions as this isolate knows them, without asking.
pub fn known_regions() -> Option<Rc<RegionTable>> {
    known().map(|directory| Rc::clone(&directory.table))
}

/// The regions of any age, for whoever can do without. Where there are none they are asked for, within
/// [`ANY_WITHIN_MS`], and not again for [`REFETCH_MS`]: that they were asked for is noted before there is an
/// answer, since who waits no longer hears of none.
pub async fn any_regions(env: &Env) -> Option<Rc<RegionTable>> {
    let is_tried = memory(|memory| {
        let is_tried = steady_ms().saturating_sub(memory.tried_ms) < REFETCH_MS;
        if memory.copy.is_none() && !is_tried {
            memory.tried_ms = steady_ms();
        }
        is_tried
    });
    if known_regions().is_none() && !is_tried {
        within(ANY_WITHIN_MS, regions(env)).await;
    }
    known_regions()
}

/// This isolate has just changed something: its copy is older than that.
pub fn forget() {
    memory(|memory| {
        memory.changes += 1;
        memory.unknown.clear();
    });
}

/// Requires a region that exists, or the world, of a name that may be one's. Where the registry itself is
/// away, whoever is asked next decides.
///
/// # Errors
/// 404 for an unknown region; it is remembered for [`UNKNOWN_FOR_MS`].
pub async fn require_scope(call: &Call, scope: &str) -> Result<(), Problem> {
    if scope == GLOBAL_SCOPE {
        return Ok(());
    }
    // It may have been made again since.
    if known_regions().is_some_and(|table| table.is_deleted(scope)) {
        return match newer_regions(&call.env).await {
            Ok(table) if table.is_deleted(scope) => Err(Problem::region_deleted()),
            _ => Ok(()),
        };
    }
    let known_until = memory(|memory| memory.unknown.get(scope).copied());
    if known_until.is_some_and(|until_ms| steady_ms() < until_ms) {
        return Err(Problem::unknown_region());
    }
    let is_known = |table: &RegionTable| table.find(scope).is_some();
    match for_charts(&call.env).await {
        Ok(directory) if directory.table.is_deleted(scope) => {
            return Err(Problem::region_deleted());
        }
        Ok(directory) if !is_known(&directory.table) => {}
        _ => return Ok(()),
    }
    let newer = newer_regions(&call.env).await;
    if newer.as_ref().is_ok_and(|table| is_known(table)) {
        return Ok(());
    }
    if newer.is_ok_and(|table| table.is_deleted(scope)) {
        return Err(Problem::region_deleted());
    }
    memory(|DirectoryMemory { unknown, .. }| {
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(scope.to_owned(), steady_ms() + UNKNOWN_FOR_MS);
    });
    Err(Problem::unknown_region())
}

async fn of_age(env: &Env, max_age_ms: u64) -> Result<Rc<Directory>, Problem> {
    let known = loop {
        let (copy, has_failed, is_asked) = memory(|memory| {
            let has_failed = steady_ms().saturating_sub(memory.failed_ms) < REFETCH_MS;
            // Whoever asks may have gone away. Who asked before a change of ours hears nothing of it.
            let is_asked = memory.asking.is_some_and(|asked| {
                asked.changes == memory.changes
                    && steady_ms().saturating_sub(asked.at_ms) < QUESTION_TIMEOUT_MS
            });
            let copy = memory.copy.clone();
            let is_behind = |copy: &KnownCopy| copy.asked.changes < memory.changes;
            (
                copy.map(|copy| (is_behind(&copy), copy)),
                has_failed,
                is_asked,
            )
        });
        if let Some((is_behind, copy)) = &copy {
            let age_ms = steady_ms().saturating_sub(copy.fetched_ms);
            let serves_meanwhile = is_asked && max_age_ms > REFETCH_MS;
            let serves = age_ms < max_age_ms || serves_meanwhile;
            if has_failed || serves && !is_behind {
                return Ok(Rc::clone(&copy.directory));
            }
        } else if has_failed {
            let error = "it did not answer a moment ago";
            return Err(Problem::away("the registry", &error));
        }
        if !is_asked {
            break copy.map(|(_, copy)| copy.directory);
        }
        Delay::from(Duration::from_millis(HEARD_LOOK_MS)).await;
    };
    match (ask_registry(env, known.clone()).await, known) {
        (Ok(directory), _) => Ok(directory),
        (Err(error), old) => {
            memory(|memory| memory.failed_ms = steady_ms());
            let Some(old) = old else {
                return Err(Problem::away("the registry", &error));
            };
            report!("worker", "the registry: {error}; what was known serves");
            Ok(old)
        }
    }
}

/// Asks, and keeps what is told, unless what is kept was asked for later.
async fn ask_registry(env: &Env, known: Option<Rc<Directory>>) -> worker::Result<Rc<Directory>> {
    let asked = memory(|memory| {
        let asked = AskedAt {
            changes: memory.changes,
            at_ms: steady_ms(),
        };
        memory.asking = Some(asked);
        memory.blind = 0;
        asked
    });
    let told = fetch_since(env, known).await;
    memory(|memory| {
        if memory.asking == Some(asked) {
            memory.asking = None;
        }
        let is_overtaken = memory.copy.as_ref().is_some_and(|copy| copy.asked > asked);
        if let Some(directory) = told.as_ref().ok().filter(|_| !is_overtaken) {
            memory.copy = Some(KnownCopy {
                directory: Rc::clone(directory),
                fetched_ms: steady_ms(),
                asked,
            });
        }
    });
    told
}

/// What is known, with what changed since.
async fn fetch_since(env: &Env, known: Option<Rc<Directory>>) -> worker::Result<Rc<Directory>> {
    let version = known.as_ref().map(|directory| directory.version);
    let question = DirectoryQuestion { version };
    let news = ask(
        env,
        (&ObjectName::Registry, None),
        &question,
        QUESTION_TIMEOUT_MS,
    )
    .await?;
    let news = news.map_err(|refusal| worker::Error::from(format!("{refusal:?}")))?;
    match known {
        Some(mut directory) => {
            Rc::make_mut(&mut directory).take(news);
            Ok(directory)
        }
        None => {
            let directory = Directory::of_news(news);
            directory
                .map(Rc::new)
                .ok_or_else(|| "it did not tell everything".into())
        }
    }
}
