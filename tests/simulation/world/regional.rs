//! Readers of a region: charts that a shard asks of the global object for them, with all who wait.

use std::cell::RefCell;

use futures_channel::oneshot::Sender;
use hitparade::filter::Filter;
use hitparade::host::SendError;
use hitparade::region::KeptReply;

use super::*;

/// Charts that were made are remembered for so long.
const REMEMBERED_MS: u64 = 10 * MINUTE_MS;

/// Whoever waits for the answer to a question.
type ChartAsked = Rc<RefCell<Option<Sender<Result<Vec<u8>, SendError>>>>>;

/// A chart that the global object gave to a shard.
pub struct Made {
    question: Vec<u8>,
    reply: Vec<u8>,
    made_ms: u64,
    epoch_ms: u64,
}

impl World {
    /// A reader asks a shard; others ask the same at the same time, and some go away.
    pub(super) fn ask_shard(&mut self) {
        if self.shards.is_empty() {
            return;
        }
        let shard = self.random.below(self.shards.len() as u64) as usize;
        let question = codec::encode(&ChartRequest {
            scope: "global".into(),
            window: WindowRequest::All,
            sort: Sort::Views,
            k_class: 1_000,
            filter: Filter::default(),
        });
        for _ in 0..self.random.between(1, 3) {
            if self.shards[shard].down_until_ms > self.now_ms {
                return;
            }
            let (instance, driver) = self.taker(shard);
            let question = question.clone();
            let work = async move {
                let kept = driver.chart(&question).await;
                let read =
                    move |world: &mut World| world.read_in_region(instance, &question, &kept);
                Some(Box::new(read) as Then)
            };
            let errand = Errand::Other;
            let task = self.start(Owner { instance, errand }, Box::pin(work));
            if !self.calm && self.random.chance(self.profile.hung_up) {
                let in_ms = self.random.skewed(4_000);
                let hang_up = move |world: &mut World| world.executor.drop_task(task);
                self.after(in_ms, Event::Then(Box::new(hang_up)));
            }
        }
    }

    /// The question of a shard on its way to the global object, and the answer on its way back.
    pub(super) fn chart_asked(
        &mut self,
        (path, question): (&'static str, Vec<u8>),
        (limit_ms, answer): (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        let answer = Rc::new(RefCell::new(Some(answer)));
        for delay_ms in self.deliveries(limit_ms) {
            let (question, answer) = (question.clone(), Rc::clone(&answer));
            let arrives = move |world: &mut World| {
                if world.global_is_up() {
                    world.make_chart((path, question), limit_ms, answer);
                }
            };
            self.after(delay_ms, Event::Then(Box::new(arrives)));
        }
        let is_over = move |_: &mut World| {
            if let Some(answer) = answer.take() {
                let _ = answer.send(Err(SendError("no answer".into())));
            }
        };
        self.after(limit_ms, Event::Then(Box::new(is_over)));
    }

    fn make_chart(
        &mut self,
        (path, question): (&'static str, Vec<u8>),
        limit_ms: u64,
        answer: ChartAsked,
    ) {
        // Now and then it has no turn for it.
        if !self.calm && self.random.chance(50) {
            let busy = ChartReply(Err(Refusal::Busy { retry_after_s: 1 }));
            return self.chart_made(&codec::encode(&busy), limit_ms, &answer);
        }
        let asked = question.clone();
        self.ask_for_a_while(
            move |driver| async move {
                match path {
                    "/chart" => driver.chart(&asked).await,
                    _ => driver.chart_if_awake(&asked).await,
                }
            },
            move |world, reply| {
                let (now_ms, epoch_ms) = (world.now_ms, world.epoch_ms);
                let made = &mut world.made;
                made.retain(|made| made.made_ms + REMEMBERED_MS > now_ms);
                made.push(Made {
                    question,
                    reply: reply.to_vec(),
                    made_ms: now_ms,
                    epoch_ms,
                });
                world.chart_made(reply, limit_ms, &answer);
            },
        );
    }

    fn chart_made(&mut self, reply: &[u8], limit_ms: u64, answer: &ChartAsked) {
        for delay_ms in self.deliveries(limit_ms) {
            let (reply, answer) = (reply.to_vec(), Rc::clone(answer));
            let answered = move |_: &mut World| {
                if let Some(answer) = answer.take() {
                    let _ = answer.send(Ok(reply));
                }
            };
            self.after(delay_ms, Event::Then(Box::new(answered)));
        }
    }

    /// What a reader gets was made by the global object, no longer ago than it says, and in no epoch
    /// before the one that the shard knows of, if the global object was told of that one.
    fn read_in_region(&mut self, instance: Instance, question: &[u8], kept: &KeptReply) {
        match codec::decode(&kept.reply) {
            Ok(ChartReply(Ok(_))) => {}
            Ok(ChartReply(Err(Refusal::Waking))) => {
                return self.fail("a reader is told that the global object is waking");
            }
            _ => return,
        }
        let Node::Shard(shard) = instance.node else {
            return;
        };
        let node = &self.shards[shard];
        if node.board > 0 {
            // It asks another global object.
            return;
        }
        let is_current = node.life == instance.life;
        let epoch_ms = node.look(Shard::epoch_ms).filter(|_| is_current);
        let epoch_ms = epoch_ms.map(|epoch_ms| epoch_ms.min(self.told_epoch_ms));
        // The shard's clock may have stepped meanwhile.
        let steps_ms = 2 * self.profile.skew_ms;
        let since_ms = self.now_ms.saturating_sub(kept.age_ms + steps_ms);
        let may_be = |made: &Made| {
            let is_it = made.question == question && made.reply == kept.reply;
            is_it && made.made_ms >= since_ms && made.epoch_ms >= epoch_ms.unwrap_or(0)
        };
        if kept.age_ms < REMEMBERED_MS && !self.made.iter().any(may_be) {
            let age_ms = kept.age_ms;
            let made = self.made.iter();
            let epochs: Vec<u64> = made
                .filter(|made| made.question == question && made.reply == kept.reply)
                .map(|made| made.epoch_ms)
                .collect();
            self.fail(format!(
                "a reader of shard {shard}, which knows of epoch {epoch_ms:?}, gets a chart of {age_ms} ms \
                 ago that was not made since: it was in {epochs:?}"
            ));
        }
    }
}
