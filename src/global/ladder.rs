//! The stored panes of every scope.
//!
//! One row a scope, level, span and *generation*. The generation is 0, unless a row cannot be
//! read: it is left as it is, and what is new goes into the next generation beside it.

use super::room::PaneRoom;
use crate::capacity::{self, THINNED_AFTER_DAYS, THINNED_BYTES};
use crate::codec::{self, record};
use crate::storage::{Damage, Storage, StorageError, Table, Write};
use crate::summary::{Bounds, Seed, Summary};
use crate::window::{DAY_MS, Days, Level, PaneKey, expires_before_ms};

use serde::{Deserialize, Serialize};

/// Days that are looked at for being thinned: an object that slept for two days misses none. What is
/// folded into an older one thins it, too.
const THINNED_A_DAY: u64 = 3;
/// Damaged rows of one pane beside which new ones are still begun.
const MAX_GENERATIONS: u8 = 8;

/// A stored summary: whole, or in two parts ([`Summary::encode_parts`]).
#[derive(Clone, Copy, Serialize, Deserialize)]
pub struct PaneRow<'a> {
    #[serde(borrow)]
    largest: &'a [u8],
    /// Empty where the first part is the whole.
    others: &'a [u8],
}

record!(PaneRow<'_> v 1);

impl PaneRow<'_> {
    pub fn decode(self, seed: Seed) -> Option<Summary> {
        let whole = match self.others {
            [] => Summary::decode_checked(self.largest, seed),
            others => Summary::decode_parts(self.largest, others, seed),
        };
        whole.ok()
    }

    /// Its largest counters, with a filter for the others.
    pub fn decode_largest(self, seed: Seed) -> Option<Summary> {
        Summary::decode_checked(self.largest, seed).ok()
    }

    /// The bounds of one post.
    pub fn bounds(self, post_id: &str, seed: Seed) -> Option<Bounds> {
        let bounds = match self.others {
            [] => Summary::bounds_in(self.largest, post_id, seed),
            others => Summary::bounds_in_parts((self.largest, others), post_id, seed),
        };
        bounds.ok()
    }

    pub fn bytes(self) -> usize {
        self.largest.len() + self.others.len()
    }
}

/// What there is of a pane: usually one row; more where rows are damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredPane {
    pub is_absent: bool,
    pub damaged: bool,
}

/// Scope, level, start: the rows of a level lie together in order of time.
fn pane_prefix(scope: &str, level: Level) -> Vec<u8> {
    let mut key = scope.as_bytes().to_vec();
    key.extend_from_slice(&[0, level.code()]);
    key
}

fn pane_key(scope: &str, pane: PaneKey) -> Vec<u8> {
    let mut key = pane_prefix(scope, pane.level);
    key.extend_from_slice(&pane.start_ms.to_be_bytes());
    key
}

/// A stored row as what it is: its scope, its pane, and the encoded summary. `None` where it cannot
/// be read.
pub fn stored_pane(
    key: &[u8],
    value: &[u8],
    seed: Seed,
    days: &Days,
) -> Option<(String, PaneKey, Vec<u8>)> {
    let (rest, _generation) = key.split_last_chunk::<1>()?;
    let (rest, start) = rest.split_last_chunk::<8>()?;
    let (scope, [0, level]) = rest.split_last_chunk::<2>()? else {
        return None;
    };
    let scope = String::from_utf8(scope.to_vec()).ok()?;
    let start_ms = u64::from_be_bytes(*start);
    let pane = PaneKey::of(Level::from_code(*level)?, start_ms, days);
    if pane.start_ms != start_ms {
        return None;
    }
    let row = codec::decode::<PaneRow<'_>>(value).ok()?;
    let summary = row.decode(seed)?;
    let encoded = match row.others {
        [] => row.largest.to_vec(),
        _ => summary.encode(),
    };
    Some((scope, pane, encoded))
}

