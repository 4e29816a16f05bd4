//! Who may do what: bearer tokens, and the origins of pages.

use std::cell::RefCell;
use std::hash::Hasher;
use std::rc::Rc;

use siphasher::sip128::{Hasher128, SipHasher13};
use subtle::{Choice, ConstantTimeEq};
use worker::{Env, Method};

use super::problem::Problem;
use super::request::{Call, path_of};
use crate::log::report;
use crate::platform::{Seen, random_bytes, setting};
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
    Err(Problem::unauthorized(
        "send Authorization: Bearer with the token of this route",
    ))
}

/// Whether charts are only for who shows the read token.
pub fn needs_token(env: &Env) -> bool {
    setting(env, Token::Read.setting()).is_some()
}

/// Whether charts are the same for everybody: they need no token, and every page may read them.
pub fn is_open_to_all(env: &Env) -> bool {
    !needs_token(env) && matches!(*allowed_origins(env), AllowedOrigins::All)
}

/// What `ALLOWED_ORIGINS` says.
enum AllowedOrigins {
    All,
    These(Vec<String>),
}

/// Read once: settings do not change while an instance lives. Where the setting cannot be read, no
/// page is allowed; `/healthz` says what is wrong.
fn allowed_origins(env: &Env) -> Rc<AllowedOrigins> {
    thread_local! {
        static ALLOWED: RefCell<Option<Rc<AllowedOrigins>>> = const { RefCell::new(None) };
    }
    let read = || {
        let allowed = match read_origins(setting(env, "ALLOWED_ORIGINS").as_deref()) {
            Ok(origins) if origins.is_empty() => AllowedOrigins::All,
            Ok(origins) => AllowedOrigins::These(origins),
            Err(error) => {
                report!("worker", "{error}");
                AllowedOrigins::These(Vec::new())
            }
        };
        Rc::new(allowed)
    };
    ALLOWED.with(|allowed| Rc::clone(allowed.borrow_mut().get_or_insert_with(read)))
}

/// Requires the read token where one is configured.
pub fn may_read(call: &Call) -> Result<(), Problem> {
    if shows(call, Token::Read)? || !needs_token(&call.env) {
        return Ok(());
    }
    Err(Problem::unauthorized(
        "this needs the read token here: Authorization: Bearer",
    ))
}

/// Requires the token of figures where one is configured, else that of charts: figures tell of what
/// charts show.
pub fn may_read_metrics(call: &Call) -> Result<(), Problem> {
    if setting(&call.env, Token::Metrics.setting()).is_none() {
        return may_read(call);
    }
    if shows(call, Token::Metrics)? {
        return Ok(());
    }
    Err(Problem::unauthorized(
        "figures need the metrics token here: Authorization: Bearer",
    ))
}

/// As [`may_read`] for what moderators see, too: whether one asks, by the admin token.
pub fn may_read_or_moderate(call: &Call) -> Result<bool, Problem> {
    if call.seen.authorization.is_some() && shows(call, Token::Admin).is_ok() {
        return Ok(true);
    }
    may_read(call).map(|()| false)
}

/// Whether the request shows a token. One that it shows must be the right one.
pub fn shows(call: &Call, token: Token) -> Result<bool, Problem> {
    let Some(header) = &call.seen.authorization else {
        return Ok(false);
    };
    let given = header
        .get(..7)
        .filter(|scheme| scheme.eq_ignore_ascii_case("bearer "))
        .and_then(|_| header.get(7..))
        .ok_or_else(|| Problem::unauthorized("the only scheme is Bearer"))?;
    let name = token.setting();
    let secret = setting(&call.env, name).unwrap_or_default();
    // One that cannot be read opens nothing; `/healthz` says what is wrong.
    let valid = read_tokens(name, &secret).unwrap_or_default();
    if is_one_of(given.trim(), &valid) {
        return Ok(true);
    }
    Err(Problem::unauthorized(
        "this token is not valid for this route",
    ))
}

/// Compares in a time that depends on neither content nor common length, nor on which it is: digests
/// under a key that nobody knows are compared instead of the secrets, with each of them.
fn is_one_of(given: &str, secrets: &[&str]) -> bool {
    thread_local! {
        static KEY: RefCell<Option<[u8; 16]>> = const { RefCell::new(None) };
    }
    let key = KEY.with(|key| *key.borrow_mut().get_or_insert_with(random_bytes));
    let digest = |secret: &str| {
        let mut hasher = SipHasher13::new_with_key(&key);
        hasher.write(secret.as_bytes());
        hasher.finish128().as_bytes()
    };
    let given = digest(given);
    let is = |secret: &&str| given.ct_eq(&digest(secret));
    let any = secrets
        .iter()
        .map(is)
        .fold(Choice::from(0), |any, is| any | is);
    any.into()
}

/// Which pages may read an answer, and send plays.
pub struct Cors {
    /// Other origins' pages may read and send plays; the rest is not theirs to change.
    for_pages: bool,
    origin: Option<String>,
    allowed: Rc<AllowedOrigins>,
}

impl Cors {
    pub fn of(seen: &Seen, env: &Env) -> Self {
        Cors {
            for_pages: !matches!(seen.method, Method::Put | Method::Delete)
                && !["/import", "/admin"]
                    .iter()
                    .any(|path| path_of(&seen.url).starts_with(path)),
            origin: seen.origin.clone(),
            allowed: allowed_origins(env),
        }
    }

    /// Whether the page that sends this may do so. Senders that are no pages name no origin.
    pub fn allows_origin(&self) -> bool {
        match (&*self.allowed, &self.origin) {
            (AllowedOrigins::All, _) | (_, None) => true,
            (AllowedOrigins::These(origins), Some(origin)) => origins.contains(origin),
        }
    }

    /// The headers that tell a browser so.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        let exposed = (
            "Access-Control-Expose-Headers",
            "ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id",
        );
        if !self.for_pages {
            return Vec::new();
        }
        if matches!(*self.allowed, AllowedOrigins::All) {
            return vec![("Access-Control-Allow-Origin", "*"), exposed];
        }
        let origin = self.origin.as_deref().filter(|_| self.allows_origin());
        let mut headers = vec![("Vary", "Origin")];
        headers.extend(origin.map(|origin| ("Access-Control-Allow-Origin", origin)));
        headers.extend(origin.map(|_| exposed));
        headers
    }
}
