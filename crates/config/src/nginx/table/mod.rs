//! Every directive of nginx, where it may stand, what it takes, and what becomes of it: so that a typo is told from
//! something that exists there but not here, and nothing is left out in silence that changes behaviour.

mod rows;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tree::Directive;
use super::values;
use crate::import::report::Report;
use crate::suggest::nearest;

/// What becomes of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Treat {
    /// A mapper reads it.
    Used,
    /// It tunes nginx itself and has no meaning here.
    Silent,
    /// It has no meaning here, for this reason.
    Note(&'static str),
    /// It changes behaviour and is left out; what that means.
    Dropped(&'static str),
    /// It answers requests in a way that does not exist here: 501 takes its place.
    Content(&'static str),
    /// It keeps requests out in a way that does not exist here: everything is kept out.
    Guard(&'static str),
}

/// What it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// So many arguments.
    Args(usize, usize),
    /// `on` or `off`.
    Flag,
    /// One time.
    Time,
    /// One size.
    Size,
    /// One number.
    Number,
    /// Arguments and a block of directives.
    Block(usize, usize),
    /// Arguments and a block of something else.
    Data(usize, usize),
    /// Nobody looks.
    Any,
}

/// A directive in some contexts.
#[derive(Debug)]
pub(super) struct Row {
    /// Names, separated by spaces.
    names: &'static str,
    /// Where it may stand, a letter each.
    contexts: &'static str,
    takes: Takes,
    treat: Treat,
}

/// Where a directive stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    Main,
    Events,
    Http,
    Server,
    Location,
    /// `if` in a location.
    If,
    /// `if` in a server.
    ServerIf,
    LimitExcept,
    Upstream,
    Stream,
    StreamServer,
    StreamUpstream,
}

impl Context {
    const fn letter(self) -> char {
        match self {
            Self::Main => 'M',
            Self::Events => 'E',
            Self::Http => 'H',
            Self::Server => 'S',
            Self::Location => 'L',
            Self::If => 'I',
            Self::ServerIf => 'J',
            Self::LimitExcept => 'X',
            Self::Upstream => 'U',
            Self::Stream => 'A',
            Self::StreamServer => 'B',
            Self::StreamUpstream => 'C',
        }
    }

    /// What the block of `name` is, when directives stand in it.
    fn inside(self, name: &str) -> Option<Self> {
        Some(match (self, name) {
            (Self::Main, "events") => Self::Events,
            (Self::Main, "http") => Self::Http,
            (Self::Main, "stream") => Self::Stream,
            (Self::Http, "server") => Self::Server,
            (Self::Http, "upstream") => Self::Upstream,
            (Self::Stream, "server") => Self::StreamServer,
            (Self::Stream, "upstream") => Self::StreamUpstream,
            (Self::Server | Self::Location, "location") => Self::Location,
            (Self::Location, "if") => Self::If,
            (Self::Server, "if") => Self::ServerIf,
            (Self::Location, "limit_except") => Self::LimitExcept,
            _ => return None,
        })
    }
}

type Rows = HashMap<&'static str, Vec<&'static Row>>;

fn rows() -> &'static Rows {
    static ALL: LazyLock<Rows> = LazyLock::new(|| {
        let mut all = Rows::new();
        for row in rows::ROWS {
            for name in row.names.split_whitespace() {
                all.entry(name).or_default().push(row);
            }
        }
        all
    });
    &ALL
}

fn row(name: &str, context: Context) -> Option<&'static Row> {
    rows().get(name)?.iter().find(|row| row.contexts.contains(context.letter())).copied()
}

/// What becomes of a directive of http.
pub(super) fn treat(name: &str, context: Context) -> Option<Treat> {
    row(name, context).map(|row| row.treat)
}

