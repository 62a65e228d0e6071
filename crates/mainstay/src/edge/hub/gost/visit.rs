//! gost's visitors: each connection is one stream through a tunnel, to whose pool it goes as connections of a listener do.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::tunnel::{label, visit_name};
use mainstay_core::gost::ask::Connect;
use mainstay_core::gost::relay::{Addr, Host, Status};
use mainstay_link::tunnel::Kind;
use mainstay_link::tunnel::gost;
use mainstay_proxy::road::{Freight, Lead, Roads as _};
use mainstay_proxy::stream;
use tokio::time::timeout;

use super::visitor::Visitor;
use super::{Caller, No};
use crate::edge::hub::Desk;
use crate::edge::hub::carrier::Carrier;

/// How long a visitor waits for a client that is about to come back; gost's are back a second after they have lost a session.
const RETURN: Duration = Duration::from_secs(5);

/// How often it may have to be asked where a host leads.
const TURNS: u32 = 4;

/// Takes a visitor to the tunnel that it wants, or sends it away.
pub(super) async fn receive(desk: Rc<Desk>, mut carrier: Carrier, caller: Caller, connect: Connect) {
    // Other nodes come to where visitors come who are no clients.
    let from = caller.came.from.filter(|_| !caller.serves).map(|from| from.ip());
    let to = match desk.judge_visitor(&connect, from).await {
        Ok(to) => to,
        Err(no) => return desk.turn_down(carrier, &caller, &no).await,
    };
    let freight = match connect.kind {
        Kind::Bytes => Freight::Bytes,
        Kind::Datagrams => Freight::Datagrams,
    };
    if let Err(failed) = gost::admit(&mut carrier).await {
        return tracing::debug!(from = ?caller.from(), "a visitor of gost's has gone: {failed}");
    }
    let Some(thread) = desk.thread.upgrade() else { return };
    let named = desk.tunnels.borrow().get(&*to).is_some_and(|spec| spec.gost);
    drop(desk);
    let ends = caller.came.from.zip(caller.came.ours);
    let road = Box::new(Visitor::new(carrier, freight, caller.came.open));
    if named {
        stream::visit(&thread, &visit_name(&to), ends, freight, road);
    } else {
        stream::visit_tunnel(&thread, &to, ends, freight, road);
    }
}

/// Whether it asks as nodes of ours do that send on what came to them.
fn is_sent_on(connect: &Connect) -> bool {
    let host = host_of(&connect.target);
    let made = label(&connect.tunnel.to_string());
    connect.source.is_some() && connect.login.is_none() && host.split('.').next() == Some(made.as_str())
}

/// The host that a visitor asks for, as hosts are looked up.
fn host_of(target: &Addr) -> String {
    let host = match &target.host {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) => ip.to_string(),
    };
    host.strip_suffix('.').unwrap_or(&host).to_ascii_lowercase()
}

impl Desk {
    /// The tunnel that a visitor comes to.
    async fn judge_visitor(&self, connect: &Connect, from: Option<IpAddr>) -> Result<Rc<str>, No> {
        let id = connect.tunnel.to_string();
        if self.draining.get() {
            let why = "this process of the hub is about to leave: dial again";
            return Err(No::new("gost:leaving", Status::Unavailable, why));
        }
        if let Some(from) = from
            && self.book.is_from_node(&id, from).await
        {
            return self.judge_node(&id);
        }
        if !self.knows(connect.login.as_ref()) {
            let why = format!("a visitor of tunnel {id} has no login that is known");
            return Err(No::new("gost:login", Status::Unauthorized, why));
        }
        let host = host_of(&connect.target);
        let enters = self.gost(|gost| gost.entrypoint.as_deref() == Some(&*id)).unwrap_or(false);
        let to = if enters {
            self.led(&host, connect.target.port).await?
        } else {
            self.named(&id, &host, connect.target.port).await?
        };
        // What this node has sent on itself has come back: once more, and it would go round for ever.
        let own = from.is_some_and(|from| is_sent_on(connect) && self.book.is_own_place(from));
        if own && !self.is_offered_here(&to) {
            let why =
                format!("this node sends a visitor of tunnel {to} to itself, and nobody serves it here");
            return Err(No::new("gost:nobody", Status::Unavailable, why));
        }
        if !self.is_offered(&to).await {
            let why = format!("nobody serves tunnel {to}");
            return Err(No::new("gost:nobody", Status::Unavailable, why));
        }
        Ok(to)
    }

