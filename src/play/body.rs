//! Finding the plays in a request body: one play, an array, lines (NDJSON) or an envelope.
//!
//! The form is told from the bytes, because `sendBeacon` announces everything as `text/plain`.
//! Elements stay unparsed slices of the body here, so that a bad element is refused without the others.
//! At most [`MAX_PLAYS_TRUSTED`] elements are ever held. Nested values are skipped without recursion, so
//! deep nesting costs nothing.

use std::fmt;
use std::hash::Hasher;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde_json::value::RawValue;
use siphasher::sip::SipHasher13;

use super::boards::{BoardIds, read_boards};
use super::value::{read_moment, read_text};
use super::{MAX_CLIENT_BYTES, MAX_PLAYS_TRUSTED, MAX_SEQ};
use crate::home::Home;

/// What a sender says about its batch as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// The sender's own name for itself and the number of the batch.
    pub client_seq: Option<(String, u64)>,
    /// The sender's clock at its first attempt.
    pub sent_ms: Option<u64>,
    /// The sender's clock at this attempt.
    pub now_ms: Option<u64>,
    /// Where the batch was at home when it was sealed.
    pub home: Option<Home>,
    /// The boards of plays that name none themselves. `None`: `main`.
    pub boards: Option<BoardIds>,
}

/// A body taken apart. Plays are still raw; `Err` holds why an element is no JSON at all.
#[derive(Debug)]
pub struct Body<'a> {
    pub envelope: Envelope,
    pub plays: Vec<Result<RawPlay<'a>, String>>,
}

/// Why nothing of a body can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BodyError {
    /// Not JSON, or JSON of another shape.
    Malformed(String),
    /// An envelope whose own fields are wrong.
    BadEnvelope(&'static str),
    /// The home is not a text that any answer could have given.
    BadHome,
    /// More plays than any sender may put in one request.
    TooManyPlays,
}

/// The fields of a play, not looked at yet.
#[derive(Debug, Default, Deserialize)]
pub struct RawPlay<'a> {
    #[serde(borrow, default)]
    pub post_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub region_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub timestamp: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub count: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub board: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub boards: Option<&'a RawValue>,
}

/// An object at the top: an envelope if it has `plays`, otherwise a play.
#[derive(Debug, Deserialize)]
struct RawEnvelope<'a> {
    #[serde(borrow, default)]
    client: Option<&'a RawValue>,
    #[serde(borrow, default)]
    seq: Option<&'a RawValue>,
    #[serde(borrow, default)]
    sent: Option<&'a RawValue>,
    #[serde(borrow, default)]
    now: Option<&'a RawValue>,
    #[serde(borrow, default)]
    home: Option<&'a RawValue>,
    #[serde(borrow, default)]
    board: Option<&'a RawValue>,
    #[serde(borrow, default)]
    boards: Option<&'a RawValue>,
    #[serde(borrow, default)]
    plays: Option<Elements<'a>>,
}

impl Body<'_> {
    /// Tells a repeat of a batch from other plays that were sent under the same name. The hash is the same
    /// at each attempt: it covers the plays' fields as they were sent, before times are corrected and
    /// plays are divided by board and region. It does not cover `sent`, `now`, the order of fields, and
    /// fields that are not read.
    ///
    /// The hash has no key: a sender who makes two bodies with the same hash loses the second.
    pub fn plays_hash(&self) -> u32 {
        let mut hasher = SipHasher13::new();
        let mut add = |text: Option<&str>| {
            // The length keeps neighbouring texts apart; no text is as long as the mark of an absent one.
            hasher.write_u64(text.map_or(u64::MAX, |text| text.len() as u64));
            hasher.write(text.unwrap_or_default().as_bytes());
        };
        for board in self.envelope.boards.iter().flat_map(|boards| boards.iter()) {
            add(Some(board));
        }
        add(None);
        for play in &self.plays {
            match play {
                Err(detail) => add(Some(detail)),
                Ok(raw) => {
                    let where_and_when = [raw.region_id, raw.timestamp, raw.board, raw.boards];
                    for field in [raw.post_id, raw.count].into_iter().chain(where_and_when) {
                        add(field.map(RawValue::get));
                    }
                }
            }
        }
        hasher.finish() as u32
    }
}

