//! Backends that are names.

use std::io::{Error, ErrorKind};
use std::net::IpAddr;
use std::sync::Mutex;

use super::*;

#[tokio::test(flavor = "current_thread")]
async fn each_address_of_a_name_is_a_backend_and_the_list_follows_the_name() {
    let book = Book::new(Some(&[1, 2]));
    let rig = Rig::with(Cells::private(), book.names(), named());
    let local = tokio::task::LocalSet::new();
    let rig = Rc::new(rig);
    let driver = Rc::clone(&rig);
    local.spawn_local(async move { driver.pools.drive().await });
    local
        .run_until(async {
            let first = rig.lease().await.unwrap();
            let second = rig.lease().await.unwrap();
            assert_eq!([first.address(), second.address()].map(|one| &**one), ["10.0.0.1:80", "10.0.0.2:80"]);
            assert_eq!(rig.cells.load(0), 2, "the addresses of a name share its row");
            book.set(Some(&[2, 3]));
            let addresses = rig.until(|list| list.iter().any(|one| one.address == "10.0.0.3:80")).await;
            assert_eq!(addresses, ["10.0.0.2:80", "10.0.0.3:80"]);
            let ids = [rig.lease().await.unwrap(), rig.lease().await.unwrap()].map(|one| one.backend());
            assert!(ids.contains(&second.backend()), "an address that stays keeps its number");
            book.set(None);
            let kept = rig.until(|list| list.iter().all(|one| one.degraded)).await;
            assert_eq!(kept, addresses, "a name server that is away takes nobody away");
        })
        .await;
}

#[tokio::test(flavor = "current_thread")]
async fn a_name_that_is_not_found_is_no_error_but_unusable_with_the_reason() {
    let book = Book::new(None);
    let rig = Rc::new(Rig::with(Cells::private(), book.names(), named()));
    let local = tokio::task::LocalSet::new();
    let driver = Rc::clone(&rig);
    local.spawn_local(async move { driver.pools.drive().await });
    local
        .run_until(async {
            // The first look-up is waited for, no further one.
            let refused = rig.lease().await.unwrap_err();
            assert_eq!(refused.reason, Reason::Unresolved);
            let status = &rig.pools.status()[0];
            assert_eq!(status.state, Standing::Unresolved);
            assert_eq!(status.why, "its name is not found: nobody knows it");
            book.set(Some(&[9]));
            rig.until(|list| list[0].address == "10.0.0.9:80").await;
            rig.lease().await.unwrap();
        })
        .await;
}

struct Book(Arc<Mutex<Option<Vec<IpAddr>>>>);

impl Book {
    fn new(last: Option<&[u8]>) -> Self {
        let book = Self(Arc::default());
        book.set(last);
        book
    }

    /// The name has addresses that end so, or is not found.
    fn set(&self, last: Option<&[u8]>) {
        *self.0.lock().unwrap() =
            last.map(|list| list.iter().map(|n| IpAddr::from([10, 0, 0, *n])).collect());
    }

    fn names(&self) -> Names {
        let book = Arc::clone(&self.0);
        Names::by(move |name| {
            assert_eq!(name, "shop.example");
            book.lock().unwrap().clone().ok_or_else(|| Error::new(ErrorKind::NotFound, "nobody knows it"))
        })
    }
}

impl Rig {
    /// Waits for a condition of the status; returns the addresses.
    async fn until(&self, condition: impl Fn(&[BackendStatus]) -> bool) -> Vec<String> {
        timeout(Duration::from_secs(20), async {
            loop {
                let status = self.pools.status();
                if condition(&status) {
                    return status.into_iter().map(|one| one.address).collect();
                }
                self.pools.names.changes().changed().await.unwrap();
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("in time")
    }
}

fn named() -> Pool {
    let mut shop = pool(Balance::RoundRobin, 0);
    shop.backends.push(backend("name-0", Target::Name { host: "shop.example".into(), port: 80 }));
    shop
}
