//! A request as the routes see it.

use std::cell::RefCell;
use std::rc::Rc;

use percent_encoding::percent_decode_str;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env, Method, Url};

use super::problem::Problem;
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

thread_local! {
    /// Settings do not change while an instance lives.
    static TRUST: RefCell<Option<Rc<Trust>>> = const { RefCell::new(None) };
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
    TRUST.with(|trust| Rc::clone(trust.borrow_mut().get_or_insert_with(read)))
}

/// Whom the Worker's door (`entry.js`) takes a request for: as [`Seen::of`] does. `undefined` as long
/// as this instance has not read the settings.
#[wasm_bindgen(js_name = visitorAddress)]
pub fn visitor_address(peer: &str, addresses: Option<String>) -> Option<String> {
    let trust = TRUST.with(|trust| trust.borrow().clone())?;
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
    parameters: Vec<(String, String)>,
}

impl Call {
    pub fn new(
        raw: web_sys::Request,
        seen: Seen,
        env: Env,
        context: Context,
    ) -> Result<Self, Problem> {
        let parameters = if seen.url.contains('?') {
            let url = Url::parse(&seen.url)
                .map_err(|_| Problem::not_found("the address cannot be read"))?;
            let pairs = url.query_pairs();
            let parameters = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
            parameters.collect()
        } else {
            Vec::new()
        };
        Ok(Call {
            path: path_of(&seen.url),
            parameters,
            raw,
            seen,
            env,
            context,
        })
    }

    pub fn method(&self) -> Method {
        self.seen.method.clone()
    }

    /// The request as the platform has it.
    pub fn raw(&self) -> &web_sys::Request {
        &self.raw
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.clone())
    }

    /// The names of all query parameters.
    pub fn parameter_names(&self) -> impl Iterator<Item = &str> + Clone {
        self.parameters.iter().map(|(name, _)| name.as_str())
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.raw.headers().get(name).ok().flatten()
    }
}

/// The path of an address, which the runtime gives in its normal form.
pub fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or("/", |(_, rest)| rest);
    let path = rest.find('/').and_then(|start| rest.get(start..));
    let path = path.unwrap_or("/");
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path.get(..end).unwrap_or("/").to_owned()
}

/// A segment of the path without its percent encoding.
pub fn decoded(segment: &str) -> Result<String, Problem> {
    let text = percent_decode_str(segment).decode_utf8();
    text.map(std::borrow::Cow::into_owned)
        .map_err(|_| Problem::not_found("the path is not UTF-8"))
}
