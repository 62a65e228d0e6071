//! The few system calls that rustix does not offer safely, each behind one checked function.

use std::ffi::{c_int, c_void};
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, socket_with};

/// Plain C structures without padding bytes that matter, safe to hand to the kernel as bytes.
///
/// # Safety
/// Every bit pattern of the type is valid and it holds no pointer that the kernel would follow, or only ones that
/// outlive the call.
pub(crate) unsafe trait Plain: Copy {}

macro_rules! plain {
    ($($name:ty),* $(,)?) => { $(
        // SAFETY: a structure of integers and byte arrays from the kernel's own headers.
        unsafe impl Plain for $name {}
    )* };
}

plain!(
    c_int,
    u32,
    libc::ip_mreqn,
    libc::ipv6_mreq,
    libc::packet_mreq,
    libc::in_pktinfo,
    libc::in6_pktinfo,
    libc::sockaddr_in,
    libc::sockaddr_in6,
    libc::sockaddr_ll,
    libc::timeval,
    libc::rusage,
    [u32; 8],
);

/// All bits zero, as C's structures want to be started.
pub(crate) fn zeroed<T: Plain>() -> T {
    // SAFETY: `Plain` promises that every bit pattern is valid.
    unsafe { mem::zeroed() }
}

/// The size of `T` as the socket calls want it.
pub(crate) fn socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(mem::size_of::<T>()).expect("kernel structures are small")
}

/// -1 becomes the thread's errno.
pub(crate) fn check(ret: c_int) -> io::Result<c_int> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// A descriptor's number, as structures without signs carry it.
#[cfg(mainstay_bpf)]
pub(crate) fn raw(fd: impl AsFd) -> u32 {
    u32::try_from(fd.as_fd().as_raw_fd()).expect("an open descriptor is not negative")
}

/// A non-blocking, close-on-exec socket.
pub(crate) fn socket(
    family: AddressFamily,
    kind: SocketType,
    protocol: Option<Protocol>,
) -> io::Result<OwnedFd> {
    Ok(socket_with(family, kind, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, protocol)?)
}

/// Sets a socket option of plain data.
pub(crate) fn set_option<T: Plain>(fd: impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let value: *const T = value;
    // SAFETY: `value` points at `socklen::<T>()` readable bytes for the length of the call.
    check(unsafe { libc::setsockopt(fd, level, name, value.cast::<c_void>(), socklen::<T>()) }).map(drop)
}

/// Sets a socket option that is a string of bytes, such as an interface's name.
pub(crate) fn set_option_bytes(fd: impl AsFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let len = libc::socklen_t::try_from(value.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: `value` points at `len` readable bytes for the length of the call.
    check(unsafe { libc::setsockopt(fd, level, name, value.as_ptr().cast::<c_void>(), len) }).map(drop)
}

/// Binds a socket to an address of plain data.
pub(crate) fn bind<T: Plain>(fd: impl AsFd, address: &T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let address: *const T = address;
    // SAFETY: `address` points at `socklen::<T>()` readable bytes for the length of the call.
    check(unsafe { libc::bind(fd, address.cast::<libc::sockaddr>(), socklen::<T>()) }).map(drop)
}

/// Asks for a receive buffer of `bytes`, beyond the host's limit where we may, else up to it.
pub(crate) fn receive_buffer(fd: impl AsFd, bytes: c_int) -> io::Result<()> {
    let fd = fd.as_fd();
    set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &bytes)
        .or_else(|_| set_option(fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &bytes))
}

/// Attaches a classic BPF program that decides what the socket hears.
pub(crate) fn socket_filter(fd: impl AsFd, program: &[libc::sock_filter]) -> io::Result<()> {
    self::program(fd, libc::SO_ATTACH_FILTER, program)
}

/// Attaches a classic BPF program by the socket option that says what for.
pub(crate) fn program(fd: impl AsFd, option: c_int, program: &[libc::sock_filter]) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    let len = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fprog = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    let pointer: *const libc::sock_fprog = &raw const fprog;
    let size = socklen::<libc::sock_fprog>();
    // SAFETY: `fprog` and the program it points at live until the call returns; the kernel copies and only reads them.
    let ret = unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, option, pointer.cast::<c_void>(), size) };
    check(ret).map(drop)
}

/// Sends what `messages` describe; returns how many were taken.
///
/// # Safety
/// Each header's name, vectors and control bytes point at memory that lives and is unshared until the call returns.
pub(crate) unsafe fn send_many(fd: impl AsFd, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the caller vouches for the headers.
    let sent = unsafe { libc::sendmmsg(fd.as_fd().as_raw_fd(), messages.as_mut_ptr(), count, flags) };
    check(sent).map(|sent| usize::try_from(sent).unwrap_or(0))
}

/// Receives without waiting into what `messages` describe; returns how many were filled.
///
/// # Safety
/// Each header's name, vectors and control bytes point at writable memory that lives until the call returns.
pub(crate) unsafe fn receive_many(fd: impl AsFd, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
    let count = u32::try_from(messages.len()).unwrap_or(u32::MAX);
    let (fd, first) = (fd.as_fd().as_raw_fd(), messages.as_mut_ptr());
    // SAFETY: the caller vouches for the headers; no timeout is handed over.
    let got = unsafe { libc::recvmmsg(fd, first, count, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
    check(got).map(|got| usize::try_from(got).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_call_becomes_its_errno() {
        let error = check(-1).expect_err("-1 is a failure");
        assert!(error.raw_os_error().is_some());
        assert_eq!(check(3).expect("3 is a success"), 3);
    }
}
