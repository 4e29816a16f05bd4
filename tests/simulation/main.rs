//! The whole service in one process, on virtual time, with everything going wrong that can.
//!
//! `npm run simulate -- --seeds N` runs N seeds, `--seed S` one of them, and says what it does.
//! `docs/how-it-works.md` explains the protocol that is tried here, and which mutant stands for
//! which of its steps.

#![allow(clippy::panic)]

mod disk;
mod model;
mod random;
mod world;

use std::time::Instant;

use hitparade::mutants::{self, Mutant};

/// Seeds of `cargo test`.
const SEEDS: u64 = 500;
/// Seeds within which every mutant must be found.
const SEEDS_A_MUTANT: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn no_fault_loses_an_acknowledged_play_or_counts_one_twice() {
    if let Some(seed) = number("SEED") {
        match world::run(seed, std::env::var("TRACE").is_ok()) {
            Ok(figures) => println!("seed {seed}: nothing found: {figures:?}"),
            Err(violation) => panic!("{violation}"),
        }
        return;
    }
    let first = number("FIRST_SEED").unwrap_or(1);
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let started = Instant::now();
    let (mut events, mut charts, mut crashes, mut claims, mut batches, mut acknowledged) =
        (0, 0, 0, 0, 0, 0);
    for done in 0..seeds {
        let seed = first.wrapping_add(done);
        match world::run(seed, false) {
            Ok(figures) => {
                events += figures.events;
                charts += figures.charts;
                crashes += figures.crashes;
                claims += figures.claims;
                batches += figures.batches;
                acknowledged += figures.acknowledged;
            }
            Err(violation) => {
                panic!("{violation}\nto see it again: npm run simulate -- --seed {seed}")
            }
        }
        if (done + 1) % 10_000 == 0 {
            println!("{} seeds, {} s", done + 1, started.elapsed().as_secs());
        }
    }
    println!(
        "{seeds} seeds from {first}: nothing found. {batches} batches, {acknowledged} acknowledged; \
         {events} events, {crashes} crashes, {claims} claims, {charts} charts; {:.2} ms a seed",
        started.elapsed().as_secs_f64() * 1_000.0 / seeds.max(1) as f64
    );
}

#[test]
fn every_mutant_is_found() {
    if number("SEED").is_some() || number("SEEDS").is_some() {
        return;
    }
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        mutants::set(Some(mutant));
        let found = (1..=SEEDS_A_MUTANT).find_map(|seed| {
            let violation = world::run(seed, false).err()?;
            Some((seed, violation))
        });
        mutants::set(None);
        match found {
            Some((seed, violation)) => println!("{mutant:?}: found at seed {seed}: {violation}"),
            None => survivors.push(mutant),
        }
    }
    assert!(
        survivors.is_empty(),
        "not found in {SEEDS_A_MUTANT} seeds: {survivors:?}"
    );
}
