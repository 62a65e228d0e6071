//! The gate: the kernel's dead-man's switch in front of a vip (DESIGN section 5).
//!
//! A guarded address answers and speaks only until the moment it was last armed to. The moment is absolute, on
//! CLOCK_BOOTTIME; when we are killed or frozen the kernel closes the gate by itself. What is closed: IP packets to and
//! from the address, ARP and neighbour solicitations that ask for it, ARP and advertisements that claim it. All other
//! traffic passes.
//!
//! The first choice is an eBPF program on the interfaces that were attached: those where vips stand, and all others, since
//! Linux answers for its addresses everywhere. Without BPF it is nftables, on all
//! interfaces. Delete an address that a killed run left before opening: open replaces that run's gate.

use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use mainstay_core::time::Boot;

#[cfg(mainstay_bpf)]
mod bpf;
#[cfg(mainstay_bpf)]
mod filters;
mod nft;
mod ruleset;
#[cfg(mainstay_bpf)]
mod tc;
#[cfg(test)]
mod tests;
#[cfg(mainstay_bpf)]
mod timens;

use crate::error::{Error, Result};
use crate::netlink::Change;
use nft::NftGate;
#[cfg(mainstay_bpf)]
use tc::TcGate;

/// Whether this build holds the tc eBPF gate: clang was there when it was compiled.
pub const HAS_TC_EBPF: bool = cfg!(mainstay_bpf);

/// What a gate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateKind {
    /// An eBPF program on clsact: never late, one store to arm.
    TcEbpf,
    /// nftables sets with timeouts: late by as long as we were frozen while arming.
    Nft,
    /// Nothing: only the addresses' lifetime ends by itself.
    None,
}

impl GateKind {
    /// Its name in status, metrics and MAINSTAY_GATE.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TcEbpf => "tc",
            Self::Nft => "nft",
            Self::None => "none",
        }
    }

    /// Reads what [`GateKind::name`] writes.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::TcEbpf, Self::Nft, Self::None].into_iter().find(|kind| kind.name() == name)
    }
}

/// How to open a gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct GateOptions {
    /// This kind or an error, instead of the best that works.
    pub only: Option<GateKind>,
}

enum Way {
    #[cfg(mainstay_bpf)]
    Tc(Box<TcGate>),
    Nft(Box<NftGate>),
    None,
}

/// The gate of this network namespace. Dropping it leaves the kernel's side in place: it closes at the deadlines.
pub struct Gate {
    way: Way,
    why_not: Vec<String>,
    repairs: u64,
}

#[cfg_attr(not(mainstay_bpf), expect(unused_variables, reason = "only the eBPF gate looks at interfaces"))]
impl Gate {
    /// Opens the best gate that works here, in place of one that a killed run left; needs `CAP_NET_ADMIN`, and for eBPF
    /// `CAP_BPF` of the host.
    ///
    /// # Errors
    /// When `options` ask for one kind and it doesn't work.
    pub fn open(options: GateOptions) -> Result<Self> {
        let mut why_not = Vec::new();
        let wanted = |kind| options.only.is_none_or(|only| only == kind);
        if wanted(GateKind::TcEbpf) {
            match open_tc() {
                Ok(way) => return Ok(Self { way, why_not, repairs: 0 }),
                Err(error) if options.only.is_some() => return Err(error),
                Err(error) => why_not.push(format!("no eBPF gate: {error}")),
            }
        }
        if wanted(GateKind::Nft) {
            match NftGate::open(true) {
                Ok(gate) => {
                    if !gate.is_owned() {
                        why_not.push(
                            "the nft gate has no owner (needs Linux 6.9): others can flush it until it is repaired".into(),
                        );
                    }
                    return Ok(Self { way: Way::Nft(Box::new(gate)), why_not, repairs: 0 });
                }
                Err(error) if options.only.is_some() => return Err(error),
                Err(error) => why_not.push(format!("no nft gate: {error}")),
            }
        }
        Ok(Self { way: Way::None, why_not, repairs: 0 })
    }

