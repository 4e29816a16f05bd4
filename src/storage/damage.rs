//! Rows that cannot be read, as they are met: reading all of them at the start would take too long.

use std::cell::RefCell;
use std::collections::BTreeSet;

/// Rows that are told apart: 1,000 keys of a hundred bytes. More are as bad.
const MAX_ROWS: usize = 1_000;

/// The keys of the damaged rows of one table that were met since the start.
#[derive(Default)]
pub struct Damage(RefCell<BTreeSet<Vec<u8>>>);

impl Damage {
    /// This row cannot be read.
    pub fn note(&self, key: &[u8]) {
        let mut rows = self.0.borrow_mut();
        if rows.len() < MAX_ROWS && !rows.contains(key) {
            rows.insert(key.to_vec());
        }
    }

    /// How many were met, each counted once, up to 1,000.
    pub fn rows(&self) -> u64 {
        self.0.borrow().len() as u64
    }
}
