//! What makes a play acceptable.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::boards::{BoardIds, read_boards};
use super::body::{Envelope, RawPlay};
use super::value::{read_moment, read_text};
use super::{
    MAX_AGE_MS, MAX_AGE_TRUSTED_MS, MAX_AHEAD_MS, MAX_COUNT, MAX_NUMBER_ID, MAX_POST_ID_BYTES,
    REPEAT_HORIZON_MS,
};
use crate::text::looks_empty;

/// A play that may be counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Play<'a> {
    pub post_id: Cow<'a, str>,
    /// The region that a trusted sender named.
    pub region_id: Option<Cow<'a, str>>,
    /// The boards that it names itself; none: those of its envelope.
    pub boards: Option<BoardIds>,
    pub timestamp_ms: u64,
    pub count: u32,
}

/// Why a play is not counted: a stable word and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub code: &'static str,
    pub detail: Cow<'static, str>,
}

impl Refused {
    pub fn new(code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        let detail = detail.into();
        Refused { code, detail }
    }
}

/// The sender's clock against ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// When the request arrived, by our clock.
    pub arrival_ms: u64,
    /// What to add to the sender's times: arrival − `now`; 0 where it did not say.
    correction_ms: i64,
    /// The batch's first attempt, corrected; its arrival where it did not say.
    pub sent_ms: u64,
}

/// Why a batch is refused for its times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockError {
    /// First sent so long ago that nobody knows any more whether it was counted.
    TooOldToRepeat,
    /// First sent in the future: the sender should send `now`, its clock at this attempt.
    SentAhead,
    /// One of its clocks counts seconds.
    InSeconds,
}

impl Clock {
    /// Reads the clocks of an envelope.
    ///
    /// # Errors
    /// [`ClockError`] when the batch must be refused whole.
    pub fn new(envelope: &Envelope, arrival_ms: u64) -> Result<Self, ClockError> {
        let arrival = i64::try_from(arrival_ms).unwrap_or(i64::MAX);
        let now = envelope
            .now_ms
            .map(|now| i64::try_from(now).unwrap_or(i64::MAX));
        let mut clock = Clock {
            arrival_ms,
            correction_ms: now.map_or(0, |now| arrival.saturating_sub(now)),
            sent_ms: arrival_ms,
        };
        if let Some(told_ms) = envelope.sent_ms {
            let sent_ms = clock.corrected_ms(told_ms);
            // Where `sent` and `now` are both in seconds, or both wrong alike, the correction mends that.
            let in_seconds =
                looks_like_seconds(told_ms) != envelope.now_ms.is_some_and(looks_like_seconds);
            let or_in_seconds = |error| match in_seconds {
                true => Err(ClockError::InSeconds),
                false => Err(error),
            };
            if arrival_ms.saturating_sub(sent_ms) > REPEAT_HORIZON_MS {
                return or_in_seconds(ClockError::TooOldToRepeat);
            }
            if sent_ms > arrival_ms.saturating_add(MAX_AHEAD_MS) {
                return or_in_seconds(ClockError::SentAhead);
            }
            clock.sent_ms = sent_ms.min(arrival_ms);
        }
        Ok(clock)
    }

    fn corrected_ms(&self, sender_ms: u64) -> u64 {
        sender_ms.saturating_add_signed(self.correction_ms)
    }
}

/// What a sender may do.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub clock: Clock,
    /// It showed the ingest token.
    pub trusted: bool,
    /// Brings ids that look alike into one form; `None` where ids are kept as they are.
    pub normalise_id: Option<NormaliseId>,
}

/// Brings texts that look alike into one form (Unicode's NFC, by the platform).
pub type NormaliseId = fn(&str) -> String;

