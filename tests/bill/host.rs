//! An object on the platform: the drivers of `src/`, and what they ask of their host.

use std::cell::RefCell;
use std::fmt::Arguments;
use std::rc::Rc;

use hitparade::board::ObjectName;
use hitparade::catalog::{self, CatalogLimits};
use hitparade::codec;
use hitparade::global::{self, GlobalSettings};
use hitparade::host::{Host, SendError};
use hitparade::region::{self, Limits};
use hitparade::registry;
use hitparade::storage::{Storage, StorageError, Table};
use hitparade::window::Zone;
use hitparade::wire::{InstanceMetrics, PullReply};

use crate::objects::metered::Metered;
use crate::platform::{Node, Platform};
use crate::random::Random;

#[derive(Clone)]
pub struct BillHost {
    platform: Platform,
    node: Rc<Node>,
    random: Rc<RefCell<Random>>,
}

impl BillHost {
    pub fn new(platform: &Platform, node: &Rc<Node>) -> Self {
        BillHost {
            platform: platform.clone(),
            node: Rc::clone(node),
            random: Rc::new(RefCell::new(Random::new(platform.now_ms()))),
        }
    }
}

impl Host for BillHost {
    type Storage = Rc<Metered>;

    fn object(&self) -> &ObjectName {
        &self.node.name
    }

    fn is_empty(&self) -> Result<bool, StorageError> {
        Ok(self.node.storage.size()? == 0)
    }

    async fn delete_all(&self) -> Result<(), StorageError> {
        self.platform.delete_alarm(&self.node);
        let clear = |table| self.node.storage.clear(table);
        Table::ALL.into_iter().try_for_each(clear)
    }

    fn now_ms(&self) -> u64 {
        self.platform.now_ms()
    }

    fn zone(&self) -> Option<Zone> {
        Some(Zone::utc())
    }

    fn random<const N: usize>(&self) -> [u8; N] {
        self.random.borrow_mut().bytes()
    }

    fn open(&self) -> Result<Rc<Metered>, StorageError> {
        Ok(Rc::clone(&self.node.storage))
    }

    fn memory_is_short(&self, _more: usize) -> bool {
        false
    }

    fn instance(&self) -> InstanceMetrics {
        InstanceMetrics::default()
    }

    fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        self.platform.spawn(&self.node, task);
    }

    async fn sync(&self) -> Result<(), StorageError> {
        self.platform.sleep(self.platform.pace().sync_ms).await;
        Ok(())
    }

    async fn sleep(&self, ms: u64) {
        self.platform.sleep(ms).await;
    }

    async fn set_alarm(&self, delay_ms: u64) -> Result<(), StorageError> {
        self.platform.set_alarm(&self.node, delay_ms);
        Ok(())
    }

    async fn alarm_ms(&self) -> Result<Option<u64>, StorageError> {
        Ok(self.node.alarm_ms())
    }

    async fn ask(
        &self,
        object: &ObjectName,
        path: &'static str,
        message: &[u8],
        limit_ms: u64,
    ) -> Result<Vec<u8>, SendError> {
        // Between objects it is far, wherever they are.
        let far_ms = self.platform.pace().far_ms;
        let asked = self.platform.ask_over(far_ms, object, path, message);
        let answer = self.within(limit_ms, asked).await;
        let nobody = || SendError("nobody answers".into());
        answer.and_then(Result::ok).ok_or_else(nobody)
    }

    fn report(&self, what: Arguments<'_>) {
        if std::env::var("TRACE").is_ok() {
            eprintln!(
                "{} {}: {what}",
                self.platform.now_ms(),
                self.node.name.as_named()
            );
        }
    }

    fn note(&self, what: Arguments<'_>) {
        self.report(what);
    }
}

/// An object in memory: what `object.rs` of its folder is on the platform.
#[derive(Clone)]
pub enum Object {
    Shard(region::Driver<BillHost>),
    Global(global::Driver<BillHost>),
    Shared {
        registry: registry::Driver<BillHost>,
        catalog: catalog::Driver<BillHost>,
    },
}

impl Object {
    pub fn new(host: BillHost) -> Self {
        match host.object() {
            ObjectName::Shard { .. } => Object::Shard(region::Driver::new(host, Limits::default())),
            ObjectName::Global { .. } => {
                let settings = GlobalSettings {
                    daily_requests: host.platform.daily_requests(),
                    ..GlobalSettings::default()
                };
                Object::Global(global::Driver::new(host, settings))
            }
            _ => Object::Shared {
                catalog: catalog::Driver::new(host.clone(), CatalogLimits::default()),
                registry: {
                    let regions = host.platform.regions().to_owned();
                    registry::Driver::new(host, Some(regions))
                },
            },
        }
    }

    /// # Panics
    /// Where there is no such message: then this table of routes is not that of `object.rs`.
    pub async fn answer(&self, path: &'static str, message: &[u8]) -> Vec<u8> {
        match (self, path) {
            (Object::Shard(shard), "/record") => codec::encode(&shard.record(message, None).await),
            (Object::Shard(shard), "/chart") => {
                codec::encode(&shard.chart(message).await.as_sent())
            }
            (Object::Shard(shard), "/pull") => codec::encode(&PullReply(shard.pull(message).await)),
            (Object::Global(global), "/push") => global.push(message).await,
            (Object::Global(global), "/chart") => global.chart(message).await,
            (Object::Global(global), "/chart-if-awake") => global.chart_if_awake(message).await,
            (Object::Global(global), "/learn") => global.learn(message).await,
            (Object::Shared { registry, .. }, "/directory") => registry.directory(message).await,
            (Object::Shared { registry, .. }, "/enlist") => registry.enlist(message).await,
            (Object::Shared { catalog, .. }, "/catalog") => catalog.answer(message).await,
            _ => panic!("no such message: {path}"),
        }
    }

    pub async fn alarm(&self) {
        match self {
            Object::Shard(shard) => {
                let done = shard.alarm(None).await;
                done.unwrap_or_else(|error| panic!("a shard's alarm: {error}"));
            }
            Object::Shared { registry, .. } => {
                let done = registry.alarm().await;
                done.unwrap_or_else(|refusal| panic!("the registry's alarm: {refusal:?}"));
            }
            Object::Global(_) => panic!("the global object has no alarm"),
        }
    }
}
