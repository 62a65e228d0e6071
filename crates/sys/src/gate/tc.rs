//! The gate as an eBPF program on clsact: absolute deadlines, one store to arm.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use mainstay_core::time::Boot;

use super::bpf::{self, CAPACITY, Maps, Pair, Place};
use super::filters;
use crate::error::{Doing, Error, Result};
use crate::netlink::{Route, Socket};

/// The loopback interface, always there: where it is tried whether this kernel can do all that is needed.
const LOOPBACK: u32 = 1;

pub(super) struct TcGate {
    socket: Socket,
    maps: Maps,
    /// Loaded when the first such interface is attached.
    pairs: BTreeMap<Place, Pair>,
    /// What hangs on each attached interface.
    attached: BTreeMap<u32, Place>,
    /// The interfaces whose clsact queue is ours to remove.
    queues: BTreeSet<u32>,
    slots: HashMap<IpAddr, u32>,
    free: Vec<u32>,
}

impl TcGate {
    /// Loads the programs, takes away what a killed run left, and tries a filter on the loopback interface.
    pub(super) fn open() -> Result<Self> {
        let maps = Maps::create().doing(|| "this kernel or container gives us no BPF maps")?;
        let mut socket = Socket::open(None, &[]).doing(|| "cannot open a netlink socket")?;
        for index in filters::queues(&mut socket).doing(|| "cannot list traffic queues")? {
            filters::take_away(&mut socket, index).doing(|| "cannot replace a killed run's gate")?;
        }
        let mut gate = Self {
            socket,
            maps,
            pairs: BTreeMap::new(),
            attached: BTreeMap::new(),
            queues: BTreeSet::new(),
            slots: HashMap::new(),
            free: Vec::new(),
        };
        gate.hang(LOOPBACK, Place { ethernet: true, elsewhere: false })
            .and_then(|()| gate.detach(LOOPBACK))?;
        Ok(gate)
    }

    /// Hangs what is for an interface where guarded addresses stand, or, `elsewhere`, for one where none does.
    pub(super) fn attach(&mut self, index: u32, elsewhere: bool) -> Result<()> {
        let links = Route::open()?.links()?;
        let link = links.iter().find(|link| link.index == index);
        let link = link.ok_or_else(|| Error::Missing(format!("there is no interface {index} to guard")))?;
        let place = Place { ethernet: link.ethernet, elsewhere };
        self.hang(index, place)?;
        self.attached.insert(index, place);
        Ok(())
    }

    fn hang(&mut self, index: u32, place: Place) -> Result<()> {
        let pair = match self.pairs.entry(place) {
            Entry::Occupied(pair) => pair.into_mut(),
            Entry::Vacant(none) => none.insert(
                bpf::load_pair(&self.maps, place)
                    .doing(|| "the kernel does not load the gate's BPF program")?,
            ),
        };
        let what = || format!("cannot hang the gate's filter on interface {index}");
        if filters::add_queue(&mut self.socket, index).doing(what)? {
            self.queues.insert(index);
        }
        filters::hang(&mut self.socket, index, pair).doing(what)
    }

    pub(super) fn detach(&mut self, index: u32) -> Result<()> {
        self.attached.remove(&index);
        let ours = self.queues.remove(&index);
        filters::take_away(&mut self.socket, index)
            .and_then(|()| if ours { filters::remove_empty_queue(&mut self.socket, index) } else { Ok(()) })
            .or_else(|error| match error.raw_os_error() {
                Some(libc::ENODEV | libc::ENOENT | libc::EINVAL) => Ok(()),
                _ => Err(error),
            })
            .doing(|| format!("cannot take the gate's filter off interface {index}"))
    }

    pub(super) fn guard(&mut self, addr: IpAddr) -> Result<()> {
        if self.slots.contains_key(&addr) {
            return Ok(());
        }
        let next = u32::try_from(self.slots.len() + self.free.len()).unwrap_or(CAPACITY) + 1;
        let slot = self.free.pop().unwrap_or(next);
        if slot > CAPACITY {
            return Err(Error::Unsupported(format!(
                "the gate guards {CAPACITY} addresses, {addr} is one too many"
            )));
        }
        self.maps.store(slot, 0);
        if let Err(error) = self.maps.insert(addr, slot) {
            self.free.push(slot);
            return Err(error).doing(|| format!("cannot guard {addr}"));
        }
        self.slots.insert(addr, slot);
        Ok(())
    }

    pub(super) fn arm(&mut self, addr: IpAddr, until: Boot) -> Result<()> {
        let slot = self.slots.get(&addr).ok_or_else(|| super::not_guarded(addr))?;
        self.maps.store(*slot, until.as_nanos());
        Ok(())
    }

    pub(super) fn forget(&mut self, addr: IpAddr) -> Result<()> {
        let Some(slot) = self.slots.remove(&addr) else { return Ok(()) };
        self.maps.delete(addr).doing(|| format!("cannot stop guarding {addr}"))?;
        self.free.push(slot);
        Ok(())
    }

    /// Hangs the filter again where it is gone; true when it was.
    pub(super) fn mend(&mut self, only: Option<u32>) -> Result<bool> {
        let mut mended = false;
        let attached: Vec<_> = self.attached.iter().map(|(index, place)| (*index, *place)).collect();
        for (index, place) in attached.into_iter().filter(|(index, _)| only.is_none_or(|only| only == *index))
        {
            let Some(pair) = self.pairs.get(&place) else { continue };
            let hangs = filters::hangs(&mut self.socket, index, pair)
                .doing(|| format!("cannot see whether the gate hangs on interface {index}"))?;
            if !hangs {
                self.hang(index, place)?;
                mended = true;
            }
        }
        Ok(mended)
    }

    /// An interface is gone, and its filters with it.
    pub(super) fn lost(&mut self, index: u32) {
        self.attached.remove(&index);
        self.queues.remove(&index);
    }

    pub(super) fn dropped(&self) -> u64 {
        self.maps.dropped()
    }

    pub(super) fn remove(&mut self) -> Result<()> {
        let attached: Vec<_> = self.attached.keys().copied().collect();
        attached.into_iter().try_for_each(|index| self.detach(index))
    }
}
