//! Adverts of somebody who is none of us: who, for which vip, and what is wrong with them.

use mainstay_core::election::{Guard, Input, Packet, Stranger, VipSpec, Vips};
use mainstay_core::time::Boot;
use mainstay_core::vrrp::Reject;

use crate::rig::{GROUP, LINK, Rig, V, ip, spec};

/// The bytes of an advert that such a vip would send.
fn advert(change: impl FnOnce(&mut VipSpec), from: &str) -> Vec<u8> {
    let mut theirs = spec("web");
    change(&mut theirs);
    let mut payload = Vec::new();
    Vips::new(vec![theirs], vec![], 1, Boot::ZERO).packet(V, 100, ip(from), ip(GROUP), &mut payload);
    payload
}

fn give(rig: &mut Rig, payload: &[u8], from: &str, to: &str) {
    let packet = Packet { link: LINK, from: ip(from), to: ip(to), ttl: 255, payload };
    rig.give(Input::Packet(packet));
}

fn strangers(rig: &mut Rig) -> Vec<Stranger> {
    std::iter::from_fn(|| rig.vips.poll_stranger()).collect()
}

fn one(from: &str, refused: Option<Reject>, count: u64) -> [Stranger; 1] {
    [Stranger { vip: V, from: ip(from), refused, count }]
}

#[test]
fn any_advert_for_a_leased_vip_is_a_strangers() {
    let mut rig = Rig::one(|spec| spec.guard = Guard::Quorum);
    let bytes = advert(|_| (), "10.0.4.66");
    for _ in 0..3 {
        give(&mut rig, &bytes, "10.0.4.66", GROUP);
    }
    assert_eq!(strangers(&mut rig), one("10.0.4.66", None, 3));
    assert_eq!(strangers(&mut rig), []);
}

#[test]
fn an_advert_that_names_our_address_under_another_router_id_is_a_strangers() {
    let mut rig = Rig::one(|spec| (spec.guard, spec.vrid) = (Guard::Quorum, 0));
    give(&mut rig, &advert(|_| (), "10.0.4.66"), "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut rig), one("10.0.4.66", Some(Reject::Vrid), 1));
    let other = advert(|spec| spec.addrs = vec![ip("10.0.4.98")], "10.0.4.66");
    give(&mut rig, &other, "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut rig), []);
}

#[test]
fn who_is_not_among_the_peers_or_is_set_up_otherwise_is_a_stranger_and_a_peer_is_not() {
    let mut pair = Rig::one(|spec| (spec.unicast, spec.check_source) = (vec![ip("10.0.4.2")], true));
    let bytes = |from: &str, to: &str| {
        let mut payload = Vec::new();
        pair.vips.packet(V, 90, ip(from), ip(to), &mut payload);
        payload
    };
    let peers = bytes("10.0.4.2", "10.0.4.10");
    let others = bytes("10.0.4.66", "10.0.4.10");
    give(&mut pair, &peers, "10.0.4.2", "10.0.4.10");
    assert_eq!(strangers(&mut pair), []);
    give(&mut pair, &others, "10.0.4.66", "10.0.4.10");
    assert_eq!(strangers(&mut pair), one("10.0.4.66", Some(Reject::Source), 1));
    give(&mut pair, &advert(|_| (), "10.0.4.66"), "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut pair), one("10.0.4.66", Some(Reject::Destination), 1));

    let mut alone = Rig::one(|_| ());
    give(&mut alone, &advert(|_| (), "10.0.4.66"), "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut alone), [], "any node of a group may be a peer");
    let list = advert(|spec| spec.addrs.push(ip("10.0.4.98")), "10.0.4.66");
    give(&mut alone, &list, "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut alone), one("10.0.4.66", Some(Reject::Addrs), 1));
}

#[test]
fn damaged_packets_are_no_strangers_and_a_flood_from_many_is_bounded() {
    let mut rig = Rig::one(|spec| spec.guard = Guard::Quorum);
    let mut bytes = advert(|_| (), "10.0.4.66");
    *bytes.last_mut().expect("an advert has bytes") ^= 1;
    give(&mut rig, &bytes, "10.0.4.66", GROUP);
    assert_eq!(strangers(&mut rig), []);
    for n in 0..2_000 {
        let from = format!("10.1.{}.{}", n / 250, 1 + n % 250);
        give(&mut rig, &advert(|_| (), &from), &from, GROUP);
    }
    assert_eq!(strangers(&mut rig).len(), 32);
}
