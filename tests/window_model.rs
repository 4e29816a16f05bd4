//! The ladder against an exact model: shards that record, a global object that folds and
//! expires, readers that ask, each with a clock of its own; beside them a plain list of plays.
//!
//! `PROPTEST_CASES=100000 cargo test --release --test native window_model` runs 100,000 cases.

use std::collections::BTreeMap;

use crate::zones::{Drawn, drawn};
use hitparade::mutants::{self, Mutant};
use hitparade::window::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

/// Every reading of a clock is the true time and up to this much more, each time anew: clocks
/// differ by as much as the module allows, and go back by as much.
const SKEW_MAX_MS: u64 = CLOCK_MARGIN_MS;
const SHARDS: usize = 3;

/// Panes hold the numbers of the plays in them: what is twice in a chart shows.
type Panes = BTreeMap<PaneKey, Vec<usize>>;

#[derive(Default)]
struct World {
    true_now_ms: u64,
    /// Where days begin, as the global object has it, and as each shard was told last.
    days: Days,
    known: [KnownDays; SHARDS],
    /// The timestamp of each play ever accepted, by its number.
    plays: Vec<u64>,
    /// The exact model: the plays that have been folded.
    folded: Vec<usize>,
    open: [Panes; SHARDS],
    outbox: [Vec<(PaneKey, Vec<usize>)>; SHARDS],
    ladder: Panes,
}

#[derive(Clone, Debug)]
enum Step {
    Wait {
        ms: u64,
    },
    Record {
        shard: usize,
        age: Age,
        skew_ms: u64,
    },
    Seal {
        shard: usize,
    },
    Fold {
        shard: usize,
        skew_ms: u64,
    },
    Expire {
        skew_ms: u64,
    },
    /// The installation has another zone, or the platform tells more of one.
    Move {
        zone: Drawn,
        skew_ms: u64,
    },
    /// A shard is told where days begin.
    Tell {
        shard: usize,
        skew_ms: u64,
    },
    Ask {
        question: Question,
        reader_skew_ms: u64,
        global_skew_ms: u64,
    },
}

/// Milliseconds before (or, if negative, after) now.
type Age = i64;

#[derive(Clone, Debug)]
enum Question {
    Sliding(Timeframe),
    Tumbling(Timeframe),
    Between(Age, Age),
    Calendar(&'static str, Drawn),
}

fn before(now_ms: u64, age: Age) -> u64 {
    now_ms.saturating_add_signed(age.saturating_neg())
}

impl World {
    fn clock(&self, skew_ms: u64) -> u64 {
        self.true_now_ms + skew_ms
    }

    fn apply(&mut self, step: &Step) -> TestCaseResult {
        match step {
            Step::Wait { ms } => self.true_now_ms += ms,
            Step::Record {
                shard,
                age,
                skew_ms,
            } => self.record(*shard, *age, *skew_ms),
            Step::Seal { shard } => {
                let sealed = std::mem::take(&mut self.open[*shard]);
                self.outbox[*shard].extend(sealed);
            }
            Step::Fold { shard, skew_ms } => self.fold(*shard, *skew_ms)?,
            Step::Expire { skew_ms } => {
                let now_ms = self.clock(*skew_ms);
                let days = &self.days;
                self.ladder
                    .retain(|pane, _| pane.end_ms > expires_before_ms(pane.level, now_ms, days));
            }
            Step::Move { zone, skew_ms } => {
                let now_ms = self.clock(*skew_ms);
                if let Some(days) = self.days.changed(&zone.around(now_ms), now_ms) {
                    prop_assert!(days.is_sound());
                    self.days = days;
                }
                // What was folded before stays what it is, but that today may become longer or shorter.
                // What has expired waits for being dropped.
                for (pane, plays) in std::mem::take(&mut self.ladder) {
                    if pane.end_ms <= expires_before_ms(pane.level, now_ms, &self.days) {
                        continue;
                    }
                    let same = PaneKey::of(pane.level, pane.start_ms, &self.days);
                    prop_assert_eq!(same.start_ms, pane.start_ms);
                    let is_under_way = pane.end_ms.min(same.end_ms) > now_ms;
                    prop_assert!(is_under_way || same == pane, "{pane:?} is {same:?}");
                    self.ladder.insert(same, plays);
                }
            }
            Step::Tell { shard, skew_ms } => {
                self.known[*shard] = self.days.told(self.clock(*skew_ms));
            }
            Step::Ask {
                question,
                reader_skew_ms,
                global_skew_ms,
            } => self.ask(question, *reader_skew_ms, *global_skew_ms)?,
        }
        Ok(())
    }

