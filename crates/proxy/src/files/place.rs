//! Where in the file system a path is; never outside of the directory that the route names.

use mainstay_config::plan::edge::{Files, PathMatch, Piece, Route, Template};

use crate::exchange::{Exchange, Render};

/// Bytes of the longest place, as Linux has it (PATH_MAX).
const LONGEST: usize = 4096;

/// Writes the place of a name: the root, and the name behind it, of which an alias cuts the matched prefix off.
///
/// # Errors
/// 404 when the place would lie outside of the root, or can't exist.
pub(super) fn find(
    files: &Files,
    route: &Route,
    name: &str,
    exchange: &Exchange,
    render: Render<'_>,
    place: &mut Vec<u8>,
) -> Result<(), u16> {
    place.clear();
    render(&files.root, exchange, place);
    if files.root.literal().is_none() && !std::str::from_utf8(place).is_ok_and(stays) {
        return Err(404);
    }
    let rest = rest(files, route, name);
    let apart = rest.is_empty() || rest.starts_with('/') || place.ends_with(b"/");
    // A prefix that ends with a slash stands for a directory, and so does the root in its place.
    let cut = files.alias && matches!(&route.path, PathMatch::Prefix { path, .. } if path.ends_with('/'));
    if place.is_empty() || !(apart || cut) || !stays(rest) {
        return Err(404);
    }
    if cut && !place.ends_with(b"/") && !rest.starts_with('/') {
        place.push(b'/');
    }
    place.extend_from_slice(rest.as_bytes());
    if place.len() >= LONGEST { Err(404) } else { Ok(()) }
}

/// What of a name comes behind the root.
fn rest<'a>(files: &Files, route: &Route, name: &'a str) -> &'a str {
    if !files.alias {
        return name;
    }
    match &route.path {
        PathMatch::Exact(prefix) | PathMatch::Prefix { path: prefix, .. } => {
            name.strip_prefix(prefix.as_str()).unwrap_or(name)
        }
        // The root is made of the expression's groups: it is the place itself.
        PathMatch::Regex { .. } => "",
        PathMatch::Never => name,
    }
}

/// The path that a name of `tries` stands for: with an alias the matched prefix is put in front when it was left out.
pub(super) fn path_of(files: &Files, route: &Route, name: &str) -> String {
    if !files.alias {
        return name.to_owned();
    }
    match &route.path {
        PathMatch::Exact(prefix) | PathMatch::Prefix { path: prefix, .. }
            if !name.starts_with(prefix.as_str()) =>
        {
            format!("{prefix}{name}")
        }
        PathMatch::Exact(_) | PathMatch::Prefix { .. } | PathMatch::Regex { .. } | PathMatch::Never => {
            name.to_owned()
        }
    }
}

/// Writes the name that one of `tries` makes, and tells whether a directory is asked for: by a slash at the end of the
/// text itself, which is left away.
pub(super) fn render_try(
    template: &Template,
    exchange: &Exchange,
    render: Render<'_>,
    name: &mut Vec<u8>,
) -> bool {
    render(template, exchange, name);
    let slash = matches!(template.0.last(), Some(Piece::Text(text)) if text.ends_with('/'));
    if slash {
        name.pop();
    }
    slash
}

/// Whether a text leads nowhere above where it begins: no `..` between slashes, no NUL.
pub(super) fn stays(text: &str) -> bool {
    !text.contains('\0') && (!text.contains("..") || text.split('/').all(|segment| segment != ".."))
}
