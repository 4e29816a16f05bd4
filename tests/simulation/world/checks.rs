//! What must hold.

use super::*;

impl World {
    pub(super) fn chart(&mut self) {
        if !self.global_is_up() {
            return;
        }
        let now_ms = shifted(self.now_ms, self.global.skew_ms);
        let random = &mut self.random;
        let scope = match random.below(3) {
            0 => None,
            _ => Some(random.below(self.profile.regions as u64) as usize),
        };
        let window = match random.below(6) {
            0 | 1 => WindowRequest::All,
            2 => WindowRequest::Sliding {
                length_ms: random.between(1, 90) * MINUTE_MS,
            },
            3 => WindowRequest::Sliding {
                length_ms: random.between(1, 80) * HOUR_MS,
            },
            4 => WindowRequest::Tumbling { length_ms: HOUR_MS },
            _ => {
                let from_ms = now_ms - random.skewed(30 * HOUR_MS) - MINUTE_MS;
                let to_ms = from_ms + random.skewed(10 * HOUR_MS) + MINUTE_MS;
                WindowRequest::Between { from_ms, to_ms }
            }
        };
        self.check_chart(scope, window);
    }

    pub(super) fn check_chart(&mut self, scope: Option<usize>, window: WindowRequest) {
        self.figures.charts += 1;
        let request = ChartRequest {
            scope: scope.map_or("global", region_name).into(),
            window,
            sort: Sort::Views,
            k_class: 1_000,
        };
        let asked = self.global_op(|global, disk, now_ms| {
            Ok((
                global.chart(disk, &request, ChartRules::default(), now_ms)?,
                now_ms,
            ))
        });
        self.say(|| format!("chart of {scope:?} {window:?}"));
        let Some((board, now_ms)) = asked else {
            if self.calm {
                self.fail(format!("no answer to {request:?}"));
            }
            return;
        };
        let live = self.global.memory.live(scope, now_ms);
        let folded = &self.global.drive.latest().folded;
        let span = if window == WindowRequest::All {
            Span::ALL
        } else {
            board.span
        };
        let mut exact = vec![0_u64; self.posts.len()];
        let panes = folded.iter().chain(live.iter());
        for pane in panes.filter(|pane| scope.is_none_or(|scope| pane.region == scope)) {
            for play in pane
                .plays
                .iter()
                .filter(|play| span.contains_ms(play.timestamp_ms))
            {
                exact[play.post] += u64::from(play.count);
            }
        }
        let exact_total: u64 = exact.iter().sum();
        let mut wrong = Vec::new();
        if board.total_views != exact_total {
            wrong.push(format!(
                "{exact_total} plays, the chart says {}",
                board.total_views
            ));
        }
        if board.incomplete {
            wrong.push("incomplete".into());
        }
        for (id, exact) in self.posts.iter().zip(&exact) {
            match board.places.iter().find(|place| place.post_id == *id) {
                Some(place) => {
                    let (min, max) = (place.count.view_count_min, place.count.view_count_max);
                    if !(min..=max).contains(exact) {
                        wrong.push(format!("{id} has {exact}, not {min} to {max}"));
                    }
                }
                None if *exact > board.unlisted_max => {
                    wrong.push(format!("{id} has {exact}, unlisted {}", board.unlisted_max));
                }
                None => {}
            }
        }
        if !wrong.is_empty() {
            let sum = |panes: &[Rc<Pane>]| panes.iter().map(|pane| total(&pane.plays)).sum::<u64>();
            let (on_disk, pending) = (sum(folded), sum(&self.global.memory.pending));
            wrong.push(format!(
                "folded {on_disk}, pending {pending}, live {}",
                sum(&live)
            ));
            self.fail(format!(
                "{request:?} {:?}: {}",
                board.span,
                wrong.join("; ")
            ));
        }
    }

