//! Lines become statements and blocks. A brace may stand on the keyword's line, on the next one, or be missing:
//! keepalived goes on as if it were there, and so does this, but says so.

use super::report::{Pos, Report};
use super::source::Line;
use super::table::{Block, block};
use super::words::{Piece, pieces, plain};

/// Blocks nest four deep in keepalived; more is noise.
const DEEPEST: usize = 16;

/// A keyword with its arguments and its block, or one entry of a list.
#[derive(Clone, Debug, Default)]
pub(super) struct Stmt {
    /// Where it starts.
    pub(super) pos: Pos,
    /// Keyword and arguments.
    pub(super) words: Vec<String>,
    /// What follows the keyword, as written: scripts are split by other rules.
    pub(super) rest: String,
    /// What stands in its braces.
    pub(super) block: Option<Vec<Stmt>>,
}

impl Stmt {
    /// The keyword.
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// An argument, from 1.
    pub(super) fn arg(&self, at: usize) -> Option<&str> {
        self.words.get(at).map(String::as_str)
    }

    /// The statements of its block.
    pub(super) fn children(&self) -> &[Stmt] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// A block that is not closed yet.
struct Level {
    stmt: Stmt,
    kind: Block,
}

struct Builder<'a> {
    report: &'a mut Report,
    /// The file itself first.
    levels: Vec<Level>,
    /// The last statement may still get its brace.
    waiting: bool,
    /// Braces opened beyond what is kept, to match their ends.
    ignored: usize,
}

/// The statements of the whole file, as children of one nameless statement.
pub(super) fn build(lines: &[Line], report: &mut Report) -> Stmt {
    let root = Level { stmt: Stmt { block: Some(Vec::new()), ..Stmt::default() }, kind: Block::Keywords };
    let mut builder = Builder { report, levels: vec![root], waiting: false, ignored: 0 };
    for line in lines {
        for piece in pieces(&line.text) {
            match piece {
                Piece::Text(text) => builder.text(text, line.pos),
                Piece::Open => builder.open(line.pos),
                Piece::Close => builder.close(line.pos),
            }
        }
    }
    builder.end()
}

impl Builder<'_> {
    fn text(&mut self, text: &str, pos: Pos) {
        self.missing_brace();
        let Some(words) = plain(text).or_else(|| self.unclosed_quote(text, pos)) else { return };
        let keyword = words.first().map_or("", String::as_str);
        if keyword.starts_with("${") || words.iter().any(|word| word.contains("${")) && !text.contains('"') {
            let what = format!("a parameter of `{text}` is not defined");
            self.report.error(pos, what, "define it before this line: $NAME=value");
        }
        let rest = text.split_once(|c: char| c.is_whitespace() || c == '"');
        // A quote that follows the keyword directly belongs to the argument.
        let rest = rest.map_or("", |(head, _)| text[head.len()..].trim_start()).to_owned();
        self.push(Stmt { pos, words, rest, block: None });
        self.waiting = true;
    }

    fn unclosed_quote(&mut self, text: &str, pos: Pos) -> Option<Vec<String>> {
        self.report.error(pos, format!("a quote is not closed in `{text}`"), "close it on the same line");
        None
    }

    /// A keyword that needs a block is followed by something else.
    fn missing_brace(&mut self) {
        if let Some((kind @ (Block::Keywords | Block::List), pos)) = self.pending() {
            let name = self.last().map(|stmt| stmt.keyword().to_owned()).unwrap_or_default();
            self.report.error(pos, format!("`{name}` has no `{{`"), format!("write `{name} ... {{`"));
            self.descend(kind);
        }
    }

    /// The block that the last statement waits for.
    fn pending(&self) -> Option<(Block, Pos)> {
        if !self.waiting {
            return None;
        }
        let stmt = self.last()?;
        let level = self.levels.last()?;
        Some((block(level.kind, level.stmt.keyword(), stmt.keyword()), stmt.pos))
    }

    fn open(&mut self, pos: Pos) {
        if self.ignored > 0 {
            self.ignored += 1;
            return;
        }
        match self.pending() {
            Some((kind @ (Block::Keywords | Block::List | Block::Unknown), _)) => self.descend(kind),
            Some((Block::None, _)) | None => {
                let help = "a block starts with a keyword that has one; look for a typo before it";
                self.report.error(pos, "unexpected `{`", help);
                self.ignored += 1;
            }
        }
    }

    fn descend(&mut self, kind: Block) {
        self.waiting = false;
        if self.levels.len() >= DEEPEST {
            self.ignored += 1;
            return;
        }
        let popped = self.levels.last_mut().and_then(|level| level.stmt.block.as_mut()?.pop());
        let Some(mut stmt) = popped else { return };
        stmt.block = Some(Vec::new());
        self.levels.push(Level { stmt, kind });
    }

    fn close(&mut self, pos: Pos) {
        self.missing_brace();
        self.waiting = false;
        if self.ignored > 0 {
            self.ignored -= 1;
        } else if self.levels.len() > 1 {
            self.ascend();
        } else {
            self.report.error(pos, "extra `}`", "take it out, or look for a `{` that is missing above");
        }
    }

    fn ascend(&mut self) {
        if let Some(level) = self.levels.pop() {
            self.push(level.stmt);
        }
    }

    fn end(mut self) -> Stmt {
        self.missing_brace();
        while self.levels.len() > 1 {
            if let Some(level) = self.levels.last() {
                let (name, pos) = (level.stmt.words.join(" "), level.stmt.pos);
                self.report.error(
                    pos,
                    format!("the block of `{name}` is never closed"),
                    "add the missing `}`",
                );
            }
            self.ascend();
        }
        self.levels.pop().map(|level| level.stmt).unwrap_or_default()
    }

    fn push(&mut self, stmt: Stmt) {
        if let Some(block) = self.levels.last_mut().and_then(|level| level.stmt.block.as_mut()) {
            block.push(stmt);
        }
    }

    fn last(&self) -> Option<&Stmt> {
        self.levels.last()?.stmt.block.as_ref()?.last()
    }
}

#[cfg(test)]
mod tests;
