//! Names that other services use for our query parameters. Unknown parameters are ignored, so that a link with
//! one more still works. But whoever writes `limit` for `k` would get the default chart and take it for the
//! one asked for: these names are an error that tells ours.

/// Our name for what others call this, the code of an error about it, and an example.
fn ours(other: &str) -> Option<(&'static str, &'static str, &'static str)> {
    Some(match other {
        "limit" | "count" | "n" | "top" | "size" | "per_page" | "page_size" | "max_results" => {
            ("k", "bad_k", "k=50")
        }
        "period" | "range" | "interval" | "duration" | "time_range" | "time_frame" | "last" => {
            ("timeframe", "bad_timeframe", "timeframe=7d")
        }
        "start" | "since" | "start_time" | "start_date" => {
            ("from", "bad_window", "from=2026-11-23T12:00:00Z")
        }
        "end" | "until" | "end_time" | "end_date" => {
            ("to", "bad_window", "to=2026-11-23T12:00:00Z")
        }
        "timezone" | "time_zone" | "zone" => ("tz", "bad_tz", "tz=Europe/Berlin"),
        "order" | "order_by" | "orderby" | "sort_by" | "sortby" => {
            ("sort", "bad_sort", "sort=rising")
        }
        "tags" | "category" | "categories" | "genre" => ("tag", "bad_filter", "tag=jazz"),
        "exclude" | "exclude_tags" | "not_tag" | "tag_not" => {
            ("exclude_tag", "bad_filter", "exclude_tag=live")
        }
        "authors" | "artist" | "creator" | "by" => ("author", "bad_filter", "author=Artist1"),
        "age" | "max_age" | "published_within" | "published_since" => {
            ("published", "bad_filter", "published=7d")
        }
        _ => return None,
    })
}

/// A parameter that is called otherwise here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misnamed {
    pub code: &'static str,
    pub detail: String,
}

/// The first given name that is another word for one of ours, where ours is not given.
pub fn misnamed<'a>(given: impl Iterator<Item = &'a str> + Clone) -> Option<Misnamed> {
    given.clone().find_map(|other| {
        let (name, code, example) = ours(other)?;
        let is_given = given.clone().any(|given| given == name);
        (!is_given).then(|| Misnamed {
            code,
            detail: format!("{other} is called {name} here, as in {example}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(given: &[&str]) -> Option<String> {
        let misnamed = misnamed(given.iter().copied());
        misnamed.map(|Misnamed { code, detail }| format!("{code}: {detail}"))
    }

    #[test]
    fn the_usual_other_names_are_told_ours() {
        assert_eq!(
            answer(&["region", "limit", "period"]).unwrap(),
            "bad_k: limit is called k here, as in k=50"
        );
        assert_eq!(
            answer(&["period"]).unwrap(),
            "bad_timeframe: period is called timeframe here, as in timeframe=7d"
        );
        assert!(
            answer(&["since"])
                .unwrap()
                .starts_with("bad_window: since is called from")
        );
        assert!(answer(&["order_by"]).unwrap().starts_with("bad_sort"));
    }

    #[test]
    fn others_are_ignored_and_so_is_one_beside_ours() {
        assert_eq!(answer(&["region", "colour", "utm_source", "LIMIT"]), None);
        assert_eq!(answer(&["k", "limit"]), None);
        assert_eq!(answer(&[]), None);
        for name in [
            "k",
            "timeframe",
            "from",
            "to",
            "tz",
            "sort",
            "tag",
            "author",
        ] {
            assert_eq!(answer(&[name]), None);
        }
    }
}
