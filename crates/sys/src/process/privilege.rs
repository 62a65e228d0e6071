//! Giving privilege up: another user, a few capabilities, none to be gained again.

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Gid, Signal, Uid, getppid, set_parent_process_death_signal};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, clear_ambient_capability_set,
    configure_capability_in_ambient_set, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use crate::error::{Doing, Error, Result};

/// A right that root has and others may be given (capabilities(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Signals to other users' processes.
    Kill,
    /// Becoming another user.
    SetUid,
    /// Becoming another group.
    SetGid,
    /// Ports below 1024.
    NetBindService,
    /// Interfaces, addresses, filters.
    NetAdmin,
    /// Raw and packet sockets.
    NetRaw,
    /// Memory that is never paged out.
    IpcLock,
    /// Real-time scheduling.
    SysNice,
    /// Limits beyond the hard ones.
    SysResource,
    /// Loading BPF programs and writing their maps (Linux 5.8).
    Bpf,
}

impl Capability {
    fn set(self) -> CapabilitySet {
        match self {
            Self::Kill => CapabilitySet::KILL,
            Self::SetUid => CapabilitySet::SETUID,
            Self::SetGid => CapabilitySet::SETGID,
            Self::NetBindService => CapabilitySet::NET_BIND_SERVICE,
            Self::NetAdmin => CapabilitySet::NET_ADMIN,
            Self::NetRaw => CapabilitySet::NET_RAW,
            Self::IpcLock => CapabilitySet::IPC_LOCK,
            Self::SysNice => CapabilitySet::SYS_NICE,
            Self::SysResource => CapabilitySet::SYS_RESOURCE,
            Self::Bpf => CapabilitySet::BPF,
        }
    }
}

/// A user of this host and the groups they are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Their name; the number where they have none.
    pub name: String,
    /// Their number.
    pub uid: u32,
    /// Their first group.
    pub gid: u32,
    /// All their groups, the first one included.
    pub groups: Vec<u32>,
    /// Their home.
    pub home: String,
    /// Their shell.
    pub shell: String,
}

impl User {
    /// Looks a user up by name or number in /etc/passwd and /etc/group. Network directories are not asked: they can
    /// make us wait. A number that nobody has stands for itself.
    ///
    /// # Errors
    /// When there is no such name, or the files cannot be read.
    pub fn find(name: &str) -> Result<Self> {
        let passwd = fs::read_to_string("/etc/passwd").doing(|| "cannot read /etc/passwd")?;
        let group = fs::read_to_string("/etc/group").unwrap_or_default();
        find_user(name, &passwd, &group).ok_or_else(|| {
            Error::Missing(format!(
                "user {name:?} does not exist: add it (useradd --system {name}) or name another"
            ))
        })
    }

    /// Makes this thread the user for good, with no capability but those in `keep`, which also reach the programs it runs.
    /// Call it before other threads are started: they would keep their rights.
    ///
    /// # Errors
    /// Without the right to, or in a user namespace that doesn't map this user: the sentence says what to do.
    pub fn become_with(&self, keep: &[Capability]) -> Result<()> {
        self.check_mapped()?;
        set_keep_capabilities(true).doing(|| "cannot keep capabilities")?;
        self.switch().doing(|| format!("cannot become user {:?}", self.name))?;
        keep_capabilities(keep)
    }

    /// Groups, group, user of this thread; no memory is allocated, so it may run between fork and exec.
    fn switch(&self) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        // `Gid` is a transparent u32; a fixed array keeps this free of allocation.
        let mut groups = [gid; MAX_GROUPS];
        let count = self.groups.len().min(MAX_GROUPS);
        for (slot, group) in groups.iter_mut().zip(&self.groups) {
            *slot = Gid::from_raw(*group);
        }
        set_thread_groups(&groups[..count])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        Ok(())
    }

    fn check_mapped(&self) -> Result<()> {
        for (file, id, what) in [("uid_map", self.uid, "user"), ("gid_map", self.gid, "group")] {
            let map = fs::read_to_string(format!("/proc/self/{file}")).unwrap_or_default();
            if !map.is_empty() && !is_mapped(&map, id) {
                return Err(Error::Unsupported(format!(
                    "cannot become user {:?}: this user namespace maps no {what} {id}; run as root of the host, or map \
                     more ids (newuidmap, newgidmap)",
                    self.name
                )));
            }
        }
        let setgroups = fs::read_to_string("/proc/self/setgroups").unwrap_or_default();
        if setgroups.trim() == "deny" {
            return Err(Error::Unsupported(format!(
                "cannot become user {:?}: this user namespace forbids changing groups (/proc/self/setgroups is deny)",
                self.name
            )));
        }
        Ok(())
    }
}

/// A user in more groups than this keeps the first of them.
const MAX_GROUPS: usize = 64;

fn find_user(name: &str, passwd: &str, group: &str) -> Option<User> {
    let number: Option<u32> = name.parse().ok();
    let entry = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| {
        let uid = fields.get(2).and_then(|uid| uid.parse::<u32>().ok());
        fields.len() >= 7 && uid.is_some() && (fields[0] == name || (number.is_some() && uid == number))
    });
    let Some(entry) = entry else {
        let uid = number?;
        let home = "/".to_owned();
        return Some(User {
            name: name.to_owned(),
            uid,
            gid: uid,
            groups: vec![uid],
            home,
            shell: "/bin/sh".into(),
        });
    };
    let gid = entry[3].parse().ok()?;
    let mut groups = vec![gid];
    for line in group.lines() {
        let fields: Vec<_> = line.split(':').collect();
        let member = fields.get(3).is_some_and(|members| members.split(',').any(|member| member == entry[0]));
        let id: Option<u32> = fields.get(2).and_then(|id| id.parse().ok());
        groups.extend(id.filter(|id| member && *id != gid));
    }
    Some(User {
        name: entry[0].to_owned(),
        uid: entry[2].parse().ok()?,
        gid,
        groups,
        home: entry[5].to_owned(),
        shell: entry[6].to_owned(),
    })
}

