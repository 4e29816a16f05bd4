//! The envelope of everything that is stored or sent between objects.
//!
//! ```text
//! kind u8 │ version u8 │ crc32 of the payload, u32 little endian │ payload
//! ```
//! The payload is [postcard](https://docs.rs/postcard) of a type that implements [`Record`], or
//! bytes with an encoding of their own (a summary). `kind` catches a row that is read as another kind,
//! `version` a row of an unknown release, the checksum a damaged row. The envelope takes six bytes a
//! record; the checksum runs at about a gigabyte a second.
//!
//! Decoding never panics and allocates no more than a small multiple of the input: postcard
//! bounds what it reserves by the bytes that are left.

use serde::{Deserialize, Serialize};

#[cfg(feature = "simulation")]
pub mod forms;

const HEADER_BYTES: usize = 6;

macro_rules! kinds {
    ($($name:ident = $number:literal;)*) => {
        /// Every kind of record there is, with the number that its bytes begin with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum RecordKind {
            $($name = $number,)*
        }

        impl RecordKind {
            pub const ALL: &[RecordKind] = &[$(RecordKind::$name,)*];
        }
    };
}

// A number is never used again for another kind.
kinds! {
    Region = 1;
    RegionTable = 2;
    Leaderboard = 3;
    RecordRequest = 16;
    RecordReply = 17;
    Batch = 18;
    SealedPane = 19;
    Push = 20;
    PushReplyOrRefusal = 21;
    ChartRequest = 22;
    ChartReply = 23;
    PostQuestion = 24;
    PostReply = 25;
    PutPosts = 26;
    PutRegion = 27;
    RegionsReply = 29;
    CatalogEntry = 30;
    PutPostsReply = 31;
    SeenRow = 32;
    JournalRow = 33;
    Commit = 34;
    Checkpoint = 35;
    PutRegionReply = 37;
    KeptChart = 38;
    LiveRequest = 39;
    OutboxRow = 40;
    OpenPanesRow = 41;
    Claim = 44;
    BeginEpoch = 45;
    Noted = 46;
    PaneRow = 48;
    OffsetsRow = 49;
    SeedRow = 50;
    Voter = 51;
    ShardMetrics = 53;
    ExportRequest = 56;
    ExportReply = 57;
    ImportRequest = 58;
    ImportReply = 59;
    ImportMark = 60;
    ExportCursor = 61;
    GlobalMetrics = 62;
    NameCheck = 63;
    CatalogSize = 64;
    DeleteRegion = 65;
    DeleteRegionReply = 66;
    Reset = 67;
    ResetReply = 68;
    BeginExport = 69;
    BeginExportReply = 70;
    CutRequest = 71;
    DeletedRegion = 72;
    Installation = 73;
    Head = 74;
    ShardReport = 75;
    Telling = 76;
    TellingReply = 77;
    ListPosts = 78;
    ListPostsReply = 79;
    DaysRow = 80;
    CatalogQuestion = 90;
    CatalogAnswer = 91;
    CatalogLogRow = 92;
    PostingsBlock = 98;
    PostingsHead = 99;
    Board = 100;
    ChangeRow = 101;
    Enlist = 102;
    EnlistReply = 103;
    DirectoryQuestion = 104;
    DirectoryReply = 105;
    Learn = 106;
    AdoptSeed = 107;
    AdoptSeedReply = 108;
    Wipe = 109;
    PutBoard = 110;
    PutBoardReply = 111;
    DeleteBoard = 112;
    DeleteBoardReply = 113;
    Tombstone = 114;
    RegistryMetrics = 115;
    ClosedChart = 120;
    ListPublished = 121;
    ListPublishedReply = 122;
    CloseHistory = 123;
    CloseHistoryReply = 124;
    Watch = 125;
    WatchReply = 126;
    Look = 127;
    WatchersRow = 128;
    Pull = 130;
    PullReply = 131;
    BlindRequest = 132;
    Listing = 133;
    Spent = 134;
    ListRegions = 135;
    WatchedRow = 136;
}

