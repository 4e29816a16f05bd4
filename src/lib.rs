//! Hitparade: the Top K of what the world plays, per region and worldwide.

pub mod summary;
pub mod window;
