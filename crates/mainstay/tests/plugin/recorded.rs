//! The calls of a gost server, byte for byte, and what redis-cli sees of them.

use anyhow::ensure;
use serde_json::Value;

use crate::bed::{
    Bed, DONE, LABEL, LIMIT, NODE, NOT, ONE, REGISTER, TUNNEL, TWO, deregister, get, get_rule, listed,
    register, renew, rule, service, set_rule,
};

const REDIS: &str = "--redis.addr=127.0.0.1:6379";

#[test]
fn calls_of_a_gost_server_are_answered_as_by_gosts_own_plugin() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        for (port, arguments) in [(8000, &[][..]), (8001, &[REDIS, "--redis.db=2", "--redis.expiration=3m"])]
        {
            let _sd = bed.plugin("sd", port, arguments)?;
            let calls = [
                get(),
                register(ONE),
                renew(ONE),
                get(),
                renew(TWO),
                deregister(ONE),
                get(),
                deregister(ONE),
                // No node, no address, another plugin's call.
                (REGISTER, service(ONE, "", "tcp", ":80")),
                (REGISTER, service(ONE, NODE, "tcp", "nowhere")),
                get_rule("host"),
            ];
            let said = bed.calls(port, "", &calls)?;
            let replies: Vec<&str> = said[..8].iter().map(|said| said.reply.as_str()).collect();
            ensure!(replies == ["", DONE, DONE, listed(&[ONE]).as_str(), NOT, DONE, "", DONE], "{said:?}");
            let codes: Vec<&str> = said.iter().map(|said| said.code.as_str()).collect();
            ensure!(codes[..8] == ["OK"; 8], "{said:?}");
            ensure!(codes[8..] == ["INVALID_ARGUMENT", "INVALID_ARGUMENT", "UNIMPLEMENTED"], "{said:?}");
        }
        let keys = redis.ctl(&["-n", "2", "KEYS", "*"])?;
        ensure!(keys.trim() == "mainstay:plugin:epoch", "a tunnel without clients leaves no key: {keys}");
        Ok(())
    });
}

#[test]
fn rules_of_a_gost_server_are_answered_as_by_gosts_own_plugin() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _redis = bed.redis()?;
        for (port, arguments) in [(8000, &[][..]), (8001, &[REDIS, "--redis.db=1", "--redis.expiration=1h"])]
        {
            let arguments = [arguments, &["--domain=gost.local"]].concat();
            let _ingress = bed.plugin("ingress", port, &arguments)?;
            let private = format!("${TUNNEL}");
            let calls = [
                get_rule("b7de88a94729b931.gost.local"),
                set_rule(LABEL, TUNNEL),
                set_rule(LABEL, TUNNEL),
                get_rule("b7de88a94729b931.gost.local:80"),
                get_rule(LABEL),
                set_rule("own.example", &private),
                get_rule("own.example:443"),
                set_rule("own.example", TUNNEL),
                set_rule("own.example", "no tunnel"),
            ];
            let said = bed.calls(port, "", &calls)?;
            let (public, hidden) = (rule(TUNNEL), rule(&private));
            for (said, expected) in
                said.iter().zip(["", DONE, DONE, &public, &public, DONE, &hidden, NOT, NOT])
            {
                ensure!(said.is(expected), "port {port}: {said:?}, not {expected}");
            }
        }
        Ok(())
    });
}

