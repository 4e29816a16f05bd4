//! Mistakes that the simulation must find, one at a time: what proves that it would find ours.
//!
//! Only with the feature `simulation`, which the tests of this crate switch on for themselves;
//! otherwise every question below is answered with a constant and compiles to nothing.

/// A mistake. `docs/inside/how-it-works.md` tells which step of the protocol each one leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "simulation"), allow(dead_code))]
pub enum Mutant {
    /// 202 when the journal row is written, not when it is durable.
    AcknowledgeBeforeDurable,
    /// Whoever waits for a commit that failed is told that nothing was counted.
    DoubtTakenForNo,
    /// A batch with the name of another one is taken for a repeat of it.
    NamesReused,
    /// What an address may add to a post is not looked at.
    VotesIgnored,
    /// Plays are in the panes when the journal row is written, not when it is durable.
    RecordBeforeDurable,
    /// The global object folds every entry that it is sent.
    FoldWithoutOffsetCheck,
    /// The global object keeps one offset a shard, whatever the log.
    OffsetsWithoutLogId,
    /// Copies of open panes are taken from any push.
    ProvisionalUnguarded,
    /// Copies of open panes come on top of the last ones.
    ProvisionalAdded,
    /// A pane that an alarm seals stays open, for the next alarm to seal it again.
    AlarmNotIdempotent,
    /// A restart does not read the fingerprints.
    FingerprintsForgotten,
    /// A change of shards counts at once, also for what was sent before it.
    ReshardAtOnce,
    /// Near a change of shards nothing is claimed.
    NothingClaimed,
    /// A shard that has claimed a batch counts it nevertheless.
    ClaimsIgnored,
    /// A shard counts what was routed without a change that it was told of.
    OldRoutesTaken,
    /// Nothing is claimed any more some time after a change, whoever has been told of it.
    ClaimsEndUntold,
    /// A shard says that it knows of a change before that is durable.
    ToldBeforeDurable,
    /// What is merged into a summary of less capacity is dropped without a trace.
    TruncationForgets,
    /// A late pane over the limit is dropped instead of sealed.
    LatePaneDropped,
    /// A shard forgets what the global object has taken, before that is durable there.
    ForgottenBeforeDurable,
    /// A shard sends what its own storage may still lose.
    SentBeforeDurable,
    /// Panes are folded in one transaction and offsets stored in the next.
    OffsetsApart,
    /// What a state loads after a failed write is taken for durable.
    LoadedTakenForDurable,
    /// The global object says that what it has folded is durable before it is.
    FoldedTakenForDurable,
    /// A sync of the global object that failed is taken for one that is done.
    FailedSyncIgnored,
    /// After a write that failed the global object goes on with what it has in memory.
    FailedStateKept,
    /// The checkpoint does not say up to where it covers the journal.
    JournalNotCovered,
    /// Copies stay when entries are taken that hold the same plays.
    CopiesOutliveTheirEntries,
    /// Copies are taken of a log after which the shard has begun another.
    OldLogsCopied,
    /// A new log numbers its commits from one, as the one before did.
    CommitsNumberedAnew,
    /// Copies that memory has no room for are dropped, and no chart says so.
    CopiesDroppedInSilence,
    /// Where memory is short a push's copies are left, and no chart says so.
    CopiesLeftInSilence,
    /// A push that could not hold all copies does not say so.
    CopiesLeftOutInSilence,
    /// After a start nobody is missed that had more than was taken.
    NobodyMissed,
    /// Whatever comes of a shard after a start stands for it, however old it is.
    HeardByOldPushes,
    /// Where entries are missing, charts do not say so.
    EntriesMissingInSilence,
    /// A shard pushes as often as ever, whatever it is told.
    IntervalIgnored,
    /// A batch that was sent before its region was deleted is not claimed at its shards.
    DeletedNotAsked,
    /// The global object takes what was counted before counting began anew.
    OldEpochTaken,
    /// A shard that begins anew keeps the panes that it has open.
    PanesSurviveTheirEpoch,
    /// A shard sends all that it has sealed at once, whatever the global object takes.
    PushWithoutLimits,
}

#[cfg(feature = "simulation")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    impl Mutant {
        pub const ALL: [Mutant; 41] = [
            Mutant::AcknowledgeBeforeDurable,
            Mutant::DoubtTakenForNo,
            Mutant::NamesReused,
            Mutant::VotesIgnored,
            Mutant::RecordBeforeDurable,
            Mutant::FoldWithoutOffsetCheck,
            Mutant::OffsetsWithoutLogId,
            Mutant::ProvisionalUnguarded,
            Mutant::ProvisionalAdded,
            Mutant::AlarmNotIdempotent,
            Mutant::FingerprintsForgotten,
            Mutant::ReshardAtOnce,
            Mutant::NothingClaimed,
            Mutant::ClaimsIgnored,
            Mutant::OldRoutesTaken,
            Mutant::ClaimsEndUntold,
            Mutant::ToldBeforeDurable,
            Mutant::TruncationForgets,
            Mutant::LatePaneDropped,
            Mutant::ForgottenBeforeDurable,
            Mutant::SentBeforeDurable,
            Mutant::OffsetsApart,
            Mutant::LoadedTakenForDurable,
            Mutant::FoldedTakenForDurable,
            Mutant::FailedSyncIgnored,
            Mutant::FailedStateKept,
            Mutant::JournalNotCovered,
            Mutant::CopiesOutliveTheirEntries,
            Mutant::OldLogsCopied,
            Mutant::CommitsNumberedAnew,
            Mutant::CopiesDroppedInSilence,
            Mutant::CopiesLeftInSilence,
            Mutant::CopiesLeftOutInSilence,
            Mutant::NobodyMissed,
            Mutant::HeardByOldPushes,
            Mutant::EntriesMissingInSilence,
            Mutant::IntervalIgnored,
            Mutant::DeletedNotAsked,
            Mutant::OldEpochTaken,
            Mutant::PanesSurviveTheirEpoch,
            Mutant::PushWithoutLimits,
        ];
    }

    /// Makes one mistake, or none, from now on in this thread.
    pub fn set(mutant: Option<Mutant>) {
        ACTIVE.set(mutant);
        // The summary, a crate of its own, has a switch of its own.
        let forgets = mutant == Some(Mutant::TruncationForgets);
        hitparade_summary::mutants::set_truncation_forgets(forgets);
    }

    pub fn active(mutant: Mutant) -> bool {
        ACTIVE.get() == Some(mutant)
    }
}

#[cfg(feature = "simulation")]
pub use switch::{active, set};

/// Whether the mistake is to be made: never.
#[cfg(not(feature = "simulation"))]
pub(crate) const fn active(_: Mutant) -> bool {
    false
}
