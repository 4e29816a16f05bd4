//! What goes back: status, headers, body.

use js_sys::{Object, Reflect, Uint8Array};
use serde::Serialize;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use worker::{Headers, Response};

use super::request::Call;
use crate::http::{Method, Problem, lists_etag, method_list};

#[wasm_bindgen(module = "/src/js/door.js")]
extern "C" {
    fn keep(url: &str, accept: Option<&str>, answer: &web_sys::Response, given: &JsValue);

    #[wasm_bindgen(js_name = repeatedAtTheDoor)]
    fn repeated_at_door() -> f64;
}

#[wasm_bindgen(module = "/src/js/glue.js")]
extern "C" {
    /// An answer of ours. `fixed` are headers that many answers have; each list is lines of name and
    /// value in turn. `reader` may be told to ask again where too many large answers are under way; where it
    /// is none, the answer is given.
    ///
    /// # Errors
    /// When the platform refuses a header.
    #[wasm_bindgen(catch)]
    fn respond(
        status: u16,
        body: Option<Uint8Array>,
        fixed: &str,
        varying: &str,
        reader: Option<u64>,
    ) -> Result<web_sys::Response, JsValue>;
}

/// Charts that the Worker's door gave again.
pub fn repeated_at_the_door() -> u64 {
    repeated_at_door() as u64
}

/// An answer of ours, or one of the platform's that is passed on.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: AnswerBody,
    kept: Option<DoorCopy>,
}

/// An answer that the Worker's door (`src/js/door.js`) may give again by itself, to everybody.
pub struct DoorCopy {
    /// What it answers, and in which form.
    pub url: String,
    pub accept: Option<String>,
    pub body: Vec<u8>,
    pub content_type: &'static str,
    pub etag: String,
    /// Requests a minute from one address, to be counted; 0 for any number.
    pub limit: u32,
    /// Bots get another answer at the same address.
    pub not_for_bots: bool,
    /// From then on one request asks for a newer answer.
    pub renew_ms: u64,
    /// From then on nobody gets this one.
    pub expires_ms: u64,
}

enum AnswerBody {
    Empty,
    Bytes(Vec<u8>),
    Passed(Response),
    /// A WebSocket: nothing of it may be touched.
    Upgraded(Response),
}

impl Answer {
    pub fn json(value: &impl Serialize) -> Self {
        // Our own types always serialize; an empty body would be the sign that one does not.
        let bytes = serde_json::to_vec(value).unwrap_or_default();
        Answer::bytes("application/json", bytes)
    }

    pub fn bytes(content_type: &'static str, bytes: Vec<u8>) -> Self {
        Answer {
            headers: vec![("Content-Type", content_type.to_owned())],
            body: AnswerBody::Bytes(bytes),
            ..Answer::empty(200)
        }
    }

    /// Bytes under an entity tag; 304 without them for a reader who has them already.
    pub fn tagged(call: &Call, content_type: &'static str, bytes: Vec<u8>, etag: String) -> Self {
        let known = call.header("If-None-Match");
        let answer = match known.is_some_and(|known| lists_etag(&known, &etag)) {
            true => Answer::empty(304),
            false => Answer::bytes(content_type, bytes),
        };
        answer.with_header("ETag", etag)
    }

    /// Passes on an answer of the platform.
    pub fn passed(response: Response) -> Self {
        Answer {
            status: response.status_code(),
            body: AnswerBody::Passed(response),
            ..Answer::empty(200)
        }
    }

    /// Passes on a WebSocket.
    pub fn upgraded(response: Response) -> Self {
        Answer {
            body: AnswerBody::Upgraded(response),
            ..Answer::empty(101)
        }
    }

