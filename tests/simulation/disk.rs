//! A disk: atomic batches that become durable in order. A crash loses a suffix of those that are
//! not; a fault strikes before or after the write that it was set for.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};

use hitparade::storage::{Storage, StorageError, StoredRow, Table, Write};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The write is refused, nothing of it is stored, life goes on.
    Refuse,
    /// The machine dies before the write.
    CrashBefore,
    /// The machine dies after the write, before anybody hears of it.
    CrashAfter,
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
type Undo = Vec<(Table, Vec<u8>, Option<Vec<u8>>)>;

#[derive(Default)]
pub struct Disk {
    tables: RefCell<[Rows; Table::ALL.len()]>,
    /// What takes back the batches that are not durable, oldest first.
    undo: RefCell<VecDeque<Undo>>,
    /// Batches written since they were last asked for.
    recent: RefCell<Vec<Vec<Write>>>,
    /// The transaction under way: what takes it back, and what it wrote.
    transaction: RefCell<Option<(Undo, Vec<Write>)>>,
    /// Writes until a fault strikes.
    fault: Cell<Option<(u64, Fault)>>,
    pub crashed: Cell<bool>,
}

impl Disk {
    pub fn set_fault(&self, after_writes: u64, fault: Fault) {
        self.fault.set(Some((after_writes, fault)));
    }

    pub fn clear_fault(&self) {
        self.fault.set(None);
    }

    pub fn take_recent(&self) -> Vec<Vec<Write>> {
        self.recent.take()
    }

    /// The oldest so many batches are durable.
    pub fn make_durable(&self, batches: usize) {
        self.undo.borrow_mut().drain(..batches);
    }

    /// The machine died; all but the oldest so many batches that were not durable are lost.
    pub fn crash(&self, keep: usize) {
        let mut undo = self.undo.borrow_mut();
        for batch in undo.drain(keep..).rev() {
            self.take_back(batch);
        }
        undo.clear();
        self.recent.borrow_mut().clear();
        self.crashed.set(false);
        self.fault.set(None);
    }

    /// Whether nothing is in a table.
    pub fn is_clear(&self, table: Table) -> bool {
        self.tables.borrow()[table as usize].is_empty()
    }

    /// A copy of everything, as a backup would have it.
    pub fn backup(&self) -> [Rows; Table::ALL.len()] {
        self.tables.borrow().clone()
    }

    pub fn restore(&self, backup: [Rows; Table::ALL.len()]) {
        *self.tables.borrow_mut() = backup;
        self.undo.borrow_mut().clear();
        self.recent.borrow_mut().clear();
    }

    fn apply(&self, batch: &[Write], undo: &mut Undo) {
        let mut tables = self.tables.borrow_mut();
        for change in batch {
            let rows = &mut tables[change.table() as usize];
            let before = match change {
                Write::Put { key, value, .. } => rows.insert(key.clone(), value.clone()),
                Write::Delete { key, .. } => rows.remove(key),
            };
            undo.push((change.table(), change.key().to_vec(), before));
        }
    }

    fn take_back(&self, undo: Undo) {
        let mut tables = self.tables.borrow_mut();
        for (table, key, value) in undo.into_iter().rev() {
            match value {
                Some(value) => tables[table as usize].insert(key, value),
                None => tables[table as usize].remove(&key),
            };
        }
    }

    fn strike(&self) -> Option<Fault> {
        let (writes, fault) = self.fault.get()?;
        self.fault
            .set((writes > 0).then(|| (writes.saturating_sub(1), fault)));
        (writes == 0).then_some(fault)
    }

    fn alive(&self) -> Result<(), StorageError> {
        match self.crashed.get() {
            true => Err(StorageError("the machine died".into())),
            false => Ok(()),
        }
    }
}

impl Storage for Disk {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.alive()?;
        Ok(self.tables.borrow()[table as usize].get(key).cloned())
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
        max_bytes: usize,
    ) -> Result<Vec<StoredRow>, StorageError> {
        self.alive()?;
        let start = if from > prefix { from } else { prefix };
        let mut bytes = 0;
        let mut found = Vec::new();
        for (key, value) in self.tables.borrow()[table as usize].range(start.to_vec()..) {
            if !key.starts_with(prefix) || bytes > max_bytes {
                break;
            }
            bytes += value.len();
            found.push((key.clone(), value.clone()));
        }
        Ok(found)
    }

    fn keys(&self, table: Table, prefix: &[u8]) -> Result<Vec<Vec<u8>>, StorageError> {
        let rows = self.scan(table, prefix, &[], usize::MAX)?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    fn bytes(&self, table: Table) -> Result<u64, StorageError> {
        self.alive()?;
        let tables = self.tables.borrow();
        Ok(tables[table as usize]
            .values()
            .map(|value| value.len() as u64)
            .sum())
    }

    fn write(&self, batch: &[Write]) -> Result<(), StorageError> {
        self.alive()?;
        if let Some((undo, written)) = self.transaction.borrow_mut().as_mut() {
            self.apply(batch, undo);
            written.extend_from_slice(batch);
            return Ok(());
        }
        self.atomically(|| self.write(batch))
    }

    /// A fault strikes a transaction as it does a single write: as a whole.
    fn atomically<T>(
        &self,
        change: impl FnOnce() -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        self.alive()?;
        self.transaction.replace(Some(Default::default()));
        let mut outcome = change();
        let (undo, written) = self.transaction.take().unwrap_or_default();
        if written.is_empty() {
            return outcome;
        }
        let fault = self.strike();
        if outcome.is_ok() && matches!(fault, Some(Fault::CrashBefore | Fault::Refuse)) {
            outcome = Err(StorageError(format!("{fault:?}")));
        }
        self.crashed.set(fault == Some(Fault::CrashBefore));
        if outcome.is_err() {
            self.take_back(undo);
            return outcome;
        }
        self.undo.borrow_mut().push_back(undo);
        self.recent.borrow_mut().push(written);
        if fault == Some(Fault::CrashAfter) {
            self.crashed.set(true);
            return Err(StorageError("the machine died after the write".into()));
        }
        outcome
    }
}
