//! The cluster and its leases as people read them.

use std::fmt::Write as _;
use std::time::Duration;

use super::{Table, span, style};
use crate::status::{ClusterStatus, ExternalStatus, LeaseStatus, NodeStatus};

/// One line for the whole, one for each node, and one more for each further wire.
pub(in crate::cli) fn cluster(cluster: &ClusterStatus) -> String {
    if cluster.strict {
        return strict(cluster);
    }
    if !cluster.counts {
        return format!(
            "cluster {}: no vip is held under a lease; list {}, term {} ms\n{}",
            cluster.name,
            cluster.list,
            cluster.term_ms,
            nodes(cluster)
        );
    }
    let answer =
        if cluster.quorum { style("32", "a majority".into()) } else { style("31", "no majority".into()) };
    let out = format!(
        "cluster {}: {answer} answers: {} of {} voters, {} needed; list {}, term {} ms\n",
        cluster.name, cluster.answering, cluster.voters, cluster.majority, cluster.list, cluster.term_ms
    );
    out + &nodes(cluster)
}

/// The first line of two nodes of guard strict.
fn strict(cluster: &ClusterStatus) -> String {
    let answer = if cluster.quorum {
        style("32", "both nodes answer".into())
    } else {
        style("31", "the other node does not answer: what is held here is kept, nothing is taken".into())
    };
    format!(
        "cluster {}: {answer}; guard strict, list {}, term {} ms\n{}",
        cluster.name,
        cluster.list,
        cluster.term_ms,
        nodes(cluster)
    )
}

fn nodes(cluster: &ClusterStatus) -> String {
    let mut table = Table::new(&["NODE", "IS", "VOTES", "STANDS", "HEARD", "SESSION", "WIRES"]);
    for node in &cluster.nodes {
        let wires = node.wires.iter().map(|wire| {
            let rtt = wire.rtt_ms.map_or_else(String::new, |ms| format!(", {ms:.2} ms"));
            format!("{} {}{rtt}", wire.addr, if wire.lost { "lost" } else { "up" })
        });
        let mut wires = wires.chain(node.external.as_ref().map(store));
        table.row(vec![
            node.id.clone(),
            node.kind.clone(),
            match (cluster.counts, node.votes) {
                (true, true) => "yes",
                (true, false) => "no",
                (false, _) => "",
            }
            .to_owned(),
            stands(node),
            heard(node),
            session(node),
            wires.next().unwrap_or_default(),
        ]);
        for wire in wires {
            let mut row = vec![String::new(); 6];
            row.push(wire);
            table.row(row);
        }
    }
    let differences = cluster.differences().into_iter().map(|sentence| sentence + "\n");
    let table = table.render(|column, cell, text| match (column, cell) {
        (3, "here" | "reachable") => style("32", text),
        (3, "") => text,
        (3, _) => style("31", text),
        (6, wire) if wire.contains(" lost") => style("31", text),
        _ => text,
    });
    table + &differences.collect::<String>()
}

/// The member of a store that is spoken to, as a wire.
fn store(external: &ExternalStatus) -> String {
    let at = external.endpoint.as_deref().unwrap_or("no member");
    let rtt = external.rtt_ms.map_or_else(String::new, |ms| format!(", {ms:.2} ms"));
    format!("{at} {}{rtt}", if external.answers { "up" } else { "lost" })
}

fn stands(node: &NodeStatus) -> String {
    match (node.reachable, &node.other_list, node.mute_ms) {
        (false, ..) => "silent".into(),
        (true, Some(theirs), _) => format!("other list {theirs}"),
        (true, None, 0) => if node.me { "here" } else { "reachable" }.into(),
        (true, None, mute) => format!("mute for {mute} ms"),
    }
}

fn heard(node: &NodeStatus) -> String {
    match (node.me, node.heard_ms_ago) {
        (true, _) => String::new(),
        (false, Some(ms)) => format!("{} ago", span(Duration::from_millis(ms))),
        (false, None) => "never".into(),
    }
}

fn session(node: &NodeStatus) -> String {
    match (node.me || node.external.is_some(), node.session_s) {
        (true, _) => String::new(),
        (false, Some(age)) => span(Duration::from_secs_f64(age.max(0.0))),
        (false, None) => "none".into(),
    }
}

