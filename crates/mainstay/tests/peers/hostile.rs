//! Adverts that nobody should believe, sent by a third host to real daemons: each moves the counter of its reason and
//! nothing else, no timer either.

use std::io::{BufRead, BufReader, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_core::vrrp::hostile::{Attack, Hostile, hostile};
use mainstay_core::vrrp::{Advert, Checksum, GROUP_V4, GROUP_V6, Reject, TTL, Version, encode};
use mainstay_lab::peer::Mainstay;
use mainstay_lab::probe::AdvertWatch;
use mainstay_lab::{Fault, Host, Node, wait_until};
use serde_json::Value;

use crate::bed::{Ground, LIMIT, binary};
use crate::frames::Injector;

const ADVERT: Duration = Duration::from_secs(1);

/// More than a scheduler of a busy machine takes, less than an advert that was lost.
const SLACK: Duration = Duration::from_millis(800);

/// What the attacked nodes speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    Version2,
    Version2Unicast,
    Version3,
    Ipv6,
}

impl Wire {
    fn addrs(self) -> Vec<IpAddr> {
        let texts = if self == Self::Ipv6 { ["fe80::99", "fd00:4::99"] } else { ["10.0.4.99", "10.0.4.98"] };
        texts.map(|text| text.parse().expect("an address")).to_vec()
    }

    fn version(self) -> Version {
        match self {
            Self::Version2 | Self::Version2Unicast => Version::V2,
            Self::Version3 | Self::Ipv6 => Version::V3,
        }
    }

    fn toml(self, number: usize) -> String {
        let addrs: Vec<String> = self.addrs().iter().map(|addr| format!("\"{addr}\"")).collect();
        let (version, other) = (if self.version() == Version::V2 { 2 } else { 3 }, 2 - number);
        let more = match self {
            Self::Version2 => "password = \"s3cret\"\n".to_owned(),
            Self::Version2Unicast => {
                format!("unicast = [\"10.0.4.{other}\", \"10.0.4.9\"]\ncheck_source = true\n")
            }
            Self::Version3 | Self::Ipv6 => String::new(),
        };
        format!(
            "[node]\nid = \"node-{number}\"\nmetrics = \"127.0.0.1:9105\"\n[[vip]]\nname = \"front\"\naddrs = [{}]\n\
             interface = \"eth0\"\nvrid = 51\nversion = {version}\npriority = {}\n{more}",
            addrs.join(", "),
            150 - 50 * number
        )
    }

    /// The address that adverts of a host come from.
    fn source(self, host: &Host) -> Result<IpAddr> {
        let own = |addr: &IpAddr| match addr {
            IpAddr::V4(ip) => self != Self::Ipv6 && ip.octets()[3] < 90,
            IpAddr::V6(ip) => {
                self == Self::Ipv6 && ip.is_unicast_link_local() && !self.addrs().contains(addr)
            }
        };
        host.addresses()?.into_iter().find(own).context("a host has an address of its own")
    }
}

/// Two nodes, the first active, and an attacker beside them.
struct Siege {
    wire: Wire,
    nodes: [Node; 2],
    injector: Injector,
    watch: AdvertWatch,
    ground: Ground,
}

impl Siege {
    fn lay(wire: Wire) -> Result<Self> {
        let ground = Ground::lay("siege")?;
        // 255 addresses of IPv6 in one packet.
        ground.stretch(9000)?;
        let watch = AdvertWatch::start(&ground.lab, &ground.lan)?;
        let start = |number: usize| -> Result<Node> {
            let host = ground.hosts[number].clone();
            let keeper = Mainstay::start(&host, &binary(), &wire.toml(number))?;
            let node =
                Node { host, interface: "eth0".into(), keeper: std::sync::Arc::new(keeper), service: None };
            node.keeper.daemon().wait_until("it is ready", LIMIT, || node.keeper.ready())?;
            Ok(node)
        };
        let nodes = [start(0)?, start(1)?];
        let injector = Injector::new(&ground.outside, "eth0")?;
        let siege = Self { wire, nodes, injector, watch, ground };
        wait_until("the first is active, the second hears it", LIMIT, || {
            Ok(siege.vip(0)?["state"] == "active" && siege.vip(1)?["holder"] == siege.source(0)?.to_string())
        })?;
        Ok(siege)
    }

    fn source(&self, number: usize) -> Result<IpAddr> {
        self.wire.source(&self.nodes[number].host)
    }

    fn status(&self, number: usize) -> Result<Value> {
        status(&self.nodes[number].host)
    }