/// Takes a body apart.
///
/// # Errors
/// [`BodyError`] when no play can be found in it.
pub fn read_body(bytes: &[u8], lines_announced: bool) -> Result<Body<'_>, BodyError> {
    if let Some(form) = other_unicode_form(bytes) {
        let detail = format!("the body is {form}, and is read as UTF-8 only");
        return Err(BodyError::Malformed(detail));
    }
    let (whole, bytes) = (bytes, without_marks(bytes));
    let several_lines = bytes.contains(&b'\n');
    match bytes.first() {
        None => Err(BodyError::Malformed("the body is empty".into())),
        Some(_) if lines_announced => read_ndjson(whole),
        Some(b'[') => {
            let Elements(elements) = read_json(bytes)?;
            within_limit(&elements)?;
            Ok(Body {
                envelope: Envelope::default(),
                plays: elements.into_iter().map(read_play).collect(),
            })
        }
        Some(b'{') => match read_json::<&RawValue>(bytes) {
            Ok(object) => read_object(object),
            // Several objects: lines, some of which may be valid.
            Err(_) if several_lines => read_ndjson(whole),
            Err(error) => Err(error),
        },
        Some(_) => Err(BodyError::Malformed(
            "expected a play, an array of plays, an envelope or NDJSON".into(),
        )),
    }
}

/// A text without the spaces around it and without byte order marks at its start. Editors write a mark,
/// and joining files leaves several.
pub fn without_marks(text: &[u8]) -> &[u8] {
    let mut text = text.trim_ascii();
    while let Some(rest) = text.strip_prefix(b"\xEF\xBB\xBF") {
        text = rest.trim_ascii();
    }
    text
}

/// The lines of NDJSON that have something in them, each with its number, from 1.
pub fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let lines = bytes.split(|byte| *byte == b'\n').map(without_marks);
    (1..).zip(lines).filter(|(_, line)| !line.is_empty())
}

/// What is wrong with a text that is one of several: where in it, as of itself it is always line 1.
pub fn wrong_in_line(error: &serde_json::Error) -> String {
    error
        .to_string()
        .replacen(" at line 1 column", " at column", 1)
}

/// Names the encoding of a text in UTF-16 or UTF-32. Behind the byte order mark, if there is one, every
/// second of the first sixteen bytes is zero, or three of the first four: no line of garbage looks like that, which
/// would lose the good ones behind it.
pub fn other_unicode_form(text: &[u8]) -> Option<&'static str> {
    let text = [
        &[0xFF, 0xFE, 0, 0][..],
        &[0, 0, 0xFE, 0xFF],
        &[0xFF, 0xFE],
        &[0xFE, 0xFF],
    ]
    .iter()
    .find_map(|mark| text.strip_prefix(*mark))
    .unwrap_or(text);
    // JSON begins with characters of ASCII.
    if let [1..0x80, 0, 0, 0, ..] | [0, 0, 0, 1..0x80, ..] = *text {
        return Some("UTF-32");
    }
    let (pairs, _) = text.get(..16).unwrap_or(text).as_chunks::<2>();
    let is_utf_16 = pairs.len() > 1
        && (pairs.iter().all(|pair| matches!(pair, [1..0x80, 0]))
            || pairs.iter().all(|pair| matches!(pair, [0, 1..0x80])));
    is_utf_16.then_some("UTF-16")
}

fn read_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        BodyError::Malformed(format!("not UTF-8 from byte {}", error.valid_up_to()))
    })?;
    serde_json::from_str(text).map_err(|error| BodyError::Malformed(error.to_string()))
}

