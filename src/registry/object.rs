//! The Durable Object of the registry and of what boards share, their catalog: a table of routes. [`Driver`]
//! does what they say, and [`catalog::Driver`]. One that is named by a board is that board's own catalog, and
//! nothing else.

use futures_util::future::LocalBoxFuture;
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsError, JsValue};
use worker::worker_sys::DurableObjectState;
use worker::{Env, State};

use super::Driver;
use crate::board::ObjectName;
use crate::catalog::{self, CatalogLimits};
use crate::environment::{keep_as_set, setting};
use crate::host::Host;
use crate::objects::{NO_SUCH_MESSAGE, as_answer};
use crate::worker_host::WorkerHost;

/// What changes charts that somebody may show, or who may see them.
const CHANGES: [&str; 4] = ["/put-posts", "/delete-region", "/reset", "/put-board"];

#[wasm_bindgen]
pub struct SharedRegistry {
    driver: Driver<WorkerHost>,
    catalog: catalog::Driver<WorkerHost>,
}

#[wasm_bindgen]
impl SharedRegistry {
    #[wasm_bindgen(constructor)]
    pub fn new(state: DurableObjectState, env: Env) -> Self {
        keep_as_set(&env);
        let regions = setting(&env, "REGIONS");
        let host = WorkerHost::new(State::from(state), env, "registry");
        SharedRegistry {
            catalog: catalog::Driver::new(host.clone(), CatalogLimits::default()),
            driver: Driver::new(host, regions),
        }
    }

    /// Answers a message: [`as_answer`].
    pub async fn answer(&self, path: String, message: Vec<u8>) -> JsValue {
        let (driver, catalog) = (&self.driver, &self.catalog);
        let is_registry = *driver.host().object() == ObjectName::Registry;
        // As in the Worker (`edge::answer_request`), a future of its own for each.
        let reply: LocalBoxFuture<'_, _> = match path.as_str() {
            "/catalog" => Box::pin(catalog.answer(&message)),
            "/watch" => Box::pin(catalog.watch(&message, driver.looks())),
            "/put-posts" => Box::pin(catalog.put_posts(&message)),
            "/list-posts" => Box::pin(catalog.list_posts(&message)),
            "/wipe" => Box::pin(catalog.wipe(&message)),
            _ if !is_registry => return NO_SUCH_MESSAGE,
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
            _ => return NO_SUCH_MESSAGE,
        };
        let reply = reply.await;
        if CHANGES.contains(&path.as_str()) {
            catalog.tell_watchers(driver.looks());
        }
        as_answer(&reply)
    }

    /// # Errors
    /// What fails comes again: the platform sees to that.
    pub async fn alarm(&self) -> Result<(), JsError> {
        let done = self.driver.alarm().await;
        done.map_err(|refusal| JsError::new(&format!("alarm: {refusal:?}")))
    }
}
