//! Responses of ours: written with Date and Server, their bodies from memory or from files.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;

use super::packed::Packed;
use super::{Broken, Client, ResponseBody, Sink, Way};
use crate::buffers;
use crate::clock::wall;
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
pub async fn refuse<C: Client>(
    watch: &crate::deadline::Watch,
    patience: Duration,
    client: &mut C,
    status: u16,
) {
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
    let bodiless = exchange.request.bytes(exchange.request.method) == b"HEAD" || status == 304;
    let length = body.len();
    let framing = match status {
        204 => ResponseBody::None(None),
        304 => ResponseBody::None(None),
        _ if bodiless => ResponseBody::None(Some(length)),
        _ if encoder.is_some() => ResponseBody::Open,
        _ => ResponseBody::Known(length),
    };
    client.start_head(status, b"", framing);
    client.field(b"Server", SERVER);
    date(|date| client.field(b"Date", date));
    for (name, value) in &fields {
        client.field(name.as_bytes(), value);
    }
    client.end_head();
    let patience = way.limits(exchange).send_timeout;
    let sent = match (body, encoder) {
        _ if bodiless || matches!(framing, ResponseBody::None(_)) => Ok(()),
        (Body::Empty, _) => Ok(()),
        (Body::Bytes(bytes), _) => send_counted(way, patience, exchange, client, &bytes).await,
        (Body::File { file, pieces }, None) => {
            Box::pin(send_file(way, patience, exchange, client, &file, pieces)).await
        }
        (Body::File { file, pieces }, Some(encoder)) => {
            let mut packed = Packed::new(client, encoder);
            Box::pin(send_packed(way, patience, exchange, &mut packed, &file, pieces)).await
        }
    };
    let done = match sent {
        Ok(()) => {
            client.finish(Vec::new());
            flush(way.watch, patience, client).await
        }
        Err(broken) => Err(broken),
    };
    match done {
        Ok(()) => exchange.complete = true,
        Err(_) => client.abort(),
    }
}

/// Sends bytes, waiting no longer than `patience` while none is taken.
pub(super) async fn send(
    watch: &crate::deadline::Watch,
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
pub(super) async fn flush(
    watch: &crate::deadline::Watch,
    patience: Duration,
    to: &mut impl Sink,
) -> Result<(), Broken> {
    watch.within(patience, |cx| to.poll_flush(cx)).await.ok_or(Broken::Gone)?
}

async fn send_counted(
    way: Way<'_>,
    patience: Duration,
    exchange: &mut Exchange,
    to: &mut impl Sink,
    bytes: &Bytes,
) -> Result<(), Broken> {
    send(way.watch, patience, to, bytes).await?;
    exchange.body_sent += bytes.len() as u64;
    Ok(())
}

/// Sends a file compressed; of what was sent the compressed bytes count.
async fn send_packed<C: Client>(
    way: Way<'_>,
    patience: Duration,
    exchange: &mut Exchange,
    packed: &mut Packed<'_, C>,
    file: &File,
    pieces: Vec<FilePiece>,
) -> Result<(), Broken> {
    let mut sent = send_file(way, patience, exchange, packed, file, pieces).await;
    if sent.is_ok() {
        packed.pack_rest();
        sent = way.watch.within(patience, |cx| packed.poll_out(cx)).await.unwrap_or(Err(Broken::Gone));
    }
    exchange.body_sent = packed.sent;
    sent
}

async fn send_file(
    way: Way<'_>,
    patience: Duration,
    exchange: &mut Exchange,
    to: &mut impl Sink,
    file: &File,
    pieces: Vec<FilePiece>,
) -> Result<(), Broken> {
    for piece in pieces {
        match piece {
            FilePiece::Text(text) => send_counted(way, patience, exchange, to, &text).await?,
            FilePiece::Range { start, length } => {
                send_range(way, patience, exchange, to, file, start, length).await?;
            }
        }
    }
    Ok(())
}

/// Bytes of a file that are read, not sent from the page cache: with them the head goes out in one write.
const READ_MAX: u64 = 16 << 10;

async fn send_range(
    way: Way<'_>,
    patience: Duration,
    exchange: &mut Exchange,
    to: &mut impl Sink,
    file: &File,
    mut start: u64,
    mut length: u64,
) -> Result<(), Broken> {
    if length > READ_MAX {
        flush(way.watch, patience, to).await?;
    }
    let mut block = buffers::block(if length > READ_MAX { 2 } else { 0 });
    let done = loop {
        if length == 0 {
            break Ok(());
        }
        if to.direct().is_some() && length > READ_MAX {
            match way.watch.within(patience, |cx| poll_sendfile(cx, to, file, start, length)).await {
                Some(Ok(sent)) if sent > 0 => {
                    start += sent;
                    length -= sent;
                    exchange.body_sent += sent;
                    continue;
                }
                Some(_) | None => break Err(Broken::Gone),
            }
        }
        let most = usize::try_from(length).unwrap_or(usize::MAX).min(block.len());
        // A file that has become shorter leaves a response that cannot be completed.
        let read = match file.read_at(&mut block[..most], start) {
            Ok(read) if read > 0 => read,
            Ok(_) | Err(_) => break Err(Broken::Gone),
        };
        if let Err(broken) = send(way.watch, patience, to, &block[..read]).await {
            break Err(broken);
        }
        start += read as u64;
        length -= read as u64;
        exchange.body_sent += read as u64;
    };
    buffers::give_back(block);
    done
}

/// Bytes that one call of sendfile moves: others get their turn.
const TURN: u64 = 1 << 20;

fn poll_sendfile(
    cx: &mut std::task::Context<'_>,
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