fn read_object(object: &RawValue) -> Result<Body<'_>, BodyError> {
    let raw: RawEnvelope<'_> = serde_json::from_str(object.get())
        .map_err(|error| BodyError::Malformed(error.to_string()))?;
    let Some(Elements(elements)) = raw.plays else {
        return Ok(Body {
            envelope: Envelope::default(),
            plays: vec![read_play(object)],
        });
    };
    within_limit(&elements)?;
    let client = raw.client.map(|value| {
        read_text(value)
            .filter(|client| (1..=MAX_CLIENT_BYTES).contains(&client.len()))
            .ok_or(BodyError::BadEnvelope(
                "client must be 1 to 64 bytes of text",
            ))
    });
    let seq = raw.seq.map(|value| {
        serde_json::from_str::<u64>(value.get())
            .ok()
            .filter(|seq| *seq <= MAX_SEQ)
            .ok_or(BodyError::BadEnvelope(
                "seq must be a whole number from 0 to 2^53 - 1",
            ))
    });
    let client_seq = match (client.transpose()?, seq.transpose()?) {
        (Some(client), Some(seq)) => Some((client.into_owned(), seq)),
        (None, None) => None,
        _ => return Err(BodyError::BadEnvelope("client and seq go together")),
    };
    let moment = |value: Option<&RawValue>, message| {
        value
            .map(|value| read_moment(value).ok_or(BodyError::BadEnvelope(message)))
            .transpose()
    };
    let read_home = |value| read_text(value).and_then(|text| Home::read(&text));
    let home = raw
        .home
        .map(|value| read_home(value).ok_or(BodyError::BadHome));
    Ok(Body {
        envelope: Envelope {
            client_seq,
            sent_ms: moment(raw.sent, "sent must be milliseconds since 1970")?,
            now_ms: moment(raw.now, "now must be milliseconds since 1970")?,
            home: home.transpose()?,
            boards: read_boards(raw.board, raw.boards).map_err(BodyError::BadEnvelope)?,
        },
        plays: elements.into_iter().map(read_play).collect(),
    })
}

fn read_ndjson(bytes: &[u8]) -> Result<Body<'_>, BodyError> {
    let mut plays = Vec::new();
    for (number, line) in lines(bytes) {
        if plays.len() == MAX_PLAYS_TRUSTED {
            return Err(BodyError::TooManyPlays);
        }
        let value = serde_json::from_slice::<&RawValue>(line);
        let value = value.map_err(|error| format!("line {number}: {}", wrong_in_line(&error)));
        plays.push(value.and_then(read_play));
    }
    Ok(Body {
        envelope: Envelope::default(),
        plays,
    })
}

fn read_play(value: &RawValue) -> Result<RawPlay<'_>, String> {
    if !value.get().starts_with('{') {
        return Err("a play is a JSON object".into());
    }
    serde_json::from_str(value.get()).map_err(|error| wrong_in_line(&error))
}

/// [`Elements`] holds one element too many where there were more than are allowed.
fn within_limit(elements: &[&RawValue]) -> Result<(), BodyError> {
    if elements.len() > MAX_PLAYS_TRUSTED {
        return Err(BodyError::TooManyPlays);
    }
    Ok(())
}

