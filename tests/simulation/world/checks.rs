//! What must hold.

use std::collections::HashMap;

use super::*;

/// What is not stored yet is merged at most once a second for a region, and from these once a
/// second for all.
pub(super) const CHART_AGE_MS: u64 = 2_000;
/// What was answered with 202 is in charts so long after it: the promise is 10 s, with what Workers keep.
pub(super) const PROMISED_WITHIN_MS: u64 = 7_000;
/// A shard that did not answer in time is missed for so long.
const UNANSWERED_FOR_MS: u64 = 12_000;

impl World {
    pub(super) fn chart(&mut self) {
        if !self.global_is_up() {
            return;
        }
        let now_ms = shifted(self.now_ms, self.global.skew_ms.get());
        let random = &mut self.random;
        let scope = match random.below(3) {
            0 => None,
            _ => Some(random.below(self.profile.regions as u64) as usize),
        };
        let window = match random.below(8) {
            0 | 1 => WindowRequest::All,
            2 => WindowRequest::Sliding {
                length_ms: random.between(1, 90) * MINUTE_MS,
            },
            3 => WindowRequest::Sliding {
                length_ms: random.between(1, 80) * HOUR_MS,
            },
            4 => WindowRequest::Tumbling { length_ms: HOUR_MS },
            5 | 6 => {
                let frame = CalendarFrame {
                    kind: PeriodKind::EVERY[random.below(3) as usize],
                    is_last: random.chance(500),
                };
                let own = self.zone.borrow().clone().filter(|_| random.chance(500));
                let zone = own.unwrap_or_else(|| drawn_zone(random, now_ms));
                let period = frame.period(now_ms, &zone);
                let span = period.span(&zone);
                WindowRequest::Since {
                    from_ms: span.from_ms,
                    to_ms: span.to_ms,
                    before_ms: Some(period.last_before(&zone).span(&zone).from_ms),
                }
            }
            _ => {
                let from_ms = now_ms - random.skewed(30 * HOUR_MS) - MINUTE_MS;
                let to_ms = from_ms + random.skewed(10 * HOUR_MS) + MINUTE_MS;
                WindowRequest::Between { from_ms, to_ms }
            }
        };
        self.check_chart(scope, window);
    }

    pub(super) fn check_chart(&mut self, scope: Option<usize>, window: WindowRequest) {
        if scope.is_some_and(|region| !self.incarnations[region].1) {
            return self.check_refused(scope, window);
        }
        self.figures.charts += 1;
        let request = ChartRequest {
            scope: scope.map_or("global", region_name).into(),
            window,
            sort: Sort::Views,
            k_class: 1_000,
            filter: self.filter(),
        };
        let (message, asked_ms) = (codec::encode(&request), self.now_ms);
        self.ask_for_a_while(
            |driver| async move { driver.chart(&message).await },
            move |world, reply| world.chart_answered(scope, (&request, asked_ms), reply),
        );
    }

    fn chart_answered(
        &mut self,
        scope: Option<usize>,
        (request, asked_ms): (&ChartRequest, u64),
        reply: &[u8],
    ) {
        let window = request.window;
        self.say(|| format!("chart of {scope:?} {window:?}"));
        let is_deleted = scope.is_some_and(|region| !self.incarnations[region].1);
        let board = match codec::decode::<ChartReply>(reply) {
            Ok(ChartReply(Ok(board))) if !is_deleted => board,
            Ok(ChartReply(Err(_))) if !self.calm => return,
            Ok(ChartReply(Err(Refusal::Busy { .. }))) if self.may_miss_others(asked_ms) => return,
            answer => return self.fail(format!("{answer:?} to {request:?}")),
        };
        self.global.last_questions = self.global.last_questions.saturating_sub(1);
        let span = match window {
            WindowRequest::All => Span::ALL,
            _ => board.span,
        };
        self.say(|| {
            let (plays, incomplete) = (board.total_views, board.incomplete);
            format!("chart of {scope:?} has {plays} plays, incomplete: {incomplete}")
        });
        let expected = self.expected(scope, span, !board.incomplete, asked_ms);
        let compared = self.compare(&board, &expected, asked_ms);
        if let Err(what) = compared.and_then(|()| self.check_hidden(&board, asked_ms)) {
            let says = if board.incomplete {
                "incomplete"
            } else {
                "complete"
            };
            return self.fail(format!("{request:?} {:?}, {says}: {what}", board.span));
        }
        // What a shard had not sealed when it lost its storage goes when it comes again, and what was
        // sealed goes with a row that cannot be read. What an old push has shown again after the global
        // object was set back goes with the next one.
        let lost_storage = self.shards.iter().any(|node| node.lost_storage);
        let was_set_back = self.global.was_set_back;
        let loses_rows = self.profile.damage_outbox || self.profile.damage_journal;
        let may_go = lost_storage || loses_rows || was_set_back;
        if window == WindowRequest::All && self.profile.is_roomy && !may_go {
            let shown = self.shown.insert(scope, board.total_views).unwrap_or(0);
            if board.total_views < shown {
                let now = board.total_views;
                self.fail(format!("{request:?}: {shown} plays were shown, now {now}"));
            }
        }
    }

