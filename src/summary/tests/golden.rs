//! Summaries as earlier builds stored them must load for ever.
//!
//! `UPDATE_GOLDEN=1 cargo test -p hitparade-summary --test golden` writes files that are missing, never one
//! that is there.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::PathBuf;

use hitparade_summary::{Seed, Summary};

const SEED: Seed = Seed::from_bytes(*b"golden test seed");

fn exact() -> Summary {
    let mut summary = Summary::new(100, SEED);
    for (id, weight) in [
        ("song-1", 3),
        ("song-2", u64::MAX / 3),
        ("é", 1),
        ("sixteen bytes id", 70_000),
    ] {
        summary.record(id, weight);
    }
    summary.record(&"a long id of many bytes, ".repeat(8), 12);
    summary
}

fn full() -> Summary {
    let mut summary = Summary::new(50, SEED);
    let mut state = 1_u32;
    for _ in 0..20_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = 1 + (state >> 8) % 700;
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let number = (state >> 8) % most;
        summary.record(&format!("song-{number:06}"), u64::from(1 + number % 3));
    }
    summary
}

/// Counts of more than 32 bits, and a filter of two seeds.
fn large() -> Summary {
    let mut other = Summary::new(20, Seed::from_bytes([1; 16]));
    for number in 0..2_000_u64 {
        other.record(
            &format!("https://example.org/{}", number % 60),
            number << 40,
        );
    }
    Summary::merge([&full(), &other], 40, SEED)
}

/// All that can be seen from outside.
fn seen(summary: &Summary) -> String {
    let mut text = String::new();
    writeln!(text, "capacity {}", summary.capacity()).unwrap();
    writeln!(text, "total {}", summary.total()).unwrap();
    writeln!(text, "full {}", summary.is_full()).unwrap();
    writeln!(text, "unlisted_max {}", summary.unlisted_max()).unwrap();
    for row in summary.top(usize::MAX) {
        writeln!(text, "{}..{} {}", row.lower, row.upper, row.id).unwrap();
    }
    for number in 0..700 {
        let bounds = summary.bounds(&format!("song-{number:06}"));
        write!(text, "{} ", bounds.upper).unwrap();
    }
    text.push('\n');
    text
}

#[test]
fn stored_summaries_still_load() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (kind, summary) in [("exact", exact()), ("full", full()), ("large", large())] {
        let name = format!("v1-{kind}");
        let (bytes_file, seen_file) = (
            folder.join(format!("{name}.bin")),
            folder.join(format!("{name}.txt")),
        );
        if !bytes_file.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&bytes_file, summary.encode()).unwrap();
            std::fs::write(&seen_file, seen(&summary)).unwrap();
        }
        let bytes = std::fs::read(&bytes_file).unwrap();
        let stored = Summary::decode(&bytes, SEED).unwrap();
        assert_eq!(
            seen(&stored),
            std::fs::read_to_string(&seen_file).unwrap(),
            "{name}"
        );
        assert_eq!(stored.encode(), bytes, "{name}");
    }
}
