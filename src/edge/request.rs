//! A request as the routes see it.

use std::rc::Rc;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env};

use super::isolate::here;
use crate::http::{Query, path_of};
use crate::log::report;
use crate::platform::{Seen, setting};
use crate::visitor::Proxies;

/// What the settings say of proxies.
pub enum Trust {
    /// Whoever connects is the visitor.
    Nobody,
    Proxies(Proxies),
    /// They cannot be read, and `/healthz` says why: nobody is believed.
    Misread,
}

impl Trust {
    pub fn proxies(&self) -> Option<&Proxies> {
        match self {
            Trust::Proxies(proxies) => Some(proxies),
            Trust::Nobody | Trust::Misread => None,
        }
    }
}

/// Who is believed about visitors.
pub fn trust(env: &Env) -> Rc<Trust> {
    let read = || {
        let trust = match Proxies::read(|name| setting(env, name)) {
            Ok(None) => Trust::Nobody,
            Ok(Some(proxies)) => Trust::Proxies(proxies),
            Err(error) => {
                report!("worker", "{error}");
                Trust::Misread
            }
        };
        Rc::new(trust)
    };
    here(|isolate| Rc::clone(isolate.trust.get_or_init(read)))
}

/// Whom the Worker's door (`src/js/door.js`) takes a request for: as [`Seen::of`] does. `undefined` as long
/// as this instance has not read the settings.
#[wasm_bindgen(js_name = visitorAddress)]
pub fn visitor_address(peer: &str, addresses: Option<String>) -> Option<String> {
    let trust = here(|isolate| isolate.trust.get().cloned())?;
    let proxies = trust.proxies()?;
    Some(proxies.address(peer, addresses.as_deref()))
}

/// A request with its path and query taken apart.
pub struct Call {
    raw: web_sys::Request,
    pub seen: Seen,
    pub env: Env,
    pub context: Context,
    /// Still percent-encoded: segments are decoded one by one, so that a slash inside an id stays.
    pub path: String,
    pub query: Query,
}

impl Call {
    pub fn new(raw: web_sys::Request, seen: Seen, env: Env, context: Context) -> Self {
        Call {
            path: path_of(&seen.url).to_owned(),
            query: Query::of(&seen.url),
            raw,
            seen,
            env,
            context,
        }
    }

    /// The request as the platform has it.
    pub fn raw(&self) -> &web_sys::Request {
        &self.raw
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.headers().get(name).ok().flatten()
    }
}
