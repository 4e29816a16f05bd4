//! Summaries as earlier builds stored them must load for ever: CONTRIBUTING.md ("A stored or sent form") has the rule.
//!
//! `VERSION-NAME.bin` is a summary, and `VERSION-NAME.txt` what was seen of it when it was written; `parts-largest` and
//! `parts-others` are two parts of one, whose whole `parts.txt` shows.
//!
//! `UPDATE_GOLDEN=1 cargo test -p hitparade-summary --test golden` writes files that are missing, never one
//! that is there.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use hitparade_summary::{Bounds, Seed, Summary};

const SEED: Seed = Seed::from_bytes(*b"golden test seed");
/// The version of the files that are written today.
const VERSION: &str = "v1";
/// Counters of the first of two parts.
const LARGEST: usize = 20;

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

/// Exact, and stored in two parts.
fn many() -> Summary {
    let mut summary = Summary::new(100, SEED);
    for number in 0..90_u64 {
        // So that some are as large as the smallest that the first part has.
        summary.record(&format!("song-{number:06}"), 1 + number / 4);
    }
    summary
}

/// Today's, by the names of their files.
fn samples() -> Vec<(&'static str, Vec<u8>)> {
    let (largest, others) = many().encode_parts(LARGEST).unwrap();
    vec![
        ("exact", exact().encode()),
        ("full", full().encode()),
        ("large", large().encode()),
        ("parts-largest", largest),
        ("parts-others", others),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// What is in the file; what is to be in it where it is not there and may be written.
fn golden(path: &Path, wanted: &[u8]) -> Vec<u8> {
    if !path.exists() && std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(path, wanted).unwrap();
    }
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Files of all versions whose names end so.
fn files(ending: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder())
        .unwrap()
        .map(|file| file.unwrap().path());
    let files: Vec<PathBuf> = files
        .filter(|file| file.to_str().unwrap().ends_with(ending))
        .collect();
    assert!(!files.is_empty(), "{ending}");
    files
}

/// Holds that all that can be seen of what is stored in `file` is what was seen when it was written.
fn holds(file: &Path, summary: &Summary, bounds_in: impl Fn(&str) -> Bounds) {
    let was = golden(&file.with_extension("txt"), seen(summary).as_bytes());
    assert!(
        was == seen(summary).as_bytes(),
        "{} is read as another summary:\n{}",
        file.display(),
        seen(summary)
    );
    let mut whole = summary.clone();
    whole.index();
    for number in 0..700 {
        let id = format!("song-{number:06}");
        assert_eq!(
            bounds_in(&id),
            whole.bounds(&id),
            "{id}, {}",
            file.display()
        );
    }
}

#[test]
fn summaries_of_every_version_load_and_todays_are_written_as_they_were() {
    for (name, today) in samples() {
        let file = folder().join(format!("{VERSION}-{name}.bin"));
        let stored = golden(&file, &today);
        let again = match name.starts_with("parts-") {
            true => today,
            false => Summary::decode(&stored, SEED).unwrap().encode(),
        };
        assert!(
            again == stored,
            "{name} is written otherwise: a new version is needed"
        );
    }
    for file in files(".bin") {
        let bytes = fs::read(&file).unwrap();
        let summary = Summary::decode(&bytes, SEED).unwrap();
        holds(&file, &summary, |id| {
            Summary::bounds_in(&bytes, id, SEED).unwrap()
        });
    }
    for file in files("-parts-largest.bin") {
        let whole = file.to_str().unwrap().replace("-largest.bin", ".bin");
        let others = file.to_str().unwrap().replace("-largest", "-others");
        let parts = (fs::read(&file).unwrap(), fs::read(others).unwrap());
        let summary = Summary::decode_parts(&parts.0, &parts.1, SEED).unwrap();
        holds(Path::new(&whole), &summary, |id| {
            Summary::bounds_in_parts((&parts.0, &parts.1), id, SEED).unwrap()
        });
    }
}
