//! Somebody else claims an address that is held by best effort: told within a second, by every node, and kept.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mainstay_core::{arp, ndp};
use mainstay_lab::peer::{Keepalived, Keeper as _, Mainstay};
use mainstay_lab::{Host, wait_until};
use mainstay_sys::labsock::{ARP, PacketSocket};

use crate::rig::{CALM, LIMIT, Rig, SERVICE, VIP, cluster, counter, events, front, pair, vip};

/// A conflict is told of within this.
const TOLD: Duration = Duration::from_secs(1);

const STATION: [u8; 6] = [2, 66, 0, 0, 0, 1];
const VIP6: &str = "fd00:4::99";

/// Claims an address once, from a station that nobody has.
fn claim(stranger: &Host, addr: IpAddr) -> Result<()> {
    stranger.run(|| -> Result<()> {
        match addr {
            IpAddr::V4(ip) => PacketSocket::open("eth0", ARP)?.send(&arp::gratuitous(ip, STATION))?,
            IpAddr::V6(ip) => {
                PacketSocket::open("eth0", ndp::ETHERTYPE)?.send(&ndp::unsolicited(ip, STATION, false))?;
            }
        }
        Ok(())
    })?
}

fn told(node: &Mainstay, text: &str) -> Result<()> {
    wait_until(&format!("{text:?} is told"), LIMIT, || Ok(node.daemon().log().contains(text)))
}

/// Takes webhooks on a host's port 9000 and keeps what they say.
fn hooks(host: &Host) -> Result<Arc<Mutex<String>>> {
    let listener = host.run(|| TcpListener::bind("127.0.0.1:9000"))??;
    let kept = Arc::new(Mutex::new(String::new()));
    let shared = Arc::clone(&kept);
    // It ends with the process: the listener's namespace is the test's.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.contains("\"message\"") {
                match stream.read(&mut buffer) {
                    Ok(length @ 1..) => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
                    Ok(0) | Err(_) => break,
                }
            }
            shared.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            let _ = stream
                .write_all(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    Ok(kept)
}

#[test]
fn a_claim_by_arp_or_neighbour_discovery_is_told_by_both_and_to_the_webhook() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let hooked = hooks(rig.host(1))?;
        let notify = "notify = [{ webhook = \"http://127.0.0.1:9000/\", on = [\"conflict\"] }]";
        let config = |n, priority| {
            cluster(n, 2)
                + &front(priority, notify)
                + &vip("six", &format!("{VIP6}/64"), 52, priority, notify)
        };
        let first = rig.start(1, &config(1, 150))?;
        first.wait_for_state("six", "active", LIMIT)?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, &config(2, 100))?;
        for name in ["six", "front"] {
            second.wait_until("it hears the first", LIMIT, |status| {
                status["vips"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .any(|vip| vip["name"] == name && vip["state"] == "backup" && !vip["holder"].is_null())
            })?;
        }
        // The backup knows the holder's station from its announcements; the second series comes after five seconds.
        let announced =
            |name: &str| -> Result<bool> { Ok(counter(&first, name, "vip_announcements_total")? >= 10) };
        wait_until("the second series has gone", LIMIT, || Ok(announced("six")? && announced("front")?))?;
        for (name, addr) in [("front", VIP.parse::<IpAddr>()?), ("six", VIP6.parse::<Ipv6Addr>()?.into())] {
            let begun = Instant::now();
            claim(&rig.watcher, addr)?;
            told(&first, &format!("{addr}, which is held here, is claimed by 02:42:00:00:00:01 too"))?;
            let event = begun.elapsed();
            wait_until("the webhook is told", LIMIT, || {
                let said = hooked.lock().unwrap_or_else(PoisonError::into_inner).clone();
                Ok(said.contains(&format!("\"vip\":\"{name}\",\"on\":\"conflict\"")))
            })?;
            let hook = begun.elapsed();
            told(&second, &format!("{addr}, which "))?;
            let backup = begun.elapsed();
            println!("{name}: event {event:?}, webhook {hook:?}, backup {backup:?}");
            ensure!(event.max(hook).max(backup) < TOLD, "{name}: {event:?} {hook:?} {backup:?}");
            first.wait_for_state(name, "active", LIMIT)?;
            ensure!(counter(&first, name, "vip_conflict_episodes_total")? == 1);
        }
        Ok(())
    });
}

#[test]
fn a_keepalived_of_the_same_router_id_beside_a_unicast_pair_is_told_of_by_both() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let unicast = |other: u8| format!("unicast = [\"10.0.4.{other}\"]");
        let first = rig.start(1, &(cluster(1, 2) + &front(150, &unicast(2))))?;
        first.wait_for_state("front", "active", LIMIT)?;
        let second = rig.start(2, &(cluster(2, 2) + &front(100, &unicast(1))))?;
        second.wait_for_state("front", "backup", LIMIT)?;
        let client = rig.ask(SERVICE, Duration::from_millis(2))?;
        client.wait_for_steady("n1", CALM, LIMIT)?;
        let epoch = first.vip("front")?["epoch"].clone();
        let conf = format!(
            "vrrp_instance theirs {{\n  state MASTER\n  interface eth0\n  virtual_router_id 51\n  priority 254\n  \
             advert_int 1\n  virtual_ipaddress {{\n    {VIP}/24\n  }}\n}}\n"
        );
        let keepalived = Keepalived::start(&rig.watcher, &conf)?;
        wait_until("it is master", LIMIT, || Ok(keepalived.state("theirs").as_deref() == Some("MASTER")))?;
        let begun = Instant::now();
        for node in [&first, &second] {
            told(node, "10.0.4.201 sends VRRP adverts of vrid 51 that are none of vip front's (refused: ")?;
        }
        println!("told {:?} after it said that it was master", begun.elapsed());
        ensure!(begun.elapsed() < TOLD, "after {:?}", begun.elapsed());
        told(&first, "which is held here, is claimed by")?;
        keepalived.daemon().stop()?;
        keepalived.daemon().wait_ended(LIMIT)?;
        let vip = first.vip("front")?;
        ensure!(vip["state"] == "active" && vip["epoch"] == epoch, "it was dropped: {vip}");
        client.wait_for_steady("n1", CALM, LIMIT)
    });
}

#[test]
fn hand_offs_of_a_pair_are_no_conflicts() {
    mainstay_lab::test(|| {
        let rig = Rig::new(2)?;
        let [first, second] = pair(&rig, "")?;
        for _ in 0..3 {
            first.say(&["vip", "drain", "front"])?;
            second.wait_for_state("front", "active", LIMIT)?;
            first.say(&["vip", "ready", "front"])?;
            first.wait_for_state("front", "active", LIMIT)?;
            second.wait_for_state("front", "backup", LIMIT)?;
        }
        second.daemon().stop()?;
        first.daemon().kill_all()?;
        first.daemon().start()?;
        first.wait_for_state("front", "active", LIMIT)?;
        ensure!(counter(&first, "front", "vip_conflict_episodes_total")? == 0, "{}", events(&first)?);
        ensure!(!second.daemon().log().contains("claimed by"), "{}", second.daemon().log());
        Ok(())
    });
}
