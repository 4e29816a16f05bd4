//! Shards that show `main`'s charts over sockets: the global object tells them of changes for as long as anybody
//! looks there. What the registry and the catalog tell of is not simulated.

use futures_channel::oneshot::Sender;
use hitparade::board::{MAIN, ObjectName};
use hitparade::host::SendError;

use super::*;

impl World {
    /// Somebody opens sockets, or closes the last ones.
    pub(super) fn open_or_close_sockets(&mut self) {
        let shards = 0..self.shards.len();
        let of_main: Vec<usize> = shards.filter(|it| self.shards[*it].board == 0).collect();
        self.are_sockets_open = self.random.chance(600) && !of_main.is_empty();
        if !self.are_sockets_open || !self.global_is_up() {
            return;
        }
        let shard = of_main[self.random.below(of_main.len() as u64) as usize];
        self.say(|| format!("shard {shard} watches"));
        let node = &self.shards[shard];
        let object = ObjectName::shard(MAIN, &node.key(), node.shard);
        let message = codec::encode(&Watch { object });
        self.ask_for_a_while(
            |driver| async move { driver.watch(&message).await },
            |_, _| {},
        );
    }

    /// The global object tells a shard of a change.
    pub(super) fn look_asked(&mut self, asker: (u64, Sender<Result<Vec<u8>, SendError>>)) {
        self.carry(asker, |world, asker| {
            let told = match world.are_sockets_open {
                true => Ok(()),
                false => Err(Refusal::NotFound),
            };
            world.reply(asker, codec::encode(&Noted(told)));
        });
    }
}
