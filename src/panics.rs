//! Panics on command, for `tests/runtime/panic.test.mjs`: only in a build with the feature `panics`.
//!
//! `GET /panic/{point}` makes the instance panic the next time that it comes to the point, once. At
//! the point `memory` it loses its memory instead.

#[cfg(feature = "panics")]
thread_local! {
    // Nobody can arm the point of what comes before the first request.
    static NEXT: std::cell::RefCell<String> = std::cell::RefCell::new("rehearsal".to_owned());
}

/// Arms the point that a path names; `false` where the path names none.
#[cfg(feature = "panics")]
pub fn arm(path: &str) -> bool {
    let point = path.strip_prefix("/panic/");
    if let Some(point) = point {
        NEXT.set(point.to_owned());
    }
    point.is_some()
}

/// The point `rehearsal`: a chart of `src/js/rehearsal.js`, behind whose plays there are timers.
#[cfg(target_arch = "wasm32")]
#[inline]
pub fn point_of_rehearsal(_url: &str) {
    #[cfg(feature = "panics")]
    if _url.starts_with("https://rehearsal.invalid/top-posts") {
        point("rehearsal");
    }
}

/// A point of the code; nothing in a build without the feature.
#[inline]
#[cfg_attr(feature = "panics", allow(clippy::panic))]
pub fn point(_name: &str) {
    #[cfg(feature = "panics")]
    if NEXT.with_borrow(|next| next == _name) {
        NEXT.take();
        if _name == "memory" {
            // As a leak does it: nobody holds this, and nobody frees it.
            std::mem::forget(vec![1_u8; 95 << 20]);
            return;
        }
        panic!("at {_name}, on command");
    }
}
