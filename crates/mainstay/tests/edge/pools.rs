//! The operator's word about pools.

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::Keeper as _;

use crate::bed::{Bed, EDGE, HEAD, LIMIT, WEB, backend, kill_one, reload, talk, wait_for_event};

#[test]
fn a_drained_backend_gets_nothing_new_until_it_is_ready_whatever_dies_or_is_reloaded() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + WEB;
        let node = bed.start(&config)?;
        assert_eq!(bed.all_who(20)?, ["one", "two"]);
        node.say(&["pool", "drain", "app", "10.0.4.31:80"])?;
        assert_eq!(bed.all_who(20)?, ["two"], "at once, on every instance");
        kill_one(&node)?;
        assert_eq!(bed.all_who(20)?, ["two"]);
        reload(&node, &(config.clone() + "# again\n"))?;
        assert_eq!(bed.all_who(20)?, ["two"]);
        let list = node.say(&["pool", "list"])?;
        ensure!(list.contains("drained by operator"), "{list}");
        node.say(&["pool", "ready", "app", "10.0.4.31:80"])?;
        assert_eq!(bed.all_who(20)?, ["one", "two"]);
        Ok(())
    });
}

/// Requests after which every process has had some: a backend gets one in eight, each process counts for itself, and which
/// one takes a connection is the kernel's choice.
const EACH: usize = 80;

#[test]
fn backends_come_and_go_at_run_time_and_stay_so_over_a_reload_until_the_configuration_says_the_same() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned()
            + &WEB.replace("[[pool]]", "[[pool]]\nprobe = { tcp = true, interval = \"100ms\" }");
        let node = bed.start(&config)?;
        let added = node.say(&["pool", "add", "app", "10.0.4.33:80"])?;
        ensure!(added.contains("write it into the configuration"), "{added}");
        node.wait_until("its probe has found it well", LIMIT, |_| {
            backend(&node, "10.0.4.33:80").is_ok_and(|b| b["state"] == "up" && b["by_operator"] == true)
        })?;
        node.say(&["pool", "remove", "app", "10.0.4.31:80"])?;
        node.say(&["pool", "weight", "app", "10.0.4.32:80", "7"])?;
        assert_eq!(bed.all_who(EACH)?, ["three", "two"]);
        kill_one(&node)?;
        assert_eq!(bed.all_who(EACH)?, ["three", "two"], "the successor knows them");
        reload(&node, &(config.clone() + "# again\n"))?;
        assert_eq!(bed.all_who(EACH)?, ["three", "two"]);
        node.say(&["upgrade"])?;
        assert_eq!(bed.all_who(EACH)?, ["three", "two"]);
        assert_eq!(backend(&node, "10.0.4.32:80")?["weight"], 7);
        let list = node.say(&["pool", "list", "app"])?;
        ensure!(list.contains("added by operator") && list.contains("removed"), "{list}");
        // The configuration names it: from now on it is the configuration's.
        let named = config.replace("\"10.0.4.32:80\"", "\"10.0.4.32:80\", \"10.0.4.33:80\"");
        reload(&node, &named)?;
        let third = backend(&node, "10.0.4.33:80")?;
        ensure!(third["by_operator"] == false, "{third}");
        reload(&node, &config)?;
        assert_eq!(bed.all_who(20)?, ["two"]);
        Ok(())
    });
}

#[test]
fn a_word_that_cannot_be_obeyed_is_refused_with_what_there_is() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        for (words, answer) in [
            (["pool", "drain", "ap", "10.0.4.31:80"], "there are: app"),
            (["pool", "drain", "app", "10.0.4.39:80"], "it has: 10.0.4.31:80, 10.0.4.32:80"),
            (["pool", "add", "app", "10.0.4.31:80"], "has 10.0.4.31:80 already"),
            (["pool", "add", "app", "nonsense"], "is no backend"),
        ] {
            let refused = node.ctl(&words)?;
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            ensure!(refused.status.code() == Some(1) && said.contains(answer), "{words:?}: {said}");
        }
        Ok(())
    });
}

