//! What is tracked: vrrp_script, vrrp_track_process, track_file and interfaces become probes, and each use of one
//! becomes `requires` (it gives the vip up) or a weight (arithmetic with priorities, kept only where it can work).

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::draft::{Check, Draft, Kind, Probe, Track, Vip, Weight};
use super::report::Report;
use super::table::{Table, advice, shorten, unmapped};
use super::tree::Stmt;
use super::words::shell_like;
use super::{Files, script, values};

/// Uses of probes by all vips together; a group of many with many would multiply them.
const MOST_DECISIONS: usize = 100_000;
/// Scripts that are opened.
const MOST_SCRIPTS: usize = 256;

/// Reads the definitions.
pub(super) fn read(tree: &Stmt, draft: &mut Draft, report: &mut Report) {
    let mut seen = HashSet::new();
    for stmt in tree.children() {
        let (kind, table, keyword): (Kind, &Table, ReadKeyword) = match stmt.keyword() {
            "vrrp_script" => (Kind::Script, &advice::SCRIPT, script_keyword),
            "vrrp_track_process" | "vrrp_process" => (Kind::Process, &advice::PROCESS, process_keyword),
            "track_file" | "vrrp_track_file" => (Kind::File, &advice::TRACK_FILE, file_keyword),
            _ => continue,
        };
        let Some(name) = values::word(stmt, report) else { continue };
        if !seen.insert((stmt.keyword().to_owned(), name.clone())) {
            let text = format!("{} {} is defined twice", stmt.keyword(), shorten(&name));
            report.error(stmt.pos, text, "give one of them another name");
            continue;
        }
        let mut probe = Probe { pos: stmt.pos, ours: name.clone(), name, ..Probe::default() };
        // keepalived: a file's value counts once unless its weight is written.
        probe.weight = i32::from(kind == Kind::File);
        for child in stmt.children() {
            if table.maps(child.keyword()) {
                keyword(child, &mut probe, report);
            } else {
                unmapped(child, table, report);
            }
        }
        draft.probes.push(probe);
    }
}

type ReadKeyword = fn(&Stmt, &mut Probe, &mut Report);

fn script_keyword(stmt: &Stmt, probe: &mut Probe, report: &mut Report) {
    match stmt.keyword() {
        "script" => {
            let user = if let Check::Exec(earlier) = &probe.check { earlier.user.clone() } else { None };
            if let Some(command) = values::command(stmt, false, report) {
                probe.check = Check::Exec(super::draft::Command { user, ..command });
            }
        }
        "interval" => probe.interval = values::seconds(stmt, 0.05..=86400.0, report),
        "timeout" => probe.timeout = values::seconds(stmt, 0.0..=86400.0, report).filter(|t| !t.is_zero()),
        "rise" => probe.rise = values::number(stmt, 1..=65535, report),
        "fall" => probe.fall = values::number(stmt, 1..=65535, report),
        "init_fail" => probe.init_fail = true,
        "user" => {
            let Some(user) = values::word(stmt, report) else { return };
            if stmt.arg(2).is_some_and(|group| group != user) {
                report.note(stmt.pos, "user: the group is left out", "commands run with their user's groups");
            }
            match &mut probe.check {
                Check::Exec(command) => command.user = Some(user),
                other => {
                    *other = Check::Exec(super::draft::Command { user: Some(user), ..Default::default() })
                }
            }
        }
        _ => default_weight(stmt, probe, report),
    }
}

fn default_weight(stmt: &Stmt, probe: &mut Probe, report: &mut Report) {
    if let Some((weight, reverse)) = values::weight(stmt, 1, report) {
        (probe.weight, probe.reverse) = (weight, reverse.unwrap_or(false));
    }
}

