//! The settings of an installation: `vars` and secrets of `wrangler.toml`.

use serde::Deserialize;

/// A region of the `REGIONS` setting.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    for region in &regions {
        crate::topology::check_region_id(&region.id)
            .map_err(|detail| format!("REGIONS: {:?}: {detail}", region.id))?;
    }
    Ok(regions)
}

/// The region of a request: by its country, else its continent, else the first one.
pub fn region_of<'a>(
    regions: &'a [RegionSetting],
    country: Option<&str>,
    continent: Option<&str>,
) -> Option<&'a str> {
    let has = |codes: &[String], code: Option<&str>| {
        code.is_some_and(|code| codes.iter().any(|listed| listed.eq_ignore_ascii_case(code)))
    };
    let by_country = regions
        .iter()
        .find(|region| has(&region.countries, country));
    let by_continent = || {
        regions
            .iter()
            .find(|region| has(&region.continents, continent))
    };
    let region = by_country.or_else(by_continent).or(regions.first())?;
    Some(&region.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_regions_are_the_continents() {
        let regions = read_regions(None).unwrap();
        assert_eq!(region_of(&regions, Some("FR"), Some("EU")), Some("EU"));
        assert_eq!(region_of(&regions, Some("AQ"), Some("AN")), Some("OC"));
        // Namibia and North America have the same code: a country is no continent.
        assert_eq!(region_of(&regions, Some("NA"), Some("AF")), Some("AF"));
    }

    #[test]
    fn a_country_goes_before_its_continent_and_the_unknown_to_the_first() {
        let setting = r#"[{"id":"EU","continents":["EU"]},{"id":"DE","countries":["de"]}]"#;
        let regions = read_regions(Some(setting)).unwrap();
        assert_eq!(region_of(&regions, Some("DE"), Some("EU")), Some("DE"));
        assert_eq!(region_of(&regions, Some("FR"), Some("EU")), Some("EU"));
        assert_eq!(region_of(&regions, None, None), Some("EU"));
    }

    #[test]
    fn a_wrong_setting_says_what_is_wrong() {
        for bad in [
            "[]",
            "{}",
            "x",
            r#"[{"id":"global"}]"#,
            r#"[{"id":""}]"#,
            r#"[{}]"#,
        ] {
            assert!(
                read_regions(Some(bad)).unwrap_err().contains("REGIONS"),
                "{bad}"
            );
        }
    }
}
