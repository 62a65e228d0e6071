//! Bytes that nobody who means well sends.

use std::io::{Read as _, Write as _};

use anyhow::ensure;
use mainstay_core::gost::ask::{Ask, Bind};
use mainstay_core::gost::relay::Addr;
use mainstay_core::tunnel::Kind;
use mainstay_lab::peer::Keeper as _;

use crate::bed::{Bed, ENTRY, GOST, LIMIT, TARGET, TUNNEL, agents};

/// What a client says first.
fn bind() -> Vec<u8> {
    let tunnel = TUNNEL.parse().expect("a UUID");
    Ask::Bind(Bind { tunnel, kind: Kind::Bytes, source: None, wanted: Addr::NONE, login: None })
        .message()
        .bytes()
}

#[test]
fn what_one_sends_costs_nobody_else_a_session_and_is_counted() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&bed.config("", "")?)?;
        let client = bed.client(0, &format!("tcp://{GOST}"), &["-target", TARGET])?;
        let worker = node.worker_pid("edge")?;
        let broken: [&[u8]; 6] = [
            &[1, 2, 0, 3, 1, 255, 255],
            &[1, 2, 255, 255],
            &[1, 9, 0, 0],
            &[1, 2, 0, 0],
            &[1, 1, 0, 4, 3, 0, 1, 0],
            b"\x01\x02\x00\x05\x01\x00\x02\x09a",
        ];
        for (n, bytes) in broken.iter().cycle().take(60).enumerate() {
            let mut stream = bed.dial(if n % 2 == 0 { GOST } else { ENTRY })?;
            stream.write_all(bytes)?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            ensure!(answer.is_empty() || answer[..2] != [1, 0], "{bytes:?} is granted: {answer:?}");
        }
        // Sessions whose frames cannot be read: another version, another kind, a stream that is too long.
        let frames: [&[u8]; 3] =
            [&[1, 0, 0, 0, 3, 0, 0, 0], &[2, 77, 0, 0, 3, 0, 0, 0], &[2, 0, 9, 0, 2, 0, 0, 0]];
        for frame in frames {
            let mut stream = bed.dial(GOST)?;
            stream.write_all(&bind())?;
            let mut head = [0; 4];
            stream.read_exact(&mut head)?;
            ensure!(head[..2] == [1, 0], "{head:?}");
            stream.write_all(&frame.repeat(3))?;
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
        }
        node.daemon().wait_until("they are gone", LIMIT, || Ok(agents(&node)? == 1))?;
        ensure!(bed.whose()? == "one" && client.count("lost") == 0, "{}", client.daemon().log());
        ensure!(node.worker_pid("edge")? == worker, "a process has died");
        let metrics = bed.metrics()?;
        for reason in ["malformed", "session"] {
            let line = format!("mainstay_gost_refused_total{{listener=\"gost\",reason=\"{reason}\"}}");
            ensure!(metrics.contains(&line), "no {line} in\n{metrics}");
        }
        Ok(())
    });
}
