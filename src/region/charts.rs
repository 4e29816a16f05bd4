//! Leaderboards that readers of this region asked for. One question to the global object serves all
//! readers who ask within [`FRESH_MS`]; while the global object is away, its last answer serves.
//!
//! Questions and answers are kept encoded, as they were sent: a shard does not look into them.

use std::cell::Cell;
use std::collections::BTreeMap;

/// An answer is fresh for so long. The Worker keeps it for another second: together that is the 3 s that
/// caches may add to the age of a leaderboard.
pub const FRESH_MS: u64 = 2_000;
/// Where the global object had no turn for a question, the last answer serves for so long before it is
/// asked again. Each question costs a loaded thread a hundredth of a costly chart, and 60 may come a second.
const PUT_OFF_MS: u64 = 4_000;
/// Where the clock was set back, nobody knows how old the answers are: older than any that is fresh or is
/// not called stale.
const OLD_MS: u64 = 60_000;
/// Answers that are kept, and their bytes: 256 leaderboards of 100 places are 3 MB.
const MAX_ENTRIES: usize = 256;
const MAX_CHART_CACHE_BYTES: usize = 4 << 20;
/// Bytes that all shards of an instance keep, of all boards: over it, a shard that keeps more gives way down to
/// its part of it; over twice as much, down to the answer that it was asked for last. So who asks for charts
/// of a hundred boards takes 16 MiB of the 96 of all, and not 400.
const MAX_INSTANCE_BYTES: usize = 8 << 20;

thread_local! {
    /// What all caches of this instance hold, and how many hold anything.
    static HELD: Cell<HeldByCaches> = const { Cell::new(HeldByCaches { bytes: 0, caches: 0 }) };
}

#[derive(Clone, Copy)]
struct HeldByCaches {
    bytes: usize,
    caches: usize,
}

struct KeptAnswer {
    answer: Vec<u8>,
    asked_ms: u64,
    /// The global object is not asked again before.
    put_off_until_ms: u64,
}

/// The last answers, by question. Readers choose the questions, so the map compares and does not hash:
/// nobody can make them collide.
#[derive(Default)]
pub struct ChartCache {
    entries: BTreeMap<Vec<u8>, KeptAnswer>,
    bytes: usize,
    looked_ms: u64,
}

impl ChartCache {
    /// The last answer to a question and its age, fresh or not.
    pub fn get(&mut self, question: &[u8], now_ms: u64) -> Option<(&[u8], u64)> {
        self.look_at_the_clock(now_ms);
        let entry = self.entries.get(question)?;
        Some((&entry.answer, now_ms.saturating_sub(entry.asked_ms)))
    }

