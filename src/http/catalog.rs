//! Reading and writing entries of the catalog, and the JSON of a post's page.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use url::Url;

use super::fields::{Fields, Misnomer};
use super::files::is_local;
use super::problem::Problem;
use crate::filter::{MAX_AUTHOR_BYTES, check_tags};
use crate::leaderboard::{ChartForm, Format, NamedWindow};
use crate::play::{
    MAX_PLAYS_TRUSTED, NormaliseId, Refused, check_post_id, lines, normalised_id,
    other_unicode_form, read_post_id, without_marks, wrong_in_line,
};
use crate::window::{parse_rfc3339_ms, rfc3339};
use crate::wire::{CatalogEntry, PostList, PostPatch, PostReport};

const MAX_CONTENT_BYTES: usize = 1 << 10;
const MAX_LINK_BYTES: usize = 1 << 10;

/// A body as UTF-8 text, without byte order marks at its start.
fn text_of(bytes: &[u8]) -> Result<&[u8], Problem> {
    match other_unicode_form(bytes) {
        None => Ok(without_marks(bytes)),
        Some(form) => {
            let detail = format!("the body is {form}, and is read as UTF-8 only");
            Err(Problem::bad("malformed_body", detail))
        }
    }
}

pub type Element<'a> = Result<&'a RawValue, (&'static str, String)>;

/// The elements of an array, or the lines of NDJSON.
///
/// # Errors
/// 400 for a body that is neither.
pub fn elements(bytes: &[u8]) -> Result<Vec<Element<'_>>, Problem> {
    let malformed = |detail: String| Problem::bad("malformed_body", detail);
    let (whole, bytes) = (bytes, text_of(bytes)?);
    if bytes.is_empty() {
        return Err(malformed("the body is empty".into()));
    }
    if bytes.starts_with(b"[") {
        let elements: Vec<&RawValue> =
            serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
        return Ok(elements.into_iter().map(Ok).collect());
    }
    let elements = lines(whole)
        .take(MAX_PLAYS_TRUSTED + 1)
        .map(|(number, line)| {
            let wrong = |error| format!("line {number}: {}", wrong_in_line(&error));
            serde_json::from_slice::<&RawValue>(line)
                .map_err(|error| ("malformed_line", wrong(error)))
        });
    Ok(elements.collect())
}

/// Reads an element of a list of posts. `normalise` brings ids that look alike into one form.
///
/// # Errors
/// The code and the detail of what is wrong.
pub fn read_post(
    json: &[u8],
    normalise: Option<NormaliseId>,
) -> Result<PostPatch, (&'static str, String)> {
    let given = PostBody::read(json);
    let given = given.map_err(|problem| (problem.code, problem.detail))?;
    let refused = |refused: Refused| (refused.code, refused.detail.into_owned());
    let post_id = read_post_id(given.post_id).map_err(refused)?;
    let post_id = normalised_id(post_id, normalise).into_owned();
    check_post_id(&post_id).map_err(refused)?;
    let patch = given.patch(post_id, normalise);
    patch.map_err(|detail| ("bad_post", detail))
}

/// Reads a post whose id is in the path.
///
/// # Errors
/// 400 for a body that cannot be read, or names another post.
pub fn read_post_of(
    body: &[u8],
    post_id: String,
    normalise: Option<NormaliseId>,
) -> Result<PostPatch, Problem> {
    let bad_post = |detail| Problem::bad("bad_post", detail);
    let given = PostBody::read(text_of(body)?)?;
    if given.post_id.is_some() {
        let refused = |refused: Refused| Problem::bad(refused.code, refused.detail);
        let named = read_post_id(given.post_id).map_err(refused)?;
        if normalised_id(named, normalise) != post_id {
            return Err(Problem::bad(
                "bad_post_id",
                "post_id differs from the path's",
            ));
        }
    }
    given.patch(post_id, normalise).map_err(bad_post)
}

