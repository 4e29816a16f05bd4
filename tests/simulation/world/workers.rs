//! Workers: what `edge/plays.rs` and `edge/table.rs` do.

use super::*;

impl World {
    pub(super) fn table(&mut self, worker: usize) -> Option<Rc<RegionTable>> {
        let now_ms = self.now_ms;
        let copy = self.workers[worker].table.clone();
        if let Some((table, fetched_ms)) = &copy
            && now_ms - fetched_ms < TABLE_FRESH_MS
        {
            return Some(Rc::clone(table));
        }
        let reaches = self.workers[worker].cut_off_until_ms <= now_ms && self.global_is_up();
        let fresh = match reaches {
            true => self.region_table(),
            false => None,
        };
        if let Some(table) = fresh {
            self.workers[worker].table = Some((Rc::new(table), now_ms));
        }
        self.workers[worker]
            .table
            .as_ref()
            .map(|(table, _)| Rc::clone(table))
    }

    pub(super) fn arrive(
        &mut self,
        number: usize,
        attempt: u64,
        worker: usize,
        sender_now_ms: u64,
    ) {
        let rpc = self.rpcs.len();
        self.rpcs.push(Rpc {
            batch: number,
            attempt,
            worker,
            stage: 0,
            done: false,
            epoch: None,
            then: VecDeque::new(),
        });
        let Some(table) = self.table(worker) else {
            return self.worker_answers(rpc, Answer::TryAgain);
        };
        let batch = &self.batches[number];
        let arrival_ms = shifted(self.now_ms, self.workers[worker].skew_ms);
        let envelope = Envelope {
            client_seq: None,
            sent_ms: batch.says_sent.then_some(batch.sent_ms),
            now_ms: Some(sender_now_ms),
        };
        let Ok(clock) = Clock::new(&envelope, arrival_ms) else {
            return self.worker_answers(rpc, Answer::Refused);
        };
        let correction_ms = arrival_ms as i64 - sender_now_ms as i64;
        let region = batch.region;
        let key_bytes = [&[batch.client as u8][..], &batch.seq.to_be_bytes()].concat();
        let key = batch.has_key.then_some(&key_bytes[..]);
        let client_name = format!("client-{}", batch.client);
        let client = (batch.has_key && batch.says_sent).then_some(client_name.as_str());
        let Some(known) = table.find(region_name(region)) else {
            return match table.is_deleted(region_name(region)) {
                true => self.worker_answers(rpc, Answer::Refused),
                false => self.fail("a region is missing"),
            };
        };
        let route = known.route(client, clock.sent_ms);
        let last_change = |region: &Region| client.map(|_| region.last_change());
        self.rpcs[rpc].epoch = Some(table.epoch());
        let message = codec::encode(&hitparade::wire::Batch {
            key,
            plays_hash: number as u32,
            sent_ms: clock.sent_ms,
            plays: batch
                .plays
                .iter()
                .map(|(post, timestamp_ms, count)| BatchPlay {
                    post_id: &self.posts[*post],
                    timestamp_ms: shifted(*timestamp_ms, correction_ms),
                    count: *count,
                })
                .collect(),
        });
        let asked = Rc::new(Asked {
            batch: number,
            is_claim: false,
        });
        let mut claims: Vec<(&Region, u32)> = Vec::new();
        if key.is_some() {
            for deleted in &table.deleted {
                if deleted.region.region_id == region_name(region) {
                    let shards = deleted.claim_at(client, (clock.sent_ms, batch.says_sent));
                    claims.extend(shards.map(|shard| (&deleted.region, shard)));
                }
            }
            claims.extend(route.claim_at.map(|shard| (known, shard)));
        }
        let claim = codec::encode(&Claim {
            key: key.unwrap_or_default(),
            plays_hash: number as u32,
            sent_ms: clock.sent_ms,
        });
        let claim = (
            Rc::new(claim),
            Rc::new(Asked {
                batch: number,
                is_claim: true,
            }),
        );
        self.figures.claims += claims.len() as u64;
        let claims = claims.into_iter().map(|(region, shard)| Step {
            incarnation: region.incarnation,
            shard,
            last_change: last_change(region),
            message: Rc::clone(&claim.0),
            asked: Rc::clone(&claim.1),
        });
        let batch = Step {
            incarnation: known.incarnation,
            shard: route.shard,
            last_change: last_change(known),
            message: Rc::new(message),
            asked,
        };
        self.rpcs[rpc].then = claims.chain([batch]).collect();
        self.send_next(rpc);
    }

