//! Zones as the platform's `Intl` told of them, read by `src/js/zones.js`.

#![allow(dead_code, clippy::unwrap_used)]

use hitparade::window::{ClockChange, DAY_MS, MINUTE_MS, Zone};
use proptest::prelude::*;

/// A name and what `src/js/zones.js` wrote.
pub type Told = (&'static str, &'static str);

pub const NEW_YORK_2013: Told = (
    "America/New_York",
    "-18000\n\
     1331449200000 -14400\n\
     1352008800000 -18000\n\
     1362898800000 -14400\n\
     1383458400000 -18000\n\
     1394348400000 -14400\n\
     1414908000000 -18000",
);
pub const APIA_2011: Told = (
    "Pacific/Apia",
    "-39600\n\
     1285498800000 -36000\n\
     1301752800000 -39600\n\
     1316872800000 -36000\n\
     1325239200000 50400\n\
     1333202400000 46800\n\
     1348927200000 50400",
);
pub const KATHMANDU: Told = ("Asia/Kathmandu", "20700");
pub const LORD_HOWE_2013: Told = (
    "Australia/Lord_Howe",
    "39600\n\
     1333206000000 37800\n\
     1349537400000 39600\n\
     1365260400000 37800\n\
     1380987000000 39600\n\
     1396710000000 37800\n\
     1412436600000 39600",
);
pub const CASABLANCA_2026: Told = (
    "Africa/Casablanca",
    "3600\n\
     1740276000000 0\n\
     1743904800000 3600\n\
     1771120800000 0\n\
     1774144800000 3600\n\
     1801965600000 0\n\
     1804989600000 3600",
);
pub const ST_JOHNS_2010: Told = (
    "America/St_Johns",
    "-12600\n\
     1236483060000 -9000\n\
     1257042660000 -12600\n\
     1268537460000 -9000\n\
     1289097060000 -12600\n\
     1299987060000 -9000\n\
     1320553800000 -12600",
);
pub const HAVANA_2013: Told = (
    "America/Havana",
    "-18000\n\
     1333256400000 -14400\n\
     1352005200000 -18000\n\
     1362891600000 -14400\n\
     1383454800000 -18000\n\
     1394341200000 -14400\n\
     1414904400000 -18000",
);
pub const BERLIN_2026: Told = (
    "Europe/Berlin",
    "3600\n\
     1743296400000 7200\n\
     1761440400000 3600\n\
     1774746000000 7200\n\
     1792890000000 3600\n\
     1806195600000 7200\n\
     1824944400000 3600",
);

pub fn zone((name, text): Told) -> Zone {
    Zone::read(name, text).unwrap()
}

/// A zone as `src/js/zones.js` would write it.
pub fn written(zone: &Zone) -> String {
    let mut text = zone
        .offsets()
        .next()
        .map(|(_, offset_s)| offset_s.to_string())
        .unwrap();
    for (at_ms, offset_s) in zone.offsets().skip(1) {
        text.push_str(&format!("\n{at_ms} {offset_s}"));
    }
    text
}

/// A zone whose clocks are set ahead and back twice a year, or never.
#[derive(Clone, Debug)]
pub struct Drawn {
    base_quarters: i32,
    ahead_quarters: i32,
    ahead_at_ms: u64,
    back_after_days: u64,
}

pub fn drawn() -> impl Strategy<Value = Drawn> {
    let base = prop_oneof![2 => Just(0), 3 => -48..=56_i32];
    let ahead =
        prop_oneof![1 => Just(0), 3 => Just(4), 1 => Just(2), 1 => Just(-4), 1 => -96..=96_i32];
    let day = 96_u64;
    (base, ahead, 0..365 * day, 20..340_u64).prop_map(
        |(base_quarters, ahead_quarters, quarter, back_after_days)| Drawn {
            base_quarters,
            ahead_quarters,
            ahead_at_ms: quarter * 15 * MINUTE_MS,
            back_after_days,
        },
    )
}

impl Drawn {
    /// A zone that is so many quarters of an hour ahead, all the year.
    pub fn of(base_quarters: i32) -> Self {
        Drawn {
            base_quarters,
            ahead_quarters: 0,
            ahead_at_ms: 0,
            back_after_days: 20,
        }
    }

    /// What the platform tells of it around a moment.
    pub fn around(&self, ms: u64) -> Zone {
        let year_ms = 365 * DAY_MS;
        let offset_s = |quarters: i32| quarters.clamp(-96, 96) * 900;
        let year = ms / year_ms;
        let years = year.saturating_sub(4)..=year + 4;
        let changes = years.flat_map(|year| {
            let at_ms = year * year_ms + self.ahead_at_ms + 15 * MINUTE_MS;
            let ahead = ClockChange {
                at_ms,
                offset_s: offset_s(self.base_quarters + self.ahead_quarters),
            };
            let back = ClockChange {
                at_ms: at_ms + self.back_after_days * DAY_MS,
                offset_s: offset_s(self.base_quarters),
            };
            [ahead, back]
        });
        Zone::new(
            "Drawn/Zone",
            offset_s(self.base_quarters),
            changes.collect(),
        )
        .unwrap()
    }
}
