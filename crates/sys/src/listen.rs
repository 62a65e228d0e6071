//! Sockets that take connections: several to an address, before the address exists, and steered among each other.

use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_ip_freebind, set_ipv6_freebind, set_ipv6_v6only, set_socket_reuseaddr, set_socket_reuseport,
    set_tcp_nodelay,
};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect};

use crate::error::{Doing, Result};
use crate::os;

/// Connections that may wait to be accepted; the kernel takes `net.core.somaxconn` when that is less.
const BACKLOG: i32 = 65_535;

/// What comes over a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Connections.
    Tcp,
    /// Datagrams.
    Udp,
}

/// Tells whether somebody else has the address, also one who would share it by SO_REUSEPORT.
///
/// # Errors
/// The kernel's answer: `EADDRINUSE` when it is taken.
pub fn is_free(addr: SocketAddr, flow: Flow) -> Result<()> {
    let fd = socket(addr, flow)?;
    if flow == Flow::Tcp {
        // What a former listener left in TIME_WAIT is nobody's.
        set_socket_reuseaddr(&fd, true).doing(|| format!("cannot prepare a socket for {addr}"))?;
    }
    bind(&fd, addr)
}

/// A socket of a group that shares the address; the address need not exist yet. Accepted connections have TCP_NODELAY.
///
/// # Errors
/// The kernel's answer.
pub fn open(addr: SocketAddr, flow: Flow) -> Result<OwnedFd> {
    let fd = socket(addr, flow)?;
    let prepare = || -> rustix::io::Result<()> {
        set_socket_reuseport(&fd, true)?;
        match flow {
            Flow::Tcp => {
                set_socket_reuseaddr(&fd, true)?;
                set_tcp_nodelay(&fd, true)
            }
            Flow::Udp => Ok(()),
        }
    };
    prepare().doing(|| format!("cannot prepare a socket for {addr}"))?;
    bind(&fd, addr)?;
    if flow == Flow::Tcp {
        rustix::net::listen(&fd, BACKLOG).doing(|| format!("cannot listen on {addr}"))?;
    }
    Ok(fd)
}

/// The same, and nobody who calls there is answered: as if packets were lost, so that callers ask again.
///
/// # Errors
/// The kernel's answer.
pub fn open_hushed(addr: SocketAddr) -> Result<OwnedFd> {
    let fd = socket(addr, Flow::Tcp)?;
    set_socket_reuseport(&fd, true).doing(|| format!("cannot prepare a socket for {addr}"))?;
    set_socket_reuseaddr(&fd, true).doing(|| format!("cannot prepare a socket for {addr}"))?;
    hush(&fd)?;
    bind(&fd, addr)?;
    rustix::net::listen(&fd, 1).doing(|| format!("cannot listen on {addr}"))?;
    Ok(fd)
}

