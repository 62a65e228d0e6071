//! Static files, as nginx serves them: `try_files`, then index, listing, and the file itself.

mod cache;
mod conditional;
mod listing;
mod media;
mod place;
mod range;
mod text;

use mainstay_config::plan::edge::{Action, Fallback, Files, Gzip, Route};
use mainstay_core::name::RouteId;

use crate::exchange::{Exchange, Render};
use crate::gzip;
use crate::request::Request;
use crate::response::{Body, FilePiece, Response};
use crate::snapshot::Snapshot;
use cache::{Content, Entry, Trouble};
use range::Ranges;

/// What files make of a request.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// This response; its `Location`s are whole.
    Respond(Response),
    /// The client is redirected to this path of the same host, percent-encoded, its query behind `?`.
    Redirect(String),
    /// An internal redirect: a route is chosen anew for this path and query, the method stays.
    Path {
        /// Decoded.
        path: String,
        /// Without `?`.
        query: String,
    },
    /// This route goes on.
    Route(RouteId),
    /// This action goes on.
    Action(&'a Action),
    /// An error status, by way of the error pages, with fields of its own (`Content-Range` of a 416).
    Status {
        /// Status.
        status: u16,
        /// Fields that the response carries whatever page is shown.
        fields: Vec<(Box<str>, Vec<u8>)>,
    },
}

impl Outcome<'_> {
    const fn status(status: u16) -> Self {
        Self::Status { status, fields: Vec::new() }
    }
}

/// Answers from files; `exchange.path` becomes the one of `tries` that was found.
#[must_use]
pub fn answer<'a>(
    files: &'a Files,
    snapshot: &Snapshot,
    exchange: &mut Exchange,
    render: Render<'_>,
) -> Outcome<'a> {
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()));
    let Some(route) = route else { return Outcome::status(404) };
    if !files.tries.is_empty()
        && let Some(fallback) = tries(files, route, exchange, render)
    {
        return fallback;
    }
    let method = method(exchange);
    if !matches!(method, "GET" | "HEAD" | "POST") {
        return Outcome::status(405);
    }
    let served = if exchange.path.ends_with('/') {
        directory(files, route, exchange, render, method)
    } else {
        file(files, snapshot, route, exchange, render)
    };
    served.unwrap_or_else(Outcome::status)
}

/// The method that counts: after an error page's redirect it is GET.
fn method(exchange: &Exchange) -> &str {
    match exchange.request.method() {
        "HEAD" => "HEAD",
        _ if exchange.method_get => "GET",
        method => method,
    }
}

/// Looks for the first of `tries` that is there; what follows when none is.
fn tries<'a>(
    files: &'a Files,
    route: &Route,
    exchange: &mut Exchange,
    render: Render<'_>,
) -> Option<Outcome<'a>> {
    let (mut name, mut place) = (Vec::new(), Vec::new());
    for template in &files.tries {
        name.clear();
        let wants_directory = place::render_try(template, exchange, render, &mut name);
        let Ok(text) = std::str::from_utf8(&name) else { continue };
        if place::find(files, route, text, exchange, render, &mut place).is_err() {
            continue;
        }
        match cache::get(&place, exchange.started) {
            Ok(entry) if entry.is_directory() == wants_directory => {
                let path = place::path_of(files, route, text);
                exchange.rewritten |= path != exchange.path;
                exchange.path = path;
                return None;
            }
            Ok(_) | Err(_) => {}
        }
    }
    match &files.fallback {
        None => Some(Outcome::status(404)),
        Some(Fallback::Status(status)) => Some(Outcome::status(*status)),
        Some(Fallback::Route(route)) => Some(Outcome::Route(*route)),
        Some(Fallback::Action(action)) => Some(Outcome::Action(action)),
        Some(Fallback::Path(template)) => {
            name.clear();
            render(template, exchange, &mut name);
            let text = String::from_utf8_lossy(&name);
            let (path, query) = text.split_once('?').unwrap_or((&text, ""));
            Some(Outcome::Path { path: path.to_owned(), query: query.to_owned() })
        }
    }
}

/// A path that ends with a slash: its index, else a listing, else nothing to see.
fn directory<'a>(
    files: &Files,
    route: &Route,
    exchange: &Exchange,
    render: Render<'_>,
    method: &str,
) -> Result<Outcome<'a>, u16> {
    let mut place = Vec::new();
    place::find(files, route, &exchange.path, exchange, render, &mut place)?;
    let length = place.len();
    let mut is_there = false;
    let mut name = Vec::new();
    for template in &files.index {
        name.clear();
        render(template, exchange, &mut name);
        let Ok(text) = std::str::from_utf8(&name) else { continue };
        if text.starts_with('/') {
            return Ok(Outcome::Path { path: text.to_owned(), query: exchange.query.clone() });
        }
        if text.is_empty() || !place::stays(text) {
            continue;
        }
        place.truncate(length);
        place.extend_from_slice(text.as_bytes());
        match cache::get(&place, exchange.started) {
            Ok(_) => {
                let path = format!("{}{text}", exchange.path);
                return Ok(Outcome::Path { path, query: exchange.query.clone() });
            }
            Err(Trouble::Missing) if !is_there => {
                is_there = cache::get(&place[..length], exchange.started)?.is_directory();
                if !is_there {
                    return Err(404);
                }
            }
            Err(Trouble::Missing) => {}
            Err(trouble) => return Err(trouble.into()),
        }
    }
    place.truncate(length);
    if files.listing && method != "POST" {
        return listing::page(&place, &exchange.path).map(Outcome::Respond);
    }
    Err(403)
}

