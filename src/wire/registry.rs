//! What the registry is asked, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::board::{Board, CatalogKind, DirectoryNews, Life, ObjectName};
use crate::topology::RegionTable;

/// An object of a board → registry: whether it may count, and for which regions. An object asks before
/// its first write, so that the registry knows of all that a board will have stored when it is deleted;
/// a global object asks again where it meets something of which it has not heard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlist {
    pub object: ObjectName,
}

/// Registry → object: it is listed, durably; or [`Refusal::Gone`], and then it writes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnlistReply(pub Result<RegionTable, Refusal>);

impl EnlistReply {
    /// What who asked knows of itself now; `None` where nobody answered.
    pub fn life(reply: Option<&Self>) -> Life {
        match reply {
            Some(EnlistReply(Ok(_))) => Life::Listed,
            Some(EnlistReply(Err(Refusal::Gone))) => Life::Over,
            _ => Life::Unknown,
        }
    }
}

/// Worker → registry: what has changed since this version of the directory?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryQuestion {
    /// `None` where nothing is known.
    pub version: Option<u64>,
}

/// Registry → Worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryReply(pub Result<DirectoryNews, Refusal>);

/// Worker → global: the regions are these now, unless you know later ones. Answered by
/// [`super::Noted`] when that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learn {
    pub table: RegionTable,
}

/// Registry → object of a board that was deleted: delete all that you have. Answered by
/// [`super::Noted`] when nothing is stored any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Close {
    /// Whom it is for.
    pub object: ObjectName,
}

/// Worker → registry: make or change a board. Fields left out stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBoard {
    pub board_id: String,
    pub board_name: Option<String>,
    pub beacons: Option<bool>,
    pub public: Option<bool>,
    /// Only where it is made.
    pub catalog: Option<CatalogKind>,
    /// By the ids of regions.
    pub shards: BTreeMap<String, u32>,
    /// Of a board that a registry does not know any more which was restored from a backup: its objects
    /// are taken as they are.
    pub incarnation: Option<u64>,
}

/// Registry → Worker: the board as it is stored now, or why it is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBoardReply(pub Result<Board, Refusal>);

/// Worker → registry: delete a board with all its counts, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteBoard {
    pub board_id: String,
}

/// Registry → Worker: how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub deleted_ms: u64,
    /// Objects that have not said yet that they are empty; an alarm of the registry goes on.
    pub objects_left: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteBoardReply(pub Result<Deletion, Refusal>);

/// Global → registry: the seed of an installation that this one, which has no plays yet, imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptSeed {
    pub seed: [u8; 16],
}

/// Registry → global: the regions, with this seed where nothing was counted with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptSeedReply(pub Result<RegionTable, Refusal>);
