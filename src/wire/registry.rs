//! What the registry is asked, and what it answers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::board::{CatalogKind, Life, ObjectName};
use crate::codec;
use crate::topology::RegionTable;

/// Object of a board → registry: may I count, and which regions are there? An object asks before its first write,
/// so that the registry knows all objects of a board when it is deleted. A global object asks again when it
/// meets a region or an epoch that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enlist {
    pub object: ObjectName,
}

impl Enlist {
    /// What the object that asked knows of itself now. The outer error: nobody answered.
    pub fn life<E>(answer: &Result<Result<RegionTable, Refusal>, E>) -> Life {
        match answer {
            Ok(Ok(_)) => Life::Enlisted,
            Ok(Err(Refusal::Gone)) => Life::Over,
            _ => Life::Unknown,
        }
    }
}

/// Worker → registry: what has changed since this version of the directory?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryQuestion {
    /// `None` for a Worker that has no directory yet.
    pub version: Option<u64>,
}

/// Worker → global: take these regions, unless you know later ones. Answered when that is durable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learn {
    pub table: RegionTable,
}

/// Registry → object of a deleted board: delete everything. Answered when nothing is stored any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wipe {
    /// Whom it is for.
    pub object: ObjectName,
}

impl Wipe {
    /// Reads a message to an object that is to be deleted.
    ///
    /// # Errors
    /// Where the message is for another object, or for one that no board's end deletes.
    pub fn read(message: &[u8], own: &ObjectName) -> Result<(), Refusal> {
        let Wipe { object } = codec::decode(message)?;
        match object == *own && object.is_to_enlist() {
            true => Ok(()),
            false => Err(Refusal::Invalid("meant for another object".into())),
        }
    }
}

/// Worker → registry: make or change a board. Fields left out stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBoard {
    pub board_id: String,
    pub board_name: Option<String>,
    pub beacons: Option<bool>,
    pub public: Option<bool>,
    /// Only for a new board.
    pub catalog: Option<CatalogKind>,
    /// By the ids of regions.
    pub shards: BTreeMap<String, u32>,
    /// The incarnation of a board that is unknown to a registry which was restored from a backup: the board's
    /// objects are taken up again as they are.
    pub incarnation: Option<u64>,
}

/// Worker → registry: delete a board with all its counts, for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeleteBoard {
    pub board_id: String,
}

/// Registry → Worker: how far that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    pub deleted_ms: u64,
    /// Objects that are not known to be empty yet; the registry's alarm goes on with them.
    pub objects_left: u64,
}

/// Global → registry: take this seed, of an installation whose backup is imported, if nothing was counted yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptSeed {
    pub seed: [u8; 16],
}
