//! What is wrong with an object of fields, in words of this interface: a parser's speak of types of Rust.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::Problem;

/// The fields of something that is sent.
pub struct Fields {
    /// Who has them: `a post`.
    pub of: &'static str,
    /// The code of a field that is none, or is something else than it must be.
    pub bad_code: &'static str,
    /// Each with what it must be.
    pub kinds: &'static [(&'static str, &'static str)],
    /// What others call them, with our names.
    pub others: &'static [(&'static str, &'static str)],
}

/// A field by another's name: there is no value for it.
#[derive(Deserialize)]
pub enum Misnomer {}

impl Fields {
    /// Why an object was not read: 400 with the first field that is not read by itself either.
    pub fn problem(
        &self,
        json: &[u8],
        error: &serde_json::Error,
        reads: impl Fn(&[u8]) -> bool,
    ) -> Problem {
        match serde_json::from_slice::<&RawValue>(json) {
            Ok(_) => Problem::bad(self.bad_code, self.why_not(json, error, reads)),
            Err(_) => Problem::bad("malformed_body", error.to_string()),
        }
    }

    fn why_not(
        &self,
        json: &[u8],
        error: &serde_json::Error,
        reads: impl Fn(&[u8]) -> bool,
    ) -> String {
        let of = self.of;
        let Ok(fields) = serde_json::from_slice::<BTreeMap<Cow<'_, str>, &RawValue>>(json) else {
            return format!("{of} is an object of JSON, {{…}}");
        };
        let fails = |(name, value): &(&Cow<'_, str>, &&RawValue)| {
            !reads(format!("{{{}:{value}}}", serde_json::json!(name)).as_bytes())
        };
        let Some((name, _)) = fields.iter().find(fails) else {
            return error.to_string();
        };
        let named = |list: &'static [(&str, &'static str)]| {
            let mut found = list.iter().filter(|(known, _)| known == name);
            found.next().map(|(_, word)| *word)
        };
        if let Some(kind) = named(self.kinds) {
            return format!("{name} is {kind}");
        }
        if let Some(ours) = named(self.others) {
            return format!("{of} has no {name}: write {ours} instead");
        }
        let all: Vec<&str> = self.kinds.iter().map(|(name, _)| *name).collect();
        format!("{of} has no field {name:?}; it has {}", all.join(", "))
    }
}