    fn vip(&self, number: usize) -> Result<Value> {
        Ok(self.status(number)?["vips"][0].clone())
    }

    /// Adverts against one node, made from one that it would believe.
    fn attack(&self, number: usize) -> Result<Attack> {
        let own = self.source(number)?;
        let dst = match self.wire {
            Wire::Version2Unicast => own,
            Wire::Version2 | Wire::Version3 => GROUP_V4.into(),
            Wire::Ipv6 => GROUP_V6.into(),
        };
        let password = (self.wire == Wire::Version2).then_some(*b"s3cret\0\0");
        let (version, addrs) = (self.wire.version(), self.wire.addrs());
        let good = Advert { version, vrid: 51, priority: 254, interval: ADVERT, addrs, password };
        let src = self.wire.source(&self.ground.outside)?;
        Ok(Attack { good, src, dst, own, checksum: Checksum::PseudoHeader })
    }

    /// To one node alone, on the wire: to the others a lie about that node may be the truth.
    fn send(&self, number: usize, lie: &Hostile) -> Result<()> {
        let mac = self.nodes[number].host.mac("eth0")?;
        self.injector.send(mac, lie.src, lie.dst, lie.ttl, &lie.payload)
    }
}

/// One question over the control socket.
fn status(host: &Host) -> Result<Value> {
    let mut stream = UnixStream::connect(host.directory().join("run/control.sock"))?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(b"{\"call\":\"status\"}\n")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let reply: Value = serde_json::from_str(&line)?;
    Ok(reply.get("status").cloned().unwrap_or(reply))
}

/// How often adverts were refused for a reason, as this vip's or as nobody's.
fn refused(status: &Value, reject: Reject) -> u64 {
    let lists = [&status["vips"][0]["adverts"], &status["counters"]];
    let all = lists.into_iter().filter_map(Value::as_array).flatten();
    all.filter(|counter| counter["labels"][0][1] == reject.as_str()).filter_map(|c| c["value"].as_u64()).sum()
}

/// All refusals.
fn all_refused(status: &Value) -> u64 {
    Reject::ALL.into_iter().map(|reject| refused(status, reject)).sum()
}

/// What no lie may change.
fn standing(status: &Value) -> Vec<Value> {
    const KEPT: [&str; 8] =
        ["state", "reason", "since_ms", "epoch", "effective_priority", "holder", "transitions", "guard"];
    let vip = &status["vips"][0];
    KEPT.iter().map(|field| vip[field].clone()).chain([status["degraded"].clone()]).collect()
}

/// Lies that the kernel keeps back before any daemon sees them: a packet from our own address (a martian, in IPv4), and
/// one to a group that nobody joined.
fn stopped_by_the_kernel(lie: &Hostile, wire: Wire) -> bool {
    (lie.reject == Reject::OwnAddress && wire != Wire::Ipv6)
        || (lie.reject == Reject::Destination && wire == Wire::Version2Unicast)
}

/// Sends every kind to both nodes and compares what they say before and after.
fn each_lie_is_counted(siege: &Siege) -> Result<()> {
    for number in [0, 1] {
        let lies = hostile(&siege.attack(number)?);
        ensure!(lies.len() > 40, "{} kinds only", lies.len());
        for lie in &lies {
            let before = [siege.status(0)?, siege.status(1)?];
            siege.send(number, lie)?;
            if !stopped_by_the_kernel(lie, siege.wire) {
                let counted =
                    || Ok(refused(&siege.status(number)?, lie.reject) > refused(&before[number], lie.reject));
                wait_until(
                    &format!("{:?} counts {:?} as {}", siege.wire, lie.name, lie.reject.as_str()),
                    LIMIT,
                    counted,
                )?;
            }
            let after = [siege.status(0)?, siege.status(1)?];
            for (before, after) in before.iter().zip(&after) {
                let (was, is) = (standing(before), standing(after));
                ensure!(was == is, "{} changed {was:?}\nto {is:?}", lie.name);
            }
            let (was, is) = (&before[number], &after[number]);
            ensure!(all_refused(is) - all_refused(was) <= 1, "{} counted twice: {was:#}\n{is:#}", lie.name);
        }
    }
    Ok(())
}