    fn record(&mut self, shard: usize, age: Age, skew_ms: u64) {
        let now_ms = self.clock(skew_ms);
        let timestamp_ms = before(now_ms, age);
        let pane = self.known[shard].recording_pane(timestamp_ms, now_ms);
        self.open[shard]
            .entry(pane)
            .or_default()
            .push(self.plays.len());
        self.plays.push(timestamp_ms);
    }

    fn fold(&mut self, shard: usize, skew_ms: u64) -> TestCaseResult {
        let now_ms = self.clock(skew_ms);
        for (pane, plays) in std::mem::take(&mut self.outbox[shard]) {
            for target in fold_targets(pane, now_ms, &self.days) {
                prop_assert!(
                    target.span().contains(pane.span()),
                    "{pane:?} straddles {target:?}"
                );
                self.ladder.entry(target).or_default().extend(&plays);
            }
            self.folded.extend(plays);
        }
        Ok(())
    }

    fn ask(&self, question: &Question, reader_skew_ms: u64, global_skew_ms: u64) -> TestCaseResult {
        let reader_ms = self.clock(reader_skew_ms);
        let global_ms = self.clock(global_skew_ms);
        let days = &self.days;
        let window = match question {
            Question::Sliding(timeframe) => sliding(*timeframe, reader_ms, days),
            Question::Tumbling(timeframe) => tumbling(*timeframe, reader_ms, days),
            Question::Between(from, to) => {
                let [from_ms, to_ms] = [from, to].map(|age| before(reader_ms, *age));
                match between(from_ms, to_ms, reader_ms, days) {
                    Ok(window) => window,
                    Err(_) => return Ok(()),
                }
            }
            Question::Calendar(name, zone) => {
                let zone = zone.around(reader_ms);
                let period = CalendarFrame::of_name(name)
                    .unwrap()
                    .period(reader_ms, &zone);
                let Span { from_ms, to_ms } = period.span(&zone);
                let before_ms = Some(period.last_before(&zone).span(&zone).from_ms);
                match since(from_ms, to_ms, before_ms, reader_ms, days) {
                    Ok(window) => window,
                    Err(_) => return Ok(()),
                }
            }
        };
        self.check(&window, global_ms)?;
        self.check_sum_of_parts(&window, global_ms)?;
        if let Some(previous) = previous(&window, reader_ms, days) {
            prop_assert_eq!(previous.span.to_ms, window.span.from_ms);
            self.check(&previous, global_ms)?;
        }
        Ok(())
    }

    /// The window holds every folded play of its span once, and no other; open panes lie
    /// wholly inside or wholly outside.
    fn check(&self, window: &Window, global_ms: u64) -> TestCaseResult {
        let span = window.span;
        prop_assert_eq!(
            self.charted(span, global_ms),
            self.expected(span),
            "{:?} at {}",
            window,
            global_ms
        );
        for (pane, plays) in self.open.iter().flatten() {
            for play in plays {
                let inside = span.contains_ms(self.plays[*play]);
                prop_assert_eq!(
                    span.contains(pane.span()),
                    inside,
                    "{:?} {:?}",
                    pane,
                    window
                );
            }
        }
        Ok(())
    }

    /// Cut anywhere between two of its panes, a window is the sum of its two parts, and each
    /// step of its series holds what lies in it.
    fn check_sum_of_parts(&self, window: &Window, global_ms: u64) -> TestCaseResult {
        let Span { from_ms, to_ms } = window.span;
        let panes = tiles(window.span, global_ms, &self.days);
        if let Some(pane) = panes.get(panes.len() / 3) {
            let cut_ms = pane.end_ms;
            let mut parts = self.charted(Span::new(from_ms, cut_ms), global_ms);
            parts.extend(self.charted(Span::new(cut_ms, to_ms), global_ms));
            parts.sort_unstable();
            prop_assert_eq!(parts, self.expected(window.span));
        }
        for step in steps(window.span, global_ms, 50, &self.days) {
            prop_assert_eq!(self.charted(step, global_ms), self.expected(step));
        }
        Ok(())
    }

    fn charted(&self, span: Span, global_ms: u64) -> Vec<usize> {
        let mut plays: Vec<usize> = tiles(span, global_ms, &self.days)
            .iter()
            .filter_map(|pane| self.ladder.get(pane))
            .flatten()
            .copied()
            .collect();
        plays.sort_unstable();
        plays
    }

