//! Who is told of a change, and how: exec exactly as keepalived 2.2.7 calls it, webhook, e-mail.
//!
//! The vip role asks [`tellings`] what follows from a change and passes each on: a `Run` to the exec role, a `Notice`
//! to the probe role, whose [`delivery`] brings it to its webhook or mail server. Nothing here waits.
//!
//! A command sees, beside keepalived's arguments where the Plan asks for them: `MAINSTAY_VIP` or
//! `MAINSTAY_GROUP` (by which exec keeps the order), `MAINSTAY_STATE` (active, backup, fault, stop, conflict, unusable),
//! `MAINSTAY_REASON`, `MAINSTAY_EPOCH`, `MAINSTAY_PRIORITY`, `MAINSTAY_ADDRS` (blank between them),
//! `MAINSTAY_NODE` and `MAINSTAY_MESSAGE`.

pub mod delivery;
mod mail;
mod webhook;

use mainstay_config::plan::{Notify, NotifyHow, NotifyOn, Plan};
use mainstay_core::election::{Reason, State};
use mainstay_core::name::{GroupId, ProbeId, VipId};

use crate::ipc::{Asker, Notice, Run};
use crate::status::Event;

/// Something has changed that somebody may want to know.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// What has changed.
    pub subject: Subject,
    /// Into what.
    pub on: NotifyOn,
    /// The event as status and webhooks show it: reason, epoch and priority are taken from it.
    pub event: &'a Event,
}

/// What a notify list belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A vip.
    Vip(VipId),
    /// A sync group.
    Group(GroupId),
    /// A probe that looks through a vip.
    Probe(ProbeId),
}

/// One who has to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Telling {
    /// By the exec role.
    Run(Run),
    /// By the probe role.
    Notice(Notice),
}

/// What a change of a vip's state is to those who are told; leaving because the daemon stops is `Stop` alone.
#[must_use]
pub const fn occasion(to: State, reason: &Reason) -> NotifyOn {
    let stopping = matches!(reason, Reason::Stopping);
    match to {
        State::Backup | State::Fault if stopping => NotifyOn::Stop,
        State::Active => NotifyOn::Active,
        State::Backup => NotifyOn::Backup,
        State::Fault => NotifyOn::Fault,
    }
}

/// Where a sync group stands, given its members; `None` while they are on their way and disagree.
#[must_use]
pub fn group_state(members: &[State]) -> Option<State> {
    let active = members.iter().filter(|state| **state == State::Active).count();
    if members.contains(&State::Fault) {
        Some(State::Fault)
    } else if active == members.len() {
        Some(State::Active)
    } else {
        (active == 0).then_some(State::Backup)
    }
}

/// Who has to be told of a change, in the Plan's order. `next_id` numbers the runs.
pub fn tellings(plan: &Plan, change: Change<'_>, next_id: &mut u64) -> Vec<Telling> {
    let list: &[Notify] = match change.subject {
        Subject::Vip(id) => plan.vips.get(id.index()).map_or(&[], |vip| &vip.notify),
        Subject::Group(id) => plan.groups.get(id.index()).map_or(&[], |group| &group.notify),
        Subject::Probe(id) => plan.probes.get(id.index()).map_or(&[], |probe| &probe.notify),
    };
    // Scripts that are called as keepalived calls them know four words, and are told of more only when they ask for it.
    let four = |how: &NotifyHow| matches!(how, NotifyHow::Exec { args: true, .. });
    let all = |one: &Notify| one.on.is_empty() && (change.on.is_of_keepalived() || !four(&one.how));
    let wanted = |one: &Notify| all(one) || one.on.contains(&change.on);
    let mut tellings = Vec::new();
    for (position, one) in list.iter().enumerate().filter(|(_, one)| wanted(one)) {
        tellings.push(match &one.how {
            NotifyHow::Exec { command, args } => {
                *next_id += 1;
                Telling::Run(Run {
                    id: *next_id,
                    command: *command,
                    args: if *args { arguments(plan, change) } else { Vec::new() },
                    env: variables(plan, change),
                    asker: Asker::Vip,
                })
            }
            NotifyHow::Webhook { .. } | NotifyHow::Mail => Telling::Notice(notice(change, position)),
        });
    }
    tellings
}