    /// What a chart may have, and must have.
    pub(super) fn expected(
        &self,
        scope: Option<usize>,
        span: Span,
        is_complete: bool,
        asked_ms: u64,
    ) -> Expected {
        self.expected_of(0, scope, span, is_complete, asked_ms)
    }

    /// The same of a board.
    pub(super) fn expected_of(
        &self,
        board: usize,
        scope: Option<usize>,
        span: Span,
        is_complete: bool,
        asked_ms: u64,
    ) -> Expected {
        let mut expected = Expected::new(self.posts.len());
        let says = Says {
            older_than_ms: self.now_ms.saturating_sub(CHART_AGE_MS),
            answered_before_ms: self.seems_ms(asked_ms).saturating_sub(PROMISED_WITHIN_MS),
            is_complete,
            is_roomy: self.profile.is_roomy,
        };
        for node in self.shards.iter().filter(|node| node.board == board) {
            let is_in_scope = |scope: usize| {
                (node.region, node.incarnation) == (scope, self.incarnations[scope].0)
            };
            if scope.is_none_or(is_in_scope) {
                for ledger in &node.ledgers {
                    ledger.add_to(&mut expected, span, &says);
                }
            }
        }
        expected
    }

    fn compare(
        &self,
        board: &Leaderboard,
        expected: &Expected,
        asked_ms: u64,
    ) -> Result<(), String> {
        // Where limits are small, copies may not fit into a push; and what lies above a cut is taken when
        // all have cut.
        let is_quiet = self.profile.export_every_ms == 0 && self.profile.put_every_ms == 0;
        let are_silent = self.now_ms < self.unanswered_ms + UNANSWERED_FOR_MS;
        // What a shard told that counts anew is taken when the registry has told of that.
        let question = self.global.question.as_ref();
        let is_asking = question.is_some_and(|waiting| waiting.borrow().is_some());
        let are_few = self.shards.len() <= self.profile.on_global.pulled_shards;
        let has_all = self.profile.is_roomy && is_quiet && are_few && !are_silent && !is_asking;
        if board.incomplete && self.global.times_forgot == 0 && has_all {
            return Err("incomplete, and nothing was forgotten or left out".into());
        }
        self.compare_counts(board, expected, asked_ms)
    }

    pub(super) fn compare_counts(
        &self,
        board: &Leaderboard,
        expected: &Expected,
        asked_ms: u64,
    ) -> Result<(), String> {
        let (least, most) = expected.total;
        let total = board.total_views;
        if !(least..=most).contains(&total) {
            let counts = board.places.iter();
            let counts = counts.map(|place| (place.post_id.as_str(), place.count));
            let counts: HashMap<&str, Count> = counts.collect();
            let posts = self.posts.iter().zip(&expected.posts);
            let lacking = posts.filter(|(id, (least, _))| {
                counts.get(id.as_str()).map_or(0, |it| it.view_count_max) < *least
            });
            let lacking: Vec<&String> = lacking.map(|(id, _)| id).take(5).collect();
            return Err(format!(
                "{least} to {most} plays, the chart says {total}; it lacks some of {lacking:?}"
            ));
        }
        let listed: HashMap<&str, Count> = board
            .places
            .iter()
            .map(|place| (place.post_id.as_str(), place.count))
            .collect();
        let posts = self.posts.iter().zip(&expected.posts);
        for (post, (id, (least, most))) in posts.enumerate() {
            match listed.get(id.as_str()) {
                Some(count) => {
                    let (min, max) = (count.view_count_min, count.view_count_max);
                    if min > *most || max < *least {
                        return Err(format!("{id} has {least} to {most}, not {min} to {max}"));
                    }
                }
                None if *least > board.unlisted_max
                    && !self.may_be_hidden(board, post, asked_ms) =>
                {
                    let unlisted = board.unlisted_max;
                    return Err(format!("{id} has at least {least}, unlisted {unlisted}"));
                }
                None => {}
            }
        }
        let sum: u64 = listed.values().map(|count| count.view_count_min).sum();
        if sum > total {
            return Err(format!("its posts have at least {sum} of {total} plays"));
        }
        Ok(())
    }

