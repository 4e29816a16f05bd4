//! The words of a text that come most often, each with its bounds, in the memory of 1,000 counters.
//!
//! ```sh
//! cargo run --release --example top_words < book.txt
//! ```
//! Each of a text's lines goes to one of four summaries, as if four machines had read it; what is
//! printed is of all four.

use std::io::{self, BufRead, Write};

use hitparade_summary::{Seed, Summary};

const COUNTERS: usize = 1_000;
const MACHINES: usize = 4;
const SHOWN: usize = 20;

fn main() -> io::Result<()> {
    // Whoever chooses the words must not know it: draw it at random, and keep it.
    let seed = Seed::from_bytes(*b"of an example...");
    let mut machines = vec![Summary::new(COUNTERS, seed); MACHINES];
    for (number, line) in io::stdin().lock().lines().enumerate() {
        let line = line?.to_lowercase();
        let words = line.split(|letter: char| !letter.is_alphanumeric());
        for word in words.filter(|word| !word.is_empty()) {
            machines[number % MACHINES].record(word, 1);
        }
    }
    let all = Summary::merge(&machines, COUNTERS, seed);
    let mut out = io::stdout().lock();
    for row in all.top(SHOWN) {
        writeln!(out, "{:>9} to {:>9}  {}", row.lower, row.upper, row.id)?;
    }
    writeln!(
        out,
        "of {} words; none that has no counter came more often than {} times",
        all.total(),
        all.unlisted_max()
    )
}
