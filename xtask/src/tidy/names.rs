//! Names of modules and types: the words that the house does not use, because each hides what a thing is.

use super::Fault;
use super::source::Source;

/// Words that are no name here (DESIGN's table has the word to use), singular and lower case.
const BANNED: [&str; 10] =
    ["master", "slave", "upstream", "downstream", "manager", "handler", "helper", "util", "common", "misc"];

/// Where a foreign word is quoted because the foreign thing is meant: a path's beginning and the word.
const QUOTED: [(&str, &str); 6] = [
    // keepalived's own keywords, read by its importer and spoken by its scripts.
    ("crates/config/src/import/", "master"),
    ("crates/config/src/keepalived/", "master"),
    ("crates/config/tests/", "master"),
    // nginx's own directive.
    ("crates/config/src/import/", "upstream"),
    // The lab runs the peers with their own words.
    ("crates/lab/", "master"),
    ("crates/mainstay/tests/", "master"),
];

/// What a name follows.
const KEYWORDS: [&str; 6] = ["mod", "struct", "enum", "trait", "type", "union"];

/// Names that the file declares, and its own path.
pub(super) fn check(source: &Source) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut declared = false;
    for (at, word) in source.words() {
        if declared {
            faults.extend(banned(source, word).map(|w| fault(source, source.line(at), word, w)));
        }
        declared = KEYWORDS.contains(&word);
    }
    for part in source.path.trim_end_matches(".rs").split('/') {
        faults.extend(banned(source, part).map(|w| fault(source, 0, part, w)));
    }
    faults
}

fn fault(source: &Source, line: usize, name: &str, word: &str) -> Fault {
    let says = format!("`{name}`: {word} is no word of the house: name what the thing is or does");
    Fault::new(&source.path, line, says)
}

fn banned(source: &Source, name: &str) -> Option<&'static str> {
    let parts = parts(name);
    BANNED.into_iter().find(|word| {
        let quoted = QUOTED.iter().any(|(path, w)| source.path.starts_with(path) && w == word);
        !quoted && parts.iter().any(|p| p.strip_suffix('s').unwrap_or(p) == *word || p == word)
    })
}

/// The words of a snake_case or CamelCase name, lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c == '-' || c.is_uppercase() {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut().filter(|_| c.is_alphanumeric()) {
            last.extend(c.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str, text: &str) -> Vec<usize> {
        check(&Source::new(path, text)).into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn a_type_or_module_with_a_hollow_name_is_a_fault() {
        assert_eq!(names("crates/x/src/a.rs", "mod utils;\npub struct PacketHandler;\nenum A {}\n"), [1, 2]);
        assert_eq!(names("crates/x/src/helpers.rs", ""), [0]);
        assert_eq!(names("crates/x/src/common/mod.rs", ""), [0]);
    }

    #[test]
    fn a_word_that_only_contains_one_is_none() {
        assert_eq!(names("crates/x/src/a.rs", "struct Mastery;\nstruct Utility;\nfn handler() {}\n"), [0; 0]);
    }

    #[test]
    fn an_importer_may_quote_what_it_reads() {
        assert_eq!(
            names("crates/config/src/import/keepalived.rs", "enum A {}\nstruct NotifyMaster;\n"),
            [0; 0]
        );
        assert_eq!(names("crates/core/src/a.rs", "struct NotifyMaster;\n"), [1]);
    }
}
