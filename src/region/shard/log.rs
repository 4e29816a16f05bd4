//! The log of a shard: where counting begins anew, and where it is cut for an export.

use super::*;

/// The moment of an export lies no further ahead where it is told of: 501 s for the 10,000 shards that there may be.
const CUT_AHEAD_MOST_MS: u64 = 600_000;

impl Shard {
    /// Takes note that counting has begun anew; `false` if another shard is meant. After the next sync
    /// it may be said that this one knows. `random` names the next log.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn begin_epoch(
        &mut self,
        storage: &impl Storage,
        news: &BeginEpoch<'_>,
        random: [u8; 16],
    ) -> Result<bool, StorageError> {
        if self.is_another(news.region_id, news.shard) {
            return Ok(false);
        }
        self.follow(storage, news.epoch, random)?;
        Ok(true)
    }

    /// Counts anew where the installation does: forgets all that was counted before, whether or not
    /// the global object has it. Batches that were counted go on being known, so that none of them is
    /// counted again; what waits for its commit counts in the new epoch. `random` names the new log.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn follow(
        &mut self,
        storage: &impl Storage,
        epoch: Epoch,
        random: [u8; 16],
    ) -> Result<(), StorageError> {
        let known_ms = self.checkpoint.epoch_ms;
        if known_ms.is_some_and(|known_ms| epoch.began_ms <= known_ms) {
            return Ok(());
        }
        self.checkpoint.epoch_ms = Some(epoch.began_ms);
        self.checkpoint.seed = Some(epoch.seed);
        if known_ms.is_none() {
            // What is stored and cannot be read may be of this epoch: nothing goes.
            self.header_dirty = true;
            self.store_header(storage)?;
            self.header_dirty = false;
            return Ok(());
        }
        self.checkpoint.cut = None;
        self.checkpoint.cut_at_ms = None;
        self.sealed.clear();
        self.sealed_bytes = 0;
        if !mutants::active(Mutant::PanesSurviveTheirEpoch) {
            self.open.clear();
        }
        // The rows of what is in flight come after these.
        self.checkpoint.covered_seq = self.applied_seq;
        storage.atomically(|| {
            let mut writes = self.start_new_log(u128::from_be_bytes(random));
            writes.extend(Outbox::put_aside_rows(storage)?);
            // Nor does anything of it stay that cannot be read today.
            let numbers = std::mem::take(&mut self.unread_open_rows);
            let numbers = numbers.iter().map(|number| number.to_be_bytes());
            writes.extend(numbers.map(|key| Write::delete(Table::OpenPanes, key)));
            writes.extend(self.journal.clear(storage, self.applied_seq)?);
            // Those that the journal alone has: it is covered from here on.
            writes.extend(self.seen.save(self.applied_ms));
            let written_ms = &mut self.checkpoint.written_ms;
            *written_ms = self.applied_ms.max(*written_ms);
            storage.write(&writes)?;
            self.save_open(storage)?;
            self.reckon_with_unread();
            self.store_header(storage)
        })?;
        self.header_dirty = false;
        self.journal.cover(self.applied_seq);
        Ok(())
    }

    /// Forgets the log and starts another: the global object has seen offsets of this log that
    /// this storage never gave out, so it was set back to an earlier state. What the outbox holds
    /// was folded then.
    pub(in crate::region) fn start_new_log(&mut self, log_id: u128) -> Vec<Write> {
        let mut writes = self.outbox.forget_below(u64::MAX);
        self.checkpoint.log_id = log_id;
        self.checkpoint.log_began_ms += 1;
        self.checkpoint.log_start = self.checkpoint.next_offset;
        self.wanted_offset = self.checkpoint.next_offset;
        self.header_dirty = true;
        self.write_header(&mut writes);
        writes
    }

    /// Is to cut its log at a moment, for an export; `false` if another shard is meant, if it has
    /// counted something since that moment, or if it knows of a later one: the export of the earlier
    /// is over. One that no export can have by the clock of now is of a clock that was set back: this one takes
    /// its place. A shard that does not know who it is learns it. After the next sync it may be said that this one
    /// will cut its log, however often it is loaded until then.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn cut_at(
        &mut self,
        storage: &impl Storage,
        request: &CutRequest<'_>,
        random: [u8; 16],
        now_ms: u64,
    ) -> Result<bool, StorageError> {
        // What is dated later than now was counted before.
        let is_late = self.applied_ms.min(now_ms) >= request.at_ms;
        if is_late || self.is_another(request.region_id, request.shard) {
            return Ok(false);
        }
        self.follow(storage, request.epoch, random)?;
        self.introduce(request.region_id, request.shard, request.epoch.seed);
        let cut_ms = self.checkpoint.cut.map(|cut| cut.at_ms);
        let known_ms = self.checkpoint.cut_at_ms.into_iter().chain(cut_ms);
        let most_ms = now_ms.saturating_add(CUT_AHEAD_MOST_MS);
        let known_ms = known_ms.filter(|known_ms| *known_ms <= most_ms).max();
        if known_ms < Some(request.at_ms) {
            self.checkpoint.cut_at_ms = Some(request.at_ms);
            self.header_dirty = true;
            if !mutants::active(Mutant::MomentInMemoryAlone) {
                self.store_header(storage)?;
                self.header_dirty = false;
            }
        }
        Ok(known_ms <= Some(request.at_ms))
    }

    /// How long until its log is to be cut, if it is.
    pub fn cut_in_ms(&self, now_ms: u64) -> Option<u64> {
        let at_ms = self.checkpoint.cut_at_ms?;
        (!self.has_untold_cut()).then(|| at_ms.saturating_sub(now_ms))
    }

    /// Whether its log was cut and the global object has answered no push that told so.
    pub(in crate::region) fn has_untold_cut(&self) -> bool {
        let cut_ms = self.checkpoint.cut.map(|cut| cut.at_ms);
        cut_ms.is_some() && cut_ms == self.checkpoint.cut_at_ms
    }

    /// Whether something below the last cut is still to be sent.
    pub(in crate::region) fn owes_of_cut(&self) -> bool {
        (self.checkpoint.cut).is_some_and(|cut| self.wanted_offset() < cut.offset)
    }

    /// Where it was cut, as a push says it that ends at an offset: a cut that is not durable here may be lost, and
    /// with it what was sealed for it.
    pub(in crate::region) fn cut_to_tell(&self, next_offset: u64) -> Option<Cut> {
        self.checkpoint.cut.filter(|cut| cut.offset <= next_offset)
    }

    /// A push is made of all that is durable.
    pub(in crate::region) fn cut_is_sent(&mut self) {
        let sent = self.cut_to_tell(self.sendable_offset());
        self.cut_sent_ms = sent.map(|cut| cut.at_ms);
    }

    /// The push was answered: adds what is to be written of it.
    pub(in crate::region) fn cut_is_told(&mut self, writes: &mut Vec<Write>) {
        if self.has_untold_cut() && self.cut_sent_ms == self.checkpoint.cut_at_ms {
            self.checkpoint.cut_at_ms = None;
            self.header_dirty = true;
            self.write_header(writes);
            self.header_dirty = false;
        }
    }

    /// Cuts the log if it is time: to be asked before anything more is committed. All that is counted is
    /// sealed, and lies below the cut.
    ///
    /// # Errors
    /// When the disk refuses: drop this state and load it anew.
    pub fn cut_if_due(
        &mut self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<bool, StorageError> {
        let at_ms = self.checkpoint.cut_at_ms;
        let Some(at_ms) = at_ms.filter(|_| self.cut_in_ms(now_ms) == Some(0)) else {
            return Ok(false);
        };
        // What the global object would pass over stays open.
        let most_ms = now_ms.saturating_add(MAX_PANE_AHEAD_MS);
        let keys = self.open.panes.keys().copied();
        let keys: Vec<PaneKey> = keys.filter(|key| key.start_ms <= most_ms).collect();
        for key in keys {
            self.seal(key);
        }
        let offset = self.checkpoint.next_offset + self.sealed.len() as u64;
        self.checkpoint.cut = Some(Cut { at_ms, offset });
        self.header_dirty = true;
        self.checkpoint(storage, now_ms)?;
        Ok(true)
    }
}
