//! Three hubs with the configuration of packaging/kubernetes behind one balanced name, rolled one by one.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::ensure;
use mainstay_lab::peer::Mainstay;
use mainstay_lab::pods::{FRONT, PODS, Pods, served};
use mainstay_lab::probe::{Visitors, Visits, fetch_from};
use mainstay_lab::wait_until;

use crate::{HOST, LIMIT, binary, client, folder};

#[test]
fn three_hubs_rolled_one_by_one_under_load_lose_no_request() {
    mainstay_lab::test(|| {
        let mut pods = Pods::start(&binary())?;
        let mut clients = Vec::new();
        for (number, name) in [(41, "one"), (42, "two")] {
            let host = pods.host(name, number)?;
            let config = client(&format!("{FRONT}:8421"), &folder(&host, name)?)?;
            clients.push(Mainstay::start(&host, &binary(), &config)?);
        }
        let front: SocketAddr = format!("{FRONT}:80").parse()?;
        for name in ["one", "two"] {
            wait_until(name, LIMIT, || {
                let page = pods.visitor.run(|| fetch_from(front, HOST, LIMIT))?;
                Ok(page.is_ok_and(|page| page.contains(name)))
            })?;
        }
        let visits = Visits {
            hubs: vec![front],
            host: HOST.to_owned(),
            method: "GET",
            visitors: 4,
            rate: 50,
            per_connection: 1000,
            patience: Duration::from_secs(5),
            again: true,
        };
        let kept = Visitors::start(&pods.visitor, &visits)?;
        let fresh = Visitors::start(&pods.visitor, &Visits { per_connection: 1, ..visits })?;
        served(&fresh, 50)?;
        pods.roll(&fresh)?;
        ensure!(pods.numbers().into_iter().eq(4..=PODS), "three new pods run");
        for (what, visitors) in [("kept", kept), ("fresh", fresh)] {
            let fates = visitors.stop();
            let failed: Vec<_> = fates.iter().filter_map(|fate| fate.failed.as_ref()).collect();
            println!("{what}: {} requests, {} failed", fates.len(), failed.len());
            ensure!(failed.is_empty(), "{what}: {} of {} failed: {failed:?}", failed.len(), fates.len());
        }
        drop(clients);
        Ok(())
    });
}
