//! Media types by suffix from a file in the form of nginx's mime.types; the proxy has those that everybody sends.

use crate::resolve::Resolver;
use crate::source::At;

impl Resolver<'_> {
    /// Suffix and media type, each suffix once.
    pub(super) fn media_types(&mut self, file: Option<&At<String>>, who: &str) -> Vec<(String, String)> {
        let mut types: Vec<(String, String)> = Vec::new();
        let Some(at) = file else { return types };
        self.absolute(at, who, "\"/etc/nginx/mime.types\"");
        let Some(text) = self.secret_file(at, who, "types", "a file in the form of nginx's mime.types")
        else {
            return types;
        };
        match parse(&text) {
            Ok(more) => {
                for (suffix, media) in more {
                    types.retain(|(known, _)| *known != suffix);
                    types.push((suffix, media));
                }
            }
            Err(line) => {
                let message =
                    format!("{who}: types: line {line} of {} is no media type with its suffixes", at.value);
                self.error(at.span, message, "write `types { text/html html htm; }`");
            }
        }
        types
    }
}

/// `types { media suffix suffix; ... }`; the error is a line.
fn parse(text: &str) -> Result<Vec<(String, String)>, usize> {
    let mut types = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    for (nth, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for piece in line.split_inclusive([';', '{', '}']) {
            let end = piece.chars().last().filter(|c| matches!(c, ';' | '{' | '}'));
            words.extend(piece.trim_end_matches([';', '{', '}']).split_whitespace());
            match end {
                Some(';') => match words.split_first() {
                    Some((media, suffixes)) if media.contains('/') && !suffixes.is_empty() => {
                        types.extend(
                            suffixes.iter().map(|suffix| (suffix.to_ascii_lowercase(), (*media).to_owned())),
                        );
                        words.clear();
                    }
                    Some(_) | None => return Err(nth + 1),
                },
                Some('{') if words == ["types"] => words.clear(),
                Some('}') if words.is_empty() => {}
                Some(_) => return Err(nth + 1),
                None => {}
            }
        }
    }
    if words.is_empty() { Ok(types) } else { Err(text.lines().count()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_of_nginx_is_read_and_nothing_else() {
        let text = "# types\ntypes {\n  text/html html\n    htm; # two lines\n image/png PNG;\n}\n";
        let expected = [("html", "text/html"), ("htm", "text/html"), ("png", "image/png")];
        assert_eq!(parse(text), Ok(expected.map(|(a, b)| (a.to_owned(), b.to_owned())).to_vec()));
        assert_eq!(parse("text/html html;"), Ok(vec![("html".to_owned(), "text/html".to_owned())]));
        assert_eq!(parse("types {\n text/html;\n}"), Err(2));
        assert_eq!(parse("server {\n}"), Err(1));
        assert_eq!(parse("text/html html"), Err(1));
    }
}
