//! Names of the edge's things: who has them, who uses them, which variables there are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Slot;
use crate::plan::edge::{Edge, Known, PathMatch, Piece, Template, Var, is_own, pattern};
use crate::raw;
use crate::resolve::Resolver;
use crate::source::{At, Span};
use crate::suggest;
use crate::values::Templated;

/// Kinds of things that are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::resolve) enum Kind {
    Listener,
    Route,
    Pool,
    Zone,
    Log,
    Tunnel,
}

impl Kind {
    const fn word(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Route => "route",
            Self::Pool => "pool",
            Self::Zone => "zone",
            Self::Log => "log",
            Self::Tunnel => "tunnel",
        }
    }
}

/// What gives a variable of one's own its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Definer {
    Map,
    /// A step, or a named group of an expression.
    Request,
}

/// Everything that is named, and what was asked for.
#[derive(Default)]
pub(in crate::resolve) struct State {
    names: HashMap<(Kind, String), Entry>,
    own: BTreeMap<String, (Definer, Span)>,
    uses: Vec<(String, Span, String)>,
    patterns: HashMap<(String, bool), Vec<String>>,
    /// Ids of private tunnels.
    pub(super) private: HashSet<String>,
    /// The pools that are resolved are those of private tunnels.
    pub(super) leads_private: bool,
    /// Names made for routes that have none, by position.
    pub(super) route_names: HashMap<usize, String>,
}

#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    span: Span,
    used: bool,
}

/// More expressions are a mistake; each takes memory in every process.
const MOST_PATTERNS: usize = 8192;
const PATIENCE: usize = 512;

