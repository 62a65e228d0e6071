//! The bastion's and the IAM service's nginx files, as their documents print them.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use mainstay_lab::Host;
use mainstay_lab::probe::{Mirror, Web};

use crate::bed::{Ground, LIMIT, get, import, start, write};

/// What the bastion's documents put into conf.d.
const WEB: &str = include_str!("../../../../examples/bastion-nginx/conf.d/tacport.conf");

/// What they put into stream.d.
const STREAM: &str = include_str!("../../../../examples/bastion-nginx/stream.d/tacport-stream.conf");

/// The main file around both.
const MAIN: &str = include_str!("../../../../examples/bastion-nginx/nginx.conf");

/// The IAM service's file, the reverse proxy of its example.
const IAM: &str = include_str!("../../../../examples/iam-nginx/iam.conf");

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address and a port")
}

/// The nodes of the bastion: mirrors on 52100, and a page with its own name on each SSH port.
fn bastion(nodes: &Host) -> Result<(Vec<Mirror>, Vec<Web>)> {
    let mirror = |n: u8| Mirror::start(nodes, addr(&format!("192.168.10.{n}:52100")), &format!("node-{n}"));
    let ssh = ["25:52101", "26:52201", "28:52301", "29:52301"];
    let ssh = ssh.map(|port| Web::start(nodes, addr(&format!("192.168.10.{port}")), port));
    Ok(((23..=25).map(mirror).collect::<Result<_>>()?, ssh.into_iter().collect::<Result<_>>()?))
}

#[test]
fn the_bastions_files_bring_its_pages_its_api_its_websocket_and_its_ssh() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("bastion")?;
        let edge = ground.host("edge", &["192.168.10.2/24"])?;
        let client = ground.host("client", &["192.168.10.9/24"])?;
        let addrs: Vec<String> = (23..30).map(|n| format!("192.168.10.{n}/24")).collect();
        let nodes = ground.host("nodes", &addrs.iter().map(String::as_str).collect::<Vec<_>>())?;
        let _services = bastion(&nodes)?;
        write(&edge, "nginx/conf.d/tacport.conf", WEB)?;
        write(&edge, "nginx/stream.d/tacport-stream.conf", STREAM)?;
        let main = write(&edge, "nginx/nginx.conf", MAIN)?;
        let toml = import(&edge, &main, &[])?;
        let (web, ssh) = (addr("192.168.10.2:80"), addr("192.168.10.2:52001"));
        let _node = start(&edge, &toml, &[web, ssh])?;

        let who = |path: &str| -> Result<String> {
            let (head, body) = get(&client, web, path, "tp.my-domain.com", "X-Real-IP: 6.6.6.6\r\n")?;
            ensure!(head.starts_with("HTTP/1.1 200") && head.contains("Server: mirror"), "{head}");
            ensure!(body.contains("X-Real-IP: 192.168.10.9") && body.contains("X-Scheme: http"), "{body}");
            ensure!(body.contains("Host: tp.my-domain.com") && !body.contains("6.6.6.6"), "{body}");
            Ok(body.lines().next().unwrap_or_default().to_owned())
        };
        let names = |path: &str| (0..30).map(|_| who(path)).collect::<Result<BTreeSet<String>>>();
        ensure!(names("/")?.into_iter().eq(["node-23", "node-24"]), "pages come from the two UI nodes");
        ensure!(names("/api/v1")?.into_iter().eq(["node-23", "node-24", "node-25"]), "the API has three");

        websocket(&client, web)?;
        let ports = (0..40).map(|_| Ok(get(&client, ssh, "/", "ssh", "")?.1));
        let ports = ports.collect::<Result<BTreeSet<String>>>()?;
        ensure!(ports.len() == 4, "52001 reaches all four ports: {ports:?}");
        Ok(())
    });
}

/// A WebSocket under /api/ carries bytes both ways, those that came with the handshake too.
fn websocket(client: &Host, web: SocketAddr) -> Result<()> {
    let echoed = client.run(|| -> Result<String> {
        let mut stream = TcpStream::connect(web)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(
            b"GET /api/ws HTTP/1.1\r\nHost: tp.my-domain.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\nearly ",
        )?;
        let mut heard = String::new();
        let mut buffer = [0; 4096];
        while !heard.contains("early ") {
            let got = stream.read(&mut buffer)?;
            ensure!(got > 0, "closed after {heard:?}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..got]));
        }
        stream.write_all(b"and later")?;
        while !heard.ends_with("early and later") {
            let got = stream.read(&mut buffer)?;
            ensure!(got > 0, "closed after {heard:?}");
            heard.push_str(&String::from_utf8_lossy(&buffer[..got]));
        }
        Ok(heard)
    })??;
    ensure!(echoed.starts_with("HTTP/1.1 101 ") && echoed.contains("Upgrade: websocket"), "{echoed}");
    Ok(())
}

#[test]
fn the_iam_services_file_sets_its_headers_and_refuses_a_body_of_101_megabytes() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("iam")?;
        let edge = ground.host("edge", &["10.0.4.20/24"])?;
        let client = ground.host("client", &["10.0.4.9/24"])?;
        let _api = Mirror::start(&edge, addr("127.0.0.1:8080"), "apiserver")?;
        let file = write(&edge, "iam.conf", IAM)?;
        let toml = import(&edge, &file, &["--context", "http"])?;
        let web = addr("10.0.4.20:80");
        let _node = start(&edge, &toml, &[web])?;

        let (head, body) =
            get(&client, web, "/v1/users?limit=1", "iam.marmotedu.com", "X-Forwarded-For: 1.2.3.4\r\n")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
        for line in [
            "GET /v1/users?limit=1 HTTP/1.1",
            "Host: iam.marmotedu.com",
            "X-Forwarded-Host: iam.marmotedu.com",
            "X-Real-IP: 10.0.4.9",
            "X-Forwarded-For: 1.2.3.4, 10.0.4.9",
        ] {
            ensure!(body.contains(line), "{line} in {body}");
        }
        let large = client.directory().join("large");
        fs::File::create(&large)?.set_len(101 << 20)?;
        let upload = |size: u64| -> Result<String> {
            fs::File::options().write(true).open(&large)?.set_len(size)?;
            let data = format!("@{}", large.display());
            let curl = [
                "-s",
                "-o",
                "answer",
                "-w",
                "%{http_code}",
                "--data-binary",
                &data,
                "http://10.0.4.20/upload",
            ];
            client.output("curl", &curl)
        };
        ensure!(upload(101 << 20)? == "413", "a body of 101 MB is too large here");
        ensure!(upload(99 << 20)? == "200", "a body of 99 MB is not");
        Ok(())
    });
}
