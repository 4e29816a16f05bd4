//! Hitparade: the Top K of what the world plays, per region and worldwide.

pub mod capacity;
pub mod codec;
#[cfg(target_arch = "wasm32")]
mod edge;
pub mod global;
pub mod http;
pub mod leaderboard;
pub mod limiter;
#[cfg(target_arch = "wasm32")]
mod log;
#[cfg(feature = "simulation")]
pub mod mutants;
#[cfg(not(feature = "simulation"))]
mod mutants;
#[cfg(target_arch = "wasm32")]
mod panics;
#[cfg(target_arch = "wasm32")]
mod platform;
pub mod play;
pub mod region;
pub mod settings;
pub mod storage;
pub mod topology;
pub mod window;
pub mod wire;

pub use hitparade_summary as summary;