fn process_keyword(stmt: &Stmt, probe: &mut Probe, report: &mut Report) {
    let (old_name, old_args, old_min, old_max) = match &probe.check {
        Check::Process { name, args, min, max } => (name.clone(), args.clone(), *min, *max),
        Check::Nothing | Check::Exec(_) | Check::File(_) | Check::Up(_) => (String::new(), None, 1, None),
    };
    let (mut name, mut args, mut min, mut max) = (old_name, old_args, old_min, old_max);
    match stmt.keyword() {
        "process" => {
            let words = shell_like(&stmt.rest).unwrap_or_default();
            let Some((first, rest)) = words.split_first() else {
                return report.error(stmt.pos, "process names no process", "write its name");
            };
            name = first.text.rsplit('/').next().unwrap_or_default().to_owned();
            if !rest.is_empty() {
                args = Some(rest.iter().map(|word| word.text.clone()).collect());
            }
        }
        "param_match" => {
            // Without parameters it asks for a process that has none.
            args.get_or_insert_default();
            if let Some(how @ ("initial" | "partial")) = stmt.arg(1) {
                let text = format!("param_match {how} is left out: all arguments must be equal");
                report.dropped(stmt.pos, text, "list the process's arguments in full, or leave args out");
            }
        }
        "quorum" => min = values::number(stmt, 0..=65535, report).unwrap_or(min),
        "quorum_max" => {
            max = values::number(stmt, 0..=65535, report).or(max);
            min = if max == Some(0) { 0 } else { min };
        }
        "fork_delay" => (probe.interval, probe.rise) = delayed(stmt, report),
        "terminate_delay" => (probe.interval, probe.fall) = delayed(stmt, report),
        "delay" => {
            let (interval, count) = delayed(stmt, report);
            (probe.interval, probe.rise, probe.fall) = (interval, count, count);
        }
        "full_command" => {
            let help = "a process is matched by its name, and by its arguments where they are given";
            report.note(stmt.pos, "full_command has no meaning here", help);
        }
        _ => default_weight(stmt, probe, report),
    }
    probe.check = Check::Process { name, args, min, max };
}

/// A delay is a number of checks in a row, a tenth of a second apart.
fn delayed(stmt: &Stmt, report: &mut Report) -> (Option<Duration>, Option<u32>) {
    const STEP: Duration = Duration::from_millis(100);
    let Some(delay) = values::seconds(stmt, 0.0..=3600.0, report) else { return (None, None) };
    let steps = delay.as_micros().div_ceil(STEP.as_micros());
    (Some(STEP), u32::try_from(steps.max(1)).ok())
}

fn file_keyword(stmt: &Stmt, probe: &mut Probe, report: &mut Report) {
    match stmt.keyword() {
        "file" => probe.check = values::word(stmt, report).map_or(Check::Nothing, Check::File),
        "init_file" => {
            let help = "write the file with systemd-tmpfiles or in ExecStartPre= of mainstay.service";
            report.dropped(stmt.pos, "init_file is left out: probes write nothing", help);
        }
        _ => default_weight(stmt, probe, report),
    }
}

/// Entries of a track_ block.
pub(super) fn entries(stmt: &Stmt, kind: Kind, tracks: &mut Vec<Track>, report: &mut Report) {
    for entry in stmt.children() {
        let Some(name) = entry.arg(0) else { continue };
        let (weight, reverse) = match entry.arg(1) {
            None => (None, None),
            Some("weight") => match values::weight(entry, 2, report) {
                Some((weight, reverse)) => (Some(weight), reverse),
                None => (None, None),
            },
            Some(other) => {
                let text = format!("{} is not understood after {}", shorten(other), shorten(name));
                report.error(entry.pos, text, "write one name on a line, then `weight N` if it has one");
                (None, None)
            }
        };
        tracks.push(Track { kind, name: name.to_owned(), pos: entry.pos, weight, reverse });
    }
}

