//! Charts that readers of this region ask for: one question to the global object serves all who
//! wait for it.

use std::collections::BTreeMap;
use std::rc::Rc;

use futures_channel::oneshot;

use super::super::charts::{ChartCache, FRESH_MS};
use super::Inner;
use crate::codec;
use crate::host::{Host, SendError};
use crate::wire::{ChartReply, KeptChart, Refusal};

/// How long readers wait for the global object before they get the last answer that there is.
const CHART_TIMEOUT_MS: u64 = 3_000;

/// The answers that are known, and the questions that are under way.
#[derive(Default)]
pub struct Charts {
    kept: ChartCache,
    /// How often everything was forgotten: an answer to a question that was asked before is not kept.
    times_forgot: u64,
    /// Questions that are under way.
    questions: BTreeMap<Vec<u8>, OpenQuestion>,
}

/// A question to the global object, and who waits for its answer.
struct OpenQuestion {
    asked_ms: u64,
    waiters: Vec<oneshot::Sender<WaiterAnswer>>,
}

/// What waiters are told: a refusal, where there was one; otherwise they look among the known answers.
type WaiterAnswer = Option<Rc<[u8]>>;

/// A leaderboard as this object knows it.
pub struct KeptReply {
    /// An encoded [`ChartReply`].
    pub reply: Vec<u8>,
    pub age_ms: u64,
    pub stale: bool,
}

impl KeptReply {
    /// The answer where there is none: the global object is away.
    fn nothing() -> Self {
        let refusal = Refusal::Storage("the global object does not answer".into());
        KeptReply {
            reply: codec::encode(&ChartReply(Err(refusal))),
            age_ms: 0,
            stale: true,
        }
    }

    pub fn as_sent(&self) -> KeptChart<'_> {
        KeptChart {
            age_ms: self.age_ms,
            stale: self.stale,
            reply: &self.reply,
        }
    }
}

impl Charts {
    /// Forgets all answers: counting has begun anew.
    pub fn forget(&mut self) {
        self.kept = ChartCache::default();
        self.times_forgot += 1;
    }

    /// Waits with whoever asks already; `None` where the caller is the one to ask. A question
    /// whose answer is overdue is asked again.
    fn join(&mut self, question: &[u8], now_ms: u64) -> Option<oneshot::Receiver<WaiterAnswer>> {
        if let Some(under_way) = self.questions.get_mut(question)
            && now_ms.abs_diff(under_way.asked_ms) < 2 * CHART_TIMEOUT_MS
        {
            let (sender, answered) = oneshot::channel();
            under_way.waiters.push(sender);
            return Some(answered);
        }
        let asked = OpenQuestion {
            asked_ms: now_ms,
            waiters: Vec::new(),
        };
        self.questions.insert(question.to_vec(), asked);
        None
    }

    fn kept(&mut self, question: &[u8], now_ms: u64, max_age_ms: u64) -> Option<KeptReply> {
        let (reply, age_ms) = self.kept.get(question, now_ms)?;
        let stale = age_ms > FRESH_MS + CHART_TIMEOUT_MS;
        (age_ms <= max_age_ms).then(|| KeptReply {
            reply: reply.to_vec(),
            age_ms,
            stale,
        })
    }
}

impl<H: Host> Inner<H> {
    /// A leaderboard, as the global object answers: one question serves all who wait for it.
    pub async fn chart(&self, question: &[u8]) -> KeptReply {
        self.chart_within(question, FRESH_MS).await
    }

    /// A leaderboard, asked for from now on.
    pub async fn chart_of_now(&self, question: &[u8]) -> KeptReply {
        if self.charts.borrow().questions.contains_key(question) {
            // The answer to that may be older.
            self.chart(question).await;
        }
        self.chart_within(question, 0).await
    }

