//! Expressions: written as PCRE, which nginx speaks, matched in linear time; checked and served by the same function.
//!
//! What only backtracking can do (look-around, back references, atomic groups) is refused with a sentence. `\d`, `\w`, `\s` and `\b`
//! mean ASCII as they do in nginx.

use regex::{Regex, RegexBuilder};

/// In bytes of the compiled form: some thousand words, or a few hundred repetitions.
const LARGEST: usize = 2 * 1024 * 1024;

/// Compiles an expression of the edge.
///
/// # Errors
/// What the engine says: syntax, look-around and back references that it does not have, size.
pub fn pattern(text: &str, ignore_case: bool) -> Result<Regex, regex::Error> {
    RegexBuilder::new(&translate(text)).case_insensitive(ignore_case).size_limit(LARGEST).build()
}

/// An expression of PCRE in the grammar of the `regex` crate.
fn translate(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, &mut out, false),
            '[' => class(after, &mut out),
            '{' if !is_count(after) => {
                out.push_str("\\{");
                after
            }
            '(' if after.starts_with("?'") => match after[2..].split_once('\'') {
                Some((name, behind)) => {
                    out.push_str("(?P<");
                    out.push_str(name);
                    out.push('>');
                    behind
                }
                None => literal(c, after, &mut out),
            },
            _ => literal(c, after, &mut out),
        };
    }
    out
}

fn literal<'a>(c: char, after: &'a str, out: &mut String) -> &'a str {
    out.push(c);
    after
}

/// What stands behind a backslash.
fn escape<'a>(after: &'a str, out: &mut String, in_class: bool) -> &'a str {
    let Some(c) = after.chars().next() else {
        out.push('\\');
        return after;
    };
    let (plain, negated) = match c {
        'd' | 'D' => ("0-9", c == 'D'),
        'w' | 'W' => ("0-9A-Za-z_", c == 'W'),
        's' | 'S' => ("\\t-\\r ", c == 'S'),
        'h' | 'H' => ("\\t ", c == 'H'),
        _ => ("", false),
    };
    match (plain, c) {
        ("", 'b') if in_class => out.push_str("\\x08"),
        ("", 'b' | 'B') => {
            out.push_str(if c == 'b' { "(?-u:\\b)" } else { "\\B" });
        }
        ("", 'Z') => out.push_str("\\z"),
        // `\x{41}` and `\p{Lu}`: what stands in the braces is theirs.
        ("", 'x' | 'p' | 'P') if after[1..].starts_with('{') && after.contains('}') => {
            let end = after.find('}').map_or(after.len(), |n| n + 1);
            out.push('\\');
            out.push_str(&after[..end]);
            return &after[end..];
        }
        ("", '<' | '>') => out.push(c),
        ("", c) if c.is_alphanumeric() || c.is_ascii_punctuation() => {
            out.push('\\');
            out.push(c);
        }
        ("", c) => out.push(c),
        (set, _) if negated => {
            out.push_str("[^");
            out.push_str(set);
            out.push(']');
        }
        (set, _) if in_class => out.push_str(set),
        (set, _) => {
            out.push('[');
            out.push_str(set);
            out.push(']');
        }
    }
    &after[c.len_utf8()..]
}

/// A class in brackets, from behind its `[`.
fn class<'a>(after: &'a str, out: &mut String) -> &'a str {
    out.push('[');
    let mut rest = after;
    if let Some(negated) = rest.strip_prefix('^') {
        out.push('^');
        rest = negated;
    }
    if let Some(behind) = rest.strip_prefix(']') {
        out.push_str("\\]");
        rest = behind;
    }
    let mut before = '\0';
    while let Some(c) = rest.chars().next() {
        let behind = &rest[c.len_utf8()..];
        match c {
            ']' => {
                out.push(']');
                return behind;
            }
            '\\' => rest = escape(behind, out, true),
            '[' if behind.starts_with(':') && behind.contains(":]") => {
                let end = behind.find(":]").map_or(behind.len(), |n| n + 2);
                out.push('[');
                out.push_str(&behind[..end]);
                rest = &behind[end..];
            }
            '[' => {
                out.push_str("\\[");
                rest = behind;
            }
            '&' | '-' | '~' if before == c => {
                out.push('\\');
                out.push(c);
                rest = behind;
            }
            _ => {
                out.push(c);
                rest = behind;
            }
        }
        before = c;
    }
    rest
}

/// Whether a `{` begins a count: `{2}`, `{2,}`, `{2,3}`.
fn is_count(after: &str) -> bool {
    let Some((inside, _)) = after.split_once('}') else { return false };
    let (low, high) = inside.split_once(',').unwrap_or((inside, "0"));
    !low.is_empty() && low.chars().chain(high.chars()).all(|c| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    fn found(pattern: &str, text: &str) -> Option<String> {
        let pattern = super::pattern(pattern, false).expect("an expression");
        pattern.find(text).map(|found| found.as_str().to_owned())
    }

    #[test]
    fn what_nginx_users_write_means_what_it_does_there() {
        for (pattern, text, expected) in [
            (r"\.php$", "/a.php", Some(".php")),
            (r"^\/api\/v\d+\-x", "/api/v12-x", Some("/api/v12-x")),
            (r"^/a{b}$", "/a{b}", Some("/a{b}")),
            (r"^/a{2,}$", "/aaa", Some("/aaa")),
            (r"^/[]x]+", "/]x]", Some("/]x]")),
            (r"[[a]+", "[a", Some("[a")),
            (r"[\w-]+$", "/a-b_c", Some("a-b_c")),
            (r"[^\d]+", "12ab3", Some("ab")),
            (r"[[:alpha:]]+", "1ab", Some("ab")),
            (r"a&&b[&&]", "a&&b&", Some("a&&b&")),
            (r"\d+", "٣", None),
            (r"\bend\b", "/the.end", Some("end")),
            (r"^(?'name'x+)", "xx", Some("xx")),
            (r"\<b\>", "<b>", Some("<b>")),
            (r"^\x{41}[\x{42}\x43]\p{Lu}+$", "ABÄ", Some("ABÄ")),
            (r"[\D]+", "1ab2", Some("ab")),
        ] {
            assert_eq!(found(pattern, text).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn what_needs_backtracking_is_refused() {
        for pattern in ["(?!a)b", r"(a)\1", "(?>a)", "a(?=b)", "(", "[a"] {
            assert!(super::pattern(pattern, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn named_groups_are_told_and_what_is_too_large_is_refused() {
        let php = super::pattern(r"^/(?<section>\w+)/.+\.php$", true).unwrap();
        assert!(php.is_match("/news/x.PHP"));
        assert_eq!(php.capture_names().flatten().collect::<Vec<_>>(), ["section"]);
        assert!(super::pattern("((a{1000}){1000}){1000}", false).is_err());
    }
}
