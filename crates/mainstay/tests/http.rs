//! What a running node serves over HTTP is what the page about metrics promises.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use mainstay_lab::peer::Mainstay;
use mainstay_lab::{Host, Lab};

const LIMIT: Duration = Duration::from_secs(20);

const CONFIG: &str = r#"
[node]
id = "web-1"
metrics = "127.0.0.1:9105"

[[probe]]
name = "file"
file = "flag"
interval = "100ms"

[[vip]]
name = "front"
addrs = ["10.0.4.99"]
interface = "eth0"
vrid = 51
advert = "100ms"
requires = ["file"]
"#;

/// The answer's first line and its body.
fn get(host: &Host, path: &str) -> Result<(String, String)> {
    let text = host.run(|| -> Result<String> {
        let mut stream = TcpStream::connect("127.0.0.1:9105")?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    })??;
    let (head, body) = text.split_once("\r\n\r\n").context("an answer")?;
    Ok((head.lines().next().unwrap_or_default().to_owned(), body.to_owned()))
}

#[test]
fn a_node_serves_the_families_that_the_page_lists_and_tells_whether_it_is_ready() {
    mainstay_lab::test(|| {
        let lab = Lab::new("http")?;
        let lan = lab.segment("lan")?;
        let host = lab.host("web-1")?;
        host.plug(&lan, "eth0", &["10.0.4.21/24"])?;
        let flag = host.directory().join("flag");
        std::fs::write(&flag, "")?;
        let config = CONFIG.replace("\"flag\"", &format!("{flag:?}"));
        let node = Mainstay::start(&host, Path::new(env!("CARGO_BIN_EXE_mainstay")), &config)?;
        node.wait_for_state("front", "active", LIMIT)?;

        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating/metrics.md");
        let page = std::fs::read_to_string(page)?;
        let (head, metrics) = get(&host, "/metrics")?;
        ensure!(head == "HTTP/1.1 200 OK", "{head}");
        let families: Vec<&str> =
            metrics.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        ensure!(families.len() > 25, "{families:?}");
        for family in families {
            ensure!(page.contains(&format!("| `{family}` |")), "{family} is not on the page");
        }
        ensure!(metrics.contains("mainstay_vip_holder{vip=\"front\"} 1"), "{metrics}");

        node.wait_until("nothing is degraded", LIMIT, |status| {
            status["degraded"].as_array().is_some_and(Vec::is_empty)
        })?;
        ensure!(get(&host, "/readyz")? == ("HTTP/1.1 200 OK".into(), "ready\n".into()));
        ensure!(get(&host, "/healthz")?.0 == "HTTP/1.1 200 OK");
        ensure!(get(&host, "/v1/status")?.1.contains("\"schema\":1"));
        std::fs::remove_file(&flag)?;
        node.wait_for_state("front", "fault", LIMIT)?;
        let (head, body) = get(&host, "/readyz")?;
        ensure!(head.contains("503") && body.contains("vip front is in fault"), "{head} {body}");
        ensure!(get(&host, "/readyz?here")? == ("HTTP/1.1 200 OK".into(), "ready\n".into()));
        Ok(())
    });
}
