//! The whole service in one process, on virtual time, with everything going wrong that can.
//!
//! `npm run simulate -- --seeds N` runs N seeds, `--seed S` one of them, and says what it does.
//! `MUTANT=ClaimsIgnored cargo test --test simulation every_mutant` looks for one mutant alone.
//! `docs/inside/how-it-works.md` explains the protocol that is tried here, and which mutant stands for
//! which of its steps.

#![allow(clippy::panic)]

mod disk;
mod executor;
mod model;
mod random;
mod world;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hitparade::mutants::{self, Mutant};
use strum::IntoEnumIterator;
use world::Figures;

/// Seeds of `cargo test`.
const SEEDS: u64 = 500;
/// Seeds within which every mutant must be found.
const SEEDS_A_MUTANT: u64 = 6_000;
/// How often a long run says how far it is.
const SEEDS_A_LINE: u64 = 5_000;

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
    let threads = number("THREADS").unwrap_or(1).clamp(1, 256);
    let started = Instant::now();
    let figures = run_all(first, seeds, threads).unwrap_or_else(|(seed, violation)| {
        panic!("{violation}\nto see it again: npm run simulate -- --seed {seed}")
    });
    let Figures {
        batches,
        acknowledged,
        events,
        crashes,
        claims,
        pulls,
        charts,
        pages,
        exports,
        puts,
        published,
        boards,
        deletions,
        ..
    } = figures;
    println!(
        "{seeds} seeds from {first}: nothing found in {} s. {batches} batches, {acknowledged} \
         acknowledged; {events} events, {crashes} crashes, {claims} claims, {pulls} pulls, {charts} charts, \
         {pages} pages, {exports} exports, {puts} posts hidden or shown, {published} looks at \
          published charts, {boards} boards made, {deletions} deleted",
        started.elapsed().as_secs()
    );
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs so many seeds, in several threads; stops at the first violation, and returns it with its
/// seed.
fn run_all(first: u64, seeds: u64, threads: u64) -> Result<Figures, (u64, String)> {
    let next = AtomicU64::new(0);
    let outcome = Mutex::new(Ok(Figures::default()));
    let work = || {
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= seeds {
                return;
            }
            let seed = first.wrapping_add(turn);
            // A panic is a violation, too, and its seed must be known.
            let run = catch_unwind(|| world::run(seed, false));
            let run = run.unwrap_or_else(|_| Err(format!("seed {seed}: a panic, told above")));
            let mut outcome = lock(&outcome);
            match (outcome.as_mut(), run) {
                (Ok(sum), Ok(figures)) => sum.add(&figures),
                (Ok(_), Err(violation)) => *outcome = Err((seed, violation)),
                (Err(_), _) => return,
            }
            drop(outcome);
            if (turn + 1).is_multiple_of(SEEDS_A_LINE) {
                println!("{} of {seeds} seeds", turn + 1);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    outcome.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_mutant_is_found() {
    if number("SEED").is_some() || number("SEEDS").is_some() {
        return;
    }
    let only = std::env::var("MUTANT").ok();
    let is_asked = |mutant: &Mutant| only.as_ref().is_none_or(|it| format!("{mutant:?}") == *it);
    let asked: Vec<Mutant> = Mutant::iter().filter(is_asked).collect();
    let next = AtomicUsize::new(0);
    let survivors = Mutex::new(Vec::new());
    // A mutant is its thread's.
    let work = || {
        while let Some(mutant) = asked.get(next.fetch_add(1, Ordering::Relaxed)) {
            mutants::set(Some(*mutant));
            let mut seeds = (1..=SEEDS_A_MUTANT).filter(|seed| world::may_show(*seed, *mutant));
            let found = seeds.find_map(|seed| {
                let violation = world::run(seed, false).err()?;
                Some((seed, violation))
            });
            mutants::set(None);
            match found {
                Some((seed, violation)) => {
                    println!("{mutant:?}: found at seed {seed}: {violation}");
                }
                None => lock(&survivors).push(*mutant),
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let survivors = lock(&survivors);
    assert!(
        survivors.is_empty(),
        "not found in {SEEDS_A_MUTANT} seeds: {survivors:?}"
    );
}