/// A thread that sends lies to both nodes, round and round, until it is dropped.
struct Flood {
    _stop: Sender<()>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Flood {
    fn start(siege: &Siege, pause: Duration) -> Result<Self> {
        let mut frames = Vec::new();
        for number in [0, 1] {
            let mac = siege.nodes[number].host.mac("eth0")?;
            for lie in hostile(&siege.attack(number)?) {
                frames.push(Injector::frame(
                    siege.injector.mac(),
                    mac,
                    lie.src,
                    lie.dst,
                    lie.ttl,
                    &lie.payload,
                ));
            }
        }
        let injector = siege.injector.again()?;
        let (sender, stopped) = channel::<()>();
        let thread = std::thread::spawn(move || {
            for frame in frames.iter().cycle() {
                injector.send_frame(frame)?;
                if stopped.recv_timeout(pause) == Err(std::sync::mpsc::RecvTimeoutError::Disconnected) {
                    break;
                }
            }
            Ok(())
        });
        Ok(Self { _stop: sender, thread: Some(thread) })
    }

    fn stop(mut self) -> Result<()> {
        drop(self._stop);
        let thread = self.thread.take().context("it runs")?;
        thread.join().map_err(|_| anyhow::anyhow!("the flood panicked"))?
    }
}

/// The times at which a node's adverts passed.
fn adverts_of(siege: &Siege, source: IpAddr) -> Vec<std::time::Instant> {
    let all = siege.watch.adverts();
    let own =
        all.iter().filter(|advert| advert.source == source && advert.priority > 0 && advert.priority < 254);
    own.map(|advert| advert.at).collect()
}

/// While lies rain down the active node advertises on time, and its death is noticed in time.
fn no_timer_moves(siege: &Siege) -> Result<()> {
    let (first, second) = (siege.source(0)?, siege.source(1)?);
    let before = adverts_of(siege, first).len();
    let flood = Flood::start(siege, Duration::from_millis(50))?;
    wait_until("the active node advertises", LIMIT, || Ok(adverts_of(siege, first).len() > before + 4))?;
    let adverts = adverts_of(siege, first);
    for pair in adverts[before..].windows(2) {
        ensure!(pair[1] - pair[0] < ADVERT + SLACK, "adverts {:?} apart", pair[1] - pair[0]);
    }
    let death = Fault::KillAll.strike(&siege.nodes[0])?;
    wait_until("the backup takes over", LIMIT, || Ok(!adverts_of(siege, second).is_empty()))
        .with_context(|| format!("{:?}", siege.vip(1)))
        .with_context(|| siege.nodes[1].keeper.daemon().log_tail())?;
    let last = *adverts_of(siege, first).last().context("it advertised")?;
    let took = adverts_of(siege, second)[0] - last;
    ensure!(took > ADVERT * 3 && took < ADVERT * 4 + SLACK, "the backup took over after {took:?}");
    flood.stop()?;
    drop(death);
    Ok(())
}

/// What the lies were made from is believed: it takes the vip away.
fn the_truth_is_heard(siege: &Siege) -> Result<()> {
    let attack = siege.attack(1)?;
    let mut payload = Vec::new();
    encode(&attack.good, attack.src, attack.dst, attack.checksum, &mut payload);
    siege.injector.send(siege.nodes[1].host.mac("eth0")?, attack.src, attack.dst, TTL, &payload)?;
    wait_until("the second yields to it", LIMIT, || {
        let vip = siege.vip(1)?;
        Ok(vip["state"] == "backup" && vip["holder"] == attack.src.to_string())
    })
}

fn withstands(wire: Wire) -> Result<()> {
    let siege = Siege::lay(wire)?;
    each_lie_is_counted(&siege)?;
    no_timer_moves(&siege)?;
    let metrics = siege.nodes[1].host.run(|| {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9105")?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        std::io::read_to_string(stream)
    })??;
    let line = "mainstay_vip_adverts_total{vip=\"front\",result=\"bad-checksum\"}";
    ensure!(metrics.contains(line), "{metrics}");
    the_truth_is_heard(&siege)
}

#[test]
fn hostile_adverts_of_version_2_with_a_password_move_a_counter_and_no_timer() {
    mainstay_lab::test(|| withstands(Wire::Version2));
}

#[test]
fn hostile_unicast_adverts_move_a_counter_and_no_timer() {
    mainstay_lab::test(|| withstands(Wire::Version2Unicast));
}

#[test]
fn hostile_adverts_of_version_3_move_a_counter_and_no_timer() {
    mainstay_lab::test(|| withstands(Wire::Version3));
}

#[test]
fn hostile_adverts_over_ipv6_move_a_counter_and_no_timer() {
    mainstay_lab::test(|| withstands(Wire::Ipv6));
}
