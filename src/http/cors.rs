//! Which pages may read an answer, and send plays: cross-origin resource sharing.

use std::rc::Rc;

use super::method::Method;

/// The pages that an installation is open to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    All,
    These(Vec<String>),
}

/// Headers that a page may read besides the usual ones.
const EXPOSED: (&str, &str) = (
    "Access-Control-Expose-Headers",
    "ETag, Retry-After, RateLimit, RateLimit-Policy, X-Request-Id, Hitparade-Home",
);

/// What holds for one request.
pub struct Cors {
    /// Whether pages of other origins may use this route: to read, or to send plays.
    for_pages: bool,
    method: Method,
    origin: Option<String>,
    allowed: Rc<Origins>,
}

impl Cors {
    pub fn of(method: Method, path: &str, origin: Option<String>, allowed: Rc<Origins>) -> Self {
        let changes = matches!(method, Method::Put | Method::Delete)
            || ["/import", "/admin"]
                .iter()
                .any(|theirs| path.starts_with(theirs));
        Cors {
            for_pages: !changes,
            method,
            origin,
            allowed,
        }
    }

    /// Whether the origin of the request is allowed. Only browsers send an origin.
    pub fn allows_origin(&self) -> bool {
        match (&*self.allowed, &self.origin) {
            (Origins::All, _) | (_, None) => true,
            (Origins::These(origins), Some(origin)) => origins.contains(origin),
        }
    }

    /// The headers that tell a browser so.
    pub fn headers(&self) -> Vec<(&'static str, &str)> {
        if !self.for_pages {
            return Vec::new();
        }
        if matches!(*self.allowed, Origins::All) {
            return vec![("Access-Control-Allow-Origin", "*"), EXPOSED];
        }
        // A page that may not send plays may read why.
        let may_read = self.allows_origin() || self.method == Method::Post;
        let origin = self.origin.as_deref().filter(|_| may_read);
        let mut headers = vec![("Vary", "Origin")];
        headers.extend(origin.map(|origin| ("Access-Control-Allow-Origin", origin)));
        headers.extend(origin.map(|_| EXPOSED));
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://music.example";

    fn cors(allowed: Origins, method: Method, path: &str, origin: Option<&str>) -> Cors {
        Cors::of(method, path, origin.map(str::to_owned), Rc::new(allowed))
    }

    #[test]
    fn where_all_pages_are_allowed_an_answer_is_the_same_for_all() {
        for origin in [None, Some(OURS), Some("null")] {
            let cors = cors(Origins::All, Method::Get, "/top-posts", origin);
            assert!(cors.allows_origin());
            assert_eq!(cors.headers()[0], ("Access-Control-Allow-Origin", "*"));
        }
    }

    #[test]
    fn only_a_page_that_is_named_is_allowed_and_caches_keep_answers_apart() {
        let these = || Origins::These(vec![OURS.into()]);
        let ours = cors(these(), Method::Post, "/plays", Some(OURS));
        assert!(ours.allows_origin());
        let allow = ("Access-Control-Allow-Origin", OURS);
        assert_eq!(ours.headers(), [("Vary", "Origin"), allow, EXPOSED]);
        for other in ["https://music.example.evil", "http://music.example", ""] {
            let cors = cors(these(), Method::Get, "/top-posts", Some(other));
            assert!(!cors.allows_origin(), "{other}");
            assert_eq!(cors.headers(), [("Vary", "Origin")], "{other}");
        }
        let refused = cors(
            these(),
            Method::Post,
            "/plays",
            Some("https://other.example"),
        );
        assert!(!refused.allows_origin());
        let told = ("Access-Control-Allow-Origin", "https://other.example");
        assert_eq!(refused.headers(), [("Vary", "Origin"), told, EXPOSED]);
        assert!(cors(these(), Method::Post, "/plays", None).allows_origin());
        let misread = cors(Origins::These(Vec::new()), Method::Get, "/", Some(OURS));
        assert!(!misread.allows_origin());
    }

    #[test]
    fn what_changes_is_open_to_no_page() {
        for (method, path) in [
            (Method::Put, "/posts/x"),
            (Method::Delete, "/regions/NA"),
            (Method::Post, "/import"),
            (Method::Post, "/admin/reset"),
            (Method::Get, "/admin"),
        ] {
            assert!(
                cors(Origins::All, method, path, Some(OURS))
                    .headers()
                    .is_empty()
            );
        }
    }
}
