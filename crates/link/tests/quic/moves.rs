//! Addresses and sockets change under a session.

use mainstay_link::tunnel::Open;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use super::bed::{Hub, Road, certified, dial, meet, run, session, whole};

#[test]
fn a_session_goes_on_when_the_callers_address_is_another() {
    run(async {
        let (pem, tls) = certified();
        let mut hub = Hub::new(&tls).await;
        let road = Road::new(hub.at, whole()).await;
        let (near, mut far) = session(&mut hub, &pem, road.at).await;
        let mut stream = near.0.open(&Open::default(), b"").unwrap();
        let (_, mut there) = far.1.next().await.unwrap();
        for turn in 0..3_u8 {
            road.rebind().await;
            stream.write_u8(turn).await.unwrap();
            assert_eq!(there.read_u8().await.unwrap(), turn);
            there.write_u8(turn + 100).await.unwrap();
            assert_eq!(stream.read_u8().await.unwrap(), turn + 100);
        }
        assert!(!near.0.is_closed() && !far.0.is_closed());
    });
}

#[test]
fn what_comes_in_at_the_socket_of_a_successor_reaches_the_endpoint_that_has_the_connection() {
    run(async {
        let (pem, tls) = certified();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap().into_std().unwrap();
        let mut old = Hub::at(socket.try_clone().unwrap(), &tls);
        let at = old.at;
        let (near, mut far) = session(&mut old, &pem, at).await;
        let mut stream = near.0.open(&Open::default(), b"").unwrap();
        let (_, mut there) = far.1.next().await.unwrap();

        // As at an upgrade: another process serves the socket from here on, the old one has its connections to their end.
        let mut new = Hub::at(socket, &tls);
        old.door.take().unwrap().finish();
        for turn in 0..50_u8 {
            stream.write_u8(turn).await.unwrap();
            assert_eq!(there.read_u8().await.unwrap(), turn);
        }
        assert!(old.endpoint.counts().taken_over > 0, "{:?}", old.endpoint.counts());
        let at = new.at;
        meet(&mut new, &pem, at).await;
        assert_eq!(old.endpoint.counts().accepted, 1, "who calls now is let in by the successor");
    });
}

#[test]
fn a_connection_of_an_endpoint_that_is_gone_is_told_so_at_once() {
    let (pem, tls) = certified();
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let (dies, death) = tokio::sync::oneshot::channel::<()>();
    let (theirs, same) = (socket.try_clone().unwrap(), std::sync::Arc::clone(&tls));
    let old = std::thread::spawn(move || {
        run(async {
            let mut old = Hub::at(theirs, &same);
            let mut accepted = old.accept().await;
            accepted.read_u32().await.unwrap();
            let _ = death.await;
            // As if killed: nobody is told anything.
            std::mem::forget(accepted);
        });
    });
    run(async {
        let mut carrier = dial(&pem, at).await.unwrap().carrier;
        carrier.write_all(b"MSTN").await.unwrap();
        dies.send(()).unwrap();
        tokio::task::spawn_blocking(move || old.join().unwrap()).await.unwrap();
        let _new = Hub::at(socket, &tls);
        let why = loop {
            if let Err(why) = carrier.write_all(&[b'M'; 100]).await {
                break why;
            }
            tokio::task::yield_now().await;
        };
        assert!(why.to_string().contains("knows nothing"), "{why}");
    });
}

#[test]
fn noise_from_the_network_is_no_trouble() {
    run(async {
        let (pem, tls) = certified();
        let mut hub = Hub::new(&tls).await;
        let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut word = 0x9e37_79b9_u32;
        for length in 0..1500_usize {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (word >> 24) as u8
                })
                .collect();
            noise.send_to(&bytes, hub.at).await.unwrap();
        }
        let at = hub.at;
        let (near, _far) = session(&mut hub, &pem, at).await;
        assert!(!near.0.is_closed());
        assert_eq!(hub.endpoint.counts().accepted, 1);
    });
}
