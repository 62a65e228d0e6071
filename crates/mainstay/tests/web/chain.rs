//! Four proxies in a row, as the bastion's documents describe them: the last one tells the node who the client is.

use std::net::{SocketAddr, TcpStream};

use anyhow::{Result, ensure};
use mainstay_lab::peer::{Mainstay, Nginx};
use mainstay_lab::probe::Mirror;
use mainstay_lab::wait_until;

use crate::bed::{Ground, LIMIT, get, import, start, write};

/// The addresses of the four layers.
const LAYERS: [&str; 4] = ["10.1.23.8", "10.8.2.163", "10.120.126.14", "192.168.1.23"];

/// One layer's file: whom it believes, where it passes to, and whether it writes X-Forwarded-For.
fn layer(number: usize, next: &str) -> String {
    let believe = if number == 0 {
        String::new()
    } else {
        format!("real_ip_header X-Forwarded-For;\nset_real_ip_from {};\n", LAYERS[number - 1])
    };
    let forwarded =
        if number == 3 { "" } else { "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;" };
    let set =
        format!("proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr; {forwarded}");
    format!(
        "{believe}upstream tp_web_end {{ server {next}:52100; }}\nupstream tp_api_end {{ server {next}:52100; }}\n\
         server {{\n listen 52100;\n location / {{ {set} proxy_pass http://tp_web_end; }}\n\
         location ~ ^/api/ {{ {set} proxy_pass http://tp_api_end; }}\n}}\n"
    )
}

/// Whoever runs a layer.
enum Layer {
    Ours(#[expect(dead_code, reason = "it runs until it is dropped")] Mainstay),
    Nginx(#[expect(dead_code, reason = "it runs until it is dropped")] Nginx),
}

fn four_layers(with_nginx: bool) -> Result<()> {
    let ground = Ground::lay("chain")?;
    let node = ground.host("node", &["10.200.0.5/8"])?;
    let _mirror = Mirror::start(&node, "10.200.0.5:52100".parse()?, "node")?;
    let client = ground.host("client", &["10.77.0.9/8"])?;
    let mut layers = Vec::new();
    for (number, own) in LAYERS.into_iter().enumerate().rev() {
        let host = ground.host(&format!("layer{}", number + 1), &[&format!("{own}/8")])?;
        // The last layer's address is of another network in the documents; here all are neighbours.
        host.ip("route add 10.0.0.0/8 dev eth0").or_else(|_| host.ip("route replace 10.0.0.0/8 dev eth0"))?;
        let next = LAYERS.get(number + 1).copied().unwrap_or("10.200.0.5");
        if next.starts_with("192.") || own.starts_with("192.") {
            host.ip("route replace 192.168.1.0/24 dev eth0")?;
        }
        let conf = layer(number, next);
        layers.push(if with_nginx && number % 2 == 0 {
            let nginx = Nginx::with_http(&host, "layer", &conf)?;
            let port = SocketAddr::new(own.parse()?, 52100);
            let open = || host.run(|| TcpStream::connect(port).is_ok());
            wait_until(&format!("nginx takes connections on {port}"), LIMIT, open)?;
            Layer::Nginx(nginx)
        } else {
            let file = write(&host, "layer.conf", &conf)?;
            let toml = import(&host, &file, &["--context", "http"])?;
            Layer::Ours(start(&host, &toml, &[SocketAddr::new(own.parse()?, 52100)])?)
        });
    }
    node.ip("route replace 192.168.1.0/24 dev eth0")?;
    let first = SocketAddr::new(LAYERS[0].parse()?, 52100);
    for forged in [
        "",
        "X-Forwarded-For: 6.6.6.6\r\n",
        "X-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 10.8.2.163, 10.1.23.8\r\n",
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 10.120.126.14\r\n",
    ] {
        for path in ["/", "/api/login"] {
            let (head, body) = get(&client, first, path, "tp.my-domain.com", forged)?;
            ensure!(head.starts_with("HTTP/1.1 200"), "{head}");
            ensure!(body.contains("X-Real-IP: 10.77.0.9\r\n"), "{path} with {forged:?}: {body}");
        }
    }
    Ok(())
}

#[test]
fn through_four_layers_the_node_learns_the_client_whatever_it_forges() {
    mainstay_lab::test(|| four_layers(false));
}

#[test]
fn nginx_and_ours_take_turns_in_the_chain() {
    mainstay_lab::test(|| four_layers(true));
}