impl Resolver<'_> {
    pub(super) fn register(&mut self, kind: Kind, slots: &[Slot]) {
        let word = kind.word();
        let mut taken = HashMap::new();
        for (id, (name, head)) in slots.iter().enumerate() {
            let name = self.required(name, head, &format!("[[{word}]]"), "name");
            let span = name.as_ref().map_or(head.span, |name| name.span);
            let Some(name) = self.unique(name, &mut taken, word) else { continue };
            self.enter(kind, name, id, span);
        }
    }

    pub(super) fn enter(&mut self, kind: Kind, name: String, id: usize, span: Span) {
        let id = u32::try_from(id).expect("a file of 1 MiB has fewer tables");
        self.edge.names.entry((kind, name)).or_insert(Entry { id, span, used: false });
    }

    pub(super) fn has_name(&self, kind: Kind, name: &str) -> bool {
        self.edge.names.contains_key(&(kind, name.to_owned()))
    }

    pub(super) fn span_of_name(&self, kind: Kind, name: &str) -> Option<Span> {
        self.edge.names.get(&(kind, name.to_owned())).map(|entry| entry.span)
    }

    /// The index of a thing that something names.
    pub(in crate::resolve) fn named(&mut self, kind: Kind, name: &At<String>, who: &str) -> Option<u32> {
        if let Some(entry) = self.edge.names.get_mut(&(kind, name.value.clone())) {
            entry.used = true;
            return Some(entry.id);
        }
        let word = kind.word();
        let help = if self.findings.full() {
            String::new()
        } else {
            // Names that were made for routes are no words of the operator's.
            let made: HashSet<&str> = self.edge.route_names.values().map(String::as_str).collect();
            let names = self.edge.names.keys().filter(|(of, _)| *of == kind).map(|(_, name)| name.as_str());
            let mut known: Vec<&str> =
                names.filter(|name| kind != Kind::Route || !made.contains(name)).collect();
            known.sort_unstable();
            if known.is_empty() {
                let key = if kind == Kind::Tunnel { "id" } else { "name" };
                format!("write [[{word}]] with {key} = \"{}\"", name.value)
            } else {
                suggest::advice(&name.value, word, &known)
            }
        };
        self.error(name.span, format!("{who}: there is no {word} \"{}\"", name.value), help);
        None
    }

    /// A text with variables, its own ones noted to be looked up when all are known.
    pub(super) fn template(&mut self, at: &At<Templated>, who: &str) -> Template {
        self.noted(at.value.0.clone(), at.span, who)
    }

    pub(super) fn noted(&mut self, template: Template, span: Span, who: &str) -> Template {
        for piece in &template.0 {
            match piece {
                Piece::Var(Var::Own(name)) => self.edge.uses.push((name.clone(), span, who.to_owned())),
                Piece::Var(_) => {}
                Piece::Text(text) => {
                    if let Some(name) = dollar(text) {
                        let message = format!("{who}: `${name}` is plain text here");
                        self.findings.warn(
                            span,
                            message,
                            format!("write {{{name}}} if the variable is meant"),
                        );
                    }
                }
            }
        }
        template
    }

    /// Notes that a variable gets its value somewhere.
    pub(super) fn define(&mut self, name: &str, definer: Definer, span: Span, who: &str) {
        let changeable = definer == Definer::Request && name == "args";
        if changeable {
            return;
        }
        if !matches!(Var::named(name), Some(Var::Own(_))) {
            let (what, help) = if is_own(name) {
                ("a variable of the proxy, it can't be given a value", "choose another name")
            } else {
                ("not the name of a variable", "write letters, digits and _, a letter first")
            };
            self.error(span, format!("{who}: \"{}\" is {what}", name.escape_debug()), help);
            return;
        }
        let Some((other, first)) = self.edge.own.get(name).copied() else {
            self.edge.own.insert(name.to_owned(), (definer, span));
            return;
        };
        match (other, definer) {
            (Definer::Request, Definer::Request) => {}
            (Definer::Map, _) | (_, Definer::Map) => {
                let place = self.findings.line_of(first);
                let message = format!("{who}: variable \"{name}\" gets its value at {place} already");
                self.error(span, message, "a map gives its variable its value alone: choose another name");
            }
        }
    }

    /// Variables that nothing gives a value.
    pub(super) fn unknown_variables(&mut self) {
        let uses = std::mem::take(&mut self.edge.uses);
        for (name, span, who) in &uses {
            if self.edge.own.contains_key(name) || self.findings.full() {
                continue;
            }
            let own = self.edge.own.keys().map(String::as_str);
            let known: Vec<&str> = own.chain(Known::ALL.iter().map(|(word, _)| *word)).collect();
            let help = suggest::nearest(name, known.iter().copied()).map_or_else(
                || {
                    format!(
                        "give it a value by [[map]] name = \"{name}\" or by a step set = \"{name}\"; write {{{{{name}}}}} if \
                         braces are meant"
                    )
                },
                |near| format!("did you mean {{{near}}}?"),
            );
            self.error(*span, format!("{who}: nothing gives {{{name}}} a value"), help);
        }
        self.edge.uses = uses;
    }

    /// An expression that compiles; its named groups become variables.
    pub(super) fn pattern(&mut self, at: &At<String>, ignore_case: bool, who: &str) -> String {
        let key = (at.value.clone(), ignore_case);
        let groups = match self.edge.patterns.get(&key) {
            Some(groups) => groups.clone(),
            None if self.findings.full() => return at.value.clone(),
            // Nobody waits for thousands of them when the load has failed already.
            None if self.edge.patterns.len() > PATIENCE && self.findings.has_errors() => {
                return at.value.clone();
            }
            None => match pattern(&at.value, ignore_case) {
                Ok(regex) => {
                    let groups: Vec<String> = regex.capture_names().flatten().map(str::to_owned).collect();
                    if self.edge.patterns.len() == MOST_PATTERNS {
                        let message = format!("{who}: more than {MOST_PATTERNS} expressions");
                        self.error(at.span, message, "join some of them, or write prefixes and exact texts");
                    }
                    self.edge.patterns.insert(key, groups.clone());
                    groups
                }
                Err(error) => {
                    let message = format!("{who}: this is not a regular expression: {}", reason(&error));
                    self.error(at.span, message, advice(&at.value));
                    return at.value.clone();
                }
            },
        };
        for group in &groups {
            self.define(group, Definer::Request, at.span, who);
        }
        at.value.clone()
    }

    /// What is there and asked for by nobody.
    pub(super) fn unused_of_the_edge(&mut self, maps: &[At<raw::Map>], edge: &Edge) {
        let mut unused: Vec<(Kind, String, Entry)> = self
            .edge
            .names
            .iter()
            .filter(|(_, entry)| !entry.used)
            .map(|((kind, name), entry)| (*kind, name.clone(), *entry))
            .collect();
        unused.sort_by_key(|(.., entry)| entry.span);
        for (kind, name, entry) in unused {
            let (message, help) = match kind {
                Kind::Pool => (
                    format!("nothing goes to pool \"{name}\""),
                    format!("write pool = \"{name}\" in a [[route]] or a [[listener]], or take it out"),
                ),
                Kind::Zone => (
                    format!("nothing is counted in zone \"{name}\""),
                    format!("write rates = [{{ zone = \"{name}\" }}] in a [[route]], or take it out"),
                ),
                Kind::Log => (
                    format!("nothing is written to log \"{name}\""),
                    format!("write log = [\"{name}\"] in a [[route]], or take it out"),
                ),
                Kind::Route if edge.routes[entry.id as usize].path == PathMatch::Never => (
                    format!("nothing goes on with route \"{name}\""),
                    format!("name it in `errors`, `fallback` (\"@{name}\") or a step, or take it out"),
                ),
                Kind::Tunnel => (
                    format!("nothing leads to tunnel \"{name}\""),
                    format!(
                        "write `hosts` or `tcp` into it, \"tunnel:{name}\" into a [[pool]], or take it out"
                    ),
                ),
                Kind::Route | Kind::Listener => continue,
            };
            self.findings.warn(entry.span, message, help);
        }
        let uses: HashSet<String> =
            std::mem::take(&mut self.edge.uses).into_iter().map(|(used, ..)| used).collect();
        for At { value: map, .. } in maps {
            let Some(name) = &map.name else { continue };
            if !uses.contains(&name.value) {
                let message = format!("nothing uses the variable of map \"{}\"", name.value);
                self.findings.warn(
                    name.span,
                    message,
                    format!("write {{{}}} somewhere, or take it out", name.value),
                );
            }
        }
    }
}

/// nginx's way to write a variable: `$host`.
fn dollar(text: &str) -> Option<&str> {
    text.match_indices('$').find_map(|(at, _)| {
        let rest = &text[at + 1..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let name = &rest[..end];
        match Var::named(name) {
            Some(Var::Own(_)) | None => None,
            Some(_) => Some(name),
        }
    })
}

/// The engine's own sentence, without its drawing of the expression.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    last.trim().trim_start_matches("error: ").to_owned()
}

fn advice(text: &str) -> &'static str {
    if ["(?=", "(?!", "(?<=", "(?<!"].iter().any(|around| text.contains(around)) {
        return "look-around is not spoken, so that no request can keep the engine busy: write a second route, or a condition \
                with not = true";
    }
    "write it in single quotes, such as '\\.php$', so that backslashes stay; a backslash stands before . * + ? ( ) [ ] { } \
     | ^ $ that mean themselves"
}