    fn expected(&self, span: Span) -> Vec<usize> {
        let mut plays: Vec<usize> = self
            .folded
            .iter()
            .copied()
            .filter(|play| span.contains_ms(self.plays[*play]))
            .collect();
        plays.sort_unstable();
        plays
    }
}

const MINUTE: i64 = MINUTE_MS as i64;
const HOUR: i64 = HOUR_MS as i64;
const DAY: i64 = DAY_MS as i64;

/// Ages of plays and of the ends of spans: most of them near where a level ends.
fn age() -> impl Strategy<Value = Age> {
    prop_oneof![
        2 => -MINUTE..10 * MINUTE,
        2 => 0..3 * HOUR,
        3 => 100 * MINUTE..200 * MINUTE,
        2 => 0..2 * DAY,
        3 => 49 * HOUR..54 * HOUR,
        2 => 0..16 * DAY,
        3 => 14 * DAY..17 * DAY,
        2 => 0..800 * DAY,
        3 => 798 * DAY..803 * DAY,
        1 => 800 * DAY..5_000 * DAY,
    ]
}

fn wait_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        3 => 0..20 * MINUTE_MS,
        3 => 0..4 * HOUR_MS,
        2 => 0..3 * DAY_MS,
        1 => 0..20 * DAY_MS,
        1 => 0..900 * DAY_MS,
    ]
}

fn timeframe() -> impl Strategy<Value = Timeframe> {
    prop_oneof![
        1 => Just(Timeframe::All),
        3 => (1..400u64).prop_map(|n| Timeframe::new(n, Unit::Minutes).unwrap()),
        3 => (1..500u64).prop_map(|n| Timeframe::new(n, Unit::Hours).unwrap()),
        3 => (1..=400u64).prop_map(|n| Timeframe::new(n, Unit::Days).unwrap()),
        1 => (1..=576_000u64).prop_map(|n| Timeframe::new(n, Unit::Minutes).unwrap()),
    ]
}

const FRAMES: [&str; 8] = [
    "today",
    "yesterday",
    "this-week",
    "last-week",
    "this-month",
    "last-month",
    "this-year",
    "last-year",
];

fn question() -> impl Strategy<Value = Question> {
    let ahead_or_ago = || prop_oneof![9 => age(), 1 => -400 * DAY..0];
    prop_oneof![
        timeframe().prop_map(Question::Sliding),
        timeframe().prop_map(Question::Tumbling),
        (ahead_or_ago(), ahead_or_ago())
            .prop_map(|(one, other)| Question::Between(one.max(other), one.min(other))),
        (prop::sample::select(&FRAMES[..]), drawn())
            .prop_map(|(name, zone)| Question::Calendar(name, zone)),
    ]
}

fn skew_ms() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(SKEW_MAX_MS), 0..=SKEW_MAX_MS]
}

fn step() -> impl Strategy<Value = Step> {
    let shard = || 0..SHARDS;
    prop_oneof![
        3 => wait_ms().prop_map(|ms| Step::Wait { ms }),
        6 => (shard(), age(), skew_ms())
            .prop_map(|(shard, age, skew_ms)| Step::Record { shard, age, skew_ms }),
        2 => shard().prop_map(|shard| Step::Seal { shard }),
        3 => (shard(), skew_ms()).prop_map(|(shard, skew_ms)| Step::Fold { shard, skew_ms }),
        2 => skew_ms().prop_map(|skew_ms| Step::Expire { skew_ms }),
        1 => (drawn(), skew_ms()).prop_map(|(zone, skew_ms)| Step::Move { zone, skew_ms }),
        1 => (shard(), skew_ms()).prop_map(|(shard, skew_ms)| Step::Tell { shard, skew_ms }),
        4 => (question(), skew_ms(), skew_ms()).prop_map(
            |(question, reader_skew_ms, global_skew_ms)| Step::Ask {
                question,
                reader_skew_ms,
                global_skew_ms,
            }
        ),
    ]
}

/// 2026 or so, at or near the start of a minute, a quarter, two hours, a day; or 1970.
fn start_ms() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (20_000..22_000u64, 0..DAY_MS).prop_map(|(day, rest)| day * DAY_MS + rest),
        4 => (20_000..22_000u64, 0..12u64, 0..8u64, 0..3 * MINUTE_MS).prop_map(
            |(day, two_hours, quarter, rest)| {
                day * DAY_MS + two_hours * 2 * HOUR_MS + quarter * 15 * MINUTE_MS + rest
            }
        ),
        1 => 0..1_000 * DAY_MS,
    ]
}

