//! What the gate promises, for each kind, against a peer on a wire.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::clock::boot_now;
use crate::netlink::{AddrSpec, Monitor, Route};
use crate::packet::FrameSocket;
use crate::testnet::{Host, in_namespace, sh, try_sh, until, wire};

const VIPS: [&str; 2] = ["10.5.0.99", "fd05::99"];
const OWN: [&str; 2] = ["10.5.0.1", "fd05::1"];
/// Set in the process that is killed while it holds a gate: the kind it opens.
const HOLD: &str = "MAINSTAY_TEST_HOLD";
/// How long a gate is armed in these tests.
const SHORT: Duration = Duration::from_millis(300);
const LONG: Duration = Duration::from_secs(60);

fn addr(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// A holder of two vips (this thread) and a peer on the same wire.
struct Scene {
    peer: Host,
    index: u32,
    _echoes: Vec<Echo>,
}

impl Scene {
    fn new() -> Self {
        let peer = Host::start();
        wire(&peer, "a0", "b0", &["10.5.0.1/24", "fd05::1/64"], &["10.5.0.2/24", "fd05::2/64"]);
        let mut route = Route::open().expect("route");
        let index = index_of("a0");
        let spec = |vip| AddrSpec {
            index,
            addr: addr(vip),
            prefix: if vip == VIPS[0] { 32 } else { 128 },
            valid: LONG,
        };
        assert!(route.set_addrs(&VIPS.map(spec)).iter().all(std::io::Result::is_ok));
        let echoes = VIPS.iter().chain(&OWN).map(|at| Echo::start(SocketAddr::new(addr(at), 7))).collect();
        Self { peer, index, _echoes: echoes }
    }

    /// The gate of this kind with both vips guarded; `None`, and a word why, where this machine has none.
    fn gate(&self, kind: GateKind) -> Option<Gate> {
        let mut gate = open(kind)?;
        for vip in VIPS {
            gate.guard(addr(vip)).expect("guard");
        }
        gate.attach(self.index, false).expect("attach");
        gate.commit().expect("commit");
        Some(gate)
    }

    /// Asks an address every millisecond until `end`: when the last question that was answered had been asked.
    fn last_answer(&self, to: &str, end: Boot) -> Option<Boot> {
        let to = SocketAddr::new(addr(to), 7);
        self.peer.run(move || {
            let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).expect("bind");
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("timeout");
            let (mut asked, mut last) = (Vec::new(), None);
            while boot_now() < end {
                let number = u64::try_from(asked.len()).expect("few");
                asked.push(boot_now());
                let _ = socket.send_to(&number.to_ne_bytes(), to);
                let mut answer = [0; 8];
                if socket.recv(&mut answer).is_ok() {
                    last = usize::try_from(u64::from_ne_bytes(answer))
                        .ok()
                        .and_then(|at| asked.get(at).copied());
                }
            }
            last
        })
    }

    fn answers(&self, to: &str) -> bool {
        self.last_answer(to, boot_now() + Duration::from_millis(50)).is_some()
    }

    fn forget_neighbours(&self) {
        self.peer.run(|| sh("ip neigh flush dev b0; ip -6 neigh flush dev b0"));
    }
}

