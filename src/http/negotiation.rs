//! `Accept` (RFC 9110, 12.5.1).

use std::cmp::Reverse;

use super::body::LINES;
use super::essence;
use super::problem::Problem;
use super::query::Query;
use crate::leaderboard::Format;

/// In order of preference, for a reader who accepts several alike.
const FORMATS: [Format; 3] = [Format::Json, Format::Csv, Format::Lines];

/// A range of media types that a reader names.
struct Range {
    media_type: String,
    /// 0 to 1,000.
    weight: u32,
}

impl Range {
    fn read(text: &str) -> Self {
        let parameters = text.split(';').skip(1);
        let weight = parameters
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .and_then(|(_, weight)| read_weight(weight.trim()));
        Range {
            media_type: essence(text),
            // An invalid weight is ignored.
            weight: weight.unwrap_or(1_000),
        }
    }

    /// How exactly the range names a format: 3 for the media type itself, 2 for `type/*`, 1 for `*/*`.
    fn names(&self, format: Format) -> Option<u32> {
        let (itself, by_type): (&[&str], _) = match format {
            Format::Json => (&["application/json"], "application/*"),
            Format::Csv => (&["text/csv"], "text/*"),
            Format::Lines => (&LINES, "application/*"),
        };
        match self.media_type.as_str() {
            named if itself.contains(&named) => Some(3),
            named if named == by_type => Some(2),
            "*/*" => Some(1),
            _ => None,
        }
    }
}

/// A weight in thousandths; the grammar allows three digits. Parsed by hand, because the tables of Rust's
/// parser for fractions would be 1 % of the Worker.
fn read_weight(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut thousandths = fraction.bytes().chain(*b"000").take(3);
    let fraction = thousandths.try_fold(0, |sum, digit| {
        let digit = char::from(digit).to_digit(10)?;
        Some(10 * sum + digit)
    })?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1_000),
        _ => None,
    }
}

/// The format that the query names (`format=csv`), for links and spreadsheets; otherwise the one that `Accept`
/// asks for.
///
/// # Errors
/// 400 for an unknown format.
pub fn format_asked(query: &Query, accept: Option<&str>) -> Result<Format, Problem> {
    match query.first("format") {
        None => Ok(format_of(accept)),
        Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some("ndjson") => Ok(Format::Lines),
        Some(_) => Err(Problem::bad("bad_format", "format is json, csv or ndjson")),
    }
}

/// The format with the greatest weight in `Accept`; among equals the one that is named most exactly, then the
/// one that is named first. JSON where none is acceptable, which is more useful than an error.
pub fn format_of(accept: Option<&str>) -> Format {
    let ranges = || accept.unwrap_or_default().split(',').map(Range::read);
    let mut best = None;
    for format in FORMATS {
        let named = ranges()
            .enumerate()
            .filter_map(|(place, range)| Some((range.names(format)?, Reverse(place), range.weight)))
            // The most exact range decides about a format, also where it weighs less.
            .max_by_key(|(exactness, place, _)| (*exactness, *place));
        if let Some((exactness, place, weight)) = named.filter(|(_, _, weight)| *weight > 0) {
            // Where one range names several formats, the first of them wins.
            let liking = (weight, exactness, place);
            if best.is_none_or(|(most, _)| liking > most) {
                best = Some((liking, format));
            }
        }
    }
    best.map_or(Format::Json, |(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_reader_gets_the_format_that_it_likes_best() {
        for (accept, format) in [
            ("", Format::Json),
            ("*/*", Format::Json),
            ("text/html", Format::Json),
            ("text/csv", Format::Csv),
            ("TEXT/CSV", Format::Csv),
            ("Text/Csv ; Charset=utf-8", Format::Csv),
            ("application/x-ndjson", Format::Lines),
            ("application/jsonl", Format::Lines),
            // What a browser sends.
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Format::Json,
            ),
            // Weights go before order.
            ("text/csv;q=0.5, application/json", Format::Json),
            ("text/csv;q=0.5,application/json;q=0.9", Format::Json),
            ("application/json;q=0.1, text/csv;Q=0.2", Format::Csv),
            ("application/json;q=0.333, text/csv;q=0.334", Format::Csv),
            // Among equals the exact one, then the first.
            ("text/csv, */*", Format::Csv),
            ("*/*, application/x-ndjson", Format::Lines),
            ("text/csv, application/json", Format::Csv),
            ("application/json, text/csv", Format::Json),
            ("text/*", Format::Csv),
            ("application/*", Format::Json),
            ("text/csv;q=0.9, */*;q=0.1", Format::Csv),
            // The most exact range decides, also against.
            ("*/*, application/json;q=0", Format::Csv),
            ("application/json;q=0, */*;q=0.1", Format::Csv),
            ("text/csv;q=0", Format::Json),
            ("application/json;q=0", Format::Json),
            (
                "application/*;q=0.2, application/json;q=0.1, text/csv;q=0.15",
                Format::Lines,
            ),
            // What is no weight.
            ("text/csv;q=x, application/json", Format::Csv),
            ("text/csv;q=9, application/json", Format::Csv),
            ("text/csv;q=NaN, application/json", Format::Csv),
            ("text/csv;q=0., application/json", Format::Json),
            ("text/csv;q=0.999, application/json;q=1.000", Format::Json),
        ] {
            assert_eq!(format_of(Some(accept)), format, "{accept}");
        }
        assert_eq!(format_of(None), Format::Json);
    }

    proptest! {
        #[test]
        fn any_header_gets_a_format(accept: String) {
            format_of(Some(&accept));
        }
    }
}
