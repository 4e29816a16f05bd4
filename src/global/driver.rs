//! The driver of the global object: what happens between the platform's events and the state machine
//! ([`Global`]). It loads the state, hands it messages, makes durable what has to be, lets readers have
//! their turns, and answers: encoded messages in, encoded replies out. The Durable Object is a
//! [`Host`] and a table of routes; the simulation is another.
//!
//! # What happens when something fails
//! After an error of the storage, a sync's among them, the state is dropped, and the next message loads
//! what is stored. Replies say by offsets what is durable: one that promises too little costs a repeat, and
//! none promises too much.
//!
//! A sender that goes away drops the future of its request, at whatever await. What others wait for is
//! not in it: syncs of pushes are tasks of the object ([`pushes`]), so are questions to shards ([`pulls`]), and who
//! waits for a page that somebody else was making makes it if that one goes away ([`reading`]).

mod catalog;
mod closing;
mod hearing;
mod pulls;
mod pushes;
mod reading;
mod spending;
mod watching;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;
use serde::Deserialize;

use super::figures::Figures;
use super::pages::{PageAnswer, Pages};
use super::region_list::CountedRegions;
use super::turns::Turns;
use super::{ChartRules, ClosingRules, Global, GlobalLimits, Together};
use crate::board::ObjectName;
use crate::catalog::{Catalogs, Follower};
use crate::codec::{self, Record};
use crate::host::Host;
use crate::loaded::Loaded;
use crate::storage::{Storage, StorageError};
use crate::watchers::Watchers;
use crate::wire::*;
use hearing::Hearing;
pub use pulls::MAX_WAITING_READERS;
use pulls::Pulls;
use pushes::Completing;

/// What the installation's settings say to the global object.
#[derive(Clone)]
pub struct GlobalSettings {
    pub rules: ChartRules,
    /// Which charts are published, and when; they show what `rules` says.
    pub closing: ClosingRules,
    pub limits: GlobalLimits,
    /// `DAILY_REQUESTS`.
    pub daily_requests: Option<u64>,
    /// What is known in this instance of catalogs.
    pub catalogs: Catalogs,
    /// What all global objects of this instance hold.
    pub together: Together,
}

impl Default for GlobalSettings {
    /// `main`'s.
    fn default() -> Self {
        GlobalSettings {
            rules: ChartRules::default(),
            closing: ClosingRules::default(),
            limits: GlobalLimits::default(),
            daily_requests: None,
            catalogs: Catalogs::default(),
            together: Together::default(),
        }
    }
}

/// See the module's introduction. A clone is another handle of the same.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

struct Inner<H: Host> {
    host: H,
    settings: GlobalSettings,
    /// Who keeps the catalog whose posts the board shows.
    catalog_keeper: ObjectName,
    loaded: Loaded<Global, H::Storage>,
    is_syncing: Cell<bool>,
    completing: Completing,
    pulls: Pulls,
    /// The number of the load after which a waking step has asked the shards.
    asked_at_load: Cell<u64>,
    is_closing: Cell<bool>,
    turns: RefCell<Turns>,
    /// The plays of a day of each region, as they were counted last.
    regions: RefCell<CountedRegions>,
    counters: RefCell<GlobalMetrics>,
    figures: RefCell<Figures>,
    pages: RefCell<Pages<oneshot::Sender<PageAnswer>>>,
    hearing: Hearing,
    catalog: Rc<Follower>,
    catalog_waiters: RefCell<Vec<oneshot::Sender<()>>>,
    is_asking_catalog: Cell<bool>,
    /// When the catalog last failed to answer.
    catalog_away_ms: Cell<Option<u64>>,
    /// Shards that show charts over sockets, what they are told, and since when this object is told itself.
    watchers: Watchers,
    look: Cell<Look>,
    watching_since_ms: Cell<u64>,
}

impl<H: Host> Driver<H> {
    /// Loads nothing yet: the first message does.
    pub fn new(host: H, settings: GlobalSettings) -> Self {
        let counters = GlobalMetrics {
            started_ms: host.now_ms(),
            ..GlobalMetrics::default()
        };
        let catalog_keeper = ObjectName::catalog(host.object().board().unwrap_or_default());
        let catalog = Follower::new(&settings.catalogs, &catalog_keeper.as_named());
        Driver(Rc::new(Inner {
            catalog: Rc::new(catalog),
            catalog_keeper,
            catalog_waiters: RefCell::default(),
            is_asking_catalog: Cell::default(),
            catalog_away_ms: Cell::default(),
            watchers: Watchers::default(),
            look: Cell::new(Look {
                board_is_public: true,
            }),
            watching_since_ms: Cell::default(),
            host,
            settings,
            loaded: Loaded::new("state", Global::damaged_rows),
            is_syncing: Cell::new(false),
            completing: Completing::default(),
            pulls: Pulls::default(),
            asked_at_load: Cell::new(0),
            is_closing: Cell::new(false),
            turns: RefCell::default(),
            regions: RefCell::default(),
            counters: RefCell::new(counters),
            figures: RefCell::default(),
            pages: RefCell::default(),
            hearing: Hearing::default(),
        }))
    }

    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The state, if one is loaded: for whoever checks it.
    pub fn look<T>(&self, look: impl FnOnce(&Global) -> T) -> Option<T> {
        self.0.loaded.look(look)
    }

