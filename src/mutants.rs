//! Mistakes that the simulation must find, one at a time, and `tests/window_model.rs` two of them: what proves that
//! mistakes of our own would be found.
//!
//! Only with the feature `simulation`, which the tests of this crate switch on for themselves;
//! otherwise every question below is answered with a constant and compiles to nothing.

/// A mistake. `docs/inside/how-it-works.md` tells which step of the protocol each one leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "simulation", derive(strum::EnumIter))]
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
    /// A shard says that it knows of a new epoch before that is durable.
    ToldBeforeDurable,
    /// A Worker decides by its own table where a batch goes, whatever its home.
    HomeIgnored,
    /// A sender tells the home that it knows at the attempt, not when it sealed the batch.
    HomeAtAttempt,
    /// A batch without a home is at home where its sender is.
    AbsentHomeByCountry,
    /// A home that a Worker does not know is taken for none.
    UnknownHomeTakenForNone,
    /// A batch's home is taken to say of all its boards what it says of one of them.
    HomeOfOneBoardForAll,
    /// A Worker says that a batch is counted when the first of its parts is.
    FirstPartAnswers,
    /// Where a decider does not answer, the batch is counted elsewhere.
    AwayDeciderSkipped,
    /// Plays that name a region are decided by the region of today, whichever there was before.
    DeciderOfToday,
    /// A Worker without a directory sends batches without their names.
    BlindForgetsName,
    /// The two parts of a batch that may meet at one shard have one key.
    PartsShareAKey,
    /// A Worker sends a batch without its name to the shard that its decider names.
    TargetForgets,
    /// A shard that has claimed a batch counts it nevertheless.
    ClaimsIgnored,
    /// A shard lets a batch be claimed that it has counted.
    ClaimBlind,
    /// A shard lets a batch be claimed while the commit that counts it is under way.
    ClaimPassesCommit,
    /// A shard says that a batch is claimed before that is durable.
    MovedBeforeDurable,
    /// Each claim of a batch is for its own shard.
    OwnTarget,
    /// Claims are in memory alone.
    ClaimsNotJournaled,
    /// A restart takes what was claimed for counted.
    TargetLost,
    /// Claims are forgotten before the batches are too old to come again.
    ClaimForgottenEarly,
    /// Where fingerprints cannot be read, what was sent before is counted.
    DamagedClaimsForgotten,
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
    /// A sync that failed is taken for one that is done.
    FailedSyncIgnored,
    /// After a write that failed a driver goes on with what it has in memory.
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
    /// Whatever comes of a shard after a start stands for it, also what was made before.
    HeardByOldPushes,
    /// Where entries are missing, charts do not say so.
    EntriesMissingInSilence,
    /// A shard pushes as often as ever, whatever it is told.
    IntervalIgnored,
    /// The global object takes what was counted before counting began anew.
    OldEpochTaken,
    /// A shard that begins anew keeps the panes that it has open.
    PanesSurviveTheirEpoch,
    /// Plays are folded after a period's time before its chart is closed.
    FoldedBeforeClosed,
    /// After a start the last charts are closed again.
    ClosedTwice,
    /// A shard sends all that it has sealed at once, whatever the global object takes.
    PushWithoutLimits,
    /// Another zone's days begin at once, not at the next midnight. This one and the next take days to be
    /// seen: `tests/window_model.rs` finds them.
    #[cfg_attr(feature = "simulation", strum(disabled))]
    ZoneChangesAtOnce,
    /// A shard takes the days that it knew last for those of today.
    #[cfg_attr(feature = "simulation", strum(disabled))]
    DaysTakenForKnown,
    /// A board takes the catalog's number for the same state, whatever its mark.
    NumberWithoutMark,
    /// A board keeps the posts of a filter when the catalog has changed.
    MembersKept,
    /// A shard of a board writes before the registry has enlisted it.
    BirthUnasked,
    /// What is a board's own has its id in its name, and not which board of that id it is.
    NameWithoutIncarnation,
    /// A deletion is forgotten when some of the board's objects are empty.
    TombstoneGoneEarly,
    /// What is pulled comes on top of what was.
    PulledAdded,
    /// What a shard that is told to be quiet has pushed is called durable before it is.
    QuietBeforeDurable,
    /// A shard is told that what it has open has arrived, before it is durable that it has something open.
    OpenBeforeDurable,
    /// A quiet shard sets no alarm for what it has open.
    LastPaneWithoutAlarm,
    /// A quiet shard does not tell that it has something open again.
    OpenUntold,
    /// After a start a chart is made of what is there, and nobody is asked or missed.
    WokenTakenForWhole,
    /// A shard that was asked a moment ago is not asked again, whatever it has counted since.
    PulledOnce,
    /// A chart whose shards do not answer does not say so.
    SilentTakenForFresh,
    /// A shard whose clock goes back pushes again when it is where it was.
    ClockTrusted,
    /// A shard takes an alarm for set that the platform has refused.
    RefusedAlarmTakenForSet,
    /// A shard knows in memory alone that somebody watches, and says that it knows for good.
    WatchedInMemoryAlone,
    /// A shard does not store that it is to cut its log.
    MomentInMemoryAlone,
}

#[cfg(feature = "simulation")]
mod switch {
    use std::cell::Cell;

    use super::Mutant;

    thread_local! {
        static ACTIVE: Cell<Option<Mutant>> = const { Cell::new(None) };
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
