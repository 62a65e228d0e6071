//! Keys of gost that nothing here takes: what leaving each out means.

/// What leaving a key out means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to tell.
    Nothing,
    /// The same is done in another way.
    Otherwise(&'static str),
    /// Something is missed; what to do.
    Lost(&'static str),
    /// We do not know.
    Unknown,
}

const SESSIONS: &str = "sessions keep themselves alive and measure their windows";
const SOCKETS: &str = "sockets and buffers have bounds and times of their own here";
const COUNTS: &str = "`[node] metrics` and `mainstay top` tell of connections and bytes";
const RECORDS: &str = "`log` of a listener or route writes an access log";
const LIMITS: &str =
    "write `streams`, `rate` or `bandwidth` into [[tunnel]], or `rates` and `concurrency` into a route";

/// What leaving the key, in lower case, with this text means.
pub(super) fn verdict(key: &str, text: Option<&str>) -> Verdict {
    let off = text.is_some_and(|text| ["", "0", "0s", "false"].contains(&text));
    match (key, text) {
        ("mux.version", Some("2")) | ("mux.type", Some("smux")) => Verdict::Nothing,
        ("nodelay" | "tcp.nodelay" | "status" | "ignorechain" | "whitelist" | "reverse", _) => {
            Verdict::Nothing
        }
        ("mux.version" | "mux.type", _) => {
            Verdict::Lost("smux version 2 is spoken here: the same on the other side, which is its default")
        }
        _ => match otherwise(key) {
            Some(why) => Verdict::Otherwise(why),
            None if off => Verdict::Nothing,
            None => lost(key).map_or(Verdict::Unknown, Verdict::Lost),
        },
    }
}

/// How the same is done here.
fn otherwise(key: &str) -> Option<&'static str> {
    let why = match key {
        "keepalive" | "ttl" | "ws.keepalive" | "keepalive.interval" | "keepaliveinterval" => SESSIONS,
        _ if key.starts_with("mux.") => SESSIONS,
        "readtimeout"
        | "connecttimeout"
        | "timeout"
        | "dialtimeout"
        | "handshaketimeout"
        | "backlog"
        | "readheadertimeout"
        | "readbuffersize"
        | "writebuffersize"
        | "readbuffer"
        | "writebuffer"
        | "ws.backlog"
        | "ws.handshaketimeout"
        | "ws.readheadertimeout"
        | "ws.readbuffersize"
        | "ws.writebuffersize"
        | "udp.buffersize"
        | "udpbuffersize"
        | "readqueuesize"
        | "mptcp"
        | "entrypoint.readtimeout"
        | "entrypoint.keepalive"
        | "http.keepalive"
        | "entrypoint.compression" => SOCKETS,
        "enablecompression" | "ws.enablecompression" => "WebSocket messages are not compressed",
        "maxfails" | "failtimeout" | "max_fails" | "fail_timeout" => {
            "targets and backends are looked at by probes, and out while they do not answer"
        }
        "retries" => "whoever has not answered yet is followed by the next by itself",
        "observer" | "observers" | "enablestats" | "observeperiod" => COUNTS,
        _ if key.starts_with("observer.") => COUNTS,
        "logger" | "loggers" | "log" => "MAINSTAY_LOG says how much is told, on standard error",
        _ if key.starts_with("sniffing.websocket") => RECORDS,
        "options" | "minversion" | "maxversion" | "ciphersuites" | "alpn" => {
            "TLS 1.3 and 1.2 with the suites of rustls are spoken"
        }
        "validity" | "commonname" | "organization" => "no certificate is made up",
        _ => return None,
    };
    Some(why)
}

/// What to do when something is missed.
fn lost(key: &str) -> Option<&'static str> {
    let advice = match key {
        "entrypoint.proxyprotocol" => {
            "write proxy_from = [\"10.0.0.0/8\"] into the entrypoint's [[listener]]: the networks that send the header"
        }
        "proxyprotocol" => "write proxy_from into the [[listener]], or proxy_header = 2 into [[agent.offer]]",
        "admission" | "admissions" => {
            "write access = [\"allow 10.0.0.0/8\", \"deny all\"] into the [[route]], or the [[listener]] of tcp, udp or passthrough"
        }
        "bypass" | "bypasses" => "nothing is kept from being forwarded here: `access` asks who comes",
        "resolver" | "resolvers" | "hosts" | "dns" | "prefer" => {
            "names are looked up as this machine does: /etc/hosts holds"
        }
        "limiter" | "climiter" | "rlimiter" | "limiters" | "climiters" | "rlimiters" => LIMITS,
        _ if key.starts_with("limiter.") => LIMITS,
        "recorders" => RECORDS,
        "sniffing" | "sniffing.timeout" => {
            "write a [[listener]] of http, or of passthrough with `sni`, and routes"
        }
        "interface" | "so_mark" | "sockopts" | "netns" | "netns.out" => {
            "connections leave as this machine's routes say: a rule of `ip rule`, or a unit with NetworkNamespacePath="
        }
        "preup" | "predown" | "postup" | "postdown" => {
            "ExecStartPre= and ExecStopPost= of the systemd unit run commands"
        }
        "reload" => "it was read once: import again when it has changed",
        "admin" | "api" => "there is no API on a port: the control socket and `mainstay reload` do that",
        "metrics" => "write metrics = \"127.0.0.1:9105\" into [node]",
        "profiling" => "there is no profiler on a port: `perf` looks at a running program",
        "routers" | "rewriters" | "quotas" => "there is no counterpart",
        "file" | "redis" | "http" => "what stands there is not read: write it out",
        "plugin" => "plugins of this kind are not asked: write the entries out",
        "chaingroup" => "write one chain: hubs of one agent are all dialled, each at once",
        "chain" => "nodes are reached directly",
        "filter" | "matcher" | "host" | "path" | "protocol" | "tls" | "auth" => {
            "write a [[route]] of an http listener with `host`, `path` and a pool for it"
        }
        "put" | "file.put" => "files are served, never taken: a backend has to take them",
        "header" | "ws.header" => "no headers of one's own are sent with the upgrade",
        _ => return None,
    };
    Some(advice)
}
