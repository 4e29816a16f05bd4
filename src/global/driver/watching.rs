//! Shards that show the board's charts over sockets: they are told when a play came, and when something else
//! changed that charts show. Of that this object is told itself, as long as somebody watches it.

use std::rc::Rc;

use super::{Driver, Inner};
use crate::board::ObjectName;
use crate::codec;
use crate::host::{Host, QUESTION_TIMEOUT_MS};
use crate::watchers::WATCH_AGAIN_MS;
use crate::wire::{Look, Noted, Refusal, Watch, WatchReply};

impl<H: Host> Driver<H> {
    /// `/watch`: [`Watch`] → [`WatchReply`], when it is durable.
    pub async fn watch(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&WatchReply(self.0.watch(message).await))
    }

    /// `/look`: [`Look`] → [`Noted`]. Something changed that charts show.
    pub async fn hear_of_change(&self, message: &[u8]) -> Vec<u8> {
        codec::encode(&Noted(self.0.hear_of_change(message).await))
    }
}

impl<H: Host> Inner<H> {
    async fn watch(self: &Rc<Self>, message: &[u8]) -> Result<Look, Refusal> {
        let own = self.host.object().board().unwrap_or_default().to_owned();
        let watching = self.change(message, |global, storage, Watch { object }, now_ms| {
            let ObjectName::Shard { board, id } = &object else {
                return Err(Refusal::Invalid("not a shard".into()));
            };
            if *board != own || !global.table().knows_key(&id.key) {
                return Err(Refusal::Invalid("not a shard of this board".into()));
            }
            let known = self.watchers.since_ms(now_ms);
            self.watchers.add(storage, object, now_ms)?;
            Ok(self.watchers.since_ms(now_ms) != known)
        });
        if watching.await? {
            self.tell_quiet_shards();
        }
        let now_ms = self.host.now_ms();
        if self.watching_since_ms.get().abs_diff(now_ms) >= WATCH_AGAIN_MS / 2 {
            self.watch_others().await?;
            self.watching_since_ms.set(now_ms);
        }
        Ok(self.look.get())
    }

    /// Watches the registry, and the catalog where it is kept elsewhere.
    async fn watch_others(&self) -> Result<(), Refusal> {
        let object = self.host.object().clone();
        let question = Watch { object };
        let registry = ObjectName::Registry;
        let others = [&self.catalog_keeper, &registry];
        // The registry's answer counts: it knows who may see charts.
        let twice = usize::from(self.catalog_keeper == registry);
        for other in others.into_iter().skip(twice) {
            let look = self
                .host
                .ask_question(other, &question, QUESTION_TIMEOUT_MS)
                .await;
            let look = look.map_err(|error| {
                self.host.report(format_args!("watching: {error}"));
                Refusal::Busy { retry_after_s: 5 }
            })?;
            self.look.set(look?);
        }
        Ok(())
    }

    async fn hear_of_change(self: &Rc<Self>, message: &[u8]) -> Result<(), Refusal> {
        self.look.set(codec::decode(message)?);
        self.ready().await?;
        if self.watchers.is_empty(self.host.now_ms()) {
            // Who hears this tells no more, until it is asked to again.
            self.watching_since_ms.set(0);
            return Err(Refusal::NotFound);
        }
        self.ask_registry().await;
        self.hear_of_catalog(true).await;
        self.tell_watchers();
        Ok(())
    }

    /// Charts may have changed: shards that show them over sockets are told, soon.
    pub(super) fn tell_watchers(self: &Rc<Self>) {
        if self.watchers.is_empty(self.host.now_ms()) {
            return;
        }
        let inner = Rc::clone(self);
        self.host.spawn(async move {
            if inner.watchers.tell(&inner.host, |_| inner.look.get()).await {
                let stored = inner.with_global(|_, storage| Ok(inner.watchers.store(storage)?));
                match stored {
                    // Of a board that was deleted meanwhile nothing is to be known.
                    Ok(()) | Err(Refusal::Gone) => {}
                    Err(refusal) => (inner.host).report(format_args!("who watches: {refusal:?}")),
                }
            }
        });
    }
}