/// Looks the names up, reads the scripts, and decides between `requires` and weights.
pub(super) fn resolve(draft: &mut Draft, files: &dyn Files, report: &mut Report) {
    let mut index: HashMap<(u8, String), usize> = HashMap::new();
    for (at, probe) in draft.probes.iter().enumerate() {
        index.insert((kind_of(probe) as u8, probe.name.clone()), at);
    }
    let groups = membership(draft);
    let mut looked_into = HashSet::new();
    let mut decisions = 0;
    for at in 0..draft.vips.len() {
        let mut tracks: Vec<(Track, bool)> = Vec::new();
        let group = groups.get(draft.vips[at].name.as_str()).map(|group| &draft.groups[*group]);
        tracks.extend(
            draft.vips[at].tracks.iter().map(|track| (track.clone(), group.is_some_and(|g| !g.weighted))),
        );
        tracks.extend(group.iter().flat_map(|group| group.tracks.iter().map(|track| (track.clone(), false))));
        decisions += tracks.len();
        if decisions > MOST_DECISIONS {
            let text = format!("more than {MOST_DECISIONS} entries are tracked: the rest is left out");
            report.error(draft.vips[at].pos, text, "track fewer things in groups of many instances");
            break;
        }
        for (track, zeroed) in &tracks {
            if track.kind == Kind::Interface && own_interface(&draft.vips[at], track) {
                continue;
            }
            let Some(found) = find(track, &mut index, &mut draft.probes, report) else { continue };
            if !std::mem::replace(&mut draft.probes[found].used, true)
                && let Check::Exec(command) = &mut draft.probes[found].check
            {
                script::full_path(command, files, report);
            }
            if looked_into.len() < MOST_SCRIPTS && looked_into.insert(found) {
                script::look_into(&mut draft.probes[found], files, report);
            }
            decide(&mut draft.vips[at], track, &draft.probes[found], *zeroed, report);
        }
    }
    finish(draft, files, report);
}

/// The group of each member, by name.
fn membership(draft: &Draft) -> HashMap<String, usize> {
    let groups = draft.groups.iter().enumerate();
    groups.flat_map(|(at, group)| group.vips.iter().map(move |(name, _)| (name.clone(), at))).collect()
}

/// A vip watches its own interface anyway; keepalived too takes no notice of such an entry.
fn own_interface(vip: &Vip, track: &Track) -> bool {
    vip.interface.as_deref() == Some(track.name.as_str())
}

fn kind_of(probe: &Probe) -> Kind {
    match probe.check {
        Check::Nothing | Check::Exec(_) => Kind::Script,
        Check::Process { .. } => Kind::Process,
        Check::File(_) => Kind::File,
        Check::Up(_) => Kind::Interface,
    }
}

fn find(
    track: &Track,
    index: &mut HashMap<(u8, String), usize>,
    probes: &mut Vec<Probe>,
    report: &mut Report,
) -> Option<usize> {
    if let Some(found) = index.get(&(track.kind as u8, track.name.clone())) {
        return Some(*found);
    }
    if track.kind != Kind::Interface {
        let text = format!("{} is tracked and not defined", shorten(&track.name));
        report.error(track.pos, text, "define it at the top of the file, or take the entry out");
        return None;
    }
    if !values::is_interface(&track.name) {
        let text = format!("{} cannot be an interface", shorten(&track.name));
        report.error(track.pos, text, "write the name that `ip link` shows, at most 15 characters");
        return None;
    }
    let name = track.name.clone();
    let check = Check::Up(name.clone());
    probes.push(Probe {
        pos: track.pos,
        ours: format!("{name}-up"),
        name: name.clone(),
        check,
        ..Probe::default()
    });
    index.insert((track.kind as u8, name), probes.len() - 1);
    Some(probes.len() - 1)
}

