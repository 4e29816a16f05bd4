//! The driver of the registry: what happens between the platform's events and the state machine
//! ([`Registry`]). Encoded messages in, encoded replies out. The Durable Object is a [`Host`] and a table of
//! routes; the simulation is another.
//!
//! # What happens when something fails
//! After an error of the storage, a sync's among them, the state is dropped, and the next message loads
//! what is stored. Whatever is answered is durable: questions wait for the changes before them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::{FirstRegion, Registry};
use crate::codec::{self, Record};
use crate::host::Host;
use crate::settings::read_regions;
use crate::storage::{Storage, StorageError, Table};
use crate::wire::*;

/// See the module's introduction. A clone is another handle of the same.
pub struct Driver<H: Host>(Rc<Inner<H>>);

impl<H: Host> Clone for Driver<H> {
    fn clone(&self) -> Self {
        Driver(Rc::clone(&self.0))
    }
}

struct Inner<H: Host> {
    host: H,
    /// `REGIONS`.
    regions: Option<String>,
    loaded: RefCell<Option<(Registry, H::Storage)>>,
    /// Counts what was written or loaded, and of that, what is known to be durable.
    written: Cell<u64>,
    durable: Cell<u64>,
}

impl<H: Host> Driver<H> {
    /// Loads nothing yet: the first message does. `regions` is the setting `REGIONS`.
    pub fn new(host: H, regions: Option<String>) -> Self {
        Driver(Rc::new(Inner {
            host,
            regions,
            loaded: RefCell::new(None),
            written: Cell::default(),
            durable: Cell::default(),
        }))
    }

    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// The state, if one is loaded: for whoever checks it.
    pub fn look<T>(&self, look: impl FnOnce(&Registry) -> T) -> Option<T> {
        let loaded = self.0.loaded.borrow();
        loaded.as_ref().map(|(registry, _)| look(registry))
    }

    /// `/directory`: [`DirectoryQuestion`] → [`DirectoryReply`]
    pub async fn directory(&self, message: &[u8]) -> Vec<u8> {
        self.answer(message, DirectoryReply, |registry, _, question| {
            let DirectoryQuestion { version } = question;
            Ok(registry.directory_news(version))
        })
        .await
    }

    /// `/enlist`: [`Enlist`] → [`EnlistReply`]
    pub async fn enlist(&self, message: &[u8]) -> Vec<u8> {
        self.answer(message, EnlistReply, |registry, _, request: Enlist| {
            registry.enlist(&request.object)
        })
        .await
    }

    /// `/put-region`: [`PutRegion`] → [`PutRegionReply`]
    pub async fn put_region(&self, message: &[u8]) -> Vec<u8> {
        let version = self.0.version();
        self.answer(message, PutRegionReply, |registry, storage, request| {
            registry.put_region(storage, &request, version)
        })
        .await
    }

    /// `/delete-region`: [`DeleteRegion`] → [`DeleteRegionReply`]
    pub async fn delete_region(&self, message: &[u8]) -> Vec<u8> {
        let (version, now_ms) = (self.0.version(), self.0.host.now_ms());
        self.answer(message, DeleteRegionReply, |registry, storage, request| {
            registry.delete_region(storage, &request, version, now_ms)
        })
        .await
    }

    /// `/reset`: [`Reset`] → [`ResetReply`]
    pub async fn reset(&self, message: &[u8]) -> Vec<u8> {
        let (inner, version) = (&self.0, self.0.version());
        self.answer(message, ResetReply, |registry, storage, request| {
            let (random, now_ms) = (inner.host.random(), inner.host.now_ms());
            let done = registry.reset(storage, &request, random, version, now_ms)?;
            if !done.repeated {
                inner.host.report(format_args!("counting begins anew"));
            }
            Ok(done)
        })
        .await
    }

    /// `/adopt-seed`: [`AdoptSeed`] → [`AdoptSeedReply`]
    pub async fn adopt_seed(&self, message: &[u8]) -> Vec<u8> {
        let version = self.0.version();
        self.answer(message, AdoptSeedReply, |registry, storage, request| {
            let AdoptSeed { seed } = request;
            registry.adopt_seed(storage, seed, version)
        })
        .await
    }

