//! How texts with variables are written: `{name}` is a variable, `{{` and `}}` are braces.

use super::template::{Known, Piece, Template, Var};

/// What is wrong with a text, and what to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// One sentence, lower case, no full stop.
    pub message: String,
    /// What to write instead.
    pub help: String,
}

/// Makes a variable of what stands behind the beginning of its kind.
type Make = fn(&str) -> Var;

/// What variables of a kind begin with.
const KINDS: &[(&str, Make)] = &[
    ("http_", |name| Var::Header(dashed(name))),
    ("sent_http_", |name| Var::Sent(dashed(name))),
    ("upstream_cookie_", |name| Var::BackendCookie(name.to_owned())),
    ("upstream_http_", |name| Var::Upstream(dashed(name))),
    ("cookie_", |name| Var::Cookie(name.to_owned())),
    ("arg_", |name| Var::Arg(name.to_owned())),
    ("jwt_", |name| Var::Claim(name.to_owned())),
];

impl Template {
    /// Reads a text with variables. Names that are none of the fixed ones become [`Var::Own`].
    ///
    /// # Errors
    /// A brace without its partner, or one that holds no name.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let tail = &rest[at..];
            if tail.starts_with("{{") || tail.starts_with("}}") {
                plain.push_str(&tail[..1]);
                rest = &tail[2..];
                continue;
            }
            if tail.starts_with('}') {
                return Err(wrong("a `}` closes nothing here".to_owned()));
            }
            let Some(end) = tail.find('}') else {
                return Err(wrong("a `{` is not closed".to_owned()));
            };
            let name = &tail[1..end];
            let Some(var) = Var::named(name) else {
                return Err(wrong(format!("`{{{}}}` is no variable", name.escape_debug())));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(Piece::Var(var));
            rest = &tail[end + 1..];
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    /// The variables in it.
    pub fn vars(&self) -> impl Iterator<Item = &Var> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Var(var) => Some(var),
        })
    }

    /// Whether it always comes to nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Var {
    /// The variable of this name; nothing when it can't be a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        if let [digit @ b'1'..=b'9'] = name.as_bytes() {
            return Some(Self::Group(digit - b'0'));
        }
        if let Some((_, known)) = Known::ALL.iter().find(|(word, _)| *word == name) {
            return Some(Self::Known(*known));
        }
        let kind = KINDS.iter().find_map(|(prefix, make)| Some((name.strip_prefix(prefix)?, make)));
        match kind {
            Some((rest, make)) if is_rest(rest) => Some(make(rest)),
            Some(_) => None,
            None => is_own(name).then(|| Self::Own(name.to_owned())),
        }
    }
}

/// Whether a variable of one's own may be called so.
#[must_use]
pub fn is_own(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// What may follow `http_`, `arg_` and so on; names of parameters and cookies have dashes and dots.
fn is_rest(rest: &str) -> bool {
    !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
}

/// A header's name as a variable has it.
fn dashed(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

fn wrong(message: String) -> Malformed {
    let help = "write {name} for a variable, such as {host}, and {{ or }} for a brace".to_owned();
    Malformed { message, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<Piece> {
        Template::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}")).0
    }

    #[test]
    fn variables_stand_in_braces_and_braces_are_doubled() {
        assert_eq!(
            parsed("https://{host}{request_uri}"),
            [
                Piece::Text("https://".to_owned()),
                Piece::Var(Var::Known(Known::Host)),
                Piece::Var(Var::Known(Known::RequestUri)),
            ]
        );
        assert_eq!(parsed("{{\"a\": {1}}}"), {
            let text = |text: &str| Piece::Text(text.to_owned());
            vec![text("{\"a\": "), Piece::Var(Var::Group(1)), text("}")]
        });
        assert_eq!(parsed(""), []);
    }

    #[test]
    fn names_say_what_they_are() {
        for (name, var) in [
            ("http_x_forwarded_for", Var::Header("x-forwarded-for".to_owned())),
            ("sent_http_location", Var::Sent("location".to_owned())),
            ("upstream_http_x_a", Var::Upstream("x-a".to_owned())),
            ("cookie_a-b", Var::Cookie("a-b".to_owned())),
            ("arg_q", Var::Arg("q".to_owned())),
            ("jwt_sub", Var::Claim("sub".to_owned())),
            ("http2", Var::Known(Known::Http2)),
            ("mine", Var::Own("mine".to_owned())),
        ] {
            assert_eq!(Var::named(name), Some(var), "{name}");
        }
        for name in ["", "10", "0", "a b", "http_", "\"a\"", "a-b"] {
            assert_eq!(Var::named(name), None, "{name}");
        }
    }

    #[test]
    fn a_brace_alone_is_refused() {
        for text in ["{", "}", "a{b", "{\"status\": 1}", "{}", "}}}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