/// The fields that a sender may set. One that is left out stays; `null` clears it.
#[derive(Deserialize)]
struct PostBody<'a> {
    /// In the same forms as in plays.
    #[serde(borrow, default)]
    post_id: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "given")]
    author: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    content: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    url: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    image: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    tags: Option<Option<Vec<String>>>,
    #[serde(default, deserialize_with = "given")]
    timestamp: Option<Option<GivenTime>>,
    /// `null` is an error: an export from a database without this column may write it for every post.
    #[serde(default, deserialize_with = "yes_or_no")]
    hidden: Option<bool>,
    // Whoever writes `title` must not be told that all is well. Columns that mean nothing here may stay.
    // Each by itself: several may be there and null.
    #[serde(rename = "id")]
    _id: Option<Misnomer>,
    #[serde(rename = "title")]
    _title: Option<Misnomer>,
    #[serde(rename = "name")]
    _name: Option<Misnomer>,
    #[serde(rename = "link")]
    _link: Option<Misnomer>,
    #[serde(rename = "picture")]
    _picture: Option<Misnomer>,
    #[serde(rename = "tag")]
    _tag: Option<Misnomer>,
}

const POST_FIELDS: Fields = Fields {
    of: "a post",
    bad_code: "bad_post",
    kinds: &[
        ("author", "a text, or null"),
        ("content", "a text, or null"),
        ("url", "a text, or null"),
        ("image", "a text, or null"),
        (
            "tags",
            "a list of texts, as in [\"jazz\", \"live\"], or null",
        ),
        ("timestamp", "milliseconds since 1970 or RFC 3339, or null"),
        ("hidden", "true or false"),
    ],
    others: &[
        ("id", "post_id"),
        ("title", "content"),
        ("name", "content"),
        ("link", "url"),
        ("picture", "image"),
        ("tag", "tags"),
    ],
};

#[derive(Deserialize)]
#[serde(untagged)]
enum GivenTime {
    Milliseconds(u64),
    Text(String),
}

/// Tells a field that is `null` from one that is left out.
pub fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

fn yes_or_no<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<bool>, D::Error> {
    bool::deserialize(deserializer).map(Some)
}

impl<'a> PostBody<'a> {
    fn read(json: &'a [u8]) -> Result<Self, Problem> {
        let reads = |field: &[u8]| serde_json::from_slice::<PostBody<'_>>(field).is_ok();
        serde_json::from_slice(json).map_err(|error| POST_FIELDS.problem(json, &error, reads))
    }

    fn patch(self, post_id: String, normalise: Option<NormaliseId>) -> Result<PostPatch, String> {
        let [author, content, url, image] =
            [&self.author, &self.content, &self.url, &self.image].map(|field| field.as_ref());
        check_card(
            author.unwrap_or(&None),
            content.unwrap_or(&None),
            url.unwrap_or(&None),
            image.unwrap_or(&None),
        )?;
        let timestamp_ms = match self.timestamp {
            None => None,
            Some(None) => Some(None),
            Some(Some(GivenTime::Milliseconds(ms))) => Some(Some(ms)),
            Some(Some(GivenTime::Text(text))) => Some(Some(
                parse_rfc3339_ms(&text)
                    .ok_or("timestamp is milliseconds since 1970 or RFC 3339")?,
            )),
        };
        Ok(PostPatch {
            post_id,
            author: self.author,
            content: self.content,
            url: self.url,
            image: self.image,
            tags: match self.tags {
                None => None,
                Some(tags) => Some(read_tags(tags.unwrap_or_default(), normalise)?),
            },
            timestamp_ms,
            hidden: self.hidden,
        })
    }
}

/// Brings the tags of a post into one form: normalised, in order, each once.
///
/// # Errors
/// What is wrong with them, as a sentence.
fn read_tags(given: Vec<String>, normalise: Option<NormaliseId>) -> Result<Vec<String>, String> {
    let mut tags: Vec<String> = given.iter().map(|tag| read_tag(tag, normalise)).collect();
    tags.sort_unstable();
    tags.dedup();
    check_tags(&tags).map(|()| tags)
}

