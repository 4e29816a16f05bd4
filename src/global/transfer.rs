//! Leaving and arriving: everything that is kept, row by row, out of one installation and into
//! another.
//!
//! # Export
//! Regions, ladders and published charts in the order of their keys, a page at a time, all of one moment
//! ([`super::moment`]): every play that was durable by then, and none that became so later, while
//! senders go on. [`ExportPage::complete`] says whether all shards have told what they had. The entries of
//! the catalog come last, each page as they are when it is read: they say nothing of plays
//! (`driver/catalog.rs`).
//!
//! # Import
//! An export is a log: its rows are numbered, and the number of the next one is stored together
//! with what was folded. So rows that come again are skipped, and an import that broke off goes on
//! where it was. The log is known by the seed of the installation that it comes from, and from
//! each one export is taken: another one holds the same plays. One of which no row was taken yet gives way.
//!
//! Panes are merged into those that are there: bounds hold, totals add up. An installation that
//! has no plays yet takes the seed as well; then filters merge cell by cell, and bounds are the
//! same as they were. Seed and regions are the registry's: it is asked for them before rows are taken
//! ([`Global::begin_import`]). Regions, entries of the catalog and published
//! charts that are there already stay as they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::moment::{CUT_AHEAD_A_SHARD_MS, CUT_AHEAD_MS, Cutting, TABLES};
use super::room::PaneRoom;
use super::{Global, closed, ladder};
use crate::codec::{self, record};
use crate::storage::{Storage, StorageError, Table, Write, key_after};
use crate::summary::{Seed, Summary};
use crate::topology::{DeletedRegion, Region, parts_of_key};
use crate::window::{DAY_MS, Days, Level, PLAY_AHEAD_MAX_MS, PaneKey, expires_before_ms};
use crate::wire::{
    CatalogEntry, ExportAnswer, ExportPage, ExportPosition, ExportRequest, ImportRequest,
    ImportRow, Imported, PostPatch, PutRegion, Refusal, SHARDS_A_REQUEST, ShardName, ToCut,
    TransferChart, TransferPane, TransferRow,
};

/// Stored bytes of a page; one row may be larger.
const PAGE_BYTES: usize = 512 << 10;
/// What a page's rows are as lines of JSON; one row may be larger. Of stored bytes they are ten times
/// as many and more: summaries are packed, and a line has their posts in two forms.
const PAGE_TEXT_BYTES: usize = 2 << 20;
/// The names of a line's fields, numbers and times; and those of one post of a pane.
const LINE_BYTES: usize = 256;
const LISTED_BYTES: usize = 96;
/// Who asks too early asks again so much later.
const ASK_AGAIN_MS: u64 = 250;
/// Shards of a region that was deleted longer ago are not asked to cut their logs: they keep what they
/// have for so long, and took nothing since.
const DELETED_CUT_FOR_MS: u64 = 8 * DAY_MS;
/// How far an import has come: one row for each installation that rows came from.
const IMPORT_PREFIX: &[u8] = b"import/";

/// The rows of an export that were taken.
#[derive(Serialize, Deserialize)]
struct ImportMark {
    export_id: [u8; 16],
    next_row: u64,
}

record!(ImportMark v 1);

/// What the registry is asked for an import.
#[derive(Debug, PartialEq, Eq)]
pub struct ImportNeeds {
    /// That of the installation where the rows come from, if nothing was counted here.
    pub seed: Option<[u8; 16]>,
    /// Regions that are not known here.
    pub regions: Vec<PutRegion>,
}

/// The deletes of what is known of imports.
///
/// # Errors
/// When the disk refuses.
pub fn marks_of_imports(storage: &impl Storage) -> Result<Vec<Write>, StorageError> {
    let keys = storage.keys(Table::Meta, IMPORT_PREFIX)?.into_iter();
    Ok(keys.map(|key| Write::delete(Table::Meta, key)).collect())
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::Invalid(detail.into())
}

