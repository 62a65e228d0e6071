//! What may not be lost: requests during reloads, an upgrade, the death of an edge process, the death of a backend.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use mainstay_lab::peer::{Keeper, Mainstay, Nginx};
use mainstay_lab::probe::{Failure, Load, Requests};
use mainstay_lab::{Host, wait_until};
use rustix::process::{Pid, Signal, kill_process};

use crate::bed::{Ground, LIMIT, start};

const EDGE: &str = "10.0.4.20:8080";

fn config(more: &str) -> String {
    format!(
        "[node]\nid = \"edge\"\n\n[edge]\ninstances = 2\nthreads = 1\ndrain = \"5s\"\n\n\
         [[listener]]\nname = \"web\"\nbind = \"{EDGE}\"\n\n\
         [[route]]\npool = \"app\"\n{more}\n\
         [[pool]]\nname = \"app\"\nbackends = [\"10.0.4.31:80\", \"10.0.4.32:80\"]\n"
    )
}

/// An edge with two nginx behind it and a client in front.
struct Scene {
    node: Mainstay,
    client: Host,
    backends: Vec<Nginx>,
    _ground: Ground,
}

impl Scene {
    fn set() -> Result<Self> {
        let ground = Ground::lay("loss")?;
        let edge = ground.host("edge", &["10.0.4.20/24"])?;
        let client = ground.host("client", &["10.0.4.9/24"])?;
        let backends = (31..=32).map(|n| {
            let host = ground.host(&format!("app{n}"), &[&format!("10.0.4.{n}/24")])?;
            Nginx::start(&host, &format!("app{n}"))
        });
        let backends = backends.collect::<Result<Vec<_>>>()?;
        let node = start(&edge, &config(""), &[EDGE.parse()?])?;
        let scene = Self { node, client, backends, _ground: ground };
        // Both backends are up before anything is counted.
        scene.warm()?;
        Ok(scene)
    }

    fn warm(&self) -> Result<()> {
        let load = self.load(1, 50)?;
        wait_until("requests are answered", LIMIT, || Ok(load.answered() > 20))?;
        load.stop();
        Ok(())
    }

    /// 500 requests per second over 20 connections, a new connection after so many requests.
    fn load(&self, per_connection: u32, rate: u32) -> Result<Requests> {
        let load = Load {
            target: EDGE.parse::<SocketAddr>()?,
            path: "/".into(),
            clients: 20,
            rate,
            per_connection,
            timeout: Duration::from_secs(5),
        };
        Requests::start(&self.client, &load)
    }

    fn edges(&self) -> Result<Vec<Pid>> {
        let status = self.node.status_json()?;
        let workers = status["workers"].as_array().into_iter().flatten().filter(|w| w["role"] == "edge");
        let pids = workers.filter_map(|w| w["pid"].as_i64()).filter_map(|pid| i32::try_from(pid).ok());
        Ok(pids.filter_map(Pid::from_raw).collect())
    }
}

fn none(failures: &[Failure], log: &str) -> Result<()> {
    let list: Vec<&str> = failures.iter().take(5).map(|failure| failure.what.as_str()).collect();
    ensure!(failures.is_empty(), "{} requests were lost: {list:?}\n{log}", failures.len());
    Ok(())
}

#[test]
fn reloads_under_load_lose_no_request() {
    mainstay_lab::test(|| {
        let scene = Scene::set()?;
        let load = scene.load(50, 500)?;
        for number in 0..10 {
            let more = format!("response_headers = [{{ set = \"X-Reload\", value = \"{number}\" }}]\n");
            std::fs::write(scene.node.config_path(), config(&more))?;
            scene.node.say(&["reload"])?;
            let answered = load.answered();
            wait_until("requests go on", LIMIT, || Ok(load.answered() > answered + 50))?;
        }
        let (answered, failures) = load.stop();
        ensure!(answered > 500, "{answered} requests");
        none(&failures, &scene.node.daemon().log_tail())
    });
}

#[test]
fn a_listener_that_comes_and_goes_takes_nothing_with_it() {
    mainstay_lab::test(|| {
        let scene = Scene::set()?;
        let load = scene.load(50, 500)?;
        let extra = "\n[[listener]]\nname = \"more\"\nbind = \"10.0.4.20:8081\"\n";
        for text in [config("") + extra, config(""), config("") + extra] {
            std::fs::write(scene.node.config_path(), text)?;
            scene.node.say(&["reload"])?;
        }
        let second: SocketAddr = "10.0.4.20:8081".parse()?;
        let open = || scene.client.run(|| std::net::TcpStream::connect(second).is_ok());
        wait_until("the new listener takes connections", LIMIT, open)?;
        none(&load.stop().1, &scene.node.daemon().log_tail())
    });
}

#[test]
fn an_edge_process_that_is_killed_loses_only_what_it_had_in_flight() {
    mainstay_lab::test(|| {
        let scene = Scene::set()?;
        let load = scene.load(5, 500)?;
        let mut killed = 0;
        for _ in 0..8 {
            let edges = scene.edges()?;
            let victim = edges.first().context("an edge process runs")?;
            kill_process(*victim, Signal::KILL)?;
            killed += 1;
            wait_until("both edge processes run again", LIMIT, || {
                let now = scene.edges()?;
                Ok(now.len() == 2 && !now.contains(victim))
            })?;
            let answered = load.answered();
            wait_until("requests go on", LIMIT, || Ok(load.answered() > answered + 100))?;
        }
        let (answered, failures) = load.stop();
        let connects = failures.iter().filter(|failure| failure.what.starts_with("connect")).count();
        ensure!(connects == 0, "{connects} connects failed: {failures:?}");
        // A client has one request in flight at most; half of the 20 clients are with the other process as a rule.
        ensure!(
            failures.len() <= killed * 20,
            "{} of {answered} requests were lost: {failures:?}",
            failures.len()
        );
        Ok(())
    });
}

#[test]
fn a_backend_that_is_killed_under_load_fails_no_request() {
    mainstay_lab::test(|| {
        let scene = Scene::set()?;
        let load = scene.load(50, 500)?;
        let before = load.answered();
        wait_until("the load runs", LIMIT, || Ok(load.answered() > before + 200))?;
        scene.backends[0].daemon().kill_all()?;
        let before = load.answered();
        wait_until("the load runs on", LIMIT, || Ok(load.answered() > before + 500))?;
        none(&load.stop().1, &scene.node.daemon().log_tail())
    });
}

#[test]
fn an_upgrade_under_load_loses_no_request() {
    mainstay_lab::test(|| {
        let scene = Scene::set()?;
        let load = scene.load(50, 500)?;
        let old = scene.edges()?;
        scene.node.say(&["upgrade"])?;
        wait_until("new edge processes serve", LIMIT, || {
            let now = scene.edges()?;
            Ok(now.len() == 2 && now.iter().all(|pid| !old.contains(pid)))
        })?;
        let answered = load.answered();
        wait_until("requests go on", LIMIT, || Ok(load.answered() > answered + 1000))?;
        none(&load.stop().1, &scene.node.daemon().log_tail())
    });
}
