//! Limits by address. Reads and beacons have a bucket each, so that whoever polls charts does not stop
//! the beacons of the same address.
//!
//! Each isolate counts in a table of its own, and where the platform has a binding (`RATE_LIMITER` of
//! `wrangler.toml`) all isolates of a place count together besides: who is over either is refused.

use wasm_bindgen::prelude::wasm_bindgen;
use worker::RateLimiter;

use super::access::is_open_to_all;
use super::answer::Answer;
use super::directory;
use super::isolate::here;
use super::request::{Call, Trust, trust};
use crate::clock::now_ms;
use crate::environment::setting;
use crate::http::Problem;
use crate::instance::random_bytes;
use crate::limiter::{Left, Limiter, Rate};
use crate::visitor::sender;

/// Reads a minute, and as many beacons, unless `LIMIT_PER_MINUTE` says otherwise; 0 for no limit. The
/// binding's limit in `wrangler.toml` is the same (`tests/runtime/limits.test.mjs`).
const DEFAULT_LIMIT: u32 = 600;

/// A tenth of an address's requests of a minute may be for charts that nobody looked at lately, at
/// 5 to 15 ms of the global object's time each. By default that is 60 at once, enough for a page
/// full of them, and from then on one in two seconds: 0.75 % of its time at most.
const REQUESTS_A_COLD_CHART: u32 = 10;

/// An address has one socket at a time for so many requests that it may make a minute: 100 by
/// default. A household or an office looks at fewer pages at once, and 10,000 sockets of an object
/// take a hundred addresses to fill.
const REQUESTS_A_SOCKET: u32 = 6;

/// A beacon counts as one request more for each so many bytes of its plays, a hundred times what a
/// page sends. So what the plays of an address cost in rows written is bounded, however large its
/// beacons are (`tests/rows.rs`).
const BYTES_A_REQUEST: usize = 24 << 10;

/// Plays of one post that one address adds a minute, unless `VOTES_PER_MINUTE` says otherwise; any
/// number where requests of addresses are not limited.
const DEFAULT_VOTES: u32 = 60;

/// All cold charts that an address may ask for at once come back in this time.
const COLD_CHARTS_WITHIN_MS: u64 = 120_000;

fn with_limiter<T>(run: impl FnOnce(&mut Limiter) -> T) -> T {
    here(|isolate| run(&mut isolate.limiter.borrow_mut()))
}

/// What a request is counted as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Bucket {
    Reads,
    Beacons,
    ColdCharts,
}

impl Bucket {
    /// Under what the requests of a sender are counted: hashes that nobody else has.
    const fn of(self, sender: u64) -> u64 {
        match self {
            Bucket::Reads => sender,
            Bucket::Beacons => !sender,
            Bucket::ColdCharts => sender.rotate_left(8),
        }
    }
}

/// What is left to a sender, for the answer's headers.
pub struct Limit {
    limit: u32,
    left: Option<Left>,
}

/// Who sends this, for today. None where the runtime does not tell, which no runtime of ours does.
pub async fn sender_of(call: &Call) -> Option<u64> {
    let address = call.seen.visitor.address.as_ref()?;
    // The installation's seed is the same in every isolate and known to nobody.
    let seed = directory::regions(&call.env)
        .await
        .map_or([0; 16], |table| table.seed);
    Some(sender(address, &seed, now_ms()))
}

/// Who sends a beacon, for today. The registry is not asked for it: of a play, an isolate that has just been
/// started may have nothing else to ask. Until it knows the seed it counts under a key of its own. So an
/// address that meets several such isolates is another one to each, for its first few beacons there: then the
/// isolate asks ([`directory::goes_blind`]).
pub fn sender_of_beacon(call: &Call) -> Option<u64> {
    let address = call.seen.visitor.address.as_ref()?;
    let own_key = || here(|isolate| *isolate.own_key.get_or_init(random_bytes));
    let key = directory::known_regions().map_or_else(own_key, |table| table.seed);
    Some(sender(address, &key, now_ms()))
}

