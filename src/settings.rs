//! The settings of an installation: `vars` and secrets of `wrangler.toml`.

use serde::Deserialize;

use crate::pages::OwnPages;
use crate::topology::{check_hint, check_region_id};
use crate::visitor::{Proxies, continent_of, continents};
use crate::window::{DAY_MS, HOUR_MS, MAX_DAYS, Timeframe, is_zone_name};

/// A region that pushes as seldom as there is takes 600 a day, plays or not.
const LEAST_DAILY_REQUESTS: u64 = 1_000;

/// A region of the `REGIONS` setting.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct RegionSetting {
    pub id: String,
    #[serde(default)]
    pub name: Option<String>,
    /// Where its objects should live: a location hint of the platform.
    #[serde(default)]
    pub hint: Option<String>,
    /// Two-letter codes, as the platform gives them: whose plays go here.
    #[serde(default)]
    pub countries: Vec<String>,
    #[serde(default)]
    pub continents: Vec<String>,
}

/// Checks every setting whose text can be wrong.
///
/// # Errors
/// What is wrong with the first of them and what to write, as a sentence.
pub fn check(setting: impl Fn(&'static str) -> Option<String>) -> Result<(), String> {
    read_origins(setting("ALLOWED_ORIGINS").as_deref())?;
    read_regions(setting("REGIONS").as_deref())?;
    let [beacon, plays] = ["BEACON_PATH", "PLAYS_PATH"].map(&setting);
    BeaconNames::read(beacon.as_deref(), plays.as_deref())?;
    Proxies::read(&setting)?;
    read_own_pages(&setting)?;
    for name in TOKENS {
        if let Some(secret) = setting(name) {
            read_tokens(name, &secret)?;
        }
    }
    read_retention_days(setting("RETENTION_DAYS").as_deref())?;
    let zone = setting("TIME_ZONE");
    if !is_zone_name(time_zone(zone.as_deref())) {
        return Err(NO_ZONE.into());
    }
    read_close_after_ms(setting("CLOSE_AFTER").as_deref())?;
    read_daily_requests(setting("DAILY_REQUESTS").as_deref())?;
    read_image_origins(setting("IMAGE_ORIGINS").as_deref())?;
    for name in ["LIMIT_PER_MINUTE", "VOTES_PER_MINUTE"] {
        if setting(name).is_some_and(|number| number.parse::<u32>().is_err()) {
            return Err(format!("{name} must be a whole number, 0 for any number"));
        }
    }
    let words: [(_, &[&str]); 3] = [
        ("LOG_REQUESTS", &["errors", "all", "none"]),
        ("NORMALISE_IDS", &["true", "false", "1", "0"]),
        ("REQUIRE_KNOWN_POSTS", &["auto", "true", "false", "1", "0"]),
    ];
    for (name, allowed) in words {
        let is_allowed = |word: String| allowed.contains(&word.to_ascii_lowercase().as_str());
        if setting(name).is_some_and(|word| !is_allowed(word)) {
            return Err(format!("{name} must be one of {}", allowed.join(", ")));
        }
    }
    Ok(())
}

/// The pages as the installation's own; none where nothing is set. The region of the first view is one of
/// `REGIONS`, also where it was made by a request: so a slip is told at the start, and not by an empty page.
///
/// # Errors
/// What is wrong with a setting, as a sentence.
pub fn read_own_pages(
    setting: impl Fn(&'static str) -> Option<String>,
) -> Result<Option<OwnPages>, String> {
    OwnPages::read(&setting, |region| {
        let regions = read_regions(setting("REGIONS").as_deref())?;
        if regions.iter().any(|known| known.id == region) {
            return Ok(());
        }
        let known: Vec<&str> = regions.iter().map(|known| &known.id[..]).collect();
        Err(format!(
            "{region:?} is no region of REGIONS; write global, or one of {}",
            known.join(", ")
        ))
    })
}

/// Which posts charts show: `REQUIRE_KNOWN_POSTS`. All plays count in totals, whatever it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VisiblePosts {
    /// `false`: all that were played.
    #[default]
    All,
    /// `auto`: those of the catalog, as soon as it describes one; until then all.
    KnownIfAny,
    /// `true`: those of the catalog.
    Known,
}

impl VisiblePosts {
    /// `auto` where nothing is set, or what [`check`] refuses.
    pub fn read(setting: Option<&str>) -> Self {
        match setting.map(str::to_ascii_lowercase).as_deref() {
            Some("true" | "1") => VisiblePosts::Known,
            Some("false" | "0") => VisiblePosts::All,
            _ => VisiblePosts::KnownIfAny,
        }
    }
}

/// Secrets of which several may be valid at once.
const TOKENS: [&str; 4] = ["INGEST_TOKEN", "ADMIN_TOKEN", "READ_TOKEN", "METRICS_TOKEN"];
/// Two are valid while one takes the place of another; each costs a comparison a request.
pub const MAX_TOKENS: usize = 4;

/// The tokens that a secret holds (`new,old`).
///
/// # Errors
/// What is wrong with it, as a sentence, which does not tell them.
pub fn read_tokens<'a>(name: &str, secret: &'a str) -> Result<Vec<&'a str>, String> {
    let tokens: Vec<&str> = secret.split(',').map(str::trim).collect();
    if tokens.iter().any(|token| token.is_empty()) {
        return Err(format!(
            "{name} has a comma with no token beside it; write one token, or new,old"
        ));
    }
    if tokens.len() > MAX_TOKENS {
        return Err(format!("{name} has more than {MAX_TOKENS} tokens"));
    }
    Ok(tokens)
}