#[test]
fn redis_holds_what_gost_plugins_would_write_and_what_they_wrote_is_read() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let redis = bed.redis()?;
        let cli = |arguments: &[&str]| redis.ctl(arguments).map(|said| said.trim().to_owned());
        let _sd = bed.plugin("sd", 8000, &[REDIS, "--redis.db=2", "--redis.expiration=3m"])?;
        let _ingress = bed.plugin(
            "ingress",
            8001,
            &[REDIS, "--redis.db=1", "--redis.expiration=1h", "--domain=gost.local"],
        )?;
        ensure!(bed.call(8000, register(ONE).0, register(ONE).1)?.is(DONE));
        let value: Value = serde_json::from_str(&cli(&["-n", "2", "HGET", TUNNEL, ONE])?)?;
        ensure!(
            value["Node"] == NODE && value["Network"] == "tcp" && value["Address"] == "127.0.0.1:80",
            "{value}"
        );
        let now: i64 = cli(&["TIME"])?.lines().next().unwrap_or_default().parse()?;
        ensure!((now - 20..=now + 1).contains(&value["Renew"].as_i64().unwrap_or(0)), "{value} at {now}");
        ensure!((170..=180).contains(&cli(&["-n", "2", "TTL", TUNNEL])?.parse::<i64>()?));
        bed.calls(8001, "", &[set_rule(LABEL, TUNNEL)])?;
        ensure!(cli(&["-n", "1", "GET", LABEL])? == TUNNEL);
        ensure!((3590..=3600).contains(&cli(&["-n", "1", "TTL", LABEL])?.parse::<i64>()?));

        // What another plugin wrote: a second client, one that is over, one that is none; a host that is about to end.
        let field = |renew: i64| {
            format!(r#"{{"Node":"{NODE}","Network":"tcp","Address":"127.0.0.1:80","Renew":{renew}}}"#)
        };
        cli(&["-n", "2", "HSET", TUNNEL, TWO, &field(now), "old", &field(now - 181), "none", "{}"])?;
        let both = listed(&[ONE, TWO]);
        let got = bed.call(8000, get().0, get().1)?;
        ensure!(got.is(&both), "{got:?}, not {both}");
        cli(&["-n", "1", "SET", "dash", TUNNEL, "EX", "60"])?;
        ensure!(bed.calls(8001, "", &[get_rule("dash.gost.local")])?[0].is(&rule(TUNNEL)));
        mainstay_lab::wait_until("a host that is asked for lasts anew", LIMIT, || {
            Ok(cli(&["-n", "1", "TTL", "dash"])?.parse::<i64>()? > 3000)
        })?;
        // Something else stands under the key: that costs nobody else anything.
        cli(&["-n", "1", "HSET", "wrong", "a", "b"])?;
        let said = bed.calls(8001, "", &[get_rule("wrong"), set_rule("wrong", TUNNEL), get_rule("dash")])?;
        ensure!(said[0].is("") && said[1].is(NOT) && said[2].is(&rule(TUNNEL)), "{said:?}");
        ensure!(bed.calls(8000, "", &[deregister(ONE)])?[0].is(DONE));
        ensure!(cli(&["-n", "2", "HEXISTS", TUNNEL, ONE])? == "0");
        Ok(())
    });
}

#[test]
fn the_same_over_http_and_the_token_on_both() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let _sd = bed.plugin("sd", 8000, &["--token=secret"])?;
        let _ingress = bed.plugin("ingress", 8001, &["--domain=gost.local", "--token=secret"])?;
        let (sd, ingress) = ("http://127.0.0.1:8000/any/path", "http://127.0.0.1:8001/");
        let json = format!(
            r#"{{"id":"{ONE}","name":"{TUNNEL}","node":"{NODE}","network":"tcp","address":":80","more":1}}"#
        );
        let key = "Authorization: Bearer secret";
        let told =
            |method: &str, url: &str, body: &str| bed.curl(&["-X", method, "-H", key, "-d", body, url]);
        let ok = ("200".to_owned(), r#"{"ok":true}"#.to_owned());
        let not = ("200".to_owned(), r#"{"ok":false}"#.to_owned());
        ensure!(told("PUT", sd, &json)? == not, "nothing to renew");
        ensure!(told("POST", sd, &json)? == ok && told("PUT", sd, &json)? == ok);
        let (code, body) = bed.curl(&["-H", key, &format!("{sd}?name={TUNNEL}")])?;
        let services: Value = serde_json::from_str(&body)?;
        ensure!(code == "200" && services["services"][0]["address"] == "127.0.0.1:80", "{body}");
        // The same by gRPC, which tells them by their first bytes.
        ensure!(bed.calls(8000, "secret", &[get()])?[0].is(&listed(&[ONE])));
        ensure!(bed.calls(8000, "wrong", &[get()])?[0].code == "UNAUTHENTICATED");
        ensure!(bed.calls(8000, "", &[get()])?[0].code == "UNAUTHENTICATED");
        ensure!(bed.curl(&[&format!("{sd}?name={TUNNEL}")])?.0 == "401");
        ensure!(told("DELETE", sd, &json)? == ok);
        let (_, body) = bed.curl(&["-H", key, &format!("{sd}?name={TUNNEL}")])?;
        ensure!(body == r#"{"services":[]}"#, "{body}");

        let set = format!(r#"{{"service":"service-0","host":"{LABEL}","endpoint":"{TUNNEL}"}}"#);
        ensure!(told("PUT", ingress, &set)? == ok);
        let url = format!("{ingress}?host={LABEL}.gost.local%3A80&service=service-0");
        let (_, body) = bed.curl(&["-H", key, &url])?;
        ensure!(body == format!(r#"{{"endpoint":"{TUNNEL}"}}"#), "{body}");
        // HTTP/2 as curl speaks it when it knows beforehand.
        let (_, again) = bed.curl(&["--http2-prior-knowledge", "-H", key, &url])?;
        ensure!(again == body, "{again}");
        ensure!(told("PUT", ingress, "{")?.0 == "400" && told("DELETE", ingress, &set)?.0 == "405");
        Ok(())
    });
}
