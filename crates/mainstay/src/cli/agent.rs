//! `mainstay agent` in the foreground, and the keys of agents.

mod services;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use mainstay_core::tunnel::address::Address;
use mainstay_link::SystemEntropy;
use mainstay_link::tunnel::carrier::{Dialing, Proxy, client_config};
use mainstay_link::tunnel::keys::SigningKey;

use super::local::print;
use services::Services;

use crate::agent::Settings;

/// Where the secret may stand instead of in a file.
const KEY: &str = "MAINSTAY_AGENT_KEY";

/// What is offered, and to whom.
#[derive(Args, Debug)]
pub(super) struct AgentArgs {
    /// A hub: wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT; may be repeated. Hubs tell of the others of their cluster.
    #[arg(long, value_name = "URL", required = true)]
    hub: Vec<Address>,
    #[command(flatten)]
    services: Services,
    /// The file with the secret that `mainstay tunnel key` has made; MAINSTAY_AGENT_KEY may hold the secret itself instead.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// What the agent calls itself; the name of this machine by default.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Certificates of authorities that hubs are checked by; those of the system by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// The HTTP proxy that leads out of here: `http://[USER:PASSWORD@]HOST:PORT`.
    #[arg(long, value_name = "URL", env = "MAINSTAY_AGENT_PROXY", hide_env_values = true)]
    proxy: Option<Proxy>,
    /// How many seconds streams may go on when the agent is told to end.
    #[arg(long, value_name = "SECONDS", default_value_t = Settings::DRAIN.as_secs())]
    drain: u64,
}

/// The name of this machine, or another where it has none.
pub(super) fn own_name(other: &str) -> String {
    let system = rustix::system::uname();
    let name: String =
        system.nodename().to_string_lossy().chars().filter(|c| !c.is_control()).take(60).collect();
    if name.is_empty() { other.to_owned() } else { name }
}

pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= 128 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err("up to 128 bytes of text".to_owned()) }
}

pub(super) fn run(args: AgentArgs) -> anyhow::Result<u8> {
    crate::log::start();
    let key = secret(args.key.as_deref(), KEY, "an agent")?;
    let tls = client_config(args.ca.as_deref()).map_err(anyhow::Error::msg)?;
    crate::agent::run(Settings {
        hubs: args.hub,
        name: args.name.unwrap_or_else(|| own_name("agent")),
        key,
        key_file: args.key,
        dialing: Dialing { tls, proxy: args.proxy },
        services: args.services.0,
        wishes: Vec::new(),
        drain: std::time::Duration::from_secs(args.drain),
    })?;
    Ok(0)
}

/// The secret, from a file or the environment.
pub(super) fn secret(file: Option<&Path>, variable: &'static str, who: &str) -> anyhow::Result<SigningKey> {
    match file {
        Some(path) => SigningKey::load(path).with_context(|| format!("key {}", path.display())),
        None => {
            let text = std::env::var(variable).ok().with_context(|| {
                format!("{who} needs a key: --key FILE or {variable}; `mainstay tunnel key FILE` makes one")
            })?;
            SigningKey::parse(&text).context(variable)
        }
    }
}

/// Makes a pair of keys. With a file the secret goes there, once, and only the public half is printed.
pub(super) fn key(file: Option<&Path>) -> anyhow::Result<u8> {
    let Some(path) = file else {
        let key = SigningKey::generate(&mut SystemEntropy);
        return print(&format!("secret {}\npublic {}\n", *key.secret(), key.public()));
    };
    let key = SigningKey::generate(&mut SystemEntropy);
    let key = match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
        Ok(mut open) => {
            writeln!(open, "{}", *key.secret()).with_context(|| format!("write {}", path.display()))?;
            key
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => SigningKey::load(path)?,
        Err(error) => return Err(error).with_context(|| format!("write {}", path.display())),
    };
    print(&format!("{}\n", key.public()))
}
