//! Request methods (RFC 9110, 9).

use strum::{EnumString, IntoStaticStr};

/// The methods that routes take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Options,
    /// Any other: no route takes it.
    Other,
}

impl Method {
    pub fn read(name: &str) -> Self {
        name.parse().unwrap_or(Method::Other)
    }

    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What `Allow` lists for a path that takes some methods.
pub fn method_list(methods: &[Method]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|method| method.name()).collect();
    if methods.contains(&Method::Get) {
        names.push("HEAD");
    }
    names.push("OPTIONS");
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_known_by_their_exact_names() {
        for name in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"] {
            assert_eq!(Method::read(name).name(), name);
        }
        for name in ["get", "PATCH", "TRACE", "", "GET "] {
            assert_eq!(Method::read(name), Method::Other, "{name}");
        }
    }

    #[test]
    fn a_path_that_is_read_takes_head_and_every_path_options() {
        assert_eq!(
            method_list(&[Method::Get, Method::Put]),
            "GET, PUT, HEAD, OPTIONS"
        );
        assert_eq!(method_list(&[Method::Post]), "POST, OPTIONS");
    }
}
