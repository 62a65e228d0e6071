//! Where a service forwards to: `forwarder` with its nodes and the way one of them is chosen.

use super::service::Service;
use super::tree::Said;
use super::{Cx, addr};

/// More targets of one service are a mistake.
const MOST_TARGETS: usize = 64;

/// Targets and how one is chosen.
pub(super) struct Forward {
    /// `host:port`, each once.
    pub(super) targets: Vec<String>,
    /// What was written first.
    pub(super) first: Said,
    /// `balance` of a pool; round-robin when absent.
    pub(super) balance: Option<&'static str>,
    /// The first that answers is taken.
    pub(super) in_order: Option<Said>,
}

/// What the service forwards to; `None` has been told of.
pub(super) fn of(service: &mut Service, cx: &mut Cx<'_>) -> Option<Forward> {
    let who = service.who();
    let Some(mut map) = service.forwarder.take() else {
        let text = format!("{who}: it forwards to nothing");
        cx.report.dropped(
            service.pos,
            text,
            "write a forwarder with nodes, or the target into the address: rtcp://:0/:8000",
        );
        return None;
    };
    let _ = map.text(&["name"]);
    let mut targets: Vec<String> = Vec::new();
    let mut first = None;
    for mut node in map.maps("nodes") {
        let _ = node.text(&["name"]);
        let said = node.text(&["addr"]).unwrap_or(Said { text: String::new(), pos: node.pos });
        let network = node.text(&["network"]).filter(|n| !["tcp", "udp"].contains(&n.text.as_str()));
        if let Some(network) = network {
            let text = format!("{who}: network {} of {} is left out", network.text, said.text);
            cx.report.dropped(network.pos, text, "targets are reached by TCP or UDP, as the service is");
        }
        match addr::target(&said.text) {
            Some(target) if targets.len() < MOST_TARGETS => {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
            Some(_) => {
                cx.report.error(said.pos, format!("{who}: more than {MOST_TARGETS} targets"), "split them")
            }
            None => {
                let text = format!("{who}: \"{}\" is no address to forward to", said.text);
                cx.report.error(said.pos, text, "write HOST:PORT");
            }
        }
        node.left(&format!("{who}: target {}", said.text), &mut cx.report);
        first.get_or_insert(said);
    }
    let (balance, in_order) = selector(&mut map, &who, cx);
    service.forwarder = Some(map);
    let Some(first) = first.filter(|_| !targets.is_empty()) else {
        let text = format!("{who}: it forwards to nothing");
        cx.report.dropped(service.pos, text, "write nodes with addr: HOST:PORT under its forwarder");
        service.left(&mut cx.report);
        return None;
    };
    Some(Forward { targets, first, balance, in_order })
}

fn selector(map: &mut super::Map, who: &str, cx: &mut Cx<'_>) -> (Option<&'static str>, Option<Said>) {
    let Some(mut selector) = map.maybe_map("selector") else { return (None, None) };
    let strategy = selector.text(&["strategy"]);
    selector.left(&format!("{who}: selector"), &mut cx.report);
    let Some(strategy) = strategy else { return (None, None) };
    match strategy.text.as_str() {
        "round" | "rr" | "roundrobin" => (None, None),
        "rand" | "random" => (Some("random"), None),
        "hash" => (Some("source"), None),
        "fifo" | "ha" => (None, Some(strategy)),
        _ => {
            let text = format!("{who}: strategy {} is not understood: they take turns", strategy.text);
            cx.report.dropped(strategy.pos, text, "`balance` of a pool names the ways there are");
            (None, None)
        }
    }
}
