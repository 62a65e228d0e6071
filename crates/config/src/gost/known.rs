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
const RECORDS: &str = "`log` of a listener or route writes an access log";
const LIMITS: &str =
    "write `streams`, `rate` or `bandwidth` into [[tunnel]], or `rates` and `concurrency` into a route";

/// What leaving the key, in lower case, with this text means.
pub(super) fn verdict(key: &str, text: Option<&str>) -> Verdict {
    use Verdict::{Lost, Nothing, Otherwise, Unknown};
    let off = text.is_some_and(|text| ["", "0", "0s", "false"].contains(&text));
    match key {
        // Where a version is written it is mostly the usual one.
        "mux.version" if text == Some("2") => Nothing,
        "mux.version" => Lost("smux version 2 is spoken here: set mux.version to 2 on the other side"),
        "mux.type" if text == Some("smux") => Nothing,
        "mux.type" => Lost("smux is spoken here: take mux.type out on the other side"),
        _ if key.starts_with("mux.") => Otherwise(SESSIONS),
        "nodelay" | "tcp.nodelay" => Nothing,
        "keepalive" | "ttl" | "ws.keepalive" | "keepalive.interval" | "keepaliveinterval" => {
            Otherwise(SESSIONS)
        }
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
        | "entrypoint.compression" => Otherwise(SOCKETS),
        "enablecompression" | "ws.enablecompression" => Otherwise("WebSocket messages are not compressed"),
        "status" => Nothing,
        "maxfails" | "failtimeout" | "max_fails" | "fail_timeout" => {
            Otherwise("targets and backends are looked at by probes, and out while they do not answer")
        }
        "retries" => Otherwise("whoever has not answered yet is followed by the next by itself"),
        _ if off => Nothing,
        "entrypoint.proxyprotocol" => Lost(
            "write proxy_from = [\"10.0.0.0/8\"] into the entrypoint's [[listener]]: the networks that send the header",
        ),
        "proxyprotocol" => {
            Lost("write proxy_from into the [[listener]], or proxy_header = 2 into [[agent.offer]]")
        }
        "admission" | "admissions" => {
            Lost("write access = [\"allow 10.0.0.0/8\", \"deny all\"] into the [[listener]] or [[route]]")
        }
        "bypass" | "bypasses" => Lost("nothing is kept from being forwarded here: `access` asks who comes"),
        "resolver" | "hosts" | "dns" | "prefer" => {
            Lost("names are looked up as this machine does: /etc/hosts holds")
        }
        "limiter" | "climiter" | "rlimiter" | "limiters" | "climiters" | "rlimiters" => Lost(LIMITS),
        _ if key.starts_with("limiter.") => Lost(LIMITS),
        "observer" | "observers" | "enablestats" | "observeperiod" => {
            Otherwise("`[node] metrics` and `mainstay top` tell of connections and bytes")
        }
        _ if key.starts_with("observer.") => Otherwise("`[node] metrics` tells of connections and bytes"),
        "recorders" => Lost(RECORDS),
        "logger" | "loggers" | "log" => Otherwise("MAINSTAY_LOG says how much is told, on standard error"),
        _ if key.starts_with("sniffing.websocket") => Otherwise(RECORDS),
        "sniffing" | "sniffing.timeout" => {
            Lost("write a [[listener]] of http, or of passthrough with `sni`, and routes")
        }
        "interface" | "so_mark" | "sockopts" | "netns" | "netns.out" => Lost(
            "connections leave as this machine's routes say: a rule of `ip rule`, or a unit with NetworkNamespacePath=",
        ),
        "preup" | "predown" | "postup" | "postdown" => {
            Lost("ExecStartPre= and ExecStopPost= of the systemd unit run commands")
        }
        "ignorechain" => Nothing,
        "reload" => Lost("it was read once: import again when it has changed"),
        "admin" | "api" => {
            Lost("there is no API on a port: the control socket and `mainstay reload` do that")
        }
        "metrics" => Lost("write metrics = \"127.0.0.1:9105\" into [node]"),
        "profiling" => Lost("there is no profiler on a port: `perf` looks at a running program"),
        "bypasses.plugin" | "routers" | "rewriters" | "quotas" => Lost("there is no counterpart"),
        "file" | "redis" | "http" => Lost("what stands there is not read: write it out"),
        "plugin" => Lost("plugins of this kind are not asked: write the entries out"),
        "chaingroup" => Lost("write one chain: hubs of one agent are all dialled, each at once"),
        "chain" => Lost("nodes are reached directly"),
        "filter" | "matcher" | "host" | "path" | "protocol" | "tls" | "auth" => {
            Lost("write a [[route]] of an http listener with `host`, `path` and a pool for it")
        }
        "whitelist" | "reverse" => Nothing,
        "put" | "file.put" => Lost("files are served, never taken: a backend has to take them"),
        "header" | "ws.header" => Lost("no headers of one's own are sent with the upgrade"),
        "options" | "minversion" | "maxversion" | "ciphersuites" | "alpn" => {
            Otherwise("TLS 1.3 and 1.2 with the suites of rustls are spoken")
        }
        "validity" | "commonname" | "organization" => Otherwise("no certificate is made up"),
        _ => Unknown,
    }
}