    /// Where every batch is: each acknowledged one in exactly one place, any other in at most one.
    pub(super) fn check_conservation(&mut self) {
        let mut found = vec![0_u32; self.batches.len()];
        fn count(found: &mut [u32], plays: &[Play]) {
            for play in plays {
                found[play.batch] += 1;
            }
        }
        let global = &self.global;
        let on_disk = global.drive.latest();
        let accepted = match global.state {
            Some(_) => &global.memory.accepted,
            None => &on_disk.consumed,
        };
        for pane in on_disk.folded.iter().chain(&global.memory.pending) {
            count(&mut found, &pane.plays);
        }
        for node in &self.shards {
            let stored = node.drive.latest();
            let log = node.log_id.map(|log_id| (node.region, node.shard, log_id));
            let taken = log.and_then(|log| accepted.get(&log).copied()).unwrap_or(0);
            for (_, pane) in stored.outbox.range(taken..) {
                count(&mut found, &pane.plays);
            }
            let asked = |commit: &Rc<Vec<Rc<Asked>>>| commit.to_vec();
            let (open, commits): (Vec<_>, Vec<_>) = match node.state {
                Some(_) => {
                    let sealed = node.memory.sealed.iter().map(|(_, plays)| plays);
                    let open = node.memory.open.values().chain(sealed).cloned().collect();
                    (open, node.memory.in_flight.iter().flat_map(asked).collect())
                }
                None => (
                    stored.open.values().cloned().collect(),
                    stored.journal.iter().flat_map(asked).collect(),
                ),
            };
            for plays in open {
                count(&mut found, &plays);
            }
            for asked in commits {
                count(&mut found, &asked.plays);
            }
        }
        for (number, batch) in self.batches.iter().enumerate() {
            if batch.excused {
                continue;
            }
            // Each play of the batch was met once if the batch is counted once.
            let plays = batch.plays.len() as u32;
            let times = f64::from(found[number]) / f64::from(plays);
            let wrong = match batch.fate {
                Fate::Acknowledged => found[number] != plays,
                _ if batch.not_counted => found[number] != 0,
                _ => found[number] != plays && found[number] != 0,
            };
            if wrong {
                let fate = batch.fate;
                let mut what = format!("batch {number} ({fate:?}) is counted {times} times:");
                what.push_str(&self.places_of(number));
                self.violation.get_or_insert(what);
                return;
            }
        }
    }

    /// Where a batch is, for whoever looks into a violation.
    pub(super) fn places_of(&self, batch: usize) -> String {
        let mut places = String::new();
        let mut look = |place: String, plays: &[Play]| {
            let met = plays.iter().filter(|play| play.batch == batch).count();
            if met > 0 {
                places.push_str(&format!(" {met} in {place};"));
            }
        };
        for pane in &self.global.drive.latest().folded {
            look(format!("folded {:?}", pane.key), &pane.plays);
        }
        for pane in &self.global.memory.pending {
            look(format!("pending {:?}", pane.key), &pane.plays);
        }
        for (shard, node) in self.shards.iter().enumerate() {
            let stored = node.drive.latest();
            for (offset, pane) in &stored.outbox {
                look(format!("outbox {shard} at {offset}"), &pane.plays);
            }
            let loaded = node.state.is_some();
            for (key, plays) in &node.memory.open {
                look(format!("open {shard} {key:?}"), plays);
            }
            for (key, plays) in &node.memory.sealed {
                look(format!("sealed {shard} {key:?}"), plays);
            }
            for (key, plays) in &stored.open {
                look(format!("stored {shard} {key:?} (loaded {loaded})"), plays);
            }
            for asked in stored.journal.iter().flat_map(|commit| commit.iter()) {
                look(format!("journal {shard} (loaded {loaded})"), &asked.plays);
            }
        }
        places
    }

    /// Everything has come to rest: nothing is left to do, and every chart is exact.
    pub(super) fn check_rest(&mut self) {
        for shard in 0..self.shards.len() {
            if self.shards[shard].alarm_comes {
                return self.fail(format!("shard {shard} still has an alarm"));
            }
            let left = self.shard_op(shard, |state, _, _| Ok((state.has_work(), state.health())));
            if let Some((true, health)) = left {
                return self.fail(format!("shard {shard} has work left: {health:?}"));
            }
        }
        self.now_ms += 2_000;
        let scopes = (0..self.profile.regions).map(Some).chain([None]);
        for scope in scopes {
            self.check_chart(scope, WindowRequest::All);
            self.check_chart(
                scope,
                WindowRequest::Sliding {
                    length_ms: 30 * HOUR_MS,
                },
            );
        }
        self.check_conservation();
        let copies = &self.global.memory.copies;
        // Old messages of a log that has ended, or that a restored state had forgotten, may come
        // after its last one. What they bring is in charts; no shard asks for it to be stored.
        let strays = self.profile.storage_loss || self.global.was_set_back;
        if !strays && copies.values().any(|copies| !copies.panes.is_empty()) {
            self.fail("copies of open panes are left where no pane is open");
        }
        if !strays && !self.global.memory.pending.is_empty() {
            self.fail("sealed panes are left that are not folded");
        }
    }
}
