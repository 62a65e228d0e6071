//! Bounds of connections, over threads and processes, and the queue before them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::*;
use crate::shared::WORDS;

#[tokio::test(start_paused = true)]
async fn who_waits_is_served_in_order_as_places_are_given_back() {
    let rig = Rc::new(Rig::new(bounded(1)));
    let local = tokio::task::LocalSet::new();
    local
        .run_until(async {
            let mut lease = Some(rig.lease().await.unwrap());
            let served = Rc::new(RefCell::new(Vec::new()));
            let mut waiting = Vec::new();
            for number in 0..5 {
                let (rig, served) = (Rc::clone(&rig), Rc::clone(&served));
                waiting.push(tokio::task::spawn_local(async move {
                    let lease = rig.lease().await.unwrap();
                    served.borrow_mut().push(number);
                    lease
                }));
                tokio::task::yield_now().await;
            }
            assert_eq!(rig.cells.load(0), 1);
            // One that is given up leaves its place to those behind it.
            waiting.remove(1).abort();
            for task in waiting {
                lease.take();
                lease = Some(task.await.unwrap());
            }
            assert_eq!(*served.borrow(), [0, 2, 3, 4]);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_at_once_and_a_patient_one_in_time() {
    let mut shop = bounded(1);
    shop.queue.max = 1;
    let rig = Rig::new(shop);
    let held = rig.lease().await.unwrap();
    let waits = rig.lease();
    tokio::pin!(waits);
    assert!(futures_poll(waits.as_mut()).await.is_none());
    assert_eq!(rig.lease().await.unwrap_err().reason, Reason::QueueFull);
    assert_eq!(waits.await.unwrap_err().reason, Reason::QueueTimeout);
    drop(held);
    rig.lease().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_place_that_another_process_gives_back_is_found() {
    let rig = Rig::new(bounded(1));
    let elsewhere = rig.cells.take(0);
    let waits = rig.lease();
    tokio::pin!(waits);
    assert!(futures_poll(waits.as_mut()).await.is_none());
    drop(elsewhere);
    waits.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_comes_up_serves_those_who_wait() {
    let mut shop = bounded(1);
    shop.backends.push(backend("b1", Target::Inet(([127, 0, 0, 1], 9000).into())));
    let rig = Rig::new(shop);
    rig.pools.health(1, Verdict::Down, "");
    let _held = rig.lease().await.unwrap();
    let waits = rig.lease();
    tokio::pin!(waits);
    assert!(futures_poll(waits.as_mut()).await.is_none());
    rig.pools.health(1, Verdict::Up, "");
    assert_eq!(&**waits.await.unwrap().name(), "b1");
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cannot_use_what_is_free_lets_others_pass() {
    let mut shop = bounded(1);
    shop.backends
        .push(Backend { max_connections: 1, ..backend("b1", Target::Inet(([127, 0, 0, 1], 9000).into())) });
    let rig = Rig::new(shop);
    let first = rig.lease().await.unwrap();
    let _second = rig.lease().await.unwrap();
    let tried = [first.backend()];
    let retry = Ask { tried: &tried, ..Ask::default() };
    let retry = rig.ask(&retry);
    tokio::pin!(retry);
    assert!(futures_poll(retry.as_mut()).await.is_none());
    let behind = rig.lease();
    tokio::pin!(behind);
    assert!(futures_poll(behind.as_mut()).await.is_none());
    drop(first);
    assert!(futures_poll(retry.as_mut()).await.is_none(), "it was there already");
    assert_eq!(&**behind.await.unwrap().name(), "b0");
}

#[test]
fn threads_and_processes_that_race_never_exceed_a_bound() {
    static UNDER_WAY: [AtomicI64; 2] = [AtomicI64::new(0), AtomicI64::new(0)];
    static SERVED: AtomicU64 = AtomicU64::new(0);
    const BOUND: u32 = 3;
    let words: Vec<AtomicU64> = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
    let words: &'static [AtomicU64] = words.leak();
    let threads = (0..4).map(|column| {
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let mut shop = bounded(BOUND);
            shop.backends.push(Backend {
                max_connections: BOUND,
                ..backend("b1", Target::Inet(([127, 0, 0, 1], 9).into()))
            });
            let rig = Rc::new(Rig::with(Cells::new(words, column), Names::default(), shop));
            let local = tokio::task::LocalSet::new();
            for _ in 0..8 {
                let rig = Rc::clone(&rig);
                local.spawn_local(async move {
                    for _ in 0..200 {
                        let lease = rig.lease().await.unwrap();
                        let slot = lease.slot().unwrap() as usize;
                        let now = UNDER_WAY[slot].fetch_add(1, Ordering::SeqCst) + 1;
                        assert!(now <= i64::from(BOUND), "{now}");
                        tokio::task::yield_now().await;
                        UNDER_WAY[slot].fetch_sub(1, Ordering::SeqCst);
                        SERVED.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            runtime.block_on(local);
            assert_eq!(rig.cells.load(0).min(u64::from(BOUND)), rig.cells.load(0));
        })
    });
    for thread in threads.collect::<Vec<_>>() {
        thread.join().unwrap();
    }
    assert_eq!(SERVED.load(Ordering::SeqCst), 4 * 8 * 200);
}

fn bounded(max: u32) -> Pool {
    let mut shop = pool(Balance::RoundRobin, 1);
    shop.backends[0].max_connections = max;
    shop
}

/// Lets a future go as far as it comes at once.
async fn futures_poll<F: Future>(mut future: std::pin::Pin<&mut F>) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}
