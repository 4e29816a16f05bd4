//! Asking the registry: which regions there are, and whether this object may count at all. One question
//! serves all who wait for its answer; it belongs to the object, not to who asked first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_channel::oneshot;

use super::Inner;
use crate::board::ObjectName;
use crate::codec;
use crate::global::region_list::CountedRegions;
use crate::host::{Host, QUESTION_TIMEOUT_MS};
use crate::topology::RegionTable;
use crate::wire::*;

/// Asked again at most so often, whatever comes that is not known.
const HEAR_AGAIN_MS: u64 = 1_000;
/// While it is pushed to, an object hears so late of a region that was deleted: 10,000 boards are 17
/// questions a second.
const HEARD_MAX_AGE_MS: u64 = 600_000;

/// What is known of what the registry says.
#[derive(Default)]
pub struct Hearing {
    /// What it said to an object that has nothing stored yet.
    told: RefCell<Option<RegionTable>>,
    /// Its board was deleted.
    is_over: Cell<bool>,
    is_asking: Cell<bool>,
    asked_ms: Cell<u64>,
    /// Whether it answered when it was asked last.
    has_answered: Cell<bool>,
    /// Who waits for the answer; dropping them wakes them.
    waiters: RefCell<Vec<oneshot::Sender<()>>>,
}

impl Hearing {
    pub fn is_over(&self) -> bool {
        self.is_over.get()
    }

    pub fn told(&self) -> Option<RegionTable> {
        self.told.borrow().clone()
    }
}

impl<H: Host> Inner<H> {
    /// Loads the state, asking the registry where nothing is stored yet.
    ///
    /// # Errors
    /// [`Refusal::Busy`] where the registry is away, and when the disk refuses.
    pub async fn ready(self: &Rc<Self>) -> Result<(), Refusal> {
        match self.with_global(|_, _| Ok(())) {
            Err(Refusal::Busy { .. }) => {}
            ready => return ready,
        }
        self.ask_registry().await;
        self.with_global(|_, _| Ok(()))
    }

    /// Runs something, and where it meets what this object has not heard of, once more after asking.
    ///
    /// An epoch that the registry does not know of is taken: the registry was set back. Plays of one that it does
    /// know of must not be: they would go with those of before when this object hears of it.
    pub async fn having_heard<T>(
        self: &Rc<Self>,
        mut run: impl AsyncFnMut() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let outcome = run().await;
        if !matches!(outcome, Err(Refusal::UnknownRegion | Refusal::LaterEpoch)) {
            return outcome;
        }
        let epoch_ms = self.with_global(|global, _| Ok(global.refused_epoch_ms()))?;
        // What the registry was asked before, it may have answered before.
        let was_asking = self.hearing.is_asking.get();
        if !self.ask_registry().await {
            return outcome;
        }
        let outcome = run().await;
        if was_asking || !matches!(outcome, Err(Refusal::LaterEpoch)) {
            return outcome;
        }
        self.with_global(|global, _| {
            global.take_epochs_to(epoch_ms);
            Ok(())
        })?;
        run().await
    }

    /// Asks the registry which regions there are, unless it was asked a moment ago. `true` when it has
    /// answered since this was called.
    pub async fn ask_registry(self: &Rc<Self>) -> bool {
        let hearing = &self.hearing;
        let now_ms = self.host.now_ms();
        if !hearing.is_asking.get() {
            if now_ms.abs_diff(hearing.asked_ms.get()) < HEAR_AGAIN_MS {
                return false;
            }
            hearing.is_asking.set(true);
            hearing.asked_ms.set(now_ms);
            let inner = Rc::clone(self);
            self.host.spawn(async move {
                let heard = inner.hear_registry().await;
                let hearing = &inner.hearing;
                hearing.has_answered.set(heard.is_ok());
                // That its board is deleted is no fault: nothing is answered any more.
                if let Err(error) = heard
                    && !hearing.is_over()
                {
                    inner.host.report(format_args!("the registry: {error}"));
                }
                hearing.is_asking.set(false);
                hearing.waiters.borrow_mut().clear();
            });
        }
        let (waiter, answered) = oneshot::channel::<()>();
        hearing.waiters.borrow_mut().push(waiter);
        // Nobody sends anything: the answer is that it is dropped.
        let _ = answered.await;
        hearing.has_answered.get()
    }

    /// Hears of changes that nothing else tells of, now and then, without waiting for them.
    pub fn ask_registry_now_and_then(self: &Rc<Self>) {
        let age_ms = self.host.now_ms().abs_diff(self.hearing.asked_ms.get());
        if age_ms > HEARD_MAX_AGE_MS {
            let inner = Rc::clone(self);
            self.host.spawn(async move {
                inner.ask_registry().await;
            });
        }
    }

