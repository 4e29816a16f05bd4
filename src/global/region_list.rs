//! The list of regions, with the plays of a day of each.
//!
//! # Cost
//! Counting them reads a day of every region: 1 to 2 ms each. So it is done a region at a time, with
//! others' turns in between, and what was counted serves for [`LIVE_MAX_AGE_MS`]. What is known of a
//! region besides is as of now.

use std::collections::BTreeMap;

use super::LIVE_MAX_AGE_MS;
use super::state::Global;
use super::window_plays::window_of;
use crate::storage::Storage;
use crate::window::{DAY_MS, Span};
use crate::wire::{Refusal, RegionStatus, WindowRequest};

/// Where there is too much to do, plays that were counted so long ago are shown.
const SHOWN_MAX_AGE_MS: u64 = 60_000;

/// The plays of a day of each region.
#[derive(Default)]
pub struct CountedRegions {
    views: BTreeMap<String, u64>,
    counted_ms: u64,
}

/// The list as it can be shown.
pub struct KnownRegions {
    pub regions: Vec<RegionStatus>,
    /// Its plays were counted a moment ago.
    pub is_fresh: bool,
}

/// Counting in the making.
pub struct RegionList {
    counted: CountedRegions,
    span: Span,
    /// Regions that are still to be looked at.
    regions: Vec<String>,
}

impl RegionList {
    /// # Errors
    /// None that is known.
    pub fn begin(global: &Global, now_ms: u64) -> Result<Self, Refusal> {
        let day = window_of(
            WindowRequest::Sliding { length_ms: DAY_MS },
            now_ms,
            global.days(),
        )?;
        let regions = global.table.regions.iter();
        Ok(RegionList {
            counted: CountedRegions {
                views: BTreeMap::new(),
                counted_ms: now_ms,
            },
            span: day.span,
            regions: regions.map(|region| region.region_id.clone()).collect(),
        })
    }

    /// Looks at one more region. All of them, when it was the last.
    ///
    /// # Errors
    /// [`Refusal`] when the disk refuses.
    pub fn step(
        &mut self,
        global: &Global,
        storage: &impl Storage,
    ) -> Result<Option<CountedRegions>, Refusal> {
        if let Some(region_id) = self.regions.pop() {
            let total = global.total(storage, &region_id, self.span, self.counted.counted_ms)?;
            self.counted.views.insert(region_id, total);
        }
        let is_last = self.regions.is_empty();
        Ok(is_last.then(|| std::mem::take(&mut self.counted)))
    }
}

impl Global {
    /// The regions as they are now, with what was counted; `None` where one was not, or too long
    /// ago.
    pub fn known_regions(&self, counted: &CountedRegions, now_ms: u64) -> Option<KnownRegions> {
        let age_ms = now_ms.checked_sub(counted.counted_ms)?;
        if age_ms > SHOWN_MAX_AGE_MS {
            return None;
        }
        let mut regions = Vec::with_capacity(self.table.regions.len());
        for region in &self.table.regions {
            let (region_id, key) = (&region.region_id, region.key());
            let copies = self.live.copies_of(&key);
            let open = copies.filter(|(_, copies)| !copies.panes.is_empty());
            let ages = open.map(|(_, copies)| now_ms.saturating_sub(copies.received_ms));
            regions.push(RegionStatus {
                region_id: region_id.clone(),
                region_name: region.region_name.clone(),
                shards: region.shards,
                hint: region.hint.clone(),
                views_24h: *counted.views.get(region_id)?,
                push_age_ms: ages.max(),
            });
        }
        let is_fresh = age_ms < LIVE_MAX_AGE_MS;
        Some(KnownRegions { regions, is_fresh })
    }

    /// Every region with what was heard of it, in one go.
    ///
    /// # Errors
    /// [`Refusal`] when the disk refuses.
    pub fn regions(
        &self,
        storage: &impl Storage,
        now_ms: u64,
    ) -> Result<Vec<RegionStatus>, Refusal> {
        let mut list = RegionList::begin(self, now_ms)?;
        loop {
            if let Some(counted) = list.step(self, storage)? {
                let known = self.known_regions(&counted, now_ms);
                return Ok(known.map(|known| known.regions).unwrap_or_default());
            }
        }
    }
}