#[test]
fn a_backend_that_falls_and_rises_is_told_and_a_pool_without_any_makes_the_node_look_unwell() {
    mainstay_lab::test(|| {
        let mut bed = Bed::make()?;
        let probe = "[[pool]]\nprobe = { tcp = true, interval = \"100ms\", fall = 1, rise = 1 }";
        let node = bed.start(&(HEAD.to_owned() + &WEB.replace("[[pool]]", probe)))?;
        let last = bed.mirrors.split_off(1);
        drop(std::mem::take(&mut bed.mirrors));
        wait_for_event(&node, "pool app: 10.0.4.31:80 is down: its probe says so")?;
        drop(last);
        node.wait_until("the pool is told as empty", LIMIT, |status| {
            let degraded = status["degraded"].as_array().into_iter().flatten();
            degraded
                .into_iter()
                .any(|s| s.as_str().is_some_and(|s| s.contains("pool app has no backend in use")))
        })?;
        let explained = node.say(&["explain", "route", "http://edge.example:8080/x"])?;
        ensure!(explained.contains("no backend of the pool is in use"), "{explained}");
        let check = node.ctl(&["healthcheck"])?;
        assert_eq!(check.status.code(), Some(4), "{}", node.daemon().log_tail());
        Ok(())
    });
}

#[test]
fn a_sticky_cookie_is_kept_by_all_processes_whatever_dies_is_reloaded_or_upgraded() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let config = HEAD.to_owned() + &WEB.replace("[[pool]]", "[[pool]]\nsticky = { cookie = \"b\" }");
        let node = bed.start(&config)?;
        let ask = |cookie: &str| {
            let head =
                format!("GET / HTTP/1.1\r\nHost: e.example\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n");
            talk(&bed.client, EDGE, &head)
        };
        let first = ask("a=b")?;
        let cookie = first.split("et-cookie: ").nth(1).or_else(|| first.split("et-Cookie: ").nth(1));
        let cookie = cookie.and_then(|line| line.split(';').next()).context("a cookie is set")?;
        let home =
            |answer: &str| ["one", "two"].into_iter().find(|name| answer.contains(name)).map(str::to_owned);
        let there = home(&first).context("a mirror answers")?;
        let bound = || -> Result<()> {
            for _ in 0..20 {
                let answer = ask(cookie)?;
                ensure!(home(&answer).as_ref() == Some(&there), "{answer}");
                ensure!(!answer.to_lowercase().contains("set-cookie"), "it is known: {answer}");
            }
            Ok(())
        };
        bound()?;
        kill_one(&node)?;
        bound()?;
        reload(&node, &(config.clone() + "# again\n"))?;
        bound()?;
        node.say(&["upgrade"])?;
        bound()
    });
}

#[test]
fn top_shows_once_what_goes_through_in_lines_of_the_width_that_is_asked_for() {
    mainstay_lab::test(|| {
        let bed = Bed::make()?;
        let node = bed.start(&(HEAD.to_owned() + WEB))?;
        let shown = std::thread::scope(|scope| {
            let load = scope.spawn(|| (0..200).try_for_each(|_| bed.who().map(drop)));
            let shown = node.say(&["top", "--once"]);
            load.join().expect("a client does not panic")?;
            shown
        })?;
        for part in ["node edge", "web", "all", "app   10.0.4.31:80  up", "REQ/S", "LATENCY"] {
            ensure!(shown.contains(part), "{part}: {shown}");
        }
        ensure!(shown.lines().all(|line| line.chars().count() <= 80) && !shown.contains('\u{1b}'), "{shown}");
        let line = shown.lines().find(|line| line.starts_with("all ")).context("the route")?;
        ensure!(line.split_whitespace().nth(1).is_some_and(|rate| rate != "0"), "{shown}");
        Ok(())
    });
}
