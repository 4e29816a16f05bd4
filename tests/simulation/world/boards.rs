//! Boards: made, changed and deleted for good while plays come, and made again under their names; and what
//! must hold of them. Which there are, the model sees on the registry's disk, and nowhere else.

use hitparade::board::{CatalogKind, MAIN, ObjectName, parts_of_board_key};

use super::*;

/// Names of boards: `main`, and two that others have.
pub const BOARDS: usize = 3;

/// Which of the names a play or a batch has.
pub type NamedBoards = [bool; BOARDS];

/// By their names `main` is neither the first nor the last.
pub fn board_name(name: usize) -> &'static str {
    [MAIN, "jazz", "rock"][name]
}

/// A board that was ever stored, as it was stored last: one that is made again under a name is another one.
pub struct MadeBoard {
    pub name: usize,
    pub board: Board,
}

impl MadeBoard {
    pub fn main() -> Self {
        MadeBoard {
            name: 0,
            board: Board::main(),
        }
    }
}

/// The number of a part: of a board, what is placed, or all of a batch that has no name, and then of
/// each region that plays name.
pub fn part_of(board: usize, region: Option<usize>) -> usize {
    PARTS * board + region.map_or(0, |region| region + 1)
}

/// Parts of each board.
pub const PARTS: usize = 3;

/// The boards that the registry's disk has, besides `main`, by their keys.
#[derive(Clone, Default)]
pub struct StoredBoards {
    there: BTreeSet<String>,
    tombstones: BTreeSet<String>,
}

impl StoredBoards {
    /// Takes note of what was written. Returns the boards that were stored.
    pub fn take(&mut self, writes: &[Write]) -> Vec<Board> {
        let mut stored = Vec::new();
        for write in writes {
            let name = String::from_utf8_lossy(write.key()).into_owned();
            match (name.split_once('/'), write) {
                (Some(("board", id)), Write::Put { value, .. }) if id != MAIN => {
                    self.forget(id);
                    if let Ok(board) = codec::decode::<Board>(value) {
                        self.there.insert(board.key().into_owned());
                        stored.push(board);
                    }
                }
                (Some(("board", id)), Write::Delete { .. }) => self.forget(id),
                (Some(("tombstone", key)), Write::Put { .. }) => {
                    self.tombstones.insert(key.to_owned());
                }
                (Some(("tombstone", key)), Write::Delete { .. }) => {
                    self.tombstones.remove(key);
                }
                _ => {}
            }
        }
        stored
    }

    fn forget(&mut self, board_id: &str) {
        let is_other = |key: &String| parts_of_board_key(key).is_none_or(|(id, _)| id != board_id);
        self.there.retain(is_other);
    }
}

impl World {
    /// A board was stored: a new one, or one that was changed.
    pub(super) fn board_stored(&mut self, board: Board) {
        if let Some(made) = self
            .boards
            .iter_mut()
            .find(|it| it.board.key() == board.key())
        {
            made.board = board;
            return;
        }
        let name = (0..BOARDS).find(|name| board_name(*name) == board.board_id);
        self.say(|| format!("{} is made", board.key()));
        self.figures.boards += 1;
        self.boards.push(MadeBoard {
            name: name.unwrap_or_default(),
            board,
        });
    }

    /// A Worker that knows of a board knows of it as long as it is there.
    pub(super) fn check_directory(&mut self, known: Option<&Directory>, fresh: &Directory) {
        let there = &self.registry.drive.durable.there;
        let boards = known.into_iter().flat_map(Directory::boards);
        let mut boards = boards.map(|board| board.key());
        let is_forgotten = |key: &str| fresh.board_of_key(key).is_none() && there.contains(key);
        if let Some(key) = boards.find(|key| is_forgotten(key)) {
            let what = format!("a Worker knew of {key}, and does not any more");
            self.fail(what);
        }
    }

    /// The board of a key.
    pub(super) fn board_of(&mut self, key: &str) -> Option<usize> {
        let board = self.boards.iter().position(|made| made.board.key() == key);
        if board.is_none() {
            self.fail(format!("{key} is no board that was ever made"));
        }
        board
    }

    pub(super) fn key_of_board(&self, board: usize) -> String {
        self.boards[board].board.key().into_owned()
    }

    /// Whether a board is deleted, as far as the registry's disk says; a crash may take that back.
    pub(super) fn is_gone(&self, board: usize) -> bool {
        let key = self.boards[board].board.key();
        board > 0 && !self.registry.drive.latest().there.contains(key.as_ref())
    }

