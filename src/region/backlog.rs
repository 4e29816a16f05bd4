//! How much of a chart readers may leave unread.

use std::collections::VecDeque;

/// What may have been sent to a reader since it was last heard of. A chart of ten posts is 2.5 kB
/// and comes every 2 s at most: a quarter of an hour of them.
pub const MAX_UNHEARD_BYTES: usize = 1 << 20;
/// However much that is, a reader has so long to be heard of again.
pub const MIN_UNHEARD_MS: u64 = 30_000;
/// Messages that are remembered: of more of them, the unread ones are less than the limit anyway
/// or half an hour old.
const MAX_MESSAGES: usize = 1_024;

/// The messages of one chart: the same for all its readers, so their number does not matter.
#[derive(Debug, Default)]
pub struct Backlog {
    /// When they were sent, and their bytes; the newest last.
    sent: VecDeque<(u64, usize)>,
}

impl Backlog {
    pub fn add(&mut self, now_ms: u64, bytes: usize) {
        if self.sent.len() >= MAX_MESSAGES {
            self.sent.pop_front();
        }
        self.sent.push_back((now_ms, bytes));
    }

    /// The moment since which a reader must have been heard of, or more than
    /// [`MAX_UNHEARD_BYTES`] were sent to it since; 0 where there was not so much.
    pub fn heard_since_ms(&self, now_ms: u64) -> u64 {
        let mut unheard = 0;
        let passes_limit = |(_, bytes): &&(u64, usize)| {
            unheard += bytes;
            unheard > MAX_UNHEARD_BYTES
        };
        let message = self.sent.iter().rev().find(passes_limit);
        message.map_or(0, |(sent_ms, _)| {
            (*sent_ms).min(now_ms.saturating_sub(MIN_UNHEARD_MS))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_small_charts_need_not_be_heard_of_for_a_quarter_of_an_hour() {
        let mut backlog = Backlog::default();
        let message = |number: u64| 1_000_000 + 2_000 * number;
        let sent = (0..).take_while(|number| {
            backlog.add(message(*number), 2_400);
            backlog.heard_since_ms(message(*number)) == 0
        });
        assert_eq!(sent.count(), 436);
    }

    #[test]
    fn readers_of_large_charts_have_half_a_minute() {
        let mut backlog = Backlog::default();
        for second in 0..100 {
            backlog.add(1_000_000 + second * 1_000, 400_000);
        }
        // Three messages pass the limit; that was 97 s ago at the first look.
        assert_eq!(backlog.heard_since_ms(1_099_000), 1_099_000 - 30_000);
        assert_eq!(backlog.heard_since_ms(1_200_000), 1_097_000);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut backlog = Backlog::default();
        (0..10_000).for_each(|number| backlog.add(number, 1));
        assert_eq!(backlog.sent.len(), MAX_MESSAGES);
        assert_eq!(backlog.heard_since_ms(10_000_000), 0);
    }
}
