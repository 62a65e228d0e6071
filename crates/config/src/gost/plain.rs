//! Services without a tunnel: ports that are forwarded, and folders.

use super::service::Service;
use super::{Cx, addr, forward, tls};
use crate::import::toml::{Table, Value};

/// A service that serves files.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The service's name.
    pub(super) name: String,
    /// Where it listens.
    host: String,
    port: u16,
    pub(super) dir: String,
    /// Nobody is asked who they are.
    pub(super) open: bool,
}

/// What a service of handler `file` serves.
pub(super) fn folder(service: &mut Service, cx: &mut Cx<'_>) -> Folder {
    let dir = match service.of_handler(&["file.dir", "dir"]) {
        Some(dir) => cx.path(&dir.text),
        None => {
            let dir = cx.dir.display().to_string();
            let text =
                format!("{}: it serves the directory that gost is started in, here {dir}", service.who());
            cx.report.note(service.pos, text, "import with --dir when gost is started elsewhere");
            dir
        }
    };
    let asked = ["auth", "auther", "authers"];
    let mut handler = service.handler.map.clone();
    let open = handler.maybe_map(asked[0]).is_none()
        && handler.text(&[asked[1]]).is_none()
        && handler.texts(asked[2]).is_empty();
    let (host, port) = addr::split(&service.addr.text).unwrap_or(("", 0));
    Folder { name: service.name.clone(), host: host.to_owned(), port, dir, open }
}

/// The folder of this service.
pub(super) fn folder_of(name: &str, cx: &Cx<'_>) -> Option<Folder> {
    cx.folders.iter().find(|folder| folder.name == name).cloned()
}

/// The folder that is served without a question at this address of this machine.
pub(super) fn folder_at(target: &str, cx: &Cx<'_>) -> Option<Folder> {
    let (host, port) = addr::split(target)?;
    let here = |host: &str| ["", "127.0.0.1", "::1", "localhost", "0.0.0.0", "::"].contains(&host);
    let fits = |folder: &&Folder| {
        folder.open && folder.port == port && (folder.host == host || here(host) && here(&folder.host))
    };
    cx.folders.iter().find(fits).cloned()
}

/// A listener with a route of files.
pub(super) fn files(mut service: Service, cx: &mut Cx<'_>) {
    let who = service.who();
    // Files are read here, whatever leads out.
    let _ = service.handler.map.text(&["chain"]);
    let Some(folder) = folder_of(&service.name, cx) else { return };
    let Some(mut listener) = listener(&mut service, "http", cx) else { return };
    if !["tcp", "tls"].contains(&service.listener.kind.as_str()) {
        let text = format!("{who}: files over listener `{}` are not taken over", service.listener.kind);
        return cx.report.dropped(service.listener.kind_pos, text, "tcp and tls have a counterpart");
    }
    if service.listener.kind == "tls" {
        tls::fill(&mut service, &mut listener, cx);
    }
    let name = cx.draft.name("route", &service.name);
    let mut route = Table::of("name", name);
    if let Some(at) = listener.get("name").cloned() {
        route.set("listener", at);
    }
    if !folder.open {
        for who_may in ["auth", "auther", "authers"] {
            let _ = service.handler.map.maybe_map(who_may);
            let _ = service.handler.map.texts(who_may);
        }
        let users = "/etc/mainstay/files.htpasswd";
        let text = format!("{who}: its users are not in the TOML: passwords are kept as hashes");
        cx.report.dropped(
            service.handler.kind_pos,
            text,
            format!("make {users}: htpasswd -B -c {users} NAME"),
        );
        route.set("basic_auth", Table::of("file", users));
    }
    route.set("files", Table::of("root", folder.dir).with("listing", true));
    cx.draft.listeners.push((service.pos, listener));
    cx.draft.routes.push((service.pos, route));
    service.left(&mut cx.report);
}

/// A listener with a pool.
pub(super) fn forward(mut service: Service, cx: &mut Cx<'_>) {
    let who = service.who();
    let protocol = if service.listener.kind == "udp" { "udp" } else { "tcp" };
    let Some(forward) = forward::of(&mut service, cx) else { return };
    let Some(mut listener) = listener(&mut service, protocol, cx) else { return };
    if service.listener.kind == "tls" {
        tls::fill(&mut service, &mut listener, cx);
    }
    let name = cx.draft.name("pool", &service.name);
    listener.set("pool", name.as_str());
    let mut pool = Table::of("name", name);
    pool.maybe("balance", forward.balance);
    let backend = |(nth, addr): (usize, &String)| match &forward.in_order {
        Some(_) if nth > 0 => Value::Table(Table::of("addr", addr.as_str()).with("backup", true)),
        Some(_) | None => Value::Text(addr.clone()),
    };
    let backends: Vec<Value> = forward.targets.iter().enumerate().map(backend).collect();
    pool.set("backends", backends);
    if let (Some(said), true) = (&forward.in_order, forward.targets.len() > 2) {
        let text =
            format!("{who}: strategy {}: those behind the first take turns while it is away", said.text);
        cx.report.note(said.pos, text, "");
    }
    cx.draft.listeners.push((service.pos, listener));
    cx.draft.pools.push((service.pos, pool));
    service.left(&mut cx.report);
}

fn listener(service: &mut Service, protocol: &str, cx: &mut Cx<'_>) -> Option<Table> {
    let Some(bind) = addr::bind(&service.addr.text) else {
        let text = format!("{}: \"{}\" is no address to listen at", service.who(), service.addr.text);
        cx.report.error(
            service.addr.pos,
            text,
            "write addr: :8000, or an address of this machine with a port",
        );
        return None;
    };
    let name = cx.draft.name("listener", &service.name);
    let mut table = Table::of("name", name).with("bind", bind);
    if protocol != "http" {
        table.set("protocol", protocol);
    }
    Some(table)
}
