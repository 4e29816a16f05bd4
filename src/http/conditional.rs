//! `If-None-Match` (RFC 9110, 13.1.2).

/// Whether the header lists an entity tag. The comparison is the weak one: it ignores `W/`, which some
/// clients and proxies drop.
pub fn lists_etag(if_none_match: &str, etag: &str) -> bool {
    let wanted = etag.strip_prefix("W/").unwrap_or(etag);
    let mut rest = if_none_match.trim();
    if rest == "*" {
        return true;
    }
    // A tag may contain commas; it ends at its quote.
    while let Some(start) = rest.find('"') {
        let tag = rest.get(start..).unwrap_or_default();
        let Some(end) = tag.get(1..).and_then(|inner| inner.find('"')) else {
            return false;
        };
        if tag.get(..end + 2) == Some(wanted) {
            return true;
        }
        rest = tag.get(end + 2..).unwrap_or_default();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_without_their_weakness() {
        for (header, listed) in [
            (r#"W/"a""#, true),
            (r#""a""#, true),
            (r#" "b" , W/"a""#, true),
            (r#""b","a""#, true),
            ("*", true),
            (r#""b,"a"#, false),
            (r#""a"#, false),
            (r#""b, a""#, false),
            (r#""A""#, false),
            (r#"W/"ab""#, false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(lists_etag(header, r#"W/"a""#), listed, "{header}");
        }
        assert!(lists_etag(r#""x,y", "a""#, r#""a""#));
        assert!(lists_etag(r#""a", "x,y""#, r#"W/"x,y""#));
    }
}
