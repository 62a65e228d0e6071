//! Bytes that are no calls, and connections that say nothing: counted, and nobody else's loss.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::Daemon;
use rustix::process::Signal;

use crate::bed::{
    Bed, DONE, GET, LABEL, LIMIT, NODE, ONE, REGISTER, TUNNEL, get, get_rule, listed, message, register,
    renew, rule, set_rule,
};

/// A number of the last summary.
fn number(daemon: &Daemon, name: &str) -> Result<u64> {
    let before = daemon.log().matches("the store").count();
    daemon.signal(Signal::USR1)?;
    daemon.wait_until("it sums up", LIMIT, || Ok(daemon.log().matches("the store").count() > before))?;
    let log = daemon.log();
    let prefix = format!("{name}=");
    let last = log.rsplit_once(&prefix).map(|(_, rest)| rest).context("the number is said")?;
    let digits: String = last.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().context("a number")
}

#[test]
fn malformed_calls_are_counted_and_cost_nobody_else_anything() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let sd = bed.plugin("sd", 8000, &[])?;
        ensure!(bed.calls(8000, "", &[register(ONE)])?[0].is(DONE));
        ensure!(number(&sd, "malformed")? == 0, "{}", sd.log());
        // Over one connection, good calls between bad ones.
        let long = vec![b'x'; 20 << 10];
        let bad = [
            (GET, vec![0x0a, 0x05, b'x']),
            (REGISTER, vec![0xff; 40]),
            (GET, long),
            (GET, vec![0x0a, 1, 0xff]),
        ];
        let mut calls = Vec::new();
        for call in bad {
            calls.extend([call, renew(ONE)]);
        }
        let said = bed.calls(8000, "", &calls)?;
        for (at, said) in said.iter().enumerate() {
            ensure!(if at % 2 == 0 { said.code != "OK" } else { said.is(DONE) }, "{at}: {said:?}");
        }
        ensure!(number(&sd, "malformed")? == 4, "{}", sd.log());
        // Connections that speak neither, or half of one.
        let mut bytes: Vec<Vec<u8>> = vec![
            b"\x01\x02\x00\x00".to_vec(),
            b"GET / HTTP/1.1\r\nhost\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x00\x00\x00\x00\x00\x00".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x05\x00\x00\x00\x00\x00\x01AAAAA".to_vec(),
        ];
        for round in 0..40_u8 {
            bytes.push(
                (0..200_u8).map(|at| at.wrapping_mul(31).wrapping_add(round.wrapping_mul(7))).collect(),
            );
        }
        let before = number(&sd, "malformed")?;
        for bytes in &bytes {
            let mut stream = bed.host.run(|| TcpStream::connect("127.0.0.1:8000"))??;
            stream.set_read_timeout(Some(LIMIT))?;
            stream.write_all(bytes)?;
            // It is closed by the plugin, soon.
            let mut rest = Vec::new();
            match stream.read_to_end(&mut rest) {
                Ok(_) => {}
                Err(error) => ensure!(error.kind() == std::io::ErrorKind::ConnectionReset, "{error}"),
            }
        }
        let counted = number(&sd, "malformed")? - before;
        ensure!(counted == bytes.len() as u64, "{counted} of {}\n{}", bytes.len(), sd.log());
        ensure!(bed.calls(8000, "", &[get()])?[0].is(&listed(&[ONE])));
        Ok(())
    });
}

#[test]
fn who_connects_and_says_nothing_holds_no_place_for_good() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let sd = bed.plugin("sd", 8000, &[])?;
        let connect =
            || (0..300).map(|_| TcpStream::connect("127.0.0.1:8000")).collect::<Result<Vec<_>, _>>();
        let mut silent = bed.host.run(connect)??;
        mainstay_lab::wait_until("there are too many from one address", LIMIT, || {
            let crowded = number(&sd, "crowded")?;
            ensure!(crowded == 300 - 256, "{crowded} are too many");
            Ok(true)
        })?;
        // From elsewhere there is room.
        ensure!(bed.curl(&["--interface", "127.0.0.2", "http://127.0.0.1:8000/?name=x"])?.0 == "200");
        for stream in &mut silent {
            stream.set_read_timeout(Some(LIMIT))?;
            let ended = stream.read(&mut [0]);
            ensure!(ended.is_err() || ended.is_ok_and(|count| count == 0), "it is closed");
        }
        ensure!(bed.calls(8000, "", &[register(ONE)])?[0].is(DONE));
        Ok(())
    });
}

#[test]
fn more_than_is_read_under_one_key_holds_up_no_other() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let at = "--redis.addr=127.0.0.1:6379";
        let sd = bed.plugin("sd", 8000, &[at])?;
        let ingress = bed.plugin("ingress", 8001, &[at, "--redis.db=1", "--domain=gost.local"])?;
        let other = "481433e1-7980-11ee-bbdb-60f262c1e32d";
        let fill = "for i = 1, 20000 do redis.call('HSET', KEYS[1], 'f' .. i, 'x') end";
        redis.ctl(&["EVAL", fill, "1", other])?;
        redis.ctl(&["-n", "1", "SET", "dash", &"x".repeat(5000)])?;
        let of_other = || (GET, message(&[other.as_bytes()]));
        for _ in 0..3 {
            let said = bed.calls(8000, "", &[of_other(), register(ONE), get(), of_other()])?;
            ensure!(said[0].is("") && said[1].is(DONE) && said[2].is(&listed(&[ONE])), "{said:?}");
            let hosts = [get_rule("dash"), set_rule(LABEL, TUNNEL), get_rule(LABEL)];
            let said = bed.calls(8001, "", &hosts)?;
            ensure!(said[0].is("") && said[1].is(DONE) && said[2].is(&rule(TUNNEL)), "{said:?}");
        }
        for (daemon, key) in [(&sd, other), (&ingress, "dash")] {
            let log = daemon.log();
            ensure!(!log.contains("does not answer"), "it was there all the time:\n{log}");
            let told = log.lines().filter(|line| line.contains("delete the key"));
            let told: Vec<&str> = told.collect();
            ensure!(told.len() == 1 && told[0].contains(key), "{log}");
        }
        Ok(())
    });
}

#[test]
fn clients_that_died_long_ago_are_taken_out_of_the_hash_that_others_keep_alive() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let _sd = bed.plugin("sd", 8000, &["--redis.addr=127.0.0.1:6379"])?;
        let now: u64 = redis.ctl(&["TIME"])?.lines().next().unwrap_or_default().parse()?;
        let fill = "for i = 1, 3000 do redis.call('HSET', KEYS[1], 'dead-' .. i, ARGV[1]) end \
            redis.call('HSET', KEYS[1], 'late', ARGV[2], 'strange', '{}')";
        let value = |renewed: u64| {
            format!(r#"{{"Node":"{NODE}","Network":"tcp","Address":"127.0.0.1:80","Renew":{renewed}}}"#)
        };
        let (dead, late) = (value(now - 2 * 3600), value(now - 1800));
        redis.ctl(&["EVAL", fill, "1", TUNNEL, &dead, &late])?;
        ensure!(bed.calls(8000, "", &[register(ONE)])?[0].is(DONE));
        mainstay_lab::wait_until("the dead are out", LIMIT, || {
            ensure!(bed.calls(8000, "", &[get()])?[0].is(&listed(&[ONE])));
            Ok(redis.ctl(&["HLEN", TUNNEL])?.trim() == "3")
        })?;
        for field in [ONE, "late", "strange"] {
            ensure!(redis.ctl(&["HEXISTS", TUNNEL, field])?.trim() == "1", "{field}");
        }
        Ok(())
    });
}
