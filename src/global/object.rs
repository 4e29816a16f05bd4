//! The Durable Object of the global board: a table of routes. [`Driver`] does what they say.

use futures_util::future::LocalBoxFuture;
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
        // As in the Worker (`edge::answer_request`), a future of its own for each.
        let reply: LocalBoxFuture<'_, _> = match request.path().as_str() {
            "/list-published" => Box::pin(driver.list_published(&message)),
            "/close-history" => Box::pin(driver.close_history(&message)),
            "/push" => Box::pin(driver.push(&message)),
            "/chart" => Box::pin(driver.chart(&message)),
            "/watch" => Box::pin(driver.watch(&message)),
            "/look" => Box::pin(driver.hear_of_change(&message)),
            "/post" => Box::pin(driver.post(&message)),
            "/regions" => Box::pin(driver.regions()),
            "/close" => Box::pin(driver.close(&message)),
            "/learn" => Box::pin(driver.learn(&message)),
            "/metrics" => Box::pin(driver.metrics()),
            "/begin-export" => Box::pin(driver.begin_export(&message)),
            "/export" => Box::pin(driver.export(&message)),
            "/import" => Box::pin(driver.import(&message)),
            _ => return Response::error("no such message", 404),
        };
        answer(reply.await)
    }
}
