//! The house is as CONTRIBUTING.md shows it, and no room uses one that stands below it there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// As in the map of CONTRIBUTING.md. Each may use those of the lines before, and none of its own.
const ORDER: [&[&str]; 34] = [
    &["summary"],
    &["mutants"],
    &["panics"],
    &["log"],
    &["text"],
    &["limiter"],
    &["codec"],
    &["window"],
    &["visitor"],
    &["topology"],
    &["board"],
    &["home"],
    &["play"],
    &["filter"],
    &["leaderboard"],
    &["capacity"],
    &["budget"],
    &["pages"],
    &["settings"],
    &["wire"],
    &["routing"],
    &["http"],
    &["clock", "environment"],
    &["zones"],
    &["instance"],
    &["objects"],
    &["storage"],
    &["cache"],
    &["host"],
    &["loaded"],
    &["watchers"],
    &["catalog"],
    &["worker_host"],
    &["region", "global", "registry", "edge"],
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms of `src/`, folders and files, and the Rust files of each.
fn rooms() -> BTreeMap<String, Vec<PathBuf>> {
    let mut rooms = BTreeMap::new();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut files = Vec::new();
        rust_files(&path, &mut files);
        if !files.is_empty() && name != "lib" {
            rooms.insert(name, files);
        }
    }
    rooms
}

fn rust_files(path: &Path, files: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            rust_files(&entry.unwrap().path(), files);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        files.push(path.to_owned());
    }
}

/// Rooms that a source names: `crate::room`, also in braces.
fn named_by(source: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    let code = source.lines().map(|line| line.split("//").next().unwrap());
    let code: String = code.collect::<Vec<_>>().join(" ");
    for rest in code.split("crate::").skip(1) {
        let parts: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => top_level_parts(group),
            None => vec![rest],
        };
        for part in parts {
            let is_name = |letter: &char| letter.is_ascii_lowercase() || *letter == '_';
            let name: String = part.trim_start().chars().take_while(is_name).collect();
            named.insert(name);
        }
    }
    named
}

