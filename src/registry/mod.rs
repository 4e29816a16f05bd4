//! The registry: which regions and boards there are, and what all objects of an installation share.
//!
//! There is one, apart from the objects that count: a storm of questions or changes here stops nobody's
//! plays, and nobody's backup restores another's counts.
//!
//! # Who asks what
//! - *Workers* ask what changed since the directory that they have ([`changes`]): for plays once a minute
//!   each isolate, for charts once in 5 s while they are asked for, and at most once a second where somebody names
//!   what it does not know.
//! - *Global objects* ask for the regions where they meet one that they do not know, and every ten minutes
//!   while they are pushed to.
//! - *Operators* make, change and delete regions ([`regions`]) and boards, and begin counting anew.
//!
//! Where the registry is away, everybody goes on with what they know: plays are taken, charts are
//! answered, and what has changed is heard of later.
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
