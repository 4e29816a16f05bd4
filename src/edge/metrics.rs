//! `GET /metrics`: figures for the operator, in Prometheus' text format.
//!
//! It wakes no shard: shards tell their figures with each push, and the global object, which is awake
//! wherever something is pushed, has the last of each. It is asked once a second an isolate at most,
//! and so whoever asks more often costs a text and no message; requests are counted as all reads are.
//! Where the global object does not answer, `hitparade_global_up` is 0 and the figures are those that
//! it told last, with their age. What the Worker itself has seen is that of the isolate that answers:
//! the only one on bare workerd, one of many on Cloudflare.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::future::join;
use serde::de::DeserializeOwned;
use worker::Env;

use super::access::may_read_metrics;
use super::answer::{Answer, repeated_at_the_door};
use super::boards;
use super::isolate::here;
use super::request::Call;
use crate::board::{Board, MAIN, ObjectName};
use crate::clock::steady_ms;
use crate::codec::{self, Record};
use crate::host::QUESTION_TIMEOUT_MS;
use crate::http::{MetricsInput, Problem, metrics_text};
use crate::instance::instance_metrics;
use crate::objects::call_raw;
use crate::wire::{GlobalMetrics, RegistryMetrics};

/// What was told serves for so long.
const FIGURES_KEPT_MS: u64 = 1_000;

/// Boards whose figures an isolate remembers: some 10 KB each. Of more, those that were asked for longest ago
/// are forgotten.
const MAX_KNOWN_BOARDS: usize = 16;

/// What this isolate knows of the figures of others, by the key of the board.
#[derive(Default)]
pub struct KnownFigures(BTreeMap<String, OfBoard>);

#[derive(Default)]
struct OfBoard {
    told: Option<ToldFigures>,
    /// When a request last set out to ask.
    asked_ms: u64,
    is_asking: bool,
}

/// The figures that a board's global object sent this isolate last, and for `main` those of the registry.
#[derive(Clone, Default)]
struct ToldFigures {
    global: Option<Rc<GlobalMetrics>>,
    told_ms: u64,
    /// Whether it answered when it was asked last.
    is_up: bool,
    registry: Option<RegistryMetrics>,
    registry_is_up: bool,
}

impl KnownFigures {
    fn of(&mut self, board_key: &str) -> &mut OfBoard {
        let KnownFigures(boards) = self;
        if boards.len() >= MAX_KNOWN_BOARDS && !boards.contains_key(board_key) {
            let oldest = boards.iter().min_by_key(|(_, known)| known.asked_ms);
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                boards.remove(&oldest);
            }
        }
        boards.entry(board_key.to_owned()).or_default()
    }
}

/// What is known, asked anew where that is over a second old. While one request asks, the others get
/// what is there.
async fn told(env: &Env, board_key: &str) -> Option<ToldFigures> {
    let now_ms = steady_ms();
    let (known, is_due) = here(|isolate| {
        let mut known = isolate.figures.borrow_mut();
        let known = known.of(board_key);
        let passed_ms = now_ms.saturating_sub(known.asked_ms);
        let is_asked = known.is_asking && passed_ms < QUESTION_TIMEOUT_MS;
        let is_due = !is_asked && passed_ms >= FIGURES_KEPT_MS;
        if is_due {
            known.asked_ms = now_ms;
            known.is_asking = true;
        }
        (known.told.clone(), is_due)
    });
    if !is_due {
        return known;
    }
    // The registry serves all boards: its figures are shown with those of `main`.
    let registry = async {
        match board_key {
            MAIN => figures_of(env, ObjectName::Registry).await,
            _ => None,
        }
    };
    let global = ObjectName::global(board_key);
    let (global, registry) = join(figures_of(env, global), registry).await;
    let known = known.unwrap_or_default();
    let told = Some(ToldFigures {
        told_ms: if global.is_some() {
            now_ms
        } else {
            known.told_ms
        },
        is_up: global.is_some(),
        global: global.map(Rc::new).or(known.global),
        registry_is_up: registry.is_some(),
        registry: registry.or(known.registry),
    });
    here(|isolate| {
        let mut known = isolate.figures.borrow_mut();
        let known = known.of(board_key);
        known.is_asking = false;
        known.told.clone_from(&told);
    });
    told
}

async fn figures_of<M: DeserializeOwned + Record>(env: &Env, object: ObjectName) -> Option<M> {
    let answer = call_raw(env, (&object, None), "/metrics", &[], QUESTION_TIMEOUT_MS)
        .await
        .ok()?;
    codec::decode(&answer).ok()
}

pub async fn get(call: &Call) -> Result<Answer, Problem> {
    may_read_metrics(call)?;
    let board = boards::of_query(call).await;
    let board = match board {
        Ok(board) => boards::open_to(call, board)?,
        // An operator needs the figures of what is there most of all where something is away.
        Err(problem) if problem.status == 503 && call.query.first("board").is_none() => {
            Board::main()
        }
        Err(problem) => return Err(problem),
    };
    // An operator needs the rest most of all where something is away.
    let told = told(&call.env, &board.key()).await;
    let older_ms = told.as_ref().filter(|told| told.global.is_some());
    let older_ms = older_ms.map(|told| steady_ms().saturating_sub(told.told_ms));
    let of_registry = told.as_ref().filter(|_| board.is_main());
    let text = here(|isolate| {
        metrics_text(&MetricsInput {
            older_ms: older_ms.unwrap_or(0),
            is_up: told.as_ref().is_some_and(|told| told.is_up),
            global: told.as_ref().and_then(|told| told.global.as_deref()),
            registry: of_registry.and_then(|told| told.registry),
            registry_is_up: board
                .is_main()
                .then(|| of_registry.is_some_and(|told| told.registry_is_up)),
            counters: &isolate.counters.borrow(),
            repeated_at_the_door: repeated_at_the_door(),
            instance: instance_metrics(),
        })
    });
    let answer = Answer::bytes("text/plain; version=0.0.4", text.into_bytes());
    Ok(answer.with_header("Cache-Control", "no-store"))
}