/// Answers datagrams until it is dropped.
struct Echo {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Echo {
    fn start(at: SocketAddr) -> Self {
        let socket = UdpSocket::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"));
        socket.set_read_timeout(Some(Duration::from_millis(20))).expect("timeout");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut question = [0; 8];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((len, from)) = socket.recv_from(&mut question) {
                    let _ = socket.send_to(&question[..len], from);
                }
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn index_of(name: &str) -> u32 {
    let links = Route::open().and_then(|mut route| route.links()).expect("links");
    links.iter().find(|link| link.name == name).expect("the interface").index
}

fn open(kind: GateKind) -> Option<Gate> {
    match Gate::open(GateOptions { only: Some(kind) }) {
        Ok(gate) => {
            assert_eq!(gate.kind(), kind);
            Some(gate)
        }
        Err(error) => {
            let inside =
                !std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default().contains("4294967295");
            assert!(inside || cfg!(not(mainstay_bpf)), "{kind:?}: {error}");
            eprintln!("skipped: no {kind:?} gate here: {error}");
            None
        }
    }
}

fn arm(gate: &mut Gate, until: Boot) {
    for vip in VIPS {
        gate.arm(addr(vip), until).expect("arm");
    }
    gate.commit().expect("commit");
}

fn closes_on_time(kind: GateKind) {
    let scene = Scene::new();
    let Some(mut gate) = scene.gate(kind) else { return };
    for (vip, own) in VIPS.iter().zip(OWN) {
        assert!(!scene.answers(vip), "{vip} is guarded and was never armed");
        assert!(scene.answers(own), "{own} is not guarded");
        let deadline = boot_now() + SHORT;
        arm(&mut gate, deadline);
        scene.forget_neighbours();
        let last = scene.last_answer(vip, deadline + Duration::from_millis(200)).expect("open while armed");
        assert!(last <= deadline, "{vip} answered {:?} late", last.since(deadline));
        eprintln!("{kind:?} {vip}: last answer {:?} before the deadline", deadline.since(last));
        assert!(scene.answers(own), "{own} is not guarded");
        arm(&mut gate, boot_now() + LONG);
        scene.forget_neighbours();
        assert!(scene.answers(vip), "armed again");
        arm(&mut gate, Boot::ZERO);
        assert!(!scene.answers(vip), "a moment that has passed closes at once");
        gate.forget(addr(vip)).expect("forget");
        gate.commit().expect("commit");
        scene.forget_neighbours();
        assert!(scene.answers(vip), "an address that is not guarded passes");
        gate.guard(addr(vip)).expect("guard");
        gate.commit().expect("commit");
    }
    gate.remove().expect("remove");
    scene.forget_neighbours();
    assert!(scene.answers(VIPS[0]) && scene.answers(VIPS[1]), "a removed gate stops nothing");
    assert_eq!(sh("tc filter show dev a0 ingress; tc qdisc show dev a0 clsact; nft list ruleset"), "");
}

#[test]
fn an_ebpf_gate_closes_at_the_deadline_and_opens_when_armed() {
    in_namespace("gate::tests::an_ebpf_gate_closes_at_the_deadline_and_opens_when_armed", || {
        closes_on_time(GateKind::TcEbpf);
    });
}

#[test]
fn an_nft_gate_closes_at_the_deadline_and_opens_when_armed() {
    in_namespace("gate::tests::an_nft_gate_closes_at_the_deadline_and_opens_when_armed", || {
        closes_on_time(GateKind::Nft);
    });
}

/// Not a claim of its own: the process that the next tests kill.
#[test]
fn the_holder_that_is_killed() {
    let Ok(kind) = std::env::var(HOLD) else { return };
    let mut gate = open(GateKind::from_name(&kind).expect("a kind")).expect("the parent opened one");
    for vip in VIPS {
        gate.guard(addr(vip)).expect("guard");
    }
    gate.attach(index_of("a0"), false).expect("attach");
    let deadline = boot_now() + SHORT;
    arm(&mut gate, deadline);
    println!("\narmed {}", deadline.as_nanos());
    loop {
        std::thread::park();
    }
}

fn outlives_its_maker(kind: GateKind) {
    let scene = Scene::new();
    let Some(gate) = scene.gate(kind) else { return };
    drop(gate);
    let this = std::env::current_exe().expect("the test binary's path");
    let mut holder = Command::new(this)
        .args(["--exact", "gate::tests::the_holder_that_is_killed", "--nocapture"])
        .env(HOLD, kind.name())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start ourselves");
    let mut lines = BufReader::new(holder.stdout.take().expect("piped")).lines();
    let deadline = lines
        .find_map(|line| line.ok()?.strip_prefix("armed ")?.parse().ok())
        .map(Boot::from_nanos)
        .expect("the holder armed its gate");
    holder.kill().expect("SIGKILL");
    holder.wait().expect("reap");
    scene.forget_neighbours();
    let last =
        scene.last_answer(VIPS[0], deadline + Duration::from_millis(200)).expect("open after the kill");
    assert!(last <= deadline, "answered {:?} late", last.since(deadline));
    assert!(!scene.answers(VIPS[1]), "closed for IPv6 too");
    let mut gate = scene.gate(kind).expect("another run");
    assert!(!scene.answers(VIPS[0]), "the new gate starts closed");
    arm(&mut gate, boot_now() + LONG);
    scene.forget_neighbours();
    assert!(scene.answers(VIPS[0]), "the new run opens it");
    if kind == GateKind::TcEbpf {
        let filters = sh("tc filter show dev a0 ingress; tc filter show dev a0 egress");
        assert_eq!(filters.matches("mainstay_gate").count(), 2, "replaced, not added: {filters}");
    }
}

#[test]
fn an_ebpf_gate_closes_on_time_after_its_maker_was_killed() {
    in_namespace("gate::tests::an_ebpf_gate_closes_on_time_after_its_maker_was_killed", || {
        outlives_its_maker(GateKind::TcEbpf);
    });
}

#[test]
fn an_nft_gate_closes_on_time_after_its_maker_was_killed() {
    in_namespace("gate::tests::an_nft_gate_closes_on_time_after_its_maker_was_killed", || {
        outlives_its_maker(GateKind::Nft);
    });
}

#[test]
fn an_ebpf_gate_that_somebody_took_off_is_hung_again() {
    in_namespace("gate::tests::an_ebpf_gate_that_somebody_took_off_is_hung_again", || {
        let scene = Scene::new();
        let Some(mut gate) = scene.gate(GateKind::TcEbpf) else { return };
        let mut monitor = Monitor::open().expect("monitor");
        for harm in
            ["tc qdisc del dev a0 clsact", "tc filter del dev a0 ingress", "tc filter del dev a0 egress"]
        {
            sh(harm);
            let start = Instant::now();
            let mut mended = false;
            while let Some(change) = monitor.next().expect("changes") {
                mended |= gate.repair(&change).expect("repair");
            }
            eprintln!("{harm}: mended within {:?}", start.elapsed());
            assert!(mended, "{harm}");
            assert!(!scene.answers(VIPS[0]), "{harm}");
        }
        assert_eq!(gate.repairs(), 3);
        assert!(!gate.verify().expect("verify"), "nothing is wrong any more");
    });
}

#[test]
fn an_nft_gate_without_owner_that_somebody_flushed_is_made_again() {
    in_namespace("gate::tests::an_nft_gate_without_owner_that_somebody_flushed_is_made_again", || {
        let scene = Scene::new();
        let plain = NftGate::open(false).expect("an nft gate");
        let mut gate = Gate { way: Way::Nft(Box::new(plain)), why_not: Vec::new(), repairs: 0 };
        for vip in VIPS {
            gate.guard(addr(vip)).expect("guard");
        }
        arm(&mut gate, boot_now() + LONG);
        assert!(!gate.heard().expect("heard"), "our own transactions wake nobody");
        for harm in [
            "nft flush ruleset",
            "nft delete table arp mainstay_gate",
            "nft flush chain inet mainstay_gate in",
        ] {
            sh(harm);
            let start = Instant::now();
            assert!(gate.heard().expect("heard"), "{harm}");
            eprintln!("{harm}: mended within {:?}", start.elapsed());
            assert!(scene.answers(VIPS[0]), "what was armed is armed");
        }
        sh("nft flush ruleset");
        arm(&mut gate, Boot::ZERO);
        assert!(!scene.answers(VIPS[0]), "arming notices by itself");
    });
}

#[test]
fn an_nft_gate_with_an_owner_cannot_be_flushed() {
    in_namespace("gate::tests::an_nft_gate_with_an_owner_cannot_be_flushed", || {
        let scene = Scene::new();
        let Some(gate) = scene.gate(GateKind::Nft) else { return };
        if !gate.why_not().is_empty() {
            eprintln!("skipped: {:?}", gate.why_not());
            return;
        }
        sh("nft flush ruleset");
        assert!(!try_sh("nft delete table inet mainstay_gate").0, "only the owner deletes it");
        assert!(!scene.answers(VIPS[0]));
    });
}

/// Whether the holder answers a question of layer 2 for the vip; its own address is asked after it to know the end.
fn is_resolved(scene: &Scene, ipv6: bool) -> bool {
    let at = usize::from(ipv6);
    let (vip, own) = (addr(VIPS[at]), addr(OWN[at]));
    scene.peer.run(move || {
        let mut socket = FrameSocket::open(index_of("b0"), ipv6).expect("a packet socket");
        socket.watch(&[vip, own]).expect("watch");
        assert_eq!(socket.send(&[question(vip, 0), question(own, 0)]).count, 2);
        let (mut resolved, mut ended) = (false, false);
        until("the answer for the holder's own address", || {
            let end = if ipv6 { 62..78 } else { 28..32 };
            let mut each = |frame: &[u8]| {
                resolved |= frame[end.clone()] == octets(vip);
                ended |= frame[end.clone()] == octets(own);
            };
            socket.receive(10, &mut each).expect("receive");
            ended
        });
        resolved
    })
}

fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

/// An ARP request, or a neighbour solicitation behind so many hop-by-hop headers of padding.
fn question(target: IpAddr, padding: u8) -> Vec<u8> {
    let links = Route::open().and_then(|mut route| route.links()).expect("links");
    let mac = links.iter().find_map(|link| link.mac.filter(|_| link.name == "b0")).expect("the peer's end");
    if let IpAddr::V4(target) = target {
        let mut frame =
            [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &[10, 5, 0, 2]].concat();
        frame.extend([0; 6]);
        frame.extend(target.octets());
        return frame;
    }
    let target = octets(target);
    let group = [&[0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff][..], &target[13..]].concat();
    let source = octets(addr("fd05::2"));
    let icmp = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &target, &[1, 1], &mac].concat();
    let len = u8::try_from(icmp.len()).expect("short");
    let mut sum: u32 = 58 + u32::from(len);
    for word in [&source[..], &group, &icmp].concat().chunks(2) {
        sum += u32::from(word[0]) << 8 | u32::from(word[1]);
    }
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).expect("one carry").to_be();
    let mut icmp = icmp;
    icmp[2..4].copy_from_slice(&sum.to_ne_bytes());
    let first = if padding > 0 { 0 } else { 58 };
    let ethernet = [&[0x33, 0x33], &group[12..], &mac, &[0x86, 0xdd]].concat();
    let mut frame =
        [&ethernet[..], &[0x60, 0, 0, 0, 0, len + 8 * padding, first, 255], &source, &group].concat();
    for left in (0..padding).rev() {
        frame.extend([if left > 0 { 60 } else { 58 }, 0, 1, 4, 0, 0, 0, 0]);
    }
    [frame, icmp].concat()
}

fn guards_layer_two(kind: GateKind) {
    let scene = Scene::new();
    assert!(is_resolved(&scene, false) && is_resolved(&scene, true), "without a gate");
    let Some(mut gate) = scene.gate(kind) else { return };
    assert!(!is_resolved(&scene, false), "ARP for a closed vip");
    assert!(!is_resolved(&scene, true), "solicitation for a closed vip");
    arm(&mut gate, boot_now() + LONG);
    assert!(is_resolved(&scene, false) && is_resolved(&scene, true), "armed");
}

#[test]
fn an_ebpf_gate_answers_no_arp_and_no_solicitation_for_a_closed_vip() {
    in_namespace("gate::tests::an_ebpf_gate_answers_no_arp_and_no_solicitation_for_a_closed_vip", || {
        guards_layer_two(GateKind::TcEbpf);
    });
}

#[test]
fn an_nft_gate_answers_no_arp_and_no_solicitation_for_a_closed_vip() {
    in_namespace("gate::tests::an_nft_gate_answers_no_arp_and_no_solicitation_for_a_closed_vip", || {
        guards_layer_two(GateKind::Nft);
    });
}

#[test]
fn an_ebpf_gate_looks_behind_tags_and_extension_headers_and_leaves_announcements_in() {
    let name =
        "gate::tests::an_ebpf_gate_looks_behind_tags_and_extension_headers_and_leaves_announcements_in";
    in_namespace(name, || {
        let scene = Scene::new();
        let Some(gate) = scene.gate(GateKind::TcEbpf) else { return };
        let dropped = |count| until("the drops", || gate.dropped() == Some(count));
        let send = |make: fn() -> Vec<u8>| {
            scene.peer.run(move || {
                let mut socket = FrameSocket::open(index_of("b0"), false).expect("a packet socket");
                assert_eq!(socket.send(&[make()]).count, 1);
            });
        };
        dropped(0);
        send(|| question(addr(VIPS[1]), 2));
        dropped(1);
        let tagged = || {
            let mut frame = question(addr(VIPS[0]), 0);
            frame.splice(12..12, [0x81, 0, 0, 0]);
            frame
        };
        send(tagged);
        dropped(2);
        send(|| {
            let mut frame = tagged_twice(question(addr(VIPS[0]), 0));
            frame[5] = 0xff;
            frame
        });
        dropped(3);
        send(|| {
            let mut announcement = question(addr(VIPS[0]), 0);
            announcement[28..32].copy_from_slice(&octets(addr(VIPS[0])));
            announcement
        });
        send(|| question(addr(OWN[0]), 0));
        send(|| question(addr(VIPS[0]), 0));
        dropped(4);
    });
}

fn tagged_twice(mut frame: Vec<u8>) -> Vec<u8> {
    frame.splice(12..12, [0x88, 0xa8, 0, 0, 0x81, 0, 0, 0]);
    frame
}

#[test]
fn an_ebpf_gate_lets_no_closed_vip_be_announced() {
    in_namespace("gate::tests::an_ebpf_gate_lets_no_closed_vip_be_announced", || {
        let scene = Scene::new();
        let Some(mut gate) = scene.gate(GateKind::TcEbpf) else { return };
        let claim = || {
            let mut frame = question(addr(VIPS[0]), 0);
            frame[28..32].copy_from_slice(&octets(addr(VIPS[0])));
            frame
        };
        let claim = scene.peer.run(claim);
        let mut near = FrameSocket::open(scene.index, false).expect("a packet socket");
        let mut far = scene.peer.run(|| FrameSocket::open(index_of("b0"), false).expect("a packet socket"));
        far.watch(&[addr(VIPS[0])]).expect("watch");
        near.send(&[&claim]);
        until("the drop", || gate.dropped() == Some(1));
        assert_eq!(far.receive(1, &mut |_| ()).expect("receive"), 0);
        arm(&mut gate, boot_now() + LONG);
        near.send(&[&claim]);
        until("the claim", || far.receive(1, &mut |_| ()).expect("receive") == 1);
    });
}

#[test]
fn an_ebpf_gate_closes_other_interfaces_too_for_what_may_still_be_here() {
    in_namespace("gate::tests::an_ebpf_gate_closes_other_interfaces_too_for_what_may_still_be_here", || {
        let scene = Scene::new();
        wire(&scene.peer, "a1", "b1", &["10.6.0.1/24"], &["10.6.0.2/24"]);
        scene.peer.run(|| sh("ip route replace 10.5.0.99/32 via 10.6.0.1 dev b1"));
        let Some(mut gate) = scene.gate(GateKind::TcEbpf) else { return };
        assert!(scene.answers(VIPS[0]), "without a gate there");
        gate.attach(index_of("a1"), true).expect("attach");
        assert!(scene.answers(VIPS[0]), "what was never armed is somebody else's, and passes");
        let end = boot_now() + SHORT;
        arm(&mut gate, end);
        let last = scene.last_answer(VIPS[0], end + SHORT).expect("answers until then");
        assert!(last <= end, "{:?} after the deadline", last.since(end));
        gate.arm(addr(VIPS[0]), Boot::ZERO).expect("arm");
        assert!(scene.answers(VIPS[0]), "gone from here");
    });
}

#[test]
fn a_gate_arms_a_thousand_addresses_in_one_breath() {
    in_namespace("gate::tests::a_gate_arms_a_thousand_addresses_in_one_breath", || {
        for kind in [GateKind::TcEbpf, GateKind::Nft] {
            let Some(mut gate) = open(kind) else { continue };
            let addrs: Vec<IpAddr> = (0..500u32)
                .flat_map(|n| [IpAddr::V4((0x0a09_0000 + n).into()), IpAddr::V6(u128::from(n).into())])
                .collect();
            for addr in &addrs {
                gate.guard(*addr).expect("guard");
            }
            gate.commit().expect("commit");
            for count in [1, 50, 1000] {
                let start = Instant::now();
                for addr in &addrs[..count] {
                    gate.arm(*addr, boot_now() + LONG).expect("arm");
                }
                gate.commit().expect("commit");
                eprintln!("{kind:?}: {count} armed in {:?}", start.elapsed());
            }
            assert!(gate.arm(addr("192.0.2.1"), Boot::NEVER).is_err(), "nobody guards it");
            gate.remove().expect("remove");
        }
    });
}

#[test]
fn an_ebpf_gate_guards_8192_addresses_and_says_when_it_is_full() {
    in_namespace("gate::tests::an_ebpf_gate_guards_8192_addresses_and_says_when_it_is_full", || {
        let Some(mut gate) = open(GateKind::TcEbpf) else { return };
        let addr = |n: u32| IpAddr::V4((0x0a09_0000 + n).into());
        for n in 0..8192 {
            gate.guard(addr(n)).expect("guard");
            gate.arm(addr(n), Boot::NEVER).expect("arm");
        }
        assert!(gate.guard(addr(8192)).is_err());
        gate.forget(addr(17)).expect("forget");
        gate.guard(addr(8192)).expect("there is room again");
    });
}

#[test]
fn a_gate_of_nothing_refuses_nothing() {
    let mut gate = Gate::open(GateOptions { only: Some(GateKind::None) }).expect("nothing always works");
    gate.guard(addr(VIPS[0])).expect("guard");
    gate.arm(addr(VIPS[0]), Boot::NEVER).expect("arm");
    gate.attach(1, false).expect("attach");
    assert!(!gate.verify().expect("verify"));
    gate.remove().expect("remove");
}

#[test]
fn names_are_read_back() {
    for kind in [GateKind::TcEbpf, GateKind::Nft, GateKind::None] {
        assert_eq!(GateKind::from_name(kind.name()), Some(kind));
    }
    assert_eq!(GateKind::from_name("ipfw"), None);
}
