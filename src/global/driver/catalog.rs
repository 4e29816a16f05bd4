//! The board's catalog: asked at most once for all who wait, and at most once in some seconds where nothing
//! new is looked for; and what exports and imports say of posts.

use std::rc::Rc;

use futures_channel::oneshot;

use super::Inner;
use crate::board::ObjectName;
use crate::catalog::MAX_PUT_POSTS;
use crate::codec;
use crate::global::moment::TABLES;
use crate::host::Host;
use crate::wire::*;

/// How long the catalog may take to answer. After that a chart is made of what is known.
const ASK_LIMIT_MS: u64 = 2_000;
/// The same for messages that change the catalog or read a page of it.
const CHANGE_LIMIT_MS: u64 = 20_000;
/// After a question in vain nobody asks for so long: what is known serves.
const AWAY_FOR_MS: u64 = 5_000;
/// Questions before a chart is made: how large the catalog is, and which posts may show.
const MAX_QUESTIONS: u32 = 3;

/// In an export, the catalog's entries come behind the regions and the tables.
const POSTS: u8 = TABLES.len() as u8 + 1;

impl<H: Host> Inner<H> {
    /// Sees to it that what is known of the catalog is fresh, has all that was looked for, and tells which
    /// posts may show: as far as the catalog answers. Says whether it is fresh; `at_once`: as of now, for
    /// who has just changed something.
    pub(super) async fn hear_of_catalog(self: &Rc<Self>, at_once: bool) -> bool {
        let (mut questions, began_ms) = (0, self.host.now_ms());
        loop {
            let now_ms = self.host.now_ms();
            self.catalog.clock_is(now_ms);
            let only_known = self.settings.rules.only_known(&self.catalog);
            self.catalog.look_at_sets(only_known == Some(true));
            let is_fresh = match at_once {
                true => self.catalog.was_asked_since(began_ms),
                false => self.catalog.is_fresh(now_ms),
            };
            let knows_enough = is_fresh && !self.catalog.wants();
            if knows_enough || questions == MAX_QUESTIONS || self.catalog_is_away(now_ms) {
                return is_fresh;
            }
            questions += 1;
            let (waiter, answered) = oneshot::channel();
            self.catalog_waiters.borrow_mut().push(waiter);
            if !self.is_asking_catalog.replace(true) {
                // Not of the reader who asked first: that one may hang up.
                let inner = Rc::clone(self);
                self.host.spawn(async move { inner.ask_catalog().await });
            }
            let _ = self.host.within(ASK_LIMIT_MS + 500, answered).await;
        }
    }

    /// Whether what was asked of the catalog a moment ago was asked in vain.
    pub(super) fn catalog_is_away(&self, now_ms: u64) -> bool {
        let since_ms = self.catalog_away_ms.get();
        since_ms.is_some_and(|since_ms| now_ms.abs_diff(since_ms) < AWAY_FOR_MS)
    }

    /// Asks for all that is wanted, and wakes who waits.
    async fn ask_catalog(&self) {
        let question = self.catalog.question();
        let asked_ms = self.host.now_ms();
        let news = self.message_catalog(&question, ASK_LIMIT_MS);
        match news.await {
            Ok(news) => {
                self.catalog_away_ms.set(None);
                self.catalog.take(&question, news, asked_ms);
            }
            Err(refusal) => {
                (self.host).report(format_args!("the catalog does not answer: {refusal:?}"));
                self.catalog_away_ms.set(Some(self.host.now_ms()));
            }
        }
        self.is_asking_catalog.set(false);
        // Dropping the senders wakes those who wait. They look by themselves whether they know enough.
        self.catalog_waiters.borrow_mut().clear();
    }

    /// Sends the catalog a message.
    async fn message_catalog<Q: Question>(
        &self,
        message: &Q,
        limit_ms: u64,
    ) -> Result<AnswerTo<Q>, Refusal> {
        let answer = (self.host).ask_question(&self.catalog_keeper, message, limit_ms);
        answer.await.unwrap_or_else(|error| {
            self.host.report(format_args!("the catalog: {error}"));
            Err(Refusal::Busy { retry_after_s: 5 })
        })
    }

    /// Whether the catalog's entries go with the board's exports: those of one that boards share go with
    /// `main`'s.
    fn exports_posts(&self) -> bool {
        !self.host.object().is_to_enlist() || self.catalog_keeper != ObjectName::Registry
    }

    /// A page of an export.
    pub(super) async fn export(self: &Rc<Self>, message: &[u8]) -> Result<ExportAnswer, Refusal> {
        let request = codec::decode::<ExportRequest>(message)?;
        self.ready().await?;
        let now_ms = self.host.now_ms();
        let at = |key| ExportPosition { table: POSTS, key };
        if request.position.table < POSTS {
            let answer =
                self.with_global(|global, storage| global.export(storage, &request, now_ms));
            return answer.map(|answer| match answer {
                ExportAnswer::Page(page) if page.next.is_none() && self.exports_posts() => {
                    ExportAnswer::Page(ExportPage {
                        next: Some(at(Vec::new())),
                        ..page
                    })
                }
                answer => answer,
            });
        }
        let (complete, seed) = self.with_global(|global, storage| {
            let complete = global.export_goes_on(storage, request.at_ms, now_ms)?;
            Ok((complete, global.table().seed))
        })?;
        let after = String::from_utf8(request.position.key).ok();
        let list = ListPosts {
            after: after.filter(|id| !id.is_empty()),
        };
        let list = self.message_catalog(&list, CHANGE_LIMIT_MS).await?;
        Ok(ExportAnswer::Page(ExportPage {
            seed,
            rows: list.entries.into_iter().map(TransferRow::Post).collect(),
            damaged_rows: list.damaged_rows,
            next: list.next_after.map(|id| at(id.into_bytes())),
            complete,
        }))
    }

    /// Takes what the rows of an import say of posts: it may come again.
    pub(super) async fn import_posts(&self, request: &ImportRequest) -> Result<(), Refusal> {
        let mut patches =
            self.with_global(|global, storage| global.posts_of_import(storage, request))?;
        while !patches.is_empty() {
            let rest = patches.split_off(patches.len().min(MAX_PUT_POSTS));
            let put = PutPosts {
                patches,
                only_new: true,
            };
            self.message_catalog(&put, CHANGE_LIMIT_MS).await?;
            patches = rest;
        }
        Ok(())
    }
}
