//! A client whose response is compressed on its way out.

use std::task::{Context, Poll, ready};

use super::{Broken, Client, More, ResponseBody, Sink, Source, Trailer};
use crate::exchange::FieldSink;
use crate::gzip::Encoder;
use crate::transport::Stream;

/// Bytes that are compressed in one turn: others get theirs.
const TURN: usize = 64 << 10;

/// The client's side of a request, its response's body compressed. Its request passes as it is.
pub(super) struct Packed<'c, C> {
    client: &'c mut C,
    encoder: Option<Encoder>,
    /// What is compressed and was not sent yet.
    out: Vec<u8>,
    /// How much of it went out.
    at: usize,
    /// The body is complete, with these trailers; the client does not know it yet.
    end: Option<Vec<Trailer>>,
    /// Compressed bytes that went out.
    pub(super) sent: u64,
}

impl<'c, C: Client> Packed<'c, C> {
    pub(super) fn new(client: &'c mut C, encoder: Encoder) -> Self {
        Self { client, encoder: Some(encoder), out: Vec::new(), at: 0, end: None, sent: 0 }
    }

    /// Compresses the end of the body.
    pub(super) fn pack_rest(&mut self) {
        if let Some(encoder) = self.encoder.take() {
            encoder.finish(&mut self.out);
        }
    }

    /// Sends what is compressed.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while self.at < self.out.len() {
            let count = ready!(self.client.poll_send(cx, &self.out[self.at..]))?;
            self.at += count;
            self.sent += count as u64;
        }
        self.out.clear();
        self.at = 0;
        Poll::Ready(Ok(()))
    }
}

impl<C: Client> FieldSink for Packed<'_, C> {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.client.field(name, value);
    }
}

impl<C: Client> Sink for Packed<'_, C> {
    fn end_head(&mut self) {
        self.client.end_head();
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
        ready!(self.poll_out(cx))?;
        let part = &data[..data.len().min(TURN)];
        if let Some(encoder) = &mut self.encoder {
            encoder.push(part, &mut self.out);
        }
        match self.poll_out(cx) {
            Poll::Ready(Err(broken)) => Poll::Ready(Err(broken)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(part.len())),
        }
    }

    fn finish(&mut self, trailers: Vec<Trailer>) {
        self.pack_rest();
        self.end = Some(trailers);
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        ready!(self.poll_out(cx))?;
        if let Some(encoder) = &mut self.encoder {
            encoder.flush(&mut self.out);
            ready!(self.poll_out(cx))?;
        }
        if let Some(trailers) = self.end.take() {
            self.client.finish(trailers);
        }
        self.client.poll_flush(cx)
    }
}

impl<C: Client> Source for Packed<'_, C> {
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        self.client.poll_data(cx)
    }

    fn data(&self) -> &[u8] {
        self.client.data()
    }

    fn consume(&mut self, count: usize) {
        self.client.consume(count);
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        self.client.trailers()
    }

    fn direct(&self) -> Option<(&Stream, u64)> {
        Source::direct(&*self.client)
    }

    fn took_direct(&mut self, count: u64) {
        self.client.took_direct(count);
    }
}

impl<C: Client> Client for Packed<'_, C> {
    fn start_head(&mut self, status: u16, reason: &[u8], body: ResponseBody) {
        self.client.start_head(status, reason, body);
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.client.poll_gone(cx)
    }

    fn is_watched(&self) -> bool {
        self.client.is_watched()
    }

    fn close_after(&mut self) {
        self.client.close_after();
    }

    fn abort(&mut self) {
        self.client.abort();
    }

    fn tunnel(&mut self) {
        self.client.tunnel();
    }

    fn received(&self) -> u64 {
        self.client.received()
    }

    fn sent(&self) -> u64 {
        self.client.sent()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::task::Waker;

    use mainstay_config::plan::edge::Gzip;

    use super::*;

    /// A client that takes a few bytes each other time it is asked.
    #[derive(Default)]
    struct Slow {
        got: Vec<u8>,
        asked: usize,
        finished: usize,
    }

    impl FieldSink for Slow {
        fn field(&mut self, _name: &[u8], _value: &[u8]) {}
    }

    impl Sink for Slow {
        fn end_head(&mut self) {}

        fn poll_send(&mut self, _cx: &mut Context<'_>, data: &[u8]) -> Poll<Result<usize, Broken>> {
            assert_eq!(self.finished, 0);
            self.asked += 1;
            if self.asked.is_multiple_of(2) {
                return Poll::Pending;
            }
            let count = data.len().min(7);
            self.got.extend_from_slice(&data[..count]);
            Poll::Ready(Ok(count))
        }

        fn finish(&mut self, trailers: Vec<Trailer>) {
            self.finished += 1 + trailers.len();
        }

        fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
            Poll::Ready(Ok(()))
        }
    }

    impl Source for Slow {
        fn poll_data(&mut self, _cx: &mut Context<'_>) -> Poll<Result<More, Broken>> {
            Poll::Ready(Ok(More::End))
        }

        fn data(&self) -> &[u8] {
            b""
        }

        fn consume(&mut self, _count: usize) {}

        fn trailers(&mut self) -> Vec<Trailer> {
            Vec::new()
        }
    }

    impl Client for Slow {
        fn start_head(&mut self, _status: u16, _reason: &[u8], _body: ResponseBody) {}

        fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }

        fn close_after(&mut self) {}

        fn abort(&mut self) {}

        fn tunnel(&mut self) {}

        fn received(&self) -> u64 {
            0
        }

        fn sent(&self) -> u64 {
            0
        }
    }

    fn encoder() -> Encoder {
        let gzip =
            Gzip { types: Vec::new(), min_length: 0, level: 1, vary: true, proxied: true, http10: false };
        Encoder::new(&gzip).expect("the first of its thread")
    }

    fn plain(packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let _ = flate2::read::GzDecoder::new(packed).read_to_end(&mut plain);
        plain
    }

    /// Polls until it is ready, a bounded number of times.
    fn drive<T>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<Result<T, Broken>>) -> T {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..1_000_000 {
            if let Poll::Ready(done) = poll(&mut cx) {
                return done.expect("nothing breaks");
            }
        }
        panic!("it never gets ready")
    }

    fn send(packed: &mut Packed<'_, Slow>, mut data: &[u8]) {
        while !data.is_empty() {
            let count = drive(|cx| packed.poll_send(cx, data));
            data = &data[count..];
        }
    }

    #[test]
    fn a_body_comes_out_whole_however_slowly_it_is_taken() {
        let mut slow = Slow::default();
        let body: Vec<u8> = (0..30_000_u32).map(|n| b"abcdefgh"[(n * n / 7 % 8) as usize]).collect();
        let mut packed = Packed::new(&mut slow, encoder());
        send(&mut packed, &body);
        packed.finish(vec![(b"a".to_vec(), b"b".to_vec())]);
        drive(|cx| packed.poll_flush(cx));
        let sent = packed.sent;
        assert_eq!((slow.finished, slow.got.len() as u64), (2, sent));
        assert_eq!(plain(&slow.got), body);
    }

    #[test]
    fn what_is_streamed_is_there_after_each_flush() {
        let mut slow = Slow::default();
        let mut packed = Packed::new(&mut slow, encoder());
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            send(&mut packed, event.as_bytes());
            drive(|cx| packed.poll_flush(cx));
            assert!(plain(&packed.client.got).ends_with(event.as_bytes()));
        }
        assert_eq!(packed.client.finished, 0);
    }
}
