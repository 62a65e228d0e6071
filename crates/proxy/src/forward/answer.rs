//! Responses of ours: written with Date and Server, their bodies from memory or from files.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf as _;

use super::flow::Flow;
use super::packed::Packed;
use super::{Broken, Client, More, ResponseBody, Sink, Source, Trailer, Way};
use crate::buffers::{self, Block};
use crate::clock::wall;
use crate::deadline::Watch;
use crate::exchange::Exchange;
use crate::gzip;
use crate::response::{Body, FilePiece, Response};

/// What we call ourselves.
const SERVER: &[u8] = b"mainstay";

thread_local! {
    static DATE: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
}

/// Calls with the text of this second for `Date` (RFC 9110 5.6.7).
pub fn date<R>(call: impl FnOnce(&[u8]) -> R) -> R {
    let now = wall().as_secs();
    DATE.with_borrow_mut(|(second, text)| {
        if *second != now {
            *second = now;
            *text = imf_date(now);
        }
        call(text.as_bytes())
    })
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
fn imf_date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let days = seconds / 86_400;
    let weekday = DAYS[usize::try_from(days % 7).expect("a day of the week")];
    // Days since 0000-03-01, in eras of 400 years.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 2 } else { shifted - 10 };
    let year = year_of_era + era * 400 + u64::from(month < 2);
    let month = MONTHS[usize::try_from(month).expect("a month of the year")];
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}

/// Answers a request whose head could not be read: the connection ends with this.
pub async fn refuse<C: Client>(watch: &Watch, patience: Duration, client: &mut C, status: u16) {
    let reason = crate::http1::reason(status);
    let page = format!(
        "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n<center><h1>{status} {reason}</h1></center>\r\n\
         <hr><center>mainstay</center>\r\n</body>\r\n</html>\r\n"
    );
    client.close_after();
    client.start_head(status, b"", ResponseBody::Known(page.len() as u64));
    client.field(b"Server", SERVER);
    date(|date| client.field(b"Date", date));
    client.field(b"Content-Type", b"text/html");
    client.end_head();
    if send(watch, patience, client, page.as_bytes()).await.is_ok() {
        client.finish(Vec::new());
        let _ = flush(watch, patience, client).await;
    }
}

/// Answers a request.
pub(super) async fn respond<C: Client>(
    way: Way<'_>,
    exchange: &mut Exchange,
    client: &mut C,
    mut response: Response,
) {
    let route = exchange.route.and_then(|id| way.snapshot.edge.routes.get(id.index()));
    let gzip = route.and_then(|route| route.gzip.as_ref());
    let encoder = gzip.and_then(|gzip| gzip::apply(gzip, &exchange.request, &mut response));
    let Response { status, fields, body } = response;
    exchange.status = status;
    if way.thread.draining() {
        client.close_after();
    }
    let to_head = exchange.request.bytes(exchange.request.method) == b"HEAD";
    let framing = match status {
        204 | 304 => ResponseBody::None(None),
        // What a GET would get: nobody knows its length before it is packed.
        _ if to_head => ResponseBody::None(encoder.is_none().then(|| body.len())),
        _ if encoder.is_some() => ResponseBody::Open,
        _ => ResponseBody::Known(body.len()),
    };
    client.start_head(status, b"", framing);
    client.field(b"Server", SERVER);
    date(|date| client.field(b"Date", date));
    fields.iter().for_each(|(name, value)| client.field(name.as_bytes(), value));
    client.end_head();
    let patience = way.limits(exchange).send_timeout;
    let rate = route.map_or(0, |route| route.rate_bytes);
    let sent = match (body, encoder) {
        _ if matches!(framing, ResponseBody::None(_)) => finish(way.watch, patience, client).await,
        (Body::Empty, _) => finish(way.watch, patience, client).await,
        (Body::Bytes(bytes), _) if rate == 0 => {
            let sent = send(way.watch, patience, client, &bytes).await;
            exchange.body_sent += bytes.len() as u64;
            match sent {
                Ok(()) => finish(way.watch, patience, client).await,
                Err(broken) => Err(broken),
            }
        }
        (body, None) => Box::pin(pass(way, patience, &mut exchange.body_sent, client, body, rate)).await,
        (body, Some(encoder)) => {
            let mut packed = Packed::new(client, encoder);
            let sent = Box::pin(pass(way, patience, &mut 0, &mut packed, body, rate)).await;
            exchange.body_sent += packed.sent;
            sent
        }
    };
    match sent {
        Ok(()) => exchange.complete = true,
        Err(_) => client.abort(),
    }
}