/// A path that names a file, or a directory without its slash.
fn file<'a>(
    files: &Files,
    snapshot: &Snapshot,
    route: &Route,
    exchange: &Exchange,
    render: Render<'_>,
) -> Result<Outcome<'a>, u16> {
    let mut place = Vec::new();
    place::find(files, route, &exchange.path, exchange, render, &mut place)?;
    let get = method(exchange) != "POST";
    let packed = if files.precompressed && get { packed(&mut place, exchange) } else { None };
    if let Some(entry) = packed.as_ref().filter(|_| gzip::accepts(&exchange.request)) {
        return Ok(send(files, snapshot, route, exchange, entry, Form::Packed));
    }
    let entry = cache::get(&place, exchange.started)?;
    if entry.is_directory() {
        let mut location = String::new();
        text::escape_path(&mut location, &exchange.path);
        location.push('/');
        if !exchange.query.is_empty() {
            location.push('?');
            location.push_str(&exchange.query);
        }
        return Ok(Outcome::Redirect(location));
    }
    if !get {
        return Err(405);
    }
    let form = if packed.is_some() { Form::PlainOfTwo } else { Form::Plain };
    Ok(send(files, snapshot, route, exchange, &entry, form))
}

/// The `.gz` beside a file, when there is one.
fn packed(place: &mut Vec<u8>, exchange: &Exchange) -> Option<std::rc::Rc<Entry>> {
    let length = place.len();
    place.extend_from_slice(b".gz");
    let entry = cache::get(place, exchange.started).ok().filter(|entry| !entry.is_directory());
    place.truncate(length);
    entry
}

/// What stands in a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// The body itself.
    Plain,
    /// The body itself, and a compressed one is there as well.
    PlainOfTwo,
    /// The compressed body.
    Packed,
}

/// Sends a file, whole or in part, or says that the client has it already.
fn send<'a>(
    files: &Files,
    snapshot: &Snapshot,
    route: &Route,
    exchange: &Exchange,
    entry: &Entry,
    form: Form,
) -> Outcome<'a> {
    let etag = files.etag.then_some(entry.etag.as_str());
    let request = &exchange.request;
    let mut fields: Vec<(Box<str>, Vec<u8>)> = Vec::with_capacity(6);
    let mut add = |name: &str, value: &[u8]| fields.push((name.into(), value.to_vec()));
    let verdict = conditional::judge(request, etag, entry.modified, files.later_dates);
    if verdict == conditional::Verdict::Failed {
        return Outcome::status(412);
    }
    let media = media::of(&exchange.path, snapshot, route);
    if verdict == conditional::Verdict::Send && !media.is_empty() {
        add("Content-Type", media.as_bytes());
    }
    add("Last-Modified", entry.last_modified.as_bytes());
    if let Some(etag) = etag {
        add("ETag", etag.as_bytes());
    }
    if form != Form::Plain {
        add("Vary", b"Accept-Encoding");
    }
    if verdict == conditional::Verdict::NotModified {
        return Outcome::Respond(Response { status: 304, fields, body: Body::Empty });
    }
    if form == Form::Packed {
        add("Content-Encoding", b"gzip");
        return Outcome::Respond(Response { status: 200, fields, body: whole(entry) });
    }
    let asked = match route.gzip.as_ref().map(|gzip| is_packed(gzip, request, entry, &fields)) {
        // A part of what is compressed anew each time is a part of nothing that the client has (RFC 9110 section 14.2).
        Some(true) => Ranges::Whole,
        Some(false) | None => range::asked(request, entry.size, etag, entry.modified, files.ranges_max),
    };
    let mut add = |name: &str, value: &[u8]| fields.push((name.into(), value.to_vec()));
    match asked {
        Ranges::Whole => {
            if files.ranges_max > 0 {
                add("Accept-Ranges", b"bytes");
            }
            Outcome::Respond(Response { status: 200, fields, body: whole(entry) })
        }
        Ranges::None => {
            let value = format!("bytes */{}", entry.size).into_bytes();
            Outcome::Status { status: 416, fields: vec![("Content-Range".into(), value)] }
        }
        Ranges::Some(ranges) => Outcome::Respond(range::response(entry, &ranges, fields, media)),
    }
}

/// Whether a file will be compressed on its way.
fn is_packed(gzip: &Gzip, request: &Request, entry: &Entry, fields: &[(Box<str>, Vec<u8>)]) -> bool {
    let field = |name: &str| {
        let found = fields.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    };
    gzip::choose(gzip, request, 200, Some(entry.size), field) == gzip::Choice::Compress
}

fn whole(entry: &Entry) -> Body {
    match &entry.content {
        Content::Small(bytes) => Body::Bytes(bytes.clone()),
        Content::Large(file) => Body::File {
            file: std::rc::Rc::clone(file),
            pieces: vec![FilePiece::Range { start: 0, length: entry.size }],
        },
        Content::Directory => Body::Empty,
    }
}

#[cfg(test)]
mod tests;
