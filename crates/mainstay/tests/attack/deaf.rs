//! A node that cannot open its sockets.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use anyhow::ensure;
use mainstay_lab::peer::Mainstay;

use super::{CONFIG, LIMIT, binary, host};

#[test]
fn a_node_that_can_neither_hear_nor_send_adverts_takes_no_vip_and_says_why() {
    mainstay_lab::test(|| {
        let (_lab, host) = host()?;
        let program = host.directory().join("without-sockets");
        let drop = "setpriv --bounding-set -net_raw --inh-caps=-all";
        fs::write(&program, format!("#!/bin/sh\nexec {drop} {} \"$@\"\n", binary().display()))?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        let node = Mainstay::start(&host, &program, CONFIG)?;
        node.wait_for_state("front", "fault", LIMIT)?;
        let status = node.status_json()?.to_string();
        ensure!(status.contains("cannot open a"), "{status}");
        Ok(())
    });
}
