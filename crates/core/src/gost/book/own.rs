//! What we tell the plugins: clients that are bound here, and the hosts that lead to them.

use std::collections::BTreeMap;

use super::line::wait;
use super::machine::Lines;
use super::{Answer, Call, FAREWELLS, Job, News, Plugin, Service};
use crate::time::Boot;

/// Our clients, and our hosts.
#[derive(Clone, Debug, Default)]
pub(super) struct Own {
    services: BTreeMap<String, Told>,
    hosts: BTreeMap<String, Host>,
    /// When people were last told that a plugin has forgotten clients.
    forgot: Option<Boot>,
}

#[derive(Clone, Debug)]
struct Told {
    service: Service,
    /// sd has it, as far as we know.
    stands: bool,
    /// It was asked to take it, and may have.
    asked: bool,
    leaving: bool,
    failures: u32,
}

#[derive(Clone, Debug)]
struct Host {
    tunnel: String,
    /// It is made of the tunnel's id.
    made: bool,
    /// Clients that are reached under it.
    clients: usize,
    failures: u32,
}

impl Host {
    fn leads_to(&self, tunnel: &str) -> bool {
        self.tunnel.strip_prefix('$').unwrap_or(&self.tunnel) == tunnel
    }
}

impl Own {
    pub(super) fn bound(&mut self, mut service: Service, lines: &mut Lines, now: Boot) {
        if self.services.contains_key(&service.id) {
            return;
        }
        let tunnel = format!("{}{}", if service.private { "$" } else { "" }, service.tunnel);
        let own = service.hosts.first().cloned();
        service.hosts.retain(|host| {
            let known = self.hosts.get(host).filter(|known| known.made);
            Some(host) == own.as_ref() || known.is_none_or(|known| known.leads_to(&service.tunnel))
        });
        for (at, host) in service.hosts.iter().enumerate() {
            let fresh = || Host { tunnel: tunnel.clone(), made: false, clients: 0, failures: 0 };
            let known = self.hosts.entry(host.clone()).or_insert_with(fresh);
            known.clients += 1;
            known.made |= at == 0;
            known.tunnel.clone_from(&tunnel);
            // A client that comes is the moment at which gost itself says so.
            lines.ingress.schedule(Job::Lead(host.clone()), now);
        }
        lines.sd.schedule(Job::Service(service.id.clone()), now);
        let told = Told { service, stands: false, asked: false, leaving: false, failures: 0 };
        self.services.insert(told.service.id.clone(), told);
    }

    pub(super) fn unbound(&mut self, id: &str, lines: &mut Lines, now: Boot) {
        let Some(told) = self.services.get_mut(id).filter(|told| !told.leaving) else { return };
        told.leaving = true;
        told.failures = 0;
        for host in &told.service.hosts {
            let Some(known) = self.hosts.get_mut(host) else { continue };
            known.clients -= 1;
            // The rule is not taken back: there is no call for that, and others may serve the tunnel.
            if known.clients == 0 {
                self.hosts.remove(host);
                lines.ingress.drop(&Job::Lead(host.clone()));
            }
        }
        let job = Job::Service(id.to_owned());
        if told.asked && lines.sd.there {
            lines.sd.drop(&job);
            lines.sd.schedule(job, now);
        } else {
            lines.sd.drop(&job);
            self.services.remove(id);
        }
    }

    /// Everything is to be told anew: to another plugin.
    pub(super) fn tell_again(&mut self, plugin: Plugin, lines: &mut Lines, now: Boot) {
        match plugin {
            Plugin::Sd => {
                self.services.retain(|_, told| !told.leaving);
                for (id, told) in &mut self.services {
                    (told.stands, told.asked) = (false, false);
                    lines.sd.schedule(Job::Service(id.clone()), now);
                }
            }
            Plugin::Ingress => {
                for host in self.hosts.keys() {
                    lines.ingress.schedule(Job::Lead(host.clone()), now);
                }
            }
        }
    }

    /// The call that a job is, if it still is one.
    pub(super) fn service_call(&mut self, id: &str) -> Option<Call> {
        let told = self.services.get_mut(id)?;
        let Service { id, tunnel, datagrams, .. } = told.service.clone();
        if told.leaving {
            return Some(Call::Deregister { id, tunnel, datagrams });
        }
        told.asked = true;
        Some(if told.stands {
            Call::Renew { id, tunnel, datagrams }
        } else {
            Call::Register { id, tunnel, datagrams }
        })
    }

    pub(super) fn lead_call(&self, host: &str) -> Option<Call> {
        let known = self.hosts.get(host)?;
        Some(Call::Lead { host: host.to_owned(), tunnel: known.tunnel.clone() })
    }

    /// sd has answered something about a client of ours; `next` is when to say it again.
    pub(super) fn service_answered(
        &mut self,
        call: &Call,
        answer: &Answer,
        (lines, now, next): (&mut Lines, Boot, Boot),
    ) -> Option<News> {
        let (Call::Register { id, .. } | Call::Renew { id, .. } | Call::Deregister { id, .. }) = call else {
            return None;
        };
        let taken = *answer == Answer::Done(true);
        let job = Job::Service(id.clone());
        if matches!(call, Call::Deregister { .. }) {
            self.services.remove(id);
            return None;
        }
        let told = self.services.get_mut(id)?;
        if told.leaving {
            lines.sd.schedule(job, now);
            return None;
        }
        let lost = told.stands && !taken;
        told.stands = taken;
        if taken {
            told.failures = 0;
            lines.sd.schedule(job, next);
            return None;
        }
        if !lost {
            told.failures = told.failures.saturating_add(1);
            lines.sd.schedule(job, (now + wait(told.failures)).min(next));
            return None;
        }
        // Who has forgotten a client may have forgotten its hosts as well.
        lines.sd.schedule(job, now);
        for host in &told.service.hosts {
            lines.ingress.schedule(Job::Lead(host.clone()), now);
        }
        let told_lately = self.forgot.is_some_and(|at| now < at + super::FORGOT_GAP);
        (!told_lately).then(|| {
            self.forgot = Some(now);
            News::Forgot(Plugin::Sd)
        })
    }

    pub(super) fn service_failed(&mut self, id: &str, lines: &mut Lines, now: Boot) {
        let Some(told) = self.services.get_mut(id) else { return };
        told.failures = told.failures.saturating_add(1);
        if told.leaving && told.failures > FAREWELLS {
            self.services.remove(id);
            return;
        }
        let at = now + wait(told.failures);
        lines.sd.schedule(Job::Service(id.to_owned()), at);
    }

    pub(super) fn lead_answered(&mut self, host: &str, taken: bool, lines: &mut Lines, next: Boot) {
        let Some(known) = self.hosts.get_mut(host) else { return };
        known.failures = if taken { 0 } else { known.failures.saturating_add(1) };
        // A host that is another's stays so for a while.
        lines.ingress.schedule(Job::Lead(host.to_owned()), next);
    }

    pub(super) fn lead_failed(&mut self, host: &str, lines: &mut Lines, now: Boot) {
        let Some(known) = self.hosts.get_mut(host) else { return };
        known.failures = known.failures.saturating_add(1);
        lines.ingress.schedule(Job::Lead(host.to_owned()), now + wait(known.failures));
    }

    /// Whether a client of the tunnel is bound here.
    pub(super) fn serves(&self, tunnel: &str) -> bool {
        self.services.values().any(|told| !told.leaving && told.service.tunnel == tunnel)
    }

    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let here = self.services.values().filter(|told| !told.leaving);
        (here.clone().count(), here.filter(|told| told.stands).count(), self.hosts.len())
    }
}