    /// What it is made of.
    #[must_use]
    pub fn kind(&self) -> GateKind {
        match &self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(_) => GateKind::TcEbpf,
            Way::Nft(_) => GateKind::Nft,
            Way::None => GateKind::None,
        }
    }

    /// Why nothing better was taken, a sentence for each.
    #[must_use]
    pub fn why_not(&self) -> &[String] {
        &self.why_not
    }

    /// Guards an interface (eBPF; the other kinds guard all). Guard the addresses first. `elsewhere`: none of them stands
    /// there, and only what is armed to a moment other than zero is closed there, when that has passed.
    ///
    /// # Errors
    /// When there is no such interface or it takes no filter.
    pub fn attach(&mut self, ifindex: u32, elsewhere: bool) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.attach(ifindex, elsewhere),
            Way::Nft(_) | Way::None => Ok(()),
        }
    }

    /// Stops guarding an interface; one that is gone is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn detach(&mut self, ifindex: u32) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.detach(ifindex),
            Way::Nft(_) | Way::None => Ok(()),
        }
    }

    /// Puts an address under guard: closed until it is armed. One that is guarded already stays as it is.
    ///
    /// # Errors
    /// Past 8192 addresses (eBPF).
    pub fn guard(&mut self, addr: IpAddr) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.guard(addr),
            Way::Nft(gate) => {
                gate.guard(addr);
                Ok(())
            }
            Way::None => Ok(()),
        }
    }

    /// Opens a guarded address until a moment, earlier or later than the one before; a moment that has passed closes it.
    /// Zero says moreover that it is not here: on interfaces where it does not stand its packets may pass on.
    /// With nft it happens at [`commit`](Self::commit).
    ///
    /// # Errors
    /// When the address isn't guarded.
    pub fn arm(&mut self, addr: IpAddr, until: Boot) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.arm(addr, until),
            Way::Nft(gate) => gate.arm(addr, until),
            Way::None => Ok(()),
        }
    }

    /// Tells the kernel what was guarded, armed and forgotten since the last time: nft in one transaction; eBPF knows.
    ///
    /// # Errors
    /// When the kernel refuses; what is pending stays so.
    pub fn commit(&mut self) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(_) => Ok(()),
            Way::Nft(gate) => gate.commit(),
            Way::None => Ok(()),
        }
    }

    /// Takes an address out of guard: it passes like any other.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&mut self, addr: IpAddr) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.forget(addr),
            Way::Nft(gate) => {
                gate.forget(addr);
                Ok(())
            }
            Way::None => Ok(()),
        }
    }

    /// Looks whether all is in place and puts back what isn't; true when something was put back.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn verify(&mut self) -> Result<bool> {
        let mended = match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.mend(None)?,
            Way::Nft(gate) => gate.mend()?,
            Way::None => false,
        };
        Ok(self.count(mended))
    }

    /// Like [`verify`](Self::verify), but looks only where a change that the monitor heard may have done harm.
    ///
    /// # Errors
    /// When what is gone cannot be put back.
    pub fn repair(&mut self, change: &Change) -> Result<bool> {
        let mended = match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => match change {
                Change::Filter { index } => gate.mend(Some(*index))?,
                Change::LinkGone(index, _) => {
                    gate.lost(*index);
                    false
                }
                Change::Overflow => gate.mend(None)?,
                Change::Link(_) | Change::Addr(_) | Change::AddrGone(_) => false,
            },
            Way::Nft(_) | Way::None => false,
        };
        Ok(self.count(mended))
    }

    /// What to wait on besides the monitor: readable when somebody deleted something from the firewall (nft).
    #[must_use]
    pub fn monitor_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(_) => None,
            Way::Nft(gate) => Some(gate.monitor_fd()),
            Way::None => None,
        }
    }

    /// To be called when [`monitor_fd`](Self::monitor_fd) is readable: puts back what is gone; true when something was.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn heard(&mut self) -> Result<bool> {
        let mended = match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(_) => false,
            Way::Nft(gate) => gate.heard()? && gate.mend()?,
            Way::None => false,
        };
        Ok(self.count(mended))
    }

    /// How often something had to be put back.
    #[must_use]
    pub fn repairs(&self) -> u64 {
        self.repairs
    }

    /// Packets that a closed gate dropped, where it counts them (eBPF).
    #[must_use]
    pub fn dropped(&self) -> Option<u64> {
        match &self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => Some(gate.dropped()),
            Way::Nft(_) | Way::None => None,
        }
    }

    /// Takes all of it out of the kernel, for a clean stop: addresses that still exist pass again.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(mut self) -> Result<()> {
        match &mut self.way {
            #[cfg(mainstay_bpf)]
            Way::Tc(gate) => gate.remove(),
            Way::Nft(gate) => gate.remove(),
            Way::None => Ok(()),
        }
    }

    fn count(&mut self, mended: bool) -> bool {
        self.repairs += u64::from(mended);
        mended
    }
}

#[cfg(mainstay_bpf)]
fn open_tc() -> Result<Way> {
    timens::same_clock()?;
    TcGate::open().map(|gate| Way::Tc(Box::new(gate)))
}

#[cfg(not(mainstay_bpf))]
fn open_tc() -> Result<Way> {
    Err(Error::Unsupported("this mainstay was built without clang".to_owned()))
}

/// Arming an address that nobody guards is a mistake of the caller's.
fn not_guarded(addr: IpAddr) -> Error {
    Error::Missing(format!("{addr} is not guarded, so it cannot be armed"))
}
