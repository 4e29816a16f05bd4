//! The path and the query of an address, which the runtime has normalised.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;
use url::form_urlencoded;

use super::problem::Problem;

/// The parameters of an address, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn of(url: &str) -> Self {
        let url = url.split_once('#').map_or(url, |(url, _)| url);
        let query = url.split_once('?').map_or("", |(_, query)| query);
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned();
        Query(pairs.collect())
    }

    /// The first value of a parameter; repetitions are ignored.
    pub fn first(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// All values of a parameter that may be repeated.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(given, _)| given == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The names of all of them.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.iter().map(|(name, _)| name.as_str())
    }
}

/// The path of an address, still percent-encoded.
pub fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or("/", |(_, rest)| rest);
    let path = rest.find('/').and_then(|start| rest.get(start..));
    let path = path.unwrap_or("/");
    let end = path.find(['?', '#']).unwrap_or(path.len());
    path.get(..end).unwrap_or("/")
}

/// Decodes one segment of a path. Segments are decoded one by one, so that an encoded slash stays inside an
/// id.
///
/// # Errors
/// 404 for what is not UTF-8.
pub fn decoded(segment: &str) -> Result<String, Problem> {
    let text = percent_decode_str(segment).decode_utf8();
    text.map(Cow::into_owned)
        .map_err(|_| Problem::not_found("the path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_first_of_a_parameter_counts_and_is_decoded() {
        let query =
            Query::of("https://charts.example/top-posts?k=5&k=9&a%20b=c+d%C3%A4&empty=&bare#k=7");
        assert_eq!(query.first("k"), Some("5"));
        assert_eq!(query.first("a b"), Some("c d\u{e4}"));
        assert_eq!(
            (query.first("empty"), query.first("bare")),
            (Some(""), Some(""))
        );
        assert_eq!(query.first("K"), None);
        assert_eq!(query.all("k").collect::<Vec<_>>(), ["5", "9"]);
        assert_eq!(query.names().count(), 5);
        assert_eq!(
            Query::of("https://charts.example/top-posts"),
            Query::default()
        );
        assert_eq!(Query::of("https://charts.example/#?k=5"), Query::default());
    }

    #[test]
    fn a_path_ends_at_its_query_and_keeps_its_encoding() {
        for (url, path) in [
            ("https://charts.example/posts/a%2Fb?k=1#x", "/posts/a%2Fb"),
            ("https://charts.example", "/"),
            ("https://charts.example/#/a", "/"),
            ("http://127.0.0.1:8787/top-posts", "/top-posts"),
            ("", "/"),
        ] {
            assert_eq!(path_of(url), path, "{url}");
        }
        assert_eq!(decoded("a%2Fb%20%C3%A4").unwrap(), "a/b \u{e4}");
        assert_eq!(decoded("%ff").unwrap_err().status, 404);
    }

    proptest! {
        #[test]
        fn any_address_is_taken_apart(url: String) {
            let query = Query::of(&url);
            let _ = (query.names().count(), decoded(path_of(&url)));
        }
    }
}