impl Global {
    /// There is to be an export, of a moment that is about to come. One that is under way is over.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn begin_export(&mut self, storage: &impl Storage, now_ms: u64) -> Result<ToCut, Refusal> {
        self.moment.forget(storage)?;
        let live = self.table.regions.iter();
        // What a shard has is pushed within days, or its storage is lost.
        let is_recent =
            |region: &&DeletedRegion| now_ms.saturating_sub(region.deleted_ms) < DELETED_CUT_FOR_MS;
        let deleted = self.table.deleted.iter().filter(is_recent);
        let deleted = deleted.map(|deleted| &deleted.region);
        let regions = live.chain(deleted);
        let shards: Vec<ShardName> = regions
            .flat_map(|region| {
                let key = region.key().into_owned();
                (0..region.most_shards).map(move |shard| (key.clone(), shard))
            })
            .collect();
        let ahead_ms = CUT_AHEAD_MS + CUT_AHEAD_A_SHARD_MS * shards.len() as u64;
        let at_ms = now_ms.saturating_add(ahead_ms);
        self.cutting = Some(Cutting::new(now_ms, at_ms, shards));
        Ok(self.next_to_cut().unwrap_or(ToCut {
            at_ms,
            epoch: self.table.epoch(),
            shards: Vec::new(),
        }))
    }

    /// Hands out shards that are to hear of the moment to come; `None` where all were.
    fn next_to_cut(&mut self) -> Option<ToCut> {
        let cutting = self.cutting.as_mut()?;
        let shards = cutting.hand_out(SHARDS_A_REQUEST);
        let hint_of = |key: &str| self.table.ever_had_key(key)?.hint.clone();
        let shards = shards.into_iter().map(|(key, shard)| {
            let hint = hint_of(&key);
            (key, shard, hint)
        });
        let shards: Vec<(String, u32, Option<String>)> = shards.collect();
        (!shards.is_empty()).then(|| ToCut {
            at_ms: cutting.at_ms,
            epoch: self.table.epoch(),
            shards,
        })
    }

    /// A page of everything that was kept at a moment, from a position on; or that it is too early.
    ///
    /// # Errors
    /// [`Refusal`] for an export that is over, a position that is none, and when the disk refuses.
    pub fn export(
        &mut self,
        storage: &impl Storage,
        request: &ExportRequest,
        now_ms: u64,
    ) -> Result<ExportAnswer, Refusal> {
        if (self.cutting.as_ref()).is_some_and(|cutting| cutting.at_ms == request.at_ms) {
            if !self.moment_is_due(now_ms) {
                if let Some(to_cut) = self.next_to_cut() {
                    return Ok(ExportAnswer::Tell(to_cut));
                }
                return Ok(ExportAnswer::Wait { ms: ASK_AGAIN_MS });
            }
            self.flush(storage, now_ms)?;
        }
        let complete = self.export_goes_on(storage, request.at_ms, now_ms)?;
        let Some(index) = usize::from(request.position.table).checked_sub(1) else {
            let mut rows = vec![TransferRow::Days(self.days().clone())];
            rows.extend(rows_of_regions(&self.moment.regions(request.at_ms)));
            return Ok(ExportAnswer::Page(ExportPage {
                seed: self.table.seed,
                rows,
                damaged_rows: 0,
                next: Some(ExportPosition {
                    table: 1,
                    key: Vec::new(),
                }),
                complete,
            }));
        };
        let table = *TABLES
            .get(index)
            .ok_or_else(|| invalid("no such position"))?;
        let found = self
            .moment
            .scan(storage, index, &request.position.key, PAGE_BYTES)?;
        let (mut damaged_rows, mut rows) = (0, Vec::new());
        let mut text_bytes = 0;
        let mut last = None;
        let mut is_cut = false;
        for (key, value) in found.iter().flat_map(|(stored, _)| stored) {
            let row = read_table_row(table, key, value, self.seed(), self.days());
            text_bytes += row
                .as_ref()
                .map_or(0, |row| bytes_of_line(row, self.seed()));
            if last.is_some() && text_bytes > PAGE_TEXT_BYTES {
                is_cut = true;
                break;
            }
            match row {
                Some(row) => rows.push(row),
                None => damaged_rows += 1,
            }
            last = Some(key);
        }
        let end = match (last, &found) {
            (Some(last), _) if is_cut => Some(last),
            (_, Some((_, end))) => Some(end),
            (_, None) => None,
        };
        let next = match end {
            // The next key that there can be.
            Some(end) => Some((index, key_after(end))),
            None => (index + 1 < TABLES.len()).then(|| (index + 1, Vec::new())),
        };
        self.moment.asked(next.is_none(), now_ms);
        Ok(ExportAnswer::Page(ExportPage {
            seed: self.table.seed,
            rows,
            damaged_rows,
            next: next.map(|(index, key)| ExportPosition {
                table: index as u8 + 1,
                key,
            }),
            complete,
        }))
    }

    /// An import begins, or goes on: what the registry is to be asked for before rows of it are taken.
    ///
    /// # Errors
    /// [`Refusal`] where rows of another export of the same installation were taken, and when the disk refuses.
    pub fn begin_import(
        &mut self,
        storage: &impl Storage,
        request: &ImportRequest,
    ) -> Result<ImportNeeds, Refusal> {
        let mark_key = [IMPORT_PREFIX, &request.source[..]].concat();
        let is_empty = self.has_no_plays(storage)?;
        match read_mark(storage, &mark_key)? {
            Some(mark) if mark.export_id == request.export_id => {}
            Some(mark) if mark.next_row > 0 => {
                return Err(invalid(
                    "another export of the same installation was imported: it holds the same plays",
                ));
            }
            // Or it began there, in an empty one, and nothing of it was taken before this one counted.
            _ if self.table.seed == request.source && !is_empty => {
                return Err(invalid("this is where the export comes from"));
            }
            // Of the one that was begun before nothing was taken.
            _ => {
                // Before the seed is taken: where this breaks off in between, it can go on.
                let mark = ImportMark {
                    export_id: request.export_id,
                    next_row: 0,
                };
                let write = Write::put(Table::Meta, mark_key, codec::encode(&mark));
                storage.write(&[write])?;
            }
        }
        let regions = request.rows.iter().filter_map(|row| match row {
            ImportRow::Row(TransferRow::Region(region)) => Some(region),
            _ => None,
        });
        let is_unknown = |region: &&PutRegion| self.table.find(&region.region_id).is_none();
        Ok(ImportNeeds {
            seed: (is_empty && self.table.seed != request.source).then_some(request.source),
            regions: regions.filter(is_unknown).cloned().collect(),
        })
    }

    /// Takes rows of an export that was begun, once. They are durable after the next sync.
    ///
    /// # Errors
    /// [`Refusal`] for rows that make no sense, and when the disk refuses. Then nothing was counted, and
    /// no row is marked as taken. Entries of the catalog are not taken here.
    pub fn import(
        &mut self,
        storage: &impl Storage,
        request: &ImportRequest,
        now_ms: u64,
    ) -> Result<Imported, Refusal> {
        let mark_key = [IMPORT_PREFIX, &request.source[..]].concat();
        let mark = read_mark(storage, &mark_key)?;
        let Some(mark) = mark.filter(|mark| mark.export_id == request.export_id) else {
            return Err(invalid(
                "this import was not begun, or another one was since",
            ));
        };
        let next_row = mark.next_row;
        let taken = Imported { next_row };
        let Some(skip) = next_row.checked_sub(request.first_row) else {
            return Ok(taken);
        };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let rows = request.rows.get(skip..).unwrap_or_default();
        if rows.is_empty() {
            return Ok(taken);
        }
        self.end_idle_export(storage, now_ms)?;
        self.close_all(storage, now_ms)?;
        let guarded = self.moment.guard(storage);
        let charts = self.import_charts(&guarded, rows, now_ms)?;
        // Into what has no plays yet an export brings its own days.
        let is_empty = self.has_no_plays(storage)?;
        let adopted = rows.iter().find_map(|row| match row {
            ImportRow::Row(TransferRow::Days(days)) if is_empty => Some(days.clone()),
            _ => None,
        });
        let days = adopted.as_ref().unwrap_or(self.days());
        let (mut writes, folded) =
            self.import_panes(&guarded, rows, (self.seed(), days), now_ms)?;
        if let Some(days) = &adopted {
            writes.extend(self.kept_days.writes(days));
        }
        writes.extend(charts);
        let next_row = next_row.saturating_add(rows.len() as u64);
        let mark = ImportMark {
            export_id: request.export_id,
            next_row,
        };
        writes.push(Write::put(Table::Meta, mark_key, codec::encode(&mark)));
        self.moment.guard(storage).write(&writes)?;
        if let Some(days) = adopted {
            self.kept_days.adopted(days);
        }
        self.stored_anew();
        for (scope, pane) in folded {
            self.stretches.forget(&scope, pane);
        }
        Ok(Imported { next_row })
    }

    /// What the rows of an import that was begun, and that are still to be taken, say of posts.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn posts_of_import(
        &self,
        storage: &impl Storage,
        request: &ImportRequest,
    ) -> Result<Vec<PostPatch>, Refusal> {
        let mark_key = [IMPORT_PREFIX, &request.source[..]].concat();
        let next_row = read_mark(storage, &mark_key)?.map_or(0, |mark| mark.next_row);
        let skip = next_row.saturating_sub(request.first_row);
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let rows = request.rows.iter().skip(skip);
        let patches = rows.filter_map(|row| match row {
            ImportRow::Row(TransferRow::Post(entry)) => Some(entry.clone().into()),
            _ => None,
        });
        Ok(patches.collect())
    }

    /// Whether an export goes on, and every shard had told what it had by its moment.
    ///
    /// # Errors
    /// [`Refusal::ExportIsOver`], and when the disk refuses.
    pub(super) fn export_goes_on(
        &self,
        storage: &impl Storage,
        at_ms: u64,
        now_ms: u64,
    ) -> Result<bool, Refusal> {
        self.moment.forget_idle(storage, now_ms)?;
        let complete = self.moment.is_kept(at_ms).ok_or(Refusal::ExportIsOver)?;
        self.moment.asked(false, now_ms);
        Ok(complete)
    }

    pub(super) fn has_no_plays(&self, storage: &impl Storage) -> Result<bool, StorageError> {
        let nothing_sent = self.offsets.stored().consumed.is_empty();
        Ok(nothing_sent && storage.scan(Table::Panes, &[], &[], 0)?.is_empty())
    }

    /// The writes of charts that are not there.
    fn import_charts(
        &mut self,
        storage: &impl Storage,
        rows: &[ImportRow],
        now_ms: u64,
    ) -> Result<Vec<Write>, Refusal> {
        let mut writes = Vec::new();
        for row in rows {
            let ImportRow::Row(TransferRow::Chart(chart)) = row else {
                continue;
            };
            if self.require(&chart.scope).is_err() {
                return Err(invalid(format!("there is no region {:?}", chart.scope)));
            }
            writes.extend(self.import_chart(storage, chart, now_ms)?);
        }
        Ok(writes)
    }

    /// The writes that fold panes into those that are there, and which ones they are.
    #[allow(clippy::type_complexity)]
    fn import_panes(
        &self,
        storage: &impl Storage,
        rows: &[ImportRow],
        (seed, days): (Seed, &Days),
        now_ms: u64,
    ) -> Result<(Vec<Write>, Vec<(String, PaneKey)>), Refusal> {
        let mut targets: BTreeMap<(String, PaneKey), Vec<Summary>> = BTreeMap::new();
        for row in rows {
            let ImportRow::Row(TransferRow::Pane(pane)) = row else {
                continue;
            };
            let key = Level::from_code(pane.level)
                .and_then(|level| PaneKey::checked(level, pane.start_ms, pane.end_ms))
                .ok_or_else(|| invalid("a pane of no such span"))?;
            let own = PaneKey::of(key.level, key.start_ms, days);
            // Of the day under way another zone may be about to begin the rest anew: nothing was played then.
            let latest_ms = now_ms.saturating_add(PLAY_AHEAD_MAX_MS);
            if key.end_ms > own.end_ms && own.end_ms <= latest_ms {
                let detail = "its days begin at other hours than those that are kept here: import it \
                              before anything is counted, and it brings its own";
                return Err(invalid(detail));
            }
            if self.require(&pane.scope).is_err() {
                return Err(invalid(format!("there is no region {:?}", pane.scope)));
            }
            let summary = Summary::decode(&pane.summary, seed)
                .map_err(|error| invalid(format!("summary: {error}")))?;
            if own.end_ms > expires_before_ms(own.level, now_ms, days) {
                let target = (self.key_of(&pane.scope), own);
                targets.entry(target).or_default().push(summary);
            }
        }
        let room = PaneRoom::of(storage, now_ms)?;
        let mut writes = Vec::with_capacity(targets.len());
        let mut folded = Vec::with_capacity(targets.len());
        for ((scope, key), parts) in targets {
            let parts: Vec<&Summary> = parts.iter().collect();
            let write = ladder::fold(storage, &scope, key, &parts, seed, (room, &self.damage))?;
            writes.push(write.ok_or_else(|| Refusal::Damaged("a pane's rows".into()))?);
            folded.push((scope, key));
        }
        Ok((writes, folded))
    }
}

