//! The Durable Object of the registry and of what boards share, their catalog: a table of routes. [`Driver`]
//! does what they say, and [`catalog::Driver`]. One that is named by a board is that board's own catalog, and
//! nothing else.

use futures_util::future::LocalBoxFuture;
use worker::{DurableObject, Env, Request, Response, State, durable_object};

use super::Driver;
use crate::board::ObjectName;
use crate::catalog::{self, CatalogLimits};
use crate::environment::{keep_as_set, setting};
use crate::host::Host;
use crate::objects::answer;
use crate::worker_host::WorkerHost;

/// What changes charts that somebody may show, or who may see them.
const CHANGES: [&str; 4] = ["/put-posts", "/delete-region", "/reset", "/put-board"];

#[durable_object(alarm)]
pub struct SharedRegistry {
    driver: Driver<WorkerHost>,
    catalog: catalog::Driver<WorkerHost>,
}

impl DurableObject for SharedRegistry {
    fn new(state: State, env: Env) -> Self {
        keep_as_set(&env);
        let regions = setting(&env, "REGIONS");
        let host = WorkerHost::new(state, env, "registry");
        SharedRegistry {
            catalog: catalog::Driver::new(host.clone(), CatalogLimits::default()),
            driver: Driver::new(host, regions),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let message = request.bytes().await?;
        let (driver, catalog) = (&self.driver, &self.catalog);
        let is_registry = *driver.host().object() == ObjectName::Registry;
        // As in the Worker (`edge::answer_request`), a future of its own for each.
        let reply: LocalBoxFuture<'_, _> = match request.path().as_str() {
            "/catalog" => Box::pin(catalog.answer(&message)),
            "/watch" => Box::pin(catalog.watch(&message, driver.looks())),
            "/put-posts" => Box::pin(catalog.put_posts(&message)),
            "/list-posts" => Box::pin(catalog.list_posts(&message)),
            "/close" => Box::pin(catalog.close(&message)),
            _ if !is_registry => return Response::error("a catalog has no such message", 404),
            "/directory" => Box::pin(driver.directory(&message)),
            "/enlist" => Box::pin(driver.enlist(&message)),
            "/put-region" => Box::pin(driver.put_region(&message)),
            "/delete-region" => Box::pin(driver.delete_region(&message)),
            "/reset" => Box::pin(driver.reset(&message)),
            "/adopt-seed" => Box::pin(driver.adopt_seed(&message)),
            "/put-board" => Box::pin(driver.put_board(&message)),
            "/delete-board" => Box::pin(driver.delete_board(&message)),
            "/metrics" => Box::pin(driver.metrics()),
            "/telling" => Box::pin(driver.telling(&message)),
            _ => return Response::error("no such message", 404),
        };
        let reply = reply.await;
        if CHANGES.contains(&request.path().as_str()) {
            catalog.tell_watchers(driver.looks());
        }
        answer(reply)
    }

    async fn alarm(&self) -> worker::Result<Response> {
        // What fails comes again: the platform sees to that.
        let done = self.driver.alarm().await;
        done.map_err(|refusal| worker::Error::RustError(format!("alarm: {refusal:?}")))?;
        Response::empty()
    }
}
