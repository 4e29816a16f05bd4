//! Limits by address: the platform's binding where there is one, a table in memory where not.

use std::cell::RefCell;

use wasm_bindgen::JsValue;

use super::answer::Answer;
use super::problem::Problem;
use super::request::Call;
use super::table;
use crate::limiter::{Allowance, Limiter, sender};
use crate::platform::{now_ms, setting};

/// Reads and beacons a minute, unless `LIMIT_PER_MINUTE` says otherwise; 0 for no limit.
const DEFAULT_LIMIT: u32 = 600;

thread_local! {
    static LIMITER: RefCell<Limiter> = RefCell::default();
}

/// What is left to a sender, for the answer's headers.
pub struct Limit {
    limit: u32,
    allowance: Option<Allowance>,
}

/// Counts a request of an address.
///
/// # Errors
/// 429 where it came too often.
pub async fn count(call: &Call) -> Result<Limit, Problem> {
    let limit = setting(&call.env, "LIMIT_PER_MINUTE").and_then(|limit| limit.parse().ok());
    let limit = limit.unwrap_or(DEFAULT_LIMIT);
    let none = Limit {
        limit,
        allowance: None,
    };
    let Some(address) = address(call).filter(|_| limit > 0) else {
        return Ok(none);
    };
    // The installation's seed is the same in every isolate and known to nobody.
    let seed = table::table(&call.env)
        .await
        .map_or([0; 16], |table| table.seed);
    let sender = sender(&address, &seed, now_ms());
    if let Ok(binding) = call.env.rate_limiter("RATE_LIMITER") {
        return match binding.limit(format!("{sender:016x}")).await {
            Ok(outcome) if !outcome.success => Err(too_many(limit, 60)),
            _ => Ok(none),
        };
    }
    let allowance = LIMITER.with(|limiter| limiter.borrow_mut().take(sender, limit, now_ms()));
    if allowance.allowed {
        Ok(Limit {
            limit,
            allowance: Some(allowance),
        })
    } else {
        Err(too_many(limit, allowance.reset_s))
    }
}

impl Limit {
    /// Says in the answer what is left.
    pub fn tell(&self, answer: Answer) -> Answer {
        let Some(allowance) = self.allowance else {
            return answer;
        };
        let Allowance {
            remaining, reset_s, ..
        } = allowance;
        answer
            .with_header(
                "RateLimit",
                format!("\"address\";r={remaining};t={reset_s}"),
            )
            .with_header("RateLimit-Policy", policy(self.limit))
    }
}

fn policy(limit: u32) -> String {
    format!("\"address\";q={limit};w=60")
}

fn too_many(limit: u32, retry_after_s: u32) -> Problem {
    let detail = format!("at most {limit} requests a minute from one address");
    let mut problem = Problem::new(429, "rate_limited", detail);
    let left = format!("\"address\";r=0;t={retry_after_s}");
    problem.headers = vec![
        ("Retry-After", retry_after_s.to_string()),
        ("RateLimit", left),
        ("RateLimit-Policy", policy(limit)),
    ];
    problem
}

/// The address that the runtime saw. Cloudflare sets the header itself, whatever was sent; the
/// bare runtime does not, and tells in `cf` instead.
fn address(call: &Call) -> Option<String> {
    let cf = js_sys::Reflect::get(call.request.inner(), &"cf".into()).unwrap_or(JsValue::NULL);
    let from_cf = js_sys::Reflect::get(&cf, &"clientIp".into()).ok();
    let from_cf = from_cf.and_then(|address| address.as_string());
    from_cf.or_else(|| call.header("CF-Connecting-IP"))
}
