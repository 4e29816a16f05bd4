//! How a body is written: `Content-Type` and `Content-Encoding`.

use super::essence;

/// The names under which lines of JSON travel: none is registered.
pub(super) const LINES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/jsonlines",
];

/// What a body is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// Those that are unpacked here, as `Accept-Encoding` names them.
    pub const ACCEPTED: &str = "gzip, deflate";

    /// As the platform calls it (`DecompressionStream`).
    pub const fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Deflate => "deflate",
        }
    }
}

/// Whether `Content-Type` announces lines of plays. Plays as JSON or as plain text may be lines
/// too: that is told from the bytes.
///
/// # Errors
/// What to write instead, for forms that are no plays.
pub fn announces_lines(content_type: Option<&str>) -> Result<bool, String> {
    let essence = essence(content_type.unwrap_or_default());
    match essence.as_str() {
        "" | "text/plain" | "application/json" => Ok(false),
        lines if LINES.contains(&lines) => Ok(true),
        "application/x-www-form-urlencoded" => Err(
            "plays are JSON, and this was sent as a form, as curl does by itself: add the header \
             Content-Type: application/json (curl -H 'Content-Type: application/json' -d …)"
                .into(),
        ),
        _ => Err(
            "plays are sent with the header Content-Type: application/json, text/plain or \
             application/x-ndjson"
                .into(),
        ),
    }
}

/// What `Content-Encoding` says.
///
/// # Errors
/// What to send instead, for what is not unpacked here.
pub fn coding(content_encoding: Option<&str>) -> Result<Option<Coding>, String> {
    let name = content_encoding.unwrap_or_default().trim();
    match name.to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(None),
        "gzip" | "x-gzip" => Ok(Some(Coding::Gzip)),
        "deflate" => Ok(Some(Coding::Deflate)),
        _ => Err(format!(
            "a body with Content-Encoding {name:?} is not read here; send {} or no coding",
            Coding::ACCEPTED
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_many_names_and_json_may_come_as_text() {
        for lines in LINES
            .into_iter()
            .chain(["Application/JSONL; charset=utf-8"])
        {
            assert_eq!(announces_lines(Some(lines)), Ok(true), "{lines}");
        }
        for told_from_bytes in ["", "text/plain;charset=UTF-8", "APPLICATION/JSON"] {
            assert_eq!(announces_lines(Some(told_from_bytes)), Ok(false));
        }
        assert_eq!(announces_lines(None), Ok(false));
    }

    #[test]
    fn a_type_that_is_not_read_gets_the_header_to_write() {
        for other in [
            "application/x-www-form-urlencoded",
            "image/png",
            "json",
            ";",
        ] {
            if other == ";" {
                assert_eq!(announces_lines(Some(other)), Ok(false), "says nothing");
                continue;
            }
            let detail = announces_lines(Some(other)).unwrap_err();
            assert!(
                detail.contains("Content-Type: application/json"),
                "{other}: {detail}"
            );
        }
        let form = announces_lines(Some("application/x-www-form-urlencoded")).unwrap_err();
        assert!(
            form.contains("-H 'Content-Type: application/json'"),
            "{form}"
        );
    }

    #[test]
    fn what_is_unpacked_is_named_to_whoever_sends_something_else() {
        assert_eq!(coding(None), Ok(None));
        assert_eq!(coding(Some("identity")), Ok(None));
        assert_eq!(coding(Some("GZIP")), Ok(Some(Coding::Gzip)));
        assert_eq!(coding(Some(" x-gzip ")), Ok(Some(Coding::Gzip)));
        assert_eq!(coding(Some("deflate")), Ok(Some(Coding::Deflate)));
        for other in ["br", "zstd", "gzip, gzip", "x"] {
            let detail = coding(Some(other)).unwrap_err();
            assert!(detail.contains("gzip, deflate"), "{detail}");
        }
    }
}
