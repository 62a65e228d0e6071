//! Variables about TLS and the client's certificate.

use mainstay_config::plan::edge::Known;

use crate::exchange::Connection;

/// The value of a variable about TLS; empty without it.
pub(super) fn variable(connection: &Connection, known: Known, out: &mut Vec<u8>) {
    let Some(tls) = &connection.tls else { return };
    let mut push = |text: &str| out.extend_from_slice(text.as_bytes());
    match known {
        Known::SslProtocol => push(tls.protocol),
        Known::SslCipher => push(tls.cipher),
        Known::SslServerName => push(tls.server_name.as_deref().unwrap_or_default()),
        Known::SslSessionReused => push(if tls.resumed { "r" } else { "." }),
        Known::SslClientVerify => match &tls.client {
            None => push("NONE"),
            Some((_, Ok(()))) => push("SUCCESS"),
            Some((_, Err(why))) => {
                push("FAILED:");
                push(why);
            }
        },
        _of_certificate => {}
    }
}
