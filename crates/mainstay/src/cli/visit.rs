//! `mainstay visit` in the foreground.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use mainstay_core::tunnel::address::Address;
use mainstay_link::tunnel::carrier::{Dialing, Proxy};

use super::agent::{LoginArgs, name, own_name, shown, trust};
use crate::agent::{Listen, Settings, Wish};

/// Where the secret may stand instead of in a file.
const KEY: &str = "MAINSTAY_VISIT_KEY";

/// What is reached, and how.
#[derive(Args, Debug)]
pub(super) struct VisitArgs {
    /// A hub: wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT; may be repeated. Hubs tell of the others of their cluster.
    /// gost+ws://HOST and the like is a server of gost's, which tells of none.
    #[arg(long, value_name = "URL", required = true)]
    hub: Vec<Address>,
    /// The tunnel's id, as `[[tunnel]]` on the hub has it.
    #[arg(long, value_name = "ID")]
    tunnel: String,
    /// Where its connections are taken on this machine; `-` is one connection over standard input and output.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8022", value_parser = listen)]
    listen: Listen,
    /// Datagrams instead of connections.
    #[arg(long)]
    udp: bool,
    /// The file with the secret that `mainstay tunnel key` has made; MAINSTAY_VISIT_KEY may hold the secret itself instead.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    login: LoginArgs,
    /// The host that is wanted behind the tunnel, as HOST or HOST:PORT; only gost's servers are told.
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// What the visitor calls itself; the name of this machine by default.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Certificates of authorities that hubs are checked by; those of the system by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate of gost's servers, which make their own: whoever stands on the way can be one of them.
    #[arg(long, conflicts_with = "ca")]
    no_verify: bool,
    /// The HTTP proxy that leads out of here: `http://[USER:PASSWORD@]HOST:PORT`.
    #[arg(long, value_name = "URL", env = "MAINSTAY_VISIT_PROXY", hide_env_values = true)]
    proxy: Option<Proxy>,
    /// How many seconds connections may go on when the visitor is told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::DRAIN.as_secs())]
    drain: u64,
}

fn listen(text: &str) -> Result<Listen, String> {
    if text == "-" {
        return Ok(Listen::Stdio);
    }
    let addr = text.parse::<SocketAddr>().ok().filter(|addr| addr.port() > 0);
    addr.map(Listen::At).ok_or_else(|| "write such as 127.0.0.1:8022, or -".to_owned())
}

pub(super) fn run(args: VisitArgs) -> anyhow::Result<u8> {
    let stdio = args.listen == Listen::Stdio;
    anyhow::ensure!(!(stdio && args.udp), "datagrams have no borders on standard input: --listen an address");
    anyhow::ensure!(
        name(&args.tunnel).is_ok() && args.tunnel.len() <= 124,
        "a tunnel's id has 1 to 124 bytes of text"
    );
    // Over standard input and output what it says stands among the words of the program that runs it.
    if stdio {
        crate::log::start_quiet()
    } else {
        crate::log::start()
    }
    let (key, login) = shown(&args.hub, args.key.as_deref(), KEY, args.login, "a visitor")?;
    let tls = trust(&args.hub, args.ca.as_deref(), args.no_verify)?;
    crate::agent::run(Settings {
        hubs: args.hub,
        name: args.name.unwrap_or_else(|| own_name("visitor")),
        key,
        login,
        key_file: None,
        dialing: Dialing { tls, proxy: args.proxy },
        services: Vec::new(),
        wishes: vec![Wish::new(&args.tunnel, args.listen, args.udp).behind(args.host)],
        drain: std::time::Duration::from_secs(args.drain),
    })?;
    Ok(0)
}
