//! Who is out of use: by probe, by order, because requests failed.

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn an_empty_pool_and_one_that_is_all_down_refuse_at_once() {
    let rig = Rig::new(pool(Balance::Least, 0));
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::Empty);
    let rig = Rig::new(pool(Balance::Least, 2));
    for slot in 0..2 {
        rig.pools.health(slot, Verdict::Down, "refused");
    }
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::Down);
    rig.pools.health(1, Verdict::Up, "");
    assert_eq!(&**rig.lease().await.unwrap().name(), "b1");
    rig.pools.health(1, Verdict::Unknown, "");
    assert_eq!(&**rig.lease().await.unwrap().name(), "b1", "what was said last is kept");
    assert!(rig.pools.status()[1].degraded);
}

#[tokio::test(flavor = "current_thread")]
async fn who_fails_requests_is_set_aside_but_never_the_last_half() {
    let rig = Rig::new(pool(Balance::RoundRobin, 2));
    rig.fail("b0", 2).await;
    let status = rig.pools.status();
    assert_eq!((status[0].state, status[0].failures, status[0].aside_on), (Standing::Aside, 2, 1));
    assert_eq!(status[0].why, "too many requests to it failed; 10 s left");
    rig.fail("b1", 10).await;
    assert_eq!(rig.pools.status()[1].state, Standing::Up, "half of the pool is aside already");
    rig.pools.health(0, Verdict::Up, "");
    assert_eq!(rig.pools.status()[0].state, Standing::Up, "a probe that passes ends it");
}

#[tokio::test(flavor = "current_thread")]
async fn one_that_is_only_suspected_is_better_than_none() {
    let rig = Rig::new(pool(Balance::RoundRobin, 2));
    rig.fail("b0", 2).await;
    rig.pools.health(1, Verdict::Down, "refused");
    let lease = rig.lease().await.unwrap();
    assert_eq!(&**lease.name(), "b0");
    lease.ended(Outcome::Answered(500), Duration::ZERO);
    assert_eq!(rig.pools.status()[0].state, Standing::Up, "it has answered");
}

#[tokio::test(flavor = "current_thread")]
async fn answers_that_were_under_way_before_do_not_bring_it_back() {
    let rig = Rig::new(pool(Balance::RoundRobin, 2));
    let early = rig.lease().await.unwrap();
    assert_eq!(&**early.name(), "b0");
    rig.fail("b0", 2).await;
    early.ended(Outcome::Answered(200), Duration::ZERO);
    assert_eq!(rig.pools.status()[0].state, Standing::Aside);
}

#[tokio::test(flavor = "current_thread")]
async fn cancelled_requests_say_nothing_of_a_backend() {
    let rig = Rig::new(pool(Balance::RoundRobin, 2));
    for _ in 0..20 {
        drop(rig.lease().await.unwrap());
        rig.lease().await.unwrap().ended(Outcome::Cancelled, Duration::ZERO);
    }
    assert!(rig.pools.status().iter().all(|one| one.state == Standing::Up && one.failures == 0));
}

#[tokio::test(flavor = "current_thread")]
async fn the_operator_overrides_the_configuration_and_a_reload_keeps_it() {
    let mut shop = pool(Balance::RoundRobin, 2);
    shop.backends[1].down = true;
    let rig = Rig::new(shop.clone());
    assert!(rig.pools.operator("shop", "b0", Order::Drain));
    assert!(!rig.pools.operator("shop", "b9", Order::Drain));
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::Down);
    assert!(rig.pools.operator("shop", "b1", Order::Ready));
    assert!(rig.pools.operator("shop", "b1", Order::Weight(5)));
    let next = snapshot(2, vec![shop]);
    rig.pools.adopt(&next);
    let lease = rig.pools.lease(&next, PoolId(0), &Ask::default()).await.unwrap();
    assert_eq!((&**lease.name(), rig.pools.status()[1].weight), ("b1", 5));
    assert!(rig.pools.operator("shop", "b1", Order::AsWritten));
    assert!(rig.pools.operator("shop", "b0", Order::AsWritten));
    assert_eq!(&**rig.lease().await.unwrap().name(), "b0");
}

#[tokio::test(flavor = "current_thread")]
async fn what_threads_see_is_put_together() {
    let cells = Cells::private();
    let one = Rig::with(cells, Names::default(), pool(Balance::RoundRobin, 2));
    let other = Rig::with(cells, Names::default(), pool(Balance::RoundRobin, 2));
    one.fail("b0", 2).await;
    let _lease = other.lease().await.unwrap();
    let merged = BackendStatus::merge(one.pools.status().into_iter().chain(other.pools.status()));
    assert_eq!(merged.len(), 2);
    let first = &merged[0];
    assert_eq!((first.state, first.threads, first.aside_on, first.load), (Standing::Aside, 2, 1, 1));
    assert_eq!((first.requests, first.failures), (one.requests("b0") + 1, 2));
}

#[tokio::test(flavor = "current_thread")]
async fn of_two_the_faster_one_gets_more_and_a_fast_refusal_is_not_fast() {
    let mut shop = pool(Balance::TwoChoices, 2);
    shop.outlier.failures = 0;
    let rig = Rig::new(shop);
    for _ in 0..100 {
        let lease = rig.lease().await.unwrap();
        match &**lease.name() {
            "b0" => lease.ended(Outcome::ConnectFailed, Duration::from_micros(20)),
            _ => lease.ended(Outcome::Answered(200), Duration::from_millis(30)),
        }
    }
    assert!(rig.requests("b1") > 90, "{}", rig.requests("b1"));
}

impl Rig {
    /// Requests to this backend fail so often; others are answered.
    async fn fail(&self, name: &str, times: u32) {
        let mut left = times;
        while left > 0 {
            let lease = self.lease().await.unwrap();
            if &**lease.name() == name {
                left -= 1;
                lease.ended(Outcome::ConnectFailed, Duration::from_millis(1));
            } else {
                lease.ended(Outcome::Answered(200), Duration::from_millis(1));
            }
        }
    }

    fn requests(&self, name: &str) -> u64 {
        self.pools.status().iter().find(|one| one.backend == name).unwrap().requests
    }
}