/// `requires`, or a weight where one can work.
fn decide(vip: &mut Vip, track: &Track, probe: &Probe, zeroed: bool, report: &mut Report) {
    let weight = track.weight.unwrap_or(probe.weight);
    let reverse = track.reverse.unwrap_or(probe.reverse);
    if matches!(probe.check, Check::Nothing) {
        return;
    }
    if matches!(probe.check, Check::File(_)) && weight != 0 {
        let text = format!("track_file {} with weight {weight} is left out", shorten(&probe.name));
        let help = "a number in a file cannot move a priority: use a `file` probe with content in requires";
        return report.dropped(track.pos, text, help);
    }
    if weight == 0 && reverse {
        let text = format!("{} with weight 0 reverse is left out", shorten(&probe.name));
        return report.dropped(
            track.pos,
            text,
            "turn the check round, so that it fails when the vip must go",
        );
    }
    if weight == 0 || probe.stops_keepalived {
        vip.requires.insert(probe.ours.clone());
        return;
    }
    let priority = i32::from(vip.effective_priority());
    let stuck = !reverse && (weight < 0 && priority == 1 || weight > 0 && priority == 254);
    let why = if vip.nopreempt.is_some() && vip.master.is_none() {
        "with nopreempt a lower priority never gives the vip up, so this weight can never cause a failover"
    } else if priority == 255 {
        "the owner's priority never changes, so this weight can never cause a failover"
    } else if zeroed {
        "keepalived sets the weights of a sync group's members to 0"
    } else if stuck {
        "the priority cannot move further, so this weight can never cause a failover"
    } else {
        return keep_weight(vip, track, probe, (weight, reverse), report);
    };
    let text =
        format!("weight {weight} of {} becomes requires = [\"{}\"]: {why}", shorten(&probe.name), probe.ours);
    let help = "requires gives the vip up whenever the probe fails, which is what a failover is for";
    report.note(track.pos, text, help);
    vip.requires.insert(probe.ours.clone());
}

fn keep_weight(
    vip: &mut Vip,
    track: &Track,
    probe: &Probe,
    (weight, reverse): (i32, bool),
    report: &mut Report,
) {
    let priority = i32::from(vip.effective_priority());
    let (least, most) =
        if weight < 0 { (priority + weight, priority) } else { (priority, priority + weight) };
    let text = format!(
        "weight {weight} of {} gives {} up only when another node's priority lies between {} and {}",
        shorten(&probe.name),
        shorten(&vip.name),
        least.clamp(1, 254),
        most.clamp(1, 254),
    );
    let help = format!("write requires = [\"{}\"] instead of the weight: it needs no arithmetic", probe.ours);
    report.note(track.pos, text, help);
    vip.weights.push(Weight { probe: probe.ours.clone(), weight, reverse });
}

/// Names that differ, and what is left over.
fn finish(draft: &mut Draft, files: &dyn Files, report: &mut Report) {
    for probe in &draft.probes {
        if !probe.used {
            let text = format!(
                "nothing tracks {}: it is left out, and keepalived never runs it",
                shorten(&probe.name)
            );
            report.note(
                probe.pos,
                text,
                "add it to track_script (here: requires) of a vip if it should count",
            );
        } else if matches!(probe.check, Check::Nothing) {
            report.error(
                probe.pos,
                format!("{} has nothing to check", shorten(&probe.name)),
                "give it a script",
            );
        }
    }
    draft.probes.retain(|probe| probe.used && !matches!(probe.check, Check::Nothing));
    draft.probes.sort_by_key(|probe| probe.pos);
    assumed_user(draft, report);
    let vips = draft.vips.iter_mut().map(|vip| &mut vip.notify);
    for commands in vips.chain(draft.groups.iter_mut().map(|group| &mut group.notify)) {
        let mut seen = BTreeSet::new();
        for notify in commands {
            script::full_path(&mut notify.command, files, report);
            if seen.insert(notify.command.argv[0].clone()) {
                script::must_run(&notify.command, files, report);
            }
        }
    }
}

/// keepalived runs commands as keepalived_script where that user exists, else as root: said where the first one stands.
fn assumed_user(draft: &Draft, report: &mut Report) {
    let probes = draft.probes.iter().filter_map(|probe| match &probe.check {
        Check::Exec(command) => Some(command),
        Check::Nothing | Check::Process { .. } | Check::File(_) | Check::Up(_) => None,
    });
    let vips = draft.vips.iter().flat_map(|vip| &vip.notify);
    let told = vips.chain(draft.groups.iter().flat_map(|group| &group.notify)).map(|notify| &notify.command);
    let first = probes.chain(told).filter(|command| command.user.is_none()).map(|command| command.pos).min();
    if let (true, Some(pos), Some(user)) =
        (draft.globals.script_user_assumed, first, &draft.globals.script_user)
    {
        let text = format!("commands that name no user run as {user}, as under keepalived");
        report.note(pos, text, "set script_user in [node] to a user that can do no more than they need");
    }
}
