//! Exports: what `edge/transfer.rs` does, and what must hold for what comes out.

use hitparade::summary::{Seed, Summary};
use hitparade::window::Level;

use super::*;

/// How often whoever exports asks for a page before giving up.
const MOST_QUESTIONS: u32 = 200;

/// What was lost so far: of what charts had for sure by then, an export may lack it.
#[derive(PartialEq)]
struct Losses {
    /// By the global object.
    times_forgot: u64,
    /// That may be lost with what disks have lost.
    plays: usize,
    epoch_ms: u64,
}

/// An export that is read.
pub struct Exporting {
    at_ms: u64,
    position: ExportPosition,
    questions: u32,
    /// The plays of each scope, of all time and of its days.
    plays: BTreeMap<String, (u64, u64)>,
    /// What charts had for sure when it began, unless the global object forgets something.
    least: u64,
    /// What was lost by then.
    losses: Losses,
    /// When it began, where nothing goes wrong any more.
    calm_since_ms: Option<u64>,
}

impl World {
    /// An operator begins an export: every shard is told to cut its log. Messages may be lost.
    pub(super) fn export(&mut self) {
        if !self.global_is_up() {
            return;
        }
        let least = self.expected(None, Span::ALL, true, 0).total.0;
        let asked_of = self.losses();
        let message = codec::encode(&BeginExport);
        self.ask_for_a_while(
            |driver| async move { driver.begin_export(&message).await },
            move |world, begun| {
                if let Ok(BeginExportReply(Ok(begun))) = codec::decode(begun) {
                    // Counting may have begun anew while it began, or something was forgotten.
                    let is_same = world.losses() == asked_of;
                    world.export_begun(&begun, if is_same { least } else { 0 });
                }
            },
        );
    }

    /// What was lost so far.
    fn losses(&self) -> Losses {
        let ledgers = self.shards.iter().flat_map(|node| &node.ledgers);
        Losses {
            times_forgot: self.global.times_forgot,
            plays: ledgers.map(|ledger| ledger.lost_plays()).sum(),
            epoch_ms: self.epoch_ms,
        }
    }

    fn export_begun(&mut self, begun: &ToCut, least: u64) {
        self.say(|| format!("an export of {}", begun.at_ms));
        for (key, shard, _) in &begun.shards {
            let (region, incarnation) = region_of(key);
            let node = self.shard_node(0, (region, incarnation, *shard));
            for delay_ms in self.deliveries(2_000) {
                let (epoch, at_ms) = (begun.epoch, begun.at_ms);
                let cut = move |world: &mut World| world.tell_cut(node, epoch, at_ms);
                self.after(delay_ms, Event::Then(Box::new(cut)));
            }
        }
        let exporting = Exporting {
            at_ms: begun.at_ms,
            position: ExportPosition {
                table: 0,
                key: Vec::new(),
            },
            questions: 0,
            plays: BTreeMap::new(),
            least,
            losses: self.losses(),
            // By then no shard waits any more for the answer to a push of before.
            calm_since_ms: (self.now_ms >= self.end_ms + MINUTE_MS).then_some(self.now_ms),
        };
        self.ask_for_export_page(500, exporting);
    }

    fn tell_cut(&mut self, shard: usize, epoch: Epoch, at_ms: u64) {
        if self.shards[shard].down_until_ms > self.now_ms {
            return;
        }
        let message = codec::encode(&CutRequest {
            region_id: &self.shards[shard].key(),
            shard: self.shards[shard].shard,
            epoch,
            at_ms,
        });
        self.shards[shard].at_once_for_ms = Some(at_ms);
        let (instance, driver) = self.taker(shard);
        let work = async move {
            // It comes too late, or the disk refuses: then the export lacks plays, and says so.
            let _ = driver.cut(&message).await;
            None
        };
        let errand = Errand::Other;
        self.start(Owner { instance, errand }, Box::pin(work));
    }

    fn ask_for_export_page(&mut self, in_ms: u64, exporting: Exporting) {
        // Who waits for the moment keeps it awake.
        self.global.busy_ms = self.now_ms;
        let ask = move |world: &mut World| world.export_page(exporting);
        self.after(in_ms, Event::Then(Box::new(ask)));
    }

