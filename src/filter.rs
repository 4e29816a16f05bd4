//! A chart's filter: which posts it shows, by the tags, author and time of publication in the catalog. A post
//! must meet all conditions.
//!
//! Texts are compared byte for byte. A filter has one form, whatever the order of its tags in a query, so that
//! it is one entry in every cache.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::summary::IdKey;
use crate::text::looks_empty;
use crate::window::HOUR_MS;

/// Tags of a post, and bytes of one.
pub const MAX_TAGS: usize = 16;
pub const MAX_TAG_BYTES: usize = 64;
/// Bytes of an author's name.
pub const MAX_AUTHOR_BYTES: usize = 256;
/// Tags that a filter asks for, and tags that it excludes.
pub const MAX_WANTED_TAGS: usize = 4;
pub const MAX_EXCLUDED_TAGS: usize = 2;
/// The most that `published` may reach back: 400 days, as the longest timeframe.
pub const MAX_PUBLISHED_HOURS: u32 = 400 * 24;
/// Posts that a filter may match, or exclude if it only excludes: their keys take 2 MiB.
pub const MAX_MEMBERS: usize = 131_072;

/// Which posts a chart shows; all where it sets no condition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Filter {
    /// A post has all of these. In order, each once.
    pub tags: Vec<String>,
    /// It has none of these. In order, each once.
    pub excluded_tags: Vec<String>,
    pub author: Option<String>,
    /// It was published within so many hours.
    pub published_hours: Option<u32>,
}

impl Filter {
    /// A filter in its one form.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn new(
        mut tags: Vec<String>,
        mut excluded_tags: Vec<String>,
        author: Option<String>,
        published_hours: Option<u32>,
    ) -> Result<Self, String> {
        for tags in [&mut tags, &mut excluded_tags] {
            tags.sort_unstable();
            tags.dedup();
        }
        let filter = Filter {
            tags,
            excluded_tags,
            author,
            published_hours,
        };
        filter.check().map(|()| filter)
    }

    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        for (name, tags, most) in [
            ("tag", &self.tags, MAX_WANTED_TAGS),
            ("exclude_tag", &self.excluded_tags, MAX_EXCLUDED_TAGS),
        ] {
            tags.iter().try_for_each(|tag| check_tag(tag))?;
            if tags.len() > most {
                return Err(format!("{name} names at most {most} tags"));
            }
            if !tags.is_sorted_by(|a, b| a < b) {
                return Err(format!("{name} names its tags in order, each once"));
            }
        }
        if let Some(tag) = self
            .tags
            .iter()
            .find(|tag| self.excluded_tags.contains(tag))
        {
            return Err(format!(
                "tag and exclude_tag both name {tag:?}: no post has it and has it not"
            ));
        }
        let author = self.author.as_deref();
        if author.is_some_and(|author| author.is_empty() || author.len() > MAX_AUTHOR_BYTES) {
            return Err(format!("author has 1 to {MAX_AUTHOR_BYTES} bytes"));
        }
        let hours = self.published_hours;
        if hours.is_some_and(|hours| !(1..=MAX_PUBLISHED_HOURS).contains(&hours)) {
            return Err(PUBLISHED_FORM.into());
        }
        Ok(())
    }

    /// Whether it sets no condition.
    pub fn is_empty(&self) -> bool {
        *self == Filter::default()
    }

    /// The minutes in which a post may have been published: those of the hours asked for and of the current
    /// hour, so that the answer is the same for an hour.
    pub fn published_minutes(&self, hour: u64) -> Option<Range<u32>> {
        let hours = u64::from(self.published_hours?);
        let minutes = |hour: u64| u32::try_from(hour.saturating_mul(60)).unwrap_or(u32::MAX);
        Some(minutes(hour.saturating_sub(hours))..minutes(hour.saturating_add(1)))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let tags = self.tags.iter().chain(&self.excluded_tags);
        let tags = tags.map(|tag| size_of::<String>() + tag.len());
        tags.sum::<usize>() + self.author.as_ref().map_or(0, String::len)
    }
}

/// The hour of a moment, which a filter's `published` is snapped to.
pub fn hour_of(now_ms: u64) -> u64 {
    now_ms / HOUR_MS
}

