//! Certificates of listeners.

use super::service::Service;
use super::{Cx, Map};
use crate::import::report::Pos;
use crate::import::toml::Table;

/// Where a certificate is expected when gost would have made one up.
const CERT: &str = "/etc/mainstay/gost.crt";
const KEY: &str = "/etc/mainstay/gost.key";

/// Fills `tls` and `client_ca` of a listener by the service's own certificate, or the one of all.
pub(super) fn fill(service: &mut Service, table: &mut Table, cx: &mut Cx<'_>) {
    let who = service.who();
    let own = service.listener.map.maybe_map("tls");
    let pos = own.as_ref().map_or(service.pos, |map| map.pos);
    let mut tls = own.filter(|map| map.clone().text(&["certfile"]).is_some()).or_else(|| cx.tls.clone());
    let pair =
        tls.as_mut().and_then(|map| Some((map.text(&["certfile"])?.text, map.text(&["keyfile"])?.text)));
    let (cert, key) = match pair {
        Some((cert, key)) => (cx.path(&cert), cx.path(&key)),
        None => {
            let text =
                format!("{who}: it names no certificate: gost makes one up, which its clients do not check");
            let advice = format!(
                "make one that clients may check, {CERT} with its key {KEY}:\nopenssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=gost -addext subjectAltName=DNS:gost.local -out {CERT} -keyout {KEY}"
            );
            cx.report.dropped(pos, text, advice);
            (CERT.to_owned(), KEY.to_owned())
        }
    };
    table.set("tls", vec![Table::of("cert", cert).with("key", key)]);
    let Some(mut tls) = tls else { return };
    if let Some(ca) = tls.text(&["cafile"]) {
        table.set("client_ca", cx.path(&ca.text));
    }
    for of_clients in ["secure", "servername"] {
        let _ = tls.text(&[of_clients]);
    }
    tls.left(&format!("{who}: tls"), &mut cx.report);
}

/// What a client's `tls` says of whom it dials.
pub(super) fn towards(tls: &mut Map, host: &str, who: &str, table: &mut Table, cx: &mut Cx<'_>) {
    let secure = tls.flag(&["secure"]).is_some_and(|(yes, _)| yes);
    match tls.text(&["cafile"]) {
        Some(ca) => table.set("ca", cx.path(&ca.text)),
        None if secure => {}
        None => unchecked(tls.pos, who, table, cx),
    }
    if let Some(name) = tls.text(&["servername"]).filter(|name| name.text != host) {
        let text = format!("{who}: serverName {} is left out: {host} is asked for and checked", name.text);
        cx.report.dropped(name.pos, text, "dial the server by the name in its certificate");
    }
    if let Some(cert) = tls.text(&["certfile"]) {
        let text = format!("{who}: the client's certificate {} is left out", cert.text);
        cx.report.dropped(cert.pos, text, "users and passwords show who dials: `user` and `password`");
    }
    let _ = tls.text(&["keyfile"]);
    tls.left(&format!("{who}: tls"), &mut cx.report);
}

/// gost checks no certificate unless it is told to.
pub(super) fn unchecked(pos: Pos, who: &str, table: &mut Table, cx: &mut Cx<'_>) {
    table.set("verify", false);
    let text = format!("{who}: the server's certificate is not checked, as with gost without `secure: true`");
    cx.report.note(
        pos,
        text,
        "name its authority, or the certificate itself, by `ca`, and take `verify` out",
    );
}
