//! A Rust file seen twice: as written, and as code alone, with comments and the insides of literals blanked.
//!
//! Both have the same lines and columns, so that a rule can look at one and report the other. This is no parser: it
//! knows literals, comments and braces, which is all that the rules ask for, and works inside macros too.

use std::ops::Range;

/// A file and what the rules ask of it.
#[derive(Debug)]
pub(super) struct Source {
    /// Its path below the root, with slashes.
    pub(super) path: String,
    /// As written.
    pub(super) text: String,
    /// Comments and literals blanked; the same length in bytes.
    pub(super) code: String,
    /// Byte ranges of test modules, or the whole file.
    tests: Vec<Range<usize>>,
}

impl Source {
    /// Reads a file's text.
    pub(super) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let whole = path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs");
        let tests = if whole { std::iter::once(0..code.len()).collect() } else { test_items(&code) };
        Self { path: path.to_owned(), text: text.to_owned(), code, tests }
    }

    /// The same file when another one declares it as a test module.
    pub(super) fn into_test(self) -> Self {
        Self { tests: std::iter::once(0..self.code.len()).collect(), ..self }
    }

    /// Paths that `#[cfg(test)] mod NAME;` in this file may mean.
    pub(super) fn test_modules(&self) -> Vec<String> {
        let stem = self.path.trim_end_matches(".rs");
        let folder = match stem.rsplit_once('/') {
            Some((folder, "mod" | "lib" | "main")) => folder,
            _ => stem,
        };
        let declared = self.code.split("#[cfg(test)]").skip(1).filter_map(|after| {
            let item = after.trim_start();
            let item = item.strip_prefix("pub(crate) ").unwrap_or(item);
            item.strip_prefix("mod ")?.split_once(';').map(|(name, _)| name)
        });
        // A module with a body gives no name here: what stands before its first semicolon is no word.
        declared
            .filter(|name| name.chars().all(is_word))
            .flat_map(|name| [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")])
            .collect()
    }

    /// The crate's folder name: `core` of crates/core/src/lib.rs, `xtask`, `fuzz`.
    pub(super) fn krate(&self) -> &str {
        let mut parts = self.path.split('/');
        match parts.next() {
            Some("crates") => parts.next().unwrap_or_default(),
            Some(first) => first,
            None => "",
        }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.text.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Whether a byte belongs to a test.
    pub(super) fn in_test(&self, at: usize) -> bool {
        self.tests.iter().any(|t| t.contains(&at))
    }

    /// Lines before the first test.
    pub(super) fn lines_before_tests(&self) -> usize {
        let end = self.tests.first().map_or(self.text.len(), |t| t.start);
        self.text[..end].lines().count()
    }

    /// Identifiers and keywords of the code, with their first byte.
    pub(super) fn words(&self) -> impl Iterator<Item = (usize, &str)> {
        words(&self.code)
    }

    /// What follows a byte in the code, blanks skipped.
    pub(super) fn after(&self, at: usize) -> &str {
        self.code[at..].trim_start()
    }
}

/// Identifiers and keywords, with their first byte.
fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |n| start + n);
        at = end;
        Some((start, &code[start..end]))
    })
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

/// The byte after the brace that closes the one at `open`.
pub(super) fn close_of(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (n, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return n + 1;
                }
            }
            _ => {}
        }
    }
    code.len()
}

/// Items under `#[cfg(test)]` and `#[test]`, from the attribute to the closing brace.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, _) in code.match_indices("#[") {
        let Some(end) = code[start..].find(']').map(|n| start + n) else { continue };
        let attribute = &code[start + 2..end];
        let is_test = attribute == "test" || (attribute.starts_with("cfg(") && has_word(attribute, "test"));
        if !is_test || attribute.contains("not(") || found.iter().any(|f| f.contains(&start)) {
            continue;
        }
        let rest = &code[end..];
        let open = rest.find('{').map_or(code.len(), |n| end + n);
        let semicolon = rest.find(';').map_or(code.len(), |n| end + n);
        if open < semicolon {
            found.push(start..close_of(code, open));
        }
    }
    found
}

/// Whether an identifier occurs in some code.
pub(super) fn has_word(code: &str, word: &str) -> bool {
    words(code).any(|(_, w)| w == word)
}

