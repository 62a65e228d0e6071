//! Who the client is: the peer, or whom trusted proxies name.

use mainstay_core::net::plain;
use mainstay_core::real_ip;

use super::table::Trust;
use crate::exchange::Exchange;

/// Finds the client of a request. What an untrusted peer writes is not looked at.
pub(super) fn find(trust: Option<&Trust>, exchange: &mut Exchange) {
    let peer = exchange.connection.peer;
    exchange.client = peer.map(|peer| plain(peer.ip()));
    exchange.client_port = peer.map_or(0, |peer| peer.port());
    exchange.memory.believed = false;
    exchange.memory.asked = trust.is_some();
    let Some(trust) = trust else { return };
    if !peer.map_or(trust.unix, |peer| trust.networks.contains(peer.ip())) {
        return;
    }
    let Some(name) = &trust.header else {
        // A proxy of bytes wrote no HTTP: the fields are the client's own.
        if let Some((from, _)) = exchange.connection.proxy {
            exchange.client = Some(plain(from.ip()));
            exchange.client_port = from.port();
        }
        return;
    };
    exchange.memory.believed = true;
    let request = &exchange.request;
    let lines = request
        .fields
        .iter()
        .rev()
        .filter(|&field| request.bytes(field.name).eq_ignore_ascii_case(name.as_bytes()))
        .map(|field| request.bytes(field.value));
    if let Some(hop) = real_ip::client(lines, &trust.networks, trust.recursive) {
        exchange.client = Some(hop.addr);
        exchange.client_port = hop.port.unwrap_or(0);
    }
}
