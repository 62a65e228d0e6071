//! A line of an access log.

use std::cell::RefCell;
use std::io::Write as _;
use std::rc::Rc;

use mainstay_config::plan::edge::{AccessLog, Edge, Known, LogFormat, Piece, Template, Var};
use mainstay_core::name::LogId;

use super::{escape, json};
use crate::clock;
use crate::exchange::{Exchange, Render};
use crate::policy;
use crate::request::{Request, Version};
use crate::route::date;
use crate::snapshot::Snapshot;

/// Configurations whose formats are at hand.
const KEPT: usize = 4;

/// How lines are made in one thread.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The second that was written last, as the combined format has it.
    second: RefCell<(u64, Vec<u8>)>,
    /// By generation: the formats of one's own, by log.
    formats: RefCell<Vec<(u64, Rc<Vec<Format>>)>>,
}

/// A format of one's own, each variable by itself.
type Format = Vec<Part>;

#[derive(Debug)]
enum Part {
    Text(Vec<u8>),
    /// A value; when it is empty and that means that there is none, a dash stands for it.
    Value(Template, bool),
}

impl Lines {
    /// Writes a line without its end.
    pub(super) fn write(
        &self,
        id: LogId,
        log: &AccessLog,
        snapshot: &Snapshot,
        exchange: &Exchange,
        render: Render<'_>,
        out: &mut Vec<u8>,
    ) {
        match &log.format {
            LogFormat::Combined => self.combined(exchange, out),
            LogFormat::Json => json::write(snapshot, exchange, out),
            LogFormat::Text { json_escape, .. } => {
                let formats = self.formats(snapshot);
                let Some(format) = formats.get(id.index()) else { return };
                text(format, *json_escape, exchange, render, out);
            }
        }
    }

    /// nginx's `combined`.
    fn combined(&self, exchange: &Exchange, out: &mut Vec<u8>) {
        match exchange.client {
            Some(client) => drop(write!(out, "{client}")),
            None => out.extend(b"unix:"),
        }
        out.extend(b" - ");
        match policy::user(exchange) {
            Some(user) => escape::default(out, user.as_bytes()),
            None => out.push(b'-'),
        }
        out.extend(b" [");
        self.time_local(out);
        out.extend(b"] \"");
        request_line(&exchange.request, |part| escape::default(out, part));
        let _ = write!(out, "\" {:03} {} \"", exchange.status, exchange.body_sent);
        field(&exchange.request, "referer", out);
        out.extend(b"\" \"");
        field(&exchange.request, "user-agent", out);
        out.push(b'"');
    }

    fn time_local(&self, out: &mut Vec<u8>) {
        let wall = clock::wall();
        let mut second = self.second.borrow_mut();
        if second.0 != wall.as_secs() || second.1.is_empty() {
            second.0 = wall.as_secs();
            second.1.clear();
            date::clf(wall, &mut second.1);
        }
        out.extend_from_slice(&second.1);
    }

    fn formats(&self, snapshot: &Snapshot) -> Rc<Vec<Format>> {
        let mut formats = self.formats.borrow_mut();
        if let Some((_, found)) = formats.iter().find(|(generation, _)| *generation == snapshot.generation) {
            return Rc::clone(found);
        }
        let prepared = Rc::new(prepare(&snapshot.edge));
        formats.truncate(KEPT - 1);
        formats.insert(0, (snapshot.generation, Rc::clone(&prepared)));
        prepared
    }
}

fn prepare(edge: &Edge) -> Vec<Format> {
    let part = |piece: &Piece| match piece {
        Piece::Text(text) => Part::Text(text.clone().into_bytes()),
        Piece::Var(var) => Part::Value(Template(vec![Piece::Var(var.clone())]), !may_be_empty(var)),
    };
    edge.logs
        .iter()
        .map(|log| match &log.format {
            LogFormat::Combined | LogFormat::Json => Vec::new(),
            LogFormat::Text { line, .. } => line.0.iter().map(part).collect(),
        })
        .collect()
}

/// Variables that nginx takes for set although they are empty.
fn may_be_empty(var: &Var) -> bool {
    match var {
        Var::Known(known) => {
            matches!(known, Known::IsArgs | Known::Https | Known::Http2 | Known::RequestCompletion)
        }
        Var::Own(_) | Var::Group(_) => true,
        Var::Header(_)
        | Var::Sent(_)
        | Var::Upstream(_)
        | Var::BackendCookie(_)
        | Var::Cookie(_)
        | Var::Arg(_)
        | Var::Claim(_) => false,
    }
}

fn text(format: &Format, json_escape: bool, exchange: &Exchange, render: Render<'_>, out: &mut Vec<u8>) {
    let mut value = Vec::new();
    for part in format {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Value(template, dash) => {
                value.clear();
                render(template, exchange, &mut value);
                if json_escape {
                    escape::json(out, &value);
                } else if value.is_empty() && *dash {
                    out.push(b'-');
                } else {
                    escape::default(out, &value);
                }
            }
        }
    }
}

/// The request line as it came; that of HTTP/2 as nginx puts it together.
pub(super) fn request_line(request: &Request, mut write: impl FnMut(&[u8])) {
    if let Some(line) = raw_line(request) {
        return write(line);
    }
    write(request.bytes(request.method));
    write(b" ");
    write(request.bytes(request.target));
    write(b" ");
    write(protocol(request).as_bytes());
}

/// Of HTTP/1: from the method to the end of its line.
fn raw_line(request: &Request) -> Option<&[u8]> {
    if request.version == Version::Http2 || request.method.end >= request.target.start {
        return None;
    }
    let line = request.raw.get(request.method.start as usize..)?;
    let behind = (request.target.end - request.method.start) as usize;
    let end = behind + line.get(behind..)?.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let line = &line[..end];
    line.ends_with(protocol(request).as_bytes()).then_some(line)
}

/// The protocol's name.
pub(super) const fn protocol(request: &Request) -> &'static str {
    match request.version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}

fn field(request: &Request, name: &str, out: &mut Vec<u8>) {
    match request.field(name) {
        Some(value) => escape::default(out, value),
        None => out.push(b'-'),
    }
}
