//! Names that other services have for what a chart is asked by. An unknown parameter is ignored, so
//! that a link with one more still works; one of these would be missed, and the chart of the default
//! taken for the one that was asked for.

/// Our name, the code of an error about it, and what it says where another name was given.
struct Parameter {
    name: &'static str,
    code: &'static str,
    like: &'static str,
    others: &'static [&'static str],
}

const PARAMETERS: [Parameter; 10] = [
    Parameter {
        name: "k",
        code: "bad_k",
        like: "k=50",
        others: &[
            "limit",
            "count",
            "n",
            "top",
            "size",
            "per_page",
            "page_size",
            "max_results",
        ],
    },
    Parameter {
        name: "timeframe",
        code: "bad_timeframe",
        like: "timeframe=7d",
        others: &[
            "period",
            "range",
            "interval",
            "duration",
            "time_range",
            "time_frame",
            "last",
        ],
    },
    Parameter {
        name: "from",
        code: "bad_window",
        like: "from=2026-11-23T12:00:00Z",
        others: &["start", "since", "start_time", "start_date"],
    },
    Parameter {
        name: "to",
        code: "bad_window",
        like: "to=2026-11-23T12:00:00Z",
        others: &["end", "until", "end_time", "end_date"],
    },
    Parameter {
        name: "tz",
        code: "bad_tz",
        like: "tz=Europe/Berlin",
        others: &["timezone", "time_zone", "zone"],
    },
    Parameter {
        name: "sort",
        code: "bad_sort",
        like: "sort=rising",
        others: &["order", "order_by", "orderby", "sort_by", "sortby"],
    },
    Parameter {
        name: "tag",
        code: "bad_filter",
        like: "tag=jazz",
        others: &["tags", "category", "categories", "genre"],
    },
    Parameter {
        name: "exclude_tag",
        code: "bad_filter",
        like: "exclude_tag=live",
        others: &["exclude", "exclude_tags", "not_tag", "tag_not"],
    },
    Parameter {
        name: "author",
        code: "bad_filter",
        like: "author=Artist1",
        others: &["authors", "artist", "creator", "by"],
    },
    Parameter {
        name: "published",
        code: "bad_filter",
        like: "published=7d",
        others: &["age", "max_age", "published_within", "published_since"],
    },
];

/// A parameter that is called otherwise here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misnamed {
    pub code: &'static str,
    pub detail: String,
}

/// The first of the given names that stands for one of ours, which is not given itself.
pub fn misnamed<'a>(given: impl Iterator<Item = &'a str> + Clone) -> Option<Misnamed> {
    given.clone().find_map(|other| {
        let parameter = PARAMETERS
            .iter()
            .find(|parameter| parameter.others.contains(&other))?;
        let Parameter {
            name, code, like, ..
        } = *parameter;
        let is_given = given.clone().any(|given| given == name);
        (!is_given).then(|| Misnamed {
            code,
            detail: format!("{other} is called {name} here, as in {like}"),
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
        for parameter in &PARAMETERS {
            assert_eq!(answer(&[parameter.name]), None);
        }
    }
}