/// Has a listening socket answer no further calls, as if their packets were lost: callers ask again after a second. Connections that
/// have begun are taken as before.
///
/// # Errors
/// The kernel's answer.
pub fn hush(fd: impl AsFd) -> Result<()> {
    let word = |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter {
        code: u16::try_from(code).unwrap_or(0),
        jt,
        jf,
        k,
    };
    // A listening socket's filter sees the TCP header.
    let program = [
        word(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, TCP_FLAGS),
        word(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        word(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        word(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    os::socket_filter(fd, &program).doing(|| "cannot leave calls unanswered")
}

/// Where a TCP header has its flags, and two of them (RFC 9293 section 3.1).
const TCP_FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// A unix socket that takes connections; a file that nobody listens on any more is replaced.
///
/// # Errors
/// `EADDRINUSE` when somebody listens there, or something else than a socket is there.
pub fn open_unix(path: &Path) -> Result<OwnedFd> {
    let what = || format!("cannot listen on unix:{}", path.display());
    let addr = SocketAddrUnix::new(path).doing(what)?;
    let fd = os::socket(AddressFamily::UNIX, SocketType::STREAM, None).doing(what)?;
    let bound = match rustix::net::bind(&fd, &addr) {
        Err(Errno::ADDRINUSE) if is_stale(path, &addr) => {
            std::fs::remove_file(path)
                .doing(|| format!("cannot remove the stale socket {}", path.display()))?;
            rustix::net::bind(&fd, &addr)
        }
        bound => bound,
    };
    bound.doing(what)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(path, mode).doing(|| format!("cannot set the mode of {}", path.display()))?;
    rustix::net::listen(&fd, BACKLOG).doing(what)?;
    Ok(fd)
}

/// Whether a path is a socket on which nobody listens.
fn is_stale(path: &Path, addr: &SocketAddrUnix) -> bool {
    use std::os::unix::fs::FileTypeExt as _;
    let socket = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_socket());
    let Ok(asker) = os::socket(AddressFamily::UNIX, SocketType::STREAM, None) else { return false };
    socket && connect(&asker, addr) == Err(Errno::CONNREFUSED)
}

fn socket(addr: SocketAddr, flow: Flow) -> Result<OwnedFd> {
    let what = || format!("cannot make a socket for {addr}");
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let kind = if flow == Flow::Tcp { SocketType::STREAM } else { SocketType::DGRAM };
    let fd = os::socket(family, kind, None).doing(what)?;
    if addr.is_ipv4() {
        set_ip_freebind(&fd, true).doing(what)?;
    } else {
        set_ipv6_v6only(&fd, true).doing(what)?;
        set_ipv6_freebind(&fd, true).doing(what)?;
    }
    Ok(fd)
}

fn bind(fd: &OwnedFd, addr: SocketAddr) -> Result<()> {
    rustix::net::bind(fd, &addr).doing(|| format!("cannot listen on {addr}"))
}

/// Has the kernel give new connections to the first `count` sockets alone of the group that `fd` belongs to, in the order in which they
/// began to listen; with `None`, to all again. Those that wait on the others stay there.
///
/// # Errors
/// The kernel's answer.
pub fn steer(fd: impl AsFd, count: Option<u32>) -> Result<()> {
    let fd = fd.as_fd();
    let Some(count) = count.filter(|count| *count > 0) else {
        return os::set_option(fd, libc::SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &0i32)
            .or_else(|error| if error.raw_os_error() == Some(libc::ENOENT) { Ok(()) } else { Err(error) })
            .doing(|| "cannot end the steering of connections");
    };
    let word =
        |code: u32, k: u32| libc::sock_filter { code: u16::try_from(code).unwrap_or(0), jt: 0, jf: 0, k };
    let program = [
        // The flow's hash, as the kernel itself would use it.
        word(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, RXHASH),
        word(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, count),
        word(libc::BPF_RET | RET_A, 0),
    ];
    os::program(fd, libc::SO_ATTACH_REUSEPORT_CBPF, &program).doing(|| "cannot steer connections")
}

/// Linux 5.3; the libc crate does not name it for every target.
const SO_DETACH_REUSEPORT_BPF: i32 = 68;

/// SKF_AD_OFF + SKF_AD_RXHASH.
const RXHASH: u32 = (-0x1000_i32 + 32) as u32;

/// BPF_A, what BPF_RET gives back.
const RET_A: u32 = 0x10;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use super::*;

    fn accepted(fd: &OwnedFd) -> usize {
        std::iter::from_fn(|| rustix::net::accept(fd).ok()).count()
    }

    fn group(count: usize) -> (SocketAddr, Vec<OwnedFd>) {
        let first = open((Ipv4Addr::LOCALHOST, 0).into(), Flow::Tcp).expect("listen");
        let addr = rustix::net::getsockname(&first).expect("name");
        let addr = SocketAddr::try_from(addr).expect("an address");
        let mut all = vec![first];
        all.extend((1..count).map(|_| open(addr, Flow::Tcp).expect("listen")));
        (addr, all)
    }

    #[test]
    fn a_group_shares_connections_and_a_steered_one_spares_its_last() {
        let (addr, all) = group(4);
        let calls = |count: usize| -> Vec<TcpStream> {
            (0..count).map(|_| TcpStream::connect(addr).expect("connect")).collect()
        };
        let _first = calls(64);
        let shares: Vec<usize> = all.iter().map(accepted).collect();
        assert_eq!(shares.iter().sum::<usize>(), 64);
        assert!(shares.iter().all(|share| *share > 0), "{shares:?}");
        steer(&all[0], Some(2)).expect("steer");
        let _second = calls(64);
        let shares: Vec<usize> = all.iter().map(accepted).collect();
        assert_eq!((shares[0] + shares[1], shares[2] + shares[3]), (64, 0));
        steer(&all[0], None).expect("end it");
        let _third = calls(64);
        assert!(all.iter().map(accepted).all(|share| share > 0));
    }

    #[test]
    fn a_hushed_address_leaves_calls_unanswered_and_keeps_what_has_begun() {
        use std::io::{Read as _, Write as _};
        let (addr, all) = group(1);
        let mut begun = TcpStream::connect(addr).expect("connect");
        hush(&all[0]).expect("hush");
        let patience = std::time::Duration::from_millis(200);
        let asked = TcpStream::connect_timeout(&addr, patience).expect_err("nobody answers");
        assert_eq!(asked.kind(), std::io::ErrorKind::TimedOut);
        let mut served = TcpStream::from(rustix::net::accept(&all[0]).expect("accept"));
        begun.write_all(b"hello").expect("write");
        let mut heard = [0; 5];
        served.read_exact(&mut heard).expect("read");
        assert_eq!(&heard, b"hello");
        // Beside one for all addresses, the hushed one of an address takes its calls.
        let any = open((Ipv4Addr::UNSPECIFIED, 0).into(), Flow::Tcp).expect("listen");
        let port =
            SocketAddr::try_from(rustix::net::getsockname(&any).expect("name")).expect("an address").port();
        let hushed = open_hushed((Ipv4Addr::LOCALHOST, port).into()).expect("listen beside it");
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(TcpStream::connect_timeout(&at, patience).is_err());
        TcpStream::connect_timeout(&(Ipv4Addr::new(127, 0, 0, 2), port).into(), patience)
            .expect("another address");
        drop(hushed);
        TcpStream::connect(at).expect("it is heard again");
    }

    #[test]
    fn an_address_that_somebody_shares_or_holds_is_not_free() {
        let (addr, all) = group(1);
        assert_eq!(is_free(addr, Flow::Tcp).expect_err("shared").os_error(), Some(libc::EADDRINUSE));
        drop(all);
        is_free(addr, Flow::Tcp).expect("free again");
        let held = TcpListener::bind(addr).expect("bind");
        assert_eq!(open(addr, Flow::Tcp).expect_err("held").os_error(), Some(libc::EADDRINUSE));
        drop(held);
        let udp = std::net::UdpSocket::bind(addr).expect("bind");
        assert!(is_free(addr, Flow::Udp).is_err() && is_free(addr, Flow::Tcp).is_ok());
        drop(udp);
    }

    #[test]
    fn an_address_that_is_not_there_can_be_listened_on() {
        open("192.0.2.77:8099".parse().expect("an address"), Flow::Tcp).expect("freebind");
    }

    #[test]
    fn only_a_stale_socket_file_is_replaced() {
        let folder = std::env::temp_dir().join(format!("mainstay-listen-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let path = folder.join("edge.sock");
        let first = open_unix(&path).expect("a new one");
        assert_eq!(open_unix(&path).expect_err("in use").os_error(), Some(libc::EADDRINUSE));
        drop(first);
        drop(open_unix(&path).expect("nobody listens there"));
        std::fs::remove_file(&path).expect("remove");
        std::fs::write(&path, "precious").expect("a file");
        assert!(open_unix(&path).is_err());
        assert_eq!(std::fs::read(&path).expect("still there"), b"precious");
        std::fs::remove_dir_all(&folder).expect("clean up");
    }
}