/// A type with a stored or sent form.
pub trait Record {
    /// Tells records apart.
    const KIND: RecordKind;
    /// Grows when the form changes: CONTRIBUTING.md ("A stored or sent form") says what goes with that.
    const VERSION: u8;
}

/// Gives types their kind, which has their name or the one behind `as`, and their version.
macro_rules! record {
    (@kind $name:ident) => { $crate::codec::RecordKind::$name };
    (@kind $name:ident $kind:ident) => { $crate::codec::RecordKind::$kind };
    ($($name:ident $(<$life:lifetime>)? $(as $kind:ident)? v $version:literal);+ $(;)?) => {$(
        impl $crate::codec::Record for $name $(<$life>)? {
            const KIND: $crate::codec::RecordKind = $crate::codec::record!(@kind $name $($kind)?);
            const VERSION: u8 = $version;
        }
    )+};
}
pub(crate) use record;

/// Why bytes are not the record that was expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// Cut off, damaged, or never a record.
    #[error("damaged or cut off")]
    Damaged,
    /// Another kind of record than the one asked for.
    #[error("another kind of record ({found})")]
    OtherKind { found: u8 },
    /// Written by a release that this one does not know: upgrade, or roll back.
    #[error("version {found}, which this release does not read")]
    UnknownVersion { found: u8 },
}

/// Encodes a record with its envelope.
pub fn encode<T: Record + Serialize>(record: &T) -> Vec<u8> {
    let mut bytes = vec![T::KIND as u8, T::VERSION, 0, 0, 0, 0];
    // Serializing plain data into a growing vector cannot fail. If it did, the record would be refused as
    // damaged when it is read, instead of ending the instance.
    if let Ok(mut whole) = postcard::to_extend(record, bytes.clone()) {
        seal(&mut whole);
        return whole;
    }
    seal(&mut bytes);
    bytes
}

fn seal(bytes: &mut [u8]) {
    let checksum = crc32fast::hash(bytes.get(HEADER_BYTES..).unwrap_or_default());
    if let Some(slot) = bytes.get_mut(2..HEADER_BYTES) {
        slot.copy_from_slice(&checksum.to_le_bytes());
    }
}

/// Decodes what [`encode`] made. The record may borrow from `bytes`.
///
/// # Errors
/// [`RecordError`]: nothing of the record is to be trusted then.
pub fn decode<'a, T: Record + Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, RecordError> {
    let (header, payload) = bytes
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or(RecordError::Damaged)?;
    let [kind, version, checksum @ ..] = *header;
    if kind != T::KIND as u8 {
        return Err(RecordError::OtherKind { found: kind });
    }
    if u32::from_le_bytes(checksum) != crc32fast::hash(payload) {
        return Err(RecordError::Damaged);
    }
    if version != T::VERSION {
        return Err(RecordError::UnknownVersion { found: version });
    }
    match postcard::take_from_bytes(payload) {
        Ok((record, [])) => {
            #[cfg(feature = "simulation")]
            forms::note::<T>(payload);
            Ok(record)
        }
        _ => Err(RecordError::Damaged),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Example<'a> {
        number: u64,
        #[serde(borrow)]
        words: Vec<&'a str>,
    }

    record!(Example<'_> as Region v 3);

    proptest! {
        #[test]
        fn a_record_comes_back_as_it_was(number: u64, words: Vec<String>) {
            let record = Example { number, words: words.iter().map(String::as_str).collect() };
            let bytes = encode(&record);
            prop_assert_eq!(decode::<Example<'_>>(&bytes), Ok(record));
        }

        #[test]
        fn a_changed_or_cut_record_is_refused(words: Vec<String>, at: usize, bit in 0..8_u8) {
            let record = Example { number: 7, words: words.iter().map(String::as_str).collect() };
            let mut bytes = encode(&record);
            let at = at % bytes.len();
            prop_assert!(decode::<Example<'_>>(&bytes[..at]).is_err());
            bytes[at] ^= 1 << bit;
            prop_assert!(decode::<Example<'_>>(&bytes).is_err());
        }

        #[test]
        fn any_bytes_are_decoded_without_a_panic(bytes: Vec<u8>) {
            let _ = decode::<Example<'_>>(&bytes);
        }
    }
}
