//! Published charts: a day ends while everything goes wrong, and its chart is closed once. What readers are
//! shown of it stays as it is, and has nothing that came to the global object after the day's time.

use hitparade::filter::Filter;
use hitparade::leaderboard::Run;
use hitparade::window::{Period, PeriodKind, Zone};

use super::*;

/// What a published chart said: all plays, and the places of posts.
type Said = (u64, BTreeMap<String, (Count, Option<u32>, Option<Run>)>);

/// A day that ends, and what must hold for its chart.
#[derive(Default)]
pub struct PublishedInModel {
    /// What was heard when it was due, by scope; none before.
    heard: Option<BTreeMap<Option<usize>, Expected>>,
    /// The global object's clock went back: what is not closed yet may become due once more.
    is_due_again: bool,
    /// What readers were shown, by scope and incarnation.
    shown: BTreeMap<(Option<usize>, u32), Said>,
}

/// The day that ends at a quarter of an hour, in a zone whose midnight that is.
#[derive(Clone)]
pub struct Ending {
    pub zone: Zone,
    pub end_ms: u64,
    pub close_after_ms: u64,
}

impl Ending {
    /// A day that ends so long after the start.
    pub fn new(end_ms: u64, close_after_ms: u64) -> Option<Self> {
        let into_day_s = i32::try_from(end_ms % DAY_MS / 1_000).ok()?;
        let zone = Zone::new("Simulation/Midnight", -into_day_s, Vec::new())?;
        Some(Ending {
            zone,
            end_ms,
            close_after_ms,
        })
    }

    fn day(&self) -> Period {
        Period::of(self.end_ms - 1, PeriodKind::Day, &self.zone)
    }
}

impl World {
    /// To be asked before anything that happens later.
    pub(super) fn note_due(&mut self) {
        let Some(ending) = &self.ending else { return };
        let now_ms = shifted(self.now_ms, self.global.skew_ms.get());
        let is_noted = self.published.heard.is_some() && !self.published.is_due_again;
        if now_ms < ending.end_ms + ending.close_after_ms || is_noted {
            return;
        }
        self.published.is_due_again = false;
        let span = ending.day().span(&ending.zone);
        let scopes = (0..self.profile.regions).map(Some).chain([None]);
        let heard = scopes.map(|scope| (scope, self.expected(scope, span, false, 0)));
        self.published.heard = Some(heard.collect());
    }

    /// The global object's clock went back.
    pub(super) fn may_be_due_again(&mut self) {
        self.published.is_due_again = true;
    }

    /// Nothing of before counts any more.
    pub(super) fn published_nothing(&mut self) {
        self.published.shown.clear();
    }

    /// A reader asks for the chart of the day that ended.
    pub(super) fn ask_published(&mut self) {
        let Some(ending) = self.ending.clone() else {
            return;
        };
        if !self.global_is_up() {
            return;
        }
        let scope = match self.random.below(3) {
            0 => None,
            _ => Some(self.random.below(self.profile.regions as u64) as usize),
        };
        let request = ChartRequest {
            scope: scope.map_or("global", region_name).into(),
            window: WindowRequest::Published {
                kind: PeriodKind::Day,
                period: Some(ending.day()),
            },
            sort: Sort::Views,
            k_class: 100,
            filter: Filter::default(),
        };
        let message = codec::encode(&request);
        let incarnation = scope.map_or(0, |region| self.incarnations[region].0);
        let epoch_ms = self.epoch_ms;
        self.ask_for_a_while(
            |driver| async move { driver.chart(&message).await },
            move |world, reply| {
                // Nobody sees what is not durable: the platform holds the answer back.
                let written = world.global.drive.written();
                world.global.drive.sync(written);
                if world.epoch_ms == epoch_ms {
                    world.published_answered(scope, incarnation, reply);
                }
            },
        );
    }

    fn published_answered(&mut self, scope: Option<usize>, incarnation: u32, reply: &[u8]) {
        let is_same = scope.is_none_or(|region| self.incarnations[region] == (incarnation, true));
        if !is_same || self.global.was_set_back {
            return;
        }
        let board = match codec::decode::<ChartReply>(reply) {
            Ok(ChartReply(Ok(board))) => board,
            Ok(ChartReply(Err(Refusal::NotPublished { .. }))) => {
                if self.published.shown.contains_key(&(scope, incarnation)) {
                    self.fail(format!("the published chart of {scope:?} has gone"));
                }
                return;
            }
            Ok(ChartReply(Err(_))) => return,
            answer => return self.fail(format!("{answer:?} for a published chart")),
        };
        self.figures.published += 1;
        self.say(|| format!("published chart of {scope:?}: {} plays", board.total_views));
        // It may have become due while the reader waited for something else.
        self.note_due();
        let Some(heard) = &self.published.heard else {
            return self.fail("a chart was published before its time");
        };
        let places = board.places.iter();
        let places = places.map(|it| (it.post_id.clone(), (it.count, it.previous_rank, it.run)));
        let said: Said = (board.total_views, places.collect());
        let most = &heard[&scope];
        let mut wrong = None;
        if board.total_views > most.total.1 {
            let heard = most.total.1;
            wrong = Some(format!("{} plays, {heard} were heard", board.total_views));
        }
        for (id, (_, most)) in self.posts.iter().zip(&most.posts) {
            let place = said.1.get(id);
            if place.is_some_and(|(count, ..)| count.view_count_min > *most) {
                wrong = Some(format!(
                    "{id} has more than the {most} plays that were heard"
                ));
            }
        }
        if let Some(wrong) = wrong {
            return self.fail(format!("the published chart of {scope:?}: {wrong}"));
        }
        // Posts may be hidden and come back, each to its own place.
        let may_lack = self.profile.put_every_ms > 0;
        let shown = self.published.shown.entry((scope, incarnation));
        let shown = shown.or_insert_with(|| said.clone());
        let is_as_shown = |(id, place): (&String, _)| match shown.1.get(id) {
            Some(shown) => shown == place,
            None => may_lack,
        };
        let is_same = said.0 == shown.0
            && said.1.iter().all(is_as_shown)
            && (may_lack || said.1.len() == shown.1.len());
        if is_same {
            shown.1.extend(said.1);
            return;
        }
        let was = shown.clone();
        self.fail(format!(
            "the published chart of {scope:?} was {was:?}, is {said:?}"
        ));
    }
}
