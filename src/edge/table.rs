//! The Worker's copy of the directory: which regions and boards there are.
//!
//! Each isolate asks the registry what changed since the copy that it has. How old a copy may be is up
//! to who uses it: what is right of a play never depends on it ([`crate::routing`]), so plays take one
//! that is [`FRESH_MS`] old; a chart that is computed anew takes one of [`CHART_FRESH_MS`]. If the registry
//! is away, an older one serves. At most once in [`REFETCH_MS`] an isolate asks anew, so that whoever
//! names unknown regions and boards cannot make it ask more often.

use std::collections::HashMap;
use std::rc::Rc;

use worker::Env;

use super::isolate::here;
use super::request::Call;
use crate::board::Directory;
use crate::clock::{now_ms, within};
use crate::http::Problem;
use crate::log::report;
use crate::objects::{call as ask, registry_stub};
use crate::topology::{GLOBAL_SCOPE, RegionTable};
use crate::wire::{DirectoryQuestion, DirectoryReply};

const FRESH_MS: u64 = 60_000;
/// Of charts, caches before and behind take their part of the 10 s after which a change is seen.
const CHART_FRESH_MS: u64 = 5_000;
const REFETCH_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 5_000;
/// For so long a name is believed to be of no region.
const UNKNOWN_FOR_MS: u64 = 10_000;

#[derive(Clone)]
struct Copy {
    directory: Rc<Directory>,
    fetched_ms: u64,
}

/// Names that are known to be of no region: 1,000 of what may be a region's, 64 bytes each and as much
/// around them, are 130 KB.
const MAX_UNKNOWN: usize = 1_000;

/// What this isolate knows of regions and boards.
#[derive(Default)]
pub struct Memory {
    copy: Option<Copy>,
    /// When it was asked for in vain.
    failed_ms: u64,
    /// When somebody asked for it who can do without.
    tried_ms: u64,
    /// This isolate has changed something itself: the copy is older than that.
    is_behind: bool,
    /// Names of no region, and until when that is believed.
    unknown: HashMap<String, u64>,
}

fn memory<T>(run: impl FnOnce(&mut Memory) -> T) -> T {
    here(|isolate| run(&mut isolate.table.borrow_mut()))
}

/// The directory for plays, from memory where it is fresh.
///
/// # Errors
/// 503 where there is none and the registry is away.
pub async fn directory(env: &Env) -> Result<Rc<Directory>, Problem> {
    directory_of_age(env, FRESH_MS).await
}

/// The directory for a chart that is to be computed.
///
/// # Errors
/// As [`directory`].
pub async fn directory_for_charts(env: &Env) -> Result<Rc<Directory>, Problem> {
    directory_of_age(env, CHART_FRESH_MS).await
}

/// The directory as it is now, as far as the limit on asking allows: for a region or a board that the
/// copy does not know.
///
/// # Errors
/// As [`directory`].
pub async fn newer_directory(env: &Env) -> Result<Rc<Directory>, Problem> {
    directory_of_age(env, REFETCH_MS).await
}

/// The directory from the registry itself.
///
/// # Errors
/// 503 where the registry is away.
pub async fn fetch(env: &Env) -> Result<Rc<Directory>, Problem> {
    let known = memory(|memory| memory.copy.as_ref().map(|copy| Rc::clone(&copy.directory)));
    let fetched = fetch_since(env, known).await;
    let fetched = fetched.map_err(|error| Problem::away("the registry", &error))?;
    keep(&fetched);
    Ok(fetched)
}

/// The regions, for plays.
///
/// # Errors
/// As [`directory`].
pub async fn table(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    Ok(Rc::clone(&directory(env).await?.table))
}

/// The regions as they are now, as far as the limit on asking allows.
///
/// # Errors
/// As [`directory`].
pub async fn newer_table(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    Ok(Rc::clone(&newer_directory(env).await?.table))
}

/// The directory as this isolate knows it, without asking.
pub fn known_directory() -> Option<Rc<Directory>> {
    memory(|memory| memory.copy.as_ref().map(|copy| Rc::clone(&copy.directory)))
}

