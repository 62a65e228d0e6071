//! The three proxies and the backend behind them, each with the same work: routes, health, metrics, forwarded headers.

use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Daemon, Host, wait_until};

/// How long a peer may take to start.
const STARTING: Duration = Duration::from_secs(20);

/// A proxy: its processes, and its ports for http, https and tcp.
#[derive(Debug)]
pub(super) struct Peer {
    name: &'static str,
    daemon: Daemon,
    ports: [u16; 3],
}

impl Peer {
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn daemon(&self) -> &Daemon {
        &self.daemon
    }

    pub(super) fn ports(&self) -> [u16; 3] {
        self.ports
    }
}

/// The proxies, and the backend that must outlive them.
#[derive(Debug)]
pub(super) struct Peers {
    all: [Peer; 3],
    _backend: Daemon,
}

/// The backend's port.
const BACKEND: u16 = 9000;

impl Peers {
    pub(super) fn start(host: &Host, binary: &Path) -> Result<Self> {
        super::need("nginx", "nginx-light")?;
        super::need("haproxy", "haproxy")?;
        super::need("wrk", "wrk")?;
        super::need("h2load", "nghttp2-client")?;
        let folder = host.directory().to_owned();
        certificate(host)?;
        let backend = backend(host, &folder)?;
        let all = [nginx(host, &folder)?, haproxy(host, &folder)?, mainstay(host, &folder, binary)?];
        for port in all.iter().flat_map(|peer| peer.ports).chain([BACKEND]) {
            let open = || host.run(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
            let logs: Vec<String> = all.iter().map(|peer| peer.daemon.log_tail()).collect();
            wait_until(&format!("port {port} is open"), STARTING, open).with_context(|| logs.join("\n"))?;
        }
        Ok(Self { all, _backend: backend })
    }

    pub(super) fn all(&self) -> &[Peer; 3] {
        &self.all
    }
}

fn certificate(host: &Host) -> Result<()> {
    let arguments = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=bench.example.com \
                     -addext subjectAltName=DNS:bench.example.com,IP:127.0.0.1 -keyout key.pem -out cert.pem";
    host.output("openssl", &arguments.split_whitespace().collect::<Vec<_>>())?;
    let folder = host.directory();
    let both = fs::read_to_string(folder.join("cert.pem"))? + &fs::read_to_string(folder.join("key.pem"))?;
    fs::write(folder.join("both.pem"), both)?;
    for name in ["cert.pem", "key.pem", "both.pem"] {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// A program on one core.
fn pinned(host: &Host, name: &str, core: &str, program: &Path) -> Daemon {
    Daemon::new(host, name, "taskset").args(["-c", core]).arg(program)
}

/// nginx with its own folder; the lines of its modules come before everything else.
fn run_nginx(host: &Host, place: &Path, core: &str, modules: &str, conf: &str) -> Result<Daemon> {
    let name = place.file_name().and_then(|name| name.to_str()).unwrap_or("nginx");
    fs::create_dir_all(place)?;
    let head = "daemon off;\nworker_processes 1;\nworker_rlimit_nofile 19000;\npid nginx.pid;\nuser root root;\n\
                events { worker_connections 9000; }\n";
    fs::write(place.join("nginx.conf"), format!("{modules}{head}{conf}"))?;
    let daemon =
        pinned(host, name, core, Path::new("nginx")).arg("-p").arg(place).args(["-e", "stderr", "-c"]);
    let daemon = daemon.arg(place.join("nginx.conf"));
    daemon.start()?;
    Ok(daemon)
}

fn backend(host: &Host, folder: &Path) -> Result<Daemon> {
    let www = folder.join("backend/www/api");
    fs::create_dir_all(&www)?;
    fs::write(www.join("1k"), vec![b'x'; 1024])?;
    fs::write(www.join("10m"), vec![b'y'; 10 << 20])?;
    let http = format!(
        "http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; open_file_cache max=10;\n\
         server {{ listen 127.0.0.1:{BACKEND} backlog=4096; root www; }} }}\n"
    );
    run_nginx(host, &folder.join("backend"), "1", "", &http)
}

fn nginx(host: &Host, folder: &Path) -> Result<Peer> {
    let ports = [8101, 8102, 8103];
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if Path::new(module).exists() { format!("load_module {module};\n") } else { String::new() };
    let [http, https, tcp] = ports;
    let cert = folder.display();
    let place = "proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection \"\";\n\
                 proxy_set_header Host $http_host; proxy_set_header X-Real-IP $remote_addr;\n\
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n\
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Host $http_host;";
    let conf = format!(
        "http {{ access_log off; keepalive_requests 1000000000; keepalive_timeout 300s;\n\
         upstream api {{ zone api 256k; server 127.0.0.1:{BACKEND} max_fails=3; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen 127.0.0.1:1; server_name other.example.com; }}\n\
         server {{ listen 127.0.0.1:{http} backlog=4096; listen 127.0.0.1:{https} ssl http2 backlog=4096; server_name bench.example.com;\n\
         ssl_certificate {cert}/cert.pem; ssl_certificate_key {cert}/key.pem; ssl_protocols TLSv1.3;\n\
         location / {{ return 404; }}\n location /status {{ stub_status; }}\n location ~ \\.php$ {{ return 404; }}\n\
         location /api/ {{ {place} }} }} }}\n\
         stream {{ upstream raw {{ server 127.0.0.1:{BACKEND}; }} server {{ listen 127.0.0.1:{tcp} backlog=4096; proxy_pass raw; }} }}\n"
    );
    let daemon = run_nginx(host, &folder.join("nginx"), "0", &load, &conf)?;
    Ok(Peer { name: "nginx", daemon, ports })
}

fn haproxy(host: &Host, folder: &Path) -> Result<Peer> {
    let ports = [8201, 8202, 8203];
    let [http, https, tcp] = ports;
    let cert = folder.join("both.pem");
    let conf = format!(
        "global\n  nbthread 1\n  maxconn 9000\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n\
         defaults\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  timeout http-keep-alive 300s\n\
         frontend web\n  mode http\n  bind 127.0.0.1:{http} backlog 4096\n\
         \x20 bind 127.0.0.1:{https} backlog 4096 ssl crt {} alpn h2,http/1.1\n\
         \x20 option forwardfor\n  http-request set-header X-Real-IP %[src]\n\
         \x20 http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}\n  http-request set-header X-Forwarded-Proto http if !{{ ssl_fc }}\n\
         \x20 http-request set-header X-Forwarded-Host %[req.hdr(host)]\n\
         \x20 acl other hdr(host) -i other.example.com\n  acl php path_end .php\n  acl api path_beg /api/\n\
         \x20 http-request deny deny_status 404 if other\n  http-request deny deny_status 404 if php\n  use_backend api if api\n\
         \x20 stats enable\n  stats uri /status\n\
         backend api\n  mode http\n  http-reuse always\n  option httpchk GET /api/1k\n  server one 127.0.0.1:{BACKEND} check inter 1s\n\
         listen raw\n  mode tcp\n  bind 127.0.0.1:{tcp} backlog 4096\n  server one 127.0.0.1:{BACKEND}\n",
        cert.display()
    );
    let path = folder.join("haproxy.cfg");
    fs::write(&path, conf)?;
    let daemon = pinned(host, "haproxy", "0", Path::new("haproxy")).args(["-db", "-f"]).arg(&path);
    daemon.start()?;
    Ok(Peer { name: "haproxy", daemon, ports })
}

fn mainstay(host: &Host, folder: &Path, binary: &Path) -> Result<Peer> {
    let ports = [8301, 8302, 8303];
    let [http, https, tcp] = ports;
    let cert = folder.display();
    let conf = format!(
        "[node]\nid = \"bench\"\nmetrics = \"127.0.0.1:8304\"\n\n[edge]\ninstances = 1\nthreads = 1\n\n\
         [[listener]]\nname = \"http\"\nbind = \"127.0.0.1:{http}\"\nidle_timeout = \"300s\"\n\n\
         [[listener]]\nname = \"https\"\nbind = \"127.0.0.1:{https}\"\ntls12 = false\nidle_timeout = \"300s\"\n\
         tls = [{{ cert = \"{cert}/cert.pem\", key = \"{cert}/key.pem\" }}]\n\n\
         [[listener]]\nname = \"tcp\"\nbind = \"127.0.0.1:{tcp}\"\nprotocol = \"tcp\"\npool = \"raw\"\n\n\
         [[route]]\nlistener = [\"http\", \"https\"]\nhost = \"other.example.com\"\nanswer = {{ status = 404 }}\n\n\
         [[route]]\nlistener = [\"http\", \"https\"]\nanswer = {{ status = 404 }}\n\n\
         [[route]]\nlistener = [\"http\", \"https\"]\npath_regex = '\\.php$'\nanswer = {{ status = 404 }}\n\n\
         [[route]]\nlistener = [\"http\", \"https\"]\npath = \"/api/\"\npool = \"api\"\n\n\
         [[pool]]\nname = \"api\"\nbackends = [\"127.0.0.1:{BACKEND}\"]\nprobe = {{ http = \"/api/1k\", interval = \"1s\" }}\n\n\
         [[pool]]\nname = \"raw\"\nbackends = [\"127.0.0.1:{BACKEND}\"]\n"
    );
    let place = folder.join("mainstay");
    fs::create_dir_all(&place)?;
    let path = place.join("mainstay.toml");
    fs::write(&path, conf)?;
    let binary = fs::canonicalize(binary).with_context(|| format!("no program {}", binary.display()))?;
    let daemon = pinned(host, "mainstay", "0", &binary)
        .args(["run", "--config"])
        .arg(&path)
        .arg("--runtime-dir")
        .arg(place.join("run"))
        .arg("--state-dir")
        .arg(place.join("state"));
    daemon.start()?;
    Ok(Peer { name: "mainstay", daemon, ports })
}
