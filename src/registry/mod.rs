//! The registry: which regions and boards there are, and what all objects of an installation share.
//!
//! There is one, apart from the objects that count: a storm of questions or changes here stops nobody's
//! plays, and nobody's backup restores another's counts.
//!
//! `docs/inside/how-it-works.md` ("The registry, and boards that go and come") has who asks what, and when. Workers
//! and global objects ask what changed ([`changes`]), objects of boards whether their board is there; operators
//! change what there is ([`regions`], [`boards`]). Where the registry is away, everybody goes on with what they know.
//!
//! # Invariants
//! - Whoever hears of a change hears of what is durable.
//! - The number of the table only grows, unless the registry is restored from a backup.
//!
//! # Cost
//! A question for the directory that is up to date reads nothing and writes nothing. A change writes its
//! row and one of [`changes`].

mod boards;
mod changes;
mod driver;
#[cfg(target_arch = "wasm32")]
mod object;
mod regions;
mod state;
mod telling;

pub use driver::Driver;
pub use state::Registry;