    /// Keeps an answer to a question that was asked at that time. Where room is short, the oldest
    /// answers go.
    pub fn put(&mut self, question: &[u8], answer: Vec<u8>, asked_ms: u64, now_ms: u64) {
        self.look_at_the_clock(now_ms);
        let asked_ms = not_ahead(asked_ms, now_ms);
        self.remove(&question.to_vec());
        let size = question.len() + answer.len();
        while !self.entries.is_empty()
            && (self.entries.len() >= MAX_ENTRIES || self.bytes + size > most_bytes(size))
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.asked_ms);
            if let Some(oldest) = oldest.map(|(question, _)| question.clone()) {
                self.remove(&oldest);
            }
        }
        if size <= MAX_CHART_CACHE_BYTES {
            let is_first = self.entries.is_empty();
            hold(|held| HeldByCaches {
                bytes: held.bytes + size,
                caches: held.caches + usize::from(is_first),
            });
            self.bytes += size;
            let entry = KeptAnswer {
                answer,
                asked_ms,
                put_off_until_ms: 0,
            };
            self.entries.insert(question.to_vec(), entry);
        }
    }

    /// Notes that the global object had no turn for a question: the last answer serves for a while.
    pub fn put_off(&mut self, question: &[u8], now_ms: u64) {
        self.look_at_the_clock(now_ms);
        if let Some(entry) = self.entries.get_mut(question) {
            entry.put_off_until_ms = now_ms + PUT_OFF_MS;
        }
    }

    /// Whether a question was put off, so that its last answer serves, however old.
    pub fn is_put_off(&mut self, question: &[u8], now_ms: u64) -> bool {
        self.look_at_the_clock(now_ms);
        let entry = self.entries.get(question);
        entry.is_some_and(|entry| now_ms <= entry.put_off_until_ms)
    }

    /// Answers of before the clock was set back are too old for good: else they would be fresh again when it
    /// is there once more.
    fn look_at_the_clock(&mut self, now_ms: u64) {
        if now_ms < self.looked_ms {
            for entry in self.entries.values_mut() {
                let age_ms = self.looked_ms.saturating_sub(entry.asked_ms);
                entry.asked_ms = now_ms.saturating_sub(age_ms.max(OLD_MS));
                entry.put_off_until_ms = 0;
            }
        }
        self.looked_ms = now_ms;
    }

    fn remove(&mut self, question: &Vec<u8>) {
        if let Some(entry) = self.entries.remove(question) {
            let size = question.len() + entry.answer.len();
            self.bytes -= size;
            let was_last = self.entries.is_empty();
            hold(|held| HeldByCaches {
                bytes: held.bytes - size,
                caches: held.caches - usize::from(was_last),
            });
        }
    }
}

/// When a question was asked, where that is not to come.
fn not_ahead(asked_ms: u64, now_ms: u64) -> u64 {
    match asked_ms > now_ms {
        true => now_ms.saturating_sub(OLD_MS),
        false => asked_ms,
    }
}

impl Drop for ChartCache {
    fn drop(&mut self) {
        hold(|held| HeldByCaches {
            bytes: held.bytes - self.bytes,
            caches: held.caches - usize::from(!self.entries.is_empty()),
        });
    }
}

fn hold(change: impl FnOnce(HeldByCaches) -> HeldByCaches) {
    HELD.with(|held| held.set(change(held.get())));
}

