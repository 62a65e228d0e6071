//! Another Plan comes into force: by a reload, by an operator's word about a pool, by a secret that was read again.

use std::sync::Arc;

use mainstay_config::plan::Plan;
use mainstay_sys::clock::boot_now;
use mainstay_sys::process::at_leisure;

use super::logs::Logs;
use super::secrets::Look;
use super::{Supervisor, plans};
use crate::ipc::{ApiReply, PoolAction, ToAgent, ToApi, ToEdge, ToExec, ToProbe, ToRegistry, ToVip};
use crate::role::Role;

/// A promise that lasts and one that ends are not told apart by who has made one: nobody goes from one kind to the other
/// while it may have.
fn same_votes(old: &Plan, new: &Plan) -> Result<(), String> {
    let (Some(before), Some(after)) = (&old.cluster, &new.cluster) else { return Ok(()) };
    if before.strict == after.strict {
        return Ok(());
    }
    let word = if after.strict { "begins" } else { "ends" };
    Err(format!(
        "guard \"strict\" {word} with a start of the node: stop both nodes, and start them with the new file"
    ))
}

impl Supervisor {
    /// Reads the configuration again; on a report nothing has changed.
    pub(super) fn reload(&mut self) -> Result<String, String> {
        super::tell_systemd(&[sd_notify::NotifyState::Reloading]);
        let result = self.try_reload();
        super::tell_systemd(&[sd_notify::NotifyState::Ready]);
        match &result {
            Ok(message) => {
                self.reloads += 1;
                self.tell_config("reload", message.clone());
            }
            Err(report) => {
                self.reload_failures += 1;
                let message = format!("reload refused, the old configuration stays: {report}");
                self.tell_config("reload", message);
            }
        }
        result
    }

    fn tell_config(&mut self, about: &str, message: String) {
        self.news.push_back(crate::events::event(&self.plan.node, "config", about, message));
    }

    fn try_reload(&mut self) -> Result<String, String> {
        if self.stop.is_some() {
            return Err("this node is stopping".into());
        }
        // Large files take longer than a real-time loop may.
        let loaded = at_leisure(|| crate::cli::load(&self.options.config)).map_err(|e| format!("{e:#}"))?;
        same_votes(&self.written, &loaded.plan)?;
        let logs = Logs::open(&loaded.plan.edge).map_err(|e| format!("{e:#}"))?;
        self.same_node(&loaded.plan)?;
        let changes = mainstay_config::diff(&self.written, &loaded.plan);
        let mut orders = self.orders.clone();
        orders.prune(&self.written, &loaded.plan);
        self.put(orders.on(&loaded.plan))?;
        (self.orders, self.written) = (orders, Arc::new(loaded.plan));
        self.edges.logs = logs;
        self.send_logs();
        self.send_orders();
        self.edges.secrets.follow(&self.plan.edge, boot_now());
        mainstay_sys::process::trim_memory();
        Ok(changes.to_string())
    }

    /// A node that its peers know stays who it is, and its file within one change of the voter list in force.
    fn same_node(&self, plan: &Plan) -> Result<(), String> {
        let Some(new) = &plan.cluster else { return Ok(()) };
        let Some(old) = &self.written.cluster else {
            return super::identity::fit(&self.options.dirs.state, new).map_err(|error| format!("{error:#}"));
        };
        if plan.node != self.written.node {
            return Err(format!(
                "[node] id is \"{}\" in the file and this node runs as \"{}\": its peers know it by its id, so a reload can't \
                 change that; write the old id again, or stop this node and start the new one with an empty state directory",
                plan.node, self.written.node
            ));
        }
        if new.name != old.name {
            return Err(format!(
                "[cluster] name is \"{}\" in the file and \"{}\" in force: a reload can't change that; stop the node, give it an \
                 empty state directory and start it in the other cluster",
                new.name, old.name
            ));
        }
        let list = self.identity.as_ref().and_then(|identity| identity.list.as_ref());
        if let Some(count) = list.and_then(|list| super::identity::differs(list, &new.list)) {
            return Err(format!(
                "[cluster] peers and the voter list in force (`mainstay cluster list`) would differ by {count} voters, and only one \
                 may: write one more or less, `mainstay reload` on every node, `mainstay cluster add` or `remove`, then the next"
            ));
        }
        Ok(())
    }

    /// Puts a Plan in force, or changes nothing.
    fn put(&mut self, plan: Plan) -> Result<(), String> {
        let fresh = self.edges.listeners.prepare(&plan.edge).map_err(|e| format!("{e:#}"))?;
        self.edges.slots.assign(&plan.edge).map_err(|e| format!("{e:#}"))?;
        let api_again = self.sockets.rebind(&plan).map_err(|e| format!("{e:#}"))?;
        self.edges.listeners.commit(&plan.edge, fresh, boot_now());
        let renew = self.plan.edge.threads != plan.edge.threads;
        let old = std::mem::replace(&mut self.plan, Arc::new(plan));
        self.exec_plan = Arc::new(with_old_commands(&self.plan, &old));
        let kept = |name: &String| self.plan.probes.iter().any(|p| &p.name == name);
        self.probes.retain(|name, _| kept(name));
        self.heard.retain(|name, _| kept(name));
        if renew {
            self.renew_edges();
        }
        self.fill_slots();
        // Before the others are told: a role that has work from now on is started with this Plan.
        self.send_plans(&old, api_again);
        self.tell_own();
        self.start_wanted(boot_now());
        self.settle_sockets();
        Ok(())
    }

