//! Ids as this installation keeps them (`NORMALISE_IDS`).

use std::borrow::Cow;

use worker::Env;

use crate::platform::{normalised, setting_is_true};
use crate::play::{NormaliseId, normalised_id};

/// What makes one id of those that look alike, where the installation wants that.
pub fn normaliser(env: &Env) -> Option<NormaliseId> {
    setting_is_true(env, "NORMALISE_IDS").then_some(normalised)
}

/// An id that a reader or the catalog names, in the form in which plays of it count.
pub fn kept(env: &Env, post_id: String) -> String {
    normalised_id(Cow::Owned(post_id), normaliser(env)).into_owned()
}