impl Rules {
    /// Decides about one play.
    ///
    /// # Errors
    /// [`Refused`] with the reason; the other plays of the batch are not concerned.
    pub fn check<'a>(&self, raw: &RawPlay<'a>) -> Result<Play<'a>, Refused> {
        let post_id = normalised_id(read_post_id(raw.post_id)?, self.normalise_id);
        check_post_id(&post_id)?;
        Ok(Play {
            post_id,
            region_id: self.region(raw.region_id)?,
            boards: read_boards(raw.board, raw.boards)
                .map_err(|detail| Refused::new("bad_boards", detail))?,
            timestamp_ms: self.timestamp_ms(raw.timestamp)?,
            count: self.count(raw.count)?,
        })
    }

    fn region<'a>(&self, raw: Option<&'a RawValue>) -> Result<Option<Cow<'a, str>>, Refused> {
        let Some(raw) = raw else { return Ok(None) };
        if !self.trusted {
            return Err(Refused::new(
                "region_needs_token",
                "only senders with the ingest token may name a region; leave region_id out",
            ));
        }
        match read_text(raw) {
            Some(region_id) => Ok(Some(region_id)),
            None => Err(Refused::new("unknown_region", "region_id must be a string")),
        }
    }

    fn timestamp_ms(&self, raw: Option<&RawValue>) -> Result<u64, Refused> {
        let Some(raw) = raw else {
            return Ok(self.clock.sent_ms);
        };
        let told_ms = read_moment(raw).ok_or_else(|| {
            Refused::new(
                "bad_timestamp",
                "timestamp must be milliseconds since 1970 or RFC 3339",
            )
        })?;
        let timestamp_ms = self.clock.corrected_ms(told_ms);
        let max_age_ms = if self.trusted {
            MAX_AGE_TRUSTED_MS
        } else {
            MAX_AGE_MS
        };
        let arrival_ms = self.clock.arrival_ms;
        if timestamp_ms > arrival_ms.saturating_add(MAX_AHEAD_MS)
            || arrival_ms.saturating_sub(timestamp_ms) > max_age_ms
        {
            return Err(Refused::new(
                "timestamp_out_of_range",
                if looks_like_seconds(told_ms) {
                    "timestamp looks like seconds since 1970; send milliseconds, or RFC 3339"
                } else if self.trusted {
                    "timestamp must lie between 400 days ago and 60 seconds ahead"
                } else {
                    "timestamp must lie between 24 hours ago and 60 seconds ahead"
                },
            ));
        }
        Ok(timestamp_ms)
    }

    fn count(&self, raw: Option<&RawValue>) -> Result<u32, Refused> {
        let Some(raw) = raw else { return Ok(1) };
        let count = serde_json::from_str::<u64>(raw.get())
            .ok()
            .filter(|count| (1..=MAX_COUNT).contains(count))
            .and_then(|count| u32::try_from(count).ok())
            .ok_or_else(|| {
                Refused::new(
                    "bad_count",
                    "count must be a whole number from 1 to 2^32 - 1",
                )
            })?;
        if count > 1 && !self.trusted {
            return Err(Refused::new(
                "count_needs_token",
                "only senders with the ingest token may send a count above 1",
            ));
        }
        Ok(count)
    }
}

/// A post's id as it was sent: text, or a number that stands for its digits.
///
/// # Errors
/// [`Refused`] with `bad_post_id`.
pub fn read_post_id(raw: Option<&RawValue>) -> Result<Cow<'_, str>, Refused> {
    let refused = |detail| Err(Refused::new("bad_post_id", detail));
    let Some(raw) = raw else {
        return refused("post_id is required: a string");
    };
    let text = raw.get();
    if text.starts_with(|first: char| first == '-' || first.is_ascii_digit()) {
        let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
        return match text.parse::<u64>() {
            Ok(number) if is_whole && number <= MAX_NUMBER_ID => Ok(Cow::Borrowed(text)),
            _ => refused(
                "post_id as a number is a whole one from 0 to 2^53 - 1; a longer one loses digits \
                 on its way through JavaScript: quote it",
            ),
        };
    }
    match read_text(raw) {
        Some(text) => Ok(text),
        None => refused("post_id must be a string, or a whole number"),
    }
}

