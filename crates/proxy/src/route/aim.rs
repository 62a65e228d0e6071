//! Where a request goes when its route says so by a text (`forward.to`): a pool by its name or an address, and a target.

use std::path::PathBuf;

use mainstay_core::name::PoolId;
use mainstay_core::path;

use super::table::forward_of;
use super::vars::Scope;
use crate::exchange::Exchange;
use crate::snapshot::Snapshot;

/// What a text names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// A pool.
    Pool(PoolId),
    /// A unix socket.
    Unix(PathBuf),
    /// A host, an address perhaps, and its port.
    Host(String, u16),
    /// Nothing that can be asked.
    Nowhere,
}

/// Where the request goes; `None` when the route leaves it to its pool. A target that the text brings along replaces
/// `target`.
pub fn aim(snapshot: &Snapshot, exchange: &mut Exchange, target: &mut Vec<u8>) -> Option<Aim> {
    let route = exchange.route.and_then(|id| snapshot.edge.routes.get(id.index()))?;
    let forward = forward_of(&route.action)?;
    let template = forward.to.as_ref()?;
    let text = Scope::new(snapshot, exchange).bytes(template);
    let Ok(text) = std::str::from_utf8(&text) else { return Some(Aim::Nowhere) };
    let (authority, rest) = split(text);
    exchange.memory.to = Some(authority.into());
    if !rest.is_empty() {
        target.clear();
        if !rest.starts_with('/') {
            target.push(b'/');
        }
        path::encode_rest(rest.as_bytes(), target);
    }
    let pools = &snapshot.edge.pools;
    if let Some(at) = pools.iter().position(|pool| pool.name.eq_ignore_ascii_case(authority)) {
        return Some(u32::try_from(at).map_or(Aim::Nowhere, |at| Aim::Pool(PoolId(at))));
    }
    let secure = pools.get(forward.pool.index()).is_some_and(|pool| pool.tls.is_some());
    Some(place(authority, if secure { 443 } else { 80 }))
}

/// Authority and target of a text.
fn split(text: &str) -> (&str, &str) {
    if let Some(socket) = text.strip_prefix("unix:") {
        let end = socket.find(':').map_or(text.len(), |at| at + 5);
        return (&text[..end], text.get(end + 1..).unwrap_or_default());
    }
    text.split_at(text.find(['/', '?']).unwrap_or(text.len()))
}

/// The port of an authority, as it is written.
pub(super) fn port_of(authority: &str) -> Option<&str> {
    let (_, port) = authority.rsplit_once(':')?;
    port.parse::<u16>().is_ok().then_some(port)
}

fn place(authority: &str, usual: u16) -> Aim {
    if let Some(path) = authority.strip_prefix("unix:") {
        return if path.starts_with('/') { Aim::Unix(path.into()) } else { Aim::Nowhere };
    }
    let (host, port) = match port_of(authority) {
        Some(port) => (&authority[..authority.len() - port.len() - 1], port.parse().unwrap_or(usual)),
        None => (authority, usual),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let named = !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_:".contains(&b));
    if named && port > 0 { Aim::Host(host.to_owned(), port) } else { Aim::Nowhere }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_an_authority_and_a_target() {
        for (text, parts) in [
            ("10.0.0.1:80", ("10.0.0.1:80", "")),
            ("10.0.0.1/a?b", ("10.0.0.1", "/a?b")),
            ("web?b", ("web", "?b")),
            ("unix:/run/a.sock:/a", ("unix:/run/a.sock", "/a")),
            ("unix:/run/a.sock", ("unix:/run/a.sock", "")),
        ] {
            assert_eq!(split(text), parts, "{text}");
        }
    }

    #[test]
    fn an_authority_is_a_socket_or_a_host_with_its_port() {
        for (text, to) in [
            ("10.0.0.1:8080", Aim::Host("10.0.0.1".to_owned(), 8080)),
            ("[::1]:8080", Aim::Host("::1".to_owned(), 8080)),
            ("a.example", Aim::Host("a.example".to_owned(), 443)),
            ("unix:/run/a.sock", Aim::Unix("/run/a.sock".into())),
            ("unix:a.sock", Aim::Nowhere),
            ("", Aim::Nowhere),
            (":80", Aim::Nowhere),
            ("a b", Aim::Nowhere),
            ("a:0", Aim::Nowhere),
            ("user@host:80", Aim::Nowhere),
        ] {
            assert_eq!(place(text, 443), to, "{text}");
        }
    }
}
