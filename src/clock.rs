//! The platform's clock and timers.

use std::time::Duration;

use futures_util::future::{Either, select};
use wasm_bindgen::prelude::wasm_bindgen;
use worker::Delay;

#[wasm_bindgen(module = "/src/js/clock.js")]
extern "C" {
    #[wasm_bindgen(js_name = steadyMs)]
    fn steady() -> f64;
}

/// Milliseconds since 1970. The platform's clock stands still while code runs.
pub fn now_ms() -> u64 {
    js_sys::Date::now() as u64
}

/// Milliseconds by a clock that never goes back, of this isolate alone: by it everything ages that is kept
/// in memory. Where the platform's clock was set back, all of that is too old (`src/js/clock.js`).
pub fn steady_ms() -> u64 {
    steady() as u64
}

/// Waits for a future, but not for ever. `None` when its time is over.
pub async fn within<F: Future>(limit_ms: u64, future: F) -> Option<F::Output> {
    let future = std::pin::pin!(future);
    match select(future, Delay::from(Duration::from_millis(limit_ms))).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// As [`within`], but gives the future back when its time is over.
///
/// # Errors
/// The future, unfinished.
pub async fn within_or_rest<F: Future + Unpin>(limit_ms: u64, future: F) -> Result<F::Output, F> {
    match select(future, Delay::from(Duration::from_millis(limit_ms))).await {
        Either::Left((output, _)) => Ok(output),
        Either::Right((_, future)) => Err(future),
    }
}
