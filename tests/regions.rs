//! The regions that the settings name, compared with those that there are, at each start.

use hitparade::registry::Registry;
use hitparade::settings::RegionSetting;
use hitparade::storage::{MemoryStorage, Storage, Table, Write};
use hitparade::topology::MAX_REGIONS;
use hitparade::wire::PutRegion;

fn named(id: &str, name: &str) -> RegionSetting {
    RegionSetting {
        id: id.into(),
        name: Some(name.into()),
        ..RegionSetting::default()
    }
}

fn start(storage: &MemoryStorage, first: &[RegionSetting]) -> Registry {
    Registry::load(storage, first, [7; 16]).unwrap()
}

fn ids(registry: &Registry) -> Vec<&str> {
    let regions = registry.table().regions.iter();
    regions.map(|region| region.region_id.as_str()).collect()
}

#[test]
fn one_that_the_settings_name_later_is_made_behind_the_others_and_stays() {
    let storage = MemoryStorage::new();
    let first = [named("NA", "North America"), named("EU", "Europe")];
    assert!(start(&storage, &first).region_differences().is_empty());
    let mut registry = start(&storage, &first);
    let moon = PutRegion {
        region_id: "MOON".into(),
        region_name: None,
        shards: Some(3),
        hint: None,
    };
    registry.put_region(&storage, &moon, 1).unwrap();
    assert!(registry.region_differences().is_empty());

    let more = [named("DE", "Germany"), first[0].clone(), first[1].clone()];
    let registry = start(&storage, &more);
    assert_eq!(ids(&registry), ["NA", "EU", "MOON", "DE"]);
    let said = "REGIONS names DE, which was not made; now it is";
    assert_eq!(registry.region_differences(), [said]);
    // From then on there is nothing to say, and a region that the settings no longer name stays.
    assert!(start(&storage, &more).region_differences().is_empty());
    let registry = start(&storage, &first);
    assert_eq!(ids(&registry), ["NA", "EU", "MOON", "DE"]);
    assert!(registry.region_differences().is_empty());
}

#[test]
fn a_name_or_a_hint_that_differs_is_said_and_the_table_has_the_last_word() {
    let storage = MemoryStorage::new();
    start(&storage, &[named("NA", "North America"), named("EU", "EU")]);
    let hinted = RegionSetting {
        hint: Some("enam".into()),
        ..named("NA", "The North")
    };
    let registry = start(&storage, &[hinted, named("EU", "EU")]);
    assert_eq!(
        registry.region_differences(),
        [
            "REGIONS gives NA the name \"The North\", and is \"North America\"; the hint Some(\"enam\"), \
          and has None; PUT /regions/NA changes it"
        ]
    );
    assert_eq!(registry.table().regions[0].region_name, "North America");
}

#[test]
fn a_region_whose_row_cannot_be_read_is_not_made_a_second_time() {
    let storage = MemoryStorage::new();
    let first = [named("NA", "NA"), named("EU", "EU")];
    start(&storage, &first);
    let keys = storage.keys(Table::Regions, &[]).unwrap();
    let damage = Write::put(Table::Regions, keys[1].clone(), b"damaged".to_vec());
    storage.write(&[damage]).unwrap();
    let registry = start(&storage, &first);
    assert_eq!(ids(&registry), ["NA"]);
    assert_eq!(storage.keys(Table::Regions, &[]).unwrap(), keys);
}

#[test]
fn more_regions_than_there_may_be_are_said_and_not_made() {
    let storage = MemoryStorage::new();
    let all: Vec<RegionSetting> = (0..=MAX_REGIONS)
        .map(|number| named(&format!("R{number}"), "R"))
        .collect();
    let registry = start(&storage, &all);
    assert_eq!(registry.table().regions.len(), MAX_REGIONS);
    assert_eq!(registry.region_differences().len(), 1);
    assert!(registry.region_differences()[0].starts_with("REGIONS names R100, which is not made"));
}