/// Hands the stored summaries of a pane to `read`, which says whether it could read them.
///
/// # Errors
/// When the disk refuses.
pub fn read_pane(
    storage: &impl Storage,
    scope: &str,
    pane: PaneKey,
    damage: &Damage,
    read: &mut impl FnMut(PaneRow<'_>) -> bool,
) -> Result<StoredPane, StorageError> {
    let rows = storage.scan(Table::Panes, &pane_key(scope, pane), &[], usize::MAX)?;
    let mut stored = StoredPane {
        is_absent: rows.is_empty(),
        damaged: false,
    };
    for (key, value) in rows {
        if !codec::decode(&value).is_ok_and(&mut *read) {
            damage.note(&key);
            stored.damaged = true;
        }
    }
    Ok(stored)
}

/// When the first stored pane of a scope and level begins that does not begin before this one.
///
/// # Errors
/// When the disk refuses.
pub fn next_stored_ms(
    storage: &impl Storage,
    scope: &str,
    pane: PaneKey,
) -> Result<Option<u64>, StorageError> {
    let prefix = pane_prefix(scope, pane.level);
    let next = storage.next_key(Table::Panes, &prefix, &pane_key(scope, pane))?;
    let start = next.and_then(|key| key.get(prefix.len()..)?.first_chunk::<8>().copied());
    Ok(start.map(u64::from_be_bytes))
}

fn read_row(value: &[u8], seed: Seed) -> Option<Summary> {
    codec::decode::<PaneRow<'_>>(value).ok()?.decode(seed)
}

/// The write that folds `parts` into a pane. `None` where every generation is damaged: then the
/// plays are in the other levels only, and charts that need this one say `incomplete`.
///
/// # Errors
/// When the disk refuses.
pub fn fold(
    storage: &impl Storage,
    scope: &str,
    pane: PaneKey,
    parts: &[&Summary],
    seed: Seed,
    (room, damage): (PaneRoom, &Damage),
) -> Result<Option<Write>, StorageError> {
    let key = pane_key(scope, pane);
    for generation in 0..MAX_GENERATIONS {
        let row_key = [&key[..], &[generation]].concat();
        let existing = match storage.get(Table::Panes, &row_key)? {
            None => None,
            Some(value) => match read_row(&value, seed) {
                Some(summary) => Some(summary),
                None => {
                    damage.note(&row_key);
                    continue;
                }
            },
        };
        let parts = existing.iter().chain(parts.iter().copied());
        let merged = capacity::fold(parts, pane.level, seed);
        let (largest, others) = room.encode(&merged, pane);
        let row = PaneRow {
            largest: &largest,
            others: &others,
        };
        return Ok(Some(Write::put(Table::Panes, row_key, codec::encode(&row))));
    }
    Ok(None)
}

/// The writes that thin to [`THINNED_BYTES`] the days of a scope that have lately become older than
/// [`THINNED_AFTER_DAYS`], with the panes that change. To be asked once a day, and after a start.
///
/// # Errors
/// When the disk refuses.
pub fn thinned(
    storage: &impl Storage,
    scope: &str,
    seed: Seed,
    now_ms: u64,
    days: &Days,
) -> Result<Vec<(PaneKey, Write)>, StorageError> {
    let mut writes = Vec::new();
    let mut old_ms = now_ms.saturating_sub((THINNED_AFTER_DAYS + 1) * DAY_MS);
    for _ in 0..THINNED_A_DAY {
        let pane = PaneKey::of(Level::Day, old_ms, days);
        old_ms = pane.start_ms.saturating_sub(1);
        for (key, value) in storage.scan(Table::Panes, &pane_key(scope, pane), &[], usize::MAX)? {
            // One that cannot be read stays as it is, as does what was thinned when it was folded.
            let row = codec::decode::<PaneRow<'_>>(&value);
            if let Some(row) = row.ok().filter(|row| row.bytes() > THINNED_BYTES)
                && let Some(summary) = row.decode(seed)
            {
                let row = PaneRow {
                    largest: &capacity::encode_within(&summary, THINNED_BYTES),
                    others: &[],
                };
                let value = codec::encode(&row);
                writes.push((pane, Write::put(Table::Panes, key, value)));
            }
        }
    }
    Ok(writes)
}

/// The deletes of all panes that no question can reach any more.
///
/// # Errors
/// When the disk refuses.
pub fn expired(
    storage: &impl Storage,
    scope: &str,
    now_ms: u64,
    days: &Days,
) -> Result<Vec<Write>, StorageError> {
    let mut deletes = Vec::new();
    for level in Level::LADDER {
        if level == Level::All {
            continue;
        }
        let prefix = pane_prefix(scope, level);
        let edge_ms = expires_before_ms(level, now_ms, days);
        for key in storage.keys(Table::Panes, &prefix)? {
            let start_ms = key.get(prefix.len()..prefix.len() + 8);
            let start_ms = start_ms.and_then(|bytes| bytes.try_into().ok());
            let start_ms = start_ms.map_or(u64::MAX, u64::from_be_bytes);
            if PaneKey::of(level, start_ms, days).end_ms > edge_ms {
                break;
            }
            deletes.push(Write::delete(Table::Panes, key));
        }
    }
    Ok(deletes)
}

/// The deletes of all panes of a scope.
///
/// # Errors
/// When the disk refuses.
pub fn all_of(storage: &impl Storage, scope: &str) -> Result<Vec<Write>, StorageError> {
    let mut deletes = Vec::new();
    for level in Level::LADDER {
        let keys = storage.keys(Table::Panes, &pane_prefix(scope, level))?;
        let keys = keys.into_iter();
        deletes.extend(keys.map(|key| Write::delete(Table::Panes, key)));
    }
    Ok(deletes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::MemoryStorage;

    const SEED: Seed = Seed::from_bytes([3; 16]);
    const POSTS: u64 = 60_000;

    fn post_id(post: u64) -> String {
        match post % 50 {
            0 => format!("a rather long id of post {post}"),
            _ => format!("song-{post}"),
        }
    }

    fn plays_of(post: u64) -> u64 {
        1 + 90_000 / (1 + post)
    }

    fn only_row(storage: &MemoryStorage) -> (Vec<u8>, Vec<u8>) {
        let rows = storage.scan(Table::Panes, &[], &[], usize::MAX).unwrap();
        let [row] = <[_; 1]>::try_from(rows).unwrap();
        row
    }

    #[test]
    fn a_day_in_two_parts_is_exported_whole_and_thinned_as_any_other() {
        let (storage, days, damage) = (MemoryStorage::new(), Days::default(), Damage::default());
        let day = PaneKey::of(Level::Day, 20_000 * DAY_MS, &days);
        let room = PaneRoom::of(&storage, day.end_ms).unwrap();
        // The second half is folded into what is stored of the first.
        for half in 0..2 {
            let mut plays = Summary::growing(64 << 20, 8_192, SEED);
            let posts = (0..POSTS).filter(|post| half == 0 || post % 2 == 0);
            posts.for_each(|post| plays.record(&post_id(post), plays_of(post)));
            let write = fold(&storage, "NA", day, &[&plays], SEED, (room, &damage));
            storage.write(write.unwrap().as_slice()).unwrap();
        }
        let truth = |post| plays_of(post) * if post % 2 == 0 { 2 } else { 1 };

        let (key, value) = only_row(&storage);
        let row: PaneRow<'_> = codec::decode(&value).unwrap();
        assert!(!row.others.is_empty());
        let (scope, pane, exported) = stored_pane(&key, &value, SEED, &days).unwrap();
        assert_eq!((&scope[..], pane), ("NA", day));
        let exported = Summary::decode(&exported, SEED).unwrap();
        assert!(exported.is_exact() && exported.len() as u64 == POSTS);
        for post in (0..POSTS).step_by(613) {
            let bounds = row.bounds(&post_id(post), SEED).unwrap();
            let exact = truth(post);
            assert_eq!((bounds.lower, bounds.upper), (exact, exact));
            assert_eq!(exported.bounds(&post_id(post)), bounds);
        }

        let later_ms = day.start_ms + (THINNED_AFTER_DAYS + 1) * DAY_MS;
        for (pane, write) in thinned(&storage, "NA", SEED, later_ms, &days).unwrap() {
            assert_eq!(pane, day);
            storage.write(&[write]).unwrap();
        }
        let (_, value) = only_row(&storage);
        let row: PaneRow<'_> = codec::decode(&value).unwrap();
        assert!(row.bytes() <= THINNED_BYTES && row.others.is_empty());
        assert!(
            thinned(&storage, "NA", SEED, later_ms, &days)
                .unwrap()
                .is_empty()
        );
        for post in (0..POSTS).step_by(613) {
            let bounds = row.bounds(&post_id(post), SEED).unwrap();
            assert!(
                (bounds.lower..=bounds.upper).contains(&truth(post)),
                "{post}"
            );
        }
    }
}
