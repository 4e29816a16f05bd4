//! Which addresses have the charts that an object's sockets show, and which gives one up where there is
//! no room for another.
//!
//! The object asks for a chart by its class of k, and renders it for each k that somebody reads. All
//! renderings of a chart share one question to the global object. The object limits both charts and
//! renderings, in all and for each address. Where it is full, an address that has many gives
//! one up for an address that has none (max-min fairness), so a few addresses cannot take all places.

use std::collections::BTreeMap;

/// Charts that sockets of one object show: as many as a shard keeps.
pub const MAX_CHARTS: usize = 256;
/// Renderings of these charts. Each is made anew whenever its chart has changed: 20 µs for ten posts, 2 ms
/// for a thousand.
pub const MAX_RENDERINGS: usize = 512;
/// A rendering that is shown: its tag, and the address of its sockets where all have the same one.
pub type HeldRendering = (String, Option<String>);

/// The part of a tag that names the chart.
pub fn chart_of(tag: &str) -> &str {
    tag.split_once(':').map_or(tag, |(chart, _)| chart)
}

/// Whether an object that shows these renderings has room for another.
pub fn has_room<'a>(shown: impl Iterator<Item = &'a str> + Clone, tag: &str) -> bool {
    if shown.clone().any(|other| other == tag) {
        return true;
    }
    // They come in order, so those of a chart come together.
    let mut charts = 0;
    let mut last = "";
    for chart in shown.clone().map(chart_of) {
        charts += usize::from(chart != last);
        last = chart;
    }
    let is_shown = shown.clone().any(|other| chart_of(other) == chart_of(tag));
    shown.count() < MAX_RENDERINGS && (is_shown || charts < MAX_CHARTS)
}

/// The renderings whose sockets are to be closed so that the address of a newcomer can read another one. None
/// where no other address has so many more that taking one from it would be fair.
pub fn to_give_up(held: &[HeldRendering], newcomer: &str) -> Vec<String> {
    let charts: std::collections::BTreeSet<&str> =
        held.iter().map(|(tag, _)| chart_of(tag)).collect();
    if charts.len() >= MAX_CHARTS {
        given_up(held, newcomer, chart_of)
    } else {
        given_up(held, newcomer, |tag| tag)
    }
}

/// The same, counted in units: charts where charts are short, else renderings.
fn given_up(held: &[HeldRendering], newcomer: &str, unit_of: impl Fn(&str) -> &str) -> Vec<String> {
    let mut owners: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for (tag, address) in held {
        let address = address.as_deref();
        let owner = owners.entry(unit_of(tag)).or_insert(address);
        *owner = owner.filter(|owner| Some(*owner) == address);
    }
    let mut units: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (unit, owner) in owners {
        if let Some(owner) = owner {
            units.entry(owner).or_default().push(unit);
        }
    }
    let own = units.get(newcomer).map_or(0, Vec::len);
    let most = units.values().max_by_key(|units| units.len());
    let Some(given) = most
        .filter(|units| units.len() > own + 1)
        .and_then(|units| units.last())
    else {
        return Vec::new();
    };
    let tags = held.iter().map(|(tag, _)| tag);
    tags.filter(|tag| unit_of(tag) == *given).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(
        renderings: impl IntoIterator<Item = (usize, usize, &'static str)>,
    ) -> Vec<HeldRendering> {
        let renderings = renderings.into_iter().map(|(chart, k, address)| {
            let address = (!address.is_empty()).then(|| address.to_owned());
            (format!("{chart:04}:{k}"), address)
        });
        renderings.collect()
    }

    fn room(held: &[HeldRendering], tag: &str) -> bool {
        has_room(held.iter().map(|(tag, _)| tag.as_str()), tag)
    }

    #[test]
    fn there_is_room_for_so_many_charts_and_so_many_renderings() {
        let charts = held((0..MAX_CHARTS).map(|chart| (chart, 10, "a")));
        assert!(room(&charts[1..], "9999:10"));
        assert!(!room(&charts, "9999:10"));
        assert!(room(&charts, "0007:10"), "it is shown");
        assert!(
            room(&charts, "0007:5"),
            "another rendering of one that is shown"
        );
        let renderings = held((0..MAX_RENDERINGS).map(|k| (1, k, "a")));
        assert!(!room(&renderings, "0001:9999") && !room(&renderings, "0002:10"));
        assert!(room(&renderings, "0001:7"));
    }

    #[test]
    fn whoever_has_most_charts_gives_one_up_for_one_who_has_none() {
        let all =
            held((0..MAX_CHARTS).map(|chart| (chart, 10, if chart % 16 == 0 { "b" } else { "a" })));
        assert_eq!(to_give_up(&all, "c"), ["0255:10"]);
        assert_eq!(to_give_up(&all, "b"), ["0255:10"]);
        assert_eq!(
            to_give_up(&all, "a"),
            Vec::<String>::new(),
            "nothing for itself"
        );
    }

    #[test]
    fn a_chart_that_several_read_stays_and_all_renderings_of_one_go_together() {
        let shared = (0..MAX_CHARTS - 2).map(|chart| (chart, 10, ""));
        let own = [(900, 1, "a"), (900, 2, "a"), (901, 1, "a"), (901, 2, "b")];
        let all = held(shared.chain(own));
        assert!(to_give_up(&all, "c").is_empty(), "it has one of its own");
        let more = [(902, 1, "a"), (902, 3, "a")];
        let all = held(
            (0..MAX_CHARTS - 3)
                .map(|chart| (chart, 10, ""))
                .chain(own)
                .chain(more),
        );
        assert_eq!(to_give_up(&all, "c"), ["0902:1", "0902:3"]);
    }

    #[test]
    fn where_renderings_are_short_one_of_them_goes() {
        let all = held((0..MAX_RENDERINGS).map(|k| (k % 3, k, if k < 2 { "" } else { "a" })));
        assert_eq!(to_give_up(&all, "b").len(), 1);
        let fair = held(
            (0..MAX_RENDERINGS).map(|k| (k % 3, k, ["", "a", "b"][if k < 2 { k + 1 } else { 0 }])),
        );
        assert!(to_give_up(&fair, "c").is_empty());
    }

    #[test]
    fn sixteen_attackers_leave_room_for_everybody_else() {
        let attackers: Vec<String> = (0..16).map(|number| format!("attacker {number}")).collect();
        let mut all: Vec<HeldRendering> = (0..MAX_CHARTS)
            .map(|chart| {
                (
                    format!("{chart:04}:10"),
                    Some(attackers[chart % 16].clone()),
                )
            })
            .collect();
        // They come again at once, whenever one of theirs is closed.
        for number in 0..100 {
            let reader = format!("reader {number}");
            let closed = to_give_up(&all, &reader);
            assert_eq!(closed.len(), 1, "{reader}");
            let owner = all
                .iter()
                .find(|(tag, _)| *tag == closed[0])
                .unwrap()
                .1
                .clone();
            assert!(owner.unwrap().starts_with("attacker"));
            all.retain(|(tag, _)| *tag != closed[0]);
            all.push((format!("{:04}:10", 1_000 + number), Some(reader)));
            for attacker in &attackers {
                let owns = |address: &Option<String>| address.as_ref() == Some(attacker);
                let own = all.iter().filter(|(_, address)| owns(address)).count();
                let given_up = to_give_up(&all, attacker);
                let readers = given_up.iter().filter(|tag| tag.as_str() >= "1000");
                assert_eq!(readers.count(), 0, "{attacker} has {own}");
            }
        }
    }
}
