//! How a body is written: `Content-Type` and `Content-Encoding`.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

use super::essence;

/// The media types in use for lines of JSON; none is registered.
pub(super) const LINES: [&str; 5] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonlines",
    "application/jsonlines",
];

/// What a body is packed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum Coding {
    Gzip,
    Deflate,
}

impl Coding {
    /// The codings that are unpacked here, as in `Accept-Encoding`.
    pub const ACCEPTED: &str = "gzip, deflate";

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Unpacks a body. Holds at most `max_bytes` and one more: the rest of a decompression bomb is never
    /// unpacked.
    ///
    /// # Errors
    /// [`UnpackError`].
    pub fn unpack(self, packed: &[u8], max_bytes: usize) -> Result<Vec<u8>, UnpackError> {
        let limit = max_bytes as u64 + 1;
        // The first guess is what most bodies need: JSON packs to a fifth or a tenth.
        let mut bytes = Vec::with_capacity((8 * packed.len()).min(max_bytes));
        let read = match self {
            Coding::Gzip => MultiGzDecoder::new(packed)
                .take(limit)
                .read_to_end(&mut bytes),
            Coding::Deflate => ZlibDecoder::new(packed).take(limit).read_to_end(&mut bytes),
        };
        match read {
            _ if bytes.len() > max_bytes => Err(UnpackError::TooLarge),
            Err(_) => Err(UnpackError::Broken),
            Ok(_) => Ok(bytes),
        }
    }
}

/// Why a packed body cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnpackError {
    /// It unpacks to more bytes than a request may have.
    TooLarge,
    /// It is not packed as `Content-Encoding` says, or cut off.
    Broken,
}

/// Whether `Content-Type` announces lines of plays. A body of JSON or plain text may be lines too; its
/// bytes tell.
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
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn packed(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => {
                let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Coding::Deflate => {
                let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    const CODINGS: [Coding; 2] = [Coding::Gzip, Coding::Deflate];

    #[test]
    fn a_body_is_unpacked_up_to_the_limit_and_a_bomb_no_further() {
        for coding in CODINGS {
            let body = packed(coding, &[b' '; 1_000]);
            assert_eq!(coding.unpack(&body, 1_000).unwrap(), [b' '; 1_000]);
            assert_eq!(coding.unpack(&body, 999), Err(UnpackError::TooLarge));
            assert_eq!(coding.unpack(&packed(coding, b""), 0).unwrap(), b"");
        }
        let bomb = packed(Coding::Gzip, &vec![b' '; 64 << 20]);
        assert!(bomb.len() < 1 << 17, "{}", bomb.len());
        let bombs = bomb.repeat(8);
        assert_eq!(
            Coding::Gzip.unpack(&bombs, 1 << 20),
            Err(UnpackError::TooLarge)
        );
    }

    #[test]
    fn files_of_gzip_behind_each_other_are_one() {
        let two = [
            packed(Coding::Gzip, b"one\n"),
            packed(Coding::Gzip, b"two\n"),
        ]
        .concat();
        assert_eq!(Coding::Gzip.unpack(&two, 100).unwrap(), b"one\ntwo\n");
    }

    #[test]
    fn what_is_not_packed_or_not_all_there_is_broken() {
        for coding in CODINGS {
            let body = packed(coding, b"some plays");
            for cut in [0, 1, body.len() / 2, body.len() - 1] {
                assert_eq!(
                    coding.unpack(&body[..cut], 100),
                    Err(UnpackError::Broken),
                    "{cut}"
                );
            }
            assert_eq!(
                coding.unpack(b"{\"post_id\":\"a\"}", 100),
                Err(UnpackError::Broken)
            );
            let mut flipped = body.clone();
            *flipped.last_mut().unwrap() ^= 1;
            assert_eq!(coding.unpack(&flipped, 100), Err(UnpackError::Broken));
        }
        let gzip = packed(Coding::Gzip, b"a");
        assert_eq!(Coding::Deflate.unpack(&gzip, 100), Err(UnpackError::Broken));
    }

    proptest! {
        #[test]
        fn whatever_is_packed_comes_back(bytes: Vec<u8>) {
            for coding in CODINGS {
                prop_assert_eq!(&coding.unpack(&packed(coding, &bytes), bytes.len()).unwrap(), &bytes);
            }
        }

        #[test]
        fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>) {
            for coding in CODINGS {
                if let Ok(unpacked) = coding.unpack(&bytes, 100) {
                    prop_assert!(unpacked.len() <= 100);
                }
            }
        }
    }

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
