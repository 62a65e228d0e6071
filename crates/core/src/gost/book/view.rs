//! What is shown of the plugins.

use super::{Book, Plugin};
use crate::time::Boot;

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// sd, when there is one.
    pub sd: Option<PluginView>,
    /// ingress, when there is one.
    pub ingress: Option<PluginView>,
    /// Clients that are bound here.
    pub clients: usize,
    /// Of those, how many sd has.
    pub registered: usize,
    /// Hosts of ours.
    pub hosts: usize,
    /// Hosts of which it is known what is behind them.
    pub rules: usize,
    /// Tunnels of which other nodes are known.
    pub tunnels: usize,
}

/// How it stands with one plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginView {
    /// Since when it does not answer.
    pub silent: Option<Boot>,
    /// Why the last call that failed did.
    pub trouble: Option<String>,
    /// Calls so far.
    pub calls: u64,
    /// Calls that came to nothing.
    pub failed: u64,
    /// Calls under way.
    pub under_way: usize,
}

impl Book {
    /// How things stand.
    #[must_use]
    pub fn view(&self) -> View {
        let (clients, registered, hosts) = self.own.counts();
        View {
            sd: self.plugin_view(Plugin::Sd),
            ingress: self.plugin_view(Plugin::Ingress),
            clients,
            registered,
            hosts,
            rules: self.rules.len(),
            tunnels: self.nodes.len(),
        }
    }

    fn plugin_view(&self, plugin: Plugin) -> Option<PluginView> {
        let line = self.lines.of(plugin);
        line.there.then(|| PluginView {
            silent: line.silent,
            trouble: line.trouble.clone(),
            calls: line.calls,
            failed: line.failed,
            under_way: line.under_way(),
        })
    }
}
