//! What goes back: status, headers, body.

use serde::Serialize;
use worker::{Headers, Method, Response};

use super::access::Cors;
use super::problem::method_list;

/// An answer of ours, or one of the platform's that is passed on.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

enum Body {
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
            status: 200,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: Body::Bytes(bytes),
        }
    }

    /// Passes on an answer of the platform.
    pub fn passed(response: Response) -> Self {
        Answer {
            status: response.status_code(),
            headers: Vec::new(),
            body: Body::Passed(response),
        }
    }

    /// Passes on a WebSocket.
    pub fn upgraded(response: Response) -> Self {
        Answer {
            body: Body::Upgraded(response),
            ..Answer::empty(101)
        }
    }

    pub fn empty(status: u16) -> Self {
        Answer {
            status,
            headers: Vec::new(),
            body: Body::Empty,
        }
    }

    /// What may be done at a path; pages of other origins may read, and send plays.
    pub fn preflight(allowed: &[Method]) -> Self {
        let for_pages: Vec<Method> = allowed
            .iter()
            .filter(|method| matches!(method, Method::Get | Method::Post))
            .cloned()
            .collect();
        Answer::empty(204)
            .with_header("Allow", method_list(allowed))
            .with_header("Access-Control-Allow-Methods", method_list(&for_pages))
            .with_header(
                "Access-Control-Allow-Headers",
                "Authorization, Content-Type, Idempotency-Key, If-None-Match",
            )
            .with_header("Access-Control-Max-Age", "86400")
    }

    pub fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// Sets a header, replacing one of the same name.
    pub fn with_header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.retain(|(given, _)| *given != name);
        self.headers.push((name, value.into()));
        self
    }

    /// # Errors
    /// When the platform refuses a header, which ours are not.
    pub fn into_response(self, cors: &Cors, is_head: bool) -> worker::Result<Response> {
        if let Body::Upgraded(response) = self.body {
            return Ok(response);
        }
        let headers = Headers::new();
        for (name, value) in &self.headers {
            headers.set(name, value)?;
        }
        headers.set("X-Content-Type-Options", "nosniff")?;
        cors.apply(&headers)?;
        let response = match self.body {
            Body::Passed(response) if !is_head => {
                let (builder, body) = response.into_parts();
                builder.body(body)
            }
            Body::Bytes(bytes) if !is_head && !matches!(self.status, 204 | 304) => {
                Response::from_bytes(bytes)?
            }
            _ => Response::empty()?,
        };
        Ok(response.with_status(self.status).with_headers(headers))
    }
}
