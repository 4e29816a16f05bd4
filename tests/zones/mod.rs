//! Zones as the platform's `Intl` told of them, read by `src/js/zones.js`.

#![allow(dead_code, clippy::unwrap_used)]

use hitparade::window::Zone;

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
