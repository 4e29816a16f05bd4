//! Who shows charts over sockets is told when they may have changed, and need not look.
//!
//! Shards with sockets watch their board's global object, which watches what it hears of changes from: the
//! registry, and a catalog of the board's own.

use serde::{Deserialize, Serialize};

use crate::board::ObjectName;

/// Shard → global → registry and catalog: tell me when charts may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Who asks.
    pub object: ObjectName,
}

/// Registry, catalog → global → shard: look at your charts. Answered by [`super::Noted`]; by
/// [`super::Refusal::NotFound`] where nobody looks any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// Where it isn't, sockets are closed: who shows a token may come back.
    pub board_is_public: bool,
}
