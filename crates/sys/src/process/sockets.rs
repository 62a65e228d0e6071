//! Which process holds a socket, for those who find an address taken.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use super::list::{Process, processes};
use crate::listen::Flow;

/// TCP_LISTEN as /proc/net/tcp writes it.
const LISTENS: &str = "0A";

/// The processes that hold a socket bound to this address, or to one that covers it; those that we may not look into are left out.
#[must_use]
pub fn holders(addr: SocketAddr, flow: Flow) -> Vec<Process> {
    let tables = match flow {
        Flow::Tcp => ["/proc/net/tcp", "/proc/net/tcp6"],
        Flow::Udp => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let text = |table: &str| fs::read_to_string(table).unwrap_or_default();
    let inodes: Vec<String> = tables.iter().flat_map(|table| inodes(&text(table), addr, flow)).collect();
    by_inode(&inodes)
}

/// The processes that hold the listening end of a unix socket.
#[must_use]
pub fn unix_holders(path: &Path) -> Vec<Process> {
    let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let path = path.to_string_lossy();
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Num RefCount Protocol Flags Type St Inode Path; the flag says that it takes connections.
        (words.len() >= 8 && words[7] == path && words[3] == "00010000").then(|| words[6].to_owned())
    };
    by_inode(&table.lines().filter_map(line).collect::<Vec<_>>())
}

fn by_inode(inodes: &[String]) -> Vec<Process> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let targets: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let holds = |process: &Process| {
        let Ok(entries) = fs::read_dir(format!("/proc/{}/fd", process.pid)) else { return false };
        entries.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|to| targets.iter().any(|t| to.as_os_str() == t.as_str()))
        })
    };
    processes().map(|all| all.filter(holds).collect()).unwrap_or_default()
}

/// Inodes of the sockets in a table of /proc/net that keep somebody else from the address.
fn inodes(table: &str, wanted: SocketAddr, flow: Flow) -> Vec<String> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (local, state, inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
        let bound = address(local)?;
        let listens = flow == Flow::Udp || *state == LISTENS;
        (listens && clash(bound, wanted)).then(|| (*inode).to_owned())
    };
    table.lines().skip(1).filter_map(line).collect()
}

fn clash(bound: SocketAddr, wanted: SocketAddr) -> bool {
    let any = |ip: IpAddr| ip.is_unspecified();
    // A socket on `::` may take IPv4 too.
    let same = bound.ip() == wanted.ip() || any(wanted.ip()) || any(bound.ip());
    let families = bound.is_ipv4() == wanted.is_ipv4() || (bound.is_ipv6() && any(bound.ip()));
    bound.port() == wanted.port() && same && families
}

/// `0100007F:1F90`: each 32-bit word in the machine's order, the port in the network's.
fn address(text: &str) -> Option<SocketAddr> {
    let (addr, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| u32::from_str_radix(addr.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    let ip: IpAddr = match addr.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for at in 0..4 {
                bytes[at * 4..at * 4 + 4].copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_holder_of_a_port_is_named_whatever_address_covers_it() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("address");
        let pids = |addr, flow| holders(addr, flow).iter().map(|p| p.pid).collect::<Vec<_>>();
        assert_eq!(pids(addr, Flow::Tcp), [std::process::id()]);
        assert_eq!(pids((Ipv4Addr::UNSPECIFIED, addr.port()).into(), Flow::Tcp), [std::process::id()]);
        let udp = UdpSocket::bind("[::1]:0").expect("bind");
        assert_eq!(pids(udp.local_addr().expect("address"), Flow::Udp), [std::process::id()]);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn addresses_of_proc_net_are_read() {
        assert_eq!(address("0100007F:1F90"), Some("127.0.0.1:8080".parse().expect("address")));
        let six = "B80D0120000000000000000001000000:0050";
        assert_eq!(address(six), Some("[2001:db8::1]:80".parse().expect("address")));
        assert_eq!(address("nonsense"), None);
    }

    #[test]
    fn a_socket_of_another_family_does_not_clash_but_a_dual_one_does() {
        let at = |text: &str| text.parse::<SocketAddr>().expect("address");
        assert!(clash(at("[::]:80"), at("10.0.0.1:80")));
        assert!(!clash(at("[::1]:80"), at("10.0.0.1:80")));
        assert!(!clash(at("10.0.0.2:80"), at("10.0.0.1:80")));
        assert!(clash(at("0.0.0.0:80"), at("10.0.0.1:80")));
    }
}
