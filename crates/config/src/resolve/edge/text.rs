//! Paths in the file system, and small texts with a notation of their own.

use std::path::PathBuf;

use crate::plan::edge::{Expires, Piece, Template};
use crate::resolve::Resolver;
use crate::source::At;
use crate::values::{Templated, duration};

impl Resolver<'_> {
    /// A path that does not depend on where a process was started.
    pub(super) fn absolute(&mut self, path: &At<String>, who: &str, example: &str) -> PathBuf {
        if !path.value.starts_with('/') || path.value.contains('\0') {
            let message = format!("{who}: \"{}\" is not an absolute path", path.value.escape_debug());
            self.error(path.span, message, format!("write the whole path, such as {example}"));
        }
        PathBuf::from(&path.value)
    }

    /// A text that begins with `/` or with a variable.
    pub(super) fn rooted(&mut self, at: &At<Templated>, what: &str, who: &str) -> Template {
        let template = self.template(at, who);
        let good = match template.0.first() {
            Some(Piece::Text(text)) => text.starts_with('/'),
            Some(Piece::Var(_)) => true,
            None => false,
        };
        if !good {
            self.error(
                at.span,
                format!("{who}: {what} begins with neither `/` nor a variable"),
                "write the whole path",
            );
        }
        template
    }

    /// The new path of a rewrite: it may begin with a group of the expression.
    pub(super) fn rewritten(&mut self, at: &At<Templated>, who: &str) -> Template {
        let template = self.template(at, who);
        if let Some(Piece::Text(text)) = template.0.first()
            && !text.starts_with(['/', '?'])
            && !text.contains("://")
        {
            let message = format!("{who}: the new path begins with neither `/` nor a variable");
            self.error(at.span, message, "write such as \"/new/{1}\"");
        }
        template
    }

    /// The value of a header has no line ends.
    pub(super) fn one_line(&mut self, at: &At<Templated>, who: &str) {
        let odd = |c: char| c.is_control() && c != '\t';
        if at.value.0.0.iter().any(|piece| matches!(piece, Piece::Text(text) if text.contains(odd))) {
            self.error(
                at.span,
                format!("{who}: the value has a line end or a control character in it"),
                "write it in one line",
            );
        }
    }

    /// `Expires` and `Cache-Control`.
    pub(super) fn expires(&mut self, slot: Option<&At<String>>, who: &str) -> Option<Expires> {
        let at = slot?;
        let (modified, text) = match at.value.trim().strip_prefix("modified ") {
            Some(rest) => (true, rest.trim()),
            None => (false, at.value.trim()),
        };
        let (negative, length) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let seconds = duration(length).ok().and_then(|length| i64::try_from(length.as_secs()).ok());
        match (text, seconds) {
            ("off", _) if !modified => None,
            ("epoch", _) if !modified => Some(Expires::Epoch),
            ("max", _) if !modified => Some(Expires::Max),
            (_, Some(seconds)) => {
                let seconds = if negative { -seconds.max(1) } else { seconds };
                Some(if modified { Expires::Modified(seconds) } else { Expires::After(seconds) })
            }
            (_, None) => {
                let message = format!("{who}: expires \"{}\" is no time", at.value.escape_debug());
                self.error(
                    at.span,
                    message,
                    "write \"1h\", \"-1s\", \"modified 1h\", \"epoch\", \"max\" or \"off\"",
                );
                None
            }
        }
    }
}