/// The body is complete.
async fn finish(watch: &Watch, patience: Duration, to: &mut impl Sink) -> Result<(), Broken> {
    to.finish(Vec::new());
    flush(watch, patience, to).await
}

/// Passes a body that is compressed, held back, or in a file.
async fn pass(
    way: Way<'_>,
    patience: Duration,
    count: &mut u64,
    to: &mut impl Sink,
    body: Body,
    rate: u64,
) -> Result<(), Broken> {
    let (file, mut pieces) = match body {
        Body::Empty => (None, VecDeque::new()),
        Body::Bytes(bytes) => (None, VecDeque::from([FilePiece::Text(bytes)])),
        Body::File { file, pieces } => (Some(file), VecDeque::from(pieces)),
    };
    let file = file.as_deref();
    if rate == 0 {
        return send_pieces(way, patience, count, to, file, &mut pieces).await;
    }
    let mut flow = Flow::new(way);
    flow.hold_back(rate);
    let mut source = Stored::new(file, pieces);
    let done = std::future::poll_fn(|cx| {
        loop {
            if let Poll::Ready(done) = flow.poll(cx, &mut source, to) {
                return Poll::Ready(done.map_err(|_| Broken::Gone));
            }
            let (due, _) = flow.due(patience, patience);
            if !way.watch.has_passed(cx, due) {
                return Poll::Pending;
            }
            if way.watch.now() >= due {
                return Poll::Ready(Err(Broken::Gone));
            }
        }
    })
    .await;
    way.watch.disarm();
    *count += flow.moved;
    done
}

