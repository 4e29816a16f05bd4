//! The Durable Object of a shard: a table of routes to its [`Driver`] and its [`Sockets`].

use futures_util::future::{FutureExt, LocalBoxFuture};
use js_sys::Uint8Array;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{
    DurableObject, Env, Request, Response, State, WebSocket, WebSocketIncomingMessage,
    durable_object,
};

use super::live::SocketOwner;
use super::sockets::Sockets;
use super::{Driver, Limits, VotesOfInstance};
use crate::codec;
use crate::environment::keep_as_set;
use crate::http::read_hex;
use crate::objects::{NO_SUCH_MESSAGE, as_answer};
use crate::wire::{
    COUNTED, LIVE_ADDRESS_HEADER, LIVE_HEADER, LIVE_LIMIT_HEADER, LiveRequest, Noted, PullReply,
    REPEATED, RecordReply, Refusal, Voter,
};
use crate::worker_host::WorkerHost;

thread_local! {
    /// What all shards of this instance know of votes.
    static VOTES: VotesOfInstance = VotesOfInstance::default();
}

#[durable_object]
pub struct RegionShard {
    driver: Driver<WorkerHost>,
    sockets: Sockets,
}

#[wasm_bindgen]
impl RegionShard {
    /// What Workers call for each batch: `src/js/service.js` passes it on.
    pub async fn record(&self, message: Vec<u8>, voter: Option<Vec<u8>>) -> JsValue {
        let voter = voter.and_then(|voter| codec::decode::<Voter>(&voter).ok());
        match self.driver.record(&message, voter).boxed_local().await {
            RecordReply::Counted { repeated, too_many } if too_many.is_empty() => {
                if repeated { REPEATED } else { COUNTED }.into()
            }
            reply => Uint8Array::from(&codec::encode(&reply)[..]).into(),
        }
    }

    /// Answers a message: [`as_answer`].
    pub async fn answer(&self, path: String, message: Vec<u8>) -> JsValue {
        let (driver, sockets) = (&self.driver, &self.sockets);
        // As in the Worker (`edge::answer_request`), a future of its own for each.
        let reply: LocalBoxFuture<'_, _> = match path.as_str() {
            "/wipe" => Box::pin(async {
                let wiped = driver.wipe(&message).await;
                if wiped.is_ok() {
                    sockets.close_all();
                }
                codec::encode(&Noted(wiped))
            }),
            "/look" => Box::pin(async {
                let look = codec::decode(&message).map_err(Refusal::from);
                codec::encode(&Noted(look.and_then(|look| sockets.told(look))))
            }),
            "/begin-epoch" => {
                Box::pin(async { codec::encode(&Noted(driver.begin_epoch(&message).await)) })
            }
            "/cut" => Box::pin(async { codec::encode(&Noted(driver.cut(&message).await)) }),
            "/pull" => Box::pin(async {
                codec::encode(&PullReply(driver.pull(&message).boxed_local().await))
            }),
            "/chart" => Box::pin(async {
                codec::encode(&driver.chart(&message).boxed_local().await.as_sent())
            }),
            _ => return NO_SUCH_MESSAGE,
        };
        as_answer(&reply.await)
    }

    /// Why plays cannot be taken here, or do not get on: a number that `src/js/health.js` knows; 0 for
    /// nothing. Goes out with each answer to a Worker, whose `/healthz` wakes no object.
    pub fn trouble(&self) -> u8 {
        self.driver.trouble().map_or(0, |trouble| trouble as u8)
    }
}

impl DurableObject for RegionShard {
    fn new(state: State, env: Env) -> Self {
        keep_as_set(&env);
        let state = state._inner();
        let context = JsValue::clone(state.as_ref());
        let host = WorkerHost::new(State::from(state), env, "shard");
        let driver = VOTES.with(|votes| Driver::beside(host, Limits::default(), votes));
        RegionShard {
            sockets: Sockets::new(driver.clone(), context),
            driver,
        }
    }

    /// `/live`: a reader who wants a socket.
    async fn fetch(&self, request: Request) -> worker::Result<Response> {
        let headers = request.headers();
        let asks = headers
            .get(LIVE_HEADER)?
            .and_then(|digits| read_hex(&digits));
        let Some(Ok(asks)) = asks.map(|asks| codec::decode::<LiveRequest>(&asks)) else {
            return Response::error("no such chart", 400);
        };
        let limit = headers.get(LIVE_LIMIT_HEADER)?;
        let limit = limit.and_then(|limit| limit.parse().ok());
        let reader = headers.get(LIVE_ADDRESS_HEADER)?.zip(limit);
        let reader = reader.map(|(address, max_sockets)| SocketOwner {
            address,
            max_sockets,
        });
        let watch = self.sockets.watch(&asks, reader.as_ref());
        watch.boxed_local().await
    }

    async fn alarm(&self) -> worker::Result<Response> {
        let failed_pushes = self.driver.failed_pushes();
        let wake_in_ms = self.sockets.wake_in_ms();
        let done = self.driver.alarm(wake_in_ms).boxed_local().await;
        if wake_in_ms.is_some() {
            // Where the global object is away, readers are to see that their chart ages.
            let is_away = self.driver.failed_pushes() > failed_pushes;
            self.sockets
                .look_at_what_is_due(is_away)
                .boxed_local()
                .await;
        }
        // The platform fires it again.
        done.map_err(|error| worker::Error::RustError(format!("alarm: {error}")))?;
        Response::empty()
    }

    /// Readers have nothing to say.
    async fn websocket_message(
        &self,
        _socket: WebSocket,
        _message: WebSocketIncomingMessage,
    ) -> worker::Result<()> {
        Ok(())
    }

    async fn websocket_close(
        &self,
        socket: WebSocket,
        _code: usize,
        _reason: String,
        _was_clean: bool,
    ) -> worker::Result<()> {
        // The other side has closed already: there is nobody left to tell of a failure.
        let _ = socket.close(Some(1000), Some("bye"));
        Ok(())
    }

    async fn websocket_error(
        &self,
        _socket: WebSocket,
        _error: worker::Error,
    ) -> worker::Result<()> {
        Ok(())
    }
}
