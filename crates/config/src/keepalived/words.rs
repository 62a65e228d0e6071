//! One line of a keepalived.conf: its comment cut off, split at braces and into words, as keepalived 2.2.7 does it.
//!
//! Ordinary statements know double quotes only, and no escapes: `"a b"c` is two words. Script lines are read once more
//! by shell-like rules: both quotes, backslashes, and adjacent pieces that join.

/// Cuts a comment and the white space around what is left. Double quotes protect `#` and `!`.
pub(super) fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '#' | '!' if !quoted => return line[..at].trim(),
            _ => {}
        }
    }
    line.trim()
}

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// A statement.
    Text(&'a str),
    /// `{`
    Open,
    /// `}`
    Close,
}

/// Splits a line at the braces that are outside double quotes; those of `${NAME}` are none.
pub(super) fn pieces(line: &str) -> Vec<Piece<'_>> {
    let mut all = Vec::new();
    let (mut start, mut quoted, mut escaped, mut parameter) = (0, false, false, false);
    let mut last = ' ';
    for (at, c) in line.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '{' if !quoted && last == '$' => parameter = true,
            '}' if parameter => parameter = false,
            '{' | '}' if !quoted => {
                push_text(&mut all, &line[start..at]);
                all.push(if c == '{' { Piece::Open } else { Piece::Close });
                start = at + 1;
            }
            _ => {}
        }
        last = c;
    }
    push_text(&mut all, &line[start..]);
    all
}

fn push_text<'a>(all: &mut Vec<Piece<'a>>, text: &'a str) {
    let text = text.trim();
    if !text.is_empty() {
        all.push(Piece::Text(text));
    }
}

/// Words of an ordinary statement; `None` when a double quote is not closed.
pub(super) fn plain(text: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(inner) => inner.split_once('"')?,
            None => rest.split_at(rest.find(|c: char| c.is_whitespace() || c == '"').unwrap_or(rest.len())),
        };
        words.push(word.to_owned());
        rest = after.trim_start();
    }
    Some(words)
}

/// A word of a script line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    /// Quotes and escapes resolved.
    pub(super) text: String,
    /// Whether any of it was quoted.
    pub(super) quoted: bool,
}

/// Words of a script line, quotes and escapes resolved; `None` when a quote is not closed.
pub(super) fn shell_like(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote = None;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
            continue;
        }
        let open = word.get_or_insert_with(|| Word { text: String::new(), quoted: false });
        match c {
            '\\' => open.text.push(escape(&mut chars)?),
            '"' | '\'' if quote == Some(c) => quote = None,
            '"' | '\'' if quote.is_none() => {
                quote = Some(c);
                open.quoted = true;
            }
            _ => open.text.push(c),
        }
    }
    words.extend(word);
    quote.is_none().then_some(words)
}

/// What follows a backslash, by the table in keepalived.conf(5), "Quoted strings".
fn escape(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Option<char> {
    let c = chars.next()?;
    Some(match c {
        'a' => '\x07',
        'b' => '\x08',
        'E' | 'e' => '\x1b',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        'c' => char::from(u8::try_from(chars.next()?).ok()? & 0x1f),
        'x' => char::from(digits(chars, 16, 0, 2)),
        '0'..='7' => char::from(digits(chars, 8, c.to_digit(8).unwrap_or(0), 2)),
        other => other,
    })
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>, base: u32, first: u32, most: usize) -> u8 {
    let mut value = first;
    for _ in 0..most {
        let Some(digit) = chars.peek().and_then(|c| c.to_digit(base)) else { break };
        value = value * base + digit;
        chars.next();
    }
    (value & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(text: &str) -> Vec<String> {
        shell_like(text).unwrap().into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn double_quotes_protect_a_comment_sign_and_single_quotes_do_not() {
        assert_eq!(without_comment("auth_pass \"a#b\" # why"), "auth_pass \"a#b\"");
        assert_eq!(without_comment("router_id 'a#b c'"), "router_id 'a");
        assert_eq!(without_comment("  priority 50!x"), "priority 50");
        assert_eq!(without_comment(r#"notify "/bin/echo \"a # b\"" # c"#), r#"notify "/bin/echo \"a # b\"""#);
    }

    #[test]
    fn a_brace_ends_a_statement_wherever_it_stands() {
        use Piece::{Close, Open, Text};
        assert_eq!(pieces("group { A"), [Text("group"), Open, Text("A")]);
        assert_eq!(
            pieces("global_defs{router_id x}"),
            [Text("global_defs"), Open, Text("router_id x"), Close]
        );
        assert_eq!(pieces("auth_pass \"a{b}\""), [Text("auth_pass \"a{b}\"")]);
        assert_eq!(pieces("priority ${P}"), [Text("priority ${P}")]);
    }

    #[test]
    fn an_ordinary_word_ends_at_its_closing_quote() {
        assert_eq!(plain("auth_pass \"a b\"c").unwrap(), ["auth_pass", "a b", "c"]);
        assert_eq!(plain("auth_pass a'b").unwrap(), ["auth_pass", "a'b"]);
        assert_eq!(plain("auth_pass \"abc"), None);
    }

    #[test]
    fn script_words_join_and_resolve_escapes_as_keepalived_dumps_them() {
        assert_eq!(argv(r#"/bin/echo a 'b c' "d e" f\x41"#), ["/bin/echo", "a", "b c", "d e", "fA"]);
        assert_eq!(argv(r#"abcd" efg h jkl "mnop"#), ["abcd efg h jkl mnop"]);
        assert_eq!(argv(r"\ q x\\y \101\tz"), [" q", "x\\y", "A\tz"]);
        assert_eq!(shell_like("a 'b"), None);
    }
}
