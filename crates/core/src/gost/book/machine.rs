//! The machine: clients that come and go, questions, and what the plugins answer go in; calls come out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::line::Line;
use super::nodes::Nodes;
use super::own::Own;
use super::rules::Rules;
use super::{Answer, Asked, Call, Effect, Job, Look, News, Node, Plugin, Rule, Service, Settings, TEXT_MAX};
use crate::time::Boot;

/// How often what nobody needs is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// Other settings are in force. `anew` names plugins that are others than before.
    Settings {
        /// The settings.
        settings: Settings,
        /// What they have told is forgotten, and what we tell is told to them.
        anew: Vec<Plugin>,
    },
    /// A client is bound here.
    Bound(Service),
    /// It has gone.
    Unbound(String),
    /// The nodes of exactly these tunnels are to be known, whether anybody asks or not.
    Wanted(BTreeSet<String>),
    /// A node that was named for this tunnel has nobody.
    Doubt(String),
    /// A call was answered.
    Answered {
        /// The call's number.
        call: u64,
        /// What.
        answer: Answer,
    },
    /// A call has come to nothing, or nobody knows.
    Failed {
        /// The call's number.
        call: u64,
        /// Why, for people.
        why: String,
    },
}

/// The ways to both.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) sd: Line,
    pub(super) ingress: Line,
}

impl Lines {
    pub(super) const fn of(&self, plugin: Plugin) -> &Line {
        match plugin {
            Plugin::Sd => &self.sd,
            Plugin::Ingress => &self.ingress,
        }
    }

    const fn of_mut(&mut self, plugin: Plugin) -> &mut Line {
        match plugin {
            Plugin::Sd => &mut self.sd,
            Plugin::Ingress => &mut self.ingress,
        }
    }
}

/// A hub's dealings with its plugins.
#[derive(Clone, Debug)]
pub struct Book {
    pub(super) settings: Settings,
    pub(super) lines: Lines,
    pub(super) own: Own,
    pub(super) rules: Rules,
    pub(super) nodes: Nodes,
    calls: BTreeMap<u64, (Job, Call)>,
    number: u64,
    sweep: Boot,
    /// Spreads renewals.
    dice: u64,
    effects: VecDeque<Effect>,
}

impl Book {
    /// Nothing is known; `seed` is where renewals are spread from.
    #[must_use]
    pub fn new(settings: Settings, seed: u64, now: Boot) -> Self {
        let mut lines = Lines { sd: Line::new(Plugin::Sd, now), ingress: Line::new(Plugin::Ingress, now) };
        lines.sd.there = settings.sd;
        lines.ingress.there = settings.ingress;
        Self {
            settings,
            lines,
            own: Own::default(),
            rules: Rules::default(),
            nodes: Nodes::default(),
            calls: BTreeMap::new(),
            number: 0,
            sweep: now + SWEEP,
            dice: seed,
            effects: VecDeque::new(),
        }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Boot) {
        match input {
            Input::Tick => {}
            Input::Settings { settings, anew } => self.adopt(settings, &anew, now),
            Input::Bound(service) => self.own.bound(service, &mut self.lines, now),
            Input::Unbound(id) => self.own.unbound(&id, &mut self.lines, now),
            Input::Wanted(tunnels) => self.nodes.want(tunnels, &mut self.lines.sd, now),
            Input::Doubt(tunnel) => self.nodes.doubt(&tunnel, &mut self.lines.sd, now),
            Input::Answered { call, answer } => self.answered(call, answer, now),
            Input::Failed { call, why } => self.failed(call, &why, now),
        }
        self.go_on(now);
    }

    /// What is behind a host. To be followed by the effects.
    pub fn rule(&mut self, host: &str, now: Boot) -> Look<Rule> {
        let look = self.rules.look(host, &mut self.lines.ingress, now);
        self.go_on(now);
        look
    }

    /// The nodes at which a tunnel has clients, this one left out. To be followed by the effects.
    pub fn nodes(&mut self, tunnel: &str, now: Boot) -> Look<Vec<Node>> {
        let look = self.nodes.look(tunnel, &mut self.lines.sd, now);
        self.go_on(now);
        look
    }

    /// What is known to be behind a host; nobody is asked.
    #[must_use]
    pub fn known_rule(&self, host: &str) -> Option<&Rule> {
        self.rules.peek(host)
    }

    /// The nodes that are known for a tunnel; nobody is asked.
    #[must_use]
    pub fn known_nodes(&self, tunnel: &str) -> Vec<Node> {
        self.nodes.peek(tunnel)
    }

    /// The tunnels of which other nodes are known.
    #[must_use]
    pub fn tunnels(&self) -> Vec<String> {
        self.nodes.tunnels()
    }

