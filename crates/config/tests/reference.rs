//! The reference page and the schema have the same tables with the same keys; the examples are accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mainstay_config::{Checks, load_with, parse_str, schema};
use mainstay_core::election::Guard;
use serde_json::Value;

type Keys = BTreeSet<String>;

fn house() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Tables of the reference page: the path in the heading's backticks, and the first column below it.
fn documented() -> BTreeMap<String, Keys> {
    let read = |name: &str| std::fs::read_to_string(house().join("docs/reference").join(name));
    let page = ["config.md", "edge.md"].map(|name| read(name).expect("the page is there")).concat();
    let mut tables: BTreeMap<String, Keys> = BTreeMap::new();
    let mut path = None;
    for line in page.lines() {
        if line.starts_with('#') {
            path = line.split('`').nth(1).map(|path| path.trim_matches(['[', ']']).to_owned());
        } else if let (Some(path), Some(key)) =
            (&path, line.strip_prefix("| `").and_then(|row| row.split('`').next()))
        {
            let fresh = tables.entry(path.clone()).or_default().insert(key.to_owned());
            assert!(fresh, "`{key}` stands twice under {path}");
        }
    }
    tables
}

/// What a schema stands for: references are followed, lists stand for their entries.
fn followed<'a>(root: &'a Value, mut at: &'a Value) -> &'a Value {
    loop {
        let any = at.get("anyOf").and_then(Value::as_array);
        let reference = at.get("$ref").or_else(|| any?.iter().find_map(|choice| choice.get("$ref")));
        at = match (reference.and_then(Value::as_str), at.get("items")) {
            (Some(reference), _) => root.pointer(&reference[1..]).expect("references stay within the schema"),
            (None, Some(items)) => items,
            (None, None) => return at,
        };
    }
}

/// Keys of a table; of alternatives, those of all.
fn keys(table: &Value) -> Keys {
    let alternatives = table.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let tables = std::iter::once(table).chain(alternatives);
    tables
        .filter_map(|table| table.get("properties")?.as_object())
        .flat_map(|keys| keys.keys().cloned())
        .collect()
}

/// Every table of the schema by the paths that lead to it.
fn walk(root: &Value, at: &Value, path: &str, tables: &mut Vec<(Vec<String>, Keys)>) {
    let at = followed(root, at);
    let keys = keys(at);
    if keys.is_empty() {
        return;
    }
    if !path.is_empty() {
        if let Some((paths, _)) = tables.iter_mut().find(|(_, known)| *known == keys) {
            // Steps have steps: what stands below is known from the first time.
            paths.push(path.to_owned());
            return;
        }
        tables.push((vec![path.to_owned()], keys));
    }
    for (key, value) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(root, value, format!("{path}.{key}").trim_start_matches('.'), tables);
    }
}

#[test]
fn the_reference_page_and_the_schema_have_the_same_tables_and_keys() {
    let root: Value = serde_json::from_str(&schema()).expect("the schema is JSON");
    let mut tables = Vec::new();
    walk(&root, &root, "", &mut tables);
    let documented = documented();
    assert!(tables.len() >= 10 && documented.len() == tables.len(), "{tables:?}\n{:?}", documented.keys());
    for (paths, keys) in tables {
        let page = paths.iter().find_map(|path| documented.get(path));
        assert_eq!(page, Some(&keys), "{paths:?}");
    }
}

#[test]
fn the_pages_say_of_each_guard_what_status_says() {
    let concepts = std::fs::read_to_string(house().join("docs/concepts.md")).expect("the page is there");
    let page = std::fs::read_to_string(house().join("docs/reference/config.md")).expect("the page is there");
    for guard in Guard::ALL {
        let line = format!("- `{}`: {}.", guard.word(), guard.promise());
        assert!(page.contains(&line), "{line}");
        assert!(
            concepts.contains(&format!("| `{}` | {}", guard.word(), guard.promise())),
            "{}",
            guard.word()
        );
        assert!(guard.promise().starts_with(guard.strength()));
    }
}

#[test]
fn every_example_is_accepted_without_a_warning() {
    let mut seen = 0;
    for folder in std::fs::read_dir(house().join("examples")).expect("there are examples") {
        let Ok(files) = std::fs::read_dir(folder.unwrap().path()) else { continue };
        for file in files {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "toml") {
                let loaded =
                    load_with(&file, &|_| None, Checks::NONE).unwrap_or_else(|report| panic!("{report}"));
                // gost's seed asks nobody, its plugins neither, and it is imported as it is.
                let open = ["[gost]: nobody is asked", "[gost]: the plugins have no `token`"];
                let told =
                    loaded.warnings.iter().filter(|w| !open.iter().any(|known| w.message.starts_with(known)));
                assert_eq!(told.collect::<Vec<_>>(), Vec::<&_>::new());
                let text = std::fs::read_to_string(&file).unwrap();
                assert_eq!(
                    mainstay_config::fmt("a file", &text).unwrap(),
                    text,
                    "{} is not formatted",
                    file.display()
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen} examples");
}

#[test]
fn every_configuration_in_the_pages_is_accepted() {
    let mut seen = 0;
    for folder in ["docs", "docs/how-to", "docs/operating", "docs/reference", "."] {
        for file in std::fs::read_dir(house().join(folder)).expect("a folder of pages") {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|extension| extension != "md") {
                continue;
            }
            let page = std::fs::read_to_string(&file).unwrap();
            for text in page.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
                let node = if text.contains("[node]") { "" } else { "[node]\nid = \"web-1\"\n" };
                let name = file.display().to_string();
                let read = parse_str(&name, &format!("{node}{text}"), &|_| None, Checks::NONE);
                read.unwrap_or_else(|report| panic!("{report}"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 4, "{seen} configurations");
}