fn notice(change: Change<'_>, position: usize) -> Notice {
    let (vip, group, probe) = match change.subject {
        Subject::Vip(id) => (Some(id), None, None),
        Subject::Group(id) => (None, Some(id.0), None),
        Subject::Probe(id) => (None, None, Some(id.0)),
    };
    let notify = u32::try_from(position).expect("a notify list was written by hand");
    Notice { vip, group, probe, notify, on: change.on, event: change.event.clone() }
}

/// keepalived's TYPE NAME STATE PRIORITY; the priority of a group is 0.
fn arguments(plan: &Plan, change: Change<'_>) -> Vec<String> {
    let state = match change.on {
        NotifyOn::Active => "MASTER",
        NotifyOn::Backup => "BACKUP",
        NotifyOn::Fault => "FAULT",
        NotifyOn::Stop => "STOP",
        NotifyOn::Conflict => "CONFLICT",
        NotifyOn::Unusable => "UNUSABLE",
    };
    let (kind, priority) = match change.subject {
        Subject::Vip(_) => ("INSTANCE", priority(plan, change)),
        Subject::Group(_) => ("GROUP", 0),
        Subject::Probe(_) => ("PROBE", 0),
    };
    vec![kind.to_owned(), name(plan, change.subject).to_owned(), state.to_owned(), priority.to_string()]
}