/// The lease's story: epoch, end, who said what, who follows.
pub(in crate::cli) fn lease(lease: &LeaseStatus) -> String {
    let mut out = String::new();
    let held = match (lease.left_ms, &lease.holder) {
        (Some(_), _) if lease.laid => {
            "this node's right; the address is not here, and the right goes to the other node when that is heard".into()
        }
        (Some(left), _) if lease.lasting => {
            format!("this node's right until it gives it back; the gate closes in {left} ms unless it is told again")
        }
        (None, Some(holder)) if lease.apart => {
            let epoch = lease.holder_epoch.map_or_else(String::new, |epoch| format!(", under epoch {epoch}"));
            format!("held by {holder} when that was last heard{epoch}")
        }
        (Some(left), _) => {
            let since =
                lease.stamped_ms_ago.map_or_else(String::new, |ms| format!(", asked for {ms} ms ago"));
            format!("this node's right, ends in {left} ms unless it is renewed{since}")
        }
        (None, Some(holder)) => {
            let epoch = lease.holder_epoch.map_or_else(String::new, |epoch| format!(" under epoch {epoch}"));
            format!("held by {holder}{epoch}")
        }
        (None, None) => "nobody is known to hold it".into(),
    };
    let _ = writeln!(out, "  lease      {}, epoch {}: {held}", lease.right, lease.epoch);
    if let Some(ms) = lease.asks_in_ms {
        let _ = writeln!(out, "  asks       this node asks for it in {ms} ms");
    } else if lease.apart && lease.left_ms.is_none() {
        out.push_str("  asks       this node does not ask: the other is not heard, and a lone backup never takes over\n");
    } else if !lease.ready {
        let _ = writeln!(out, "  asks       this node can't hold it just now, and does not ask");
    }
    let unasked = lease.left_ms.is_none() && lease.voters.iter().all(|saying| saying.ms_ago.is_none());
    if unasked {
        let whom = lease.holder.as_deref().unwrap_or("whoever asks");
        let _ = writeln!(
            out,
            "  voters     were asked nothing by this node yet; what they promise is told to {whom}"
        );
    }
    for saying in lease.voters.iter().filter(|_| !unasked) {
        let _ = writeln!(out, "  voter      {} {}", saying.voter, saying.sentence());
    }
    if let Some(next) = &lease.next {
        let _ = writeln!(out, "  follows    {next}, when it is given up");
    }
    let _ = writeln!(
        out,
        "  so far     acquired: {}, requests not granted: {}, ended because nobody renewed it: {}",
        lease.acquired, lease.refused, lease.unrenewed
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cluster_tests;

    #[test]
    fn each_node_has_a_line_and_each_further_wire_one_more() {
        let said = cluster(&cluster_tests::cluster());
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            lines[0].starts_with("cluster shop: a majority answers: 2 of 3 voters, 2 needed; list 1/"),
            "{said}"
        );
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(lines[2]), "web-1 node yes here");
        assert_eq!(
            words(lines[3]),
            "web-2 node yes reachable 40 ms ago 3 min 2 s 10.0.4.21:5112 up, 0.25 ms"
        );
        assert_eq!(words(lines[4]), "10.1.4.21:5112 lost, 0.25 ms");
        assert_eq!(words(lines[5]), "witness witness yes silent 4 s ago none");
    }

    #[test]
    fn a_store_is_shown_with_the_member_that_is_spoken_to() {
        let mut status = cluster_tests::cluster();
        status.nodes[2].external = Some(ExternalStatus {
            endpoint: Some("10.0.5.1:2379".into()),
            rtt_ms: Some(1.5),
            trouble: Some("no answer within 1000 ms".into()),
            ..ExternalStatus::default()
        });
        let said = cluster(&status);
        assert!(said.contains("10.0.5.1:2379 lost, 1.50 ms"), "{said}");
        let degraded = status.degraded(&[]);
        assert!(
            degraded[1].ends_with("has not been heard for 4000 ms: no answer within 1000 ms"),
            "{degraded:?}"
        );
    }

    #[test]
    fn a_lease_is_told_from_its_end_to_its_follower() {
        let mut story = cluster_tests::lease();
        let said = lease(&story);
        for part in [
            "vip/front, epoch 7: this node's right, ends in 800 ms unless it is renewed, asked for 120 ms ago",
            "voter      web-2 has promised it to web-2 for another 300 ms",
            "voter      witness has said nothing",
            "follows    web-2",
            "acquired: 3, requests not granted: 2, ended because nobody renewed it: 1",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
        (story.left_ms, story.holder, story.holder_epoch) = (None, Some("web-2".into()), Some(8));
        (story.ready, story.asks_in_ms) = (true, Some(120));
        story.voters.iter_mut().for_each(|saying| saying.ms_ago = None);
        assert!(lease(&story).contains("asked nothing by this node yet; what they promise is told to web-2"));
        let said = lease(&story);
        assert!(
            said.contains("held by web-2 under epoch 8") && said.contains("asks for it in 120 ms"),
            "{said}"
        );
    }

    #[test]
    fn a_right_that_lasts_is_told_as_one() {
        let mut story = cluster_tests::lease();
        (story.lasting, story.apart) = (true, true);
        let said = lease(&story);
        assert!(
            said.contains("this node's right until it gives it back; the gate closes in 800 ms unless"),
            "{said}"
        );
        story.laid = true;
        assert!(lease(&story).contains("the address is not here, and the right goes to the other node"));
        (story.left_ms, story.laid) = (None, false);
        (story.holder, story.holder_epoch) = (Some("web-2".into()), Some(8));
        let said = lease(&story);
        for part in
            ["held by web-2 when that was last heard, under epoch 8", "a lone backup never takes over"]
        {
            assert!(said.contains(part), "{part}: {said}");
        }
        let mut both = cluster_tests::cluster();
        both.strict = true;
        let said = cluster(&both);
        assert!(said.starts_with("cluster shop: both nodes answer; guard strict, list 1/"), "{said}");
    }
}
