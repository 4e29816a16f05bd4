//! Pages of posts that would come out the same again: what somebody was told a moment ago, others who ask
//! the same are told too, without a turn.
//!
//! # Limit
//! [`MAX_PAGES`] of 20 KB at most, 2.5 MB; at the limit all are forgotten together.

use std::collections::HashMap;

use super::LIVE_MAX_AGE_MS;
use crate::wire::{PostReport, PostRequest, Refusal};

const MAX_PAGES: usize = 128;

type Answered = Result<PostReport, Refusal>;

#[derive(Default)]
pub struct Pages(HashMap<PostRequest, (u64, Answered)>);

impl Pages {
    /// What was answered a moment ago.
    pub fn get(&self, request: &PostRequest, now_ms: u64) -> Option<Answered> {
        let (made_ms, answered) = self.0.get(request)?;
        let age_ms = now_ms.checked_sub(*made_ms)?;
        (age_ms < LIVE_MAX_AGE_MS).then(|| answered.clone())
    }

    /// Keeps an answer that others would get too; that there is too much to do is none.
    pub fn put(&mut self, request: PostRequest, answered: &Answered, now_ms: u64) {
        use Refusal::{NotCounted, NotFound};
        if !matches!(answered, Ok(_) | Err(NotFound | NotCounted { .. })) {
            return;
        }
        if self.0.len() >= MAX_PAGES && !self.0.contains_key(&request) {
            self.0.clear();
        }
        self.0.insert(request, (now_ms, answered.clone()));
    }

    /// Something changed that pages are made of.
    pub fn forget(&mut self) {
        self.0.clear();
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
        let mut pages = Pages::default();
        pages.put(request(1), &Err(Refusal::NotFound), 5_000);
        pages.put(request(2), &Err(Refusal::Busy { retry_after_s: 1 }), 5_000);
        assert_eq!(pages.get(&request(1), 5_999), Some(Err(Refusal::NotFound)));
        assert_eq!(pages.get(&request(1), 6_000), None);
        assert_eq!(pages.get(&request(1), 4_999), None, "the clock went back");
        assert_eq!(pages.get(&request(2), 5_000), None);
        for number in 0..1_000 {
            pages.put(request(number), &Err(Refusal::NotFound), 5_000);
            assert!(pages.0.len() <= MAX_PAGES);
        }
        pages.forget();
        assert_eq!(pages.get(&request(999), 5_000), None);
    }
}
