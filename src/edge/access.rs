//! Who may do what: bearer tokens, and the origins of pages.

use std::rc::Rc;

use worker::Env;

use super::isolate::here;
use super::request::Call;
use super::request::RequestFields;
use crate::environment::{or_report, setting};
use crate::http::{Cors, Origins, Problem, bearer, is_one_of, path_of};
use crate::instance::random_bytes;
use crate::settings::{read_origins, read_tokens};

/// The routes that a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Ingest,
    Admin,
    Read,
    Metrics,
}

impl Token {
    const fn setting(self) -> &'static str {
        match self {
            Token::Ingest => "INGEST_TOKEN",
            Token::Admin => "ADMIN_TOKEN",
            Token::Read => "READ_TOKEN",
            Token::Metrics => "METRICS_TOKEN",
        }
    }
}

/// Requires a token that must be configured.
pub fn require(call: &Call, token: Token) -> Result<(), Problem> {
    if setting(&call.env, token.setting()).is_none() {
        let detail = format!(
            "this needs {}, which is not configured here",
            token.setting()
        );
        return Err(Problem::new(403, "disabled", detail));
    }
    if shows(call, token)? {
        return Ok(());
    }
    Err(unshown(token))
}

/// Whether charts are only for who shows the read token.
pub fn needs_token(env: &Env) -> bool {
    setting(env, Token::Read.setting()).is_some()
}

/// Whether charts are the same for everybody: they need no token, and every page may read them.
pub fn is_open_to_all(env: &Env) -> bool {
    !needs_token(env) && matches!(*access(env).origins, Origins::All)
}

/// What this isolate knows of who may do what.
pub struct Access {
    origins: Rc<Origins>,
    /// Tokens are compared under it.
    key: [u8; 16],
}

/// Where `ALLOWED_ORIGINS` cannot be read, no page is allowed; `/healthz` says what is wrong.
fn access(env: &Env) -> Rc<Access> {
    let read = || {
        let origins = read_origins(setting(env, "ALLOWED_ORIGINS").as_deref());
        let origins = origins.map(|origins| match origins.is_empty() {
            true => Origins::All,
            false => Origins::These(origins),
        });
        let origins = or_report(origins, || Origins::These(Vec::new()));
        Rc::new(Access {
            origins: Rc::new(origins),
            key: random_bytes(),
        })
    };
    here(|isolate| Rc::clone(isolate.access.get_or_init(read)))
}

/// Which pages may read the answer to a request.
pub fn cors_of(seen: &RequestFields, env: &Env) -> Cors {
    let origins = Rc::clone(&access(env).origins);
    Cors::of(
        seen.method,
        path_of(&seen.url),
        seen.origin.clone(),
        origins,
    )
}

/// Requires the read token where one is configured.
pub fn may_read(call: &Call) -> Result<(), Problem> {
    if shows(call, Token::Read)? || !needs_token(&call.env) {
        return Ok(());
    }
    Err(unshown(Token::Read))
}

/// Requires the token of figures where one is configured, else that of charts, or the admin token: figures
/// tell of what charts show.
pub fn may_read_metrics(call: &Call) -> Result<(), Problem> {
    if setting(&call.env, Token::Metrics.setting()).is_none() {
        return may_read_or_moderate(call).map(|_| ());
    }
    if shows(call, Token::Metrics)? {
        return Ok(());
    }
    Err(unshown(Token::Metrics))
}

/// As [`may_read`] for what moderators see, too: whether one asks, by the admin token.
pub fn may_read_or_moderate(call: &Call) -> Result<bool, Problem> {
    let Some(header) = &call.seen.authorization else {
        return may_read(call).map(|()| false);
    };
    if shows(call, Token::Admin).is_ok() {
        return Ok(true);
    }
    bearer(header)?;
    may_read(call).map_err(|_| wrong("READ_TOKEN or ADMIN_TOKEN"))?;
    Ok(false)
}

/// Whether the request shows a token. One that it shows must be the right one.
pub fn shows(call: &Call, token: Token) -> Result<bool, Problem> {
    let Some(header) = &call.seen.authorization else {
        return Ok(false);
    };
    let given = bearer(header)?;
    let name = token.setting();
    let secret = setting(&call.env, name).unwrap_or_default();
    // One that cannot be read opens nothing; `/healthz` says what is wrong.
    let valid = read_tokens(name, &secret).unwrap_or_default();
    if is_one_of(given, &valid, &access(&call.env).key) {
        return Ok(true);
    }
    Err(wrong(name))
}

fn wrong(names: &str) -> Problem {
    Problem::unauthorized(format!(
        "this token is none of {names} here, which this route wants"
    ))
}

fn unshown(token: Token) -> Problem {
    let name = token.setting();
    Problem::unauthorized(format!("send Authorization: Bearer with {name}"))
}
