//! TLS that ends at a listener: certificates of all its servers, and what the default one says of protocols and clients.

use super::scope::Scope;
use super::server::Server;
use super::toml::Table;
use super::{Cx, vars};

/// Fills the TLS keys of a listener; the default server stands first. When its servers differ about the certificates of
/// clients, all are asked for one: the answer is the file of authorities, and [`gate`] refuses those without.
pub(super) fn server(servers: &[&Server<'_>], table: &mut Table, cx: &mut Cx<'_>) -> Option<String> {
    let mut list: Vec<Table> = Vec::new();
    for server in servers {
        for pair in certificates(&server.scope, cx) {
            if !list.contains(&pair) {
                list.push(pair);
            }
        }
    }
    let first = servers.first()?;
    let missing = first.scope.every("ssl_certificate").is_empty();
    let refuses = first.scope.flag("ssl_reject_handshake", false);
    if missing && !refuses {
        cx.wrong(first.at, "no \"ssl_certificate\" is defined for the \"listen ... ssl\" directive");
    }
    for server in servers {
        if let Some(at) = server
            .scope
            .get("ssl_reject_handshake")
            .filter(|_| server.scope.flag("ssl_reject_handshake", false))
        {
            let what =
                "a client that asks for another name gets the first certificate, and its server answers";
            cx.report.dropped(at.pos, "ssl_reject_handshake is left out", what);
        }
    }
    protocols(&first.scope, list, table, cx);
    for other in servers.iter().skip(1) {
        for name in ["ssl_protocols", "ssl_session_tickets"] {
            let own =
                other.scope.every(name).last().filter(|_| other.scope.word(name) != first.scope.word(name));
            if let Some(at) = own {
                let text = format!("{name} of this server is left out: that of the default server holds");
                cx.report.dropped(at.pos, text, "give the server an address of its own");
            }
        }
    }
    if servers.iter().all(|other| asked(&other.scope) == asked(&first.scope)) {
        clients(&first.scope, table, cx);
        return None;
    }
    let (_, ca) = servers.iter().find_map(|server| asked(&server.scope))?;
    let ca = cx.beside(&ca);
    table.set("client_ca", ca.as_str());
    table.set("client_auth", "optional");
    Some(ca)
}

/// How a server asks for certificates, and the file that they are checked against.
fn asked(scope: &Scope<'_>) -> Option<(String, String)> {
    let verify = scope.word("ssl_verify_client").filter(|verify| *verify != "off")?;
    let ca = scope.word("ssl_client_certificate").or_else(|| scope.word("ssl_trusted_certificate"));
    Some((verify.to_owned(), ca.unwrap_or_default().to_owned()))
}

/// The step that refuses requests over TLS without a good certificate, at an address where only some servers want one.
pub(super) fn gate(server: &Server<'_>, ca: &str, cx: &mut Cx<'_>) -> Option<Table> {
    let (verify, own) = asked(&server.scope)?;
    let same = cx.beside(&own) == ca;
    if !same {
        let at = server.scope.get("ssl_verify_client")?;
        let what = "an address has one file of authorities: with another one nobody comes in over TLS; \
                    give the server an address of its own";
        cx.report.dropped(at.pos, "ssl_client_certificate of this server is left out", what);
    }
    let refused = match (verify.as_str(), same) {
        ("on", true) => "^on:(?:NONE|FAILED|$)",
        (_, false) => "^on:",
        (_, true) => return None,
    };
    let when = Table::of("value", "{https}:{ssl_client_verify}").with("regex", refused);
    let answer = Table::of("answer", Table::of("status", 400i64));
    Some(Table::of("when", when).with("steps", vec![answer]))
}

/// Fills the TLS keys of a listener with one server.
pub(super) fn options(scope: &Scope<'_>, list: Vec<Table>, table: &mut Table, cx: &mut Cx<'_>) {
    protocols(scope, list, table, cx);
    clients(scope, table, cx);
}

fn protocols(scope: &Scope<'_>, list: Vec<Table>, table: &mut Table, cx: &mut Cx<'_>) {
    table.set("tls", list);
    if let Some(protocols) = scope.get("ssl_protocols") {
        let modern = protocols.args.iter().any(|word| word == "TLSv1.3");
        let common = protocols.args.iter().any(|word| word == "TLSv1.2");
        if modern && !common {
            table.set("tls12", false);
        } else if !modern {
            cx.report.note(protocols.pos, "TLS 1.3 is spoken too", "it can't be switched off");
        }
        if let Some(old) =
            protocols.args.iter().find(|word| ["SSLv2", "SSLv3", "TLSv1", "TLSv1.1"].contains(&word.as_str()))
        {
            cx.report.note(
                protocols.pos,
                format!("{old} is not spoken"),
                "no client of the last ten years needs it",
            );
        }
    }
    if !scope.flag("ssl_session_tickets", true) {
        table.set("tickets", false);
    }
}

fn clients(scope: &Scope<'_>, table: &mut Table, cx: &mut Cx<'_>) {
    let verify = scope.word("ssl_verify_client").unwrap_or("off");
    let ca = scope.word("ssl_client_certificate").or_else(|| scope.word("ssl_trusted_certificate"));
    let Some(at) = scope.get("ssl_verify_client").filter(|_| verify != "off") else { return };
    let Some(ca) = ca else {
        return cx.wrong(at, "no ssl_client_certificate for ssl_verify_client");
    };
    table.set("client_ca", cx.beside(ca));
    match verify {
        "on" => table.set("client_auth", "required"),
        "optional" => table.set("client_auth", "optional"),
        "optional_no_ca" => {
            table.set("client_auth", "optional");
            let what = "a certificate of a stranger is refused with 400";
            cx.report.dropped(at.pos, "ssl_verify_client optional_no_ca is taken as optional", what);
        }
        other => cx.wrong(at, format!("invalid value \"{other}\"")),
    }
}

/// The pairs of certificate and key of a server.
pub(super) fn certificates(scope: &Scope<'_>, cx: &mut Cx<'_>) -> Vec<Table> {
    let (certs, keys) =
        (scope.every("ssl_certificate").to_vec(), scope.every("ssl_certificate_key").to_vec());
    let mut pairs = Vec::new();
    for (nth, cert) in certs.iter().enumerate() {
        let Some(key) = keys.get(nth) else {
            cx.wrong(
                cert,
                format!("no \"ssl_certificate_key\" is defined for certificate \"{}\"", cert.arg(0)),
            );
            continue;
        };
        let (cert_file, key_file) = (cert.arg(0), key.arg(0));
        let odd = |text: &str| {
            vars::has_vars(text)
                || text.starts_with("data:")
                || text.starts_with("engine:")
                || text.starts_with("store:")
        };
        if odd(cert_file) || odd(key_file) {
            let what = "clients get another certificate; name a file for each server name";
            cx.report.dropped(cert.pos, format!("ssl_certificate {cert_file} is left out"), what);
            continue;
        }
        pairs.push(Table::of("cert", cx.beside(cert_file)).with("key", cx.beside(key_file)));
    }
    pairs
}

/// TLS towards backends by the directives of `proxy` or `grpc`.
pub(super) fn client(module: &str, scope: &Scope<'_>, host: &str, cx: &mut Cx<'_>) -> Table {
    let name = |name: &str| format!("{module}_ssl_{name}");
    let mut table = Table::default();
    match scope.get(&name("name")) {
        Some(at) => {
            let text = cx.text(at.arg(0), scope, at.pos);
            table.set("name", text);
        }
        None if host.starts_with('$') => table.set("name", "{proxy_host}"),
        None if !host.is_empty() => table.set("name", vars::escaped(host)),
        None => {}
    }
    if scope.flag(&name("verify"), false) {
        let ca = scope.word(&name("trusted_certificate")).map(|ca| cx.beside(ca));
        table.maybe("ca", ca);
    } else {
        table.set("verify", false);
    }
    if let (Some(cert), Some(key)) = (scope.get(&name("certificate")), scope.get(&name("certificate_key"))) {
        if cert.arg(0).is_empty() {
            return table;
        }
        if vars::has_vars(cert.arg(0)) || vars::has_vars(key.arg(0)) {
            cx.report.dropped(
                cert.pos,
                format!("{} with variables is left out", cert.name),
                "no certificate is shown to backends",
            );
        } else {
            table.set("cert", cx.beside(cert.arg(0)));
            table.set("key", cx.beside(key.arg(0)));
        }
    }
    table
}
