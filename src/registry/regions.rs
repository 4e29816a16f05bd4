//! The region table: made from the settings, changed by `PUT /regions`. At each start the settings' are
//! compared with it: those that it does not have are made, what differs else is said.

use crate::codec::{self, record};
use crate::settings::RegionSetting;
use crate::storage::{Storage, StorageError, Table, Write, two_copies};
use crate::text::check_name;
use crate::topology::{
    DeletedRegion, MAX_DELETED_REGIONS, MAX_REGIONS, MAX_SHARDS, MAX_SHARDS_IN_ALL, Region,
    RegionTable, check_hint, check_region_id, parts_of_key,
};
use crate::wire::{PutRegion, Refusal};

use std::collections::BTreeSet;
use std::hash::Hasher;

use serde::{Deserialize, Serialize};
use siphasher::sip128::{Hasher128, SipHasher13};

/// A region's row is found by its position and its id.
const POSITION_BYTES: usize = 4;
/// Two copies of the seed: a new one would loosen the bounds of everything stored.
const SEED_NAME: &[u8] = b"seed/";
/// Two copies: an earlier epoch would let in what was counted before.
const INSTALLATION_NAME: &[u8] = b"installation/";
/// Regions that were deleted, by their number: see [`note_deleted`].
const DELETED_PREFIX: &[u8] = b"deleted/";

#[derive(Serialize, Deserialize)]
struct SeedRow([u8; 16]);

record!(SeedRow v 1);

/// Which installation this is, and since when it counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installation {
    pub id: [u8; 16],
    /// The one before counting began anew: who asks for that again has not heard of it.
    pub previous_id: Option<[u8; 16]>,
    pub epoch_ms: u64,
    /// [`RegionTable::origin`].
    pub origin: String,
}

record!(Installation v 1);

/// What the settings say of a region and the table does not: `PUT /regions` has the last word, and who
/// changes the settings should know.
fn difference(first: &RegionSetting, made: &Region) -> Option<String> {
    let id = &first.id;
    let mut fields = Vec::new();
    let name = first.name.as_ref().filter(|name| *name != id);
    if let Some(name) = name.filter(|name| **name != made.region_name) {
        fields.push(format!("the name {name:?}, and is {:?}", made.region_name));
    }
    if first.hint.is_some() && first.hint != made.hint {
        fields.push(format!(
            "the hint {:?}, and has {:?}",
            first.hint, made.hint
        ));
    }
    let fields = fields.join("; ");
    (!fields.is_empty())
        .then(|| format!("REGIONS gives {id} {fields}; PUT /regions/{id} changes it"))
}

/// Where the regions are stored.
#[derive(Default)]
pub struct RegionRows {
    /// The key of each region's row, in the order of the table.
    pub keys: Vec<Vec<u8>>,
    /// The position that the next region's row begins with: behind every row there is.
    next_position: u32,
    /// Rows that cannot be read, the seed's included.
    pub damaged: u64,
    seed_generation: u8,
    /// What the settings say of regions and the table does not, a sentence each.
    pub differences: Vec<String>,
    pub installation: Installation,
    /// Neither of its copies can be read: `installation` was made for this start alone.
    pub is_installation_lost: bool,
    installation_generation: u8,
    /// The number of the next region that is deleted: behind every row of one there is.
    pub next_deleted: u32,
}

impl RegionRows {
    /// A region was made, behind every row there was.
    pub fn made(&mut self, key: &[u8]) {
        self.keys.push(key.to_vec());
        self.next_position = self.next_position.saturating_add(1);
    }
}

/// The write that remembers a region that was deleted. Behind its number, in the order of deletion, the
/// key says when it was deleted, the most shards that it had, and its own key: enough to do without the
/// row.
fn note_deleted(number: u32, deleted: &DeletedRegion) -> Write {
    let region_key = deleted.region.key();
    let key = [
        DELETED_PREFIX,
        &number.to_be_bytes(),
        &deleted.deleted_ms.to_be_bytes(),
        &deleted.region.most_shards.to_be_bytes(),
        region_key.as_bytes(),
    ];
    Write::put(Table::Meta, key.concat(), codec::encode(deleted))
}

/// What the key of a row says, whether or not that can be read, behind its number.
fn read_deleted_key(key: &[u8]) -> Option<(u32, DeletedRegion)> {
    let (number, key) = key.get(DELETED_PREFIX.len()..)?.split_first_chunk()?;
    let (deleted_ms, key) = key.split_first_chunk()?;
    let (shards, key) = key.split_first_chunk()?;
    let (region_id, incarnation) = parts_of_key(std::str::from_utf8(key).ok()?);
    let region = Region {
        incarnation,
        ..Region::new(region_id, region_id, u32::from_be_bytes(*shards))
    };
    let deleted = DeletedRegion {
        region,
        deleted_ms: u64::from_be_bytes(*deleted_ms),
    };
    Some((u32::from_be_bytes(*number), deleted))
}