    /// What another node sends on was judged there; it is served from here, or by nobody.
    fn judge_node(&self, id: &str) -> Result<Rc<str>, No> {
        let gosts = self.tunnels.borrow().get(id).is_none_or(|spec| spec.gost);
        if gosts && self.is_offered_here(id) {
            return Ok(id.into());
        }
        let why = format!("another node sends on a visitor of tunnel {id}, which nobody here serves");
        Err(No::new("gost:nobody", Status::Unavailable, why))
    }

    /// The public tunnel that a host leads to.
    async fn led(&self, host: &str, port: u16) -> Result<Rc<str>, No> {
        let of_file = self.tunnels.borrow().iter().find_map(|(id, spec)| {
            (spec.gost && spec.visitors.is_none() && spec.has(host)).then(|| Rc::from(id.as_str()))
        });
        if let Some(tunnel) = of_file {
            return Ok(tunnel);
        }
        let mut lead = self.lead(host, port);
        for _ in 0..TURNS {
            let Lead::Wait(wait) = lead else { break };
            lead = wait.await;
        }
        let shown = host.escape_debug();
        match lead {
            Lead::To(tunnel) => Ok(tunnel),
            Lead::Private => {
                let why = format!("the tunnel behind host {shown} is private");
                Err(No::new("gost:private", Status::Forbidden, why))
            }
            Lead::Nowhere | Lead::Wait(_) => {
                let why = format!("no tunnel has host {shown}");
                Err(No::new("gost:host", Status::HostUnreachable, why))
            }
        }
    }

    /// The tunnel that a visitor names: a public one by a host of its own, a private one by who is known, unless the id is enough.
    async fn named(&self, id: &str, host: &str, port: u16) -> Result<Rc<str>, No> {
        let direct = self.gost(|gost| gost.direct).unwrap_or(false);
        let of_file = self.tunnels.borrow().get(id).map(|spec| {
            (spec.gost, direct || if spec.visitors.is_some() { self.asks() } else { spec.has(host) })
        });
        let forbidden = |why: String| Err(No::new("gost:forbidden", Status::Forbidden, why));
        match of_file {
            Some((true, true)) => return Ok(id.into()),
            Some((false, _)) => return forbidden(format!("gost's visitors may not reach tunnel {id}")),
            Some((true, false)) | None => {}
        }
        if of_file.is_none() && (direct && self.may_bind(id).is_ok() || self.leads_to(host, id)) {
            return Ok(id.into());
        }
        match self.led(host, port).await {
            Ok(tunnel) if *tunnel == *id => Ok(tunnel),
            // Whoever has a login was let in above.
            Ok(_) | Err(_) if matches!(of_file, Some((true, false))) && self.is_private(id) => {
                forbidden(format!(
                    "tunnel {id} is private: its visitors need a login (`users` in [gost]), or direct = true lets the id be enough"
                ))
            }
            Ok(_) | Err(_) => forbidden(format!(
                "a visitor names tunnel {id}, and host {} does not lead there",
                host.escape_debug()
            )),
        }
    }

    /// Whether a tunnel of the file is private.
    fn is_private(&self, id: &str) -> bool {
        self.tunnels.borrow().get(id).is_some_and(|spec| spec.visitors.is_some())
    }

    /// Whether somebody serves a tunnel, or does so soon.
    async fn is_offered(&self, tunnel: &str) -> bool {
        if self.is_offered_here(tunnel) || self.book.reaches(tunnel).await {
            return true;
        }
        timeout(RETURN, self.is_told_of(tunnel)).await.is_ok()
    }
}
