//! Types and caching of the static files, by their paths.

/// Lets pages run and load only what is ours, and images that the catalog names.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self'; font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; \
    frame-ancestors 'self'; img-src 'self' https: data:";
/// Behind [`PAGE_POLICY`]: pictures of a site in the making, on the machine where both are.
pub const LOCAL_PICTURES: &str = " http://localhost:* http://127.0.0.1:*";

/// The modules of a page must be of one release, so they are asked about each time. What other
/// sites embed may be an hour old.
pub fn cache_control(path: &str) -> &'static str {
    match path {
        "/beacon.js" | "/beacon.mjs" | "/widget.js" | "/icon.svg" => "public, max-age=3600",
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
        assert_eq!(cache_control("/beacon.js"), "public, max-age=3600");
        assert_eq!(cache_control("/page/app.js"), "no-cache");
    }
}