/// The regions as this isolate knows them, without asking.
pub fn known() -> Option<Rc<RegionTable>> {
    memory(|memory| {
        memory
            .copy
            .as_ref()
            .map(|copy| Rc::clone(&copy.directory.table))
    })
}

/// The regions of any age, for whoever can do without. Where there are none they are asked for, within
/// `limit_ms`, and not again for [`REFETCH_MS`]: that they were asked for is noted before there is an
/// answer, since who waits no longer hears of none.
pub async fn any(env: &Env, limit_ms: u64) -> Option<Rc<RegionTable>> {
    let is_tried = memory(|memory| {
        let is_tried = now_ms().saturating_sub(memory.tried_ms) < REFETCH_MS;
        if memory.copy.is_none() && !is_tried {
            memory.tried_ms = now_ms();
        }
        is_tried
    });
    if known().is_none() && !is_tried {
        within(limit_ms, table(env)).await;
    }
    known()
}

/// This isolate has just changed something: its copy is older than that.
pub fn forget() {
    memory(|memory| {
        memory.is_behind = true;
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
    if known().is_some_and(|table| table.is_deleted(scope)) {
        return match newer_table(&call.env).await {
            Ok(table) if table.is_deleted(scope) => Err(Problem::region_deleted()),
            _ => Ok(()),
        };
    }
    let known_until = memory(|memory| memory.unknown.get(scope).copied());
    if known_until.is_some_and(|until_ms| now_ms() < until_ms) {
        return Err(Problem::unknown_region());
    }
    let is_known = |table: &RegionTable| table.find(scope).is_some();
    match directory_for_charts(&call.env).await {
        Ok(directory) if directory.table.is_deleted(scope) => {
            return Err(Problem::region_deleted());
        }
        Ok(directory) if !is_known(&directory.table) => {}
        _ => return Ok(()),
    }
    let newer = newer_table(&call.env).await;
    if newer.as_ref().is_ok_and(|table| is_known(table)) {
        return Ok(());
    }
    if newer.is_ok_and(|table| table.is_deleted(scope)) {
        return Err(Problem::region_deleted());
    }
    memory(|Memory { unknown, .. }| {
        if unknown.len() >= MAX_UNKNOWN {
            unknown.clear();
        }
        unknown.insert(scope.to_owned(), now_ms() + UNKNOWN_FOR_MS);
    });
    Err(Problem::unknown_region())
}

async fn directory_of_age(env: &Env, max_age_ms: u64) -> Result<Rc<Directory>, Problem> {
    let (copy, failed_ms, is_behind) =
        memory(|memory| (memory.copy.clone(), memory.failed_ms, memory.is_behind));
    let has_failed = now_ms().saturating_sub(failed_ms) < REFETCH_MS;
    if let Some(copy) = &copy {
        let is_fresh = now_ms().saturating_sub(copy.fetched_ms) < max_age_ms && !is_behind;
        if is_fresh || has_failed {
            return Ok(Rc::clone(&copy.directory));
        }
    } else if has_failed {
        let error = worker::Error::from("it did not answer a moment ago");
        return Err(Problem::away("the registry", &error));
    }
    let known = copy.map(|copy| copy.directory);
    match (fetch_since(env, known.clone()).await, known) {
        (Ok(directory), _) => {
            keep(&directory);
            Ok(directory)
        }
        (Err(error), old) => {
            memory(|memory| memory.failed_ms = now_ms());
            let Some(old) = old else {
                return Err(Problem::away("the registry", &error));
            };
            report!("worker", "the registry: {error}; what was known serves");
            Ok(old)
        }
    }
}

fn keep(directory: &Rc<Directory>) {
    memory(|memory| {
        memory.is_behind = false;
        memory.copy = Some(Copy {
            directory: Rc::clone(directory),
            fetched_ms: now_ms(),
        });
    });
}

/// What is known, with what changed since.
async fn fetch_since(env: &Env, known: Option<Rc<Directory>>) -> worker::Result<Rc<Directory>> {
    let version = known.as_ref().map(|directory| directory.version);
    let question = DirectoryQuestion { version };
    let DirectoryReply(reply) =
        ask(&registry_stub(env)?, "/directory", &question, TIMEOUT_MS).await?;
    let news = reply.map_err(|refusal| worker::Error::from(format!("{refusal:?}")))?;
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
