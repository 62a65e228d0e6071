//! What a letter costs: sealed, carried in memory, opened. `cargo run --release -p mainstay-link --example cost`.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mainstay_core::lease::{Beat, Letter, Mark, Message, Standing};
use mainstay_core::name::NodeId;
use mainstay_core::time::Boot;
use mainstay_link::{Config, Keys, Local, PeerSpec, Sessions, SystemEntropy};

const ROUNDS: u32 = 100_000;

fn main() {
    let now = Boot::from_nanos(1);
    let keys = [Keys::generate(&mut SystemEntropy), Keys::generate(&mut SystemEntropy)];
    let addr = |node: u8| SocketAddr::from(([10, 0, 0, node], 7474));
    let mut nodes = [0_u8, 1].map(|me| {
        let other = 1 - me;
        let spec = PeerSpec {
            node: NodeId(other.into()),
            id: format!("n{other}"),
            key: Some(keys[usize::from(other)].public),
            addrs: vec![addr(other)],
        };
        let secret = keys[usize::from(me)].secret.clone();
        let me = Local { node: NodeId(me.into()), id: format!("n{me}"), secret };
        let (cluster, beat) = ("shop".to_owned(), Duration::from_millis(150));
        Sessions::new(
            Config {
                cluster,
                me,
                peers: vec![spec],
                cluster_key: None,
                token: None,
                forgotten: Vec::new(),
                beat,
            },
            now,
        )
    });
    let begun = SystemTime::now();
    nodes[0].tick(now);
    let mut datagrams = 0;
    while exchange(&mut nodes, addr, now) {
        datagrams += 1;
    }
    let took = begun.elapsed().unwrap_or_default();
    println!("handshake: {took:?} for both sides, {datagrams} round trips in memory");

    let standing = |n| Standing {
        right: format!("vip/front-{n}"),
        epoch: 7,
        ready: true,
        preempts: true,
        priority: 100,
    };
    let beat = Beat { number: 1, rights: (0..5).map(standing).collect() };
    let letter =
        Letter { instance: 1, heir_of: None, mark: Mark::default(), messages: vec![Message::Beat(beat)] };
    let (mut bytes, mut heard) = (0, 0_u32);
    let begun = SystemTime::now();
    for _ in 0..ROUNDS {
        nodes[0].send(NodeId(1), &letter, now);
        while let Some(transmit) = nodes[0].poll_transmit() {
            bytes = transmit.bytes.len();
            heard += u32::from(nodes[1].receive(addr(0), &transmit.bytes, now).is_some());
        }
    }
    let took = begun.elapsed().unwrap_or_default();
    println!(
        "letter of {bytes} bytes: {:?} written, sealed, opened and read; {heard} of {ROUNDS} heard",
        took / ROUNDS
    );
}

/// Carries what both want to say; whether there was anything.
fn exchange(nodes: &mut [Sessions; 2], addr: impl Fn(u8) -> SocketAddr, now: Boot) -> bool {
    let [one, two] = nodes;
    let mut any = false;
    for (from, to, source) in [(0, 1, addr(0)), (1, 0, addr(1))] {
        let (from, to) = if from < to { (&mut *one, &mut *two) } else { (&mut *two, &mut *one) };
        while let Some(transmit) = from.poll_transmit() {
            any = true;
            to.receive(source, &transmit.bytes, now);
        }
    }
    any
}
