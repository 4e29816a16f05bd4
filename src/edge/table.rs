//! The Worker's copy of the region table.
//!
//! It is at most [`FRESH_MS`] old when it is used; if the global object is away, an older one
//! serves. At most once in [`REFETCH_MS`] an isolate asks for a new one, so that whoever names
//! unknown regions cannot make it ask more often. Who can do without takes a copy of any age.

use std::collections::HashMap;
use std::rc::Rc;

use worker::Env;

use super::isolate::here;
use super::request::Call;
use crate::board::{Directory, MAIN};
use crate::clock::{now_ms, within};
use crate::codec;
use crate::http::Problem;
use crate::log::report;
use crate::objects::{call_raw, global_stub};
use crate::topology::{GLOBAL_SCOPE, RegionTable};
use crate::wire::TableReply;

const FRESH_MS: u64 = 10_000;
const REFETCH_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 5_000;

#[derive(Clone)]
struct Copy {
    table: Rc<RegionTable>,
    fetched_ms: u64,
}

/// Names that are known to be of no region: 1,000 of what may be a region's, 64 bytes each and as much
/// around them, are 130 KB.
const MAX_UNKNOWN: usize = 1_000;

/// What this isolate knows of regions.
#[derive(Default)]
pub struct Memory {
    copy: Option<Copy>,
    /// When it was asked for in vain.
    failed_ms: u64,
    /// When somebody asked for it who can do without.
    tried_ms: u64,
    /// Names of no region, and until when that is believed.
    unknown: HashMap<String, u64>,
}

fn memory<T>(run: impl FnOnce(&mut Memory) -> T) -> T {
    here(|isolate| run(&mut isolate.table.borrow_mut()))
}

/// The table, from memory where it is fresh.
///
/// # Errors
/// 503 where there is none and the global object is away.
pub async fn table(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    table_of_age(env, FRESH_MS).await
}

/// As [`table`], with the boards.
///
/// # Errors
/// As [`table`].
pub async fn directory(env: &Env) -> Result<Rc<Directory>, Problem> {
    Ok(with_boards(&*table(env).await?))
}

/// As [`newer_table`], with the boards.
///
/// # Errors
/// As [`table`].
pub async fn newer_directory(env: &Env) -> Result<Rc<Directory>, Problem> {
    Ok(with_boards(&*newer_table(env).await?))
}

/// As [`known`], with the boards.
pub fn known_directory() -> Option<Rc<Directory>> {
    known().map(|table| with_boards(&table))
}

fn with_boards(table: &RegionTable) -> Rc<Directory> {
    Rc::new(Directory::new(table.clone(), [], 0))
}

/// The table as this isolate knows it, without asking.
pub fn known() -> Option<Rc<RegionTable>> {
    memory(|memory| memory.copy.as_ref().map(|copy| Rc::clone(&copy.table)))
}

/// The table of any age, for whoever can do without. Where there is none it is asked for, within
/// `limit_ms`, and not again for [`REFETCH_MS`]: that it was asked for is noted before there is an
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

/// The table as it is now, as far as the limit on asking allows: for a region that the copy does
/// not know.
///
/// # Errors
/// As [`table`].
pub async fn newer_table(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    table_of_age(env, REFETCH_MS).await
}

/// Forgets the copy: this isolate has just changed the table.
pub fn forget() {
    memory(|memory| {
        memory.copy = None;
        memory.unknown.clear();
    });
}

/// Requires a region that exists, or the world, of a name that may be one's. Where the table itself is away, whoever is asked
/// next decides.
///
/// # Errors
/// 404 for an unknown region; it is remembered for [`FRESH_MS`].
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
    match table(&call.env).await {
        Ok(table) if !is_known(&table) => {}
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
        unknown.insert(scope.to_owned(), now_ms() + FRESH_MS);
    });
    Err(Problem::unknown_region())
}

async fn table_of_age(env: &Env, max_age_ms: u64) -> Result<Rc<RegionTable>, Problem> {
    let (copy, failed_ms) = memory(|memory| (memory.copy.clone(), memory.failed_ms));
    if let Some(copy) = &copy
        && now_ms().saturating_sub(copy.fetched_ms) < max_age_ms
    {
        return Ok(Rc::clone(&copy.table));
    }
    if copy.is_none() && now_ms().saturating_sub(failed_ms) < REFETCH_MS {
        let error = worker::Error::from("it did not answer a moment ago");
        return Err(Problem::away("the global object", &error));
    }
    match (fetch(env).await, copy) {
        (Ok(table), _) => {
            let table = Rc::new(table);
            let fresh = Copy {
                table: Rc::clone(&table),
                fetched_ms: now_ms(),
            };
            memory(|memory| memory.copy = Some(fresh));
            Ok(table)
        }
        (Err(error), Some(old)) => {
            report!("worker", "region table: {error}; the old one serves");
            let retry = Copy {
                fetched_ms: now_ms().saturating_sub(FRESH_MS - REFETCH_MS),
                ..old
            };
            let table = Rc::clone(&retry.table);
            memory(|memory| memory.copy = Some(retry));
            Ok(table)
        }
        (Err(error), None) => {
            memory(|memory| memory.failed_ms = now_ms());
            Err(Problem::away("the global object", &error))
        }
    }
}

/// The table from the global object itself.
///
/// # Errors
/// When it is away.
pub async fn fetch(env: &Env) -> worker::Result<RegionTable> {
    let answer = call_raw(&global_stub(env, MAIN)?, "/table", &[], TIMEOUT_MS).await?;
    match codec::decode::<TableReply>(&answer) {
        Ok(TableReply(Ok(table))) => Ok(table),
        Ok(TableReply(Err(refusal))) => Err(worker::Error::from(format!("{refusal:?}"))),
        Err(error) => Err(worker::Error::from(error.to_string())),
    }
}
