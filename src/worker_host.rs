//! A Durable Object as its driver's `Host`.

use std::fmt::Arguments;
use std::rc::Rc;
use std::time::Duration;

use worker::{Delay, Env, State};

use crate::board::ObjectName;
use crate::clock::now_ms;
use crate::host::{Host, SendError};
use crate::instance::{instance_metrics, memory_is_short, random_bytes};
use crate::log;
use crate::objects::call_raw;
use crate::storage::{SqlStorage, StorageError};
use crate::window::Zone;
use crate::wire::InstanceMetrics;
use crate::zones::own_zone;

/// The platform, for one object. A clone is another handle of it, for another driver of the object.
#[derive(Clone)]
pub struct WorkerHost {
    state: Rc<State>,
    env: Env,
    /// The object's name in the log.
    source: &'static str,
    object: ObjectName,
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
        }
    }
}

fn refused(error: worker::Error) -> StorageError {
    StorageError(error.to_string())
}

impl Host for WorkerHost {
    type Storage = SqlStorage;

    fn object(&self) -> &ObjectName {
        &self.object
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        SqlStorage::is_empty(&self.state.storage())
    }

    async fn delete_all(&self) -> Result<(), StorageError> {
        let storage = self.state.storage();
        storage.delete_alarm().await.map_err(refused)?;
        storage.delete_all().await.map_err(refused)?;
        self.sync().await
    }

    fn now_ms(&self) -> u64 {
        now_ms()
    }

    fn zone(&self) -> Option<Zone> {
        own_zone(&self.env)
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        random_bytes()
    }

    fn open(&self) -> Result<SqlStorage, StorageError> {
        if self.object == ObjectName::Unnamed {
            let detail = "the platform does not say which object this is; the next start may know";
            return Err(StorageError(detail.into()));
        }
        SqlStorage::open(&self.state.storage())
    }

    fn memory_is_short(&self, more: usize) -> bool {
        memory_is_short(more)
    }

    fn instance(&self) -> InstanceMetrics {
        instance_metrics()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        // A task of `spawn_local` alone does not keep an object awake.
        self.state.wait_until(task);
    }

    async fn sync(&self) -> Result<(), StorageError> {
        self.state.storage().sync().await.map_err(refused)
    }

    async fn sleep(&self, ms: u64) {
        Delay::from(Duration::from_millis(ms)).await;
    }

    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        let set = self.state.storage().set_alarm(delay_ms as i64).await;
        set.map_err(refused)
    }

    async fn alarm_ms(&self) -> Result<Option<u64>, StorageError> {
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
        let failed = |error: worker::Error| SendError(error.to_string());
        call_raw(&self.env, (object, None), path, message, limit_ms)
            .await
            .map_err(failed)
    }

    fn report(&self, what: Arguments<'_>) {
        log::error(self.source, &what.to_string());
    }

    fn note(&self, what: Arguments<'_>) {
        log::note(self.source, &what.to_string());
    }
}