/// What is wrong with a `TIME_ZONE` that is none.
pub const NO_ZONE: &str =
    "TIME_ZONE must be the name of a zone in the tz database, such as Europe/Berlin, or UTC";

/// The zone by whose midnights days are kept: `TIME_ZONE`.
pub fn time_zone(setting: Option<&str>) -> &str {
    setting.unwrap_or("UTC")
}

/// For how many days panes are kept, all time apart.
///
/// # Errors
/// What is wrong with `RETENTION_DAYS`, as a sentence.
pub fn read_retention_days(setting: Option<&str>) -> Result<u32, String> {
    let Some(days) = setting else {
        return Ok(MAX_DAYS);
    };
    let days = days.trim().parse().ok();
    days.filter(|days| (1..=MAX_DAYS).contains(days))
        .ok_or_else(|| format!("RETENTION_DAYS must be a whole number from 1 to {MAX_DAYS}"))
}

/// How long after its end the chart of a day, a week or a month is closed, where nobody says otherwise.
pub const CLOSE_AFTER_MS: u64 = 2 * HOUR_MS;
/// Later, what is kept by the quarter of an hour might not tell the ends of a day any more.
const MOST_CLOSE_AFTER_MS: u64 = DAY_MS;

/// How long after its end a period's chart is closed, in milliseconds.
///
/// # Errors
/// What is wrong with `CLOSE_AFTER`, as a sentence.
pub fn read_close_after_ms(setting: Option<&str>) -> Result<u64, String> {
    let Some(text) = setting else {
        return Ok(CLOSE_AFTER_MS);
    };
    let ms = match text.trim().parse() {
        Ok(Timeframe::Length { ms, .. }) if ms <= MOST_CLOSE_AFTER_MS => Some(ms),
        _ => None,
    };
    ms.ok_or_else(|| "CLOSE_AFTER must be a time from 1m to 24h, such as 30m or 2h".into())
}

/// The requests that objects may be asked of a day; none for any number.
///
/// # Errors
/// What is wrong with `DAILY_REQUESTS`, as a sentence.
pub fn read_daily_requests(setting: Option<&str>) -> Result<Option<u64>, String> {
    let Some(text) = setting else {
        return Ok(None);
    };
    let wrong =
        "DAILY_REQUESTS must be a whole number from 1000 on, such as 90000; empty for any number";
    match text.trim().parse() {
        Ok(requests) if requests >= LEAST_DAILY_REQUESTS => Ok(Some(requests)),
        _ => Err(wrong.into()),
    }
}

/// The origins from which pages show pictures of the catalog; none for every one that is encrypted.
///
/// # Errors
/// What is wrong with `IMAGE_ORIGINS`, as a sentence.
pub fn read_image_origins(setting: Option<&str>) -> Result<Vec<String>, String> {
    let origins = origins_of("IMAGE_ORIGINS", setting)?;
    match origins.iter().find(|origin| !origin.starts_with("http")) {
        None => Ok(origins),
        Some(other) => Err(format!(
            "IMAGE_ORIGINS: {other:?} is no origin of pictures; write one like https://img.example.com"
        )),
    }
}

/// Names of your own for the beacon and for where it sends plays, beside the usual ones: block lists
/// know the usual ones, and a site may have nothing else at these paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BeaconNames {
    /// `BEACON_PATH`, without its `.js`.
    stem: Option<String>,
    /// `PLAYS_PATH`.
    plays: Option<String>,
}

