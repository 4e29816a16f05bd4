//! Types and caching of the static files, by their paths.

use url::Url;

/// Lets pages load and run only our own files, besides images that the catalog names.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'self'; img-src 'self' data:";
/// Pictures from any https origin, where no setting names their origins.
const EVERY_PICTURE: &str = " https:";
/// Pictures from the same machine, for a site under development.
const LOCAL_PICTURES: &str = " http://localhost:* http://127.0.0.1:*";

/// The policy of a page at this address, with pictures from these origins; from any https origin where the
/// list is empty.
pub fn page_policy(url: &str, image_origins: &[String]) -> String {
    let pictures = match image_origins {
        [] => EVERY_PICTURE.to_owned(),
        origins => format!(" {}", origins.join(" ")),
    };
    let local = if is_local(url) { LOCAL_PICTURES } else { "" };
    format!("{PAGE_POLICY}{pictures}{local}")
}

/// Whether an address is on the same machine (localhost).
pub fn is_local(url: &str) -> bool {
    let url = Url::parse(url).ok();
    let host = url.as_ref().and_then(Url::host_str);
    matches!(host, Some("localhost" | "127.0.0.1" | "[::1]"))
}

/// Whether a file carries its version in its name (`/beacon.0.2.0.js`): it never changes.
pub fn has_version(path: &str) -> bool {
    let mut parts = path.rsplit('.').skip(1);
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    (0..3).all(|_| parts.next().is_some_and(is_number))
}

/// The modules of a page must be from one release, so browsers ask each time whether they changed. What other
/// sites embed may be an hour old. The beacon differs by region, in its text or in the home that goes with
/// it, so shared caches must not keep it.
pub fn cache_control(path: &str) -> &'static str {
    match path {
        "/beacon.js" | "/beacon.mjs" => "private, max-age=3600",
        _ if has_version(path) => "private, max-age=31536000, immutable",
        "/widget.js" | "/icon.svg" | "/preview.png" => "public, max-age=3600",
        _ => "no-cache",
    }
}

/// `None` for what is no file of ours.
pub fn content_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "webp" => "image/webp",
        "woff2" => "font/woff2",
        "txt" | "md" => "text/plain; charset=utf-8",
        "webmanifest" => "application/manifest+json",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_without_tls_are_taken_on_the_machine_itself() {
        for (url, is_local) in [
            ("http://localhost:8787/", true),
            ("http://127.0.0.1/x?y", true),
            ("http://[::1]:1/", true),
            ("https://example.com/localhost", false),
            ("http://localhost.example.com/", false),
            ("http://localhost@example.com/", false),
            ("localhost", false),
        ] {
            assert_eq!(super::is_local(url), is_local, "{url}");
            assert_eq!(page_policy(url, &[]).contains("http:"), is_local, "{url}");
        }
    }

    #[test]
    fn pictures_come_from_the_origins_that_are_named_and_no_others() {
        let url = "https://charts.example/";
        assert!(page_policy(url, &[]).ends_with("img-src 'self' data: https:"));
        let origins = [
            "https://img.example".to_owned(),
            "https://b.example".to_owned(),
        ];
        let policy = page_policy(url, &origins);
        assert!(policy.ends_with("img-src 'self' data: https://img.example https://b.example"));
    }

    #[test]
    fn a_file_has_the_type_of_its_name_or_is_none() {
        assert_eq!(
            content_type("/beacon.mjs"),
            Some("text/javascript; charset=utf-8")
        );
        assert_eq!(
            content_type("/index.html"),
            Some("text/html; charset=utf-8")
        );
        for other in ["/", "/beacon", "/x.exe", "/x.", "/.js/x"] {
            assert_eq!(content_type(other), None, "{other}");
        }
        assert_eq!(cache_control("/widget.js"), "public, max-age=3600");
        assert_eq!(cache_control("/page/app.js"), "no-cache");
    }

    #[test]
    fn what_has_a_version_in_its_name_never_changes() {
        for (path, is_so) in [
            ("/beacon.0.2.0.js", true),
            ("/beacon-elements.10.20.30.js", true),
            ("/beacon.js", false),
            ("/beacon.2.0.js", false),
            ("/beacon.0.2.x.js", false),
            ("/beacon.0..0.js", false),
        ] {
            assert_eq!(has_version(path), is_so, "{path}");
            assert_eq!(cache_control(path).contains("immutable"), is_so, "{path}");
        }
    }
}
