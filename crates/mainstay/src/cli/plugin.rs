//! `mainstay plugin`, with the options of gost-plugins.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use mainstay_config::plan::cluster::{Access, ClusterKey};
use mainstay_config::plan::registry::Redis;

use crate::plugin::{Kind, Settings, run as serve};

/// Which plugin.
#[derive(Debug, Subcommand)]
pub(super) enum PluginCommand {
    /// Which node serves which tunnel: gost's servers register their clients here, and find those of the others.
    Sd(SdArgs),
    /// Which host leads to which tunnel: gost's servers set and look up the hosts of their clients here.
    Ingress(IngressArgs),
}

/// The sd plugin.
#[derive(Args, Debug)]
pub(super) struct SdArgs {
    #[command(flatten)]
    shared: Shared,
    /// How long a client is known after it was last renewed; gost renews every 15 seconds.
    #[arg(long = "redis.expiration", value_name = "DURATION", default_value = "1m", value_parser = duration)]
    expiration: Duration,
}

/// The ingress plugin.
#[derive(Args, Debug)]
pub(super) struct IngressArgs {
    #[command(flatten)]
    shared: Shared,
    /// How long a host's key lasts; those that are in use are renewed.
    #[arg(long = "redis.expiration", value_name = "DURATION", default_value = "1h", value_parser = duration)]
    expiration: Duration,
    /// Hosts below this domain are known by their first label; several are separated by commas.
    #[arg(long, value_name = "DOMAIN", value_delimiter = ',')]
    domain: Vec<String>,
}

/// What both have.
#[derive(Args, Debug)]
struct Shared {
    /// Where it listens, `[HOST]:PORT`, for gRPC and for HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = ":8000")]
    addr: String,
    /// The redis that holds what it is told, in the layout of gost-plugins; without one it is kept in memory.
    #[arg(long = "redis.addr", value_name = "HOST:PORT", value_parser = place)]
    redis: Option<(String, u16)>,
    /// The database of that redis.
    #[arg(long = "redis.db", value_name = "NUMBER", default_value_t = 0)]
    database: u16,
    /// The user that the redis knows us as.
    #[arg(long = "redis.username", value_name = "NAME", default_value = "", hide_default_value = true)]
    username: String,
    /// Its password.
    #[arg(
        long = "redis.password",
        value_name = "PASSWORD",
        env = "MAINSTAY_PLUGIN_REDIS_PASSWORD",
        hide_env_values = true
    )]
    password: Option<String>,
    /// What gost's servers have to show; anybody may call when absent.
    #[arg(long, value_name = "TOKEN", env = "MAINSTAY_PLUGIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// What is logged.
    #[arg(long = "log.level", value_name = "LEVEL", default_value = "info")]
    level: Level,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Level {
    /// Choices too.
    Debug,
    /// What an operator would tell a colleague.
    Info,
    /// What should be looked at.
    Warn,
    /// What is broken.
    Error,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

pub(super) fn run(command: PluginCommand) -> anyhow::Result<u8> {
    let (kind, shared, expiration, domains) = match command {
        PluginCommand::Sd(SdArgs { shared, expiration }) => (Kind::Sd, shared, expiration, Vec::new()),
        PluginCommand::Ingress(IngressArgs { shared, expiration, domain }) => {
            let domains = domain.iter().map(|domain| domain.trim().trim_matches('.').to_owned()).collect();
            (Kind::Ingress, shared, expiration, domains)
        }
    };
    let Shared { addr, redis, database, username, password, token, level } = shared;
    crate::log::start_at(level.name());
    anyhow::ensure!(token.as_deref() != Some(""), "the token is empty");
    let user = password.map(|password| (username.clone(), ClusterKey::new(password)));
    anyhow::ensure!(user.is_some() || username.is_empty(), "redis.username needs redis.password");
    let access = Access { user, ..Access::default() };
    let redis = redis.map(|(host, port)| (vec![Redis { host, port, database, tls: false }], access));
    serve(&Settings { kind, redis, expiration, domains, token }, &addr)?;
    Ok(0)
}

fn place(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("it is HOST:PORT")?;
    let port = port.parse().map_err(|_| "the port is none")?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok((host.to_owned(), port))
}

/// A duration as Go writes it: `1h30m`, `90s`, `1.5h`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let read = || -> anyhow::Result<Duration> {
        let (mut all, mut rest) = (0.0, text);
        while !rest.is_empty() {
            let digits =
                rest.find(|c: char| !c.is_ascii_digit() && c != '.').context("a number needs a unit")?;
            let (number, after) = rest.split_at(digits);
            let number: f64 = number.parse().context("it is no number")?;
            let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let unit = match unit {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 0.001,
                _ => anyhow::bail!("the units are h, m, s and ms"),
            };
            all += number * unit;
            rest = after;
        }
        anyhow::ensure!((1.0..=366.0 * 86400.0).contains(&all), "it is from 1s to a year");
        Ok(Duration::from_secs_f64(all))
    };
    read().map_err(|why| format!("{why}; such as 1h, 3m or 90s"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_in_go() {
        for (text, seconds) in
            [("1h", 3600.0), ("3m", 180.0), ("1h30m", 5400.0), ("1.5h", 5400.0), ("1500ms", 1.5)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for wrong in ["", "60", "1d", "h", "0s", "1.2.3s", "-1s", "900000h", "1 h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