    /// Whether it is so for good.
    pub(super) fn is_gone_for_good(&self, board: usize) -> bool {
        let key = self.boards[board].board.key();
        board > 0 && !self.registry.drive.durable.there.contains(key.as_ref())
    }

    /// An operator makes a board, changes one or deletes one; or something happens to what it consists of.
    pub(super) fn operate_boards(&mut self) {
        let others = self.profile.boards as u64 - 1;
        if others == 0 {
            return;
        }
        let name = 1 + self.random.below(others) as usize;
        match self.random.below(10) {
            0..4 => self.put_board(name),
            4..7 => self.delete_board(name),
            7 => self.crash_some_object(),
            8 => self.fault_of_some_object(),
            _ => self.crash_registry(),
        }
    }

    /// An operator makes a board or changes one.
    pub(super) fn make_board(&mut self) {
        let others = self.profile.boards as u64 - 1;
        if others > 0 {
            let name = 1 + self.random.below(others) as usize;
            self.put_board(name);
        }
    }

    fn put_board(&mut self, name: usize) {
        let is_there = (1..self.boards.len())
            .any(|board| self.boards[board].name == name && !self.is_gone(board));
        let random = &mut self.random;
        let region = random.below(self.profile.regions as u64) as usize;
        let shards = random.between(1, self.profile.most_shards) as u32;
        let is_own = !is_there && random.chance(300);
        let request = PutBoard {
            board_id: board_name(name).into(),
            beacons: random.chance(200).then(|| random.chance(500)),
            catalog: is_own.then_some(CatalogKind::Own),
            shards: match random.chance(600) {
                true => [(region_name(region).to_owned(), shards)].into(),
                false => BTreeMap::new(),
            },
            ..PutBoard::default()
        };
        self.say(|| format!("{request:?}"));
        let message = codec::encode(&request);
        let task = self.ask_registry(
            |driver| async move { driver.put_board(&message).await },
            |world, reply| {
                if codec::decode::<PutBoardReply>(reply).is_err() {
                    world.fail("an answer about a board that cannot be read");
                }
            },
        );
        self.may_hang_up(task);
    }

    /// An operator deletes a board: for good, and again where not all of it is gone.
    fn delete_board(&mut self, name: usize) {
        self.say(|| format!("{} is to be deleted", board_name(name)));
        let message = codec::encode(&DeleteBoard {
            board_id: board_name(name).into(),
        });
        let task = self.ask_registry(
            |driver| async move { driver.delete_board(&message).await },
            move |world, reply| {
                let Ok(DeleteBoardReply(deletion)) = codec::decode(reply) else {
                    return world.fail("an answer about a deletion that cannot be read");
                };
                let Ok(Deletion { objects_left, .. }) = deletion else {
                    return;
                };
                world.say(|| format!("{} is deleted: {objects_left} left", board_name(name)));
                world.figures.deletions += 1;
                world.check_wiped();
            },
        );
        self.may_hang_up(task);
        // Now and then it is made again at once.
        if self.random.chance(400) {
            let in_ms = self.random.skewed(MINUTE_MS);
            let again = move |world: &mut World| {
                if !world.calm {
                    world.put_board(name);
                }
            };
            self.after(in_ms, Event::Then(Box::new(again)));
        }
    }

    /// Who asks goes away before the answer, now and then.
    fn may_hang_up(&mut self, task: u64) {
        if !self.calm && self.random.chance(150) {
            let gone = move |world: &mut World| world.executor.drop_task(task);
            let in_ms = self.random.skewed(5_000);
            self.after(in_ms, Event::Then(Box::new(gone)));
        }
    }

    /// Of a board whose deletion is done nothing is stored in any object, ever again.
    pub(super) fn check_wiped(&mut self) {
        for board in 1..self.boards.len() {
            let key = self.key_of_board(board);
            let stored = &self.registry.drive.durable;
            if stored.there.contains(&key) || stored.tombstones.contains(&key) {
                continue;
            }
            if let Some(object) = self.what_is_stored_of(board).into_iter().next() {
                let name = object.as_named();
                return self.fail(format!(
                    "{key} is deleted for good, and {name} stores something"
                ));
            }
        }
    }