/// Blanks comments and the insides of string and character literals; line ends stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &bytes[at..];
        let end = at + literal(rest, at.checked_sub(1).map(|n| bytes[n])).unwrap_or(0);
        if end == at {
            at += 1;
            continue;
        }
        for byte in out.iter_mut().take(end).skip(at).filter(|b| **b != b'\n') {
            *byte = b' ';
        }
        at = end;
    }
    String::from_utf8(out).expect("only whole characters were replaced by spaces")
}

/// The length of the comment or literal that starts here, if one does.
fn literal(rest: &[u8], before: Option<u8>) -> Option<usize> {
    if rest.starts_with(b"//") {
        return Some(find(rest, b"\n").unwrap_or(rest.len()));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment(rest));
    }
    let in_word = before.is_some_and(|b| b == b'_' || b.is_ascii_alphanumeric());
    match rest[0] {
        b'"' => Some(string(rest)),
        b'r' | b'b' | b'c' if !in_word => raw_string(rest),
        b'\'' => character(rest),
        _ => None,
    }
}

fn block_comment(rest: &[u8]) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &[u8]) -> Option<usize> {
    let prefix = rest.iter().take_while(|b| b.is_ascii_lowercase()).count();
    if !matches!(&rest[..prefix], b"r" | b"br" | b"cr") {
        return None;
    }
    let hashes = rest[prefix..].iter().take_while(|b| **b == b'#').count();
    let open = prefix + hashes;
    if rest.get(open) != Some(&b'"') {
        return None;
    }
    let close = [b"\"".as_slice(), &vec![b'#'; hashes]].concat();
    Some(find(&rest[open + 1..], &close).map_or(rest.len(), |n| open + 1 + n + close.len()))
}

/// A character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        let close = rest.iter().skip(3).position(|b| *b == b'\'')?;
        return Some(3 + close + 1);
    }
    // One character takes at most four bytes.
    let close = rest.iter().take(6).skip(1).position(|b| *b == b'\'')? + 1;
    let inside = std::str::from_utf8(&rest[1..close]).ok()?;
    (inside.chars().count() == 1).then_some(close + 1)
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_blanked_and_code_stays_in_place() {
        let text = "let a = \"sleep(\\\"\"; // unwrap()\nlet b = r#\"x\"y\"#; /* a /* b */ c */ let c: &'a str = f('\\'', '\"');";
        let code = blank(text);
        assert_eq!(code.len(), text.len());
        for gone in ["sleep", "unwrap", "x", "y"] {
            assert!(!code.contains(gone), "{gone} in {code}");
        }
        for kept in ["let a =", "let b =", "let c: &'a str = f("] {
            assert!(code.contains(kept), "{kept} not in {code}");
        }
    }

    #[test]
    fn text_of_any_script_stays_whole() {
        assert_eq!(blank("f(\"漂移\", '漂'); g()").trim_start_matches("f("), "        ,      ); g()");
    }

    #[test]
    fn a_test_module_ends_at_its_brace() {
        let source =
            Source::new("crates/x/src/a.rs", "fn a() {}\n#[cfg(test)]\nmod tests { fn b() {} }\nfn c() {}\n");
        let at = |name: &str| source.text.find(name).unwrap();
        assert!(!source.in_test(at("fn a")) && source.in_test(at("fn b")) && !source.in_test(at("fn c")));
        assert_eq!(source.lines_before_tests(), 1);
        assert!(Source::new("crates/x/tests/a.rs", "fn a() {}").in_test(0));
        assert!(!Source::new("crates/x/src/a.rs", "#[cfg(not(test))]\nfn a() {}").in_test(20));
    }

    #[test]
    fn a_test_module_of_its_own_file_is_found_by_its_declaration() {
        let text = "#[cfg(test)]\npub(crate) mod golden;\n#[cfg(test)]\nmod tests { use a; }\nmod wire;\n";
        let names = ["crates/x/src/a/golden.rs", "crates/x/src/a/golden/mod.rs"];
        assert_eq!(Source::new("crates/x/src/a/mod.rs", text).test_modules(), names);
        assert_eq!(Source::new("crates/x/src/a.rs", text).test_modules(), names);
        assert!(Source::new(names[0], "fn a() {}").into_test().in_test(0));
    }

    #[test]
    fn a_file_knows_its_crate() {
        assert_eq!(Source::new("crates/core/src/lib.rs", "").krate(), "core");
        assert_eq!(Source::new("xtask/src/main.rs", "").krate(), "xtask");
    }
}