/// A tag as it is kept: without spaces around it.
pub fn read_tag(given: &str, normalise: Option<NormaliseId>) -> String {
    let normal = normalise.map_or_else(|| given.to_owned(), |normalise| normalise(given));
    normal.trim().to_owned()
}

/// Checks what an entry of the catalog says.
///
/// # Errors
/// What is wrong with it, as a sentence.
fn check_card(
    author: &Option<String>,
    content: &Option<String>,
    url: &Option<String>,
    image: &Option<String>,
) -> Result<(), String> {
    let fields = [
        ("author", author, MAX_AUTHOR_BYTES),
        ("content", content, MAX_CONTENT_BYTES),
        ("url", url, MAX_LINK_BYTES),
        ("image", image, MAX_LINK_BYTES),
    ];
    for (name, text, max_bytes) in fields {
        if text.as_ref().is_some_and(|text| text.len() > max_bytes) {
            return Err(format!("{name} has at most {max_bytes} bytes"));
        }
    }
    for (name, link) in [("url", url), ("image", image)] {
        if link.as_ref().is_some_and(|link| !is_link(link)) {
            return Err(format!(
                "{name} is an address that begins with https://, or with http://localhost"
            ));
        }
    }
    Ok(())
}

/// Whether a link is https, or http to the same machine (localhost).
fn is_link(link: &str) -> bool {
    Url::parse(link).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => is_local(link),
        _ => false,
    })
}

pub fn entry_json(entry: &CatalogEntry) -> Value {
    json!({
        "post_id": entry.post_id,
        "author": entry.card.author,
        "content": entry.card.content,
        "url": entry.card.url,
        "image": entry.card.image,
        "tags": entry.card.tags,
        "timestamp": entry.timestamp_ms.map(rfc3339),
        "hidden": entry.hidden,
    })
}

/// A page of the catalog's list as it is sent.
pub struct ListPage {
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// The address of the next page.
    pub next: Option<String>,
}

/// A page of the catalog's list, with hidden posts and without counts. Its lines may be sent to `PUT /posts`
/// as they are. `board` is the one that the query named.
pub fn list_page(list: &PostList, format: Format, board: Option<&str>) -> ListPage {
    let next = list.next_after.as_deref().map(|id| {
        let escaped = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
        let form = match format {
            Format::Lines => "format=ndjson&",
            Format::Json | Format::Csv => "",
        };
        let board = board.map(|board| format!("board={}&", escaped(board)));
        let board = board.unwrap_or_default();
        format!("/posts?{form}{board}after={}", escaped(id))
    });
    let entries = list.entries.iter().map(entry_json);
    let (content_type, body) = match format {
        Format::Lines => {
            let lines: String = entries.map(|entry| format!("{entry}\n")).collect();
            ("application/x-ndjson", lines)
        }
        Format::Json | Format::Csv => {
            let posts: Vec<Value> = entries.collect();
            let page = json!({ "posts": posts, "next": next });
            ("application/json", page.to_string())
        }
    };
    ListPage {
        content_type,
        body: body.into_bytes(),
        next,
    }
}

/// The JSON of a post's page: its entry, and its plays in a window.
pub fn page_json(report: &PostReport, asked: &ChartForm) -> Value {
    let series = report.series.iter().map(|(span, count)| {
        let window = NamedWindow::from(*span);
        merged(json!(window), json!(count))
    });
    let regions = report
        .regions
        .iter()
        .map(|(region_id, count)| merged(json!({ "region_id": region_id }), json!(count)));
    let zone = asked.time_zone.as_ref();
    let zone = zone.map_or_else(|| json!({}), |zone| json!({ "time_zone": zone }));
    let window = json!({ "window": NamedWindow::from(report.span) });
    let asked = json!({ "region": asked.scope, "timeframe": asked.timeframe });
    let asked = merged(merged(asked, zone), window);
    let parts = json!({
        "rank": report.rank,
        "series": series.collect::<Vec<Value>>(),
        "regions": regions.collect::<Vec<Value>>(),
    });
    let more = [asked, json!(report.count), parts];
    let mut body = more.into_iter().fold(entry_json(&report.entry), merged);
    if report.incomplete {
        body = merged(body, json!({ "incomplete": true }));
    }
    body
}

