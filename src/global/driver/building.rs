//! Building what filters are answered from, where it is not there or damaged: a step at a time, between
//! which everything else goes on.

use std::rc::Rc;

use super::Driver;
use crate::global::Global;
use crate::host::Host;

/// Between two steps, each of 500 posts: some 20 ms, or 100 where each of them has tags of its own.
const PAUSE_MS: u64 = 20;

impl<H: Host> Driver<H> {
    /// Builds all that is to be built, in a task of the object. If it ends before, the next question
    /// begins it again, from where it was.
    pub(super) fn build_postings(&self) {
        let is_to_be_built = self.look(Global::is_to_be_built) == Some(true);
        if !is_to_be_built || self.0.is_building.replace(true) {
            return;
        }
        let inner = Rc::clone(&self.0);
        self.0
            .host
            .report(format_args!("builds what filters are answered from"));
        self.0.host.spawn(async move {
            while let Ok(false) =
                inner.with_global(|global, storage| global.build_postings(storage))
            {
                inner.host.sleep(PAUSE_MS).await;
            }
            inner.is_building.set(false);
        });
    }
}