    /// How often a state that was loaded was dropped, with what it had in memory alone.
    pub fn states_dropped(&self) -> u64 {
        let is_loaded = u64::from(self.look(|_| ()).is_some());
        self.0.counters.borrow().loads - is_loaded
    }

    /// `/learn`: [`Learn`] → [`Noted`], when it is durable.
    pub async fn learn(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&Noted(self.0.learn(message).await))
    }

    /// `/wipe`: [`Wipe`] → [`Noted`], when nothing is stored any more.
    pub async fn wipe(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&Noted(self.0.wipe(message).await))
    }

    /// `/begin-export`: [`BeginExport`] → [`BeginExportReply`]
    pub async fn begin_export(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&BeginExportReply(self.0.begin_export(message).await))
    }

    /// `/export`: [`ExportRequest`] → [`ExportReply`]
    pub async fn export(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&ExportReply(self.0.export(message).await))
    }

    /// `/import`: [`ImportRequest`] → [`ImportReply`], when the rows are durable.
    pub async fn import(&self, message: &[u8]) -> Vec<u8> {
        let imported = match self.0.host.memory_is_short(4 * message.len()) {
            true => Err(Refusal::Busy { retry_after_s: 1 }),
            false => self.0.import(message).await,
        };
        codec::encode(&ImportReply(imported))
    }

    /// `/metrics` → [`GlobalMetrics`]
    pub async fn metrics(&self) -> Vec<u8> {
        self.0.hear_of_catalog(true).await;
        let (inner, now_ms) = (&self.0, self.0.host.now_ms());
        let counters = GlobalMetrics {
            instance: inner.host.instance(),
            daily_requests: inner.settings.daily_requests.unwrap_or_default(),
            requests_today: inner.requests_today(),
            shards_told: inner.figures.borrow().count() as u64,
            shards: inner.figures.borrow().shown(now_ms),
            reading_ms: (inner.turns.borrow().settled_us() / 1e3) as u64,
            ..inner.counters.borrow().clone()
        };
        let told = inner.with_global(|global, storage| {
            Ok(GlobalMetrics {
                rows_written: storage.rows_written(),
                stored_bytes: storage.size().unwrap_or_default(),
                ..global.tell(counters.clone(), now_ms)
            })
        });
        codec::encode(&told.unwrap_or(counters))
    }
}

impl<H: Host> Inner<H> {
    fn with_global<T>(
        &self,
        run: impl FnOnce(&mut Global, &H::Storage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let run = |global: &mut Global, storage: &H::Storage| {
            let now_ms = self.host.now_ms();
            global.clock_is(now_ms);
            global.follow_zone(storage, || self.host.zone(), now_ms)?;
            run(global, storage)
        };
        self.loaded.with(&self.host, || self.load(), run)
    }

    fn load(&self) -> Result<(Global, H::Storage), Refusal> {
        let (host, settings) = (&self.host, &self.settings);
        if self.hearing.is_over() {
            return Err(Refusal::Gone);
        }
        let is_enlisted = self.hearing.told().is_some();
        if !is_enlisted && host.object().is_to_enlist() && host.is_empty()? {
            // Opening it would store something.
            return Err(Refusal::Busy { retry_after_s: 1 });
        }
        let storage = host.open()?;
        let heard = Global::heard(&storage)?;
        let Some(table) = heard.or_else(|| self.hearing.told()) else {
            // Nobody has said yet which regions there are.
            return Err(Refusal::Busy { retry_after_s: 1 });
        };
        let mut global =
            Global::load_beside(&storage, &table, settings.limits, &settings.together)?;
        self.watchers.load(&storage)?;
        global.is_known_by(u64::from_le_bytes(host.random()));
        global.follow(Rc::clone(&self.catalog));
        global.close_by(ClosingRules {
            chart: settings.rules,
            ..settings.closing
        });
        let damaged_regions = global.offsets.damaged_regions();
        if damaged_regions > 0 {
            host.report(format_args!(
                "the offsets of {damaged_regions} regions cannot be read; they are kept"
            ));
        }
        self.counters.borrow_mut().loads += 1;
        Ok((global, storage))
    }

    /// Decodes a question and answers it.
    async fn ask<Q: Record + for<'de> Deserialize<'de>, A>(
        self: &Rc<Self>,
        message: &[u8],
        run: impl FnOnce(&mut Global, &H::Storage, Q, u64) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let question = codec::decode::<Q>(message)?;
        self.ready().await?;
        let now_ms = self.host.now_ms();
        self.with_global(|global, storage| run(global, storage, question, now_ms))
    }

    /// Asks for a change, and answers when it is durable.
    async fn change<Q: Record + for<'de> Deserialize<'de>, A>(
        self: &Rc<Self>,
        message: &[u8],
        run: impl FnOnce(&mut Global, &H::Storage, Q, u64) -> Result<A, Refusal>,
    ) -> Result<A, Refusal> {
        let changed = self.ask(message, run).await?;
        self.sync().await?;
        Ok(changed)
    }

    async fn sync(&self) -> Result<(), StorageError> {
        self.loaded.sync(&self.host).await
    }
}
