//! The gate as nftables sets with timeouts: for kernels or containers that load no BPF.
//!
//! A timeout is relative: it is computed right before it is sent, and a process that is frozen in between opens the
//! gate late by as long as it was frozen. It counts time the host was awake.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use mainstay_core::time::Boot;
use rustix::net::netlink;

use super::ruleset::{self, ARP, DEL_CHAIN, DEL_RULE, DEL_SET, DEL_TABLE, INET, Set, TABLE, Transaction};
use crate::clock::boot_now;
use crate::error::{Doing, Result};
use crate::netlink::Socket;
use crate::netlink::wire::{Batch, attr, text};
use crate::os;
use crate::packet::filter::{self, Step};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// Rules of the inet table and of the arp table.
const RULES: [(u8, usize); 2] = [(INET, 6), (ARP, 2)];
/// The byte of `nlmsg_type` that tells the subsystem's messages apart.
const MESSAGE_BYTE: u32 = if cfg!(target_endian = "little") { 4 } else { 5 };

pub(super) struct NftGate {
    socket: Socket,
    monitor: Socket,
    /// The tables are owned by our socket, and persist: nobody else changes or flushes them.
    owned: bool,
    guarded: BTreeMap<IpAddr, Boot>,
    /// What the kernel doesn't know yet.
    pending: BTreeMap<IpAddr, Pending>,
}

/// A change that the kernel doesn't know yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// Guarded, and perhaps armed, since the last commit.
    New(Boot),
    /// Armed anew.
    Armed(Boot),
    /// Not guarded any more.
    Forgotten,
}

impl Pending {
    fn until(self) -> Option<Boot> {
        match self {
            Self::New(until) | Self::Armed(until) => Some(until),
            Self::Forgotten => None,
        }
    }
}

impl NftGate {
    /// Makes the tables, in place of those that a killed run left; owned where the kernel can, if `own`.
    pub(super) fn open(own: bool) -> Result<Self> {
        let socket = Socket::open(Some(netlink::NETFILTER), &[]);
        let socket = socket.doing(|| "cannot open a netfilter socket")?;
        let monitor = Socket::open(Some(netlink::NETFILTER), &[GROUP]);
        let monitor = monitor.doing(|| "cannot listen to changes of the firewall")?;
        os::socket_filter(&monitor, &deletions()).doing(|| "cannot choose the changes to hear")?;
        let mut gate =
            Self { socket, monitor, owned: own, guarded: BTreeMap::new(), pending: BTreeMap::new() };
        if own && gate.rebuild().is_ok() {
            return Ok(gate);
        }
        gate.owned = false;
        gate.rebuild().doing(|| "the kernel does not take the gate's nft tables")?;
        Ok(gate)
    }

    pub(super) fn is_owned(&self) -> bool {
        self.owned
    }

    pub(super) fn guard(&mut self, addr: IpAddr) {
        if let std::collections::btree_map::Entry::Vacant(entry) = self.guarded.entry(addr) {
            entry.insert(Boot::ZERO);
            self.pending.insert(addr, Pending::New(Boot::ZERO));
        }
    }

    pub(super) fn arm(&mut self, addr: IpAddr, until: Boot) -> Result<()> {
        let deadline = self.guarded.get_mut(&addr).ok_or_else(|| super::not_guarded(addr))?;
        *deadline = until;
        let known = !matches!(self.pending.get(&addr), Some(Pending::New(_)));
        self.pending.insert(addr, if known { Pending::Armed(until) } else { Pending::New(until) });
        Ok(())
    }

    pub(super) fn forget(&mut self, addr: IpAddr) {
        if self.guarded.remove(&addr).is_some() {
            self.pending.insert(addr, Pending::Forgotten);
        }
    }

