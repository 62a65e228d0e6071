//! How it stands with gost's plugins: rows beside the other hubs, events, the log.

use std::rc::Rc;

use mainstay_core::gost::book::{News, Plugin, PluginView};
use mainstay_proxy::clock::boot_now;
use mainstay_proxy::road::HubSession;

use super::Book;
use crate::edge::hub::Desk;

/// What people call a plugin.
const fn named(plugin: Plugin) -> &'static str {
    match plugin {
        Plugin::Sd => "sd plugin",
        Plugin::Ingress => "ingress plugin",
    }
}

impl Book {
    /// A row for each plugin; sd's has those of the file's tunnels that other nodes are known for.
    pub(in crate::edge::hub) fn status(&self, desk: &Desk, place: (u16, u16)) -> Vec<HubSession> {
        let open = self.open.borrow();
        let Some(open) = open.as_ref() else { return Vec::new() };
        let view = open.machine.view();
        let row = |plugin, seen: Option<PluginView>, at: &Option<mainstay_config::plan::gost::Plugin>| {
            let (seen, at) = (seen?, at.as_ref()?);
            let silent = seen.silent.map(|since| boot_now().since(since).as_secs());
            let why = seen.trouble.unwrap_or_default();
            Some(HubSession {
                hub: named(plugin).to_owned(),
                address: at.to_string(),
                place,
                streams: seen.under_way as u64,
                opened: seen.calls,
                failed: Some(seen.failed),
                trouble: silent.map(|seconds| format!("silent for {seconds} s: {why}")),
                ..HubSession::default()
            })
        };
        let mut rows =
            [row(Plugin::Sd, view.sd, &open.gost.sd), row(Plugin::Ingress, view.ingress, &open.gost.ingress)];
        if let Some(sd) = &mut rows[0] {
            let written = desk.tunnels.borrow();
            sd.tunnels = open.machine.tunnels().into_iter().filter(|id| written.contains_key(id)).collect();
        }
        rows.into_iter().flatten().collect()
    }

    /// Tells people.
    pub(super) fn tell(&self, desk: &Rc<Desk>, news: &News) {
        let name = named(news.plugin());
        match news {
            News::Silent(_, why) => {
                desk.news.plugin_silent(name, why);
                tracing::debug!(plugin = name, why, "a plugin of gost's does not answer");
            }
            News::Returned(_, after) => {
                desk.news.plugin_back(name, *after);
                tracing::debug!(plugin = name, ?after, "a plugin of gost's answers again");
            }
            News::Forgot(_) => {
                tracing::info!(plugin = name, "it has forgotten clients of ours: they are told to it again");
            }
        }
    }

    /// Nobody speaks for this thread any more.
    pub(super) fn hush(&self, desk: &Desk) {
        let silent = self.peek(|machine| {
            [Plugin::Sd, Plugin::Ingress]
                .map(|plugin| machine.silent_since(plugin).map(|since| (plugin, since)))
        });
        for (plugin, since) in silent.into_iter().flatten().flatten() {
            desk.news.plugin_back(named(plugin), boot_now().since(since));
        }
    }
}