fn read_mark(storage: &impl Storage, key: &[u8]) -> Result<Option<ImportMark>, Refusal> {
    let mark = storage.get(Table::Meta, key)?;
    let mark = mark.map(|bytes| codec::decode::<ImportMark>(&bytes));
    mark.transpose()
        .map_err(|error| Refusal::Damaged(format!("the mark of the import: {error}")))
}

/// The regions as rows of an export.
fn rows_of_regions(regions: &[Region]) -> Vec<TransferRow> {
    let row = |region: &Region| {
        TransferRow::Region(PutRegion {
            shards: Some(region.shards),
            region_id: region.region_id.clone(),
            region_name: Some(region.region_name.clone()),
            hint: region.hint.clone().map(Some),
        })
    };
    regions.iter().map(row).collect()
}

fn read_table_row(
    table: Table,
    key: &[u8],
    value: &[u8],
    seed: Seed,
    days: &Days,
) -> Option<TransferRow> {
    match table {
        Table::Charts => {
            let (scope, period) = closed::parts_of(key)?;
            Some(TransferRow::Chart(TransferChart {
                scope: parts_of_key(scope).0.to_owned(),
                chart: closed::read(period, value)?,
            }))
        }
        _ => {
            let (scope, pane, summary) = ladder::stored_pane(key, value, seed, days)?;
            Some(TransferRow::Pane(TransferPane {
                scope: parts_of_key(&scope).0.to_owned(),
                level: pane.level.code(),
                start_ms: pane.start_ms,
                end_ms: pane.end_ms,
                summary,
            }))
        }
    }
}