/// The elements of an array, unparsed: at most one more than the limit is held.
#[derive(Debug)]
struct Elements<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Elements<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementsVisitor;
        impl<'de> Visitor<'de> for ElementsVisitor {
            type Value = Elements<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an array of plays")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while let Some(element) = seq.next_element::<&RawValue>()? {
                    elements.push(element);
                    if elements.len() > MAX_PLAYS_TRUSTED {
                        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                        break;
                    }
                }
                Ok(Elements(elements))
            }
        }
        deserializer.deserialize_seq(ElementsVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn good(bytes: &[u8]) -> usize {
        let body = read_body(bytes, false).unwrap();
        body.plays.iter().filter(|play| play.is_ok()).count()
    }

    #[test]
    fn every_form_of_a_body_is_recognised_from_its_bytes() {
        assert_eq!(good(br#"{"post_id":"a"}"#), 1);
        assert_eq!(good(b"{\n  \"post_id\":\n\"a\"}"), 1);
        assert_eq!(good(br#"[{"post_id":"a"},{"post_id":"b"}]"#), 2);
        assert_eq!(
            good(b"{\"post_id\":\"a\"}\r\n{\"post_id\":\"b\"}\r\n\r\n"),
            2
        );
        assert_eq!(good(b"\xEF\xBB\xBF {\"post_id\":\"a\"}"), 1);
        assert_eq!(
            good(br#"{"client":"c","seq":1,"plays":[{"post_id":"a"}]}"#),
            1
        );
    }

    #[test]
    fn byte_order_marks_are_skipped_wherever_a_text_begins() {
        let mark = "\u{FEFF}";
        let line = r#"{"post_id":"a"}"#;
        for body in [
            format!("{mark}{line}\n{mark}{line}"),
            format!("{mark}{mark} {line}\r\n{mark}\r\n \t{mark}{line}\r\n{mark}"),
        ] {
            assert_eq!(good(body.as_bytes()), 2, "{body:?}");
            let lines = read_body(body.as_bytes(), true).unwrap();
            assert_eq!(lines.plays.len(), 2);
            assert!(lines.plays.iter().all(Result::is_ok));
        }
        assert_eq!(good(format!("{mark}[{line}]").as_bytes()), 1);
        assert!(
            read_body(mark.as_bytes(), true).is_err(),
            "nothing is empty"
        );
    }

    #[test]
    fn a_body_in_another_form_of_unicode_is_told_so() {
        let little = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big = |text: &str| text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let body = r#"[{"post_id":"a"}]"#;
        let marked = format!("\u{FEFF}{body}");
        let bodies: [Vec<u8>; 4] = [little(body), big(body), little(&marked), big(&marked)];
        for rubbish in ["\0x", "x\0", "x\0\0x"] {
            let lines = format!("{rubbish}\n{{\"post_id\":\"a\"}}");
            let read = read_body(lines.as_bytes(), true);
            assert!(read.is_ok(), "{rubbish:?} loses the line after it");
        }
        for bytes in bodies {
            for lines in [false, true] {
                let Err(BodyError::Malformed(detail)) = read_body(&bytes, lines) else {
                    panic!("{bytes:?} is no body")
                };
                assert!(detail.contains("UTF-16"), "{detail}");
                assert!(detail.contains("UTF-8"), "{detail}");
            }
        }
        // A line of garbage that looks like it at first.
        for garbage in [
            &b"a\0b\0 and more of that"[..],
            b"\0a\0b\xff\xfe",
            b"\xff\xfea\0b\0\x80\x80",
        ] {
            assert_eq!(other_unicode_form(garbage), None, "{garbage:?}");
        }
    }

    #[test]
    fn one_bad_line_or_element_does_not_lose_the_others() {
        assert_eq!(good(b"{\"post_id\":\"a\"}\n{oops\n{\"post_id\":\"b\"}"), 2);
        assert_eq!(
            good(b"{\"post_id\":\"a\"}\n\"\xff\"\n{\"post_id\":\"b\"}"),
            2
        );
        assert_eq!(
            good(br#"[{"post_id":"a"}, 7, null, [], {"post_id":"b"}]"#),
            2
        );
        assert_eq!(
            good(br#"[{"post_id":"a","post_id":"b"}, {"post_id":"c"}]"#),
            1
        );
    }

    #[test]
    fn an_envelope_names_its_batch_or_is_refused() {
        let body = read_body(
            br#"{"client":"c","seq":17,"sent":1000,"now":2000,"plays":[]}"#,
            false,
        )
        .unwrap();
        assert_eq!(body.envelope.client_seq, Some(("c".into(), 17)));
        assert_eq!(body.envelope.sent_ms, Some(1000));
        for bad in [
            &br#"{"client":"","seq":1,"plays":[]}"#[..],
            br#"{"client":"c","plays":[]}"#,
            br#"{"seq":1,"plays":[]}"#,
            br#"{"client":"c","seq":-1,"plays":[]}"#,
            br#"{"client":"c","seq":9007199254740992,"plays":[]}"#,
            br#"{"client":7,"seq":1,"plays":[]}"#,
            br#"{"sent":"yesterday","plays":[]}"#,
            br#"{"boards":[],"plays":[]}"#,
            br#"{"board":"a","boards":["a"],"plays":[]}"#,
            br#"{"boards":["a","b","c","d","e","f","g","h","i"],"plays":[]}"#,
        ] {
            assert!(matches!(
                read_body(bad, false),
                Err(BodyError::BadEnvelope(_))
            ));
        }
    }

    #[test]
    fn a_line_that_is_no_play_is_named_by_its_number_in_the_body() {
        let body = read_body(b"\n{\"post_id\": \"a\"}\r\n\n{\"post_id\": }\n", true).unwrap();
        let wrong = body.plays.last().unwrap().as_ref().unwrap_err();
        assert_eq!(wrong, "line 4: expected value at column 13");
        let twice = read_body(br#"[{"post_id": "a", "post_id": "a"}]"#, false).unwrap();
        let wrong = twice.plays.last().unwrap().as_ref().unwrap_err();
        assert_eq!(wrong, "duplicate field `post_id` at column 26");
    }

    #[test]
    fn other_plays_have_another_hash_and_a_repeat_has_the_same() {
        let hash = |body: &str| read_body(body.as_bytes(), false).unwrap().plays_hash();
        let sent = hash(
            r#"{"client":"c","seq":1,"sent":1,"now":2,"plays":[{"post_id":"a","timestamp":7}]}"#,
        );
        for same in [
            r#"{"client":"c","seq":1,"sent":1,"now":9,"plays":[{"post_id":"a","timestamp":7}]}"#,
            r#"[{"timestamp": 7, "post_id": "a", "try": 2}]"#,
        ] {
            assert_eq!(hash(same), sent, "{same}");
        }
        let others = [
            r#"[{"post_id":"a"}]"#,
            r#"[{"post_id":"a","timestamp":8}]"#,
            r#"[{"post_id":"b","timestamp":7}]"#,
            r#"[{"post_id":"a","timestamp":7,"count":1}]"#,
            r#"[{"post_id":"a","timestamp":7,"region_id":"EU"}]"#,
            r#"[{"post_id":"a","timestamp":7},{"post_id":"a","timestamp":7}]"#,
            r#"[{"post_id":"a","timestamp":7},5]"#,
            r#"[{"post_id":"a","count":7}]"#,
            r#"[{"post_id":"a","timestamp":7,"board":"jazz"}]"#,
            r#"[{"post_id":"a","timestamp":7,"boards":["jazz"]}]"#,
            r#"{"board":"jazz","plays":[{"post_id":"a","timestamp":7}]}"#,
            r#"{"boards":["jazz","main"],"plays":[{"post_id":"a","timestamp":7}]}"#,
        ];
        let mut hashes: Vec<u32> = others.map(hash).to_vec();
        hashes.push(sent);
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), others.len() + 1);
    }

    #[test]
    fn what_is_no_body_of_plays_is_malformed() {
        for bad in [
            &b""[..],
            b"  ",
            b"7",
            b"\"a\"",
            b"[1,",
            b"{",
            b"[\xff]",
            b"NaN",
        ] {
            assert!(matches!(
                read_body(bad, false),
                Err(BodyError::Malformed(_))
            ));
        }
    }

    #[test]
    fn depth_and_number_are_bounded() {
        let deep = format!("[{}{}]", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(good(deep.as_bytes()), 0);
        let many = format!("[{}0]", "0,".repeat(1_000_000));
        assert_eq!(
            read_body(many.as_bytes(), false).unwrap_err(),
            BodyError::TooManyPlays
        );
        let lines = "{}\n".repeat(20_000);
        assert_eq!(
            read_body(lines.as_bytes(), true).unwrap_err(),
            BodyError::TooManyPlays
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>, lines: bool) {
            let _ = read_body(&bytes, lines);
        }
    }
}
