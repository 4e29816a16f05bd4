//! What questions cost, counted in what is done for them: the platform's clock stands still while
//! code runs, so time can't be taken.
//!
//! Whatever is merged is counted, wherever it came from: storage, the cache, live panes.

use std::cell::Cell;
use std::ops::Sub;

use crate::summary::Summary;

/// Everything that was done since the start.
#[derive(Default)]
pub struct Work(Cell<Done>);

/// So much was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    /// Stored panes that were looked for, there or not.
    pub panes: u64,
    /// Their rows, decoded.
    pub rows_read: u64,
    /// Rows that were merged or ranked.
    pub rows_merged: u64,
    /// What was gone through to find one post: bytes of stored panes, rows of merged ones.
    pub searched: u64,
    /// Bytes of the ids of both that do not fit into keys.
    pub long_id_bytes: u64,
    /// Posts of terms that the catalog read.
    pub postings: u64,
}

impl Work {
    /// A pane, or a published chart, was looked for in storage.
    pub fn looked_for(&self) {
        self.add(|done| done.panes += 1);
    }

    /// A pane was decoded.
    pub fn read(&self, summary: &Summary) {
        self.add(|done| {
            done.rows_read += summary.len() as u64;
            done.long_id_bytes += summary.long_id_bytes() as u64;
        });
    }

    /// A pane is merged with others.
    pub fn merged(&self, part: &Summary) {
        self.add(|done| {
            done.rows_merged += part.len() as u64;
            done.long_id_bytes += part.long_id_bytes() as u64;
        });
    }

    /// So much was gone through to find one post.
    pub fn searched(&self, bytes_or_rows: usize) {
        self.add(|done| done.searched += bytes_or_rows as u64);
    }

    pub fn done(&self) -> Done {
        self.0.get()
    }

    fn add(&self, more: impl FnOnce(&mut Done)) {
        let mut done = self.0.get();
        more(&mut done);
        self.0.set(done);
    }
}

impl Sub for Done {
    type Output = Done;

    fn sub(self, before: Done) -> Done {
        Done {
            panes: self.panes - before.panes,
            rows_read: self.rows_read - before.rows_read,
            rows_merged: self.rows_merged - before.rows_merged,
            searched: self.searched - before.searched,
            long_id_bytes: self.long_id_bytes - before.long_id_bytes,
            postings: self.postings - before.postings,
        }
    }
}
