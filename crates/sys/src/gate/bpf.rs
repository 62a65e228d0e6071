//! bpf(2), as much of it as the gate needs: two maps, eight programs, one page that both sides see.
//!
//! Our own instead of a crate: aya maps no array into memory, and parsing the kernel's type information costs more
//! memory than the rest of the worker. See build.rs for where the instructions come from.

use std::ffi::{c_long, c_void};
use std::io;
use std::mem;
use std::net::IpAddr;
use std::os::fd::{FromRawFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use crate::os;

include!(concat!(env!("OUT_DIR"), "/gate.rs"));

/// The map that an instruction loads.
#[derive(Clone, Copy, Debug)]
enum Map {
    /// Address to slot.
    Slots,
    /// Slot to deadline.
    Deadlines,
}

/// A program as build.rs wrote it.
struct Program {
    name: &'static str,
    maps: &'static [(usize, Map)],
    code: &'static [[u8; 8]],
}

/// Addresses that one gate guards at most.
pub(super) const CAPACITY: u32 = 8192;
/// Slot 0 counts dropped packets.
const ENTRIES: u32 = CAPACITY + 1;

const MAP_CREATE: c_long = 0;
const MAP_UPDATE: c_long = 2;
const MAP_DELETE: c_long = 3;
const PROG_LOAD: c_long = 5;
const OBJ_GET_INFO: c_long = 15;
const TYPE_HASH: u32 = 1;
const TYPE_ARRAY: u32 = 2;
const TYPE_SCHED_CLS: u32 = 3;
const NO_PREALLOC: u32 = 1;
const MMAPABLE: u32 = 1 << 10;

/// An address as the program's keys have it, IPv4 mapped into IPv6.
fn key(addr: IpAddr) -> [u8; 16] {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped().octets(),
        IpAddr::V6(addr) => addr.octets(),
    }
}

/// Both maps, and the deadlines as memory.
pub(super) struct Maps {
    slots: OwnedFd,
    deadlines: OwnedFd,
    memory: NonNull<AtomicU64>,
}

// SAFETY: the memory is a shared mapping of atomics that lives as long as `Maps`; no thread owns it.
unsafe impl Send for Maps {}

#[repr(C)]
struct MapAttr {
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    inner: u32,
    numa: u32,
    name: [u8; 16],
}

#[repr(C)]
struct ElementAttr {
    map: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramAttr {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

impl Maps {
    /// Makes the maps, empty.
    pub(super) fn create() -> io::Result<Self> {
        let slots = create_map(TYPE_HASH, 16, 4, CAPACITY, NO_PREALLOC, "mainstay_slots")?;
        let deadlines = create_map(TYPE_ARRAY, 4, 8, ENTRIES, MMAPABLE, "mainstay_until")?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let memory =
            unsafe { mmap(ptr::null_mut(), memory_len(), protection, MapFlags::SHARED, &deadlines, 0) }?;
        let memory = NonNull::new(memory.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self { slots, deadlines, memory })
    }

    /// Lets a slot's address be used until this moment: one store, no system call.
    pub(super) fn store(&self, slot: u32, until: u64) {
        self.entry(slot).store(until, Ordering::Release);
    }

    /// Packets dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.entry(0).load(Ordering::Relaxed)
    }

    fn entry(&self, slot: u32) -> &AtomicU64 {
        let slot = usize::try_from(slot).expect("usize has 32 bits at least");
        assert!(slot <= CAPACITY as usize, "a slot within the map");
        // SAFETY: the mapping holds ENTRIES counters and `slot` was checked to be one of them.
        let entry = unsafe { self.memory.add(slot) };
        // SAFETY: the kernel aligns entries to 8 bytes and keeps them mapped while `self` lives.
        unsafe { entry.as_ref() }
    }

    /// Puts an address under guard of a slot.
    pub(super) fn insert(&self, addr: IpAddr, slot: u32) -> io::Result<()> {
        let key = key(addr);
        self.element(MAP_UPDATE, &key, &raw const slot as u64)
    }

    /// Takes an address out.
    pub(super) fn delete(&self, addr: IpAddr) -> io::Result<()> {
        self.element(MAP_DELETE, &key(addr), 0)
    }

    fn element(&self, command: c_long, key: &[u8; 16], value: u64) -> io::Result<()> {
        let attr =
            ElementAttr { map: os::raw(&self.slots), pad: 0, key: key.as_ptr() as u64, value, flags: 0 };
        bpf(command, &attr).map(drop)
    }
}

impl Drop for Maps {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `create` with this length; its only user is going.
        let _ = unsafe { munmap(self.memory.as_ptr().cast::<c_void>(), memory_len()) };
    }
}