/// Reports everything that stands in the wrong place, takes the wrong arguments, or is not taken over.
pub(super) fn check(all: &[Directive], context: Context, report: &mut Report) {
    let mut scalars: HashMap<&str, ()> = HashMap::new();
    for directive in all {
        let name = directive.name.as_str();
        let Some(row) = row(name, context) else {
            unknown(directive, context, report);
            continue;
        };
        if !fits(directive, row.takes, report) {
            continue;
        }
        let scalar = matches!(row.takes, Takes::Flag | Takes::Time | Takes::Size | Takes::Number);
        if scalar && scalars.insert(name, ()).is_some() {
            error(directive, format!("\"{name}\" directive is duplicate"), report);
        }
        match row.treat {
            Treat::Used | Treat::Silent => {}
            Treat::Note(why) => report.note(directive.pos, format!("{name} has no meaning here"), why),
            Treat::Dropped(what) => report.dropped(directive.pos, format!("{name} is left out"), what),
            Treat::Content(what) => {
                let text = format!("{name} is left out: 501 is answered in its place");
                report.dropped(directive.pos, text, what);
            }
            Treat::Guard(what) => {
                if directive.arg(0) != "off" {
                    let text = format!("{name} is left out: everybody is kept out in its place");
                    report.dropped(directive.pos, text, what);
                }
            }
        }
        if let (Some(inside), Treat::Used) = (context.inside(name), row.treat) {
            check(directive.children(), inside, report);
        }
    }
}

fn unknown(directive: &Directive, context: Context, report: &mut Report) {
    let name = directive.name.as_str();
    if rows().contains_key(name) {
        let text = format!("\"{name}\" directive is not allowed here");
        let part = |part: Context| context == Context::Main && row(name, part).is_some();
        let help = match (part(Context::Http), part(Context::Stream)) {
            (true, true) => {
                "if the file is a part of `http` or `stream`, say so: --context http or --context stream"
            }
            (true, false) => "if the file is a part of `http`, say so: --context http",
            (false, true) => "if the file is a part of `stream`, say so: --context stream",
            (false, false) => "nginx would not start with this; `nginx -t` says the same",
        };
        return report.error(directive.pos, text, help);
    }
    let what = match nearest(name, rows().keys().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "it is none of nginx's own; the module that it belongs to does not exist here".to_owned(),
    };
    report.dropped(directive.pos, format!("unknown directive \"{name}\""), what);
}

fn error(directive: &Directive, text: String, report: &mut Report) {
    report.error(directive.pos, text, "nginx would not start with this; `nginx -t` says the same");
}

/// Whether the arguments are of the right number and kind.
fn fits(directive: &Directive, takes: Takes, report: &mut Report) -> bool {
    let name = &directive.name;
    let (low, high, block) = match takes {
        Takes::Any => return true,
        Takes::Args(low, high) => (low, high, false),
        Takes::Flag | Takes::Time | Takes::Size | Takes::Number => (1, 1, false),
        Takes::Block(low, high) | Takes::Data(low, high) => (low, high, true),
    };
    let wrong = match (block, directive.block.is_some()) {
        (true, false) => Some(format!("directive \"{name}\" has no opening \"{{\"")),
        (false, true) => Some(format!("directive \"{name}\" is not terminated by \";\"")),
        (true, true) | (false, false) if !(low..=high).contains(&directive.args.len()) => {
            Some(format!("invalid number of arguments in \"{name}\" directive"))
        }
        (true, true) | (false, false) => None,
    };
    let arg = directive.arg(0);
    let wrong = wrong.or_else(|| match takes {
        Takes::Flag if values::flag(arg).is_none() => {
            Some(format!("invalid value \"{arg}\" in \"{name}\" directive, it must be \"on\" or \"off\""))
        }
        Takes::Time if values::time(arg).is_none() => Some(format!("\"{name}\" directive invalid value")),
        Takes::Size if values::size(arg).is_none() => Some(format!("\"{name}\" directive invalid value")),
        Takes::Number if arg.parse::<u32>().is_err() => Some("invalid number".to_owned()),
        Takes::Any
        | Takes::Args(..)
        | Takes::Flag
        | Takes::Time
        | Takes::Size
        | Takes::Number
        | Takes::Block(..)
        | Takes::Data(..) => None,
    });
    match wrong {
        Some(wrong) => {
            error(directive, wrong, report);
            false
        }
        None => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_directive_has_two_meanings_in_one_place() {
        for (name, rows) in rows() {
            let all: String = rows.iter().map(|row| row.contexts).collect();
            for letter in all.chars() {
                assert_eq!(all.matches(letter).count(), 1, "{name} in {letter}");
            }
        }
    }

    #[test]
    fn most_directives_of_everyday_files_are_read() {
        let used = rows().values().flatten().filter(|row| row.treat == Treat::Used).count();
        assert!(used > 150, "{used}");
    }
}
