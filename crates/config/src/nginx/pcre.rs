//! Regular expressions of PCRE in the words of the `regex` crate, which takes linear time and therefore knows neither
//! look-around nor back references. What can be said without them is rewritten, the rest is refused by name.

use std::collections::BTreeMap;
use std::fmt::Write;

/// An alternative in a look-ahead that is spelt out.
const LONGEST_WORD: usize = 64;
/// Longer expressions are no work of people.
const LONGEST: usize = 4096;

/// The expression, or what of it has no counterpart.
pub(super) fn translate(pattern: &str) -> Result<String, String> {
    if pattern.len() > LONGEST {
        return Err("an expression of this length".to_owned());
    }
    let mut rest = pattern;
    for verb in ["(*UTF8)", "(*UTF)", "(*UCP)", "(*ANYCRLF)", "(*ANY)", "(*CRLF)", "(*LF)"] {
        rest = rest.strip_prefix(verb).unwrap_or(rest);
    }
    let mut writer = Writer { rest, out: String::new(), can_repeat: false };
    writer.all()?;
    match crate::plan::edge::pattern(&writer.out, false) {
        Ok(_) => Ok(writer.out),
        Err(error) => {
            let text = error.to_string();
            let last =
                text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
            Err(format!("this expression ({last})"))
        }
    }
}

/// The names of an expression's groups: they become variables.
pub(super) fn names(pattern: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = pattern;
    while let Some(at) = rest.find("(?") {
        rest = &rest[at + 2..];
        let inner = rest.strip_prefix('P').unwrap_or(rest);
        let close = match inner.chars().next() {
            Some('<') => '>',
            Some('\'') => '\'',
            Some(_) | None => continue,
        };
        let name = inner[1..].split(close).next().unwrap_or_default();
        if !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            names.push(name.to_ascii_lowercase());
        }
    }
    names
}

/// Text as an expression that matches it alone.
pub(super) fn literal(text: &str) -> String {
    let mut out = String::new();
    text.chars().for_each(|c| push_char(c, &mut out));
    out
}

fn push_char(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        c if c.is_control() => {
            let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
        }
        c => {
            if "\\.+*?()|[]{}^$#&-~".contains(c) {
                out.push('\\');
            }
            out.push(c);
        }
    }
}

struct Writer<'t> {
    rest: &'t str,
    out: String,
    /// Whether the last thing written was a repetition: a `+` behind it makes it possessive.
    can_repeat: bool,
}

