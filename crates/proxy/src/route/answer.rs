//! Responses of ours: fixed answers, redirects, short pages.

use bytes::Bytes;
use mainstay_config::plan::edge::Answer;
use mainstay_core::path;

use super::vars::Scope;
use crate::exchange::Exchange;
use crate::response::{Body, Response};
use crate::snapshot::Snapshot;

/// What a fixed answer comes to.
pub(super) enum Fixed {
    Respond(Response),
    /// A status without a body: error pages are asked.
    Status(u16),
    Close,
}

/// Closes the connection without a word.
const CLOSE: u16 = 444;

/// Makes a fixed answer.
pub(super) fn fixed(answer: &Answer, snapshot: &Snapshot, exchange: &Exchange) -> Fixed {
    if answer.status == CLOSE {
        return Fixed::Close;
    }
    let scope = Scope::new(snapshot, exchange);
    if let Some(location) = &answer.location {
        return Fixed::Respond(redirect(snapshot, exchange, answer.status, &scope.bytes(location)));
    }
    let Some(body) = &answer.body else {
        return match answer.status {
            200..300 | 304 => {
                Fixed::Respond(Response { status: answer.status, fields: Vec::new(), body: Body::Empty })
            }
            status => Fixed::Status(status),
        };
    };
    let media = answer.media.as_deref().unwrap_or_else(|| {
        let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()));
        route.map_or("text/plain", |route| &route.default_type)
    });
    let body = match body.literal() {
        Some(text) => Bytes::copy_from_slice(text.as_bytes()),
        None => Bytes::from(scope.bytes(body)),
    };
    let fields = vec![("Content-Type".into(), media.as_bytes().to_vec())];
    Fixed::Respond(Response { status: answer.status, fields, body: Body::Bytes(body) })
}

/// A redirect of the client, with a short page.
pub(super) fn redirect(snapshot: &Snapshot, exchange: &Exchange, status: u16, location: &[u8]) -> Response {
    let mut response = page(status);
    response.fields.push(("Location".into(), absolute(snapshot, exchange, location)));
    response
}

/// A location as it stands in a header: a path is completed with scheme, host and port; what may not stand in a URL is encoded.
pub(super) fn absolute(snapshot: &Snapshot, exchange: &Exchange, location: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(location.len() + 32);
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()));
    let whole = route.is_none_or(|route| !route.relative_redirects);
    if whole && location.first() == Some(&b'/') {
        let secure = exchange.connection.tls.is_some();
        out.extend_from_slice(if secure { b"https://" } else { b"http://" });
        let host = out.len();
        Scope::new(snapshot, exchange).host_or_local(&mut out);
        if out.len() == host {
            out.clear();
        } else if let Some(local) = exchange.connection.local
            && local.port() != if secure { 443 } else { 80 }
        {
            out.extend_from_slice(format!(":{}", local.port()).as_bytes());
        }
    }
    path::encode_rest(location, &mut out);
    out
}

/// A short page for a status.
pub(super) fn page(status: u16) -> Response {
    let reason = reason(status);
    let text = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n\
         <hr><center>mainstay</center>\r\n</body>\r\n</html>\r\n"
    );
    let fields = vec![("Content-Type".into(), b"text/html".to_vec())];
    Response { status, fields, body: Body::Bytes(text.into()) }
}

/// What a status is called, in the words that nginx has for it.
#[must_use]
pub const fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        103 => "Early Hints",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        207 => "Multi-Status",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        406 => "Not Acceptable",
        408 => "Request Time-out",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        415 => "Unsupported Media Type",
        416 => "Requested Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a Teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        499 => "Client Closed Request",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "Status",
    }
}
