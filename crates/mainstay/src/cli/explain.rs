//! `explain vip`: why it is where it is, in the order in which it came about. `explain route`: the way of a request.

use std::fmt::Write as _;

use anyhow::Context as _;
use mainstay_core::election::State;
use mainstay_proxy::route::{Question, Stage};

use super::{ask, local, render};
use crate::dirs::Dirs;
use crate::ipc::RouteExplained;
use crate::status::{Counter, Event, Status, VipStatus};
use crate::words;

pub(super) fn vip(dirs: &Dirs, name: &str) -> anyhow::Result<u8> {
    let status = ask::fetch_status(dirs)?;
    let Some(vip) = status.vips.iter().find(|v| v.name == name) else {
        let known: Vec<&str> = status.vips.iter().map(|v| v.name.as_str()).collect();
        anyhow::bail!(words::unknown("vip", name, &known));
    };
    let events = ask::fetch_events(dirs)?;
    local::print(&story(&status, vip, &events))
}

pub(super) fn route(dirs: &Dirs, asked: super::RouteQuestion) -> anyhow::Result<u8> {
    let mut headers = Vec::new();
    for header in &asked.header {
        let (name, value) = header
            .split_once(':')
            .with_context(|| format!("\"{header}\" is no header: write --header \"Name: value\""))?;
        headers.push((name.trim().to_owned(), value.trim().to_owned()));
    }
    let question = Question {
        url: asked.url,
        listener: asked.listener,
        method: Some(asked.method),
        headers,
        source: asked.from,
    };
    let explained = ask::fetch_route(dirs, question)?;
    if asked.json {
        return local::print(
            &(serde_json::to_string_pretty(&explained).context("encode the answer")? + "\n"),
        );
    }
    if let Some(problem) = &explained.explanation.problem {
        anyhow::bail!("{problem}");
    }
    local::print(&ways(&explained))
}

fn ways(explained: &RouteExplained) -> String {
    let mut out = String::new();
    for way in &explained.explanation.ways {
        let client = way.client.map_or_else(String::new, |client| format!(", client {client}"));
        let _ = writeln!(out, "{}", render::style("1", format!("listener {}{client}", way.listener)));
        for stage in &way.stages {
            match stage {
                Stage::Note(note) => {
                    let _ = writeln!(out, "  {note}");
                }
                Stage::Choice { host, path, candidates } => {
                    let host = if host.is_empty() { "no host" } else { host };
                    let _ = writeln!(out, "  {host}, path {path}:");
                    for candidate in candidates {
                        let mark =
                            if candidate.takes { render::style("32", "->".into()) } else { "  ".into() };
                        let _ = writeln!(out, "    {mark} {}: {}", candidate.route, candidate.why);
                    }
                }
            }
        }
        let _ = writeln!(out, "  {}", way.outcome);
        if let Some(request) = &way.request {
            let _ = writeln!(out, "  the backend gets {request}");
            for (name, value) in &way.fields {
                let _ = writeln!(out, "    {name}: {value}");
            }
        }
        let pool = explained.pools.iter().find(|pool| Some(&pool.pool) == way.pool.as_ref());
        let Some(pool) = pool else { continue };
        let refused = pool.refused.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        let _ = writeln!(out, "  pool {}{refused}", pool.pool);
        for backend in &pool.backends {
            let mark = if backend.chosen { render::style("32", "->".into()) } else { "  ".into() };
            // One tunnel is many agents: their address says which.
            let named =
                if backend.address.starts_with("tunnel:") { &backend.address } else { &backend.backend };
            let _ = writeln!(out, "    {mark} {named}: {}", backend.why);
        }
    }
    out
}

