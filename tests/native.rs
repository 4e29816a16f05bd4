//! The native tests, one file a subject: `cargo test --test native golden` runs those of `golden.rs`.
//!
//! They are one program: each has the same drivers to compile, and their tests share the processors.
//! What needs a program of its own stands in Cargo.toml.

#![allow(clippy::unwrap_used, clippy::panic)]

mod accuracy;
mod boards;
mod bounds;
mod calendar;
mod catalog;
mod certain;
mod charts_again;
mod copies;
mod damage;
mod exact_days;
mod filters;
mod global_windows;
mod golden;
mod house;
mod import;
mod memory;
mod names;
mod objects;
mod operator;
mod post_page;
mod published;
mod push_limits;
mod regions;
mod routing;
mod rows;
mod transfer;
mod utc;
mod votes;
mod watchers;
mod window;
mod window_model;
mod window_properties;
mod zones;
