//! What becomes of a batch: refused, known, or to wait for its commit.

use super::*;

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Nothing to wait for.
    Answer(RecordReply),
    /// To be answered when the commit of this ticket is durable.
    Wait { ticket: u64, reply: RecordReply },
}

/// What a shard is asked to journal.
pub(super) enum Wanted<'a> {
    Plays(Batch<'a>),
    Claim(Claim<'a>),
}

impl<'a> Wanted<'a> {
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        match codec::decode::<Batch<'a>>(bytes) {
            Ok(batch) => Some(Wanted::Plays(batch)),
            Err(RecordError::OtherKind { .. }) => codec::decode(bytes).ok().map(Wanted::Claim),
            Err(_) => None,
        }
    }

    pub(super) fn sent_ms(&self) -> u64 {
        match self {
            Wanted::Plays(batch) => batch.sent_ms,
            Wanted::Claim(claim) => claim.sent_ms,
        }
    }

    pub(super) fn key(&self) -> Option<&'a [u8]> {
        match self {
            Wanted::Plays(batch) => batch.key,
            Wanted::Claim(claim) => Some(claim.key),
        }
    }

    pub(super) fn plays_hash(&self) -> u32 {
        match self {
            Wanted::Plays(batch) => batch.plays_hash,
            Wanted::Claim(claim) => claim.plays_hash,
        }
    }

    /// What becomes of it, where nothing has yet.
    pub(super) fn fate(&self, seen: &mut Seen) -> Fate {
        let moved_to = match self {
            Wanted::Plays(_) => None,
            Wanted::Claim(claim) => Some(seen.shared(claim.to.clone())),
        };
        Fate {
            plays_hash: self.plays_hash(),
            moved_to,
        }
    }

    /// Whether it is a claim for the very shard that decides: no Worker sends one.
    pub(super) fn is_for(&self, key: &str, shard: u32) -> bool {
        matches!(self, Wanted::Claim(Claim { to, .. }) if to.key == key && to.shard == shard)
    }

    /// Whether the global object might refuse the panes of its plays, for as long as their time has
    /// not come: a Worker's clock is wrong.
    pub(super) fn is_ahead_of(&self, now_ms: u64) -> bool {
        let limit_ms = now_ms.saturating_add(MAX_PANE_AHEAD_MS / 2);
        match self {
            Wanted::Plays(batch) => batch.plays.iter().any(|play| play.timestamp_ms > limit_ms),
            Wanted::Claim(_) => false,
        }
    }

    /// What it is remembered by.
    pub(super) fn fingerprint(&self, secret: &[u8; 16]) -> Option<Fingerprint> {
        self.key().map(|key| Fingerprint::of(secret, key))
    }
}

