//! The Durable Object of a board's global object: a table of routes. [`Driver`] does what they say.

use futures_util::future::LocalBoxFuture;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::worker_sys::DurableObjectState;
use worker::{Env, State};

use super::{ChartRules, ClosingRules, Driver, GlobalSettings, Together};
use crate::catalog::Catalogs;
use crate::environment::{keep_as_set, setting};
use crate::instance::when_memory_is_short;
use crate::objects::{NO_SUCH_MESSAGE, as_answer};
use crate::settings::{CLOSE_AFTER_MS, VisiblePosts, read_close_after_ms, read_daily_requests};
use crate::worker_host::WorkerHost;

thread_local! {
    /// What all boards of this instance know of catalogs.
    static CATALOGS: Catalogs = Catalogs::default();
    /// What all of them hold. What they have merged goes before anything is refused in this instance.
    static TOGETHER: Together = {
        let together = Together::default();
        let room = together.room().clone();
        when_memory_is_short(move || room.give_up());
        together
    };
}

#[wasm_bindgen]
pub struct GlobalBoard {
    driver: Driver<WorkerHost>,
}

#[wasm_bindgen]
impl GlobalBoard {
    #[wasm_bindgen(constructor)]
    pub fn new(state: DurableObjectState, env: Env) -> Self {
        keep_as_set(&env);
        let settings = GlobalSettings {
            rules: ChartRules {
                visible: VisiblePosts::read(setting(&env, "REQUIRE_KNOWN_POSTS").as_deref()),
            },
            catalogs: CATALOGS.with(Catalogs::clone),
            together: TOGETHER.with(Together::clone),
            closing: ClosingRules {
                close_after_ms: read_close_after_ms(setting(&env, "CLOSE_AFTER").as_deref())
                    .unwrap_or(CLOSE_AFTER_MS),
                ..ClosingRules::default()
            },
            daily_requests: read_daily_requests(setting(&env, "DAILY_REQUESTS").as_deref())
                .unwrap_or_default(),
            ..GlobalSettings::default()
        };
        let host = WorkerHost::new(State::from(state), env, "global");
        GlobalBoard {
            driver: Driver::new(host, settings),
        }
    }

    /// Answers a message: [`as_answer`].
    pub async fn answer(&self, path: String, message: Vec<u8>) -> JsValue {
        let driver = &self.driver;
        // As in the Worker (`edge::answer_request`), a future of its own for each.
        let reply: LocalBoxFuture<'_, _> = match path.as_str() {
            "/list-published" => Box::pin(driver.list_published(&message)),
            "/close-history" => Box::pin(driver.close_history(&message)),
            "/push" => Box::pin(driver.push(&message)),
            "/chart" => Box::pin(driver.chart(&message)),
            "/chart-if-awake" => Box::pin(driver.chart_if_awake(&message)),
            "/watch" => Box::pin(driver.watch(&message)),
            "/look" => Box::pin(driver.hear_of_change(&message)),
            "/post" => Box::pin(driver.post(&message)),
            "/regions" => Box::pin(driver.regions()),
            "/wipe" => Box::pin(driver.wipe(&message)),
            "/learn" => Box::pin(driver.learn(&message)),
            "/metrics" => Box::pin(driver.metrics()),
            "/begin-export" => Box::pin(driver.begin_export(&message)),
            "/export" => Box::pin(driver.export(&message)),
            "/import" => Box::pin(driver.import(&message)),
            _ => return NO_SUCH_MESSAGE,
        };
        as_answer(&reply.await)
    }
}
