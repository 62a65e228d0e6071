//! Nginx's tree of locations, laid flat: what each matches, in the order in which it is asked.

use std::collections::HashSet;
use std::rc::Rc;

use super::scope::Scope;
use super::tree::Directive;
use super::{Cx, pcre};
use crate::import::report::Pos;

/// What a location matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Exact(String),
    Prefix { path: String, last: bool },
    Regex { pattern: String, ignore_case: bool },
    Named(String),
}

impl Place {
    /// The text of an exact path or a prefix.
    pub(super) fn path(&self) -> Option<&str> {
        match self {
            Self::Exact(path) | Self::Prefix { path, .. } => Some(path),
            Self::Regex { .. } | Self::Named(_) => None,
        }
    }

    /// As names of routes have it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Exact(path) => format!("={path}"),
            Self::Prefix { path, .. } => path.clone(),
            Self::Regex { pattern, .. } => format!("~{pattern}"),
            Self::Named(name) => name.clone(),
        }
    }
}

/// A location on its way to become a route.
pub(super) struct Node<'a> {
    pub(super) pos: Pos,
    pub(super) scope: Rc<Scope<'a>>,
    pub(super) place: Place,
    pub(super) parent: Option<usize>,
    pub(super) depth: usize,
}

/// Reads the locations of a block, and those in them.
pub(super) fn flatten<'a>(
    scope: &Rc<Scope<'a>>,
    parent: Option<usize>,
    depth: usize,
    nodes: &mut Vec<Node<'a>>,
    cx: &mut Cx<'a>,
) {
    let mut seen: HashSet<(String, String)> = HashSet::new();
    for at in scope.own("location").to_vec() {
        if at.block.is_none() {
            continue;
        }
        let (modifier, name) = modifier(at);
        if !seen.insert((modifier.to_owned(), name.to_owned())) && !matches!(modifier, "~" | "~*") {
            cx.wrong(at, format!("duplicate location \"{name}\""));
            continue;
        }
        let Some(place) = place(at, modifier, name, cx) else { continue };
        if let (Some(parent), Some(path)) = (parent, place.path()) {
            let outer = &nodes[parent].place;
            if !outer.path().is_some_and(|outer| path.starts_with(outer)) || matches!(outer, Place::Exact(_))
            {
                cx.wrong(
                    at,
                    format!(
                        "location \"{name}\" is outside location \"{}\"",
                        outer.path().unwrap_or_default()
                    ),
                );
                continue;
            }
        }
        let inner = scope.inside(at.children());
        nodes.push(Node { pos: at.pos, scope: Rc::clone(&inner), place, parent, depth });
        flatten(&inner, Some(nodes.len() - 1), depth + 1, nodes, cx);
    }
}

/// `location = /x`, `location =/x`, `location /x`.
fn modifier(at: &Directive) -> (&str, &str) {
    if let [modifier, name] = at.args.as_slice() {
        return (modifier, name);
    }
    let name = at.arg(0);
    for modifier in ["^~", "~*", "~", "="] {
        if let Some(rest) = name.strip_prefix(modifier) {
            return (modifier, rest);
        }
    }
    ("", name)
}

fn place(at: &Directive, modifier: &str, name: &str, cx: &mut Cx<'_>) -> Option<Place> {
    match modifier {
        "~" | "~*" => {
            let pattern = cx.regex(name, at, "requests go on to the other locations")?;
            return Some(Place::Regex { pattern, ignore_case: modifier == "~*" });
        }
        "" if name.starts_with('@') => return Some(Place::Named(name.to_owned())),
        "" | "=" | "^~" => {}
        other => {
            cx.wrong(at, format!("invalid location modifier \"{other}\""));
            return None;
        }
    }
    if modifier.is_empty() && name.is_empty() {
        return Some(Place::Prefix { path: "/".to_owned(), last: false });
    }
    if never_matches(name) {
        let what =
            "paths begin with /, are decoded, and have single slashes and no dots when they are compared";
        cx.report.note(at.pos, format!("location \"{name}\" never matches: it is left out"), what);
        return None;
    }
    Some(match modifier {
        "=" => Place::Exact(name.to_owned()),
        modifier => Place::Prefix { path: name.to_owned(), last: modifier == "^~" },
    })
}

fn never_matches(path: &str) -> bool {
    !path.starts_with('/')
        || path.contains("//")
        || path.split('/').any(|segment| segment == "." || segment == "..")
}

/// Expressions inside a prefix are only tried there. Ours are tried for every path: they are bound to the prefix, and
/// longer prefixes outside of it, for which nginx would not try them, end the search.
pub(super) fn arrange(nodes: &mut [Node<'_>], cx: &mut Cx<'_>) {
    let outside = nodes.iter().any(|node| node.depth == 0 && matches!(node.place, Place::Regex { .. }));
    for nth in 0..nodes.len() {
        let Some(parent) = nodes[nth].parent else { continue };
        let Some(prefix) = nodes[parent].place.path().map(str::to_owned) else { continue };
        if !matches!(nodes[nth].place, Place::Regex { .. }) {
            continue;
        }
        let mut blurred = false;
        for other in 0..nodes.len() {
            let inside = is_inside(nodes, other, parent);
            let Place::Prefix { path, last } = &mut nodes[other].place else { continue };
            if other == parent {
                blurred |= *last && outside;
                *last = false;
            } else if path.starts_with(&prefix) && !inside {
                blurred |= outside && !*last;
                *last |= !outside;
            }
        }
        if blurred {
            let text = "an expression in a location is tried for longer paths of other locations too";
            cx.report.dropped(
                nodes[nth].pos,
                text,
                "write the expression with the whole path at the end of the server",
            );
        }
        if let Place::Regex { pattern, .. } = &mut nodes[nth].place {
            *pattern = bound(pattern, &prefix);
        }
    }
}

fn is_inside(nodes: &[Node<'_>], nth: usize, ancestor: usize) -> bool {
    let mut at = nodes[nth].parent;
    while let Some(parent) = at {
        if parent == ancestor {
            return true;
        }
        at = nodes[parent].parent;
    }
    false
}

/// An expression that only matches below a prefix.
fn bound(pattern: &str, prefix: &str) -> String {
    let literal = pcre::literal(prefix);
    match pattern.strip_prefix('^') {
        Some(_) if pattern[1..].starts_with(&literal) || prefix == "/" => pattern.to_owned(),
        Some(rest) if rest.starts_with(".*") => format!("^(?-i:{literal}){rest}"),
        Some(_) => pattern.to_owned(),
        None => format!("^(?-i:{literal}).*?(?:{pattern})"),
    }
}