fn story(status: &Status, vip: &VipStatus, events: &[Event]) -> String {
    let mut out = String::new();
    let since = render::length(status.at_ms, vip.since_ms);
    let _ = writeln!(
        out,
        "vip {} has been {} on {} for {since}: {}",
        vip.name,
        words::standing(vip.state),
        status.node,
        vip.why
    );
    let _ = writeln!(
        out,
        "  addresses  {}",
        if vip.addrs.is_empty() { "none: notify only".into() } else { vip.addrs.join(", ") }
    );
    let holder = match (&vip.holder, vip.state) {
        (_, State::Active) if vip.lease.is_some() => format!("this node, under epoch {}", vip.epoch),
        (_, State::Active) => format!("this node, acquisition {}", vip.epoch),
        (Some(holder), State::Backup | State::Fault) => holder.clone(),
        (None, State::Backup | State::Fault) => "nobody that this node can hear".into(),
    };
    let _ = writeln!(out, "  holder     {holder}");
    let _ = writeln!(out, "  next       {}", vip.next);
    let _ = writeln!(
        out,
        "  priority   {} configured, {} in force{}",
        vip.priority,
        vip.effective_priority,
        match (vip.drained, vip.on_hold) {
            (true, _) => "; drained by an operator",
            (false, true) => "; put on hold by an operator, who ends it with `vip ready`",
            (false, false) => "",
        }
    );
    let ends = match &vip.lease {
        Some(_) => format!("when the lease ends, {} ms after it was last renewed", vip.guard.window_ms),
        None => format!("{} ms after the last sign of life", vip.guard.window_ms),
    };
    let _ = writeln!(
        out,
        "  guard      {}: if this node freezes, the kernel ({}) stops answering {ends}",
        vip.guard.grade, vip.guard.gate
    );
    out.push_str(&aids(status, vip));
    out.push_str(&(alarms(status, vip) + &wire(vip)));
    if let Some(group) = &vip.group {
        let _ = writeln!(out, "  group      {group}: its vips move together");
    }
    for peer in &vip.peers {
        let heard = match (peer.priority, peer.heard_ms_ago) {
            (Some(priority), Some(ago)) => format!("priority {priority}, heard {ago} ms ago"),
            _ => "never heard (a backup is silent in VRRP)".into(),
        };
        let _ = writeln!(out, "  peer       {}: {heard}", peer.addr);
    }
    counters(&mut out, "adverts", &vip.adverts);
    changes(&mut out, &vip.transitions);
    counters(&mut out, "counts", &vip.counters);
    let told: Vec<&Event> =
        events.iter().filter(|e| e.about == vip.name || e.kind == "arbitration").collect();
    if !told.is_empty() {
        out.push_str("what happened\n");
    }
    for event in told.iter().rev().take(20).rev() {
        let _ = writeln!(out, "  {}  {}", render::clock(event.at_ms), event.message);
    }
    out
}

/// Who else claims it, and whether who holds it can be used.
fn alarms(status: &Status, vip: &VipStatus) -> String {
    let mut out = String::new();
    if let Some(conflict) = &vip.conflict {
        let _ = writeln!(out, "  conflict   {}", conflict.sentence());
    }
    for seen in status.through.iter().filter(|seen| seen.vip == vip.name) {
        let said = match (&seen.unusable, &seen.holder) {
            (Some(why), _) => format!("it cannot be used from here: {why}"),
            (None, Some(holder)) => {
                let probe = status.probes.iter().find(|probe| probe.name == seen.probe);
                let verdict = probe.map_or("pending", |probe| words::verdict(probe.verdict));
                format!("{verdict}, asked of {holder} from here")
            }
            (None, None) => "not looked at while this node or nobody holds it".into(),
        };
        let _ = writeln!(out, "  through    probe {}: {said}", seen.probe);
    }
    out
}

/// What is promised, and what helps to decide where nobody votes.
fn aids(status: &Status, vip: &VipStatus) -> String {
    let mut out = String::new();
    if !vip.guard.promise.is_empty() {
        let _ = writeln!(out, "  promise    {}", vip.guard.promise);
    }
    if let Some(reference) = &vip.reference {
        let _ = writeln!(out, "  reference  {}", reference.sentence());
    }
    if let Some(lock) =
        status.arbitration.as_ref().and_then(|of| of.lock.as_ref()).filter(|_| vip.lease.is_none())
    {
        let _ = writeln!(out, "  lock       {}", lock.sentence());
    }
    out
}

/// What decides who holds it: adverts, or voters.
fn wire(vip: &VipStatus) -> String {
    match &vip.lease {
        Some(lease) => render::lease(lease),
        None => format!(
            "  wire       VRRPv{} vrid {} on {}, an advert every {} ms\n",
            vip.vrrp, vip.vrid, vip.interface, vip.advert_ms
        ),
    }
}

/// How often it changed, to which state and why.
fn changes(out: &mut String, transitions: &[Counter]) {
    let label = |counter: &Counter, name: &str| {
        counter.labels.iter().find(|(n, _)| n == name).map_or_else(String::new, |(_, value)| value.clone())
    };
    let said: Vec<String> = transitions
        .iter()
        .filter(|c| c.value > 0)
        .map(|c| format!("{} to {} ({})", c.value, label(c, "to"), label(c, "reason")))
        .collect();
    if !said.is_empty() {
        let _ = writeln!(out, "  changes    {}", said.join(", "));
    }
}

fn counters(out: &mut String, title: &str, counters: &[Counter]) {
    let said: Vec<String> = counters
        .iter()
        .filter(|c| c.value > 0)
        .map(|c| {
            let labels: Vec<&str> = c.labels.iter().map(|(_, v)| v.as_str()).collect();
            let name = if labels.is_empty() {
                c.name.trim_start_matches("vip_").trim_end_matches("_total").replace('_', " ")
            } else {
                labels.join(" ")
            };
            format!("{} {name}", c.value)
        })
        .collect();
    if !said.is_empty() {
        let _ = writeln!(out, "  {title:<9}  {}", said.join(", "));
    }
}