/// What a row is as a line of JSON (`src/edge/transfer.rs`), a little more rather than less.
fn bytes_of_line(row: &TransferRow, seed: Seed) -> usize {
    let string = |text: &str| serde_json::to_vec(text).map_or(0, |text| text.len());
    let field = |text: &Option<String>| text.as_deref().map_or(0, string);
    let content = match row {
        TransferRow::Region(region) => string(&region.region_id) + field(&region.region_name),
        TransferRow::Post(CatalogEntry { post_id, card, .. }) => {
            let fields = [&card.author, &card.content, &card.url, &card.image];
            let tags = card.tags.iter().map(|tag| string(tag) + 1);
            string(post_id) + fields.into_iter().map(field).sum::<usize>() + tags.sum::<usize>()
        }
        // A line for itself, as the first of a page.
        TransferRow::Days(_) => 0,
        TransferRow::Pane(pane) => {
            let listed_bytes = Summary::decode(&pane.summary, seed).map_or(0, |summary| {
                let listed = summary.top(usize::MAX).into_iter();
                listed.map(|row| LISTED_BYTES + string(row.id)).sum()
            });
            pane.summary.len().div_ceil(3) * 4 + listed_bytes
        }
        TransferRow::Chart(chart) => {
            let listed = chart.chart.places.iter();
            listed
                .map(|place| 2 * LISTED_BYTES + string(&place.post_id))
                .sum()
        }
    };
    LINE_BYTES + content
}
