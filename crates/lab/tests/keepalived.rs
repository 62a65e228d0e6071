//! The lab against real keepalived: what a client sees is what is known of keepalived.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use mainstay_lab::capture::{Capture, dissect};
use mainstay_lab::peer::Keepalived;
use mainstay_lab::probe::{AdvertWatch, ArpProbe, Echo, UdpClient, takeovers};
use mainstay_lab::{Fault, Host, Lab, Node, Segment, Way, wait_until};

const VIP: &str = "10.0.4.99";
const LIMIT: Duration = Duration::from_secs(10);

/// Two hosts with keepalived at 100 ms adverts, `web-1` before `web-2`, and a client on the same segment.
struct Pair {
    nodes: [Node; 2],
    client: UdpClient,
    arp: ArpProbe,
    _echoes: [Echo; 2],
    outside: Host,
    lan: Segment,
    // Dropped last: its daemons are in it.
    lab: Lab,
}

fn config(name: &str, priority: u8) -> String {
    format!(
        "global_defs {{ router_id {name}\n vrrp_version 3\n }}\nvrrp_instance front {{\n state BACKUP\n interface eth0\n \
         virtual_router_id 51\n priority {priority}\n advert_int 0.1\n virtual_ipaddress {{ {VIP}/32 }}\n}}\n"
    )
}

fn pair() -> Result<Pair> {
    let lab = Lab::new("pair")?;
    let lan = lab.segment("lan")?;
    let outside = lab.host("client")?;
    outside.plug(&lan, "eth0", &["10.0.4.9/24"])?;
    let watcher = lab.host("watcher")?;
    watcher.plug(&lan, "eth0", &["10.0.4.8/24"])?;
    let start = |name: &str, addr: &str, priority: u8| -> Result<(Node, Echo)> {
        let host = lab.host(name)?;
        host.plug(&lan, "eth0", &[addr])?;
        let echo = Echo::start(&host, format!("{VIP}:7777").parse()?)?;
        let keeper = Arc::new(Keepalived::start(&host, &config(name, priority))?);
        Ok((Node { host, interface: "eth0".into(), keeper, service: None }, echo))
    };
    let (first, echo_1) = start("web-1", "10.0.4.21/24", 150)?;
    let (second, echo_2) = start("web-2", "10.0.4.22/24", 100)?;
    let client = UdpClient::start(&outside, format!("{VIP}:7777").parse()?, Duration::from_millis(2))?;
    let arp = ArpProbe::start(&watcher, "eth0", VIP.parse()?, Duration::from_millis(1))?;
    for node in [&first, &second] {
        node.keeper.daemon().wait_until("it is ready", LIMIT, || node.keeper.ready())?;
    }
    client.wait_for_steady("web-1", Duration::from_millis(400), LIMIT)?;
    Ok(Pair { nodes: [first, second], client, arp, _echoes: [echo_1, echo_2], outside, lan, lab })
}

/// Strikes the first node, waits until the second answers and returns the outage.
fn outage_of(pair: &Pair, fault: &Fault) -> Result<Duration> {
    let from = Instant::now();
    let damage = fault.strike(&pair.nodes[0])?;
    pair.client.wait_for("web-2", LIMIT)?;
    let outage = pair.client.record().outage(&(from..Instant::now()));
    damage.heal()?;
    println!("{fault}: {outage:?}");
    Ok(outage)
}

#[test]
fn a_silently_isolated_holder_is_replaced_after_three_adverts() {
    mainstay_lab::test(|| {
        let pair = pair()?;
        let outage = outage_of(&pair, &Fault::Isolation)?;
        assert!(outage > Duration::from_millis(200) && outage < Duration::from_millis(1500), "{outage:?}");
        Ok(())
    });
}

#[test]
fn a_stopped_holder_is_replaced_sooner_than_a_silent_one() {
    mainstay_lab::test(|| {
        let pair = pair()?;
        let stop = outage_of(&pair, &Fault::Stop)?;
        pair.client.wait_for_steady("web-1", Duration::from_millis(400), LIMIT)?;
        let down = outage_of(&pair, &Fault::LinkDown)?;
        pair.client.wait_for_steady("web-1", Duration::from_millis(400), LIMIT)?;
        let carrier = outage_of(&pair, &Fault::CarrierLoss)?;
        assert!(stop < down && stop < carrier, "stop {stop:?}, link down {down:?}, carrier loss {carrier:?}");
        Ok(())
    });
}

#[test]
fn a_frozen_holder_and_its_successor_both_answer() {
    mainstay_lab::test(|| {
        let pair = pair()?;
        let from = Instant::now();
        let damage = Fault::Freeze.strike(&pair.nodes[0])?;
        wait_until("two hosts answer", LIMIT, || {
            Ok(pair.arp.answers().dual_time(&(from..Instant::now())) > Duration::from_millis(300))
        })?;
        damage.heal()?;
        let healed = Instant::now();
        wait_until("one host answers", LIMIT, || {
            let now = Instant::now();
            let window = now.checked_sub(Duration::from_millis(200)).unwrap_or(now)..now;
            Ok(now > healed + Duration::from_millis(200) && pair.arp.answers().holders(&window).len() == 1)
        })
    });
}

#[test]
fn cut_adverts_make_two_holders_although_every_other_frame_passes() {
    mainstay_lab::test(|| {
        let pair = pair()?;
        let watch = AdvertWatch::start(&pair.lab, &pair.lan)?;
        let capture = Capture::of_segment(&pair.lab, &pair.lan)?;
        let from = Instant::now();
        let damage = Fault::CutVrrp(Way::Out).strike(&pair.nodes[0])?;
        wait_until("both hold the address", LIMIT, || {
            let both = pair.nodes.iter().map(|node| node.host.addresses());
            Ok(both
                .collect::<Result<Vec<_>>>()?
                .iter()
                .all(|addrs| addrs.contains(&VIP.parse().expect("an address"))))
        })?;
        pair.outside.output("ping", &["-c1", "-W2", "10.0.4.21"])?;
        damage.heal()?;
        pair.client.wait_for_steady("web-1", Duration::from_millis(300), Duration::from_secs(40))?;
        let quiet = Duration::from_millis(500);
        assert_eq!(takeovers(&watch.stop(), "10.0.4.22".parse()?, quiet, &(from..Instant::now())), 1);
        let rows = dissect(&capture.stop()?, "vrrp", &["ip.src", "vrrp.virt_rtr_id"])?;
        assert!(rows.contains(&vec!["10.0.4.22".into(), "51".into()]));
        Ok(())
    });
}
