//! The cluster's and the leases' families.

use std::collections::BTreeSet;

use super::{Families, seconds};
use crate::status::{ClusterStatus, LeaseStatus, Status};

pub(super) fn add(families: &mut Families, status: &Status) {
    if let Some(cluster) = &status.cluster {
        of_cluster(families, cluster);
    }
    let mut seen = BTreeSet::new();
    for lease in status.vips.iter().filter_map(|vip| vip.lease.as_ref()) {
        // The vips of a group stand under one right.
        if seen.insert(lease.right.as_str()) {
            of_lease(families, lease);
        }
    }
}

fn flag(on: bool) -> &'static str {
    if on { "1" } else { "0" }
}

fn of_cluster(families: &mut Families, cluster: &ClusterStatus) {
    families.add("cluster_list_epoch", "gauge", &[], &cluster.list_epoch.to_string());
    families.add("cluster_quorum", "gauge", &[], flag(cluster.quorum));
    families.add("cluster_term_seconds", "gauge", &[], &seconds(cluster.term_ms));
    families.add("cluster_voters", "gauge", &[], &cluster.voters.to_string());
    families.add("cluster_voters_answering", "gauge", &[], &cluster.answering.to_string());
    families.add("cluster_voters_needed", "gauge", &[], &cluster.majority.to_string());
    for node in &cluster.nodes {
        let name = [("node", node.id.as_str()), ("kind", node.kind.as_str())];
        families.add("cluster_node_mute_seconds", "gauge", &name, &seconds(node.mute_ms));
        families.add("cluster_node_other_list", "gauge", &name, flag(node.other_list.is_some()));
        families.add("cluster_node_reachable", "gauge", &name, flag(node.reachable));
        if let Some(age) = node.session_s {
            families.add("cluster_session_age_seconds", "gauge", &name, &format!("{age:.3}"));
        }
        if let Some(external) = &node.external {
            families.add("cluster_store_answers", "gauge", &name, flag(external.answers));
            families.add("cluster_store_calls_total", "counter", &name, &external.calls.to_string());
            families.add("cluster_store_failures_total", "counter", &name, &external.failures.to_string());
            if let Some(rtt) = external.rtt_ms {
                families.add("cluster_store_rtt_seconds", "gauge", &name, &format!("{:.6}", rtt / 1000.0));
            }
        }
        for wire in &node.wires {
            let addr = wire.addr.to_string();
            let labels = [("node", node.id.as_str()), ("wire", addr.as_str())];
            families.add("cluster_wire_datagrams_total", "counter", &labels, &wire.datagrams.to_string());
            families.add("cluster_wire_duplicates_total", "counter", &labels, &wire.duplicates.to_string());
            families.add("cluster_wire_received_bytes_total", "counter", &labels, &wire.bytes.to_string());
            families.add("cluster_wire_up", "gauge", &labels, flag(!wire.lost));
            if let Some(rtt) = wire.rtt_ms {
                families.add("cluster_wire_rtt_seconds", "gauge", &labels, &format!("{:.6}", rtt / 1000.0));
            }
        }
    }
}

fn of_lease(families: &mut Families, lease: &LeaseStatus) {
    let right = [("right", lease.right.as_str())];
    families.add("lease_acquired_total", "counter", &right, &lease.acquired.to_string());
    families.add("lease_epoch", "gauge", &right, &lease.epoch.to_string());
    families.add("lease_held", "gauge", &right, flag(lease.left_ms.is_some()));
    families.add("lease_left_seconds", "gauge", &right, &seconds(lease.left_ms.unwrap_or_default()));
    families.add("lease_refused_total", "counter", &right, &lease.refused.to_string());
    families.add("lease_unrenewed_total", "counter", &right, &lease.unrenewed.to_string());
    families.add("lease_voters_granting", "gauge", &right, &lease.granted().to_string());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::cluster_tests;

    #[test]
    fn the_cluster_and_each_right_have_their_samples_once() {
        let mut status = Status::empty("web-1");
        let mut cluster = cluster_tests::cluster();
        cluster.nodes[2].external = Some(crate::status::ExternalStatus {
            rtt_ms: Some(2.0),
            calls: 9,
            failures: 4,
            ..crate::status::ExternalStatus::default()
        });
        status.cluster = Some(cluster);
        for name in ["front", "back"] {
            let mut vip = crate::status::tests::vip();
            vip.name = name.into();
            vip.lease = Some(LeaseStatus { right: "group/all".into(), ..cluster_tests::lease() });
            status.vips.push(vip);
        }
        let page = super::super::render(&status);
        for sample in [
            "mainstay_cluster_quorum 1",
            "mainstay_cluster_voters_answering 2",
            "mainstay_cluster_node_reachable{node=\"witness\",kind=\"witness\"} 0",
            "mainstay_cluster_wire_up{node=\"web-2\",wire=\"10.1.4.21:5112\"} 0",
            "mainstay_cluster_wire_rtt_seconds{node=\"web-2\",wire=\"10.0.4.21:5112\"} 0.000250",
            "mainstay_cluster_store_answers{node=\"witness\",kind=\"witness\"} 0",
            "mainstay_cluster_store_failures_total{node=\"witness\",kind=\"witness\"} 4",
            "mainstay_cluster_store_rtt_seconds{node=\"witness\",kind=\"witness\"} 0.002000",
            "mainstay_lease_left_seconds{right=\"group/all\"} 0.800",
            "mainstay_lease_voters_granting{right=\"group/all\"} 1",
        ] {
            assert_eq!(page.lines().filter(|line| *line == sample).count(), 1, "{sample}: {page}");
        }
    }
}