/// What a group in braces lists, without what is in braces of its own.
fn top_level_parts(group: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => {
                parts.push(&group[from..at]);
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts
}

#[test]
fn every_room_uses_only_those_before_it() {
    let rooms = rooms();
    let level_of = |room: &str| ORDER.iter().position(|level| level.contains(&room));
    let listed: BTreeSet<&str> = ORDER
        .iter()
        .flat_map(|level| level.iter().copied())
        .collect();
    assert_eq!(
        rooms.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        listed
    );
    let mut wrong = Vec::new();
    for (room, files) in &rooms {
        // The summary is a crate: it could not name anything here.
        for file in files.iter().filter(|_| room != "summary") {
            for named in named_by(&fs::read_to_string(file).unwrap()) {
                let is_before = level_of(&named) < level_of(room);
                if rooms.contains_key(&named) && named != *room && !is_before {
                    wrong.push(format!("{} uses {named}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first sentence of a room's documentation.
fn first_sentence(room: &str) -> String {
    let src = root().join("src");
    let places = [
        src.join(room).join("mod.rs"),
        src.join(room).join("src/lib.rs"),
        src.join(format!("{room}.rs")),
    ];
    let place = places.iter().find(|path| path.exists()).unwrap();
    let text = fs::read_to_string(place).unwrap();
    let lines = text.lines().map_while(|line| line.strip_prefix("//!"));
    let text = lines.collect::<Vec<_>>().join("");
    let text = text.trim();
    let first = text.split(". ").next().unwrap();
    first.trim_end_matches('.').to_owned()
}

#[test]
fn the_map_of_the_house_says_what_its_rooms_say_in_their_order() {
    let contributing = fs::read_to_string(root().join("CONTRIBUTING.md")).unwrap();
    let rows = contributing.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `src/")?.split('|');
        let room = cells.next()?.trim().trim_end_matches('`');
        if room.contains('*') {
            return None;
        }
        let room = room.trim_end_matches('/').trim_end_matches(".rs");
        Some((room.to_owned(), cells.next()?.trim().to_owned()))
    });
    let shown: Vec<(String, String)> = rows.collect();
    let order = ORDER.iter().flat_map(|level| level.iter());
    let said: Vec<(String, String)> = order
        .map(|room| ((*room).to_owned(), first_sentence(room)))
        .collect();
    assert_eq!(shown, said);
}

/// What stands in a text between one word and the next other one, each time.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from)
        .skip(1)
        .map(|rest| rest.split(to).next().unwrap())
        .collect()
}

/// The word that a text begins with.
fn word(text: &str) -> &str {
    let is_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    text.split(|letter| !is_name(letter)).next().unwrap()
}

/// Names of a block of imports, as JavaScript knows them.
fn imported(block: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut attributes = "";
    for line in block.lines().map(str::trim_start) {
        if line.starts_with("#[") {
            attributes = line;
        }
        let is_function = line.starts_with("fn ") || line.contains(" fn ");
        if is_function && !line.starts_with("//") {
            let given = between(attributes, "js_name = ", "\0");
            let own = between(line, "fn ", "\0");
            names.insert(word(given.first().unwrap_or(&own[0])));
            attributes = "";
        }
    }
    names
}

#[test]
fn the_contract_with_javascript_names_what_rust_takes_and_gives() {
    let contract = fs::read_to_string(root().join("src/js/contract.d.ts")).unwrap();
    let promised: BTreeMap<&str, BTreeSet<&str>> =
        between(&contract, "/** What Rust imports of ", "\n}")
            .into_iter()
            .map(|text| {
                let functions = text.lines().filter_map(|line| line.strip_prefix("  "));
                let functions = functions.map(word).filter(|name| !name.is_empty());
                (text.split(' ').next().unwrap(), functions.collect())
            })
            .collect();
    let given: BTreeSet<&str> = between(&contract, "export function ", "(")
        .into_iter()
        .collect();

    let mut files = Vec::new();
    rust_files(&root().join("src"), &mut files);
    let sources: Vec<String> = files
        .iter()
        .map(|file| fs::read_to_string(file).unwrap())
        .collect();
    let mut taken: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in &sources {
        for text in between(source, "#[wasm_bindgen(module = \"/", "\n}") {
            let (path, block) = text.split_once('"').unwrap();
            let names: &mut BTreeSet<&str> = taken.entry(path).or_default();
            names.extend(imported(block));
        }
        for text in between(source, "\n#[wasm_bindgen(js_name = ", ")]") {
            assert!(
                given.contains(text),
                "{text} is not in src/js/contract.d.ts"
            );
        }
    }
    assert_eq!(taken, promised, "Rust, and src/js/contract.d.ts");
}

/// The name that a line at a file's margin gives to a type, a trait or a limit.
fn named_at(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) => rest.trim_start_matches(|letter| letter != ' ').trim_start(),
        None => line,
    };
    let (kind, rest) = line.split_once(' ')?;
    let is_named = matches!(
        kind,
        "struct" | "enum" | "trait" | "type" | "const" | "static"
    );
    let name = word(rest);
    (is_named && !matches!(name, "_" | "fn")).then_some(name)
}

#[test]
fn a_type_or_a_limit_has_its_name_alone_in_the_whole_house() {
    // Each object has a driver, which is a handle of what is inner; the global object's cache is everybody's.
    const OF_SEVERAL: [&str; 3] = ["Cache", "Driver", "Inner"];
    let mut places: BTreeMap<String, BTreeSet<PathBuf>> = BTreeMap::new();
    // What is private to a crate may be called as in any other.
    for (_, files) in rooms().into_iter().filter(|(room, _)| room != "summary") {
        for file in files.into_iter().filter(|file| !file.ends_with("tests.rs")) {
            let source = fs::read_to_string(&file).unwrap();
            let source = source.split("\n#[cfg(test)]\nmod tests").next().unwrap();
            for name in source.lines().filter_map(named_at) {
                places
                    .entry(name.to_owned())
                    .or_default()
                    .insert(file.clone());
            }
        }
    }
    assert!(places.len() > 700, "{}", places.len());
    places.retain(|name, files| files.len() > 1 && !OF_SEVERAL.contains(&&name[..]));
    assert!(places.is_empty(), "{places:#?}");
}

/// What a source gives a name in capitals, by these: the number, where it is written as one, as a product or as a power
/// of two.
fn limits_of(source: &str) -> Vec<(&str, Option<u64>)> {
    let number = |text: &str| text.trim().replace('_', "").parse::<u64>().ok();
    let product = |text: &str| {
        let mut factors = text.split('*').map(number);
        factors.try_fold(1, |product, factor| Some(product * factor?))
    };
    let said = between(source, "const ", ";").into_iter();
    let limits = said.filter_map(|text| {
        let (name, value) = text.split_once(" = ")?;
        let value = match value.split_once("<<") {
            Some((number, bits)) => product(number).zip(product(bits)).map(|(n, by)| n << by),
            None => product(value),
        };
        Some((word(name), value))
    });
    let is_limit = |name: &str| !name.contains(|letter: char| letter.is_lowercase());
    limits.filter(|(name, _)| is_limit(name)).collect()
}

#[test]
fn a_limit_of_the_javascript_beside_wasm_has_no_other_limits_name() {
    let mut of_rust = BTreeMap::new();
    for file in rooms().into_values().flatten() {
        let source = fs::read_to_string(file).unwrap();
        let source = source.split("\n#[cfg(test)]\nmod tests").next().unwrap();
        let limits = limits_of(source).into_iter();
        of_rust.extend(limits.map(|(name, value)| (name.to_owned(), value)));
    }
    let (mut same, mut wrong) = (0, Vec::new());
    for entry in fs::read_dir(root().join("src/js")).unwrap() {
        let path = entry.unwrap().path();
        for (name, value) in limits_of(&fs::read_to_string(&path).unwrap()) {
            match of_rust.get(name) {
                Some(known) if value.is_some() && *known == value => same += 1,
                Some(known) if value.is_some() => {
                    wrong.push(format!("{path:?}: {name} {value:?}, {known:?} in Rust"));
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(
        same >= 3 && of_rust.len() > 300,
        "{same}, {}",
        of_rust.len()
    );
}

/// What every page of the build has in its head, in this order. What only some have stands between.
const HEAD: [&str; 7] = [
    "<meta charset=\"utf-8\">",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">",
    "<meta name=\"color-scheme\" content=\"light dark\">",
    "<title>",
    "<link rel=\"icon\" href=\"/icon.svg\" type=\"image/svg+xml\">",
    "<link rel=\"stylesheet\" href=\"/page/style.css\">",
    "<link rel=\"stylesheet\" href=\"/page/own.css\">",
];
const THEME: [&str; 2] = [
    "<meta name=\"theme-color\" content=\"#faf8f4\" media=\"(prefers-color-scheme: light)\">",
    "<meta name=\"theme-color\" content=\"#131211\" media=\"(prefers-color-scheme: dark)\">",
];

#[test]
fn the_pages_have_one_head_and_what_some_have_besides_is_the_same_in_each() {
    let mut pages = 0;
    for entry in fs::read_dir(root().join("www")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        pages += 1;
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("<!doctype html>\n<html lang=\"en\">\n<head>\n"),
            "{path:?}"
        );
        // Pages that lie at one address only name files beside them.
        let head = between(&text, "<head>\n", "</head>")[0].replace("=\"./", "=\"/");
        let is_of = |line: &&str, lines: &[&str]| lines.iter().any(|known| line.starts_with(known));
        let lines: Vec<&str> = head.lines().collect();
        let common = lines.iter().filter(|line| is_of(line, &HEAD));
        assert_eq!(common.count(), HEAD.len(), "{path:?}");
        let places = HEAD.map(|known| lines.iter().position(|line| line.starts_with(known)));
        assert!(places.is_sorted() && places[0] == Some(0), "{path:?}");
        let themes = lines.iter().filter(|line| line.contains("theme-color"));
        let themes: Vec<&str> = themes.copied().collect();
        assert!(themes.is_empty() || themes == THEME, "{path:?}");
    }
    assert_eq!(pages, 6);
}