impl BeaconNames {
    /// # Errors
    /// What is wrong with a setting, as a sentence.
    pub fn read(beacon: Option<&str>, plays: Option<&str>) -> Result<Self, String> {
        let stem = match beacon {
            None => None,
            Some(path) => Some(
                path.strip_suffix(".js")
                    .ok_or("BEACON_PATH must end with .js")?,
            ),
        };
        for (name, path) in [("BEACON_PATH", stem), ("PLAYS_PATH", plays)] {
            if path.is_some_and(|path| !is_plain_path(path)) {
                return Err(format!(
                    "{name} must be a path such as /media/song, of letters, digits, - and _"
                ));
            }
        }
        Ok(BeaconNames {
            stem: stem.map(str::to_owned),
            plays: plays.map(str::to_owned),
        })
    }

    /// The usual path of what is at this one, where it has a name of its own.
    pub fn usual_path(&self, path: &str) -> Option<String> {
        if self.plays.as_deref() == Some(path) {
            return Some("/plays".to_owned());
        }
        let rest = path.strip_prefix(self.stem.as_deref()?)?;
        let is_ours = matches!(rest, ".js" | ".mjs") || rest.starts_with("-elements.");
        (is_ours && rest.ends_with("js")).then(|| format!("/beacon{rest}"))
    }

    /// The text of the beacon, or of its module, with these names in it, and a home.
    pub fn put_into(&self, script: &str, home: Option<&str>) -> String {
        let mut script = script.to_owned();
        if let Some(home) = home {
            script = script.replace("home:\"\"", &format!("home:\"{home}\""));
        }
        if let Some(plays) = &self.plays {
            script = script.replace("\"plays\"", &format!("\"{plays}\""));
        }
        // Whole paths: the usual ones, whose files are in another folder, stay.
        if let Some(stem) = &self.stem {
            script = script.replace("\"./beacon", &format!("\"{stem}"));
        }
        script
    }
}

/// Segments that need no encoding anywhere, in an address or in a script.
fn is_plain_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    path.strip_prefix('/').is_some_and(|rest| {
        rest.split('/')
            .all(|segment| !segment.is_empty() && segment.bytes().all(is_plain))
    })
}

/// The pages that `ALLOWED_ORIGINS` names, in the form in which browsers name them; none for all.
///
/// # Errors
/// What is wrong with it and what to write, as a sentence.
pub fn read_origins(setting: Option<&str>) -> Result<Vec<String>, String> {
    let origins = origins_of("ALLOWED_ORIGINS", setting)?;
    // All and some others are all.
    if origins.iter().any(|origin| origin == "*") {
        return Ok(Vec::new());
    }
    Ok(origins)
}

fn origins_of(name: &str, setting: Option<&str>) -> Result<Vec<String>, String> {
    let words = setting.unwrap_or_default().split([',', ' ', '\t', '\n']);
    let words = words.map(str::trim).filter(|word| !word.is_empty());
    words.map(|word| read_origin(name, word)).collect()
}

