//! What this isolate counts, for `/metrics`.

use super::isolate::here;
use crate::http::{Counters, Source};

fn change(change: impl FnOnce(&mut Counters)) {
    here(|isolate| change(&mut isolate.counters.borrow_mut()));
}

pub fn answered(route: &'static str, status: u16, code: Option<&'static str>) {
    change(|counters| counters.answered(route, status, code));
}

pub fn rejected(code: &'static str) {
    change(|counters| counters.rejected(code));
}

pub fn elsewhere(region_id: &str) {
    change(|counters| counters.elsewhere(region_id));
}

pub fn found(source: Source) {
    change(|counters| counters.found(source));
}

pub fn shown(age_ms: u64) {
    change(|counters| counters.shown(age_ms));
}
