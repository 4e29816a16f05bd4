//! How much of a chart readers may leave unread.

use std::collections::VecDeque;

/// Bytes that may be sent to a reader between two signs of life. A chart of ten posts is 2.5 kB and is
/// sent every 2 s at most, so this is a quarter of an hour of charts.
pub const MAX_UNHEARD_BYTES: usize = 1 << 20;
/// A reader is given at least so long to show a sign of life, however much was sent to it.
pub const MIN_UNHEARD_MS: u64 = 30_000;
/// Messages that are remembered. The limit above is reached within fewer messages, unless they are small:
/// then the oldest remembered one is half an hour old.
const MAX_MESSAGES: usize = 1_024;

/// The messages of one chart: the same for all its readers, so their number does not matter.
#[derive(Debug, Default)]
pub struct Backlog {
    /// When each message was sent, and its bytes; the newest last.
    sent: VecDeque<(u64, usize)>,
}

impl Backlog {
    pub fn add(&mut self, now_ms: u64, bytes: usize) {
        if self.sent.len() >= MAX_MESSAGES {
            self.sent.pop_front();
        }
        self.sent.push_back((now_ms, bytes));
    }

    /// The time after which a reader must have shown a sign of life: since then, more than
    /// [`MAX_UNHEARD_BYTES`] were sent to it. 0 where less was sent in all.
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
    fn readers_of_small_charts_need_not_be_heard_from_for_a_quarter_of_an_hour() {
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
