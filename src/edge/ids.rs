//! Ids as this installation keeps them (`NORMALISE_IDS`).

use std::borrow::Cow;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::Env;

use crate::environment::setting_is_true;
use crate::play::{NormaliseId, normalised_id};

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    #[wasm_bindgen(js_name = normalised)]
    fn normalised_by_platform(text: &str) -> String;
}

/// The text in the form of Unicode that all texts have which look like it: composed (NFC), without
/// characters that nobody sees, without spaces around it.
fn normalised(text: &str) -> String {
    normalised_by_platform(text)
}

/// What makes one id of those that look alike, where the installation wants that.
pub fn normaliser(env: &Env) -> Option<NormaliseId> {
    setting_is_true(env, "NORMALISE_IDS").then_some(normalised)
}

/// An id that a reader or the catalog names, in the form in which plays of it count.
pub fn kept(env: &Env, post_id: String) -> String {
    normalised_id(Cow::Owned(post_id), normaliser(env)).into_owned()
}