    /// Each part of an acknowledged batch is counted by exactly one shard of its board, any other by at most
    /// one; and of its plays those that its sender was told of.
    pub(super) fn check_batches(&mut self) {
        // By batch and part: it is asked at every chart, so these are tables.
        let all_parts = part_of(self.boards.len(), None);
        let mut found = vec![(0_u32, 0_usize); self.batches.len() * all_parts];
        let ledgers = self.shards.iter().flat_map(|node| &node.ledgers);
        for play in ledgers.flat_map(Ledger::plays) {
            let (times, plays) = &mut found[play.batch * all_parts + play.part];
            *times += u32::from(play.begins_part);
            *plays += 1;
        }
        // By the first batch of a name, and part.
        let mut of_name = vec![0_u32; found.len()];
        // Of a board that is deleted nothing counts any more.
        let boards = (0..self.boards.len()).filter(|board| !self.is_gone(*board));
        let parts = boards.flat_map(|board| {
            let first = part_of(board, None);
            (first..first + PARTS).map(move |part| (board, part))
        });
        let parts: Vec<(usize, usize)> = parts.collect();
        for (number, batch) in self.batches.iter().enumerate() {
            if batch.excused {
                continue;
            }
            for (board, part) in parts.iter().copied() {
                let (times, plays) = found[number * all_parts + part];
                let name = self.boards[board].name;
                // An attempt is about one board of a name.
                let is_accepted = |rpc: &usize| {
                    let asked = self.rpcs[*rpc].boards.get(&name);
                    let mut plays = batch.plays.iter().enumerate();
                    (asked == Some(&board) || board == 0)
                        && plays.any(|(place, play)| {
                            let is_rejected = |name| batch.rejected.contains(&(*rpc, place, name));
                            let is_named = batch.boards_of(play).any(|it| it == name);
                            is_named
                                && batch.part_of(play, board) == part
                                && !is_rejected(None)
                                && !is_rejected(Some(name))
                        })
                };
                let is_missing = times == 0 && batch.acknowledged.iter().any(is_accepted);
                let most = !batch.not_counted;
                let told = batch.counted_plays.get(&part);
                let is_as_told = told.is_none_or(|told| *told == plays);
                if is_missing || times > u32::from(most) || !is_as_told {
                    let fate = batch.fate;
                    let what = format!(
                        "part {part} of batch {number} ({fate:?}) is counted {times} times, {plays} of \
                         its plays"
                    );
                    self.violation.get_or_insert(what);
                    return;
                }
                let of_name = &mut of_name[batch.seq as usize * all_parts + part];
                *of_name += times;
                if batch.has_key && *of_name > 1 {
                    let first = batch.seq;
                    let what =
                        format!("batches {first} and {number} have one name and are counted");
                    self.violation.get_or_insert(what);
                    return;
                }
            }
        }
    }

    /// Everything has come to rest: nothing is left to do, every chart is exact, and stays so when
    /// every object starts again.
    pub(super) fn check_rest(&mut self) {
        if self.executor.owners().next().is_some() {
            return self.fail("somebody waits for ever");
        }
        for shard in 0..self.shards.len() {
            if self.shards[shard].alarm_comes {
                return self.fail(format!("shard {shard} still has an alarm"));
            }
            let board = self.shards[shard].board;
            let disk = &self.shards[shard].drive.disk;
            let is_clear = Table::ALL.into_iter().all(|table| disk.is_clear(table));
            if self.is_gone(board) || (board > 0 && is_clear) {
                // One that stores nothing has counted nothing.
                let counted = self.shards[shard].ledger().len();
                if !self.is_gone(board) && counted > 0 {
                    return self.fail(format!("shard {shard} has lost {counted} plays"));
                }
                continue;
            }
            let left = self.shard_op(shard, |state, _, _| {
                Ok((state.has_work(), state.tell(ShardMetrics::default(), 0)))
            });
            match left {
                Some((false, _)) => {
                    let node = &mut self.shards[shard];
                    let all = node.ledger().len();
                    node.ledger().kept(all);
                }
                left => return self.fail(format!("shard {shard} has work left: {left:?}")),
            }
        }
        self.check_batches();
        self.check_boards_at_rest();
        self.after(CHART_AGE_MS, Event::Then(Box::new(World::check_charts)));
        self.run_events();
        // Only what is durable counts.
        self.end_global(0);
        self.end_objects();
        self.after(1, Event::Then(Box::new(World::check_charts)));
        self.run_events();
        let left = self.global.last_questions;
        if left > 0 {
            self.fail(format!("{left} charts were never answered"));
        }
    }

    fn check_charts(&mut self) {
        let scopes = (0..self.profile.regions).map(Some).chain([None]);
        for scope in scopes {
            self.check_chart(scope, WindowRequest::All);
            let length_ms = 30 * HOUR_MS;
            self.check_chart(scope, WindowRequest::Sliding { length_ms });
            let is_there = scope.is_none_or(|region| self.incarnations[region].1);
            self.global.last_questions += if is_there { 2 } else { 0 };
        }
        self.check_charts_of_boards();
    }
}
