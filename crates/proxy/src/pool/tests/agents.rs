//! Agents of a tunnel as backends.

use super::super::*;
use super::{Rig, backend, cookie, pool};
use crate::road::{Load, Offer};
use mainstay_config::plan::edge::{Balance, Pool, Target};

fn tunnel(balance: Balance) -> Pool {
    let mut pool = pool(balance, 0);
    pool.backends = vec![backend("office0", Target::Tunnel("office".into()))];
    pool.backends[0].probe = None;
    pool
}

fn offer(agent: &str, weight: u32, trouble: Option<&str>) -> Offer {
    let trouble = trouble.map(str::to_owned);
    Offer { agent: agent.into(), weight, trouble, load: Load::default(), behind: None }
}

fn agent_of(lease: &Lease) -> String {
    lease.address().rsplit('/').next().unwrap().to_owned()
}

#[tokio::test(flavor = "current_thread")]
async fn the_agent_with_the_fewest_connections_of_all_hubs_is_asked() {
    let rig = Rig::new(tunnel(Balance::Least));
    let (one, two) = (offer("one", 1, None), offer("two", 1, None));
    one.load.set(5);
    two.load.set(3);
    rig.pools.offers("office", vec![one.clone(), two.clone()]);
    let mut leases = Vec::new();
    for wanted in ["two", "two"] {
        leases.push(rig.lease().await.unwrap());
        assert_eq!(agent_of(leases.last().unwrap()), wanted, "ours count at once");
    }
    two.load.set(9);
    leases.push(rig.lease().await.unwrap());
    assert_eq!(agent_of(leases.last().unwrap()), "one", "what others give it counts as it is told");
    // Requests of another process of this node are a part of what the agents tell.
    let _elsewhere = (0..40).map(|_| rig.cells.take(0)).collect::<Vec<_>>();
    two.load.set(0);
    leases.push(rig.lease().await.unwrap());
    assert_eq!(agent_of(leases.last().unwrap()), "two");
}

#[tokio::test(flavor = "current_thread")]
async fn agents_get_their_shares_by_weight() {
    let rig = Rig::new(tunnel(Balance::RoundRobin));
    rig.pools.offers("office", vec![offer("one", 3, None), offer("two", 1, None)]);
    let mut seen = Vec::new();
    for _ in 0..8 {
        seen.push(agent_of(&rig.lease().await.unwrap()));
    }
    assert_eq!(seen.iter().filter(|name| *name == "one").count(), 6, "{seen:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn a_cookie_names_the_same_agent_on_all_threads_whatever_the_order_in_which_agents_came() {
    let table = || {
        let mut pool = tunnel(Balance::RoundRobin);
        pool.sticky = Some(cookie());
        pool.sticky.as_mut().unwrap().key =
            Some(mainstay_config::plan::edge::SharedKey { text: "the cluster's".into(), file: None });
        pool
    };
    let (here, there) = (Rig::new(table()), Rig::new(table()));
    here.pools.offers("office", vec![offer("one", 1, None), offer("two", 1, None)]);
    there.pools.offers("office", vec![offer("two", 1, None), offer("one", 1, None)]);
    let first = here.lease().await.unwrap();
    let line = first.set_cookie().unwrap();
    let value = line.strip_prefix("b=").unwrap().split(';').next().unwrap().to_owned();
    let bound = Ask { cookie: Some(value.as_bytes()), ..Ask::default() };
    for _ in 0..3 {
        assert_eq!(agent_of(&there.ask(&bound).await.unwrap()), agent_of(&first));
    }
    // Its target dies: the client gets another agent, and another cookie.
    let trouble = Some("no target of it answers");
    there.pools.offers("office", vec![offer("two", 1, None), offer("one", 1, trouble)]);
    let other = there.ask(&bound).await.unwrap();
    assert_eq!(agent_of(&other), "two");
    assert!(other.set_cookie().is_some());
}

#[tokio::test(flavor = "current_thread")]
async fn a_tunnel_in_reserve_serves_when_no_other_can() {
    let mut table = tunnel(Balance::RoundRobin);
    table.backends.push(backend("spare1", Target::Tunnel("spare".into())));
    table.backends[1].probe = None;
    table.backends[1].backup = true;
    let rig = Rig::new(table);
    rig.pools.offers("spare", vec![offer("reserve", 1, None)]);
    rig.pools.offers("office", vec![offer("one", 1, None), offer("two", 1, None)]);
    for wanted in ["one", "two"] {
        assert_eq!(agent_of(&rig.lease().await.unwrap()), wanted);
    }
    let out = Some("no target of it answers");
    rig.pools.offers("office", vec![offer("one", 1, out), offer("two", 1, None)]);
    for _ in 0..2 {
        assert_eq!(agent_of(&rig.lease().await.unwrap()), "two");
    }
    rig.pools.offers("office", vec![offer("one", 1, out)]);
    assert_eq!(agent_of(&rig.lease().await.unwrap()), "reserve");
}

#[tokio::test(flavor = "current_thread")]
async fn a_question_names_each_agent_its_load_and_why_another_is_not_asked() {
    let rig = Rig::new(tunnel(Balance::Least));
    let [one, two] = [offer("one", 1, None), offer("two", 1, None)];
    one.load.set(4);
    let ill = offer("three", 1, Some("no target of it answers"));
    rig.pools.offers("office", vec![one, two, ill]);
    let _lease = rig.lease().await.unwrap();
    let explained = rig.pools.explain(&rig.snapshot, PoolId(0), &Ask::default()).unwrap();
    let said: Vec<_> =
        explained.backends.iter().map(|one| (one.address.as_str(), one.chosen, one.why.as_str())).collect();
    assert_eq!(
        said,
        [
            (
                "tunnel:office/one",
                false,
                "usable, but another has less load for its weight, or it is another's turn (0 requests of this thread, 4 of others)"
            ),
            (
                "tunnel:office/two",
                true,
                "it has the least load for its weight (1 requests of this thread, 0 of others)"
            ),
            ("tunnel:office/three", false, "down: its agent says so: no target of it answers"),
        ]
    );
}