/// The limit that the Worker's door must count by when it answers by itself, 0 where requests are
/// not counted. `None` where it must not: where answers are not the same for everybody, or where it is
/// not known who asks. The platform's binding is not asked there: what an isolate repeats costs nobody
/// anything.
pub fn for_the_door(call: &Call) -> Option<u32> {
    let limit = limit_per_minute(call);
    let knows_visitors = !matches!(*trust(&call.env), Trust::Misread);
    (knows_visitors && is_open_to_all(&call.env)).then_some(limit)
}

/// Who reads, for today, as far as it is known at once: for what holds within an isolate.
#[wasm_bindgen(js_name = readerAtTheDoor)]
pub fn reader_at_the_door(address: &str) -> u64 {
    let seed = directory::known_regions().map_or([0; 16], |table| table.seed);
    sender(address, &seed, now_ms())
}

/// Counts a request of an address that the Worker's door (`src/js/door.js`) answers by itself. `false`: it
/// must not, and [`count`] says why.
#[wasm_bindgen(js_name = countAtTheDoor)]
pub fn count_at_the_door(address: &str, limit: u32) -> bool {
    directory::known_regions().is_some_and(|table| {
        let now_ms = now_ms();
        let sender = Bucket::Reads.of(sender(address, &table.seed, now_ms));
        let rate = Rate::a_minute(limit);
        with_limiter(|limiter| limiter.take(1, sender, rate, now_ms).is_ok())
    })
}

/// Counts a chart that nobody looked at lately, which costs milliseconds.
///
/// # Errors
/// 429 where an address asks for too many different ones.
pub async fn count_cold_chart(call: &Call) -> Result<(), Problem> {
    let limit = limit_per_minute(call);
    let Some(sender) = sender_of(call).await.filter(|_| limit > 0) else {
        return Ok(());
    };
    let rate = Rate {
        at_once: limit / REQUESTS_A_COLD_CHART,
        within_ms: COLD_CHARTS_WITHIN_MS,
    };
    let sender = Bucket::ColdCharts.of(sender);
    let taken = with_limiter(|limiter| limiter.take(1, sender, rate, now_ms()));
    let Err(wait_ms) = taken else {
        return Ok(());
    };
    let detail = "too many different charts from one address; those that are looked at go on";
    let problem = Problem::new(429, "rate_limited", detail);
    Err(problem.with_header("Retry-After", seconds(wait_ms).to_string()))
}

/// Counts a request of an address.
///
/// # Errors
/// 429 where it came too often.
pub async fn count(call: &Call, bucket: Bucket, sender: Option<u64>) -> Result<Limit, Problem> {
    let limit = limit_per_minute(call);
    let Some(sender) = sender.filter(|_| limit > 0) else {
        return Ok(Limit { limit, left: None });
    };
    let sender = bucket.of(sender);
    let rate = Rate::a_minute(limit);
    let taken = with_limiter(|limiter| limiter.take(1, sender, rate, now_ms()));
    let left = taken.map_err(|wait_ms| too_many(bucket, limit, seconds(wait_ms)))?;
    if is_too_much_here(call, sender).await {
        return Err(too_many(bucket, limit, 60));
    }
    Ok(Limit {
        limit,
        left: Some(left),
    })
}

/// Whether all isolates of this place together have counted too much. Where the platform's counter
/// fails, the isolate's own is what counts.
async fn is_too_much_here(call: &Call, sender: u64) -> bool {
    let Some(binding) = binding(call) else {
        return false;
    };
    let outcome = binding.limit(format!("{sender:016x}")).await;
    outcome.is_ok_and(|outcome| !outcome.success)
}

/// Counts what a beacon's bytes are worth beyond the one request that it was counted as.
///
/// # Errors
/// 429 where they are more than the address has left; nothing of the beacon is counted then.
pub async fn count_bytes(call: &Call, sender: Option<u64>, bytes: usize) -> Result<(), Problem> {
    let more = (bytes / BYTES_A_REQUEST) as u32;
    count_more(call, sender, more, too_large_for_sender).await
}

/// Counts a beacon once more for each board beyond the first, as each is a message to another object.
///
/// # Errors
/// As [`count_bytes`].
pub async fn count_boards(call: &Call, sender: Option<u64>, boards: usize) -> Result<(), Problem> {
    let more = boards.saturating_sub(1) as u32;
    count_more(call, sender, more, for_too_many_boards).await
}