    pub fn empty(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: AnswerBody::Empty,
            kept: None,
        }
    }

    /// What may be done at a path; pages of other origins may read, and send plays.
    pub fn preflight(allowed: &[Method]) -> Self {
        let mut for_pages = allowed.to_vec();
        for_pages.retain(|method| matches!(method, Method::Get | Method::Post));
        Answer::empty(204)
            .with_header("Allow", method_list(allowed))
            .with_header("Access-Control-Allow-Methods", method_list(&for_pages))
            .with_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, Hitparade-Home, If-None-Match",
            )
            .with_header("Access-Control-Max-Age", "86400")
    }

    pub fn status(&self) -> u16 {
        self.status
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Adds headers beside those that are there, of the same names too.
    pub fn with_headers(mut self, more: Vec<(&'static str, &str)>) -> Self {
        let more = more.into_iter();
        self.headers
            .extend(more.map(|(name, value)| (name, value.to_owned())));
        self
    }

    /// Sets a header, replacing one of the same name.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(given, _)| *given != name);
        self.headers.push((name, value.into()));
        self
    }

    /// Keeps the answer to a request that showed a token out of caches that others read: whatever
    /// the route says, nobody may be given what was for somebody else.
    pub fn for_its_reader_only(mut self) -> Self {
        let name = "Cache-Control";
        let given = self.headers.iter_mut().find(|(given, _)| *given == name);
        match given {
            Some((_, value)) => *value = value.replace("public", "private"),
            None => self.headers.push((name, "private, no-store".into())),
        }
        self
    }

    pub fn with_kept(mut self, kept: Option<DoorCopy>) -> Self {
        self.kept = kept;
        self
    }

    /// What may be kept of it is given to nobody who says of itself that it is a bot.
    pub fn not_kept_for_bots(mut self) -> Self {
        if let Some(kept) = &mut self.kept {
            kept.not_for_bots = true;
        }
        self
    }

    /// The response; what may be kept of it goes to the Worker's door. `reader` is who asks with GET; none
    /// where the answer tells of what was done, which must not be lost.
    ///
    /// # Errors
    /// When the platform refuses a header, which ours are not.
    pub fn into_response(
        mut self,
        is_head: bool,
        reader: Option<u64>,
    ) -> worker::Result<web_sys::Response> {
        let kept = self.kept.take().filter(|_| !is_head);
        let response = self.respond(is_head, reader)?;
        if let Some(kept) = kept {
            let (url, accept) = (kept.url.clone(), kept.accept.clone());
            keep(&url, accept.as_deref(), &response, &kept.into_object()?);
        }
        Ok(response)
    }

    fn respond(self, is_head: bool, reader: Option<u64>) -> worker::Result<web_sys::Response> {
        let own = self.headers.iter();
        let own = own.map(|(name, value)| (*name, value.as_str()));
        let headers = own.chain([("X-Content-Type-Options", "nosniff")]);
        match self.body {
            AnswerBody::Upgraded(response) => Ok(response.into()),
            AnswerBody::Passed(response) if !is_head => {
                let copies = Headers::new();
                for (name, value) in headers {
                    copies.append(name, value)?;
                }
                let (builder, body) = response.into_parts();
                let response = builder.body(body).with_status(self.status);
                Ok(response.with_headers(copies).into())
            }
            body => {
                let mut lines = [String::new(), String::new()];
                for (name, value) in headers {
                    let varies = matches!(
                        name,
                        "ETag" | "RateLimit" | "Retry-After" | "Vary" | "X-Request-Id"
                    );
                    let [fixed, varying] = &mut lines;
                    let list = if varies { varying } else { fixed };
                    let gap = if list.is_empty() { "" } else { "\n" };
                    list.extend([gap, name, "\n", value]);
                }
                let bytes = match &body {
                    AnswerBody::Bytes(bytes) if !is_head && !matches!(self.status, 204 | 304) => {
                        Some(&bytes[..])
                    }
                    _ => None,
                };
                let [fixed, varying] = lines;
                let body = bytes.map(Uint8Array::from);
                Ok(respond(self.status, body, &fixed, &varying, reader)?)
            }
        }
    }
}

impl DoorCopy {
    fn into_object(self) -> worker::Result<JsValue> {
        let fields: [(&str, JsValue); 7] = [
            ("body", Uint8Array::from(self.body.as_slice()).into()),
            ("content_type", self.content_type.into()),
            ("etag", self.etag.into()),
            ("limit", self.limit.into()),
            ("not_for_bots", self.not_for_bots.into()),
            ("renew_ms", (self.renew_ms as f64).into()),
            ("expires_ms", (self.expires_ms as f64).into()),
        ];
        let object = Object::new();
        for (name, value) in fields {
            Reflect::set(&object, &name.into(), &value)?;
        }
        Ok(object.into())
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Self {
        let mut answer = Answer::json(&problem.body())
            .with_status(problem.status)
            .with_header("Content-Type", "application/problem+json")
            .with_header("Cache-Control", "no-store");
        for (name, value) in problem.headers {
            answer = answer.with_header(name, value);
        }
        answer
    }
}
