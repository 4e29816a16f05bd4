//! The Worker's copy of the region table.
//!
//! It is at most [`FRESH_MS`] old when it is used; if the global object is away, an older one
//! serves. At most once in [`REFETCH_MS`] an isolate asks for a new one, so that whoever names
//! unknown regions cannot make it ask more often.

use std::cell::RefCell;
use std::rc::Rc;

use worker::{Env, console_error};

use super::problem::Problem;
use crate::codec;
use crate::platform::{call_raw, global_stub, now_ms};
use crate::topology::RegionTable;
use crate::wire::TableReply;

const FRESH_MS: u64 = 10_000;
const REFETCH_MS: u64 = 1_000;
const TIMEOUT_MS: u64 = 5_000;

#[derive(Clone)]
struct Copy {
    table: Rc<RegionTable>,
    fetched_ms: u64,
}

thread_local! {
    static COPY: RefCell<Option<Copy>> = const { RefCell::new(None) };
}

/// The table, from memory where it is fresh.
///
/// # Errors
/// 503 where there is none and the global object is away.
pub async fn table(env: &Env) -> Result<Rc<RegionTable>, Problem> {
    table_of_age(env, FRESH_MS).await
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
    COPY.with(|copy| *copy.borrow_mut() = None);
}

async fn table_of_age(env: &Env, max_age_ms: u64) -> Result<Rc<RegionTable>, Problem> {
    let copy = COPY.with(|copy| copy.borrow().clone());
    if let Some(copy) = &copy
        && now_ms().saturating_sub(copy.fetched_ms) < max_age_ms
    {
        return Ok(Rc::clone(&copy.table));
    }
    match (fetch(env).await, copy) {
        (Ok(table), _) => {
            let table = Rc::new(table);
            let fresh = Copy {
                table: Rc::clone(&table),
                fetched_ms: now_ms(),
            };
            COPY.with(|copy| *copy.borrow_mut() = Some(fresh));
            Ok(table)
        }
        (Err(error), Some(old)) => {
            console_error!("region table: {error}; the old one serves");
            let retry = Copy {
                fetched_ms: now_ms().saturating_sub(FRESH_MS - REFETCH_MS),
                ..old
            };
            let table = Rc::clone(&retry.table);
            COPY.with(|copy| *copy.borrow_mut() = Some(retry));
            Ok(table)
        }
        (Err(error), None) => Err(Problem::away("the global object", &error)),
    }
}

async fn fetch(env: &Env) -> worker::Result<RegionTable> {
    let answer = call_raw(&global_stub(env)?, "/table", &[], TIMEOUT_MS).await?;
    match codec::decode::<TableReply>(&answer) {
        Ok(TableReply(Ok(table))) => Ok(table),
        Ok(TableReply(Err(refusal))) => Err(worker::Error::from(format!("{refusal:?}"))),
        Err(error) => Err(worker::Error::from(error.to_string())),
    }
}