    async fn hear_registry(self: &Rc<Self>) -> Result<(), String> {
        let known = || self.loaded.look(|global| global.table().number);
        let before = known();
        let question = Enlist {
            object: self.host.object().clone(),
        };
        let reply = self.ask_for(&question).await?;
        if reply == Err(Refusal::Gone) {
            self.hearing.is_over.set(true);
            self.loaded.forget();
        }
        if self.hearing.is_over() {
            // Also where it was told so while it waited: an answer of before does not count.
            return Err("its board is deleted".into());
        }
        let table = reply.map_err(|refusal| format!("{refusal:?}"))?;
        // Somebody may have told of a later one meanwhile. Else this one counts, also where the registry
        // was set back.
        if known() != before && known() > Some(table.number) {
            return Ok(());
        }
        self.hear(table)
            .await
            .map_err(|refusal| format!("{refusal:?}"))
    }

    /// Asks the registry for something.
    async fn ask_for<Q: Question>(
        &self,
        question: &Q,
    ) -> Result<Result<AnswerTo<Q>, Refusal>, String> {
        let answer = (self.host).ask_question(&ObjectName::Registry, question, QUESTION_TIMEOUT_MS);
        answer.await.map_err(|error| error.0)
    }

    /// Takes the regions as they are now; durable when this is done.
    async fn hear(self: &Rc<Self>, table: RegionTable) -> Result<(), Refusal> {
        *self.hearing.told.borrow_mut() = Some(table.clone());
        let (is_news, began_anew) = self.with_global(|global, storage| {
            let (number, epoch_ms) = (global.table().number, global.table().epoch_ms);
            global.hear(storage, table)?;
            let began_anew = global.table().epoch_ms > epoch_ms;
            Ok((global.table().number != number, began_anew))
        })?;
        if began_anew {
            *self.regions.borrow_mut() = CountedRegions::default();
            self.host.note(format_args!("counting begins anew"));
        }
        self.sync().await?;
        if is_news {
            self.tell_watchers();
        }
        Ok(())
    }

    /// The board is deleted: answers nothing more, and deletes all that is stored. Repeated, it does so
    /// again.
    pub async fn wipe(self: &Rc<Self>, message: &[u8]) -> Result<(), Refusal> {
        Wipe::read(message, self.host.object())?;
        // What is loaded knows whose sockets are to be closed.
        let _ = self.with_global(|_, _| Ok(()));
        self.hearing.is_over.set(true);
        self.loaded.forget();
        self.tell_watchers();
        Ok(self.host.delete_all().await?)
    }

    /// The regions are these now, unless later ones are known.
    pub async fn learn(self: &Rc<Self>, message: &[u8]) -> Result<(), Refusal> {
        let Learn { table } = codec::decode::<Learn>(message)?;
        if self.host.object().is_to_enlist() {
            return Err(Refusal::Invalid("boards ask for themselves".into()));
        }
        let known = self.with_global(|global, _| Ok(global.table().number));
        match known {
            // An old message, or the registry was set back.
            Ok(number) if number > table.number => {
                let heard = self.hear_registry().await;
                heard.map_err(|_| Refusal::Busy { retry_after_s: 1 })
            }
            Ok(_) | Err(Refusal::Busy { .. }) => self.hear(table).await,
            Err(refusal) => Err(refusal),
        }
    }

    /// There is to be an export: of the shards that there are now.
    pub async fn begin_export(self: &Rc<Self>, message: &[u8]) -> Result<ToCut, Refusal> {
        let since_ms = self.host.now_ms();
        self.ready().await?;
        let asked_ms = || self.hearing.asked_ms.get();
        if !self.ask_registry().await
            && (asked_ms() + HEAR_AGAIN_MS < since_ms || !self.hearing.has_answered.get())
        {
            // Shards that it does not know of would be missing, and nobody would say so.
            return Err(Refusal::Busy { retry_after_s: 1 });
        }
        self.ask(message, |global, storage, BeginExport, now_ms| {
            global.begin_export(storage, now_ms)
        })
        .await
    }

    /// Takes rows of an export, when the registry has the seed and the regions that they need.
    pub async fn import(self: &Rc<Self>, message: &[u8]) -> Result<Imported, Refusal> {
        let needs = self.change(message, |global, storage, request, _| {
            global.begin_import(storage, &request)
        });
        let needs = needs.await?;
        let away = |error: String| {
            self.host.report(format_args!("the registry: {error}"));
            Refusal::Busy { retry_after_s: 1 }
        };
        if let Some(seed) = needs.seed {
            self.ask_for(&AdoptSeed { seed }).await.map_err(away)??;
        }
        for region in &needs.regions {
            self.ask_for(region).await.map_err(away)??;
        }
        if needs.seed.is_some() || !needs.regions.is_empty() {
            self.hear_registry().await.map_err(away)?;
        }
        let request = codec::decode::<ImportRequest>(message)?;
        self.import_posts(&request).await?;
        let now_ms = self.host.now_ms();
        let imported =
            self.with_global(|global, storage| global.import(storage, &request, now_ms))?;
        self.sync().await?;
        self.tell_watchers();
        Ok(imported)
    }
}