/// An origin without what browsers leave out: capitals, a usual port, a slash at the end.
fn read_origin(name: &str, word: &str) -> Result<String, String> {
    let wrong = |hint: &str| Err(format!("{name}: {word:?} {hint}"));
    let text = word.to_ascii_lowercase();
    // `null` is how browsers call a page that has no origin, such as a file.
    if matches!(text.as_str(), "*" | "null") {
        return Ok(text);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return wrong(&format!("has no scheme; write https://{text}"));
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (host, path) = rest.split_at(end);
    let usual_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let host = match host.strip_suffix(usual_port) {
        Some(bare) if !bare.is_empty() => bare,
        _ => host,
    };
    if !matches!(path, "" | "/") {
        return wrong(&format!(
            "names a page, and an origin has no path; write {scheme}://{host}"
        ));
    }
    if !host.is_ascii() {
        return wrong("is to be written as browsers send it, in letters of ASCII (xn--…)");
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
    if scheme.is_empty() || host.is_empty() || !host.bytes().all(is_plain) {
        return wrong(
            "is no origin; write one like https://example.com, each in full, or * for all",
        );
    }
    Ok(format!("{scheme}://{host}"))
}

/// What `REGIONS` says if it says nothing: the continents, Antarctica with Oceania.
const DEFAULT_REGIONS: &str = r#"[
    {"id": "NA", "name": "North America", "continents": ["NA"]},
    {"id": "SA", "name": "South America", "continents": ["SA"]},
    {"id": "EU", "name": "Europe", "continents": ["EU"]},
    {"id": "AF", "name": "Africa", "continents": ["AF"]},
    {"id": "AS", "name": "Asia", "continents": ["AS"]},
    {"id": "OC", "name": "Oceania", "continents": ["OC", "AN"]}
]"#;

/// Reads the `REGIONS` setting: a JSON array; an absent or empty one means the continents.
///
/// # Errors
/// What is wrong with it, as a sentence.
pub fn read_regions(setting: Option<&str>) -> Result<Vec<RegionSetting>, String> {
    let setting = setting.map(str::trim).filter(|text| !text.is_empty());
    let regions: Vec<RegionSetting> = serde_json::from_str(setting.unwrap_or(DEFAULT_REGIONS))
        .map_err(|error| format!("REGIONS is not a JSON array of regions: {error}"))?;
    if regions.is_empty() {
        return Err("REGIONS names no region".into());
    }
    for (index, region) in regions.iter().enumerate() {
        let wrong = |detail: &str| format!("REGIONS: {:?}: {detail}", region.id);
        check_region_id(&region.id).map_err(wrong)?;
        let hint = region.hint.as_deref();
        hint.map_or(Ok(()), check_hint)
            .map_err(|detail| wrong(&detail))?;
        let mut before = regions.iter().take(index);
        if before.any(|other| other.id == region.id) {
            return Err(wrong("there are two of this id"));
        }
        let is_code =
            |code: &String| code.len() == 2 && code.bytes().all(|byte| byte.is_ascii_alphabetic());
        if let Some(country) = region.countries.iter().find(|code| !is_code(code)) {
            let detail = format!("{country:?} is no country; write two letters, such as \"DE\"");
            return Err(wrong(&detail));
        }
        let is_continent = |code: &String| {
            continents()
                .iter()
                .any(|known| code.eq_ignore_ascii_case(known))
        };
        if let Some(continent) = region.continents.iter().find(|code| !is_continent(code)) {
            let known = continents().join(", ");
            let detail = format!("{continent:?} is no continent; there are {known}");
            return Err(wrong(&detail));
        }
    }
    Ok(regions)
}

/// Where a request without a region's name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceOfRequest<'a> {
    /// None where no region that the settings would have for it is made.
    pub region_id: Option<&'a str>,
    /// The region that it should count in, where that is not made.
    pub missing: Option<&'a str>,
}

