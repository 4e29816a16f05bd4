//! Questions of the global object to shards, when somebody looks, and their answers: each may be lost, come
//! twice, or late.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::board::ObjectName;
use hitparade::host::SendError;

use super::global::told_by;
use super::*;

/// Who looks waits a little longer than this.
const ANSWERED_WITHIN_MS: u64 = 1_400;
/// Nobody waits for an answer any longer.
pub(super) const ASKED_FOR_MS: u64 = 5_000;

/// Whoever waits for what a shard has.
type PullAsked = Rc<RefCell<Option<Sender<Result<Vec<u8>, SendError>>>>>;

impl World {
    pub(super) fn pull_asked(
        &mut self,
        asker: Instance,
        object: &ObjectName,
        message: Vec<u8>,
        (limit_ms, answer): (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        self.figures.pulls += 1;
        self.asked_ms = self.now_ms;
        let ObjectName::Shard { board, id } = object else {
            return self.fail(format!("{object:?} is asked what it has"));
        };
        let Some(board) = self.board_of(board) else {
            return;
        };
        let shard = self.node_of(board, id);
        self.say(|| format!("shard {shard} is asked what it has"));
        let answer: PullAsked = Rc::new(RefCell::new(Some(answer)));
        let asked = Rc::clone(&answer);
        let look = move |world: &mut World| {
            if asked.borrow().is_some() {
                world.unanswered_ms = world.unanswered_ms.max(world.now_ms);
            }
        };
        self.after(ANSWERED_WITHIN_MS, Event::Then(Box::new(look)));
        for delay_ms in self.deliveries(limit_ms) {
            let (message, answer) = (message.clone(), Rc::clone(&answer));
            let arrives = move |world: &mut World| world.pull(asker, shard, message, answer);
            self.after(delay_ms, Event::Then(Box::new(arrives)));
        }
        let is_over = move |_: &mut World| {
            if let Some(answer) = answer.take() {
                let _ = answer.send(Err(SendError("no answer".into())));
            }
        };
        self.after(limit_ms, Event::Then(Box::new(is_over)));
    }

    fn pull(&mut self, asker: Instance, shard: usize, message: Vec<u8>, answer: PullAsked) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let (instance, driver) = self.taker(shard);
        let work = async move {
            let reply = codec::encode(&PullReply(driver.pull(&message).await));
            let answered = move |world: &mut World| {
                world.pull_answered((asker, instance), shard, reply, answer)
            };
            Some(Box::new(answered) as Then)
        };
        let errand = Errand::Other;
        self.start(Owner { instance, errand }, Box::pin(work));
    }

    fn pull_answered(
        &mut self,
        (asker, instance): (Instance, Instance),
        shard: usize,
        reply: Vec<u8>,
        answer: PullAsked,
    ) {
        let node = &self.shards[shard];
        let old = node.old.as_ref();
        let old = old.filter(|old| old.life == instance.life);
        let moment = old.map_or(node.applied, |old| old.applied);
        let ledger = node.ledgers.len() - 1;
        for delay_ms in self.deliveries(8_000) {
            let (reply, answer) = (reply.clone(), Rc::clone(&answer));
            let arrives = move |world: &mut World| {
                // Who asked may have died meanwhile.
                let is_up = asker.node != Node::Global || world.global_is_up();
                let is_there = is_up && world.is_there(asker);
                if let Some(answer) = answer.take().filter(|_| is_there) {
                    let told = codec::decode::<PullReply>(&reply);
                    let told = told.map_err(|error| error.to_string());
                    let told = told.and_then(|PullReply(it)| it.map_err(|it| format!("{it:?}")));
                    if told.is_err() {
                        world.unanswered_ms = world.unanswered_ms.max(world.now_ms);
                    }
                    world.say(|| {
                        let held = told.map(|report| {
                            let report = codec::decode::<ShardReport<'_>>(&report);
                            report.map(|report| told_by(report.push))
                        });
                        format!("shard {shard} told its first {moment} plays: {held:?}")
                    });
                    world.note_due();
                    world.shards[shard].ledgers[ledger].heard(moment);
                    let _ = answer.send(Ok(reply));
                }
            };
            self.after(delay_ms, Event::Then(Box::new(arrives)));
        }
    }
}
