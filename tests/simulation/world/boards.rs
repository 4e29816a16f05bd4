//! Boards: which there are, and what their shards do with what they have.
//!
//! `main` has a global object, with all that may happen to it. Of other boards it is a machine that takes
//! whatever comes: how plays get from shards into charts has nothing of the board in it, how they get to
//! shards has.

use futures_channel::oneshot::Sender;
use hitparade::board::DirectoryNews;
use hitparade::host::SendError;

use super::*;

/// `main`, and two that are made while plays come.
pub const BOARDS: usize = 3;

/// Which of them a play or a batch names.
pub type NamedBoards = [bool; BOARDS];

/// By their names `main` is neither the first nor the last.
pub fn board_name(board: usize) -> &'static str {
    ["main", "jazz", "rock"][board]
}

/// The number of a part: of a board, what is placed, or all of a batch that has no name, and then of
/// each region that plays name.
pub fn part_of(board: usize, region: Option<usize>) -> usize {
    3 * board + region.map_or(0, |region| region + 1)
}

impl World {
    /// Adds what there is now to what a Worker is told.
    pub(super) fn add_boards(&self, directory: &mut Directory) {
        directory.take(DirectoryNews {
            version: directory.version,
            table: None,
            is_whole: false,
            boards: self.boards.clone(),
            gone: Vec::new(),
        });
    }

    pub(super) fn make_board(&mut self) {
        let made_ms = shifted(self.now_ms, self.registry.skew_ms);
        let board_id = board_name(self.boards.len());
        let mut board = Board::new(board_id, self.random.next() | 1, made_ms);
        board.beacons = !self.random.chance(200);
        self.say(|| format!("{board_id} is made"));
        self.boards.push(board);
        self.reshard_board();
    }

    /// An operator asks for another number of shards of one of them.
    pub(super) fn reshard_board(&mut self) {
        let others = self.boards.len() as u64 - 1;
        if others == 0 {
            return;
        }
        let board = 1 + self.random.below(others) as usize;
        let region = self.random.below(self.profile.regions as u64) as usize;
        let key = region_key(region, self.incarnations[region].0);
        let shards = self.random.between(1, self.profile.most_shards) as u32;
        self.say(|| format!("reshard {} in {key} to {shards}", board_name(board)));
        self.boards[board].reshard(&key, shards);
    }

    /// The board of a key.
    pub(super) fn board_of(&self, key: &str) -> usize {
        let mut boards = self.boards.iter();
        boards.position(|board| board.key() == key).unwrap_or(0)
    }

    /// A push to the global object of a board that is not `main`.
    pub(super) fn push_elsewhere(
        &mut self,
        shard: usize,
        report: &[u8],
        (limit_ms, answer): (u64, Sender<Result<Vec<u8>, SendError>>),
    ) {
        let report = codec::decode::<ShardReport<'_>>(report);
        let push = report
            .ok()
            .map(|report| codec::decode::<Push<'_>>(report.push));
        let Some(Ok(push)) = push else {
            return self.fail("a push that cannot be read");
        };
        let reply = PushReply {
            wanted_offset: push.next_offset,
            durable_offset: push.next_offset,
            epoch_ms: push.epoch_ms,
            seed: [7; 16],
            push_interval_ms: PUSH_INTERVAL_MS,
            days: None,
        };
        self.shards[shard].told_interval_ms = PUSH_INTERVAL_MS;
        let reply = codec::encode(&PushReplyOrRefusal(Ok(reply)));
        match self.deliveries(2 * limit_ms).first() {
            Some(delay_ms) if *delay_ms < limit_ms => self.then_send(*delay_ms, answer, Ok(reply)),
            _ => self.then_send(limit_ms, answer, Err(SendError("no answer".into()))),
        }
    }
}