    /// `/telling`: [`Telling`] → [`TellingReply`]
    pub async fn telling(&self, message: &[u8]) -> Vec<u8> {
        self.answer(message, TellingReply, |registry, storage, request| {
            registry.telling(storage, request)
        })
        .await
    }

    /// Decodes a question, answers it, and waits until whatever the answer says is durable.
    async fn answer<Q: Record + for<'de> Deserialize<'de>, A, R: Record + Serialize>(
        &self,
        message: &[u8],
        reply: impl FnOnce(Result<A, Refusal>) -> R,
        run: impl FnOnce(&mut Registry, &H::Storage, Q) -> Result<A, Refusal>,
    ) -> Vec<u8> {
        let question = codec::decode::<Q>(message);
        let question = question.map_err(|error| Refusal::Invalid(error.to_string()));
        let answer = question.and_then(|question| {
            self.0
                .with_registry(|registry, storage| run(registry, storage, question))
        });
        let answer = match answer {
            Ok(answer) => self.0.settle().await.map(|()| answer),
            Err(refusal) => Err(refusal),
        };
        codec::encode(&reply(answer))
    }
}

impl<H: Host> Inner<H> {
    /// A name for what is so after a change.
    fn version(&self) -> u64 {
        u64::from_le_bytes(self.host.random())
    }

    /// Runs something on the state, loading it first where it is not in memory. After a storage
    /// error the state is dropped, so that the next one starts from what is stored.
    fn with_registry<T>(
        &self,
        run: impl FnOnce(&mut Registry, &H::Storage) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let mut loaded = self.loaded.borrow_mut();
        let (registry, storage) = match &mut *loaded {
            Some(loaded) => loaded,
            None => {
                let fresh = self.load().map_err(|error| {
                    self.host.report(format_args!("{error}"));
                    Refusal::Storage(error.0)
                })?;
                self.written.set(self.written.get() + 1);
                loaded.insert(fresh)
            }
        };
        let writes = registry.writes();
        let outcome = run(registry, storage);
        if registry.writes() != writes {
            self.written.set(self.written.get() + 1);
        }
        if let Err(Refusal::Storage(error)) = &outcome {
            self.host
                .report(format_args!("{error}: state dropped, to be loaded again"));
            *loaded = None;
        }
        outcome
    }

    fn load(&self) -> Result<(Registry, H::Storage), StorageError> {
        let host = &self.host;
        let storage = host.open()?;
        let regions = read_regions(self.regions.as_deref()).or_else(|error| {
            // Those that are there stay; without any, no play could be taken.
            host.report(format_args!("{error}"));
            match storage.keys(Table::Regions, &[])?.is_empty() {
                true => read_regions(None).map_err(StorageError),
                false => Ok(Vec::new()),
            }
        });
        let first: Vec<FirstRegion> = regions?
            .into_iter()
            .map(|region| FirstRegion {
                region_name: region.name.unwrap_or_else(|| region.id.clone()),
                region_id: region.id,
                hint: region.hint,
            })
            .collect();
        let registry = Registry::load(&storage, &first, host.random())?;
        let damaged_rows = registry.damaged_rows();
        if damaged_rows > 0 {
            host.report(format_args!(
                "{damaged_rows} stored rows cannot be read; they are kept"
            ));
        }
        for difference in registry.region_differences() {
            host.report(format_args!("{difference}"));
        }
        Ok((registry, storage))
    }

    /// Waits until all that was written or loaded is durable. The state goes where nobody knows.
    async fn settle(&self) -> Result<(), Refusal> {
        let written = self.written.get();
        if self.durable.get() >= written {
            return Ok(());
        }
        match self.host.sync().await {
            Ok(()) => {
                self.durable.set(written.max(self.durable.get()));
                Ok(())
            }
            Err(error) => {
                self.host.report(format_args!("sync: {error}"));
                *self.loaded.borrow_mut() = None;
                Err(Refusal::Storage(error.0))
            }
        }
    }
}
