//! The Durable Object of the global board: a table of routes. [`Driver`] does what they say.

use worker::{DurableObject, Env, Request, Response, State, durable_object};

use super::{ChartRules, ClosingRules, Driver, GlobalSettings, Together};
use crate::catalog::Catalogs;
use crate::environment::{keep_as_set, setting};
use crate::instance::when_memory_is_short;
use crate::objects::answer;
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

#[durable_object(fetch)]
pub struct GlobalBoard {
    driver: Driver<WorkerHost>,
}

impl DurableObject for GlobalBoard {
    fn new(state: State, env: Env) -> Self {
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
        let host = WorkerHost::new(state, env, "global");
        GlobalBoard {
            driver: Driver::new(host, settings),
        }
    }

    async fn fetch(&self, mut request: Request) -> worker::Result<Response> {
        let message = request.bytes().await?;
        let driver = &self.driver;
        let reply = match request.path().as_str() {
            "/list-published" => driver.list_published(&message).await,
            "/close-history" => driver.close_history(&message).await,
            "/push" => driver.push(&message).await,
            "/chart" => driver.chart(&message).await,
            "/watch" => driver.watch(&message).await,
            "/look" => driver.hear_of_change(&message).await,
            "/post" => driver.post(&message).await,
            "/regions" => driver.regions().await,
            "/close" => driver.close(&message).await,
            "/learn" => driver.learn(&message).await,
            "/metrics" => driver.metrics().await,
            "/begin-export" => driver.begin_export(&message).await,
            "/export" => driver.export(&message).await,
            "/import" => driver.import(&message).await,
            _ => return Response::error("no such message", 404),
        };
        answer(reply)
    }
}
