//! Hitparade: the Top K of what the world plays, per region and worldwide.

pub mod capacity;
pub mod codec;
pub mod global;
pub mod leaderboard;
pub mod play;
pub mod region;
pub mod storage;
pub mod summary;
pub mod topology;
pub mod window;
pub mod wire;
