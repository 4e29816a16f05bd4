//! What an isolate remembers from request to request: all of it. Isolates come and go, and each has its
//! own; nothing here matters to what is counted.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use super::access::Access;
use super::leaderboards::ChartMemory;
use super::posts::KeptPages;
use super::request::Trust;
use super::{directory, metrics};
use crate::http::Counters;
use crate::limiter::Limiter;
use crate::settings::RegionSetting;

/// See the types for what each is. Settings do not change while an instance lives: they are read once.
#[derive(Default)]
pub struct Isolate {
    pub access: OnceCell<Rc<Access>>,
    pub trust: OnceCell<Rc<Trust>>,
    pub limiter: RefCell<Limiter>,
    /// What senders of beacons are counted under until the installation's seed is known.
    pub own_key: OnceCell<[u8; 16]>,
    /// The platform has no binding for limits (`RATE_LIMITER`).
    pub counts_alone: Cell<bool>,
    /// Nor a cache of this place.
    pub has_no_cache: Cell<bool>,
    pub directory: RefCell<directory::DirectoryMemory>,
    pub leaderboards: RefCell<ChartMemory>,
    pub pages: RefCell<KeptPages>,
    /// `REGIONS`.
    pub regions: OnceCell<Rc<Vec<RegionSetting>>>,
    /// When the log last said of a region in `REGIONS` that it is not made.
    pub said_missing_ms: RefCell<BTreeMap<String, u64>>,
    pub figures: RefCell<metrics::KnownFigures>,
    pub counters: RefCell<Counters>,
    /// The number of the last request.
    pub requests: Cell<u64>,
}

thread_local! {
    static ISOLATE: RefCell<Isolate> = RefCell::default();
}

/// Counts something for `/metrics`.
pub fn count_here(count: impl FnOnce(&mut Counters)) {
    here(|isolate| count(&mut isolate.counters.borrow_mut()));
}

/// Uses what this isolate remembers. Nothing may be awaited meanwhile.
pub fn here<T>(run: impl FnOnce(&Isolate) -> T) -> T {
    ISOLATE.with_borrow(run)
}