/// The writes that begin another epoch, with a seed of its own.
pub fn epoch_writes(rows: &RegionRows, installation: &Installation, seed: [u8; 16]) -> Vec<Write> {
    let mut writes = seed_writes(rows, seed).to_vec();
    writes.extend(installation_writes(rows, installation));
    writes
}

fn installation_writes(rows: &RegionRows, installation: &Installation) -> [Write; 2] {
    let generation = rows.installation_generation;
    two_copies::writes(Table::Meta, INSTALLATION_NAME, generation, installation)
}

/// The writes that store another seed: for an installation that has no plays yet.
pub fn seed_writes(rows: &RegionRows, seed: [u8; 16]) -> [Write; 2] {
    two_copies::writes(Table::Meta, SEED_NAME, rows.seed_generation, &SeedRow(seed))
}

/// Reads the table; makes the seed where there is none, and the regions of the settings that it does
/// not have. Returns it with the writes that store what was made.
///
/// # Errors
/// When the disk refuses.
pub fn load(
    storage: &impl Storage,
    first: &[RegionSetting],
    random: [u8; 16],
) -> Result<(RegionTable, RegionRows, Vec<Write>), StorageError> {
    let mut writes = Vec::new();
    let stored = two_copies::load::<SeedRow>(storage, Table::Meta, SEED_NAME)?;
    let known = two_copies::load::<Installation>(storage, Table::Meta, INSTALLATION_NAME)?;
    let mut rows = RegionRows {
        damaged: stored.damaged + known.damaged,
        seed_generation: stored.generation,
        is_installation_lost: known.is_lost(),
        installation_generation: known.generation,
        ..RegionRows::default()
    };
    let seed = stored.record.map(|SeedRow(seed)| seed);
    let seed = seed.unwrap_or_else(|| {
        writes.extend(seed_writes(&rows, random));
        random
    });
    let mut deleted: Vec<DeletedRegion> = Vec::new();
    for (key, value) in storage.scan(Table::Meta, DELETED_PREFIX, &[], usize::MAX)? {
        let region = codec::decode::<DeletedRegion>(&value).ok();
        rows.damaged += u64::from(region.is_none());
        let Some((number, by_its_key)) = read_deleted_key(&key) else {
            continue;
        };
        rows.next_deleted = number.saturating_add(1);
        // Without it, a region of this id would be taken for one that was never there.
        deleted.push(region.unwrap_or(by_its_key));
    }
    let mut regions: Vec<Region> = Vec::new();
    let mut ids: BTreeSet<Vec<u8>> = BTreeSet::new();
    for (key, value) in storage.scan(Table::Regions, &[], &[], usize::MAX)? {
        let position = key
            .first_chunk()
            .map_or(0, |bytes| u32::from_be_bytes(*bytes));
        // Also of a row that cannot be read: its region is not made a second time.
        ids.insert(key.get(POSITION_BYTES..).unwrap_or_default().to_vec());
        rows.next_position = rows.next_position.max(position.saturating_add(1));
        match codec::decode::<Region>(&value) {
            Ok(region) => {
                regions.push(region);
                rows.keys.push(key);
            }
            Err(_) => rows.damaged += 1,
        }
    }
    let is_first_start = rows.next_position == 0;
    for first in first {
        let id = &first.id;
        if ids.contains(id.as_bytes()) {
            let made = regions.iter().find(|region| region.region_id == *id);
            rows.differences
                .extend(made.and_then(|made| difference(first, made)));
            continue;
        }
        if deleted
            .iter()
            .any(|deleted| deleted.region.region_id == *id)
        {
            rows.differences.push(format!(
                "REGIONS names {id}, which was deleted; take it out, or make it again by PUT"
            ));
            continue;
        }
        let of_deleted: u32 = deleted.iter().map(|it| it.region.most_shards).sum();
        let shards: u32 = regions.iter().map(|region| region.most_shards).sum();
        if regions.len() >= MAX_REGIONS || shards + of_deleted >= MAX_SHARDS_IN_ALL {
            rows.differences.push(format!(
                "REGIONS names {id}, which is not made: there are {} regions with {shards} shards, \
                 and may be {MAX_REGIONS} with {MAX_SHARDS_IN_ALL}",
                regions.len()
            ));
            continue;
        }
        if !is_first_start {
            rows.differences
                .push(format!("REGIONS names {id}, which was not made; now it is"));
        }
        let mut region = Region::new(id, first.name.as_ref().unwrap_or(id), 1);
        region.hint.clone_from(&first.hint);
        let key = row_key(rows.next_position, &region);
        writes.push(Write::put(
            Table::Regions,
            key.clone(),
            codec::encode(&region),
        ));
        rows.made(&key);
        regions.push(region);
    }
    rows.installation = known.record.unwrap_or_else(|| {
        // Where it was lost: the oldest that is left.
        let origin = regions.first().map(|region| region.key().into_owned());
        let made = Installation {
            id: id_of(&random),
            origin: origin.unwrap_or_default(),
            ..Installation::default()
        };
        if !rows.is_installation_lost {
            writes.extend(installation_writes(&rows, &made));
        }
        made
    });
    let table = RegionTable {
        number: 0,
        installation_id: rows.installation.id,
        epoch_ms: rows.installation.epoch_ms,
        seed,
        origin: rows.installation.origin.clone(),
        regions,
        deleted,
    };
    Ok((table, rows, writes))
}

