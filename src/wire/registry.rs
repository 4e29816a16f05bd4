//! What the registry is asked, and what it answers.

use serde::{Deserialize, Serialize};

use super::Refusal;
use crate::board::{DirectoryNews, ObjectName};
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

/// Global → registry: the seed of an installation that this one, which has no plays yet, imports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptSeed {
    pub seed: [u8; 16],
}

/// Registry → global: the regions, with this seed where nothing was counted with another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptSeedReply(pub Result<RegionTable, Refusal>);