pub fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<PostPatch, (&'static str, String)> {
        read_post(text.as_bytes(), None)
    }

    #[test]
    fn what_is_left_out_stays_and_null_clears_it() {
        let patch = read(r#"{"post_id": "a", "author": null, "content": "text", "hidden": false}"#);
        let patch = patch.unwrap();
        assert_eq!((patch.author, patch.url), (Some(None), None));
        assert_eq!(patch.content, Some(Some("text".into())));
        assert_eq!((patch.hidden, patch.timestamp_ms), (Some(false), None));
        for (timestamp, ms) in [("1500", 1_500), (r#""1970-01-01T00:00:01.5Z""#, 1_500)] {
            let text = format!(r#"{{"post_id": "a", "timestamp": {timestamp}}}"#);
            assert_eq!(read(&text).unwrap().timestamp_ms, Some(Some(ms)));
        }
    }

    #[test]
    fn what_cannot_be_stored_is_refused_with_what_is_wrong() {
        let long =
            |field: &str, bytes| format!(r#"{{"post_id":"a","{field}":"{}"}}"#, "x".repeat(bytes));
        for (text, code, detail) in [
            ("{}".to_owned(), "bad_post_id", ""),
            (
                r#"{"post_id": "a", "hidden": null}"#.into(),
                "bad_post",
                "hidden is true or false",
            ),
            (
                r#"{"post_id": "a", "content": ["A", "B"]}"#.into(),
                "bad_post",
                "content is a text, or null",
            ),
            (
                r#"{"post_id": "a", "timestamp": -1}"#.into(),
                "bad_post",
                "timestamp is milliseconds since 1970",
            ),
            (r#"["a"]"#.into(), "bad_post", "a post is an object of JSON"),
            (
                r#"{"post_id": "a", "timestamp": "today"}"#.into(),
                "bad_post",
                "RFC 3339",
            ),
            (long("author", 257), "bad_post", "at most 256 bytes"),
            (long("content", 1_025), "bad_post", "at most 1024 bytes"),
            (
                r#"{"post_id": "a", "url": "http://x.example"}"#.into(),
                "bad_post",
                "https://",
            ),
            (
                r#"{"post_id": "a", "image": "javascript:alert(1)"}"#.into(),
                "bad_post",
                "https://",
            ),
        ] {
            let refused = read(&text).unwrap_err();
            assert_eq!(refused.0, code, "{text}");
            assert!(refused.1.contains(detail), "{text}: {}", refused.1);
        }
        assert!(read(&long("author", 256)).is_ok());
    }

    #[test]
    fn a_field_by_another_name_is_refused_with_ours_and_other_columns_are_passed_over() {
        for (other, ours) in [
            ("id", "post_id"),
            ("title", "content"),
            ("name", "content"),
            ("link", "url"),
            ("picture", "image"),
            ("tag", "tags"),
        ] {
            let says = format!("a post has no {other}: write {ours} instead");
            // Also where nothing but that is wrong, or the id is missing for it.
            for text in [
                format!(r#"{{"post_id": "a", "{other}": "x", "author": "y"}}"#),
                format!(r#"{{"{other}": ["x"]}}"#),
            ] {
                assert_eq!(read(&text).unwrap_err(), ("bad_post", says.clone()));
                let refused = read_post_of(text.as_bytes(), "a".into(), None).unwrap_err();
                assert_eq!((refused.code, &refused.detail), ("bad_post", &says));
            }
        }
        let patch = read(r#"{"post_id": "a", "album": "Comets", "author": "y"}"#).unwrap();
        assert_eq!(patch.author, Some(Some("y".into())));
        let empty = read(r#"{"post_id": "a", "id": null, "title": null, "link": null}"#);
        assert!(empty.is_ok(), "columns that are empty: {empty:?}");
    }

    #[test]
    fn tags_are_kept_in_one_form_and_those_that_cannot_be_are_refused() {
        let tags = |tags: &str| read(&format!(r#"{{"post_id": "a", "tags": {tags}}}"#));
        let kept = |given: &str| tags(given).unwrap().tags;
        assert_eq!(read(r#"{"post_id": "a"}"#).unwrap().tags, None);
        assert_eq!(kept("null"), Some(Vec::new()));
        assert_eq!(kept("[]"), Some(Vec::new()));
        let sorted = ["blues", "jazz"].map(String::from).to_vec();
        assert_eq!(kept(r#"[" jazz", "blues", "jazz"]"#), Some(sorted));
        let many = |count| {
            format!(
                "{:?}",
                (0..count).map(|tag| format!("t{tag}")).collect::<Vec<_>>()
            )
        };
        assert_eq!(kept(&many(16)).unwrap().len(), 16);
        assert!(tags(&many(17)).unwrap_err().1.contains("at most 16 tags"));
        let says = "tags is a list of texts, as in [\"jazz\", \"live\"], or null";
        for other in [r#""jazz""#, "[7]", "[null]", "{}"] {
            assert_eq!(tags(other).unwrap_err(), ("bad_post", says.into()));
        }
        for bad in [
            r#"["a,b"]"#.to_owned(),
            r#"[""]"#.into(),
            r#"["\u200b"]"#.into(),
            r#"["a\nb"]"#.into(),
            format!("[{:?}]", "x".repeat(65)),
        ] {
            assert_eq!(tags(&bad).unwrap_err().0, "bad_post", "{bad}");
        }
    }

    #[test]
    fn a_body_may_name_only_the_post_of_its_path() {
        let of = |body: &str| read_post_of(body.as_bytes(), "a".into(), None);
        assert_eq!(of(r#"{"author": "x"}"#).unwrap().post_id, "a");
        assert_eq!(of("\u{feff}{\"post_id\": \"a\"}").unwrap().post_id, "a");
        assert_eq!(of(r#"{"post_id": "b"}"#).unwrap_err().code, "bad_post_id");
        assert_eq!(of("").unwrap_err().code, "malformed_body");
        assert_eq!(of("{\u{0}").unwrap_err().code, "malformed_body");
    }

    #[test]
    fn a_list_is_an_array_or_lines_and_a_bad_line_loses_no_other() {
        let array = elements(br#"[{"post_id": "a"}, 7]"#).unwrap();
        assert_eq!(array.len(), 2);
        let lines = elements(b"{\"post_id\": \"a\"}\n{\n{}\n").unwrap();
        let good: Vec<bool> = lines.iter().map(Result::is_ok).collect();
        assert_eq!(good, [true, false, true]);
        let (code, detail) = lines[1].as_ref().unwrap_err();
        assert_eq!(*code, "malformed_line");
        assert!(detail.starts_with("line 2: EOF while"), "{detail}");
        assert_eq!(elements(b" ").unwrap_err().code, "malformed_body");
        assert_eq!(elements(b"[{").unwrap_err().code, "malformed_body");
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body: Vec<u8>, text: String) {
            let _ = read_post_of(&body, "a".into(), None);
            for element in elements(&body).into_iter().flatten().flatten() {
                let _ = read_post(element.get().as_bytes(), None);
            }
            let link = Some(text);
            let _ = check_card(&link, &link, &link, &link);
        }
    }
}
