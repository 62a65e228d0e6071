//! Bytes and datagrams: TLS by server name, PROXY headers, UDP sessions.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use anyhow::{Result, ensure};
use mainstay_lab::probe::{Echo, Mirror, Web};

use crate::bed::{Ground, LIMIT, get, start};

const CONFIG: &str = r#"
[node]
id = "edge"

[edge]
instances = 1
threads = 1

[[listener]]
name = "udp"
bind = "0.0.0.0:5300"
protocol = "udp"
pool = "echo"
idle_timeout = "1s"

[[listener]]
name = "names"
bind = "10.0.4.20:443"
protocol = "passthrough"
sni = [{ host = "a.example.com", pool = "a" }, { host = "*.example.com", pool = "b" }]

[[listener]]
name = "in"
bind = "10.0.4.20:8080"
proxy_from = ["10.0.4.0/24"]
real_ip = { proxy = true, trusted = ["10.0.4.0/24"] }

[[listener]]
name = "out"
bind = "10.0.4.20:8081"
protocol = "tcp"
pool = "again"

[[route]]
listener = "in"
pool = "mirror"

[[pool]]
name = "echo"
backends = ["10.0.4.31:5300"]

[[pool]]
name = "a"
backends = ["10.0.4.31:4431"]

[[pool]]
name = "b"
backends = ["10.0.4.31:4432"]

[[pool]]
name = "mirror"
backends = ["10.0.4.31:80"]

[[pool]]
name = "again"
backends = ["10.0.4.20:8080"]
proxy = "v2"
"#;

/// A ClientHello that asks for a name and nothing else.
fn hello(name: &str) -> Vec<u8> {
    let sized = |bytes: &[u8]| {
        let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes();
        [&length[..], bytes].concat()
    };
    let entry = [&[0][..], &sized(name.as_bytes())].concat();
    let extension = [&[0, 0][..], &sized(&sized(&entry))].concat();
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(sized(&[0x13, 0x01]));
    body.extend([1, 0]);
    body.extend(sized(&extension));
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let message = [&[1, length[1], length[2], length[3]][..], &body].concat();
    [&[22, 3, 1][..], &sized(&message)].concat()
}

#[test]
fn datagrams_and_passed_tls_and_proxy_headers_reach_whom_they_should() {
    mainstay_lab::test(|| {
        let ground = Ground::lay("bytes")?;
        let edge = ground.host("edge", &["10.0.4.20/24"])?;
        let client = ground.host("client", &["10.0.4.9/24"])?;
        let app = ground.host("app", &["10.0.4.31/24"])?;
        let at = |text: &str| text.parse::<SocketAddr>();
        let _echo = Echo::start(&app, at("10.0.4.31:5300")?)?;
        let _mirror = Mirror::start(&app, at("10.0.4.31:80")?, "mirror")?;
        let _a = Mirror::start(&app, at("10.0.4.31:4431")?, "a")?;
        let _b = Web::start(&app, at("10.0.4.31:4432")?, "b")?;
        let (names, out) = (at("10.0.4.20:443")?, at("10.0.4.20:8081")?);
        let _node = start(&edge, CONFIG, &[names, out])?;

        // The first datagram of each session counts, and so does the address that the answer comes from.
        for number in 0..5 {
            let answer = client.run(|| -> Result<String> {
                let socket = UdpSocket::bind("10.0.4.9:0")?;
                socket.set_read_timeout(Some(LIMIT))?;
                socket.connect("10.0.4.20:5300")?;
                socket.send(format!("question {number} ").as_bytes())?;
                let mut buffer = [0; 100];
                let length = socket.recv(&mut buffer)?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })??;
            ensure!(answer == format!("question {number} app"), "{answer}");
        }

        // What a client says in TLS arrives as it is: the mirror waits for more, the page's server answers nothing but HTTP.
        let reached = |name: &str, then: &str| -> Result<String> {
            let bytes = [&hello(name)[..], then.as_bytes()].concat();
            client.run(|| -> Result<String> {
                let mut stream = TcpStream::connect(names)?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.write_all(&bytes)?;
                let mut buffer = [0; 65_536];
                let length = stream.read(&mut buffer)?;
                Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
            })?
        };
        let request = "\r\nGET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        ensure!(reached("a.example.com", request)?.contains("X-Mirror: a"), "the exact name has a pool");
        ensure!(reached("c.example.com", request)?.ends_with("\r\n\r\nb"), "the wildcard has another");
        ensure!(reached("example.org", "")?.is_empty(), "no other name has one");

        // Through the second listener with a PROXY header to the first, which believes it.
        let (head, body) = get(&client, out, "/", "shop", "X-Forwarded-For: 6.6.6.6\r\n")?;
        ensure!(
            head.starts_with("HTTP/1.1 200") && body.contains("X-Real-IP: 10.0.4.9\r\n"),
            "{head}\n{body}"
        );
        Ok(())
    });
}