    /// exec first, so that it knows the commands; vip last, when its probes are known. Who is not concerned is left alone.
    fn send_plans(&mut self, old: &Plan, api_again: bool) {
        for slot in 0..self.workers.len() {
            let role = self.workers[slot].role;
            if self.workers[slot].running.is_none() || !self.workers[slot].is_current() {
                self.workers[slot].again_at = None;
                continue;
            }
            let whole = Arc::clone(if role == Role::Exec { &self.exec_plan } else { &self.plan });
            let plan = plans::part(&whole, role);
            let same = plan == plans::part(old, role);
            let again = role == Role::Exec || (role == Role::Api && api_again);
            let probed = role == Role::Edge && (whole.edge != old.edge || whole.probes != old.probes);
            if same && !again && !probed {
                continue;
            }
            if let Some(running) = self.workers[slot].running.as_mut() {
                running.sent.push_back(Arc::clone(&whole));
            }
            if role == Role::Vip {
                self.introduce(slot, &whole);
            }
            let plan = Box::new(plan);
            match role {
                Role::Edge => {
                    if let Err(error) = self.send_edge_plan(slot) {
                        tracing::error!("the edge worker cannot be given its Plan: {error:#}");
                    }
                }
                Role::Exec => self.workers[slot].send(&ToExec::Plan(plan)),
                Role::Probe => self.workers[slot].send(&ToProbe::Plan(plan)),
                Role::Registry => self.workers[slot].send(&ToRegistry::Plan(plan)),
                Role::Agent => self.workers[slot].send(&ToAgent::Plan(plan)),
                Role::Api if api_again => self.lend_sockets(slot, plan),
                Role::Api => self.workers[slot].send(&ToApi::Plan(plan)),
                Role::Vip => self.workers[slot].send(&ToVip::Plan(plan)),
            }
        }
    }

    /// An operator's word about a pool.
    pub(super) fn pool_action(&mut self, name: &str, action: &PoolAction) -> ApiReply {
        let mut orders = self.orders.clone();
        let done = orders.take(&self.written, name, action);
        let done = done.and_then(|done| {
            if matches!(action, PoolAction::Add { .. } | PoolAction::Remove { .. }) {
                self.put(orders.on(&self.written))?;
            }
            Ok(done)
        });
        match done {
            Ok(message) => {
                self.orders = orders;
                self.send_orders();
                self.news.push_back(crate::events::event(&self.plan.node, "pool", name, message.clone()));
                ApiReply::Done { message }
            }
            Err(message) => ApiReply::Refused { message },
        }
    }

    fn send_orders(&mut self) {
        let words = self.orders.words();
        self.tell(Role::Edge, &ToEdge::Orders(words));
    }

    /// Opens access logs anew, as after they were moved away.
    pub(super) fn reopen_logs(&mut self) {
        let (logs, wrong) = Logs::open_what_can_be(&self.plan.edge);
        for message in wrong {
            self.tell_config("log", message);
        }
        self.edges.logs = logs;
        self.send_logs();
    }

    fn send_logs(&mut self) {
        for slot in 0..self.workers.len() {
            if self.workers[slot].role == Role::Edge {
                self.send_logs_to(slot);
            }
        }
    }

    /// Secrets that have changed on disk are read again, if it is time to look.
    pub(super) fn look_at_secrets(&mut self) {
        if self.stop.is_some() {
            return;
        }
        let Look::Changed(files) = self.edges.secrets.look(boot_now()) else { return };
        let mut written = Plan::clone(&self.written);
        let read = at_leisure(|| {
            let changed = written.edge.reread()?;
            if changed { crate::proof::usable(&written.edge).map(|()| true) } else { Ok(false) }
        });
        let changed = match read {
            Ok(changed) => changed,
            Err(why) => {
                if let Some(why) = self.edges.secrets.failed(&why) {
                    self.tell_config("secrets", format!("what was read before goes on being used: {why}"));
                }
                return;
            }
        };
        self.edges.secrets.well();
        if !changed {
            return;
        }
        let files: Vec<String> = files.iter().map(|f| f.display().to_string()).collect();
        match self.put(self.orders.on(&written)) {
            Ok(()) => {
                self.written = Arc::new(written);
                self.tell_config("secrets", format!("read again: {}", files.join(", ")));
            }
            Err(why) => self.tell_config("secrets", format!("{}: {why}", files.join(", "))),
        }
    }
}

/// The new Plan's commands, then those of the old that a worker may still ask for.
fn with_old_commands(new: &Plan, old: &Plan) -> Plan {
    let mut plan = new.clone();
    let gone: Vec<_> = old.commands.iter().filter(|c| !new.commands.contains(c)).cloned().collect();
    plan.commands.extend(gone);
    plan
}