impl<'t> Writer<'t> {
    fn all(&mut self) -> Result<(), String> {
        while let Some(c) = self.rest.chars().next() {
            let repeated = std::mem::take(&mut self.can_repeat);
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '+' if repeated => return Err("a possessive repetition".to_owned()),
                '*' | '+' | '?' => {
                    self.keep(1);
                    // `*?` is lazy and ends there.
                    self.can_repeat = !repeated;
                }
                '{' => self.brace(),
                '}' => self.replace(1, "\\}"),
                c => self.keep(c.len_utf8()),
            }
        }
        Ok(())
    }

    fn keep(&mut self, bytes: usize) {
        let (head, rest) = self.rest.split_at(bytes);
        self.out.push_str(head);
        self.rest = rest;
    }

    fn replace(&mut self, bytes: usize, by: &str) {
        self.rest = &self.rest[bytes..];
        self.out.push_str(by);
    }

    /// `{2,3}` repeats; any other brace is itself.
    fn brace(&mut self) {
        let inner = self.rest[1..].split('}').next().unwrap_or_default();
        let (low, high) = inner.split_once(',').unwrap_or((inner, ""));
        let number =
            |text: &str| !text.is_empty() && text.len() < 6 && text.bytes().all(|c| c.is_ascii_digit());
        let closed = self.rest.len() > inner.len() + 1;
        if closed && number(low) && (high.is_empty() || number(high)) {
            self.keep(inner.len() + 2);
            self.can_repeat = true;
        } else {
            self.replace(1, "\\{");
        }
    }

    /// A backslash and what follows it.
    fn escape(&mut self, in_class: bool) -> Result<(), String> {
        let Some(c) = self.rest[1..].chars().next() else {
            return Err("a backslash at the end".to_owned());
        };
        let len = 1 + c.len_utf8();
        match c {
            '1'..='9' if !in_class => return Err("a back reference".to_owned()),
            'b' if in_class => self.replace(len, "\\x08"),
            'd' | 'D' | 'w' | 'W' | 's' | 'S' | 'n' | 'r' | 't' | 'f' | 'a' | 'x' => self.keep(len),
            'p' => self.property(in_class)?,
            'b' | 'B' | 'A' | 'z' if !in_class => self.keep(len),
            'Z' if !in_class => self.replace(len, "\\z"),
            'R' if !in_class => self.replace(len, "(?:\\r\\n|\\n|\\r)"),
            'h' if in_class => self.replace(len, " \\t"),
            'h' => self.replace(len, "[ \\t]"),
            'H' if !in_class => self.replace(len, "[^ \\t]"),
            'e' => self.replace(len, "\\x1B"),
            '0' => self.replace(len, "\\x00"),
            'Q' if !in_class => {
                let inner = &self.rest[len..];
                let text = inner.split("\\E").next().unwrap_or_default();
                self.out.push_str(&literal(text));
                self.rest = inner[text.len()..].strip_prefix("\\E").unwrap_or_default();
            }
            c if c.is_ascii_alphanumeric() => return Err(format!("`\\{c}`")),
            c => {
                self.rest = &self.rest[len..];
                push_char(c, &mut self.out);
            }
        }
        Ok(())
    }

    /// `[...]`; the characters that only mean something to the other engine get a backslash.
    fn class(&mut self) -> Result<(), String> {
        self.keep(1);
        if self.rest.starts_with('^') {
            self.keep(1);
        }
        if self.rest.starts_with(']') {
            self.replace(1, "\\]");
        }
        let mut set_before = false;
        loop {
            let set = std::mem::take(&mut set_before);
            let Some(c) = self.rest.chars().next() else { return Err("a `[` that is not closed".to_owned()) };
            match c {
                ']' => {
                    self.keep(1);
                    return Ok(());
                }
                '\\' => {
                    set_before = self.rest[1..].starts_with(['d', 'D', 'w', 'W', 's', 'S', 'h']);
                    self.escape(true)?;
                }
                '[' if self.rest[1..].starts_with(':') && self.rest.contains(":]") => {
                    let len = self.rest.find(":]").map_or(1, |at| at + 2);
                    self.keep(len);
                    set_before = true;
                }
                '-' if set => self.replace(1, "\\-"),
                '[' | '&' | '~' => {
                    self.out.push('\\');
                    self.keep(1);
                }
                '-' if self.rest[1..].starts_with('-') => self.replace(1, "\\-"),
                c => self.keep(c.len_utf8()),
            }
        }
    }

    fn group(&mut self) -> Result<(), String> {
        if self.rest.starts_with("(*") {
            return Err("a verb `(*`".to_owned());
        }
        let Some(inner) = self.rest.strip_prefix("(?") else {
            self.keep(1);
            return Ok(());
        };
        let second = inner.chars().nth(1);
        match inner.chars().next() {
            Some('!') => self.ahead_not()?,
            Some('=') if closing(inner) == Some(inner.len() - 1) => self.replace(3, "(?:"),
            Some('=') => return Err("a look-ahead `(?=`".to_owned()),
            Some('<') if matches!(second, Some('=' | '!')) => return Err("a look-behind `(?<`".to_owned()),
            Some('<') => self.named(&inner[1..], '>'),
            Some('\'') => self.named(&inner[1..], '\''),
            Some('P') if second == Some('<') => self.named(&inner[2..], '>'),
            Some('#') => match inner.find(')') {
                Some(end) => self.rest = &inner[end + 1..],
                None => return Err("a comment that is not closed".to_owned()),
            },
            Some(':' | 'i' | 'm' | 's' | 'x' | 'U' | '-') => {
                let flags = inner.find(|c| !"imsxU-".contains(c)).unwrap_or(inner.len());
                if !inner[flags..].starts_with([':', ')']) {
                    return Err("a group of this kind".to_owned());
                }
                self.keep(3 + flags);
            }
            Some('>') => return Err("an atomic group `(?>`".to_owned()),
            Some(_) | None => return Err("a group of this kind".to_owned()),
        }
        Ok(())
    }

    /// A group's name; variables are written in lower case.
    fn named(&mut self, inner: &'t str, close: char) {
        let (name, rest) = inner.split_once(close).unwrap_or((inner, ""));
        let _ = write!(self.out, "(?P<{}>", name.to_ascii_lowercase());
        self.rest = rest;
    }

    /// `\p{N}`: hosts and paths are compared byte by byte, so the ASCII part of a property is meant.
    fn property(&mut self, in_class: bool) -> Result<(), String> {
        let inner = &self.rest[2..];
        let (name, rest) = match inner.strip_prefix('{') {
            Some(inner) => inner.split_once('}').unwrap_or((inner, "")),
            None => inner.split_at(inner.chars().next().map_or(0, char::len_utf8)),
        };
        let set = match name {
            "N" | "Nd" => "0-9",
            "L" | "L&" => "A-Za-z",
            "Lu" => "A-Z",
            "Ll" => "a-z",
            other => return Err(format!("`\\p{{{other}}}`")),
        };
        self.out.push_str(&if in_class { set.to_owned() } else { format!("[{set}]") });
        self.rest = rest;
        Ok(())
    }

    /// `(?!a|b).*`: what does not begin with these words is spelt out letter by letter.
    fn ahead_not(&mut self) -> Result<(), String> {
        const WHY: &str = "a look-ahead `(?!`";
        let inner = &self.rest[2..];
        let end = closing(inner).ok_or(WHY)?;
        let (words, after) = (&inner[1..end], &inner[end + 1..]);
        let (open, tail) = match after {
            "" | ".*" | ".*$" => ("", ""),
            ".+" | ".+$" => ("", "+"),
            "(.*)" | "(.*)$" => ("(", ""),
            "(.+)" | "(.+)$" => ("(", "+"),
            _ => return Err(WHY.to_owned()),
        };
        let words = match words.strip_prefix("(?:").and_then(|words| words.strip_suffix(')')) {
            Some(words) => words,
            None if words.starts_with('(') && words.ends_with(')') => {
                // Its number is kept for the groups behind it.
                self.out.push_str("()");
                &words[1..words.len() - 1]
            }
            None => words,
        };
        let mut root = Node::default();
        for word in words.split('|') {
            root.add(word).ok_or(WHY)?;
        }
        self.out.push_str(open);
        self.out.push_str(if open.is_empty() { "(?:" } else { "" });
        root.others(tail == "+", &mut self.out);
        self.out.push(')');
        self.rest = "";
        Ok(())
    }
}

