//! Decodes any bytes, with their own checksum and with the right one, and uses what comes out.

#![no_main]

use hitparade_summary::{Seed, Summary};
use libfuzzer_sys::fuzz_target;

const SEED: Seed = Seed::from_bytes([3; 16]);

fuzz_target!(|bytes: &[u8]| {
    let _ = Summary::decode(bytes, SEED);
    let mut signed = bytes.to_vec();
    signed.extend_from_slice(&crc32fast::hash(bytes).to_le_bytes());
    let Ok(mut summary) = Summary::decode(&signed, SEED) else {
        return;
    };
    let encoded = summary.encode();
    let again = Summary::decode(&encoded, SEED).expect("what was encoded decodes");
    assert_eq!(again.encode(), encoded);
    assert!(summary.rows().all(|row| row.lower <= row.upper));
    let _ = Summary::merge([&summary, &again], 10, SEED);
    summary.record("new", 1);
    summary.truncate(5);
});
