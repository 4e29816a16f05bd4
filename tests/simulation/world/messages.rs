//! Messages from object to object: they get lost, come late and come twice, and so do their answers.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::host::SendError;

use super::*;

/// What wakes whoever waits for an answer.
pub type Answered = Sender<Result<Vec<u8>, SendError>>;

/// The same, as long as it waits.
pub type Waiting = Rc<RefCell<Option<Answered>>>;

/// Whoever waits for an answer.
#[derive(Clone)]
pub struct Asker {
    limit_ms: u64,
    pub answer: Waiting,
}

impl World {
    /// A message on its way; whoever sent it waits for so long.
    pub(super) fn carry(
        &mut self,
        (limit_ms, answer): (u64, Answered),
        arrives: impl Fn(&mut World, Asker) + 'static,
    ) -> Waiting {
        let arrives = Rc::new(arrives);
        let answer = Rc::new(RefCell::new(Some(answer)));
        for delay_ms in self.deliveries(2 * limit_ms) {
            let asker = Asker {
                limit_ms,
                answer: Rc::clone(&answer),
            };
            let arrives = Rc::clone(&arrives);
            let arrives = move |world: &mut World| arrives(world, asker);
            self.after(delay_ms, Event::Then(Box::new(arrives)));
        }
        let waiting = Rc::clone(&answer);
        let is_over = move |world: &mut World| {
            if let Some(sender) = answer.take() {
                world.is_unanswered(&answer);
                let _ = sender.send(Err(SendError("no answer".into())));
            }
        };
        self.after(limit_ms, Event::Then(Box::new(is_over)));
        waiting
    }

    /// The registry has not told the global object what that asked: it cannot take what a shard tells that
    /// counts anew.
    pub(super) fn is_unanswered(&mut self, waiting: &Waiting) {
        let question = self.global.question.as_ref();
        if question.is_some_and(|question| Rc::ptr_eq(question, waiting)) {
            self.unanswered_ms = self.unanswered_ms.max(self.now_ms);
        }
    }

    /// An answer on its way back.
    pub(super) fn reply(&mut self, asker: Asker, reply: Vec<u8>) {
        let Some(delay_ms) = self.deliveries(asker.limit_ms).first().copied() else {
            return;
        };
        let answered = move |_: &mut World| {
            if let Some(answer) = asker.answer.take() {
                let _ = answer.send(Ok(reply));
            }
        };
        self.after(delay_ms, Event::Then(Box::new(answered)));
    }
}
