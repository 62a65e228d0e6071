//! A request made of a question.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mainstay_config::plan::edge::{Listener, Place};
use smallvec::SmallVec;

use super::Question;
use crate::clock;
use crate::exchange::{Connection, Exchange, TlsInfo};
use crate::request::{BodyLength, Field, Request, Span, Version};

/// A URL in pieces.
pub(super) struct Url<'a> {
    pub(super) scheme: Option<&'a str>,
    pub(super) authority: &'a str,
    pub(super) port: Option<u16>,
    target: String,
}

/// Reads a URL, or a path.
pub(super) fn url(text: &str) -> Result<Url<'_>, String> {
    if text.bytes().any(|b| b <= b' ' || b == 0x7f) {
        return Err("the URL has a blank or a control character in it".to_owned());
    }
    if text.starts_with('/') || text == "*" {
        return Ok(Url { scheme: None, authority: "", port: None, target: text.to_owned() });
    }
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        Some((scheme, _)) => return Err(format!("{scheme} is no scheme of ours: http or https")),
        None => (None, text),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
    let digits = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    let port = match digits {
        Some(digits) => Some(digits.parse().map_err(|_| format!("`{digits}` is no port"))?),
        None => None,
    };
    Ok(Url { scheme, authority, port, target })
}

/// The request on a connection to a listener.
pub(super) fn exchange(
    url: &Url<'_>,
    question: &Question,
    listener: &Listener,
    position: u32,
) -> Result<Exchange, String> {
    let request = request(url, question)?;
    let peer = question.source.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let local = listener.places.iter().find_map(|place| match place {
        Place::Inet(addr) => Some(*addr),
        Place::Unix(_) => None,
    });
    let server_name = url.authority.split(':').next().map(str::to_owned).filter(|name| !name.is_empty());
    let tls = listener.tls.as_ref().map(|_| TlsInfo { server_name, ..TlsInfo::default() });
    let connection = Connection {
        number: 0,
        listener: position,
        counts: 0,
        peer: Some(SocketAddr::new(peer, 0)),
        local,
        proxy: None,
        tls,
    };
    Ok(Exchange::new(request, Rc::new(connection), clock::boot_now()))
}

fn request(url: &Url<'_>, question: &Question) -> Result<Request, String> {
    let mut raw = Vec::new();
    let mut span = |text: &str| {
        let start = u32::try_from(raw.len()).unwrap_or(u32::MAX);
        raw.extend_from_slice(text.as_bytes());
        Span { start, end: u32::try_from(raw.len()).unwrap_or(u32::MAX) }
    };
    let method = span(question.method.as_deref().unwrap_or("GET"));
    let target = span(&url.target);
    let mut authority = Span::default();
    let mut fields: SmallVec<[Field; 24]> = SmallVec::new();
    let mut body = BodyLength::None;
    let host = ("Host".to_owned(), url.authority.to_owned());
    let has_host = question.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host"));
    for (name, value) in question.headers.iter().chain((!has_host).then_some(&host)) {
        let is_token = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_graphic() && !b"(),/:;<=>?@[\\]{}\"".contains(&b));
        if !is_token || value.bytes().any(|b| b < b' ' && b != b'\t' || b == 0x7f) {
            return Err(format!("`{}` is no header field", name.escape_debug()));
        }
        let field = Field { name: span(name), value: span(value.trim()) };
        if name.eq_ignore_ascii_case("host") {
            authority = field.value;
        }
        if name.eq_ignore_ascii_case("content-length") {
            let length = value.trim().parse().map_err(|_| format!("`{value}` is no Content-Length"))?;
            body = if length == 0 { BodyLength::None } else { BodyLength::Known(length) };
        }
        fields.push(field);
    }
    Ok(Request {
        raw,
        method,
        target,
        authority,
        version: Version::Http11,
        body,
        close: false,
        upgrade: None,
        expects_continue: false,
        fields,
    })
}