    /// The objects of a board that store something.
    fn what_is_stored_of(&self, board: usize) -> Vec<ObjectName> {
        let shards = self.shards.iter().filter(|node| node.board == board);
        let shards = shards.map(|node| {
            let key = self.key_of_board(board);
            (
                ObjectName::shard(&key, &node.key(), node.shard),
                &node.drive.disk,
            )
        });
        let objects = self.objects.iter().filter(|node| node.board == board);
        let objects = objects.map(|node| (node.name.clone(), &node.drive.disk));
        let is_stored = |disk: &Disk| Table::ALL.iter().any(|table| !disk.is_clear(*table));
        let stored = shards.chain(objects).filter(|(_, disk)| is_stored(disk));
        stored.map(|(object, _)| object).collect()
    }

    /// At rest: no deletion is left to do, and whatever a board that is there has stored is known to the
    /// registry, and nothing else is.
    pub(super) fn check_boards_at_rest(&mut self) {
        let stored = self.registry.drive.latest();
        if let Some(key) = stored.tombstones.first() {
            let what = format!("the deletion of {key} is never done");
            return self.fail(what);
        }
        self.check_wiped();
        let rows = self
            .registry
            .drive
            .disk
            .scan(Table::Meta, b"object/", &[], usize::MAX);
        let rows = rows.unwrap_or_default().into_iter();
        let enlisted: BTreeSet<ObjectName> = rows
            .filter_map(|(_, row)| codec::decode::<Enlist>(&row).ok())
            .map(|row| row.object)
            .collect();
        let there = &self.registry.drive.latest().there;
        let is_of_none = |object: &&ObjectName| !there.contains(object.board().unwrap_or_default());
        if let Some(object) = enlisted.iter().find(is_of_none) {
            let what = format!(
                "{} is enlisted, and its board is no more",
                object.as_named()
            );
            return self.fail(what);
        }
        let others = (1..self.boards.len()).filter(|board| !self.is_gone(*board));
        let stored = others.flat_map(|board| self.what_is_stored_of(board));
        if let Some(object) = stored.into_iter().find(|object| !enlisted.contains(object)) {
            self.fail(format!("nobody has enlisted {}", object.as_named()));
        }
    }

    /// Somebody asks for a chart of another board than `main`: of all that it has counted.
    pub(super) fn chart_of_board(&mut self, board: usize) {
        let request = ChartRequest {
            scope: "global".into(),
            window: WindowRequest::All,
            sort: Sort::Views,
            k_class: 1_000,
            filter: Filter::default(),
        };
        let (message, asked_ms) = (codec::encode(&request), self.now_ms);
        let object = ObjectName::global(&self.key_of_board(board));
        self.ask_object(&object, "/chart", message, move |world, reply| {
            world.board_charted(board, asked_ms, reply);
        });
    }

    pub(super) fn chart_of_some_board(&mut self) {
        let others = self.boards.len() as u64 - 1;
        if others > 0 {
            let board = 1 + self.random.below(others) as usize;
            self.chart_of_board(board);
        }
    }

    fn board_charted(&mut self, board: usize, asked_ms: u64, reply: &[u8]) {
        let key = self.key_of_board(board);
        let is_gone = self.is_gone(board);
        let chart = match codec::decode::<ChartReply>(reply) {
            Ok(ChartReply(Ok(chart))) => chart,
            Ok(ChartReply(Err(Refusal::Gone))) if !self.is_gone_for_good(board) => {
                return self.fail(format!(
                    "{key} is there, and its charts are said to be gone"
                ));
            }
            Ok(ChartReply(Err(_))) if !self.calm || is_gone => return,
            Ok(ChartReply(Err(_))) if self.may_miss_others(asked_ms) => return,
            answer => return self.fail(format!("{answer:?} of {key}")),
        };
        if is_gone {
            // Nothing is promised of what is being deleted.
            return;
        }
        self.global.last_questions = self.global.last_questions.saturating_sub(1);
        self.figures.charts += 1;
        let expected = self.expected_of(board, None, Span::ALL, !chart.incomplete, asked_ms);
        if let Err(what) = self.compare_counts(&chart, &expected, asked_ms) {
            self.fail(format!("chart of {key}: {what}"));
        }
    }

    /// The charts of all boards that there are, each of which must be answered.
    pub(super) fn check_charts_of_boards(&mut self) {
        for board in 1..self.boards.len() {
            if !self.is_gone(board) {
                self.chart_of_board(board);
                self.global.last_questions += 1;
            }
        }
    }
}