async fn count_more(
    call: &Call,
    sender: Option<u64>,
    more: u32,
    problem: fn(u32, u32) -> Problem,
) -> Result<(), Problem> {
    let limit = limit_per_minute(call);
    // Whoever sends nothing else may send the largest body: the request itself has taken one.
    let more = more.min(limit.saturating_sub(1));
    let Some(sender) = sender.filter(|_| limit > 0 && more > 0) else {
        return Ok(());
    };
    let sender = Bucket::Beacons.of(sender);
    let rate = Rate::a_minute(limit);
    with_limiter(|limiter| limiter.take(more, sender, rate, now_ms()))
        .map_err(|wait_ms| problem(limit, seconds(wait_ms)))?;
    for _ in 0..more {
        if is_too_much_here(call, sender).await {
            return Err(problem(limit, 60));
        }
    }
    Ok(())
}

/// How many sockets an address may have at one object; none for any number.
pub fn sockets_per_address(call: &Call) -> Option<u32> {
    let limit = limit_per_minute(call);
    (limit > 0).then(|| (limit / REQUESTS_A_SOCKET).max(1))
}

/// What an address may add to a post a minute; none for any number.
pub fn votes_per_minute(call: &Call) -> Option<u32> {
    // Who does not limit addresses has said that they are not those of visitors.
    let default = match limit_per_minute(call) {
        0 => 0,
        _ => DEFAULT_VOTES,
    };
    let limit = number_setting(call, "VOTES_PER_MINUTE", default);
    (limit > 0).then_some(limit)
}

fn limit_per_minute(call: &Call) -> u32 {
    number_setting(call, "LIMIT_PER_MINUTE", DEFAULT_LIMIT)
}

fn number_setting(call: &Call, name: &'static str, default: u32) -> u32 {
    let setting = setting(&call.env, name).and_then(|number| number.parse().ok());
    setting.unwrap_or(default)
}

/// The platform's binding. Whether it is there does not change while an instance lives.
fn binding(call: &Call) -> Option<RateLimiter> {
    if here(|isolate| isolate.counts_alone.get()) {
        return None;
    }
    let binding = call.env.rate_limiter("RATE_LIMITER").ok();
    here(|isolate| isolate.counts_alone.set(binding.is_none()));
    binding
}

impl Limit {
    /// Says in the answer what is left.
    pub fn tell(&self, answer: Answer) -> Answer {
        let Some(Left {
            remaining,
            full_in_ms,
        }) = self.left
        else {
            return answer;
        };
        let left = format!("\"address\";r={remaining};t={}", seconds(full_in_ms));
        answer
            .with_header("RateLimit", left)
            .with_header("RateLimit-Policy", policy(self.limit))
    }
}

/// Rounded up: who waits so long is let in.
fn seconds(ms: u64) -> u32 {
    u32::try_from(ms.div_ceil(1_000)).unwrap_or(u32::MAX)
}

fn policy(limit: u32) -> String {
    format!("\"address\";q={limit};w=60")
}

fn too_many(bucket: Bucket, limit: u32, retry_after_s: u32) -> Problem {
    let what = match bucket {
        Bucket::Reads => "reads",
        Bucket::Beacons => "beacons",
        Bucket::ColdCharts => "charts that nobody looked at lately",
    };
    let detail = format!("at most {limit} {what} a minute from one address");
    rate_limited(limit, retry_after_s, detail)
}

/// Others of the address go on: what was too much is this one.
fn too_large_for_sender(limit: u32, retry_after_s: u32) -> Problem {
    let kib = BYTES_A_REQUEST >> 10;
    let detail = format!(
        "at most {limit} beacons a minute from one address; each further {kib} KiB of plays count as \
         one: send fewer at once"
    );
    rate_limited(limit, retry_after_s, detail)
}

fn for_too_many_boards(limit: u32, retry_after_s: u32) -> Problem {
    let detail = format!(
        "at most {limit} beacons a minute from one address, where one for several boards is as many"
    );
    rate_limited(limit, retry_after_s, detail)
}

fn rate_limited(limit: u32, retry_after_s: u32, detail: String) -> Problem {
    Problem::new(429, "rate_limited", detail)
        .with_header("Retry-After", retry_after_s.to_string())
        .with_header("RateLimit", format!("\"address\";r=0;t={retry_after_s}"))
        .with_header("RateLimit-Policy", policy(limit))
}
