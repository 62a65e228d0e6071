//! A UDP socket of ours: batches in, segments out, and to which address each came.

use std::cell::RefCell;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use quinn_proto::{EcnCodepoint, Transmit};
use quinn_udp::{RecvMeta, UdpSocketState};
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Messages that are taken with one call.
const BATCH: usize = 8;

/// The room for each: the kernel may give several datagrams as one.
const ROOM: usize = 64 << 10;

/// What the kernel may keep of one socket each way, in bytes; it takes less where `net.core.rmem_max` says so.
const KERNEL: usize = 2 << 20;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// What a datagram comes with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Came {
    pub(super) from: SocketAddr,
    /// Our address that it came to.
    pub(super) to: Option<IpAddr>,
    pub(super) ecn: Option<EcnCodepoint>,
}

/// The socket.
#[derive(Debug)]
pub(super) struct Socket {
    fd: AsyncFd<OwnedFd>,
    state: UdpSocketState,
}

impl Socket {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        let state = UdpSocketState::new((&fd).into())?;
        let own = SockRef::from(&fd);
        // Without room a burst is lost before anybody has looked at it; less room is no error.
        let _ = own.set_recv_buffer_size(KERNEL);
        let _ = own.set_send_buffer_size(KERNEL);
        #[expect(
            deprecated,
            reason = "its successor is unsafe for types whose descriptor may change; ours does not"
        )]
        let fd = AsyncFd::with_interest(fd, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { fd, state })
    }

    /// Whether what is too long for the way is dropped, so that the longest that fits can be found.
    pub(super) fn finds_mtu(&self) -> bool {
        !self.state.may_fragment()
    }

    /// How many datagrams go with one call.
    pub(super) fn segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// Sends what the machine has staged. What the kernel refuses for another reason than want of room is lost, as datagrams may be.
    pub(super) fn poll_send(
        &self,
        cx: &mut Context<'_>,
        transmit: &Transmit,
        bytes: &[u8],
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.fd.poll_write_ready(cx))?;
            if ready.try_io(|fd| self.send_by(fd.get_ref(), transmit, bytes)).is_ok() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The same for what nobody waits for.
    pub(super) fn send(&self, transmit: &Transmit, bytes: &[u8]) {
        let _ = self.send_by(self.fd.get_ref(), transmit, bytes);
    }

    fn send_by(&self, fd: &OwnedFd, transmit: &Transmit, bytes: &[u8]) -> io::Result<()> {
        let ecn = transmit.ecn.and_then(|ecn| quinn_udp::EcnCodepoint::from_bits(ecn as u8));
        let transmit = quinn_udp::Transmit {
            destination: transmit.destination,
            ecn,
            contents: &bytes[..transmit.size],
            segment_size: transmit.segment_size,
            src_ip: transmit.src_ip,
        };
        self.state.send(fd.into(), &transmit)
    }

    /// Waits until there is something to take.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.fd.readable().await.map(|mut ready| ready.retain_ready())
    }

    /// Takes one batch: whether there may be more.
    pub(super) async fn receive(&self, mut each: impl FnMut(Came, &[u8])) -> io::Result<bool> {
        let mut ready = self.fd.readable().await?;
        let taken = ready.try_io(|fd| {
            BUFFER.with_borrow_mut(|buffer| {
                buffer.resize(BATCH * ROOM, 0);
                let mut metas = [RecvMeta::default(); BATCH];
                let count = {
                    let mut rooms = buffer.chunks_mut(ROOM).map(IoSliceMut::new);
                    let mut slices: [IoSliceMut<'_>; BATCH] =
                        std::array::from_fn(|_| rooms.next().expect("as many rooms as slices"));
                    self.state.recv(fd.get_ref().into(), &mut slices, &mut metas)?
                };
                for (meta, room) in metas[..count].iter().zip(buffer.chunks(ROOM)) {
                    let ecn = meta.ecn.and_then(|ecn| EcnCodepoint::from_bits(ecn as u8));
                    let came = Came { from: meta.addr, to: meta.dst_ip, ecn };
                    room[..meta.len].chunks(meta.stride.max(1)).for_each(|bytes| each(came, bytes));
                }
                Ok(())
            })
        });
        match taken {
            Ok(Ok(())) => Ok(true),
            // What could not be delivered is told here (ICMP): no fault of this socket.
            Ok(Err(_)) => Ok(true),
            Err(_) => Ok(false),
        }
    }
}
