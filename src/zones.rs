//! What clocks show anywhere, as the platform's `Intl` knows it.
//!
//! `src/js/zones.js` looks at it.

use wasm_bindgen::prelude::wasm_bindgen;
use worker::Env;

use crate::clock::now_ms;
use crate::environment::setting;
use crate::settings::time_zone;
use crate::window::{Zone, is_zone_name};

#[wasm_bindgen(module = "/src/js/zones.js")]
extern "C" {
    fn zone(name: &str, now_ms: f64) -> Option<String>;
}

/// The zone of this name in the tz database, for the days that are kept and those that may be asked for.
/// None where there is none. A look costs some 50 µs, the first one at a zone some 2 ms, and the first one of a
/// process 10 ms more; none at that of most installations.
pub fn zone_named(name: &str) -> Option<Zone> {
    let utc = Zone::utc();
    if name.eq_ignore_ascii_case(utc.name()) {
        return Some(utc);
    }
    let told = is_zone_name(name).then(|| zone(name, now_ms() as f64));
    Zone::read(name, &told.flatten()?)
}

/// The zone that `TIME_ZONE` names. None where there is no such zone.
pub fn own_zone(env: &Env) -> Option<Zone> {
    zone_named(time_zone(setting(env, "TIME_ZONE").as_deref()))
}