/// Sends bytes, waiting no longer than `patience` while none is taken.
pub(super) async fn send(
    watch: &Watch,
    patience: Duration,
    to: &mut impl Sink,
    mut bytes: &[u8],
) -> Result<(), Broken> {
    while !bytes.is_empty() {
        let sent = watch.within(patience, |cx| to.poll_send(cx, bytes)).await.ok_or(Broken::Gone)??;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Sends what waits.
pub(super) async fn flush(watch: &Watch, patience: Duration, to: &mut impl Sink) -> Result<(), Broken> {
    watch.within(patience, |cx| to.poll_flush(cx)).await.ok_or(Broken::Gone)?
}

async fn send_pieces(
    way: Way<'_>,
    patience: Duration,
    count: &mut u64,
    to: &mut impl Sink,
    file: Option<&File>,
    pieces: &mut VecDeque<FilePiece>,
) -> Result<(), Broken> {
    while let Some(piece) = pieces.pop_front() {
        match (piece, file) {
            (FilePiece::Text(text), _) => {
                send(way.watch, patience, to, &text).await?;
                *count += text.len() as u64;
            }
            (FilePiece::Range { start, length }, Some(file)) => {
                send_range(way, patience, count, to, file, start, length).await?;
            }
            (FilePiece::Range { .. }, None) => return Err(Broken::Gone),
        }
    }
    finish(way.watch, patience, to).await
}

/// A range up to this long is read, not sent from the page cache: so the head goes out in one write with it.
const READ_MAX: u64 = 16 << 10;

async fn send_range(
    way: Way<'_>,
    patience: Duration,
    count: &mut u64,
    to: &mut impl Sink,
    file: &File,
    mut start: u64,
    mut length: u64,
) -> Result<(), Broken> {
    if length > READ_MAX {
        flush(way.watch, patience, to).await?;
        while length > 0 && to.direct().is_some() {
            let sending = way.watch.within(patience, |cx| poll_sendfile(cx, to, file, start, length));
            // A file that has become shorter leaves a response that cannot be completed.
            let sent = sending.await.ok_or(Broken::Gone)??;
            if sent == 0 {
                return Err(Broken::Gone);
            }
            start += sent;
            length -= sent;
            *count += sent;
        }
    }
    let mut source = Stored::new(Some(file), VecDeque::from([FilePiece::Range { start, length }]));
    while source.load().map_err(|_| Broken::Gone)? == More::Data {
        let read = source.data().len();
        send(way.watch, patience, to, source.data()).await?;
        source.consume(read);
        *count += read as u64;
    }
    Ok(())
}

/// A body of ours as a source.
struct Stored<'a> {
    file: Option<&'a File>,
    pieces: VecDeque<FilePiece>,
    block: Option<Block>,
    at: usize,
    end: usize,
}

impl<'a> Stored<'a> {
    fn new(file: Option<&'a File>, pieces: VecDeque<FilePiece>) -> Self {
        Self { file, pieces, block: None, at: 0, end: 0 }
    }

    /// Sees to it that there are bytes.
    fn load(&mut self) -> io::Result<More> {
        loop {
            if self.at < self.end {
                return Ok(More::Data);
            }
            match self.pieces.front_mut() {
                None => return Ok(More::End),
                Some(FilePiece::Text(text)) if !text.is_empty() => return Ok(More::Data),
                Some(FilePiece::Range { start, length }) if *length > 0 => {
                    let Some(file) = self.file else { return Err(io::ErrorKind::NotFound.into()) };
                    let block = self.block.get_or_insert_with(|| buffers::block(buffers::affordable(1)));
                    let most = usize::try_from(*length).unwrap_or(usize::MAX).min(block.len());
                    let count = file.read_at(&mut block[..most], *start)?;
                    if count == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    (self.at, self.end) = (0, count);
                    *start += count as u64;
                    *length -= count as u64;
                }
                Some(FilePiece::Text(_) | FilePiece::Range { .. }) => {
                    self.pieces.pop_front();
                }
            }
        }
    }
}

impl Source for Stored<'_> {
    fn poll_data(&mut self, _: &mut Context<'_>) -> Poll<Result<More, Broken>> {
        Poll::Ready(self.load().map_err(|_| Broken::Gone))
    }

    fn data(&self) -> &[u8] {
        match (&self.block, self.pieces.front()) {
            (Some(block), _) if self.at < self.end => &block[self.at..self.end],
            (_, Some(FilePiece::Text(text))) => text,
            _ => &[],
        }
    }

    fn consume(&mut self, count: usize) {
        if self.at < self.end {
            self.at += count;
        } else if let Some(FilePiece::Text(text)) = self.pieces.front_mut() {
            text.advance(count);
        }
    }

    fn trailers(&mut self) -> Vec<Trailer> {
        Vec::new()
    }
}

/// Bytes that one call of sendfile moves: others get their turn.
const TURN: u64 = 1 << 20;

fn poll_sendfile(
    cx: &mut Context<'_>,
    to: &mut impl Sink,
    file: &File,
    start: u64,
    length: u64,
) -> Poll<Result<u64, Broken>> {
    let Some(socket) = to.direct() else { return Poll::Ready(Err(Broken::Gone)) };
    loop {
        std::task::ready!(socket.poll_writable(cx)).map_err(|_| Broken::Gone)?;
        let mut offset = start;
        let most = usize::try_from(length.min(TURN)).unwrap_or(usize::MAX);
        let sent = socket.try_io(tokio::io::Interest::WRITABLE, || {
            rustix::fs::sendfile(socket, file, Some(&mut offset), most).map_err(std::io::Error::from)
        });
        match sent {
            Ok(sent) => {
                to.gave_direct(sent as u64);
                return Poll::Ready(Ok(sent as u64));
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return Poll::Ready(Err(Broken::Gone)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::imf_date;

    #[test]
    fn a_date_is_written_as_rfc_9110_wants_it() {
        assert_eq!(imf_date(784_111_777), "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(imf_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
        assert_eq!(imf_date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
        assert_eq!(imf_date(1_798_761_599), "Thu, 31 Dec 2026 23:59:59 GMT");
    }
}
