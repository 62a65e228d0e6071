//! How requests are passed to a pool.

use mainstay_core::name::PoolId;

use super::{WAIT_OR_NONE, flag, span_of};
use crate::plan::edge::Piece;
use crate::plan::edge::{
    Edge, Forward, HeaderChange, HeaderOp, PathMatch, Retry, RetryOn, Target, Template, TextPattern,
    TextRewrite, Uri, Var,
};
use crate::raw;
use crate::resolve::{Resolver, SECOND};
use crate::source::At;
use crate::values::RetryWord;

type Headers = At<Vec<At<raw::HeaderOp>>>;
type Rewrites = At<Vec<At<raw::TextRewrite>>>;

impl Resolver<'_> {
    pub(super) fn forward(
        &mut self,
        raw: Option<&At<raw::Forward>>,
        pool: PoolId,
        path: &PathMatch,
        edge: &Edge,
        who: &str,
    ) -> Forward {
        let raw = raw.map(|at| at.value.clone()).unwrap_or_default();
        let raw = &raw;
        let host = raw.host.as_ref().map(|host| self.template(host, who));
        let upgrade = flag(&raw.upgrade, true);
        let http2 = edge
            .pools
            .get(pool.index())
            .is_some_and(|pool| matches!(pool.http, crate::plan::edge::BackendHttp::Http2));
        if let (Some(At { value: true, span }), true) = (&raw.upgrade, http2) {
            let message = format!("{who}: an upgrade (WebSocket) can't pass to a pool with http2 = true");
            self.error(*span, message, "write a pool without http2 for it, or take `upgrade` out");
        }
        self.goes_where(raw, pool, edge, who);
        Forward {
            pool,
            uri: self.uri(raw, path, who),
            to: raw.to.as_ref().map(|to| self.template(to, who)),
            method: raw.method.as_ref().map(|method| self.template(method, who)),
            host: host.unwrap_or_else(|| Template(vec![Piece::Var(Var::Header("host".to_owned()))])),
            forwarded: flag(&raw.forwarded, true),
            headers: self.header_ops(raw.headers.as_ref(), false, &format!("{who}: headers")),
            pass_headers: flag(&raw.pass_headers, true),
            pass_body: flag(&raw.pass_body, true),
            buffer_request: flag(&raw.buffer_request, false),
            upgrade: upgrade && !http2,
            connect_timeout: self.wait(&raw.connect_timeout, SECOND * 5, who, "connect_timeout"),
            send_timeout: self.wait(&raw.send_timeout, SECOND * 60, who, "send_timeout"),
            read_timeout: self.wait(&raw.read_timeout, SECOND * 60, who, "read_timeout"),
            retry: self.retry(raw.retry.as_ref(), &format!("{who}: retry")),
            hide: self.hidden(raw, who),
            redirects: self.rewrites(raw.redirects.as_ref(), &format!("{who}: redirects")),
            cookie_domains: self.rewrites(raw.cookie_domains.as_ref(), &format!("{who}: cookie_domains")),
            cookie_paths: self.rewrites(raw.cookie_paths.as_ref(), &format!("{who}: cookie_paths")),
            intercept_errors: flag(&raw.intercept_errors, false),
            accel: flag(&raw.accel, false),
        }
    }

    /// `to` and the backend `*` belong together.
    fn goes_where(&mut self, raw: &raw::Forward, pool: PoolId, edge: &Edge, who: &str) {
        let Some(pool) = edge.pools.get(pool.index()) else { return };
        let asks = pool.backends.iter().any(|backend| backend.target == Target::Asked);
        match &raw.to {
            Some(to) if !asks => {
                let message =
                    format!("{who}: `to` says where requests go, and pool \"{}\" as well", pool.name);
                self.error(to.span, message, "write a pool with backends = [\"*\"] for it");
            }
            None if asks => {
                let message =
                    format!("{who}: pool \"{}\" has the backend \"*\", which `to` names", pool.name);
                self.error(raw.head.span, message, "write such as to = \"{backend}\" into `forward`");
            }
            Some(_) | None => {}
        }
    }

    fn uri(&mut self, raw: &raw::Forward, path: &PathMatch, who: &str) -> Uri {
        self.not_both(("prefix", span_of(&raw.prefix)), ("uri", span_of(&raw.uri)), who);
        if let Some(uri) = &raw.uri {
            return Uri::Text(self.rooted(uri, "`uri`", who));
        }
        let Some(at) = &raw.prefix else { return Uri::Same };
        match path {
            PathMatch::Prefix { .. } | PathMatch::Exact(_) => {}
            PathMatch::Regex { .. } | PathMatch::Never => {
                let message = format!("{who}: `prefix` replaces a matched `path`, and this route has none");
                self.error(at.span, message, "write uri = \"/new{uri}\", or a step with `rewrite`");
            }
        }
        if !at.value.starts_with('/') {
            let message = format!("{who}: prefix \"{}\" does not begin with /", at.value.escape_debug());
            self.error(at.span, message, "write such as prefix = \"/\"");
        }
        if let PathMatch::Prefix { path, .. } = path
            && path.ends_with('/') != at.value.ends_with('/')
        {
            let message = format!("{who}: path \"{path}\" and prefix \"{}\" end differently", at.value);
            let help = "the rest of the path follows at once: let both end with / or neither";
            self.findings.warn(at.span, message, help);
        }
        Uri::Prefix(at.value.clone())
    }

    pub(super) fn header_ops(&mut self, list: Option<&Headers>, response: bool, who: &str) -> Vec<HeaderOp> {
        let mut ops = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let keys =
                [("set", span_of(&raw.set)), ("add", span_of(&raw.add)), ("remove", span_of(&raw.remove))];
            let Some(kind) = self.exactly_one(&keys, &raw.head, who) else { continue };
            let Some(name) = raw.set.as_ref().or(raw.add.as_ref()).or(raw.remove.as_ref()) else { continue };
            if !response {
                self.foreign(span_of(&raw.always), "always", "`response_headers`", who);
                if name.value.eq_ignore_ascii_case("host") {
                    let message = format!("{who}: the Host header has a key of its own");
                    self.error(name.span, message, "write forward = { host = \"...\" }");
                }
            }
            let op = if kind == "remove" {
                self.foreign(span_of(&raw.value), "value", "`set` and `add`", who);
                HeaderChange::Remove
            } else {
                let Some(value) = self.required(&raw.value, &raw.head, who, "value") else { continue };
                self.one_line(&value, who);
                let value = self.template(&value, who);
                if kind == "set" { HeaderChange::Set(value) } else { HeaderChange::Add(value) }
            };
            ops.push(HeaderOp { name: self.changeable(name, who), op, always: flag(&raw.always, false) });
        }
        ops
    }

    fn retry(&mut self, raw: Option<&At<raw::Retry>>, who: &str) -> Retry {
        let raw = raw.map(|at| at.value.clone()).unwrap_or_default();
        let mut on = Vec::new();
        for word in raw.on.iter().flat_map(|on| &on.value) {
            let word = match word.value {
                RetryWord::Error => RetryOn::Error,
                RetryWord::Timeout => RetryOn::Timeout,
                RetryWord::InvalidHeader => RetryOn::InvalidHeader,
                RetryWord::Status(status) => RetryOn::Status(status),
            };
            if !on.contains(&word) {
                on.push(word);
            }
        }
        if raw.on.is_none() {
            on = vec![RetryOn::Error, RetryOn::Timeout];
        }
        Retry {
            on,
            tries: self.count(&raw.tries, 3, 0..=100, who, "tries"),
            within: self.time(&raw.within, std::time::Duration::ZERO, WAIT_OR_NONE, who, "within"),
            non_idempotent: flag(&raw.non_idempotent, false),
        }
    }

    fn hidden(&mut self, raw: &raw::Forward, who: &str) -> Vec<String> {
        let list = raw.hide.iter().flat_map(|list| &list.value);
        let who = format!("{who}: hide");
        list.map(|name| self.field_name(name, &who).to_ascii_lowercase()).collect()
    }

    fn rewrites(&mut self, list: Option<&Rewrites>, who: &str) -> Vec<TextRewrite> {
        let mut rewrites = Vec::new();
        for At { value: raw, .. } in list.into_iter().flat_map(|list| &list.value) {
            let keys = [("from", span_of(&raw.from)), ("regex", span_of(&raw.regex))];
            self.exactly_one(&keys, &raw.head, who);
            let from = match (&raw.from, &raw.regex) {
                (_, Some(regex)) => {
                    let ignore_case = flag(&raw.ignore_case, false);
                    TextPattern::Regex { pattern: self.pattern(regex, ignore_case, who), ignore_case }
                }
                (from, None) => {
                    self.foreign(span_of(&raw.ignore_case), "ignore_case", "`regex`", who);
                    TextPattern::Prefix(
                        from.as_ref().map(|from| self.template(from, who)).unwrap_or_default(),
                    )
                }
            };
            let Some(to) = self.required(&raw.to, &raw.head, who, "to") else { continue };
            rewrites.push(TextRewrite { from, to: self.template(&to, who) });
        }
        rewrites
    }
}
