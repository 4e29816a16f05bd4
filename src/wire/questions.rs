//! Who asks an object what, on which route, and what it answers: one line a question.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::catalog::{CatalogNews, CatalogQuestion};
use super::registry::{
    AdoptSeed, DeleteBoard, Deletion, DirectoryQuestion, Enlist, Learn, PutBoard, Wipe,
};
use super::telling::{Telling, ToldSoFar};
use super::watch::{Look, Watch};
use super::{
    BeginEpoch, BeginExport, CloseHistory, CutRequest, DeleteRegion, ExportAnswer, ExportRequest,
    HistoryClosed, ImportRequest, Imported, ListPosts, ListPublished, ListRegions, PostList,
    PostQuestion, PostReport, PublishedList, Pull, PutPost, PutPosts, PutRegion, Refusal,
    RegionStatus, Reset, ResetDone, ToCut,
};
use crate::board::{Board, DirectoryNews};
use crate::codec::{Record, record};
use crate::leaderboard::Leaderboard;
use crate::topology::{DeletedRegion, Region, RegionTable};

/// What is sent back: an answer, or why there is none.
pub trait Reply: Record + DeserializeOwned {
    type Answer;

    fn answer(self) -> Result<Self::Answer, Refusal>;
}

/// A message that is replied to.
pub trait Question: Record + Serialize {
    type Reply: Reply;
    /// The route of the object that it goes to.
    const PATH: &'static str;
}

/// What a question is answered with.
pub type AnswerTo<Q> = <<Q as Question>::Reply as Reply>::Answer;

macro_rules! replies {
    ($($(#[$doc:meta])* $name:ident($answer:ty);)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        pub struct $name(pub Result<$answer, Refusal>);

        record!($name v 1);

        impl Reply for $name {
            type Answer = $answer;

            fn answer(self) -> Result<$answer, Refusal> {
                self.0
            }
        }
    )*};
}

macro_rules! questions {
    ($($name:ident $(<$life:lifetime>)? $path:literal => $reply:ident;)*) => {$(
        impl $(<$life>)? Question for $name $(<$life>)? {
            type Reply = $reply;
            const PATH: &'static str = $path;
        }
    )*};
}

replies! {
    /// It is done, durably.
    Noted(());
    ChartReply(Leaderboard);
    PostReply(PostReport);
    RegionsReply(Vec<RegionStatus>);
    ListPublishedReply(PublishedList);
    CloseHistoryReply(HistoryClosed);
    BeginExportReply(ToCut);
    ExportReply(ExportAnswer);
    ImportReply(Imported);
    CatalogAnswer(CatalogNews);
    ListPostsReply(PostList);
    PutPostsReply(Option<PutPost>);
    /// The object is enlisted, durably; or [`Refusal::Gone`], and then it writes nothing.
    EnlistReply(RegionTable);
    DirectoryReply(DirectoryNews);
    /// The region as it is stored now.
    PutRegionReply(Region);
    /// What is remembered of the region.
    DeleteRegionReply(DeletedRegion);
    /// What is so now, and whether it was before.
    ResetReply(ResetDone);
    /// The regions, with the seed where nothing was counted with another.
    AdoptSeedReply(RegionTable);
    /// The board as it is stored now.
    PutBoardReply(Board);
    DeleteBoardReply(Deletion);
    /// How far the news has come.
    TellingReply(Option<ToldSoFar>);
    /// An encoded [`super::ShardReport`], as it would be pushed. Nobody says that it has arrived: the next push
    /// has all of it.
    PullReply(Vec<u8>);
    /// For [`crate::watchers::LEASE_MS`] whoever asked will be told of changes.
    WatchReply(Look);
}

// Worker → global; the readers of charts ask a shard ([`super::KeptChart`]).
questions! {
    PostQuestion "/post" => PostReply;
    ListRegions "/regions" => RegionsReply;
    ListPublished "/list-published" => ListPublishedReply;
    CloseHistory "/close-history" => CloseHistoryReply;
    BeginExport "/begin-export" => BeginExportReply;
    ExportRequest "/export" => ExportReply;
    ImportRequest "/import" => ImportReply;
    Learn "/learn" => Noted;
}

// Worker → shard.
questions! {
    BeginEpoch<'a> "/begin-epoch" => Noted;
    CutRequest<'a> "/cut" => Noted;
}

// Global → quiet shard.
questions! {
    Pull "/pull" => PullReply;
}

// Worker or global → catalog.
questions! {
    CatalogQuestion "/catalog" => CatalogAnswer;
    ListPosts "/list-posts" => ListPostsReply;
    PutPosts "/put-posts" => PutPostsReply;
}

// Worker or object → registry.
questions! {
    Enlist "/enlist" => EnlistReply;
    DirectoryQuestion "/directory" => DirectoryReply;
    PutRegion "/put-region" => PutRegionReply;
    DeleteRegion "/delete-region" => DeleteRegionReply;
    Reset "/reset" => ResetReply;
    AdoptSeed "/adopt-seed" => AdoptSeedReply;
    PutBoard "/put-board" => PutBoardReply;
    DeleteBoard "/delete-board" => DeleteBoardReply;
    Telling "/telling" => TellingReply;
}

// Registry → every object of a deleted board.
questions! {
    Wipe "/wipe" => Noted;
}

// Shard → global → registry and catalog; and what these tell who watches.
questions! {
    Watch "/watch" => WatchReply;
    Look "/look" => Noted;
}
