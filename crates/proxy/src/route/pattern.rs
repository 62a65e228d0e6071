//! Expressions: written as PCRE, which nginx speaks, matched in linear time.
//!
//! What only backtracking can do (look-around, back references, atomic groups) is refused with a sentence. `\d`, `\w`, `\s` and `\b`
//! mean ASCII as they do in nginx.

use std::rc::Rc;

use regex::{Regex, RegexBuilder};

use crate::exchange::Exchange;

/// A compiled expression.
#[derive(Clone, Debug)]
pub(crate) struct Pattern {
    regex: Regex,
    ignore_case: bool,
    /// Named groups and their numbers.
    names: Vec<(usize, Box<str>)>,
}

/// The groups of a match: 0 is the whole of it.
pub(crate) type Groups = Vec<Option<Box<str>>>;

impl Pattern {
    /// Compiles an expression; the error says what is wrong with it.
    pub(crate) fn new(text: &str, ignore_case: bool) -> Result<Self, regex::Error> {
        let regex = RegexBuilder::new(&translate(text)).case_insensitive(ignore_case).build()?;
        let names = regex
            .capture_names()
            .enumerate()
            .filter_map(|(n, name)| name.map(|name| (n, Box::from(name))))
            .collect();
        Ok(Self { regex, ignore_case, names })
    }

    /// Whether it is found in a text.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// The groups, when it is found.
    pub(crate) fn groups(&self, text: &str) -> Option<Groups> {
        if self.regex.captures_len() == 1 {
            return self.regex.find(text).map(|found| vec![Some(found.as_str().into())]);
        }
        let found = self.regex.captures(text)?;
        Some(found.iter().map(|group| group.map(|g| g.as_str().into())).collect())
    }

    /// Whether it is found; then its groups are those of the request from here on, and named ones are variables.
    pub(crate) fn apply(&self, text: &str, exchange: &mut Exchange) -> bool {
        let Some(groups) = self.groups(text) else { return false };
        for (n, name) in &self.names {
            let value = groups.get(*n).and_then(Option::as_deref).unwrap_or_default();
            set(&mut exchange.vars, name, value);
        }
        exchange.groups = groups;
        true
    }

    /// Whether both are the same expression.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        self.ignore_case == other.ignore_case && self.regex.as_str() == other.regex.as_str()
    }

    /// Each named group that took part.
    pub(crate) fn names<'a>(&'a self, groups: &'a Groups) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.names.iter().filter_map(|(n, name)| Some((&**name, groups.get(*n)?.as_deref()?)))
    }

    /// The number of a named group.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.names.iter().find(|(_, own)| &**own == name).map(|(n, _)| *n)
    }
}

/// Gives a variable a value.
pub(crate) fn set(vars: &mut Vec<(Rc<str>, Rc<str>)>, name: &str, value: &str) {
    match vars.iter_mut().find(|(own, _)| &**own == name) {
        Some((_, old)) => *old = value.into(),
        None => vars.push((name.into(), value.into())),
    }
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
    use super::*;

    fn found(pattern: &str, text: &str) -> Option<String> {
        Pattern::new(pattern, false).unwrap().groups(text).and_then(|g| g[0].as_deref().map(str::to_owned))
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
            (r"[\D]+", "1ab2", Some("ab")),
        ] {
            assert_eq!(found(pattern, text).as_deref(), expected, "{pattern}");
        }
    }

    #[test]
    fn what_needs_backtracking_is_refused() {
        for pattern in ["(?!a)b", r"(a)\1", "(?>a)", "a(?=b)", "(", "[a"] {
            assert!(Pattern::new(pattern, false).is_err(), "{pattern}");
        }
    }

    #[test]
    fn groups_that_took_no_part_are_absent() {
        let groups = Pattern::new("^/(a)?(b)", true).unwrap().groups("/B").unwrap();
        assert_eq!(groups, [Some("/B".into()), None, Some("B".into())]);
    }
}