    fn export_page(&mut self, mut exporting: Exporting) {
        exporting.questions += 1;
        if exporting.questions > MOST_QUESTIONS {
            if self.is_unhindered(&exporting) {
                self.fail("an export that nothing hindered has no end");
            }
            return;
        }
        if !self.global_is_up() {
            return self.ask_for_export_page(2_000, exporting);
        }
        let request = codec::encode(&ExportRequest {
            at_ms: exporting.at_ms,
            position: exporting.position.clone(),
        });
        self.ask_for_a_while(
            |driver| async move { driver.export(&request).await },
            move |world, reply| world.export_answered(exporting, reply),
        );
    }

    fn export_answered(&mut self, exporting: Exporting, reply: &[u8]) {
        // Through the platform's output gate: nobody sees what is not durable.
        let written = self.global.drive.written();
        self.global.drive.sync(written);
        let reply = codec::decode::<ExportReply>(reply).ok();
        match reply {
            Some(ExportReply(Ok(ExportAnswer::Wait { ms }))) => {
                self.ask_for_export_page(ms, exporting);
            }
            Some(ExportReply(Ok(ExportAnswer::Page(page)))) => self.exported(exporting, page),
            Some(ExportReply(Err(Refusal::ExportIsOver))) => {
                if self.is_unhindered(&exporting) {
                    self.fail("an export that nothing hindered is over");
                }
            }
            // It is asked for again.
            _ => self.ask_for_export_page(2_000, exporting),
        }
    }

    fn exported(&mut self, mut exporting: Exporting, page: ExportPage) {
        for row in &page.rows {
            let TransferRow::Pane(pane) = row else {
                continue;
            };
            let Ok(summary) = Summary::decode(&pane.summary, Seed::from_bytes(page.seed)) else {
                return self.fail("an export with a pane that cannot be read");
            };
            let (all, days) = exporting.plays.entry(pane.scope.clone()).or_default();
            match Level::from_code(pane.level) {
                Some(Level::All) => *all += summary.total(),
                Some(Level::Day) => *days += summary.total(),
                _ => {}
            }
        }
        if let Some(next) = page.next {
            exporting.position = next;
            let in_ms = self.random.skewed(20_000);
            return self.ask_for_export_page(in_ms, exporting);
        }
        self.figures.exports += 1;
        self.check_export(&exporting, page.complete);
    }

    /// It has to become complete: all clocks agree, and every shard was within reach since it began, and has no more
    /// than its pushes hold until then.
    fn is_unhindered(&self, exporting: &Exporting) -> bool {
        let is_here = |since_ms| self.shards.iter().all(|it| it.down_until_ms <= since_ms);
        let is_behind = |it: &ShardNode| it.behind_cut_ms == Some(exporting.at_ms);
        let has_room = !self.shards.iter().any(is_behind);
        self.profile.has_one_clock() && has_room && exporting.calm_since_ms.is_some_and(is_here)
    }

    fn check_export(&mut self, exporting: &Exporting, is_complete: bool) {
        let Exporting { plays, least, .. } = exporting;
        // It is of one moment: each scope's days hold what all of its time does, and the regions what the
        // world does.
        if let Some(scope) = plays.iter().find(|(_, (all, days))| all != days) {
            return self.fail(format!(
                "an export whose days are of another moment: {scope:?}"
            ));
        }
        let world = plays.get("global").map_or(0, |(all, _)| *all);
        let regions = plays.iter().filter(|(scope, _)| *scope != "global");
        let regions: u64 = regions.map(|(_, (all, _))| all).sum();
        let has_all = self.incarnations.iter().all(|(deleted, _)| *deleted == 0);
        if regions != world && has_all {
            return self.fail(format!("an export of {world} plays, {regions} by region"));
        }
        if self.is_unhindered(exporting) && !is_complete {
            return self.fail("an export that nothing hindered is not complete");
        }
        // Less, where a row or a storage was lost meanwhile, whatever came since.
        let (still_least, most) = self.expected(None, Span::ALL, true, 0).total;
        let least = if is_complete && self.losses() == exporting.losses {
            still_least.min(*least)
        } else {
            0
        };
        if world < least || world > most && self.epoch_ms == exporting.losses.epoch_ms {
            self.fail(format!("an export of {world} plays, not {least} to {most}"));
        }
    }
}