/// # Errors
/// What is wrong with a tag, as a sentence.
pub fn check_tag(tag: &str) -> Result<(), String> {
    if tag.len() > MAX_TAG_BYTES || looks_empty(tag) {
        return Err(format!("a tag has 1 to {MAX_TAG_BYTES} bytes that show"));
    }
    if tag.contains(|c: char| c == ',' || c.is_control()) {
        return Err("a tag has no comma and no control character".into());
    }
    if tag.trim() != tag {
        return Err("a tag has no space around it".into());
    }
    Ok(())
}

/// Checks the tags of a post, which are in order, each once.
///
/// # Errors
/// What is wrong with them, as a sentence.
pub fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > MAX_TAGS {
        return Err(format!("a post has at most {MAX_TAGS} tags"));
    }
    tags.iter().try_for_each(|tag| check_tag(tag))
}

const PUBLISHED_FORM: &str = "published is <n>h or <n>d, from 1h to 400d";

/// Reads `7d` or `24h`.
///
/// # Errors
/// Which form is wanted.
pub fn read_published(text: &str) -> Result<u32, &'static str> {
    let hours_of = |letter, hours| Some((text.strip_suffix(letter)?, hours));
    let (digits, unit_hours) = hours_of('h', 1)
        .or(hours_of('d', 24))
        .ok_or(PUBLISHED_FORM)?;
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let count = digits.parse::<u32>().ok().filter(|_| is_number);
    let hours = count.and_then(|count| count.checked_mul(unit_hours));
    let is_allowed = |hours: &u32| (1..=MAX_PUBLISHED_HOURS).contains(hours);
    hours.filter(is_allowed).ok_or(PUBLISHED_FORM)
}

/// As it is read: in days where they are whole.
pub fn published_text(hours: u32) -> String {
    match hours % 24 {
        0 => format!("{}d", hours / 24),
        _ => format!("{hours}h"),
    }
}

/// The posts that a filter matches.
///
/// They are held by the keys that summaries have for ids. An id of up to 16 bytes is its own key; of longer
/// ids, at most one pair in 2³² has equal keys, over the seeds of installations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// These, all of which may be shown.
    Only(Keys),
    /// Every post but these, whether or not the catalog knows it.
    AllBut(Keys),
}

/// Keys in their order, each once, and at most [`MAX_MEMBERS`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<IdKey>);

impl Keys {
    /// `None` where there are too many.
    pub fn new(mut keys: Vec<IdKey>) -> Option<Self> {
        keys.sort_unstable();
        keys.dedup();
        (keys.len() <= MAX_MEMBERS).then_some(Keys(keys))
    }

    /// Reads what [`Keys::to_bytes`] made. `None` where it did not make it.
    pub fn of_bytes(bytes: &[u8]) -> Option<Self> {
        let (keys, []) = bytes.as_chunks::<{ IdKey::BYTES }>() else {
            return None;
        };
        let keys: Vec<IdKey> = keys.iter().map(|key| IdKey::from_bytes(*key)).collect();
        let is_in_order = keys.is_sorted_by(|a, b| a < b);
        (is_in_order && keys.len() <= MAX_MEMBERS).then_some(Keys(keys))
    }