fn memory_len() -> usize {
    (ENTRIES as usize * mem::size_of::<u64>()).next_multiple_of(rustix::param::page_size())
}

fn create_map(
    kind: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    flags: u32,
    name: &str,
) -> io::Result<OwnedFd> {
    let attr =
        MapAttr { kind, key_size, value_size, max_entries, flags, inner: 0, numa: 0, name: short(name) };
    bpf(MAP_CREATE, &attr).map(owned)
}

/// A loaded program and its number in the kernel.
pub(super) struct Loaded {
    /// Its descriptor.
    pub(super) fd: OwnedFd,
    /// Its number, which a filter's listing shows.
    pub(super) id: u32,
}

/// The programs for one kind of interface.
pub(super) struct Pair {
    /// What comes in.
    pub(super) ingress: Loaded,
    /// What goes out.
    pub(super) egress: Loaded,
}

/// Where programs are to hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// The interface's packets begin with an Ethernet header, else with that of IP.
    pub(super) ethernet: bool,
    /// No guarded address stands there; the host answers for them all the same.
    pub(super) elsewhere: bool,
}

/// Loads the programs for one kind of place.
pub(super) fn load_pair(maps: &Maps, place: Place) -> io::Result<Pair> {
    let (ingress, egress) = match (place.ethernet, place.elsewhere) {
        (true, false) => (&ETHERNET_INGRESS, &ETHERNET_EGRESS),
        (false, false) => (&IP_INGRESS, &IP_EGRESS),
        (true, true) => (&ETHERNET_IN_ELSEWHERE, &ETHERNET_OUT_ELSEWHERE),
        (false, true) => (&IP_IN_ELSEWHERE, &IP_OUT_ELSEWHERE),
    };
    Ok(Pair { ingress: load(ingress, maps)?, egress: load(egress, maps)? })
}

fn load(program: &Program, maps: &Maps) -> io::Result<Loaded> {
    let mut code = program.code.to_vec();
    for (at, map) in program.maps {
        let map = match map {
            Map::Slots => &maps.slots,
            Map::Deadlines => &maps.deadlines,
        };
        code[*at][4..].copy_from_slice(&os::raw(map).to_ne_bytes());
    }
    let attr = ProgramAttr {
        kind: TYPE_SCHED_CLS,
        count: u32::try_from(code.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        code: code.as_ptr() as u64,
        // The program is ours and Apache-2.0; none of the helpers that it calls asks for the GPL.
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name: short(program.name),
    };
    let fd = owned(bpf(PROG_LOAD, &attr)?);
    let mut info = [0u32; 2];
    let attr = InfoAttr { fd: os::raw(&fd), len: 8, info: info.as_mut_ptr() as u64 };
    bpf(OBJ_GET_INFO, &attr)?;
    // struct bpf_prog_info begins with type and id; the kernel wrote them through the pointer.
    // SAFETY: `info` is a live array of two numbers.
    let id = unsafe { ptr::read_volatile(&raw const info[1]) };
    Ok(Loaded { fd, id })
}

fn bpf<T>(command: c_long, attr: &T) -> io::Result<c_long> {
    let attr: *const T = attr;
    // SAFETY: `attr` is a command's own structure; what it points at lives in the caller until the call returns.
    let ret = unsafe { libc::syscall(libc::SYS_bpf, command, attr, mem::size_of::<T>()) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn owned(fd: c_long) -> OwnedFd {
    let fd = i32::try_from(fd).expect("descriptors are small numbers");
    // SAFETY: the kernel has just returned this descriptor to us alone.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// A name as the kernel takes it: 15 bytes and a zero.
fn short(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(name.bytes().take(15)) {
        *to = from;
    }
    bytes
}
