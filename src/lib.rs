//! Hitparade: the Top K of what the world plays, per region and worldwide, over windows of time.
//!
//! Start here. This page says what runs where, and which way a play and a chart take through the
//! folders; each link leads to the file that does it.
//!
//! # What runs where
//!
//! | what | how many | where it is |
//! |---|---|---|
//! | the **Worker** | one in each city, stateless | `src/edge/` |
//! | a **shard**, a Durable Object | one or more for each board and region | [`region`], on the platform by `src/region/object.rs` |
//! | a **global object**, a Durable Object | one for each board | [`global`], on the platform by `src/global/object.rs` |
//! | the **registry**, a Durable Object | one, which also keeps the catalog; a board's own catalog is one more of its class | [`registry`], on the platform by `src/registry/object.rs` |
//!
//! All four are this crate, compiled to WebAssembly, and share an instance where the platform puts
//! them together. The objects' code does not know the platform. A state machine is handed clock and
//! [`storage`]; its driver, which orders loading, committing, answering and pushing, asks a [`host`]
//! for everything else. So the same code runs in native tests, in the simulation
//! (`tests/simulation`) and in the objects. What they ask each other is a table in [`wire`].
//!
//! # The way of a play
//!
//! 1. A browser or a server posts a batch to `/plays` (`src/edge/mod.rs` has the table of routes).
//!    `src/edge/plays.rs` checks the sender's token and limits and reads the body ([`play`]); [`routing`] sends
//!    its parts to their shards.
//! 2. The shard drops a repeat and puts the batch into its journal, one row for many batches. When
//!    the row is durable, the plays are recorded in open panes, one [`summary`] for each minute of
//!    event time, and the sender gets 202 ([`region`] has the steps).
//! 3. Every few seconds, or by the quarter of an hour where little comes, the shard seals the panes
//!    whose time is over, puts them into its outbox, and pushes them with copies of those that are
//!    still open ([`wire::Push`]).
//! 4. The global object takes each sealed pane once, by its offset, and folds it into the ladder of
//!    the region and of the world: minutes, quarters, two hours, days, all time ([`global`]).
//!
//! # The way of a chart
//!
//! 1. A reader asks `GET /top-posts`. The door, `src/js/door.js`, may have the answer from a
//!    moment ago; otherwise `src/edge/charts.rs` asks memory, then the platform's cache, then the shard
//!    nearest to the reader, then the global object (`src/edge/leaderboards.rs`).
//! 2. The global object tiles the window with the coarsest panes that fit ([`window`]), merges them
//!    with the copies of open panes, and ranks (`src/global/ranking.rs`). Readers have a share of the
//!    object's time, and no more (`src/global/turns.rs`). The [`catalog`] says which posts may show, with their
//!    titles and links.
//! 3. What comes out is a [`leaderboard`]: places, counts with their bounds, and the exact window
//!    that they are of. It goes out as JSON, CSV or NDJSON.
//!
//! # The rules of the house
//!
//! `edge`, `region`, `global` and `registry` use what is not one of them, and never each other. Whatever is
//! stored or sent goes through [`codec`]. Limits are constants beside their arithmetic. The first line of
//! each folder's documentation says what it is for. `CONTRIBUTING.md` has the map of all folders, and a table of
//! where to change what.
#![allow(
    rustdoc::private_intra_doc_links,
    reason = "these pages are for whoever works on it, and made with private items"
)]

/// The release that this is: what `/healthz` and `/metrics` say.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

pub mod board;
pub mod budget;
pub mod cache;
pub mod capacity;
pub mod catalog;
#[cfg(target_arch = "wasm32")]
mod clock;
pub mod codec;
#[cfg(target_arch = "wasm32")]
mod edge;
#[cfg(target_arch = "wasm32")]
mod environment;
pub mod filter;
pub mod global;
pub mod home;
pub mod host;
pub mod http;
#[cfg(target_arch = "wasm32")]
mod instance;
pub mod leaderboard;
pub mod limiter;
pub mod loaded;
#[cfg(target_arch = "wasm32")]
mod log;
#[cfg(feature = "simulation")]
pub mod mutants;
#[cfg(not(feature = "simulation"))]
mod mutants;
#[cfg(target_arch = "wasm32")]
mod objects;
pub mod pages;
mod panics;
pub mod play;
pub mod region;
pub mod registry;
pub mod routing;
pub mod settings;
pub mod storage;
pub mod text;
pub mod topology;
pub mod visitor;
pub mod watchers;
pub mod window;
pub mod wire;
#[cfg(target_arch = "wasm32")]
mod worker_host;
#[cfg(target_arch = "wasm32")]
mod zones;

pub use hitparade_summary as summary;
