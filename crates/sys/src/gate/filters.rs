//! Filters on an interface's clsact queue (tc-bpf(8)): hang ours, find ours, take ours away.
//!
//! A classic filter and not a BPF link: a link goes with the process that made it, and the gate must outlive us.

use std::io;

use super::bpf::Pair;
use crate::netlink::Socket;
use crate::netlink::request::{ACK, CREATE, EXCLUSIVE, REPLACE, REQUEST};
use crate::netlink::wire::{Batch, Message, attr, text, u32_at};

const NEW_QDISC: u16 = 36;
const DEL_QDISC: u16 = 37;
const GET_QDISC: u16 = 38;
const NEW_FILTER: u16 = 44;
const DEL_FILTER: u16 = 45;
const GET_FILTER: u16 = 46;
/// `TCA_KIND` and `TCA_OPTIONS`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
/// `TCA_BPF_FD`, `_NAME`, `_FLAGS`, `_ID`.
const BPF_FD: u16 = 6;
const BPF_NAME: u16 = 7;
const BPF_FLAGS: u16 = 8;
const BPF_ID: u16 = 11;
/// `TCA_BPF_FLAG_ACT_DIRECT`: the program's result is the verdict.
const ACT_DIRECT: u32 = 1;
/// `TC_H_CLSACT`, and the handle that goes with it.
const CLSACT: u32 = 0xffff_fff1;
const CLSACT_HANDLE: u32 = 0xffff_0000;
/// Where filters hang: `TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS)` and `..._EGRESS`.
const INGRESS: u32 = 0xffff_fff2;
const EGRESS: u32 = 0xffff_fff3;
/// Ours among the filters of one preference: "MS".
const HANDLE: u32 = 0x4d53;
/// The name that `tc filter show` prints.
const NAME: &str = "mainstay_gate";
/// First of all, or nearly: others may hold a preference with filters of another kind.
const PREFERENCES: std::ops::RangeInclusive<u32> = 1..=8;

/// A filter of ours, as the kernel lists it.
#[derive(Clone, Copy, Debug)]
struct Found {
    parent: u32,
    info: u32,
    program: Option<u32>,
}

/// Makes sure that the interface has a clsact queue; true when it had none.
pub(super) fn add_queue(socket: &mut Socket, index: u32) -> io::Result<bool> {
    let queue = |batch: &mut Batch| {
        put_head(batch, index, CLSACT_HANDLE, CLSACT, 0);
        batch.attr_text(KIND, "clsact");
    };
    match change(socket, NEW_QDISC, CREATE | EXCLUSIVE, queue) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(false),
        other => other.map(|()| true),
    }
}

/// Hangs both programs, in place of those that hung there under our name.
pub(super) fn hang(socket: &mut Socket, index: u32, pair: &Pair) -> io::Result<()> {
    for (parent, program) in [(INGRESS, &pair.ingress), (EGRESS, &pair.egress)] {
        let fd = crate::os::raw(&program.fd).to_ne_bytes();
        let mut last = Ok(());
        for preference in PREFERENCES {
            last = change(socket, NEW_FILTER, CREATE | REPLACE, |batch| {
                put_head(batch, index, HANDLE, parent, info(preference));
                batch.attr_text(KIND, "bpf");
                batch.nest(OPTIONS, |options| {
                    options.attr(BPF_FD, &fd);
                    options.attr_text(BPF_NAME, NAME);
                    options.attr(BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
                });
            });
            if last.is_ok() {
                break;
            }
        }
        last?;
    }
    Ok(())
}

/// Whether both programs hang where they were put.
pub(super) fn hangs(socket: &mut Socket, index: u32, pair: &Pair) -> io::Result<bool> {
    let found = find(socket, index)?;
    let there = |parent, id| found.iter().any(|filter| filter.parent == parent && filter.program == Some(id));
    Ok(there(INGRESS, pair.ingress.id) && there(EGRESS, pair.egress.id))
}

/// Takes away what hangs there under our name.
pub(super) fn take_away(socket: &mut Socket, index: u32) -> io::Result<()> {
    for filter in find(socket, index)? {
        let deleted = change(socket, DEL_FILTER, 0, |batch| {
            put_head(batch, index, HANDLE, filter.parent, filter.info);
            batch.attr_text(KIND, "bpf");
        });
        match deleted {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            other => other?,
        }
    }
    Ok(())
}

/// Removes the clsact queue if no filter is left on it.
pub(super) fn remove_empty_queue(socket: &mut Socket, index: u32) -> io::Result<()> {
    for parent in [INGRESS, EGRESS] {
        if !filters(socket, index, parent, |_| Some(()))?.is_empty() {
            return Ok(());
        }
    }
    change(socket, DEL_QDISC, 0, |batch| put_head(batch, index, CLSACT_HANDLE, CLSACT, 0))
}

/// The interfaces that have a clsact queue.
pub(super) fn queues(socket: &mut Socket) -> io::Result<Vec<u32>> {
    let body = |batch: &mut Batch| put_head(batch, 0, 0, 0, 0);
    socket.dump(GET_QDISC, body, |message| {
        let clsact = attr(message.body.get(20..)?, KIND).map(text)? == "clsact";
        u32_at(message.body, 4).filter(|_| clsact && message.kind == NEW_QDISC)
    })
}

fn find(socket: &mut Socket, index: u32) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for parent in [INGRESS, EGRESS] {
        let ours = filters(socket, index, parent, |message| {
            let options = attr(message.body.get(20..)?, OPTIONS)?;
            let name = attr(options, BPF_NAME).map(text)?;
            let program = attr(options, BPF_ID).and_then(|id| u32_at(id, 0));
            let ours = name == NAME && u32_at(message.body, 8)? == HANDLE;
            ours.then_some(Found { parent, info: u32_at(message.body, 16)?, program })
        })?;
        found.extend(ours);
    }
    Ok(found)
}

/// Lists the filters of one hook; none when there is no queue or no interface.
fn filters<T>(
    socket: &mut Socket,
    index: u32,
    parent: u32,
    each: impl Fn(Message<'_>) -> Option<T>,
) -> io::Result<Vec<T>> {
    let body = |batch: &mut Batch| put_head(batch, index, 0, parent, 0);
    // A chain is announced by a filter without a handle.
    let each = |message: Message<'_>| each(message).filter(|_| u32_at(message.body, 8) != Some(0));
    match socket.dump(GET_FILTER, body, each) {
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENODEV | libc::ENOENT)) => {
            Ok(Vec::new())
        }
        other => other,
    }
}

/// `tcm_info`: the preference, and "all protocols" in network order.
fn info(preference: u32) -> u32 {
    let all = u16::try_from(libc::ETH_P_ALL).expect("Ethernet types are 16 bits");
    preference << 16 | u32::from(all.to_be())
}

/// `struct tcmsg`.
fn put_head(batch: &mut Batch, index: u32, handle: u32, parent: u32, info: u32) {
    let mut head = [0u8; 20];
    for (at, number) in [(4, index), (8, handle), (12, parent), (16, info)] {
        head[at..at + 4].copy_from_slice(&number.to_ne_bytes());
    }
    batch.put(&head);
}

fn change(socket: &mut Socket, kind: u16, flags: u16, body: impl FnOnce(&mut Batch)) -> io::Result<()> {
    let seq = socket.next_seq();
    let mut batch = Batch::new();
    batch.begin(kind, REQUEST | ACK | flags, seq);
    body(&mut batch);
    let mut refused = None;
    socket.transact(batch.bytes(), seq, seq, |_, error| refused = Some(error))?;
    refused.map_or(Ok(()), Err)
}
