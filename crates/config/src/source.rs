//! The texts that were read, and the way from a byte range back to a file and a line.

use std::ops::Range;

use crate::diagnostic::Place;

/// A byte range in one of the texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) source: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) span: Span,
}

impl<T> At<T> {
    pub(crate) const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
}

/// What a text came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file: findings name lines.
    File,
    /// A variable: findings name the variable alone.
    Variable,
}

/// Every text of one load.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    list: Vec<Source>,
    secrets: Vec<Span>,
}

#[derive(Debug)]
struct Source {
    name: String,
    text: String,
    kind: Kind,
}

impl Sources {
    pub(crate) fn add(&mut self, name: impl Into<String>, text: impl Into<String>, kind: Kind) -> usize {
        self.list.push(Source { name: name.into(), text: text.into(), kind });
        self.list.len() - 1
    }

    pub(crate) fn kind(&self, source: usize) -> Kind {
        self.list[source].kind
    }

    /// What stands at `span` is starred wherever its line is shown.
    pub(crate) fn hide(&mut self, span: Span) {
        self.secrets.push(span);
    }

    /// The whole text, as a place: file without a line.
    pub(crate) fn whole(&self, source: usize) -> Place {
        let file = self.list[source].name.clone();
        Place { file, line: 0, column: 1, mark: 1, width: 1, text: String::new() }
    }

    /// The place of a span's first line.
    pub(crate) fn place(&self, span: Span) -> Place {
        let source = &self.list[span.source];
        if source.kind == Kind::Variable {
            return self.whole(span.source);
        }
        let text = source.text.as_str();
        let start = floor(text, span.start);
        let end = floor(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let from = floor(text, line_start.max(start.saturating_sub(SHOWN_BEFORE)));
        let to = floor(text, line_end.min(start + SHOWN_AFTER)).max(start);
        let shown = self.starred(span.source, line_start, from..to);
        Place {
            file: source.name.clone(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            mark: text[from..start].chars().count() + 1,
            width: text[start..end.clamp(start, to)].chars().count().max(1),
            text: shown.trim_end().to_owned(),
        }
    }

    /// `file:line` for sentences that point at a second place.
    pub(crate) fn line_of(&self, span: Span) -> String {
        let place = self.place(span);
        if place.line == 0 { place.file } else { format!("{}:{}", place.file, place.line) }
    }

    /// A part of a line with its secrets starred.
    fn starred(&self, source: usize, line_start: usize, range: Range<usize>) -> String {
        let text = &self.list[source].text[range.clone()];
        // A line whose quote is missing was not read, but may hold a password all the same.
        let line = self.list[source].text[line_start..].trim_start();
        let value = line.split_once('=').map_or("", |(_, value)| value.trim_start());
        let secret_line = line.starts_with("password") && !value.starts_with('{');
        let after_equals = range.start + text.find('=').map_or(0, |at| at + 1);
        let hidden = |at: usize| {
            secret_line && at >= after_equals
                || self.secrets.iter().any(|s| s.source == source && s.start <= at && at < s.end)
        };
        let star = |(at, c): (usize, char)| {
            let plain = c.is_whitespace() || c == '"' || c == '\'' || !hidden(range.start + at);
            if plain { visible(c) } else { '*' }
        };
        text.char_indices().map(star).collect()
    }
}

/// What a terminal would obey is not shown to it: a file may come from somebody else.
pub(crate) fn visible(c: char) -> char {
    if c.is_control() && !matches!(c, '\t' | '\n') { char::REPLACEMENT_CHARACTER } else { c }
}

/// A generated file may hold everything in one line: this many bytes around the mark are enough.
const SHOWN_BEFORE: usize = 120;
const SHOWN_AFTER: usize = 160;

/// The nearest character border at or before `at`.
fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}
