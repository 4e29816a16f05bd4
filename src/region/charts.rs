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
}

impl ChartCache {
    /// The last answer to a question and its age, fresh or not.
    pub fn get(&self, question: &[u8], now_ms: u64) -> Option<(&[u8], u64)> {
        let entry = self.entries.get(question)?;
        // Where the clock was set back nobody knows: then it is as old as that may be.
        Some((&entry.answer, now_ms.abs_diff(entry.asked_ms)))
    }

    /// Keeps an answer to a question that was asked at that time. Where room is short, the oldest
    /// answers go.
    pub fn put(&mut self, question: &[u8], answer: Vec<u8>, asked_ms: u64) {
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
                caches[board].put(&question, vec![0; 100_000], step as u64);
                assert!(caches[board].get(&question, 0).is_some());
                let held: usize = caches.iter().map(|cache| cache.bytes).sum();
                assert!(held <= 2 * MAX_INSTANCE_BYTES + BOARDS * 100_008, "{held}");
                assert_eq!(HELD.with(Cell::get).bytes, held);
            }
        }
        // One alone has as much as ever.
        caches.truncate(1);
        for number in 0..100_u64 {
            caches[0].put(&number.to_be_bytes(), vec![0; 100_000], number);
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
            cache.put(&number.to_be_bytes(), vec![0; 50_000], number);
            assert!(cache.bytes <= MAX_CHART_CACHE_BYTES && cache.entries.len() <= MAX_ENTRIES);
        }
        assert!(cache.get(&9_999_u64.to_be_bytes(), 0).is_some());
        assert!(cache.get(&0_u64.to_be_bytes(), 0).is_none());
        for number in 0..1_000_u64 {
            cache.put(&number.to_be_bytes(), vec![0; 10], 20_000 + number);
        }
        assert_eq!(cache.entries.len(), MAX_ENTRIES);
        cache.put(b"huge", vec![0; MAX_CHART_CACHE_BYTES + 1], 99_999);
        assert!(cache.get(b"huge", 0).is_none());
    }
}