    /// Tells the kernel all that is pending, in one transaction.
    pub(super) fn commit(&mut self) -> Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        if self.send_pending().is_err() {
            // Somebody removed what we change: say everything again.
            self.rebuild().doing(|| "cannot arm the gate")?;
        }
        self.pending.clear();
        Ok(())
    }

    fn send_pending(&mut self) -> io::Result<()> {
        let select = |wanted: fn(Pending) -> bool| -> Vec<_> {
            let these = self.pending.iter().filter(|(_, pending)| wanted(**pending));
            these.map(|(addr, _)| (*addr, Duration::from_secs(1))).collect()
        };
        let fresh = select(|pending| matches!(pending, Pending::New(_)));
        let gone = select(|pending| pending == Pending::Forgotten);
        let all = select(|_| true);
        let mut transaction = Transaction::new(&mut self.socket);
        transaction.add(Set::Guarded, &fresh);
        // It may be forgotten before the kernel ever knew it: add makes sure that delete finds it.
        transaction.add(Set::Guarded, &gone);
        transaction.delete(Set::Guarded, &gone);
        // A timeout cannot be changed before Linux 6.12, and what ended cannot be deleted: add, delete, add works always.
        transaction.add(Set::Armed, &all);
        transaction.delete(Set::Armed, &all);
        let pending = self.pending.iter().filter_map(|(addr, pending)| Some((*addr, pending.until()?)));
        transaction.add(Set::Armed, &remaining(pending));
        transaction.commit()
    }

    /// Makes the tables anew with all that is guarded and armed, in one transaction.
    fn rebuild(&mut self) -> io::Result<()> {
        let (there, owned) = (self.tables()?, self.owned);
        let mut transaction = Transaction::new(&mut self.socket);
        for family in there {
            transaction.delete_table(family);
        }
        transaction.create_tables(owned);
        let guarded: Vec<_> = self.guarded.keys().map(|addr| (*addr, Duration::ZERO)).collect();
        transaction.add(Set::Guarded, &guarded);
        transaction.add(Set::Armed, &remaining(self.guarded.iter().map(|(addr, until)| (*addr, *until))));
        transaction.commit()
    }

    /// The families whose table exists.
    fn tables(&mut self) -> io::Result<Vec<u8>> {
        let mut there = Vec::new();
        for family in [INET, ARP] {
            let body = |batch: &mut Batch| ruleset::put_head(batch, family, 0);
            let names = self.socket.dump(ruleset::kind(ruleset::GET_TABLE), body, |message| {
                attr(message.body.get(4..)?, 1).map(text)
            })?;
            there.extend(names.iter().any(|name| name == TABLE).then_some(family));
        }
        Ok(there)
    }

    /// Whether all our rules are in place.
    fn is_whole(&mut self) -> io::Result<bool> {
        for (family, rules) in RULES {
            let body = |batch: &mut Batch| {
                ruleset::put_head(batch, family, 0);
                batch.attr_text(1, TABLE);
            };
            let ours = self.socket.dump(ruleset::kind(ruleset::GET_RULE), body, |message| {
                attr(message.body.get(4..)?, 1).map(text).filter(|table| table == TABLE)
            })?;
            if ours.len() != rules {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Makes the tables again when they are not whole; true when they weren't.
    pub(super) fn mend(&mut self) -> Result<bool> {
        if self.is_whole().unwrap_or(false) {
            return Ok(false);
        }
        self.rebuild().doing(|| "cannot restore the gate's nft tables")?;
        self.pending.clear();
        Ok(true)
    }

    pub(super) fn monitor_fd(&self) -> BorrowedFd<'_> {
        self.monitor.as_fd()
    }

    /// Reads what the monitor heard; true when something was deleted, ours or not.
    pub(super) fn heard(&mut self) -> Result<bool> {
        let mut heard = false;
        loop {
            match self.monitor.receive() {
                Ok(Some(_)) => heard = true,
                Ok(None) => return Ok(heard),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => heard = true,
                Err(error) => return Err(error).doing(|| "cannot read changes of the firewall"),
            }
        }
    }

    pub(super) fn remove(&mut self) -> Result<()> {
        let there = self.tables().doing(|| "cannot list nft tables")?;
        let mut transaction = Transaction::new(&mut self.socket);
        for family in there {
            transaction.delete_table(family);
        }
        transaction.commit().doing(|| "cannot remove the gate's nft tables")
    }
}

/// What is left of each deadline, for those that have not passed.
fn remaining(armed: impl Iterator<Item = (IpAddr, Boot)>) -> Vec<(IpAddr, Duration)> {
    /// A century: the kernel's arithmetic ends before `Boot::NEVER` does.
    const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);
    let now = boot_now();
    armed
        .map(|(addr, until)| (addr, until.since(now).min(LONGEST)))
        .filter(|(_, left)| *left >= Duration::from_millis(1))
        .collect()
}

/// Hears of deletions only: our own commits are additions first, and wake nobody.
fn deletions() -> Vec<libc::sock_filter> {
    let mut steps = vec![Step::LoadByte(MESSAGE_BYTE)];
    for message in [DEL_TABLE, DEL_CHAIN, DEL_RULE, DEL_SET] {
        steps.extend([Step::SkipUnless(u32::from(message), 1), Step::Pass]);
    }
    steps.push(Step::Drop);
    filter::program(&steps)
}
