//! A request as the routes see it.

use std::rc::Rc;

use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Context, Env};

use super::isolate::here;
use crate::board::ObjectName;
use crate::environment::{or_report, setting};
use crate::http::{Method, Problem, Query, path_of};
use crate::objects::ask;
use crate::visitor::{Proxies, Visitor};
use crate::wire::{AnswerTo, Question};

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    fn look(request: &web_sys::Request, more: &str) -> String;
}

/// What the Worker looks at in every request, read at once.
pub struct RequestFields {
    pub method: Method,
    pub url: String,
    /// Whose it is. The runtime saw the address: Cloudflare sets its header itself, whatever was
    /// sent; the bare runtime does not, and tells in `cf` instead. Trusted proxies know better.
    pub visitor: Visitor,
    pub authorization: Option<String>,
    pub origin: Option<String>,
    pub content_type: Option<String>,
    pub content_length: Option<String>,
    pub content_encoding: Option<String>,
    pub idempotency_key: Option<String>,
    pub home: Option<String>,
    pub user_agent: Option<String>,
}

impl RequestFields {
    pub fn of(request: &web_sys::Request, proxies: Option<&Proxies>) -> Self {
        let further = proxies.map(|proxies| {
            let names = proxies.headers().map(Option::unwrap_or_default);
            names.map(|name| format!(" {name}")).concat()
        });
        let text = look(request, &further.unwrap_or_default());
        let mut lines = text.split('\n');
        let name = lines.next().unwrap_or_default();
        let method = Method::read(name);
        let url = lines.next().unwrap_or_default().to_owned();
        let mut next = || {
            let line = lines.next()?;
            line.strip_prefix('+').map(str::to_owned)
        };
        let visitor = Visitor {
            address: next(),
            country: next(),
            continent: next(),
        };
        let mut seen = RequestFields {
            method,
            url,
            visitor,
            authorization: next(),
            origin: next(),
            content_type: next(),
            content_length: next(),
            content_encoding: next(),
            idempotency_key: next(),
            home: next(),
            user_agent: next(),
        };
        if let Some(proxies) = proxies {
            let said = [next(), next(), next()];
            let said = said.each_ref().map(Option::as_deref);
            seen.visitor = proxies.visitor(seen.visitor, said);
        }
        seen
    }

    /// What its texts hold, here and with the runtime.
    pub fn bytes(&self) -> usize {
        let texts = [
            &self.authorization,
            &self.origin,
            &self.content_type,
            &self.content_encoding,
            &self.idempotency_key,
            &self.home,
            &self.user_agent,
        ];
        let lengths = texts.into_iter().flatten().map(String::len);
        2 * lengths.fold(self.url.len(), usize::saturating_add)
    }
}

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
        let proxies = Proxies::read(|name| setting(env, name));
        let trust = proxies.map(|proxies| proxies.map_or(Trust::Nobody, Trust::Proxies));
        Rc::new(or_report(trust, || Trust::Misread))
    };
    here(|isolate| Rc::clone(isolate.trust.get_or_init(read)))
}

/// Whom the Worker's door (`src/js/door.js`) takes a request for: as [`RequestFields::of`] does. `undefined` as long
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
    pub seen: RequestFields,
    pub env: Env,
    pub context: Context,
    /// Still percent-encoded: segments are decoded one by one, so that a slash inside an id stays.
    pub path: String,
    pub query: Query,
}

impl Call {
    pub fn new(raw: web_sys::Request, seen: RequestFields, env: Env, context: Context) -> Self {
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

    /// Asks an object. `invalid_code` is what its caller gets where the object finds the question invalid.
    ///
    /// # Errors
    /// 503 where the object is away; and what it refuses ([`Problem::refused`]).
    pub async fn ask<Q: Question>(
        &self,
        object: &ObjectName,
        question: &Q,
        limit_ms: u64,
        invalid_code: &'static str,
    ) -> Result<AnswerTo<Q>, Problem> {
        let answer = ask(&self.env, (object, None), question, limit_ms).await;
        let answer = answer.map_err(|error| Problem::away(object.in_words(), &error))?;
        answer.map_err(|refusal| Problem::refused(refusal, invalid_code))
    }
}
