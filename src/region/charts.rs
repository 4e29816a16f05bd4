//! Leaderboards that readers of this region asked for. One question to the global object serves all
//! readers who ask within [`FRESH_MS`]; while the global object is away, its last answer serves.
//!
//! Questions and answers are kept encoded, as they were sent: a shard does not look into them.

use std::collections::BTreeMap;

/// An answer is fresh for so long. The Worker keeps it for another second: together that is the 3 s that
/// caches may add to the age of a leaderboard.
pub const FRESH_MS: u64 = 2_000;
/// Where the global object had no turn for a question, the last answer serves for so long before it is
/// asked again. Each question costs a loaded thread a hundredth of a costly chart, and 60 may come a second.
const PUT_OFF_MS: u64 = 4_000;
/// Answers that are kept, and their bytes: 256 leaderboards of 100 places are 3 MB.
const MAX_ENTRIES: usize = 256;
const MAX_BYTES: usize = 4 << 20;

struct Entry {
    answer: Vec<u8>,
    asked_ms: u64,
    /// The global object is not asked again before.
    put_off_until_ms: u64,
}

/// The last answers, by question. Readers choose the questions, so the map compares and does not hash:
/// nobody can make them collide.
#[derive(Default)]
pub struct ChartCache {
    entries: BTreeMap<Vec<u8>, Entry>,
    bytes: usize,
}

impl ChartCache {
    /// The last answer to a question and its age, fresh or not.
    pub fn get(&self, question: &[u8], now_ms: u64) -> Option<(&[u8], u64)> {
        let entry = self.entries.get(question)?;
        Some((&entry.answer, now_ms.saturating_sub(entry.asked_ms)))
    }

    /// Keeps an answer to a question that was asked at that time. Where room is short, the oldest
    /// answers go.
    pub fn put(&mut self, question: &[u8], answer: Vec<u8>, asked_ms: u64) {
        self.remove(&question.to_vec());
        let size = question.len() + answer.len();
        while !self.entries.is_empty()
            && (self.entries.len() >= MAX_ENTRIES || self.bytes + size > MAX_BYTES)
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.asked_ms);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.remove(&oldest);
            }
        }
        if size <= MAX_BYTES {
            self.bytes += size;
            let entry = Entry {
                answer,
                asked_ms,
                put_off_until_ms: 0,
            };
            self.entries.insert(question.to_vec(), entry);
        }
    }

    /// Notes that the global object had no turn for a question: the last answer serves for a while.
    pub fn put_off(&mut self, question: &[u8], now_ms: u64) {
        if let Some(entry) = self.entries.get_mut(question) {
            entry.put_off_until_ms = now_ms + PUT_OFF_MS;
        }
    }

    /// Whether a question was put off, so that its last answer serves, however old.
    pub fn is_put_off(&self, question: &[u8], now_ms: u64) -> bool {
        let entry = self.entries.get(question);
        entry.is_some_and(|entry| {
            // A clock that was set back puts nothing off for longer.
            (now_ms..=now_ms + PUT_OFF_MS).contains(&entry.put_off_until_ms)
        })
    }

    fn remove(&mut self, question: &Vec<u8>) {
        if let Some(entry) = self.entries.remove(question) {
            self.bytes -= question.len() + entry.answer.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_kept_with_its_age() {
        let mut cache = ChartCache::default();
        assert_eq!(cache.get(b"q", 0), None);
        cache.put(b"q", b"first".to_vec(), 1_000);
        cache.put(b"q", b"second".to_vec(), 2_000);
        assert_eq!(cache.get(b"q", 5_000), Some((&b"second"[..], 3_000)));
        assert_eq!(cache.bytes, 7);
    }

    #[test]
    fn a_question_that_had_no_turn_is_put_off_for_a_while_and_once_only() {
        let mut cache = ChartCache::default();
        cache.put_off(b"q", 1_000);
        assert!(!cache.is_put_off(b"q", 1_000), "there is nothing to show");
        cache.put(b"q", b"first".to_vec(), 1_000);
        cache.put_off(b"q", 4_000);
        assert!(cache.is_put_off(b"q", 4_000 + PUT_OFF_MS));
        assert!(!cache.is_put_off(b"q", 4_001 + PUT_OFF_MS));
        assert!(!cache.is_put_off(b"q", 3_999), "the clock was set back");
        cache.put(b"q", b"second".to_vec(), 5_000);
        assert!(!cache.is_put_off(b"q", 5_000));
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_go_first() {
        let mut cache = ChartCache::default();
        for number in 0..10_000_u64 {
            cache.put(&number.to_be_bytes(), vec![0; 50_000], number);
            assert!(cache.bytes <= MAX_BYTES && cache.entries.len() <= MAX_ENTRIES);
        }
        assert!(cache.get(&9_999_u64.to_be_bytes(), 0).is_some());
        assert!(cache.get(&0_u64.to_be_bytes(), 0).is_none());
        for number in 0..1_000_u64 {
            cache.put(&number.to_be_bytes(), vec![0; 10], 20_000 + number);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        cache.put(b"huge", vec![0; MAX_BYTES + 1], 99_999);
        assert!(cache.get(b"huge", 0).is_none());
    }
}
