//! Agents of tunnels that come in beside requests: an upgrade to WebSocket (RFC 6455 section 4.2) at the listener's own path.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::exchange::Exchange;

/// What the key is hashed with (RFC 6455 section 1.3).
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Whether a request is for the path at which agents come in.
pub(super) fn is_for(path: &str, exchange: &Exchange) -> bool {
    let target = exchange.request.bytes(exchange.request.target);
    target.split(|b| *b == b'?').next() == Some(path.as_bytes())
}

/// The whole answer to an upgrade; the status of a refusal when it is none.
pub(super) fn accept(exchange: &Exchange) -> Result<String, u16> {
    let request = &exchange.request;
    let asked = request.upgrade.map(|span| request.bytes(span));
    if !asked.is_some_and(|asked| asked.eq_ignore_ascii_case(b"websocket")) {
        return Err(426);
    }
    let good_key = |key: &&[u8]| STANDARD.decode(key).is_ok_and(|key| key.len() == 16);
    let key = request.field("sec-websocket-key").filter(good_key).ok_or(400_u16)?;
    if request.bytes(request.method) != b"GET" || request.field("sec-websocket-version") != Some(b"13") {
        return Err(400);
    }
    // What follows the head would be the first of the session's bytes, whatever a proxy before us makes of it.
    if ["content-length", "transfer-encoding"].into_iter().any(|name| request.field(name).is_some()) {
        return Err(400);
    }
    let accept = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SALT].concat()));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    const UPGRADE: &str = "GET /in HTTP/1.1\nHost: x\nUpgrade: websocket\nConnection: Upgrade\nSec-WebSocket-Key: \
                           dGhlIHNhbXBsZSBub25jZQ==\nSec-WebSocket-Version: 13\n";

    fn asked(head: &str) -> Exchange {
        let mut exchange = fixture::exchange(head);
        let request = &mut exchange.request;
        let field = request.fields.iter().find(|f| request.bytes(f.name) == b"Upgrade").copied();
        request.upgrade = field.map(|field| field.value);
        exchange
    }

    #[test]
    fn the_key_is_answered_as_the_rfc_shows() {
        let answer = accept(&asked(UPGRADE)).unwrap();
        assert!(answer.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
    }

    #[test]
    fn what_is_no_upgrade_is_refused() {
        for (from, to, status) in [
            ("Upgrade: websocket\n", "", 426),
            ("Upgrade: websocket\n", "Upgrade: h3\n", 426),
            ("GET", "POST", 400),
            ("Version: 13", "Version: 8", 400),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400),
            ("Host: x\n", "Host: x\nContent-Length: 5\n", 400),
            ("Host: x\n", "Host: x\nTransfer-Encoding: chunked\n", 400),
        ] {
            assert_eq!(accept(&asked(&UPGRADE.replace(from, to))), Err(status), "{to}");
        }
    }

    #[test]
    fn only_its_own_path_is_taken() {
        assert!(is_for("/in", &asked(UPGRADE)));
        assert!(is_for("/in", &asked(&UPGRADE.replace("/in ", "/in?a "))));
        assert!(!is_for("/in", &asked(&UPGRADE.replace("/in ", "/into "))));
    }
}
