//! Pages of posts that would come out the same again: what somebody was told a moment ago, others who ask
//! the same are told too, without a turn; and who asks for one that is being made waits for it.
//!
//! # Limit
//! [`MAX_PAGES`] of 20 KB at most, 2.5 MB; at the limit all are forgotten together. As many as have a turn
//! are being made.

use std::collections::HashMap;

use super::LIVE_MAX_AGE_MS;
use crate::wire::{PostReport, PostRequest, Refusal};

const MAX_PAGES: usize = 128;
/// One that takes longer is made again by whoever asks: who began it may have gone.
pub const MAX_MAKING_MS: u64 = 5_000;

pub type Answered = Result<PostReport, Refusal>;

/// `W` is what wakes somebody who waits.
pub struct Pages<W> {
    kept: HashMap<PostRequest, (u64, Answered)>,
    making: HashMap<PostRequest, Making<W>>,
}

struct Making<W> {
    began_ms: u64,
    waiters: Vec<W>,
}

impl<W> Default for Pages<W> {
    fn default() -> Self {
        Pages {
            kept: HashMap::new(),
            making: HashMap::new(),
        }
    }
}

impl<W> Pages<W> {
    /// What was answered a moment ago.
    pub fn get(&self, request: &PostRequest, now_ms: u64) -> Option<Answered> {
        let (made_ms, answered) = self.kept.get(request)?;
        let age_ms = now_ms.checked_sub(*made_ms)?;
        (age_ms < LIVE_MAX_AGE_MS).then(|| answered.clone())
    }

    /// Waits with whoever makes it; gives the waiter back where nobody does.
    ///
    /// # Errors
    /// The waiter.
    pub fn join(&mut self, request: &PostRequest, waiter: W, now_ms: u64) -> Result<(), W> {
        let making = self.making.get_mut(request);
        match making.filter(|it| now_ms.abs_diff(it.began_ms) < MAX_MAKING_MS) {
            Some(making) => {
                making.waiters.push(waiter);
                Ok(())
            }
            None => Err(waiter),
        }
    }

    /// Somebody will have a turn, and makes it then.
    pub fn begin(&mut self, request: &PostRequest, now_ms: u64) {
        let waiters = Vec::new();
        let making = Making {
            began_ms: now_ms,
            waiters,
        };
        self.making.insert(request.clone(), making);
    }

    /// It is made. Keeps an answer that others would get too; returns who waits for it.
    pub fn made(&mut self, request: PostRequest, answered: &Answered, now_ms: u64) -> Vec<W> {
        use Refusal::{NotCounted, NotFound};
        let making = self.making.remove(&request);
        if matches!(answered, Ok(_) | Err(NotFound | NotCounted { .. })) {
            if self.kept.len() >= MAX_PAGES && !self.kept.contains_key(&request) {
                self.kept.clear();
            }
            self.kept.insert(request, (now_ms, answered.clone()));
        }
        making.map_or_else(Vec::new, |making| making.waiters)
    }

    /// Something changed that pages are made of.
    pub fn forget(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::WindowRequest;

    fn request(number: usize) -> PostRequest {
        PostRequest {
            post_id: format!("post {number}"),
            scope: "NA".into(),
            window: WindowRequest::All,
            hidden_too: false,
        }
    }

    #[test]
    fn an_answer_serves_for_a_moment_and_a_refusal_for_its_asker_alone() {
        let mut pages = Pages::<u8>::default();
        pages.made(request(1), &Err(Refusal::NotFound), 5_000);
        pages.made(request(2), &Err(Refusal::Busy { retry_after_s: 1 }), 5_000);
        assert_eq!(pages.get(&request(1), 5_999), Some(Err(Refusal::NotFound)));
        assert_eq!(pages.get(&request(1), 6_000), None);
        assert_eq!(pages.get(&request(1), 4_999), None, "the clock went back");
        assert_eq!(pages.get(&request(2), 5_000), None);
        for number in 0..1_000 {
            pages.made(request(number), &Err(Refusal::NotFound), 5_000);
            assert!(pages.kept.len() <= MAX_PAGES);
        }
        pages.forget();
        assert_eq!(pages.get(&request(999), 5_000), None);
    }

    #[test]
    fn who_asks_for_one_that_is_being_made_waits_for_it_and_not_for_one_that_nobody_ends() {
        let mut pages = Pages::default();
        assert_eq!(pages.join(&request(1), 'a', 1_000), Err('a'));
        pages.begin(&request(1), 1_000);
        assert_eq!(pages.join(&request(1), 'a', 1_100), Ok(()));
        assert_eq!(pages.join(&request(1), 'b', 5_900), Ok(()));
        assert_eq!(pages.join(&request(1), 'c', 6_000), Err('c'), "too long");
        assert_eq!(pages.join(&request(2), 'c', 1_100), Err('c'));
        let waiters = pages.made(request(1), &Err(Refusal::NotFound), 6_100);
        assert_eq!(waiters, ['a', 'b']);
        assert_eq!(pages.join(&request(1), 'c', 6_100), Err('c'));
    }
}