fn variables(plan: &Plan, change: Change<'_>) -> Vec<(String, String)> {
    let subject = match change.subject {
        Subject::Vip(_) => "MAINSTAY_VIP",
        Subject::Group(_) => "MAINSTAY_GROUP",
        Subject::Probe(_) => "MAINSTAY_PROBE",
    };
    [
        (subject, name(plan, change.subject).to_owned()),
        ("MAINSTAY_STATE", word(change.on).to_owned()),
        ("MAINSTAY_REASON", change.event.reason.clone().unwrap_or_default()),
        ("MAINSTAY_EPOCH", change.event.epoch.unwrap_or(0).to_string()),
        ("MAINSTAY_PRIORITY", priority(plan, change).to_string()),
        ("MAINSTAY_ADDRS", addresses(plan, change.subject)),
        ("MAINSTAY_NODE", plan.node.clone()),
        ("MAINSTAY_MESSAGE", change.event.message.clone()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// The word for a change in variables, webhooks and mails.
pub(crate) const fn word(on: NotifyOn) -> &'static str {
    match on {
        NotifyOn::Active => "active",
        NotifyOn::Backup => "backup",
        NotifyOn::Fault => "fault",
        NotifyOn::Stop => "stop",
        NotifyOn::Conflict => "conflict",
        NotifyOn::Unusable => "unusable",
    }
}

fn name(plan: &Plan, subject: Subject) -> &str {
    match subject {
        Subject::Vip(id) => plan.vips.get(id.index()).map_or("", |vip| &vip.spec.name),
        Subject::Group(id) => plan.groups.get(id.index()).map_or("", |group| &group.spec.name),
        Subject::Probe(id) => plan.probes.get(id.index()).map_or("", |probe| &probe.name),
    }
}

/// The effective priority where the event knows it, else the configured one.
fn priority(plan: &Plan, change: Change<'_>) -> u8 {
    let configured = match change.subject {
        Subject::Vip(id) => plan.vips.get(id.index()).map_or(0, |vip| vip.spec.priority),
        Subject::Group(_) | Subject::Probe(_) => 0,
    };
    change.event.priority.unwrap_or(configured)
}

/// Plain addresses: those that stand on interfaces, or those of the adverts when none does.
fn addresses(plan: &Plan, subject: Subject) -> String {
    let Subject::Vip(id) = subject else { return String::new() };
    let Some(vip) = plan.vips.get(id.index()) else { return String::new() };
    let installed: Vec<String> = vip.addrs.iter().map(|addr| addr.addr.to_string()).collect();
    if !installed.is_empty() {
        return installed.join(" ");
    }
    vip.spec.addrs.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use mainstay_config::plan::{Group, Vip};
    use mainstay_core::election::{Announce, GroupSpec, VipSpec};
    use mainstay_core::name::{CommandId, LinkId};
    use mainstay_core::vrrp::{Checksum, Version};

    use super::*;
    use crate::exec::tests::plan;

    #[test]
    fn a_script_with_args_is_called_as_keepalived_calls_it_and_others_as_they_stand() {
        let plan = with(vec![exec(1, true, &[]), exec(2, false, &[NotifyOn::Active])]);
        let runs = runs(tell(&plan, Subject::Vip(VipId(0)), NotifyOn::Active));
        assert_eq!(runs[0].args, ["INSTANCE", "front", "MASTER", "120"]);
        assert_eq!(runs[1].args, [""; 0]);
        assert_eq!([runs[0].command, runs[1].command], [CommandId(1), CommandId(2)]);
        assert_ne!(runs[0].id, runs[1].id);
    }

    #[test]
    fn only_those_who_asked_for_this_change_are_told() {
        let plan = with(vec![
            exec(1, false, &[NotifyOn::Backup, NotifyOn::Fault]),
            exec(2, false, &[NotifyOn::Stop]),
        ]);
        for (on, commands) in [
            (NotifyOn::Active, vec![]),
            (NotifyOn::Backup, vec![1]),
            (NotifyOn::Fault, vec![1]),
            (NotifyOn::Stop, vec![2]),
        ] {
            let runs = runs(tell(&plan, Subject::Vip(VipId(0)), on));
            assert_eq!(runs.iter().map(|run| run.command.0).collect::<Vec<_>>(), commands, "{on:?}");
        }
    }

    #[test]
    fn a_groups_script_gets_the_groups_name_and_priority_0() {
        let mut plan = with(Vec::new());
        plan.groups[0].notify = vec![exec(5, true, &[])];
        let runs = runs(tell(&plan, Subject::Group(GroupId(0)), NotifyOn::Fault));
        assert_eq!(runs[0].args, ["GROUP", "all", "FAULT", "0"]);
        assert!(runs[0].env.contains(&("MAINSTAY_GROUP".into(), "all".into())));
    }

    #[test]
    fn every_command_learns_reason_epoch_and_addresses() {
        let plan = with(vec![exec(1, false, &[])]);
        let run = runs(tell(&plan, Subject::Vip(VipId(0)), NotifyOn::Active)).remove(0);
        let env: Vec<String> = run.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = [
            "MAINSTAY_VIP=front",
            "MAINSTAY_STATE=active",
            "MAINSTAY_REASON=silence",
            "MAINSTAY_EPOCH=7",
            "MAINSTAY_PRIORITY=120",
            "MAINSTAY_ADDRS=10.0.4.99 10.0.4.98",
            "MAINSTAY_NODE=web-1",
            "MAINSTAY_MESSAGE=nobody was heard",
        ];
        assert_eq!(env, expected);
    }

    #[test]
    fn webhooks_and_mails_become_notices_that_name_their_place_in_the_list() {
        let hook = NotifyHow::Webhook {
            url: "http://127.0.0.1/".into(),
            headers: Vec::new(),
            timeout: Duration::from_secs(1),
            retries: 0,
        };
        let plan = with(vec![
            exec(1, false, &[NotifyOn::Stop]),
            Notify { on: Vec::new(), how: hook },
            Notify { on: Vec::new(), how: NotifyHow::Mail },
        ]);
        let told = tell(&plan, Subject::Vip(VipId(0)), NotifyOn::Backup);
        let places: Vec<_> = told
            .iter()
            .map(|telling| match telling {
                Telling::Notice(notice) => (notice.vip, notice.group, notice.notify, notice.on),
                Telling::Run(run) => panic!("{run:?}"),
            })
            .collect();
        let vip = Some(VipId(0));
        assert_eq!(places, [(vip, None, 1, NotifyOn::Backup), (vip, None, 2, NotifyOn::Backup)]);
    }

    #[test]
    fn leaving_because_the_daemon_stops_is_a_stop_and_nothing_else() {
        assert_eq!(occasion(State::Backup, &Reason::Stopping), NotifyOn::Stop);
        assert_eq!(occasion(State::Backup, &Reason::Moved), NotifyOn::Backup);
        assert_eq!(occasion(State::Fault, &Reason::LinkDown), NotifyOn::Fault);
        assert_eq!(occasion(State::Active, &Reason::Owner), NotifyOn::Active);
    }

    #[test]
    fn a_group_is_active_only_as_a_whole_and_faulty_with_any_member() {
        use State::{Active, Backup, Fault};
        assert_eq!(group_state(&[Active, Active]), Some(Active));
        assert_eq!(group_state(&[Active, Backup]), None);
        assert_eq!(group_state(&[Backup, Backup]), Some(Backup));
        assert_eq!(group_state(&[Active, Fault]), Some(Fault));
    }

    fn tell(plan: &Plan, subject: Subject, on: NotifyOn) -> Vec<Telling> {
        tellings(plan, Change { subject, on, event: &event() }, &mut 0)
    }

    fn runs(told: Vec<Telling>) -> Vec<Run> {
        told.into_iter()
            .filter_map(|telling| match telling {
                Telling::Run(run) => Some(run),
                Telling::Notice(_) => None,
            })
            .collect()
    }

    fn exec(command: u32, args: bool, on: &[NotifyOn]) -> Notify {
        Notify { on: on.to_vec(), how: NotifyHow::Exec { command: CommandId(command), args } }
    }

    pub(crate) fn event() -> Event {
        Event {
            at_ms: 1,
            node: "web-1".into(),
            kind: "vip".into(),
            about: "front".into(),
            from: Some("backup".into()),
            to: Some("active".into()),
            reason: Some("silence".into()),
            epoch: Some(7),
            addrs: Vec::new(),
            priority: Some(120),
            message: "nobody was heard".into(),
        }
    }

    fn with(notify: Vec<Notify>) -> Plan {
        let spec = GroupSpec { name: "all".into(), vips: vec!["front".into()] };
        Plan { vips: vec![vip(notify)], groups: vec![Group { spec, notify: Vec::new() }], ..plan() }
    }

    pub(crate) fn vip(notify: Vec<Notify>) -> Vip {
        let announce = Announce {
            repeat: 5,
            interval: Duration::ZERO,
            delay: Duration::ZERO,
            delay_repeat: 0,
            refresh: Duration::ZERO,
            refresh_repeat: 0,
            lower_repeat: 1,
        };
        let spec = VipSpec {
            source: None,
            name: "front".into(),
            link: LinkId(0),
            version: Version::V3,
            vrid: 51,
            priority: 100,
            advert: Duration::from_secs(1),
            preempt: true,
            preempt_delay: Duration::ZERO,
            start_delay: Duration::ZERO,
            down_adverts: 3,
            addrs: vec!["10.0.4.99".parse().unwrap(), "10.0.4.98".parse().unwrap()],
            ipv6: false,
            password: None,
            checksum: Checksum::PseudoHeader,
            checksum_any: true,
            unicast: Vec::new(),
            check_source: false,
            ttl_min: 255,
            check_addrs: true,
            sole_successor: false,
            gate: Duration::from_secs(3),
            guard: mainstay_core::election::Guard::BestEffort,
            owns: false,
            requires: Vec::new(),
            weights: Vec::new(),
            announce,
        };
        Vip { spec, addrs: Vec::new(), multicast: None, notify, owns: Vec::new(), reference: None }
    }
}
