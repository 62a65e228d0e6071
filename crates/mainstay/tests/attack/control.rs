//! Those who follow events and go.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use mainstay_lab::peer::Mainstay;
use mainstay_lab::wait_until;

use super::{CONFIG, LIMIT, binary, host};

/// More than all api workers together take at a time.
const FOLLOWERS: usize = 200;

#[test]
fn followers_that_went_without_a_word_leave_the_control_socket_free() {
    mainstay_lab::test(|| {
        let (_lab, host) = host()?;
        let node = Mainstay::start(&host, binary(), CONFIG)?;
        node.wait_for_state("front", "active", LIMIT)?;
        for _ in 0..FOLLOWERS {
            let mut follower = UnixStream::connect(host.directory().join("run/control.sock"))?;
            // One that is refused is of no interest here.
            if follower.write_all(b"{\"call\":\"events\",\"follow\":true}\n").is_ok() {
                let _ = follower.read(&mut [0; 16]);
            }
        }
        wait_until("the node answers again", LIMIT, || Ok(node.status_json().is_ok()))
    });
}
