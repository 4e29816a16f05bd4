//! A Durable Object as its driver's `Host`.
//!
//! Also that of an object in a rehearsal, which has no platform: functions of another host would be others.

use std::fmt::Arguments;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::FutureExt;
use js_sys::Object;
use wasm_bindgen::{JsCast, JsValue};
use worker::worker_sys::DurableObjectState;
use worker::{Delay, Env, State};

use crate::board::ObjectName;
use crate::catalog::{self, CatalogLimits};
use crate::clock::now_ms;
use crate::host::{Host, SendError, Stage};
use crate::instance::{instance_metrics, memory_is_short, random_bytes};
use crate::log;
use crate::objects::call_raw;
use crate::storage::{Disk, SqlStorage, StorageError};
use crate::window::Zone;
use crate::wire::{CatalogQuestion, InstanceMetrics, Question};
use crate::zones::own_zone;

/// The platform, for one object. A clone is another handle of it, for another driver of the object.
#[derive(Clone)]
pub struct WorkerHost {
    state: Rc<State>,
    env: Env,
    /// The object's name in the log.
    source: &'static str,
    object: ObjectName,
    /// In place of the platform.
    stage: Option<Stage>,
}

impl WorkerHost {
    pub fn new(state: State, env: Env, source: &'static str) -> Self {
        let name = state.id().name().unwrap_or_default();
        let object = ObjectName::of_name(source, &name);
        WorkerHost {
            state: Rc::new(state),
            env,
            source,
            object,
            stage: None,
        }
    }

    /// Nothing is asked of the platform then.
    pub fn on_stage(object: ObjectName, stage: Stage) -> Self {
        let nothing = || JsValue::from(Object::new());
        WorkerHost {
            state: Rc::new(State::from(
                nothing().unchecked_into::<DurableObjectState>(),
            )),
            env: nothing().unchecked_into(),
            source: "rehearsal",
            object,
            stage: Some(stage),
        }
    }
}

fn refused(error: worker::Error) -> StorageError {
    StorageError(error.to_string())
}

impl Host for WorkerHost {
    type Storage = Disk;

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        match &self.stage {
            Some(_) => Ok(false),
            None => SqlStorage::is_empty(&self.state.storage()),
        }
    }

    async fn delete_all(&self) -> Result<(), StorageError> {
        let storage = self.state.storage();
        storage.delete_alarm().await.map_err(refused)?;
        storage.delete_all().await.map_err(refused)?;
        self.sync().await
    }

    fn now_ms(&self) -> u64 {
        (self.stage.as_ref()).map_or_else(now_ms, |stage| stage.now_ms.get())
    }

    fn zone(&self) -> Option<Zone> {
        match &self.stage {
            Some(_) => Some(Zone::utc()),
            None => own_zone(&self.env),
        }
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        match &self.stage {
            Some(_) => [0; N],
            None => random_bytes(),
        }
    }

    fn open(&self) -> Result<Disk, StorageError> {
        if let Some(stage) = &self.stage {
            return Ok(Disk::Memory(Rc::clone(&stage.storage)));
        }
        if self.object == ObjectName::Unnamed {
            let detail = "the platform does not say which object this is; the next start may know";
            return Err(StorageError(detail.into()));
        }
        SqlStorage::open(&self.state.storage()).map(Disk::Sql)
    }

    fn memory_is_short(&self, more: usize) -> bool {
        memory_is_short(more)
    }

    fn instance(&self) -> InstanceMetrics {
        // While an instance starts it has no random name yet, and no clock: whoever asks first decides.
        match &self.stage {
            Some(_) => InstanceMetrics::default(),
            None => instance_metrics(),
        }
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        if let Some(stage) = &self.stage {
            return stage.spawn(task);
        }
        // A task of `spawn_local` alone does not keep an object awake.
        self.state.wait_until(task);
    }

    async fn sync(&self) -> Result<(), StorageError> {
        match &self.stage {
            Some(_) => Ok(()),
            None => self.state.storage().sync().await.map_err(refused),
        }
    }

    async fn sleep(&self, ms: u64) {
        match &self.stage {
            Some(stage) => stage.sleep(ms).await,
            None => Delay::from(Duration::from_millis(ms)).await,
        }
    }

    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        if self.stage.is_some() {
            return Ok(());
        }
        let set = self.state.storage().set_alarm(delay_ms as i64).await;
        set.map_err(refused)
    }

    async fn alarm_ms(&self) -> Result<Option<u64>, StorageError> {
        if self.stage.is_some() {
            return Ok(None);
        }
        let alarm = self.state.storage().get_alarm().await.map_err(refused)?;
        Ok(alarm.and_then(|ms| u64::try_from(ms).ok()))
    }

    async fn ask(
        &self,
        object: &ObjectName,
        path: &'static str,
        message: &[u8],
        limit_ms: u64,
    ) -> Result<Vec<u8>, SendError> {
        if let Some(stage) = &self.stage {
            // The catalog lies in the same storage.
            let catalog = catalog::Driver::new(self.clone(), CatalogLimits::default());
            return match path {
                CatalogQuestion::PATH => Ok(catalog.answer(message).boxed_local().await),
                _ => stage.answer_to(path),
            };
        }
        let failed = |error: worker::Error| SendError(error.to_string());
        call_raw(&self.env, (object, None), path, message, limit_ms)
            .await
            .map_err(failed)
    }

    fn report(&self, what: Arguments<'_>) {
        if self.stage.is_none() {
            log::error(self.source, &what.to_string());
        }
    }
}
