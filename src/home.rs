//! A batch's home: which shard decides about it, whatever the Workers know that see it.
//!
//! A sender fixes it when it seals the batch, and sends the same with each attempt. To senders it is
//! an opaque text that answers gave them, `NA/4`: a region, and how many shards it had then. The
//! region's id is percent-encoded; of a region that was made again, its number stands between
//! (`NA/1/4`), since the shards of the one before are others. A server that names the region of each
//! play needs the number alone (`/4`).

use std::fmt;
use std::hash::Hasher;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use siphasher::sip::SipHasher13;

use crate::topology::{MAX_SHARDS, Region, check_region_id, key_of, parts_of_key};

/// An id of 64 bytes, three characters each, two numbers, and what stands between them.
const MAX_HOME_BYTES: usize = 3 * 64 + 10 + 4 + 2;
/// What addresses leave as it is (RFC 3986). The text stands in headers and in scripts.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a batch was at home when it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    /// [`Region::key`]. None where each play of the batch names its region.
    pub key: Option<String>,
    /// How many shards it had.
    pub shards: u32,
}

impl Home {
    /// The home of batches that are sealed now, by the region of their sender.
    pub fn of(region: &Region) -> Self {
        Home {
            key: Some(region.key().into_owned()),
            shards: region.shards,
        }
    }

    /// Reads what a sender gives; none where no answer of ours can have said it.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_HOME_BYTES {
            return None;
        }
        let (region, shards) = text.rsplit_once('/')?;
        let shards = read_number(shards).filter(|shards| *shards <= MAX_SHARDS)?;
        if region.is_empty() {
            return Some(Home { key: None, shards });
        }
        let (region_id, incarnation) = match region.split_once('/') {
            Some((region_id, incarnation)) => (region_id, read_number(incarnation)?),
            None => (region, 0),
        };
        let region_id = percent_decode_str(region_id).decode_utf8().ok()?;
        check_region_id(&region_id).ok()?;
        let key = key_of(&region_id, incarnation).into_owned();
        let key = Some(key);
        Some(Home { key, shards })
    }
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(key) = &self.key {
            let (region_id, incarnation) = parts_of_key(key);
            utf8_percent_encode(region_id, ENCODED).fmt(f)?;
            if incarnation > 0 {
                write!(f, "/{incarnation}")?;
            }
        }
        write!(f, "/{}", self.shards)
    }
}

/// A number from 1 on, as it is written here: one text for each.
fn read_number(text: &str) -> Option<u32> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| is_plain)
}

/// Spreads senders over the shards of a region.
pub fn shard_of(hash: u64, shards: u32) -> u32 {
    (hash % u64::from(shards.max(1))) as u32
}

/// The fixed hash of a sender's name for itself, or of its key: SipHash-1-3 with a zero key. It must
/// never change: a repeat would meet another decider.
pub fn hash_of(name: &[u8]) -> u64 {
    let mut hasher = SipHasher13::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_is_read_as_it_is_written() {
        for (text, key, shards) in [
            ("NA/4", Some("NA"), 4),
            ("NA/1/4", Some("NA/1"), 4),
            ("/1000", None, 1_000),
            ("a%20%C3%A9%22%3C%27/2/1", Some("a é\"<'/2"), 1),
        ] {
            let home = Home::read(text).unwrap();
            assert_eq!((home.key.as_deref(), home.shards), (key, shards), "{text}");
            assert_eq!(home.to_string(), text);
        }
        let longest = Region {
            incarnation: u32::MAX,
            ..Region::new("\u{e9}".repeat(32), "", MAX_SHARDS)
        };
        let longest = Home::of(&longest);
        assert_eq!(Home::read(&longest.to_string()), Some(longest));
    }

    #[test]
    fn what_no_answer_said_is_no_home() {
        for text in [
            "",
            "/",
            "4",
            "NA",
            "NA/",
            "NA/0",
            "NA/04",
            "NA/+4",
            "NA/-1",
            "NA/1001",
            "NA/4 ",
            "NA/0/4",
            "NA/01/4",
            "NA//4",
            "//4",
            "/NA/4",
            "NA/x/4",
            "NA/1/2/4",
            "a%2Fb/4",
            "global/1",
            "%FF/1",
            "%0A/1",
            "NA/99999999999",
            "../1",
        ] {
            assert_eq!(Home::read(text), None, "{text:?}");
        }
        assert_eq!(Home::read(&format!("{}/4", "%41".repeat(65))), None);
    }

    #[test]
    fn senders_spread_evenly_and_find_their_shard_for_ever() {
        let mut senders = [0; 10];
        for sender in 0..10_000 {
            senders[shard_of(hash_of(sender.to_string().as_bytes()), 10) as usize] += 1;
        }
        let even = 850..1150;
        assert!(senders.iter().all(|of| even.contains(of)), "{senders:?}");
        assert_eq!(hash_of(b"k3J9"), 0xfda9_1e24_0a02_f167);
        assert_eq!(hash_of(b""), 0xd1fb_a762_150c_532c);
    }
}
