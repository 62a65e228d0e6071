//! Any inputs in any order at any time: the election never panics, never spins, and never says that it let go while it
//! still asks for an address to be there.

#![no_main]

use std::net::IpAddr;
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use mainstay_core::election::{
    Announce, Effect, GroupSpec, Input, Next, Operator, Packet, Verdict, VipSpec, Vips, Weight,
};
use mainstay_core::name::{LinkId, ProbeId, VipId};
use mainstay_core::time::Boot;
use mainstay_core::vrrp::{Checksum, GROUP_V4, Version};

fuzz_target!(|input: &[u8]| {
    let (Some(setup), Some(script)) = (input.get(..4), input.get(4..)) else { return };
    let specs: Vec<VipSpec> = (0..3).map(|n| spec(n, setup[usize::from(n)])).collect();
    let groups = match setup[3] & 1 {
        0 => vec![],
        _ => vec![GroupSpec { name: "g".into(), vips: vec!["v0".into(), "v1".into()] }],
    };
    let mut now = Boot::from_nanos(u64::from(setup[3]) << 20);
    let mut vips = Vips::new(specs.clone(), groups.clone(), 2, now);
    let mut held = [false; 3];
    for step in script.chunks_exact(3) {
        let &[what, which, how] = step else { return };
        now += Duration::from_millis(u64::from(which >> 3)) * u32::from(1 + (how & 3) * 20);
        give(&mut vips, what, which, how, now);
        if what % 16 == 15 {
            let links = vec![Some(LinkId(0)), Some(LinkId(1))];
            let probes = vec![Some(ProbeId(0)), Some(ProbeId(1))];
            let mut next = Next { specs: specs.clone(), groups: groups.clone(), links, probes };
            next.specs[0].priority = how;
            next.specs[1].vrid = 1 + (which >> 1);
            vips.retire(&next, now);
            drain(&mut vips, &mut held);
            assert!(vips.apply(next, now).is_empty());
        }
        drain(&mut vips, &mut held);
        assert!((0..3).all(|n| vips.view(VipId(n)).is_some_and(|view| view.peers.len() <= 16)));
    }
});

fn give(vips: &mut Vips, what: u8, which: u8, how: u8, now: Boot) {
    let vip = VipId(u32::from(which & 3));
    let from = IpAddr::from([10, 0, 0, how & 7]);
    match what % 16 {
        0..=4 => {
            let mut payload = Vec::new();
            vips.packet(vip, how, from, GROUP_V4.into(), &mut payload);
            let link = LinkId(u32::from(which & 1));
            let packet = Packet { link, from, to: GROUP_V4.into(), ttl: 255, payload: &payload };
            vips.handle(Input::Packet(packet), now);
        }
        5 => {
            let (link, up) = (LinkId(u32::from(which & 3)), how & 4 == 0);
            vips.handle(Input::Link { link, up, v4: (how & 8 == 0).then_some(from), v6: None }, now);
        }
        6 => {
            let verdict = [Verdict::Pending, Verdict::Up, Verdict::Down, Verdict::Unknown][usize::from(how & 3)];
            vips.handle(Input::Probe { probe: ProbeId(u32::from(which & 3)), verdict }, now);
        }
        7 => vips.handle(Input::Owned { vip, running: how & 1 == 0 }, now),
        8 => vips.handle(Input::Conflict { vip }, now),
        9 => vips.handle(Input::Operator(Operator::Move(vip)), now),
        10 => vips.handle(Input::Operator(Operator::Drain(vip)), now),
        11 => vips.handle(Input::Operator(Operator::Ready(vip)), now),
        12 if how == 255 => vips.handle(Input::Shutdown, now),
        13 if how & 3 == 0 => vips.handle(Input::Operator(Operator::Hold(vip)), now),
        _ => {
            vips.handle(Input::Tick, now);
            assert!(vips.poll_timeout().is_none_or(|due| due > now), "a tick leaves nothing due");
        }
    }
}

fn drain(vips: &mut Vips, held: &mut [bool; 3]) {
    for _ in 0..10_000 {
        match vips.poll_effect() {
            None => return,
            Some(Effect::Take { vip }) => held[vip.index()] = true,
            Some(Effect::Release { vip }) => held[vip.index()] = false,
            Some(Effect::Advertise { vip, priority: 0 }) => assert!(!held[vip.index()]),
            Some(Effect::Announce { vip }) => assert!(held[vip.index()]),
            Some(_) => {}
        }
    }
    panic!("effects without end");
}

fn spec(n: u8, how: u8) -> VipSpec {
    let advert = Duration::from_millis([0, 10, 100, 1_000][usize::from(how & 3)]);
    VipSpec {
        name: format!("v{n}"),
        link: LinkId(u32::from(n & 1)),
        version: Version::V3,
        vrid: 50 + n,
        priority: how,
        advert,
        preempt: how & 4 == 0,
        preempt_delay: advert * u32::from(how >> 6),
        start_delay: advert * u32::from(how >> 7),
        down_adverts: how >> 5,
        addrs: vec![IpAddr::from([10, 9, 0, n])],
        ipv6: false,
        source: None,
        password: None,
        checksum: Checksum::PseudoHeader,
        checksum_any: true,
        unicast: vec![],
        check_source: false,
        ttl_min: 255,
        check_addrs: true,
        sole_successor: how & 32 != 0,
        gate: advert * 3,
        guard: mainstay_core::election::Guard::BestEffort,
        owns: how & 8 != 0,
        requires: if how & 16 != 0 { vec![ProbeId(0)] } else { vec![] },
        weights: vec![Weight { probe: ProbeId(1), weight: i16::from(how) - 128, reverse: how & 1 == 0 }],
        announce: Announce {
            repeat: how & 3,
            interval: Duration::from_millis(u64::from(how & 4)),
            delay: advert * u32::from(how & 1),
            delay_repeat: how & 7,
            refresh: advert * u32::from(how & 2),
            refresh_repeat: how & 1,
            lower_repeat: how & 3,
        },
    }
}