/// A post's id in the form that an installation keeps ids in.
pub fn normalised_id(post_id: Cow<'_, str>, normalise: Option<NormaliseId>) -> Cow<'_, str> {
    match normalise {
        None => post_id,
        // ASCII has this form already, but for spaces around it.
        Some(_) if post_id.is_ascii() => match post_id {
            Cow::Borrowed(text) => Cow::Borrowed(text.trim_ascii()),
            Cow::Owned(text) => Cow::Owned(text.trim_ascii().to_owned()),
        },
        Some(normalise) => Cow::Owned(normalise(&post_id)),
    }
}

/// Whether a time that should be in milliseconds is probably in seconds: then it lies between 2001 and
/// 2286. Read as milliseconds, the same numbers lie in 1970.
pub fn looks_like_seconds(ms: u64) -> bool {
    (1_000_000_000..10_000_000_000).contains(&ms)
}

/// Checks the limits of a post's id.
///
/// # Errors
/// [`Refused`] with `bad_post_id`.
pub fn check_post_id(post_id: &str) -> Result<(), Refused> {
    let refused = |detail| Err(Refused::new("bad_post_id", detail));
    if post_id.is_empty() || post_id.len() > MAX_POST_ID_BYTES {
        return refused("post_id must have 1 to 256 bytes");
    }
    if post_id.chars().any(char::is_control) {
        return refused("post_id must not contain control characters");
    }
    if looks_empty(post_id) {
        return refused("post_id must not be made of spaces and characters that nobody sees");
    }
    // A path cannot name these: every client resolves them away.
    if post_id == "." || post_id == ".." {
        return refused("post_id must not be \".\" or \"..\"");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::play::read_body;

    const NOW_MS: u64 = 1_763_900_000_000;

    fn verdict(play: &str, trusted: bool) -> Result<(u64, u32), &'static str> {
        let body = read_body(play.as_bytes(), false).unwrap();
        let clock = Clock::new(&body.envelope, NOW_MS).unwrap();
        let raw = body.plays[0].as_ref().unwrap();
        let rules = Rules {
            clock,
            trusted,
            normalise_id: None,
        };
        match rules.check(raw) {
            Ok(play) => Ok((play.timestamp_ms, play.count)),
            Err(refused) => Err(refused.code),
        }
    }

    #[test]
    fn fields_that_are_left_out_have_defaults() {
        assert_eq!(verdict(r#"{"post_id":"a"}"#, false), Ok((NOW_MS, 1)));
        assert_eq!(
            verdict(r#"{"post_id":"a","count":null}"#, false),
            Ok((NOW_MS, 1))
        );
    }

    #[test]
    fn ids_have_1_to_256_bytes_and_no_control_characters() {
        let id = |id: &str| verdict(&serde_json::json!({ "post_id": id }).to_string(), false);
        assert!(id(&"x".repeat(256)).is_ok());
        assert!(id("✈ \"quoted\" / %2F").is_ok());
        for bad in [
            "",
            ".",
            "..",
            "a\0",
            "a\nb",
            "\u{85}",
            &"x".repeat(257),
            &"é".repeat(129),
        ] {
            assert_eq!(id(bad), Err("bad_post_id"), "{bad:?}");
        }
        for bad in [
            r#"{"post_id":true}"#,
            r#"{"post_id":["a"]}"#,
            r#"{"post_id":null}"#,
            "{}",
            r#"{"post_id":"\ud800"}"#,
        ] {
            assert_eq!(verdict(bad, false), Err("bad_post_id"), "{bad}");
        }
    }

    fn detail(play: &str) -> String {
        let body = read_body(play.as_bytes(), false).unwrap();
        let rules = Rules {
            clock: Clock::new(&body.envelope, NOW_MS).unwrap(),
            trusted: false,
            normalise_id: None,
        };
        let refused = rules.check(body.plays[0].as_ref().unwrap()).unwrap_err();
        refused.detail.into_owned()
    }

    #[test]
    fn whole_numbers_are_ids_by_their_digits_up_to_what_javascript_counts() {
        let id = |id: &str| {
            let play = format!(r#"{{"post_id":{id}}}"#);
            let body = read_body(play.as_bytes(), false).unwrap();
            let raw = body.plays[0].as_ref().unwrap();
            read_post_id(raw.post_id).map(Cow::into_owned)
        };
        for good in ["0", "7", "12345", "9007199254740991"] {
            assert_eq!(id(good), Ok(good.to_owned()));
        }
        for bad in [
            "9007199254740992",
            "12345678901234567890",
            "1e400",
            "-1",
            "-0",
            "1.0",
            "1e3",
        ] {
            let refused = id(bad).unwrap_err();
            assert_eq!(refused.code, "bad_post_id", "{bad}");
            assert!(
                refused.detail.contains("quote it"),
                "{bad}: {}",
                refused.detail
            );
        }
        for bad in ["true", "[]", "{}"] {
            assert!(!id(bad).unwrap_err().detail.contains("quote it"), "{bad}");
        }
    }

    #[test]
    fn times_in_seconds_are_told_so() {
        for seconds in ["1763900000.002", "1763900000", "1763900000000e-3"] {
            let play = format!(r#"{{"post_id":"a","timestamp":{seconds}}}"#);
            assert_eq!(verdict(&play, false), Err("timestamp_out_of_range"));
            assert!(detail(&play).contains("looks like seconds"), "{seconds}");
        }
        for other in ["0", "1763900000000000", "\"2001-09-09T01:46:40Z\""] {
            let play = format!(r#"{{"post_id":"a","timestamp":{other}}}"#);
            assert!(!detail(&play).contains("seconds since"), "{other}");
        }
        let clock = |sent_ms, now_ms| {
            let envelope = Envelope {
                sent_ms: Some(sent_ms),
                now_ms,
                ..Envelope::default()
            };
            Clock::new(&envelope, NOW_MS).map(|clock| clock.sent_ms)
        };
        let now_s = NOW_MS / 1_000;
        assert_eq!(clock(now_s, None), Err(ClockError::InSeconds));
        assert_eq!(clock(now_s, Some(NOW_MS)), Err(ClockError::InSeconds));
        assert_eq!(clock(NOW_MS, Some(now_s)), Err(ClockError::InSeconds));
        // A clock that counts from the start of a machine.
        assert_eq!(clock(now_s, Some(now_s + 5)), Ok(NOW_MS - 5));
        assert_eq!(
            clock(now_s, Some(now_s + 10_000_000)),
            Err(ClockError::TooOldToRepeat)
        );
    }

    #[test]
    fn ids_are_brought_into_one_form_only_where_that_is_wanted() {
        fn shout(text: &str) -> String {
            text.to_uppercase()
        }
        let id = |text: &str, normalise| normalised_id(Cow::Borrowed(text), normalise).into_owned();
        assert_eq!(id(" b", None), " b");
        assert_eq!(id(" b ", Some(shout)), "b", "ASCII needs no help");
        assert_eq!(id("é", Some(shout)), "É");
        let body = read_body(
            r#"[{"post_id":"\u0020"},{"post_id":"é"}]"#.as_bytes(),
            false,
        )
        .unwrap();
        let rules = Rules {
            clock: Clock::new(&body.envelope, NOW_MS).unwrap(),
            trusted: false,
            normalise_id: Some(shout),
        };
        let ids = body.plays.iter().map(|raw| {
            let play = rules.check(raw.as_ref().unwrap());
            play.map(|play| play.post_id.into_owned())
                .map_err(|refused| refused.code)
        });
        let ids: Vec<_> = ids.collect();
        assert_eq!(ids, [Err("bad_post_id"), Ok("É".to_owned())]);
    }

    #[test]
    fn timestamps_are_milliseconds_or_rfc_3339_within_the_senders_range() {
        let at = |timestamp: &str, trusted| {
            let play = format!(r#"{{"post_id":"a","timestamp":{timestamp}}}"#);
            verdict(&play, trusted).map(|(timestamp_ms, _)| timestamp_ms)
        };
        assert_eq!(at("1763900000000", false), Ok(NOW_MS));
        assert_eq!(at("1763900000000.7", false), Ok(NOW_MS));
        assert_eq!(at("\"2025-11-23T12:13:20Z\"", false), Ok(NOW_MS));
        assert_eq!(at("\"2025-11-23T13:13:20+01:00\"", false), Ok(NOW_MS));
        assert_eq!(
            at(&(NOW_MS + 60_000).to_string(), false),
            Ok(NOW_MS + 60_000)
        );
        for (timestamp, trusted) in [
            ((NOW_MS + 60_001).to_string(), true),
            ((NOW_MS - MAX_AGE_MS - 1).to_string(), false),
            ((NOW_MS - MAX_AGE_TRUSTED_MS - 1).to_string(), true),
            ("0".into(), true),
            ("1e300".into(), true),
        ] {
            assert_eq!(
                at(&timestamp, trusted),
                Err("timestamp_out_of_range"),
                "{timestamp}"
            );
        }
        assert!(at(&(NOW_MS - MAX_AGE_MS).to_string(), false).is_ok());
        assert!(at(&(NOW_MS - MAX_AGE_TRUSTED_MS).to_string(), true).is_ok());
        for bad in ["\"soon\"", "-1", "{}", "true", "\"2025-02-30T00:00:00Z\""] {
            assert_eq!(at(bad, false), Err("bad_timestamp"), "{bad}");
        }
    }

    #[test]
    fn counts_and_regions_above_the_ordinary_need_the_token() {
        let count = |count: &str, trusted| {
            let play = format!(r#"{{"post_id":"a","count":{count}}}"#);
            verdict(&play, trusted).map(|(_, count)| count)
        };
        assert_eq!(count("4294967295", true), Ok(u32::MAX));
        assert_eq!(count("2", false), Err("count_needs_token"));
        for bad in ["0", "-1", "1.5", "4294967296", "\"1\"", "1e400", "[]"] {
            assert_eq!(count(bad, true), Err("bad_count"), "{bad}");
        }
        let named = r#"{"post_id":"a","region_id":"NA"}"#;
        assert_eq!(verdict(named, false), Err("region_needs_token"));
        assert!(verdict(named, true).is_ok());
    }

    #[test]
    fn who_names_boards_in_another_way_is_told_so_for_that_play_alone() {
        let boards = |boards: &str| verdict(&format!(r#"{{"post_id":"a",{boards}}}"#), false);
        assert!(boards(r#""board":"jazz""#).is_ok());
        assert!(boards(r#""boards":["jazz","main"]"#).is_ok());
        for bad in [
            r#""board":7"#,
            r#""boards":[]"#,
            r#""board":"a","boards":["a"]"#,
        ] {
            assert_eq!(boards(bad), Err("bad_boards"), "{bad}");
        }
    }

    #[test]
    fn a_wrong_clock_is_corrected_by_what_it_says_now() {
        let envelope = Envelope {
            client_seq: None,
            sent_ms: Some(NOW_MS + 600_000 - 30_000),
            now_ms: Some(NOW_MS + 600_000),
            ..Envelope::default()
        };
        let clock = Clock::new(&envelope, NOW_MS).unwrap();
        assert_eq!(clock.sent_ms, NOW_MS - 30_000);
        assert_eq!(clock.corrected_ms(NOW_MS + 600_000), NOW_MS);
    }

    #[test]
    fn batches_past_the_horizon_or_from_the_future_are_refused() {
        let sent = |sent_ms| {
            let envelope = Envelope {
                sent_ms: Some(sent_ms),
                ..Envelope::default()
            };
            Clock::new(&envelope, NOW_MS).map(|clock| clock.sent_ms)
        };
        assert_eq!(
            sent(NOW_MS - REPEAT_HORIZON_MS),
            Ok(NOW_MS - REPEAT_HORIZON_MS)
        );
        assert_eq!(
            sent(NOW_MS - REPEAT_HORIZON_MS - 1),
            Err(ClockError::TooOldToRepeat)
        );
        assert_eq!(sent(NOW_MS + 60_001), Err(ClockError::SentAhead));
        assert_eq!(sent(u64::MAX), Err(ClockError::SentAhead));
        assert_eq!(sent(0), Err(ClockError::TooOldToRepeat));
    }
}