/// The region of a request: by its country, else its continent, else the first one, passing over
/// regions that are not made. Whoever says a country only means its continent, too.
pub fn place<'a>(
    regions: &'a [RegionSetting],
    country: Option<&str>,
    continent: Option<&str>,
    is_made: impl Fn(&str) -> bool,
) -> PlaceOfRequest<'a> {
    let has = |codes: &[String], code: Option<&str>| {
        code.is_some_and(|code| codes.iter().any(|listed| listed.eq_ignore_ascii_case(code)))
    };
    let continent = continent.or_else(|| continent_of(country?));
    let by_country = regions.iter().find(|it| has(&it.countries, country));
    let by_continent = regions.iter().find(|it| has(&it.continents, continent));
    let wanted = [by_country, by_continent, regions.first()];
    let mut wanted = wanted.into_iter().flatten().map(|region| &region.id[..]);
    let first = wanted.next();
    let made = first.filter(|first| is_made(first));
    PlaceOfRequest {
        region_id: made.or_else(|| wanted.find(|region_id| is_made(region_id))),
        missing: first.filter(|_| made.is_none()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_regions_are_the_continents() {
        let regions = read_regions(None).unwrap();
        let place = |country, continent| place(&regions, country, continent, |_| true).region_id;
        assert_eq!(place(Some("FR"), Some("EU")), Some("EU"));
        assert_eq!(place(Some("AQ"), Some("AN")), Some("OC"));
        // Namibia and North America have the same code: a country is no continent.
        assert_eq!(place(Some("NA"), Some("AF")), Some("AF"));
        // A proxy may say a country only.
        assert_eq!(place(Some("NA"), None), Some("AF"));
        assert_eq!(place(Some("br"), None), Some("SA"));
    }

    #[test]
    fn a_country_goes_before_its_continent_and_the_unknown_to_the_first() {
        let setting = r#"[{"id":"EU","continents":["EU"]},{"id":"DE","countries":["de"]}]"#;
        let regions = read_regions(Some(setting)).unwrap();
        let place = |country, continent| place(&regions, country, continent, |_| true).region_id;
        assert_eq!(place(Some("DE"), Some("EU")), Some("DE"));
        assert_eq!(place(Some("FR"), Some("EU")), Some("EU"));
        assert_eq!(place(None, None), Some("EU"));
    }

    #[test]
    fn a_country_whose_region_is_not_made_counts_on_its_continent_and_it_is_said() {
        let setting = r#"[{"id":"NA","continents":["NA"]},{"id":"EU","continents":["EU"]},
            {"id":"DE","countries":["DE"]},{"id":"BR","countries":["BR"]}]"#;
        let regions = read_regions(Some(setting)).unwrap();
        let place = |country, made: &[&str]| {
            let place = place(&regions, Some(country), None, |id| made.contains(&id));
            (place.region_id, place.missing)
        };
        assert_eq!(place("DE", &["NA", "EU", "DE"]), (Some("DE"), None));
        assert_eq!(place("DE", &["NA", "EU"]), (Some("EU"), Some("DE")));
        assert_eq!(place("DE", &["NA"]), (Some("NA"), Some("DE")));
        assert_eq!(place("FR", &["NA"]), (Some("NA"), Some("EU")));
        // No region is for its continent: the first one.
        assert_eq!(place("BR", &["NA", "EU"]), (Some("NA"), Some("BR")));
        assert_eq!(place("ZA", &["NA"]), (Some("NA"), None));
        assert_eq!(place("ZA", &["EU"]), (None, Some("NA")));
    }

    #[test]
    fn a_day_has_any_number_of_requests_or_a_thousand_at_least() {
        assert_eq!(read_daily_requests(None), Ok(None));
        assert_eq!(read_daily_requests(Some(" 100000 ")), Ok(Some(100_000)));
        for wrong in ["0", "999", "-1", "many", "1e5", "100,000"] {
            let said = read_daily_requests(Some(wrong)).unwrap_err();
            assert!(said.contains("DAILY_REQUESTS"), "{wrong}");
        }
    }

    #[test]
    fn the_beacon_has_its_usual_names_and_those_of_the_settings() {
        let names = BeaconNames::read(Some("/media/s.js"), Some("/media/p")).unwrap();
        for (own, usual) in [
            ("/media/p", "/plays"),
            ("/media/s.js", "/beacon.js"),
            ("/media/s.mjs", "/beacon.mjs"),
            ("/media/s-elements.0.2.0.js", "/beacon-elements.0.2.0.js"),
        ] {
            assert_eq!(names.usual_path(own).as_deref(), Some(usual), "{own}");
        }
        for other in [
            "/",
            "/media/s",
            "/media/s.js.map",
            "/media/s-elements.0.2.0.css",
            "/media/s.0.2.0.js",
            "/media/p/",
            "/p",
            "/plays",
        ] {
            assert_eq!(names.usual_path(other), None, "{other}");
        }
        assert_eq!(
            names.put_into(
                r#"import"./beacon.js";"./beacon-elements.0.2.0.js";new URL("plays",x),{home:""}"#,
                Some("NA/4")
            ),
            r#"import"/media/s.js";"/media/s-elements.0.2.0.js";new URL("/media/p",x),{home:"NA/4"}"#
        );
        let none = BeaconNames::read(None, None).unwrap();
        assert_eq!(none.usual_path("/"), None);
        assert_eq!(
            none.put_into("\"plays\",{home:\"\"}", None),
            "\"plays\",{home:\"\"}"
        );
    }

    #[test]
    fn names_of_the_beacon_are_plain_paths() {
        for bad in [
            "s.js", "/.js", "/a//s.js", "/s", "/a b.js", "/../s.js", "/\".js", "/é.js",
        ] {
            let error = BeaconNames::read(Some(bad), None).unwrap_err();
            assert!(error.starts_with("BEACON_PATH"), "{bad}");
        }
        for bad in ["p", "/", "/p/", "/p?x", "/p.js", "/\"+alert(1)+\""] {
            assert!(BeaconNames::read(None, Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_checked_whichever_it_is() {
        let check = |name: &'static str, value: &str| {
            check(|asked| (asked == name).then(|| value.to_owned()))
        };
        for (name, good, bad) in [
            ("ALLOWED_ORIGINS", "https://a.example/", "a.example"),
            ("REGIONS", r#"[{"id":"EU"}]"#, "EU"),
            ("BEACON_PATH", "/s.js", "s.js"),
            ("PLAYS_PATH", "/p", "p"),
            ("LIMIT_PER_MINUTE", "0", "none"),
            ("VOTES_PER_MINUTE", "60", "-1"),
            ("INGEST_TOKEN", "new, old", "new,,old"),
            ("ADMIN_TOKEN", "one", "one,"),
            ("READ_TOKEN", "1,2,3,4", "1,2,3,4,5"),
            ("METRICS_TOKEN", "new,old", "new,"),
            ("RETENTION_DAYS", "30", "801"),
            ("RETENTION_DAYS", "1", "0"),
            ("TIME_ZONE", "Europe/Berlin", "+01:00"),
            ("RETENTION_DAYS", "800", "a year"),
            ("LOG_REQUESTS", "all", "yes"),
            ("PAGE_TIMEFRAME", "7d", "a week"),
            ("PAGE_REGION", "EU", "DE"),
            ("PAGE_REGIONS", "false", "no"),
            ("NORMALISE_IDS", "TRUE", "yes"),
            ("REQUIRE_KNOWN_POSTS", "1", "on"),
            ("REQUIRE_KNOWN_POSTS", "auto", "maybe"),
        ] {
            assert_eq!(check(name, good), Ok(()), "{name}");
            let error = check(name, bad).unwrap_err();
            assert!(error.starts_with(name), "{name}: {error}");
        }
        assert_eq!(check("ANOTHER", "x"), Ok(()));
    }

    #[test]
    fn the_first_view_is_of_a_region_that_the_settings_have() {
        let check = |region: &str, regions: &str| {
            check(|asked| match asked {
                "PAGE_REGION" => Some(region.to_owned()),
                "REGIONS" => Some(regions.to_owned()),
                _ => None,
            })
        };
        let regions = r#"[{"id": "DE"}, {"id": "FR"}]"#;
        assert_eq!(check("FR", regions), Ok(()));
        assert_eq!(check("global", regions), Ok(()));
        let says = "PAGE_REGION: \"EU\" is no region of REGIONS; write global, or one of DE, FR";
        assert_eq!(check("EU", regions), Err(says.into()));
    }

    #[test]
    fn origins_are_brought_into_the_form_that_browsers_send() {
        let read = |setting| read_origins(Some(setting)).map(|origins| origins.join(" "));
        for (setting, origins) in [
            ("https://example.com/", "https://example.com"),
            ("https://Example.COM:443/", "https://example.com"),
            ("HTTP://example.com:80", "http://example.com"),
            (
                "http://localhost:3000, https://a.example",
                "http://localhost:3000 https://a.example",
            ),
            ("http://[::1]:8080/", "http://[::1]:8080"),
            ("http://example.com:8080", "http://example.com:8080"),
            ("null", "null"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("", ""),
            (" , ", ""),
            ("*", ""),
            ("https://a.example *", ""),
        ] {
            assert_eq!(read(setting).as_deref(), Ok(origins), "{setting}");
        }
        assert_eq!(read_origins(None), Ok(Vec::new()));
    }

    #[test]
    fn what_is_no_origin_is_told_what_to_write() {
        for (setting, advice) in [
            ("example.com", "write https://example.com"),
            ("https://example.com/shop/", "write https://example.com"),
            ("https://example.com?x", "write https://example.com"),
            ("https://*.example.com", "each in full"),
            ("https://", "like https://example.com"),
            ("https://a.example,http://b c", "has no scheme"),
            ("https://user@example.com", "like https://example.com"),
            ("https://münchen.example", "xn--"),
        ] {
            let error = read_origins(Some(setting)).unwrap_err();
            assert!(error.starts_with("ALLOWED_ORIGINS: "), "{error}");
            assert!(error.contains(advice), "{setting}: {error}");
        }
    }

    #[test]
    fn a_wrong_setting_says_what_is_wrong() {
        for bad in [
            "[]",
            "{}",
            "x",
            r#"[{"id":"global"}]"#,
            r#"[{"id":""}]"#,
            r#"[{"id":"\u200b"}]"#,
            r#"[{"id":"EU","hint":"europe"}]"#,
            r#"[{"id":"EU","hint":""}]"#,
            r#"[{}]"#,
            r#"[{"id":"EU"},{"id":"EU"}]"#,
            r#"[{"id":"DE","countries":["Germany"]}]"#,
            r#"[{"id":"EU","continents":["Europe"]}]"#,
            r#"[{"id":"EU","continents":["DE"]}]"#,
        ] {
            assert!(
                read_regions(Some(bad)).unwrap_err().contains("REGIONS"),
                "{bad}"
            );
        }
    }
}