/// What a shard may keep that takes so many bytes more.
fn most_bytes(more: usize) -> usize {
    let HeldByCaches { bytes, caches } = HELD.with(Cell::get);
    match bytes + more {
        all if all <= MAX_INSTANCE_BYTES => MAX_CHART_CACHE_BYTES,
        all if all <= 2 * MAX_INSTANCE_BYTES => {
            MAX_CHART_CACHE_BYTES.min(MAX_INSTANCE_BYTES / caches.max(1))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_answer_is_kept_with_its_age() {
        let mut cache = ChartCache::default();
        assert_eq!(cache.get(b"q", 0), None);
        cache.put(b"q", b"first".to_vec(), 1_000, 1_000);
        cache.put(b"q", b"second".to_vec(), 2_000, 2_000);
        assert_eq!(cache.get(b"q", 5_000), Some((&b"second"[..], 3_000)));
        assert_eq!(cache.bytes, 7);
    }

    #[test]
    fn where_the_clock_was_set_back_no_answer_of_before_is_ever_fresh_again() {
        const SET_BACK_MS: u64 = 3_600_000;
        let asked_ms = 10 * SET_BACK_MS;
        for looked_ms in [0, 1, SET_BACK_MS / 2] {
            let mut cache = ChartCache::default();
            cache.put(b"q", b"of before".to_vec(), asked_ms, asked_ms);
            cache.put(b"r", b"of before".to_vec(), asked_ms, asked_ms);
            cache.put(
                b"old",
                b"of long before".to_vec(),
                asked_ms - 7 * OLD_MS,
                asked_ms,
            );
            cache.put_off(b"q", asked_ms);
            let back_ms = asked_ms - SET_BACK_MS + looked_ms;
            // Whatever is asked, it is noticed.
            assert!(!cache.is_put_off(b"r", back_ms), "the clock was set back");
            assert_eq!(cache.get(b"old", back_ms).unwrap().1, 7 * OLD_MS);
            for now_ms in [back_ms, asked_ms - 1, asked_ms, asked_ms + FRESH_MS] {
                for question in [b"q", b"r"] {
                    let (_, age_ms) = cache.get(question, now_ms).unwrap();
                    assert!(age_ms >= OLD_MS, "{age_ms} at {now_ms}");
                }
                assert!(!cache.is_put_off(b"q", now_ms));
            }
            cache.put(b"q", b"of now".to_vec(), asked_ms, asked_ms);
            assert_eq!(cache.get(b"q", asked_ms + 1).unwrap().1, 1);
        }
    }

    #[test]
    fn a_question_that_had_no_turn_is_put_off_for_a_while_and_once_only() {
        let mut cache = ChartCache::default();
        cache.put_off(b"q", 1_000);
        assert!(!cache.is_put_off(b"q", 1_000), "there is nothing to show");
        cache.put(b"q", b"first".to_vec(), 1_000, 1_000);
        cache.put_off(b"q", 4_000);
        assert!(cache.is_put_off(b"q", 4_000 + PUT_OFF_MS));
        assert!(!cache.is_put_off(b"q", 4_001 + PUT_OFF_MS));
        assert!(!cache.is_put_off(b"q", 3_999), "the clock was set back");
        cache.put(b"q", b"second".to_vec(), 5_000, 5_000);
        assert!(!cache.is_put_off(b"q", 5_000));
    }

    #[test]
    fn what_all_shards_of_an_instance_keep_is_bounded_and_each_keeps_its_last_answer() {
        const BOARDS: usize = 300;
        let mut caches: Vec<ChartCache> = (0..BOARDS).map(|_| ChartCache::default()).collect();
        for one_after_another in [true, false] {
            for step in 0..BOARDS * 50 {
                let (board, question) = match one_after_another {
                    true => (step / 50, step % 50),
                    false => (step % BOARDS, step / BOARDS),
                };
                let question = question.to_be_bytes();
                caches[board].put(&question, vec![0; 100_000], step as u64, step as u64);
                assert!(caches[board].get(&question, step as u64).is_some());
                let held: usize = caches.iter().map(|cache| cache.bytes).sum();
                assert!(held <= 2 * MAX_INSTANCE_BYTES + BOARDS * 100_008, "{held}");
                assert_eq!(HELD.with(Cell::get).bytes, held);
            }
        }
        // One alone has as much as ever.
        caches.truncate(1);
        for number in 0..100_u64 {
            caches[0].put(&number.to_be_bytes(), vec![0; 100_000], number, number);
        }
        assert!(caches[0].bytes > MAX_CHART_CACHE_BYTES - 200_000);
        caches.clear();
        let HeldByCaches { bytes, caches } = HELD.with(Cell::get);
        assert_eq!((bytes, caches), (0, 0));
    }

    #[test]
    fn number_and_bytes_are_bounded_and_the_oldest_go_first() {
        let mut cache = ChartCache::default();
        for number in 0..10_000_u64 {
            cache.put(&number.to_be_bytes(), vec![0; 50_000], number, number);
            assert!(cache.bytes <= MAX_CHART_CACHE_BYTES && cache.entries.len() <= MAX_ENTRIES);
        }
        assert!(cache.get(&9_999_u64.to_be_bytes(), 9_999).is_some());
        assert!(cache.get(&0_u64.to_be_bytes(), 9_999).is_none());
        for number in 0..1_000_u64 {
            cache.put(
                &number.to_be_bytes(),
                vec![0; 10],
                20_000 + number,
                20_000 + number,
            );
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        cache.put(b"huge", vec![0; MAX_CHART_CACHE_BYTES + 1], 99_999, 99_999);
        assert!(cache.get(b"huge", 99_999).is_none());
    }
}
