//! `mainstay agent` in the foreground, and the keys of agents.

mod services;

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use clap::Args;
use mainstay_core::gost::relay::Login;
use mainstay_core::tunnel::address::Address;
use mainstay_link::SystemEntropy;
use mainstay_link::tunnel::carrier::{Dialing, Proxy, believing, client_config};
use mainstay_link::tunnel::keys::SigningKey;
use rustls::ClientConfig;

use super::local::print;
use services::Services;

use crate::agent::Settings;

/// Where the secret may stand instead of in a file.
const KEY: &str = "MAINSTAY_AGENT_KEY";

/// What is offered, and to whom.
#[derive(Args, Debug)]
pub(super) struct AgentArgs {
    /// A hub: wss://HOST, ws://HOST, tls://HOST:PORT, quic://HOST:PORT or tcp://HOST:PORT; may be repeated. Hubs tell of the others of their cluster.
    /// gost+ws://HOST and the like is a server of gost's, which tells of none.
    #[arg(long, value_name = "URL", required = true)]
    hub: Vec<Address>,
    #[command(flatten)]
    services: Services,
    /// The file with the secret that `mainstay tunnel key` has made; MAINSTAY_AGENT_KEY may hold the secret itself instead.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    #[command(flatten)]
    login: LoginArgs,
    /// What the agent calls itself; the name of this machine by default.
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Certificates of authorities that hubs are checked by; those of the system by default.
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// Take any certificate of gost's servers, which make their own: whoever stands on the way can be one of them.
    #[arg(long, conflicts_with = "ca")]
    no_verify: bool,
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
    let (key, login) = shown(&args.hub, args.key.as_deref(), KEY, args.login, "an agent")?;
    let tls = trust(&args.hub, args.ca.as_deref(), args.no_verify)?;
    crate::agent::run(Settings {
        hubs: args.hub,
        name: args.name.unwrap_or_else(|| own_name("agent")),
        key,
        login,
        key_file: args.key,
        dialing: Dialing { tls, proxy: args.proxy },
        services: args.services.0,
        wishes: Vec::new(),
        drain: std::time::Duration::from_secs(args.drain),
    })?;
    Ok(0)
}

/// Who an agent or a visitor is to gost's servers.
#[derive(Args, Debug)]
pub(super) struct LoginArgs {
    /// The user of gost's servers, when they ask for one.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Its password; who may list this machine's programs reads it there, and not in the environment.
    #[arg(long, value_name = "TEXT", env = "MAINSTAY_GOST_PASSWORD", hide_env_values = true)]
    password: Option<String>,
}

/// What is shown: a key to hubs of ours, a user to gost's servers.
pub(super) fn shown(
    hubs: &[Address],
    key: Option<&Path>,
    variable: &'static str,
    args: LoginArgs,
    who: &str,
) -> anyhow::Result<(SigningKey, Option<Login>)> {
    if !hubs.iter().any(|hub| hub.gost) {
        anyhow::ensure!(args.user.is_none(), "--user means nothing to hubs that are not gost's");
        return Ok((secret(key, variable, who)?, None));
    }
    anyhow::ensure!(key.is_none(), "--key means nothing to gost's servers");
    let login = args.user.map(|user| Login { user, password: args.password.unwrap_or_default() });
    Ok((SigningKey::generate(&mut SystemEntropy), login))
}

/// Whom a hub has to be certified by.
pub(super) fn trust(hubs: &[Address], ca: Option<&Path>, nobody: bool) -> anyhow::Result<Arc<ClientConfig>> {
    anyhow::ensure!(!nobody || hubs.iter().any(|hub| hub.gost), "--no-verify is for gost's servers alone");
    if nobody { believing() } else { client_config(ca) }.map_err(anyhow::Error::msg)
}

/// The secret, from a file or the environment.
fn secret(file: Option<&Path>, variable: &'static str, who: &str) -> anyhow::Result<SigningKey> {
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
