//! The state of an object, as its driver has it in memory.
//!
//! Whoever needs it first loads it. After an error of the storage, a sync's among them, nobody knows whether it is
//! what is stored: then it is dropped, and whoever comes next loads what is there.

use std::cell::RefCell;

use crate::host::Host;
use crate::mutants::{self, Mutant};
use crate::storage::StorageError;
use crate::wire::Refusal;

/// Why a change did not happen.
pub trait Failure {
    /// What the storage said, where it was the storage.
    fn of_storage(&self) -> Option<&str>;
}

impl Failure for StorageError {
    fn of_storage(&self) -> Option<&str> {
        Some(&self.0)
    }
}

impl Failure for Refusal {
    fn of_storage(&self) -> Option<&str> {
        match self {
            Refusal::Storage(error) => Some(error),
            _ => None,
        }
    }
}

/// A state with the storage that it was loaded from.
pub struct Loaded<S, D> {
    /// What the operator knows it as.
    name: &'static str,
    damaged_rows: fn(&S) -> u64,
    held: RefCell<Option<(S, D)>>,
}

impl<S, D> Loaded<S, D> {
    /// Loads nothing yet. `damaged_rows` are those that the state has met.
    pub fn new(name: &'static str, damaged_rows: fn(&S) -> u64) -> Self {
        Loaded {
            name,
            damaged_rows,
            held: RefCell::new(None),
        }
    }

    /// Runs something on the state, loading it first where it is not in memory. Drops it after an error of the
    /// storage.
    ///
    /// # Errors
    /// What `load` or `run` fails with.
    pub fn with<T, E: Failure>(
        &self,
        host: &impl Host,
        load: impl FnOnce() -> Result<(S, D), E>,
        run: impl FnOnce(&mut S, &D) -> Result<T, E>,
    ) -> Result<T, E> {
        let name = self.name;
        let mut held = self.held.borrow_mut();
        let mut damaged_before = 0;
        let (state, storage) = match &mut *held {
            Some(held) => {
                damaged_before = (self.damaged_rows)(&held.0);
                held
            }
            None => held.insert(load().inspect_err(|error| {
                if let Some(error) = error.of_storage() {
                    host.report(format_args!("{error}: the {name} is not loaded"));
                }
            })?),
        };
        let outcome = run(state, storage);
        let damaged_rows = (self.damaged_rows)(state);
        if damaged_rows > damaged_before {
            host.report(format_args!(
                "{damaged_rows} stored rows of the {name} cannot be read; they are kept"
            ));
        }
        if let Some(error) = outcome.as_ref().err().and_then(Failure::of_storage)
            && !mutants::active(Mutant::FailedStateKept)
        {
            host.report(format_args!(
                "{error}: the {name} is dropped, to be loaded again"
            ));
            *held = None;
        }
        outcome
    }

    /// Looks at the state, where it is in memory.
    pub fn look<T>(&self, look: impl FnOnce(&S) -> T) -> Option<T> {
        self.held.borrow().as_ref().map(|(state, _)| look(state))
    }

    /// Drops the state.
    pub fn forget(&self) {
        *self.held.borrow_mut() = None;
    }

    /// Waits until all that was written is durable. Drops the state where nobody knows.
    ///
    /// # Errors
    /// Where it may not be.
    pub async fn sync(&self, host: &impl Host) -> Result<(), StorageError> {
        let synced = host.sync().await;
        if mutants::active(Mutant::FailedSyncIgnored) {
            return Ok(());
        }
        synced.inspect_err(|error| {
            host.report(format_args!("sync of the {}: {error}", self.name));
            self.forget();
        })
    }
}