/// Everything recorded is folded at the end, days later, and asked for once more.
fn finish(world: &mut World, questions: &[Question]) -> TestCaseResult {
    for shard in 0..SHARDS {
        world.apply(&Step::Seal { shard })?;
        world.apply(&Step::Fold { shard, skew_ms: 0 })?;
    }
    prop_assert_eq!(world.folded.len(), world.plays.len());
    for question in questions {
        for (reader_skew_ms, global_skew_ms) in [(0, SKEW_MAX_MS), (SKEW_MAX_MS, 0)] {
            world.ask(question, reader_skew_ms, global_skew_ms)?;
        }
    }
    world.ask(&Question::Sliding(Timeframe::All), 0, 0)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_window_holds_every_folded_play_of_its_span_once_and_no_other(
        start_ms in start_ms(),
        steps in prop::collection::vec(step(), 1..80),
        questions in prop::collection::vec(question(), 4),
        zone in drawn(),
    ) {
        let days = Days::of(zone.around(start_ms));
        let known = std::array::from_fn(|_| days.told(start_ms));
        let mut world = World { true_now_ms: start_ms, days, known, ..World::default() };
        for step in &steps {
            world.apply(step)?;
        }
        finish(&mut world, &questions)?;
    }

    #[test]
    fn the_chart_of_a_past_span_is_the_same_whether_its_plays_came_live_late_or_imported(
        start_ms in start_ms(),
        // Each play: when, and how much later it is recorded and folded.
        plays in prop::collection::vec((0..3 * DAY_MS, 0..24 * HOUR_MS, 0..2 * DAY_MS), 1..40),
        wait_ms in 5 * DAY_MS..799 * DAY_MS,
        skews in prop::collection::vec(skew_ms(), 3),
        question in question(),
        zone in drawn(),
    ) {
        let asked_at_ms = start_ms + wait_ms;
        let days = Days::of(zone.around(asked_at_ms));
        let known = days.told(u64::MAX);
        let mut charts = Vec::new();
        for way in ["live", "late", "imported"] {
            let mut world = World { plays: plays.iter().map(|play| start_ms + play.0).collect(), days: days.clone(), ..World::default() };
            for (number, (offset_ms, late_ms, fold_later_ms)) in plays.iter().enumerate() {
                let timestamp_ms = start_ms + offset_ms;
                let (recorded_ms, folded_ms) = match way {
                    "live" => (timestamp_ms, timestamp_ms + MINUTE_MS),
                    "late" => (timestamp_ms + late_ms, timestamp_ms + late_ms + fold_later_ms),
                    _ => (asked_at_ms, asked_at_ms),
                };
                let pane = known.recording_pane(timestamp_ms, recorded_ms + skews[0]);
                for target in fold_targets(pane, folded_ms + skews[1], &days) {
                    world.ladder.entry(target).or_default().push(number);
                }
                world.folded.push(number);
            }
            world.true_now_ms = asked_at_ms;
            world.ask(&question, skews[2], skews[1])?;
            let window = sliding(Timeframe::new(400, Unit::Days).unwrap(), asked_at_ms, &days);
            charts.push(world.charted(window.span, asked_at_ms));
        }
        prop_assert_eq!(&charts[0], &charts[1]);
        prop_assert_eq!(&charts[0], &charts[2]);
    }
}

/// A shard records a play of each quarter of a day that it learns of late, and all is folded.
fn late_day(steps: Vec<Step>) -> TestCaseResult {
    let start_ms = 20_000 * DAY_MS + 17 * HOUR_MS;
    let days = Days::default();
    let known = std::array::from_fn(|_| days.told(start_ms));
    let mut world = World {
        true_now_ms: start_ms,
        days,
        known,
        ..World::default()
    };
    let skew_ms = 0;
    let quarters = (0..96).map(|quarter| Step::Record {
        shard: 0,
        age: 3 * DAY + quarter * 15 * MINUTE,
        skew_ms,
    });
    let folded = [Step::Seal { shard: 0 }, Step::Fold { shard: 0, skew_ms }];
    let moved = Step::Move {
        zone: Drawn::of(13),
        skew_ms,
    };
    let before = [Step::Record {
        shard: 0,
        age: 0,
        skew_ms,
    }];
    let all = before.into_iter().chain(folded.clone()).chain([moved]);
    let all = all.chain(steps).chain(quarters).chain(folded);
    for step in all {
        world.apply(&step)?;
    }
    finish(
        &mut world,
        &[Question::Calendar("last-week", Drawn::of(13))],
    )
}

#[test]
fn days_that_change_at_once_or_are_taken_for_known_are_found_out() {
    let eight_days = || vec![Step::Wait { ms: 8 * DAY_MS }];
    late_day(eight_days()).unwrap();
    for mutant in [Mutant::ZoneChangesAtOnce, Mutant::DaysTakenForKnown] {
        mutants::set(Some(mutant));
        let found = late_day(eight_days());
        mutants::set(None);
        assert!(found.is_err(), "{mutant:?}");
    }
}
