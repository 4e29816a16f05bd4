//! The region table: made from the settings at the first start, changed by `PUT /regions`.

use crate::codec::{self, Record};
use crate::storage::{Storage, StorageError, Table, Write};
use crate::topology::{
    MAX_REGION_NAME_BYTES, MAX_REGIONS, MAX_SHARDS, Region, RegionTable, check_region_id,
};
use crate::wire::{PutRegion, Refusal};

use serde::{Deserialize, Serialize};

/// Two copies of the seed: a new one would loosen the bounds of everything stored.
const SEED_KEYS: [&[u8]; 2] = [b"seed/a", b"seed/b"];

#[derive(Serialize, Deserialize)]
struct SeedRow([u8; 16]);

impl Record for SeedRow {
    const KIND: u8 = 50;
    const VERSION: u8 = 1;
}

/// A region that the settings name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstRegion {
    pub region_id: String,
    pub region_name: String,
    pub hint: Option<String>,
}

/// Reads the table; makes seed and first regions where there are none. Returns it with the
/// writes that store what was made, and the number of rows that cannot be read.
///
/// # Errors
/// When the disk refuses.
pub fn load(
    storage: &impl Storage,
    first: &[FirstRegion],
    random: [u8; 16],
) -> Result<(RegionTable, Vec<Write>, u64), StorageError> {
    let mut writes = Vec::new();
    let mut damaged = 0;
    let mut seed = None;
    for key in SEED_KEYS {
        if let Some(bytes) = storage.get(Table::Meta, key)? {
            match codec::decode::<SeedRow>(&bytes) {
                Ok(SeedRow(stored)) => seed = seed.or(Some(stored)),
                Err(_) => damaged += 1,
            }
        }
    }
    let seed = seed.unwrap_or_else(|| {
        let row = codec::encode(&SeedRow(random));
        writes.extend(SEED_KEYS.map(|key| Write::put(Table::Meta, key, row.clone())));
        random
    });
    let rows = storage.scan(Table::Regions, &[], &[], usize::MAX)?;
    let mut regions = Vec::new();
    for (_, value) in &rows {
        match codec::decode::<Region>(value) {
            Ok(region) => regions.push(region),
            Err(_) => damaged += 1,
        }
    }
    if rows.is_empty() {
        for first in first.iter().take(MAX_REGIONS) {
            let mut region = Region::new(&first.region_id, &first.region_name, 1);
            region.hint.clone_from(&first.hint);
            writes.push(row_of(&region, regions.len()));
            regions.push(region);
        }
    }
    Ok((RegionTable { seed, regions }, writes, damaged))
}

/// The key keeps the order in which regions were made; it ends with the id, so that a row that
/// cannot be read is never overwritten by another region.
fn row_of(region: &Region, position: usize) -> Write {
    let mut key = (position as u32).to_be_bytes().to_vec();
    key.extend_from_slice(region.region_id.as_bytes());
    Write::put(Table::Regions, key, codec::encode(region))
}

/// Makes or changes a region. Returns it with the write that stores it.
///
/// # Errors
/// [`Refusal::Invalid`] with what is wrong.
pub fn put(
    table: &RegionTable,
    request: &PutRegion,
    now_ms: u64,
) -> Result<(usize, Region, Write), Refusal> {
    let invalid = |detail: &str| Err(Refusal::Invalid(detail.to_owned()));
    if let Err(detail) = check_region_id(&request.region_id) {
        return invalid(detail);
    }
    let name_is_bad = |name: &String| {
        name.is_empty() || name.len() > MAX_REGION_NAME_BYTES || name.chars().any(char::is_control)
    };
    if request.region_name.as_ref().is_some_and(name_is_bad) {
        return invalid("region_name has 1 to 256 bytes and no control characters");
    }
    if request
        .shards
        .is_some_and(|shards| !(1..=MAX_SHARDS).contains(&shards))
    {
        return invalid("shards is a whole number from 1 to 1000");
    }
    let existing = table
        .regions
        .iter()
        .position(|region| region.region_id == request.region_id);
    let position = existing.unwrap_or(table.regions.len());
    if position >= MAX_REGIONS {
        return invalid("there are 100 regions already, the most that there may be");
    }
    let mut region = table.regions.get(position).cloned().unwrap_or_else(|| {
        Region::new(
            &request.region_id,
            &request.region_id,
            request.shards.unwrap_or(1),
        )
    });
    if let Some(name) = &request.region_name {
        region.region_name.clone_from(name);
    }
    if request.hint.is_some() {
        region.hint.clone_from(&request.hint);
    }
    if let Some(shards) = request.shards {
        region.reshard(shards, now_ms);
    }
    let write = row_of(&region, position);
    Ok((position, region, write))
}
