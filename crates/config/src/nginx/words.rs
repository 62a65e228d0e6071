//! Words of an nginx configuration, as ngx_conf_read_token reads them.
//!
//! A quote only counts at the start of a word; a backslash keeps the character behind it from meaning anything, and
//! goes away before quotes, backslashes, and as `\t`, `\r`, `\n`; `${` does not open a block; `}` inside a word is a
//! character like others.

/// Longest word; nginx reads into a buffer of 4096.
const LONGEST: usize = 4096;

/// What ended a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// `;`
    Semicolon,
    /// `{`
    Open,
    /// `}`, before any word.
    Close,
    /// The end of the file, before any word.
    File,
}

/// What is wrong, and in which line.
pub(super) type Wrong = (u32, String);

/// Goes through a text.
pub(super) struct Reader<'t> {
    rest: &'t str,
    line: u32,
}

impl<'t> Reader<'t> {
    /// At the beginning.
    pub(super) fn new(text: &'t str) -> Self {
        Self { rest: text.strip_prefix('\u{feff}').unwrap_or(text), line: 1 }
    }

    /// The words up to the next `;`, `{` or `}`, the line of the first, and which it was.
    pub(super) fn statement(&mut self) -> Result<(Vec<String>, u32, End), Wrong> {
        let mut words: Vec<String> = Vec::new();
        let mut first = self.line;
        loop {
            self.blanks();
            if words.is_empty() {
                first = self.line;
            }
            let Some(next) = self.rest.chars().next() else {
                return match words.first() {
                    None => Ok((words, first, End::File)),
                    Some(name) => Err((first, format!("directive \"{name}\" is not terminated by \";\""))),
                };
            };
            match next {
                ';' | '{' if words.is_empty() => return Err((self.line, format!("unexpected \"{next}\""))),
                '}' if !words.is_empty() => {
                    return Err((first, format!("directive \"{}\" is not terminated by \";\"", words[0])));
                }
                ';' => return Ok((words, first, self.end(End::Semicolon))),
                '{' => return Ok((words, first, self.end(End::Open))),
                '}' => return Ok((words, first, self.end(End::Close))),
                '"' | '\'' => words.push(self.quoted(next)?),
                _ => words.push(self.bare()?),
            }
        }
    }

    fn end(&mut self, end: End) -> End {
        self.take(1);
        end
    }

    fn take(&mut self, bytes: usize) -> &'t str {
        let (head, rest) = self.rest.split_at(bytes);
        let lines = head.bytes().filter(|byte| *byte == b'\n').count();
        self.line = self.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.rest = rest;
        head
    }

    /// White space and comments.
    fn blanks(&mut self) {
        loop {
            let blank = self.rest.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(self.rest.len());
            self.take(blank);
            if !self.rest.starts_with('#') {
                return;
            }
            let comment = self.rest.find('\n').unwrap_or(self.rest.len());
            self.take(comment);
        }
    }

    fn quoted(&mut self, quote: char) -> Result<String, Wrong> {
        let line = self.line;
        let mut escaped = false;
        let inner = &self.rest[1..];
        let len = inner.find(|c| {
            let ends = c == quote && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some(len) = len.filter(|len| *len <= LONGEST) else {
            return Err((
                line,
                format!("too long parameter, probably missing terminating \"{quote}\" character"),
            ));
        };
        let text = &self.take(len + 2)[1..=len];
        match self.rest.chars().next() {
            Some(' ' | '\t' | '\r' | '\n' | ';' | '{' | ')') | None => Ok(unescaped(text)),
            Some(other) => Err((self.line, format!("unexpected \"{other}\""))),
        }
    }

    fn bare(&mut self) -> Result<String, Wrong> {
        let (mut escaped, mut variable) = (false, false);
        let end = self.rest.find(|c| {
            if escaped {
                escaped = false;
                return false;
            }
            let ends = match c {
                '{' => !variable,
                ' ' | '\t' | '\r' | '\n' | ';' => true,
                _ => false,
            };
            escaped = c == '\\';
            variable = c == '$';
            ends
        });
        let end = end.unwrap_or(self.rest.len());
        if end > LONGEST {
            let start: String = self.rest.chars().take(10).collect();
            return Err((self.line, format!("too long parameter \"{start}...\" started")));
        }
        Ok(unescaped(self.take(end)))
    }

    /// Skips a block of another language up to its closing brace.
    pub(super) fn skip_foreign(&mut self) {
        let mut depth = 1;
        let end = self.rest.find(|c| {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            depth == 0
        });
        self.take(end.map_or(self.rest.len(), |end| end + 1));
    }
}

fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let after = if c == '\\' { chars.peek().copied() } else { None };
        let plain = match after {
            Some(kept @ ('"' | '\'' | '\\')) => kept,
            Some('t') => '\t',
            Some('r') => '\r',
            Some('n') => '\n',
            Some(_) | None => {
                out.push(c);
                continue;
            }
        };
        chars.next();
        out.push(plain);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        Reader::new(text).statement().unwrap().0
    }

    fn wrong(text: &str) -> String {
        let mut reader = Reader::new(text);
        loop {
            match reader.statement() {
                Ok((_, _, End::File)) => panic!("nothing is wrong with {text}"),
                Ok(_) => {}
                Err((line, wrong)) => return format!("{line}: {wrong}"),
            }
        }
    }

    #[test]
    fn words_end_at_blanks_and_quotes_only_count_at_their_start() {
        assert_eq!(words("a  b\t'c d' \"e\\\"f\" g\"h;"), ["a", "b", "c d", "e\"f", "g\"h"]);
        assert_eq!(words("return 200 \"\";"), ["return", "200", ""]);
        assert_eq!(words("if ($a ~ \"^x{2}$\") {"), ["if", "($a", "~", "^x{2}$", ")"]);
    }

    #[test]
    fn a_brace_behind_a_dollar_and_one_that_closes_inside_a_word_open_and_close_nothing() {
        assert_eq!(words("a ${b}c;"), ["a", "${b}c"]);
        assert_eq!(words("a b}c;"), ["a", "b}c"]);
    }

    #[test]
    fn backslashes_stay_but_before_quotes_and_themselves() {
        assert_eq!(words(r"location ~ \.php$ ;"), ["location", "~", r"\.php$"]);
        assert_eq!(words(r#"a "\.b\\c\n" ;"#), ["a", "\\.b\\c\n"]);
        assert_eq!(words(r"a b\;c;"), ["a", r"b\;c"]);
    }

    #[test]
    fn a_comment_begins_between_words_alone() {
        assert_eq!(words("# one\na b#c # two\nd;"), ["a", "b#c", "d"]);
    }

    #[test]
    fn what_is_broken_is_said_as_nginx_says_it() {
        assert_eq!(wrong("a;\n;"), "2: unexpected \";\"");
        assert_eq!(wrong("a\nb"), "1: directive \"a\" is not terminated by \";\"");
        assert_eq!(wrong("a {\n b c\n}"), "2: directive \"b\" is not terminated by \";\"");
        assert_eq!(wrong("a 'b"), "1: too long parameter, probably missing terminating \"'\" character");
        assert_eq!(wrong("a 'b'c;"), "1: unexpected \"c\"");
    }
}