/// Whether a line of `uid_map` (first inside, first outside, count) covers an id.
fn is_mapped(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        first.zip(count).is_some_and(|(first, count)| (first..first + count).contains(&u64::from(id)))
    })
}

/// Leaves this thread these capabilities, for itself and for what it runs (ambient), and drops the others for good.
/// A capability that it doesn't have is an error.
///
/// # Errors
/// When the kernel refuses.
pub fn keep_capabilities(keep: &[Capability]) -> Result<()> {
    let set = keep.iter().fold(CapabilitySet::empty(), |set, capability| set | capability.set());
    let held = capabilities(None).doing(|| "cannot read our capabilities")?.permitted;
    if !held.contains(set) {
        let lacking: Vec<_> = keep.iter().filter(|capability| !held.contains(capability.set())).collect();
        return Err(Error::Unsupported(format!("this process lacks the capabilities {lacking:?}")));
    }
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        if !set.contains(one) && rustix::thread::capability_is_in_bounding_set(one).unwrap_or(false) {
            // Without CAP_SETPCAP the set stays as it is; no_new_privs then does the same.
            let _ = remove_capability_from_bounding_set(one);
        }
    }
    clear_ambient_capability_set().doing(|| "cannot clear ambient capabilities")?;
    set_capabilities(None, CapabilitySets { effective: set, permitted: set, inheritable: set })
        .doing(|| "cannot drop capabilities")?;
    for capability in keep {
        configure_capability_in_ambient_set(capability.set(), true)
            .doing(|| format!("cannot hand {capability:?} on to programs"))?;
    }
    Ok(())
}

/// No program that this thread runs gains rights by its file's owner or capabilities.
///
/// # Errors
/// When the kernel refuses.
pub fn no_new_privileges() -> Result<()> {
    set_no_new_privs(true).doing(|| "cannot forbid new privileges")
}

/// Has a command run as this user with all their groups and no capability. When we are that user already nothing is
/// changed, so it also works without privilege.
///
/// # Errors
/// In a user namespace that doesn't map this user.
pub fn as_user(command: &mut Command, user: &User) -> Result<()> {
    if rustix::process::getuid().as_raw() == user.uid && rustix::process::getgid().as_raw() == user.gid {
        return Ok(());
    }
    user.check_mapped()?;
    let user = user.clone();
    // SAFETY: `switch` makes three system calls and allocates nothing.
    unsafe { command.pre_exec(move || user.switch()) };
    Ok(())
}

/// Has the kernel kill a command's process when the thread that starts it ends.
/// Call it after [`as_user`]: changing user clears it.
pub fn die_with_parent(command: &mut Command) {
    let parent = rustix::process::getpid();
    let follow = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // The parent may have ended before the line above; then nobody will tell.
        if getppid() == Some(parent) { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::ESRCH)) }
    };
    // SAFETY: `follow` makes two system calls and allocates nothing.
    unsafe { command.pre_exec(follow) };
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\nweb:x:33:33:www:/var/www:/usr/sbin/nologin\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\ntls:x:104:cache,web\nother:x:105:websites\n";

    #[test]
    fn a_user_is_found_by_name_or_number_with_all_groups() {
        let web = find_user("web", PASSWD, GROUP).expect("by name");
        assert_eq!((web.uid, web.gid, web.groups.clone()), (33, 33, vec![33, 104]));
        assert_eq!(find_user("33", PASSWD, GROUP).expect("by number"), web);
        assert_eq!(find_user("4711", PASSWD, GROUP).expect("a bare number").uid, 4711);
        assert_eq!(find_user("nobody-here", PASSWD, GROUP), None);
    }

    #[test]
    fn a_map_of_one_id_covers_that_id_only() {
        assert!(is_mapped("         0       1000          1\n", 0));
        assert!(!is_mapped("         0       1000          1\n", 33));
        assert!(is_mapped("0 0 4294967295", 65534));
    }

    #[test]
    fn a_process_that_gave_root_up_keeps_what_was_named_and_nothing_else() {
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: becoming another user needs root");
            return;
        }
        let worker = std::thread::spawn(|| {
            let user = User { uid: 4711, gid: 4711, groups: vec![4711], ..User::find("root").expect("root") };
            user.become_with(&[Capability::NetAdmin]).expect("become");
            no_new_privileges().expect("no new privileges");
            let status = fs::read_to_string("/proc/thread-self/status").expect("status");
            let output = Command::new("grep").args(["-E", "^(CapEff|Uid)", "/proc/self/status"]).output();
            (status, String::from_utf8(output.expect("grep").stdout).expect("text"))
        });
        let (own, child) = worker.join().expect("the thread");
        for status in [own, child] {
            assert!(status.contains("CapEff:\t0000000000001000"), "{status}");
            assert!(status.contains("Uid:\t4711\t4711\t4711\t4711"), "{status}");
        }
    }

    #[test]
    fn a_command_runs_as_its_user() {
        if !rustix::process::getuid().is_root() {
            eprintln!("skipped: running as another user needs root");
            return;
        }
        let user =
            User { uid: 4712, gid: 4713, groups: vec![4713, 4714], ..User::find("root").expect("root") };
        let mut command = Command::new("id");
        as_user(&mut command, &user).expect("mapped");
        die_with_parent(&mut command);
        let output = String::from_utf8(command.output().expect("id").stdout).expect("text");
        assert_eq!(output.trim(), "uid=4712 gid=4713 groups=4713,4714");
    }
}