    fn send_next(&mut self, rpc: usize) {
        if let Some(step) = self.rpcs[rpc].then.pop_front() {
            self.send(rpc, &step);
        }
    }

    fn send(&mut self, rpc: usize, step: &Step) {
        let Step {
            incarnation,
            shard,
            last_change,
            message: batch,
            asked,
        } = step;
        let (incarnation, shard, last_change) = (*incarnation, *shard, *last_change);
        let region = self.batches[asked.batch].region;
        let Some(epoch) = self.rpcs[rpc].epoch else {
            return;
        };
        let mut message = codec::encode(&RecordRequest {
            region_id: &region_key(region, incarnation),
            shard,
            epoch_ms: epoch.began_ms,
            seed: epoch.seed,
            last_change,
            batch,
        });
        let worker = &self.workers[self.rpcs[rpc].worker];
        if worker.foreign_until_ms > self.now_ms {
            message[1] += 1;
        }
        let node = self.shard_node(region, incarnation, shard);
        let message = Rc::new(message);
        let stage = self.rpcs[rpc].stage;
        let says_sent = self.batches[asked.batch].says_sent;
        let slowest_ms = if says_sent {
            25 * MINUTE_MS
        } else {
            4 * MINUTE_MS
        };
        let most = if self.batches[asked.batch].has_key {
            2
        } else {
            1
        };
        for delay_ms in self.deliveries(slowest_ms).into_iter().take(most) {
            let record = Event::Record {
                rpc,
                stage,
                shard: node,
                message: Rc::clone(&message),
                asked: Rc::clone(asked),
            };
            self.after(delay_ms, record);
        }
        self.after(RECORD_TIMEOUT_MS, Event::RecordTimeout { rpc, stage });
    }

    pub(super) fn record_answer(
        &mut self,
        rpc: usize,
        stage: u32,
        reply: RecordReply,
        too_many: &[u16],
    ) {
        if self.rpcs[rpc].stage != stage || self.rpcs[rpc].done {
            return;
        }
        if reply == RecordReply::Claimed {
            self.rpcs[rpc].stage += 1;
            return self.send_next(rpc);
        }
        if reply == RecordReply::Deleted {
            let worker = self.rpcs[rpc].worker;
            self.workers[worker].table = None;
        }
        let answer = match reply {
            RecordReply::Counted { .. } => Answer::Accepted,
            RecordReply::TooOld => Answer::Refused,
            _ => Answer::TryAgain,
        };
        let is_certain = answer != Answer::Accepted && reply != RecordReply::InDoubt;
        let batch = &mut self.batches[self.rpcs[rpc].batch];
        batch.not_counted |= is_certain && !batch.has_key;
        if reply == (RecordReply::Counted { repeated: false }) {
            let counted = batch.plays.len() - too_many.len();
            match counted {
                0 => batch.none_counted = true,
                _ => batch.counted_plays = Some(counted),
            }
        }
        self.worker_answers(rpc, answer);
    }

    pub(super) fn worker_answers(&mut self, rpc: usize, answer: Answer) {
        let Rpc {
            batch,
            attempt,
            done,
            ..
        } = &mut self.rpcs[rpc];
        if std::mem::replace(done, true) {
            return;
        }
        let (batch, attempt) = (*batch, *attempt);
        self.say(|| format!("batch {batch}.{attempt} answered {answer:?}"));
        if !self.calm && self.random.chance(self.profile.answer_lost) {
            return;
        }
        for delay_ms in self.deliveries(5 * MINUTE_MS) {
            self.after(
                delay_ms,
                Event::Outcome {
                    batch,
                    attempt,
                    answer,
                },
            );
        }
    }
}