impl Shard {
    /// Decides about a batch.
    pub fn admit(&mut self, request: &RecordRequest<'_>, now_ms: u64) -> Admission {
        if self.is_another(request.region_id, request.shard) {
            return Admission::Answer(RecordReply::Invalid);
        }
        let Some(wanted) = Wanted::decode(request.batch) else {
            let check = codec::decode::<NameCheck<'_>>(request.batch);
            let reply = check.map_or(RecordReply::Invalid, |check| self.check_name(&check));
            return Admission::Answer(reply);
        };
        if now_ms.saturating_sub(wanted.sent_ms()) > TOO_OLD_MS {
            return Admission::Answer(RecordReply::TooOld);
        }
        if let Some(answer) = self.known(&wanted) {
            return answer;
        }
        if wanted.key().is_some() && wanted.sent_ms() < self.checkpoint.refuse_before_ms {
            return Admission::Answer(RecordReply::TooOld);
        }
        if wanted.is_ahead_of(now_ms) || wanted.is_for(request.region_id, request.shard) {
            return Admission::Answer(RecordReply::Invalid);
        }
        if let Some(retry_after_s) = self.overload(&wanted, request.batch.len(), now_ms) {
            return Admission::Answer(RecordReply::Busy { retry_after_s });
        }
        self.introduce(request.region_id, request.shard, request.seed);
        if self.checkpoint.epoch_ms.is_none() {
            self.checkpoint.epoch_ms = Some(request.epoch_ms);
            self.header_dirty = true;
        }
        if let Some(listed) = request.listed {
            (self.told).take(listed, request.epoch_ms, now_ms);
        }
        let fate = wanted.fate(&mut self.seen);
        let reply = reply_of(&fate, false);
        let fingerprint = wanted.fingerprint(&self.checkpoint.secret);
        if mutants::active(Mutant::ClaimsNotJournaled)
            && let Some((fingerprint, _)) = fingerprint.zip(fate.moved_to.as_ref())
        {
            self.seen.remember_in_memory_alone(fingerprint, fate);
            return Admission::Answer(reply);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        if let Some(fingerprint) = fingerprint {
            self.pending.insert(fingerprint, Pending { ticket, fate });
        }
        self.waiting_bytes += request.batch.len();
        self.waiting.push_back(Waiting {
            ticket,
            fingerprint,
            batch: request.batch.to_vec(),
        });
        Admission::Wait { ticket, reply }
    }

    /// What is to be said of a batch of which it is known what became of it, or is about to.
    pub(super) fn known(&self, wanted: &Wanted<'_>) -> Option<Admission> {
        let fingerprint = wanted.fingerprint(&self.checkpoint.secret)?;
        let (mut fate, ticket) = self.known_as(&fingerprint)?;
        let is_same = fate.plays_hash == wanted.plays_hash();
        if !is_same && !mutants::active(Mutant::NamesReused) {
            // To refuse promises nothing: there is no commit to wait for.
            return Some(Admission::Answer(RecordReply::KeyReused));
        }
        let mut answers_at_once = false;
        match wanted {
            Wanted::Plays(_) if fate.moved_to.is_some() => {
                if mutants::active(Mutant::ClaimsIgnored) {
                    return None;
                }
            }
            Wanted::Claim(claim) => {
                let takes_its_own = match &fate.moved_to {
                    Some(_) => mutants::active(Mutant::OwnTarget),
                    None if ticket.is_some() => mutants::active(Mutant::ClaimPassesCommit),
                    None => mutants::active(Mutant::ClaimBlind),
                };
                if takes_its_own {
                    answers_at_once = fate.moved_to.is_none();
                    fate.moved_to = Some(Rc::new(claim.to.clone()));
                }
            }
            Wanted::Plays(_) => {}
        }
        answers_at_once |= fate.moved_to.is_some() && mutants::active(Mutant::MovedBeforeDurable);
        let reply = reply_of(&fate, true);
        Some(match ticket {
            Some(ticket) if !answers_at_once => Admission::Wait { ticket, reply },
            None if !self.is_settled() => Admission::Answer(RecordReply::Busy { retry_after_s: 1 }),
            _ => Admission::Answer(reply),
        })
    }

    /// What became of the batch of a fingerprint; with the ticket of the commit that this waits for.
    pub(super) fn known_as(&self, fingerprint: &Fingerprint) -> Option<(Fate, Option<u64>)> {
        if let Some(fate) = self.seen.fate(fingerprint) {
            return Some((fate, None));
        }
        let Pending { ticket, fate } = self.pending.get(fingerprint)?;
        Some((fate.clone(), Some(*ticket)))
    }

    /// Whether other plays had a key, or are about to have it.
    pub(super) fn check_name(&self, check: &NameCheck<'_>) -> RecordReply {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, check.key);
        match self.known_as(&fingerprint) {
            Some((fate, _)) if fate.plays_hash != check.plays_hash => RecordReply::KeyReused,
            _ => RecordReply::NameFree,
        }
    }

    /// Whether it is known what became of a batch with this key, or is about to.
    pub fn knows(&self, key: &[u8]) -> bool {
        let fingerprint = Fingerprint::of(&self.checkpoint.secret, key);
        self.pending.contains_key(&fingerprint) || self.seen.contains(&fingerprint)
    }

    /// Takes the name and, where it has none yet, the seed from a request.
    pub(super) fn introduce(&mut self, region_id: &str, shard: u32, seed: [u8; 16]) {
        if self.checkpoint.name.is_none() {
            self.checkpoint.name = Some((region_id.to_owned(), shard));
            self.header_dirty = true;
        }
        if self.checkpoint.seed.is_none() {
            self.checkpoint.seed = Some(seed);
            self.header_dirty = true;
        }
    }

    /// Why nothing more can be taken, as seconds after which to try again. A claim needs no room in
    /// the outbox: what it is about is counted elsewhere.
    fn overload(&self, wanted: &Wanted<'_>, bytes: usize, now_ms: u64) -> Option<u32> {
        if self.waiting.len() >= self.limits.waiting_requests
            || self.waiting_bytes + bytes > MAX_WAITING_BYTES
        {
            return Some(1);
        }
        if matches!(wanted, Wanted::Claim(_)) {
            return None;
        }
        let oldest = self.oldest_sealed_ms();
        let too_old = oldest
            .is_some_and(|sealed_ms| now_ms.saturating_sub(sealed_ms) > self.limits.outbox_age_ms);
        (too_old || self.outbox.bytes() > self.limits.outbox_bytes).then_some(60)
    }

    /// Whether the request is meant for another shard than the one this is.
    pub(super) fn is_another(&self, region_id: &str, shard: u32) -> bool {
        self.name().is_some_and(|name| name != (region_id, shard))
    }
}

/// What is said of a batch that this became of.
fn reply_of(fate: &Fate, repeated: bool) -> RecordReply {
    match &fate.moved_to {
        None => RecordReply::counted(repeated),
        Some(to) => RecordReply::Moved {
            to: ShardId::clone(to),
        },
    }
}