/// The id of an installation that is made with these random bytes. They are its seed, too, which
/// cannot be found from the id.
pub fn id_of(random: &[u8; 16]) -> [u8; 16] {
    let mut hasher = SipHasher13::new_with_key(random);
    hasher.write(INSTALLATION_NAME);
    hasher.finish128().as_bytes()
}

/// The key keeps the order in which regions were made; it ends with the id, so that a row that
/// cannot be read is never overwritten by another region.
fn row_key(position: u32, region: &Region) -> Vec<u8> {
    let position: [u8; POSITION_BYTES] = position.to_be_bytes();
    [&position[..], region.region_id.as_bytes()].concat()
}

/// Makes or changes a region. Returns it with the write that stores it.
///
/// # Errors
/// [`Refusal::Invalid`] with what is wrong.
pub fn put(
    table: &RegionTable,
    rows: &RegionRows,
    request: &PutRegion,
) -> Result<(usize, Region, Write), Refusal> {
    let invalid = |detail: &str| Err(Refusal::Invalid(detail.to_owned()));
    if let Err(detail) = check_region_id(&request.region_id) {
        return invalid(detail);
    }
    if let Some(name) = &request.region_name {
        check_name("region_name", name).map_err(Refusal::Invalid)?;
    }
    if let Some(Some(hint)) = &request.hint
        && let Err(detail) = check_hint(hint)
    {
        return invalid(&detail);
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
    let others = table.regions.iter().enumerate();
    let others = others.filter(|(at, _)| *at != position);
    let in_all: u32 = others.map(|(_, region)| region.most_shards).sum();
    // What their shards have is still to be taken.
    let of_deleted: u32 = table.deleted.iter().map(|it| it.region.most_shards).sum();
    let had = table.regions.get(position).map(|region| region.most_shards);
    let has = request.shards.max(had).unwrap_or(1);
    if in_all + of_deleted + has > MAX_SHARDS_IN_ALL {
        return invalid(
            "all regions together, deleted ones included, may have 10000 shards; each counts as many as \
             it ever had",
        );
    }
    let mut region = table.regions.get(position).cloned().unwrap_or_else(|| {
        let shards = request.shards.unwrap_or(1);
        Region {
            incarnation: table.incarnations(&request.region_id),
            ..Region::new(&request.region_id, &request.region_id, shards)
        }
    });
    if let Some(name) = &request.region_name {
        region.region_name.clone_from(name);
    }
    if let Some(hint) = &request.hint {
        region.hint.clone_from(hint);
    }
    if let Some(shards) = request.shards {
        region.reshard(shards);
    }
    let key = rows.keys.get(position).cloned();
    let key = key.unwrap_or_else(|| row_key(rows.next_position, &region));
    let write = Write::put(Table::Regions, key, codec::encode(&region));
    Ok((position, region, write))
}

/// Deletes a region. Returns its place, what is remembered of it, and the writes that do it; its panes
/// are not among them.
///
/// # Errors
/// [`Refusal`]: there is no such region, it is the last one, or too many were deleted.
pub fn delete(
    table: &RegionTable,
    rows: &RegionRows,
    region_id: &str,
    now_ms: u64,
) -> Result<(usize, DeletedRegion, [Write; 2]), Refusal> {
    let regions = table.regions.iter();
    let found = regions.zip(&rows.keys).enumerate();
    let mut found = found.filter(|(_, (region, _))| region.region_id == region_id);
    let (position, (region, key)) = found.next().ok_or(Refusal::UnknownRegion)?;
    let invalid = |detail: &str| Err(Refusal::Invalid(detail.to_owned()));
    if table.regions.len() == 1 {
        return invalid("this is the only region; make another one first, plays need one");
    }
    if table.deleted.len() >= MAX_DELETED_REGIONS {
        return invalid("1000 regions were deleted already, the most that are remembered");
    }
    let deleted = DeletedRegion {
        region: region.clone(),
        deleted_ms: now_ms,
    };
    let writes = [
        Write::delete(Table::Regions, key.clone()),
        note_deleted(rows.next_deleted, &deleted),
    ];
    Ok((position, deleted, writes))
}