    /// Every node's address that is known, some more than once.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        self.nodes.addresses()
    }

    /// When [`Input::Tick`] is to come.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Boot> {
        let sweep = (!self.rules.is_empty() || !self.nodes.is_empty()).then_some(self.sweep);
        [self.lines.sd.poll_timeout(), self.lines.ingress.poll_timeout(), sweep].into_iter().flatten().min()
    }

    /// What is to be done next.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    fn adopt(&mut self, settings: Settings, anew: &[Plugin], now: Boot) {
        // Another address or name is told under every entry.
        let moved = (&settings.node, &settings.address) != (&self.settings.node, &self.settings.address);
        for plugin in [Plugin::Sd, Plugin::Ingress] {
            let there = match plugin {
                Plugin::Sd => settings.sd,
                Plugin::Ingress => settings.ingress,
            };
            let line = self.lines.of_mut(plugin);
            let changed = line.there != there || anew.contains(&plugin);
            if changed {
                // Who waits for the one before waits no longer, and what it answers late is nobody's.
                for job in line.change(there, now) {
                    self.effects.extend(job.asked().map(Effect::Settled));
                }
                self.calls.retain(|_, (job, _)| job.plugin() != plugin);
                match plugin {
                    Plugin::Sd => self.effects.extend(self.nodes.clear().into_iter().map(Effect::Nodes)),
                    Plugin::Ingress => self.rules.clear(),
                }
            }
            if changed || (moved && plugin == Plugin::Sd) {
                self.own.tell_again(plugin, &mut self.lines, now);
            }
        }
        self.settings = settings;
        self.nodes.want_again(&mut self.lines.sd, now);
    }

    fn answered(&mut self, number: u64, answer: Answer, now: Boot) {
        let Some((job, call)) = self.calls.remove(&number) else { return };
        let returned = self.lines.of_mut(job.plugin()).answered(&job, now);
        if let Some(news) = returned {
            self.effects.push_back(Effect::Tell(news));
            match job.plugin() {
                Plugin::Sd => self.nodes.forgive(now),
                Plugin::Ingress => self.rules.forgive(now),
            }
        }
        let next = self.spread(now);
        match (&job, answer) {
            (Job::Service(_), answer) => {
                let news = self.own.service_answered(&call, &answer, (&mut self.lines, now, next));
                self.effects.extend(news.map(Effect::Tell));
            }
            (Job::Lead(host), answer) => {
                self.own.lead_answered(host, answer == Answer::Done(true), &mut self.lines, next);
            }
            (Job::Nodes(tunnel), answer) => {
                // What is no answer to the question says that there is nobody.
                let told = if let Answer::Nodes(nodes) = answer { nodes } else { Vec::new() };
                if self.nodes.answered(tunnel, told, &self.settings, now) {
                    self.effects.push_back(Effect::Nodes(tunnel.clone()));
                }
                self.nodes.again(tunnel, &mut self.lines.sd, now);
            }
            (Job::Rule(host), answer) => {
                let rule = if let Answer::Rule(rule) = answer { rule } else { None };
                let rule = rule.filter(|rule| !rule.tunnel.is_empty() && rule.tunnel.len() <= TEXT_MAX);
                let (own, nodes) = (&self.own, &self.nodes);
                let lives = |tunnel: &str| own.serves(tunnel) || nodes.has(tunnel);
                self.rules.answered(host, rule, (now, self.settings.renew), |rule| {
                    rule.made && lives(&rule.tunnel)
                });
            }
        }
        self.effects.extend(job.asked().map(Effect::Settled));
    }

    fn failed(&mut self, number: u64, why: &str, now: Boot) {
        let Some((job, _)) = self.calls.remove(&number) else { return };
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_MAX).collect();
        let news = self.lines.of_mut(job.plugin()).failed(&job, why, now);
        self.gave_up(&job, now);
        if let Some(news) = news {
            self.effects.push_back(Effect::Tell(news));
            // Nobody waits for a plugin that is silent.
            for job in self.lines.of_mut(job.plugin()).give_up() {
                self.gave_up(&job, now);
            }
        }
    }

    /// A job has come to nothing.
    fn gave_up(&mut self, job: &Job, now: Boot) {
        match job {
            Job::Service(id) => self.own.service_failed(id, &mut self.lines, now),
            Job::Lead(host) => self.own.lead_failed(host, &mut self.lines, now),
            Job::Nodes(tunnel) => {
                self.nodes.failed(tunnel, now);
                self.nodes.again(tunnel, &mut self.lines.sd, now);
            }
            Job::Rule(host) => self.rules.failed(host, now),
        }
        self.effects.extend(job.asked().map(Effect::Settled));
    }

    /// Begins what is due.
    fn go_on(&mut self, now: Boot) {
        if now >= self.sweep {
            self.sweep = now + SWEEP;
            self.rules.sweep(now);
            self.effects.extend(self.nodes.sweep(now).into_iter().map(Effect::Nodes));
        }
        for plugin in [Plugin::Sd, Plugin::Ingress] {
            while let Some(job) = self.lines.of_mut(plugin).next(now) {
                let what = match &job {
                    Job::Service(id) => self.own.service_call(id),
                    Job::Lead(host) => self.own.lead_call(host),
                    Job::Nodes(tunnel) => {
                        self.nodes.asks(tunnel, now);
                        Some(Call::Nodes { tunnel: tunnel.clone() })
                    }
                    Job::Rule(host) => Some(Call::Rule { host: host.clone() }),
                };
                let Some(what) = what else {
                    // It has gone meanwhile.
                    self.lines.of_mut(plugin).forget(&job);
                    continue;
                };
                self.number += 1;
                self.calls.insert(self.number, (job, what.clone()));
                self.effects.push_back(Effect::Call { call: self.number, what });
            }
        }
    }

    /// When something is to be told again: up to a tenth earlier than `renew`, so that what came together does not stay together.
    fn spread(&mut self, now: Boot) -> Boot {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let share = u32::try_from(self.dice >> 48).unwrap_or(0) % 103;
        now + (self.settings.renew - self.settings.renew / 1024 * share)
    }

    /// People are told of a plugin's silence when it begins; who asks later sees it here.
    #[must_use]
    pub const fn silent_since(&self, plugin: Plugin) -> Option<Boot> {
        self.lines.of(plugin).silent
    }
}

/// What somebody waits for is known by its words.
impl Asked {
    /// The host or the tunnel.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Host(name) | Self::Tunnel(name) => name,
        }
    }
}

impl News {
    /// Of which plugin.
    #[must_use]
    pub const fn plugin(&self) -> Plugin {
        match self {
            Self::Silent(plugin, _) | Self::Returned(plugin, _) | Self::Forgot(plugin) => *plugin,
        }
    }
}
