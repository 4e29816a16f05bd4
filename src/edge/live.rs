//! `GET /live`: hands a WebSocket to the shard next to the reader.

use worker::{Headers, Request, RequestInit};

use super::answer::Answer;
use super::charts::read_query;
use super::plays::region_of_request;
use super::request::Call;
use super::{boards, directory, leaderboards, limits};
use crate::board::ObjectName;
use crate::codec;
use crate::http::{Cors, Problem, hex};
use crate::objects::stub;
use crate::wire::{
    LIVE_ADDRESS_HEADER, LIVE_HEADER, LIVE_LIMIT_HEADER, LiveRequest, MAX_RENDERINGS_OF_ADDRESS,
};

/// Readers who are sent away come back spread over some time, from so many seconds to so many.
const SOCKET_RETRY_S: [u32; 2] = [10, 30];

pub async fn get(call: &Call, cors: &Cors) -> Result<Answer, Problem> {
    if !cors.allows_origin() {
        let detail = "pages of this origin may not read charts here (ALLOWED_ORIGINS)";
        return Err(Problem::new(403, "origin_not_allowed", detail));
    }
    let query = read_query(call)?;
    let board = boards::to_read(call).await?;
    let upgrades = call.header("Upgrade");
    if !upgrades.is_some_and(|upgrade| upgrade.eq_ignore_ascii_case("websocket")) {
        let problem = Problem::new(426, "upgrade_required", "this is a WebSocket");
        return Err(problem.with_header("Upgrade", "websocket"));
    }
    // What cannot be answered is refused here, where a reader can be told why.
    leaderboards::leaderboard(call, &board, &query).await?;
    let request = LiveRequest {
        window: query.window,
        ends_ms: query.ends_ms,
        form: query.form,
        has_token: call.seen.authorization.is_some(),
    };
    let away = |error: worker::Error| Problem::away("the shard", &error);
    let table = directory::regions(&call.env).await?;
    let here = region_of_request(call, &table);
    let region = here.as_deref().and_then(|here| table.find(here));
    let region = region.ok_or_else(Problem::unknown_region)?;
    let hint = region.hint.as_deref();
    let shard = ObjectName::shard(&board.key(), &region.key(), 0);
    let stub = stub(&call.env, &shard, hint).map_err(away)?;
    let headers = Headers::new();
    headers.set("Upgrade", "websocket").map_err(away)?;
    let asks = hex(&codec::encode(&request));
    headers.set(LIVE_HEADER, &asks).map_err(away)?;
    let most = limits::sockets_per_address(call);
    if let Some((sender, most)) = limits::sender_of(call).await.zip(most) {
        let fields = [
            (LIVE_ADDRESS_HEADER, format!("{sender:016x}")),
            (LIVE_LIMIT_HEADER, most.to_string()),
        ];
        for (name, value) in fields {
            headers.set(name, &value).map_err(away)?;
        }
    }
    let mut init = RequestInit::new();
    init.with_headers(headers);
    let request = Request::new_with_init("http://object/live", &init).map_err(away)?;
    let response = stub.fetch_with_request(request).await.map_err(away)?;
    match response.status_code() {
        101 => Ok(Answer::upgraded(response)),
        429 => {
            let most = most.unwrap_or_default();
            let detail = format!(
                "at most {most} sockets of one address, of {MAX_RENDERINGS_OF_ADDRESS} different charts; \
                 close one, or ask /top-posts"
            );
            let problem = Problem::new(429, "too_many_sockets", detail);
            Err(problem.with_header("Retry-After", retry_after_s().to_string()))
        }
        _ => {
            let detail = "no room for this socket; try again";
            Err(Problem::busy("overloaded", retry_after_s(), detail))
        }
    }
}

fn retry_after_s() -> u32 {
    let [from_s, to_s] = SOCKET_RETRY_S;
    from_s + (js_sys::Math::random() * f64::from(to_s - from_s)) as u32
}
