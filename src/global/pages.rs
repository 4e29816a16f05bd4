//! Pages of posts that are being made: who asks for one of them waits for it, and needs no turn.
//!
//! # Limit
//! As many are being made as have a turn.

use std::collections::HashMap;

use crate::wire::{PostReport, PostRequest, Refusal};

/// One that takes longer is made again by whoever asks: who began it may have gone.
pub const MAX_MAKING_MS: u64 = 5_000;

pub type PageAnswer = Result<PostReport, Refusal>;

/// `W` is what wakes somebody who waits.
pub struct Pages<W>(HashMap<PostRequest, Making<W>>);

struct Making<W> {
    began_ms: u64,
    waiters: Vec<W>,
}

impl<W> Default for Pages<W> {
    fn default() -> Self {
        Pages(HashMap::new())
    }
}

impl<W> Pages<W> {
    /// Waits with whoever makes it; gives the waiter back where nobody does.
    ///
    /// # Errors
    /// The waiter.
    pub fn join(&mut self, request: &PostRequest, waiter: W, now_ms: u64) -> Result<(), W> {
        let making = self.0.get_mut(request);
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
        let making = Making {
            began_ms: now_ms,
            waiters: Vec::new(),
        };
        self.0.insert(request.clone(), making);
    }

    /// It is made. Returns who waits for it.
    pub fn made(&mut self, request: &PostRequest) -> Vec<W> {
        let making = self.0.remove(request);
        making.map_or_else(Vec::new, |making| making.waiters)
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
    fn who_asks_for_one_that_is_being_made_waits_for_it_and_not_for_one_that_nobody_ends() {
        let mut pages = Pages::default();
        assert_eq!(pages.join(&request(1), 'a', 1_000), Err('a'));
        pages.begin(&request(1), 1_000);
        assert_eq!(pages.join(&request(1), 'a', 1_100), Ok(()));
        assert_eq!(pages.join(&request(1), 'b', 5_900), Ok(()));
        assert_eq!(pages.join(&request(1), 'c', 6_000), Err('c'), "too long");
        assert_eq!(pages.join(&request(2), 'c', 1_100), Err('c'));
        let waiters = pages.made(&request(1));
        assert_eq!(waiters, ['a', 'b']);
        assert_eq!(pages.join(&request(1), 'c', 6_100), Err('c'));
    }
}