    /// 16 bytes a key.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|key| key.to_bytes()).collect()
    }

    pub fn has(&self, key: IdKey) -> bool {
        self.0.binary_search(&key).is_ok()
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = IdKey> {
        self.0.iter().copied()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Members {
    pub fn has(&self, key: IdKey) -> bool {
        match self {
            Members::Only(keys) => keys.has(key),
            Members::AllBut(keys) => !keys.has(key),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let (Members::Only(keys) | Members::AllBut(keys)) = self;
        keys.0.capacity() * size_of::<IdKey>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(tags: &[&str], excluded_tags: &[&str]) -> Result<Filter, String> {
        let owned = |tags: &[&str]| tags.iter().map(|tag| (*tag).to_owned()).collect();
        Filter::new(owned(tags), owned(excluded_tags), None, None)
    }

    #[test]
    fn a_question_has_one_form_whatever_order_it_was_asked_in() {
        let one = filter(&["b", "a", "b"], &["d", "c"]).unwrap();
        assert_eq!(one, filter(&["a", "b"], &["c", "d", "c"]).unwrap());
        assert!(!one.is_empty() && filter(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn what_no_post_can_have_is_refused_with_what_is_wrong() {
        let of = |tag: &str| filter(&[tag], &[]);
        for good in [
            "jazz",
            "a b",
            "🎵",
            "日本",
            "e\u{301}",
            "__proto__",
            "-",
            &"x".repeat(64),
        ] {
            assert!(of(good).is_ok(), "{good:?}");
            assert!(check_tags(&[good.to_owned()]).is_ok(), "{good:?}");
        }
        for bad in [
            "",
            " ",
            "\u{200b}",
            "a,b",
            "a\n",
            "\0",
            " a",
            "a\u{a0}",
            &"x".repeat(65),
            &"é".repeat(33),
        ] {
            assert!(of(bad).is_err(), "{bad:?}");
            assert!(filter(&[], &[bad]).is_err(), "{bad:?}");
            assert!(check_tags(&[bad.to_owned()]).is_err(), "{bad:?}");
        }
        assert!(
            filter(&["a", "b", "c", "d", "e"], &[])
                .unwrap_err()
                .contains("at most 4")
        );
        assert!(
            filter(&[], &["a", "b", "c"])
                .unwrap_err()
                .contains("at most 2")
        );
        assert!(
            filter(&["a", "b"], &["b"])
                .unwrap_err()
                .contains("both name \"b\"")
        );
        let seventeen: Vec<String> = (0..17).map(|tag| format!("{tag:02}")).collect();
        assert!(check_tags(&seventeen[..16]).is_ok() && check_tags(&seventeen).is_err());
        let author = |author: String| Filter::new(vec![], vec![], Some(author), None);
        assert!(author("x".repeat(256)).is_ok());
        assert!(author("x".repeat(257)).is_err() && author(String::new()).is_err());
    }

    #[test]
    fn published_is_hours_or_days_and_snaps_to_the_hour() {
        for (text, hours, shown) in [
            ("1h", 1, "1h"),
            ("7d", 168, "7d"),
            ("48h", 48, "2d"),
            ("400d", 9_600, "400d"),
        ] {
            assert_eq!(read_published(text), Ok(hours));
            assert_eq!(published_text(hours), shown);
        }
        for bad in [
            "",
            "7",
            "d",
            "0h",
            "401d",
            "30m",
            "+1h",
            "-1d",
            "1.5h",
            "7 d",
            "99999999999d",
            "7D",
            "all",
        ] {
            assert!(read_published(bad).is_err(), "{bad}");
        }
        let filter = Filter {
            published_hours: Some(24),
            ..Filter::default()
        };
        let at = |now_ms| filter.published_minutes(hour_of(now_ms)).unwrap();
        let now_ms = 1_000 * HOUR_MS;
        assert_eq!(at(now_ms), 976 * 60..1_001 * 60);
        assert_eq!(at(now_ms), at(now_ms + HOUR_MS - 1));
        assert_ne!(at(now_ms), at(now_ms + HOUR_MS));
        assert_eq!(at(0), 0..60);
        assert_eq!(filter.published_minutes(u64::MAX), Some(u32::MAX..u32::MAX));
        assert_eq!(Filter::default().published_minutes(7), None);
    }

    proptest! {
        #[test]
        fn keys_are_found_and_come_back_from_their_bytes(numbers: Vec<u8>, bytes: Vec<u8>) {
            let key = |number: u8| IdKey::from_bytes([number; 16]);
            let keys = Keys::new(numbers.iter().copied().map(key).collect()).unwrap();
            prop_assert_eq!(Keys::of_bytes(&keys.to_bytes()), Some(keys.clone()));
            for number in 0..=255 {
                let is_one = numbers.contains(&number);
                prop_assert_eq!(Members::Only(keys.clone()).has(key(number)), is_one);
                prop_assert_eq!(Members::AllBut(keys.clone()).has(key(number)), !is_one);
            }
            if let Some(keys) = Keys::of_bytes(&bytes) {
                prop_assert_eq!(keys.to_bytes(), bytes);
            }
        }

        #[test]
        fn any_published_is_read_or_refused(text: String) {
            let _ = read_published(&text);
        }
    }

    #[test]
    fn more_members_than_may_be_are_none() {
        let keys = |count: usize| (0..count).map(|n| IdKey::from_bytes((n as u128).to_be_bytes()));
        assert!(Keys::new(keys(MAX_MEMBERS).collect()).is_some());
        assert!(Keys::new(keys(MAX_MEMBERS + 1).collect()).is_none());
        let bytes: Vec<u8> = keys(MAX_MEMBERS + 1).flat_map(IdKey::to_bytes).collect();
        assert!(Keys::of_bytes(&bytes).is_none());
    }
}