    async fn chart_within(&self, question: &[u8], fresh_ms: u64) -> KeptReply {
        let is_put_off = {
            let mut charts = self.charts.borrow_mut();
            charts.kept.is_put_off(question, self.host.now_ms())
        };
        let serves_ms = if is_put_off { u64::MAX } else { fresh_ms };
        if let Some(kept) = self.kept_chart(question, serves_ms) {
            return kept;
        }
        let joined = (self.charts.borrow_mut()).join(question, self.host.now_ms());
        let refusal = match joined {
            // Fresh, or the old one if there was no answer.
            Some(answered) => self.host.within(CHART_TIMEOUT_MS, answered).await,
            None => Some(Ok(self.ask_for_chart(question).await)),
        };
        let kept = self.kept_chart(question, u64::MAX);
        match refusal {
            // Where there is too much to do, the last that is known serves.
            Some(Ok(Some(refusal))) if kept.is_none() || !is_busy(&refusal) => KeptReply {
                reply: refusal.to_vec(),
                age_ms: 0,
                stale: false,
            },
            _ => kept.unwrap_or_else(KeptReply::nothing),
        }
    }

    /// The last answer to a question, if it is no older than that.
    pub fn kept_chart(&self, question: &[u8], max_age_ms: u64) -> Option<KeptReply> {
        let mut charts = self.charts.borrow_mut();
        charts.kept(question, self.host.now_ms(), max_age_ms)
    }

    /// Asks the global object, keeps a leaderboard, and tells whoever waits. A refusal is for
    /// those who asked; it is not kept.
    async fn ask_for_chart(&self, question: &[u8]) -> WaiterAnswer {
        self.count(|counters| counters.charts_asked += 1);
        let asked_ms = self.host.now_ms();
        let times_forgot = self.charts.borrow().times_forgot;
        let global = self.global();
        let ask = |path| (self.host).ask(&global, path, question, CHART_TIMEOUT_MS);
        let asking = async {
            let mut answer = ask("/chart-if-awake").await;
            // It loads, then it asks its shards. Where it falls asleep in between it is to make one all the same.
            for path in ["/chart-if-awake", "/chart"] {
                if answer.as_deref().is_ok_and(is_waking) {
                    answer = ask(path).await;
                }
            }
            answer
        };
        let answer = self.host.within(CHART_TIMEOUT_MS, asking).await;
        let answer = answer.unwrap_or_else(|| Err(SendError("it wakes for too long".into())));
        let mut charts = self.charts.borrow_mut();
        let refusal = match answer {
            Ok(_) if charts.times_forgot != times_forgot => {
                // It may show what was counted before counting began anew.
                let again = Refusal::Busy { retry_after_s: 1 };
                Some(Rc::from(codec::encode(&ChartReply(Err(again)))))
            }
            Ok(reply) if is_leaderboard(&reply) => {
                (charts.kept).put(question, reply, asked_ms, self.host.now_ms());
                None
            }
            Ok(refusal) => {
                if is_busy(&refusal) {
                    charts.kept.put_off(question, self.host.now_ms());
                }
                Some(Rc::from(refusal))
            }
            Err(error) => {
                self.host.report(format_args!("chart: {error}"));
                None
            }
        };
        let asked = charts.questions.remove(question);
        for waiter in asked.into_iter().flat_map(|asked| asked.waiters) {
            // A reader who hung up does not wait any more.
            let _ = waiter.send(refusal.clone());
        }
        refusal
    }
}

fn is_leaderboard(reply: &[u8]) -> bool {
    matches!(codec::decode(reply), Ok(ChartReply(Ok(_))))
}

fn is_waking(reply: &[u8]) -> bool {
    matches!(codec::decode(reply), Ok(ChartReply(Err(Refusal::Waking))))
}

fn is_busy(reply: &[u8]) -> bool {
    matches!(
        codec::decode(reply),
        Ok(ChartReply(Err(Refusal::Busy { .. } | Refusal::Storage(_))))
    )
}
