//! A request as the routes see it.

use percent_encoding::percent_decode_str;
use worker::{Env, Method, Request};

use super::problem::Problem;

/// A request with its path and query taken apart.
pub struct Call {
    pub request: Request,
    pub env: Env,
    /// Still percent-encoded: segments are decoded one by one, so that a slash inside an id stays.
    pub path: String,
    parameters: Vec<(String, String)>,
}

impl Call {
    pub fn new(request: Request, env: Env) -> Result<Self, Problem> {
        let url = request
            .url()
            .map_err(|_| Problem::not_found("the address cannot be read"))?;
        let pairs = url.query_pairs();
        let parameters = pairs.map(|(name, value)| (name.into_owned(), value.into_owned()));
        Ok(Call {
            path: url.path().to_owned(),
            parameters: parameters.collect(),
            request,
            env,
        })
    }

    pub fn method(&self) -> Method {
        self.request.method()
    }

    /// The first value of a query parameter.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let found = self.parameters.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.clone())
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).ok().flatten()
    }
}

/// A segment of the path without its percent encoding.
pub fn decoded(segment: &str) -> Result<String, Problem> {
    let text = percent_decode_str(segment).decode_utf8();
    text.map(std::borrow::Cow::into_owned)
        .map_err(|_| Problem::not_found("the path is not UTF-8"))
}