/// Where the group that is open at the start of `inner` closes.
fn closing(inner: &str) -> Option<usize> {
    let (mut depth, mut escaped, mut class) = (1usize, false, false);
    inner.char_indices().find_map(|(at, c)| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '(' if !class => depth += 1,
            ')' if !class => depth -= 1,
            _ => {}
        }
        (depth == 0).then_some(at)
    })
}

/// Words, letter by letter.
#[derive(Default)]
struct Node {
    next: BTreeMap<char, Node>,
    /// A word ends here, whatever follows.
    word: bool,
    /// A word ends here when the text does.
    whole: bool,
}

impl Node {
    fn add(&mut self, word: &str) -> Option<()> {
        if word.len() > LONGEST_WORD {
            return None;
        }
        let mut node = self;
        let mut chars = word.chars().peekable();
        while let Some(c) = chars.next() {
            let c = match c {
                '\\' => chars.next().filter(|c| !c.is_ascii_alphanumeric())?,
                '$' if chars.peek().is_none() => {
                    node.whole = true;
                    return Some(());
                }
                '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
                c => c,
            };
            node = node.next.entry(c).or_default();
        }
        node.word = true;
        Some(())
    }

    /// Every text that none of the words begins.
    fn others(&self, not_empty: bool, out: &mut String) {
        if self.word {
            // Nothing matches.
            out.push_str("[^\\s\\S]");
            return;
        }
        let mut ways: Vec<String> = Vec::new();
        if !not_empty && !self.whole {
            ways.push("$".to_owned());
        }
        let mut rest = String::new();
        self.next.keys().for_each(|c| push_char(*c, &mut rest));
        ways.push(if rest.is_empty() { ".+".to_owned() } else { format!("[^{rest}].*") });
        for (c, next) in self.next.iter().filter(|(_, next)| !next.word) {
            let mut way = String::new();
            push_char(*c, &mut way);
            way.push_str("(?:");
            next.others(false, &mut way);
            way.push(')');
            ways.push(way);
        }
        out.push_str(&ways.join("|"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        crate::plan::edge::pattern(&translate(pattern).unwrap(), false).unwrap().is_match(text)
    }

    #[test]
    fn most_expressions_stay_as_they_are() {
        for same in
            [r"^/api/", r"\.php$", r"^(.*)\.(gif|jpe?g)$", r"^/a{2,3}/(?:b|c)+?$", r"[a-z_]+", r"\d+\.\w"]
        {
            assert_eq!(translate(same).unwrap(), same);
        }
    }

    #[test]
    fn what_only_means_something_to_the_other_engine_is_quoted() {
        assert_eq!(translate(r"^\/a\_b\<").unwrap(), "^/a_b<");
        assert_eq!(translate("^/{x}").unwrap(), r"^/\{x\}");
        assert_eq!(translate(r"[\w-.][[&&]").unwrap(), r"[\w\-.][\[\&\&]");
        assert_eq!(translate("(?<year>[0-9]+)(?'m'x)").unwrap(), "(?P<year>[0-9]+)(?P<m>x)");
        assert!(matches(r"\Qa.b\E$", "xa.b") && !matches(r"\Qa.b\E$", "xaxb"));
        assert!(matches("[]a]b", "]b"));
        assert!(matches(r"^www\p{N}+$", "www01") && matches(r"^[\p{Lu}_]$", "_") && !matches(r"\pL", "1"));
        assert_eq!(translate("(?<Year>a)").unwrap(), "(?P<year>a)");
    }

    #[test]
    fn look_around_back_references_and_possessive_repetitions_are_refused_by_name() {
        for (wrong, why) in [
            (r"(a)\1", "a back reference"),
            ("(?<!a)b", "a look-behind `(?<`"),
            ("(?=a)b", "a look-ahead `(?=`"),
            ("^/(?!a)b", "a look-ahead `(?!`"),
            ("[a-z]++b", "a possessive repetition"),
            ("(?>a|b)", "an atomic group `(?>`"),
            (r"\Ga", "`\\G`"),
        ] {
            assert_eq!(translate(wrong).unwrap_err(), why, "{wrong}");
        }
        assert!(translate("(").unwrap_err().starts_with("this expression"));
        assert!(translate("a++").is_err() && translate("a+?").is_ok());
    }

    #[test]
    fn a_look_ahead_that_forbids_words_is_spelt_out() {
        let hidden = r"/\.(?!well-known).*";
        assert!(matches(hidden, "/.git/config") && matches(hidden, "/a/.w") && matches(hidden, "/."));
        assert!(!matches(hidden, "/.well-known/acme") && !matches(hidden, "/index"));
        let most = "^/(?!api|static/)(.*)$";
        assert!(matches(most, "/") && matches(most, "/ap") && matches(most, "/static"));
        assert!(!matches(most, "/api") && !matches(most, "/static/x"));
        let whole = "^/(?!api$).+$";
        assert!(
            matches(whole, "/api2")
                && matches(whole, "/x")
                && !matches(whole, "/api")
                && !matches(whole, "/")
        );
        let captured = crate::plan::edge::pattern(&translate("^/(?!a)(.*)$").unwrap(), false).unwrap();
        assert_eq!(&captured.captures("/bcd").unwrap()[1], "bcd");
        assert!(matches("^/(?!(api|x)).*", "/b") && !matches("^/(?!(api|x)).*", "/x1"));
        assert!(!matches("a(?!)", "ab"));
    }

    #[test]
    fn names_of_groups_are_found() {
        assert_eq!(names("^(?<a>.)(?P<b_1>.)(?'c'.)(?:d)(?=e)"), ["a", "b_1", "c"]);
    }
}
