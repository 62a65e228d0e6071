//! An e-mail about a change, by the SMTP server of `[mail]`.
//!
//! Port 465 is TLS from the start, with a certificate that the system trusts. On other ports TLS is used when the
//! server offers it, with any certificate: mails carry no password, and a server with a certificate of its own
//! making is no worse than one without TLS (RFC 7435).

use anyhow::{Context, bail};
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::client::{CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncTransport, Tokio1Executor};
use mainstay_config::plan::{Mail, NotifyOn};

use super::delivery::Parcel;

/// The port on which TLS comes first (RFC 8314 3.3).
const SUBMISSIONS: u16 = 465;

/// Sends once.
pub(super) async fn send(mail: &Mail, parcel: &Parcel) -> anyhow::Result<()> {
    let message = message(mail, parcel)?;
    let Some((host, port)) = mail.smtp.rsplit_once(':') else {
        bail!("\"{}\" is not host:port", mail.smtp);
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port: u16 = port.parse().with_context(|| format!("\"{}\" is not host:port", mail.smtp))?;
    let tls = if port == SUBMISSIONS {
        Tls::Wrapper(TlsParameters::new_rustls(host.clone())?)
    } else {
        let any = TlsParameters::builder(host.clone())
            .certificate_store(CertificateStore::None)
            .dangerous_accept_invalid_certs(true)
            .dangerous_accept_invalid_hostnames(true);
        Tls::Opportunistic(any.build_rustls()?)
    };
    let helo = mail.helo.clone().unwrap_or_else(|| parcel.notice.event.node.clone());
    let transport: AsyncSmtpTransport<Tokio1Executor> =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(port)
            .tls(tls)
            .timeout(Some(mail.timeout))
            .hello_name(ClientId::Domain(helo))
            .build();
    transport.send(message).await?;
    Ok(())
}

fn message(mail: &Mail, parcel: &Parcel) -> anyhow::Result<Message> {
    let event = &parcel.notice.event;
    let mut builder = Message::builder()
        .from(mailbox(&mail.from)?)
        .subject(subject(parcel))
        .header(ContentType::TEXT_PLAIN);
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    let mut body = format!("{}\n\nnode: {}\n{}: {}\n", event.message, event.node, parcel.kind, parcel.name);
    let optional = [
        ("from", event.from.clone()),
        ("to", event.to.clone()),
        ("reason", event.reason.clone()),
        ("epoch", event.epoch.map(|epoch| epoch.to_string())),
        ("priority", event.priority.map(|priority| priority.to_string())),
        ("addresses", Some(event.addrs.join(", ")).filter(|addrs| !addrs.is_empty())),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            body.push_str(&format!("{name}: {value}\n"));
        }
    }
    builder.body(body).context("compose a mail")
}

fn subject(parcel: &Parcel) -> String {
    let state = match parcel.notice.on {
        NotifyOn::Active => "entering ACTIVE",
        NotifyOn::Backup => "entering BACKUP",
        NotifyOn::Fault => "entering FAULT",
        NotifyOn::Stop => "stopping",
        NotifyOn::Conflict => "CONFLICT over its address",
        NotifyOn::Unusable => "held and UNUSABLE",
    };
    format!("[{}] {} {}: {state}", parcel.notice.event.node, parcel.kind, parcel.name)
}

fn mailbox(text: &str) -> anyhow::Result<Mailbox> {
    text.parse().with_context(|| format!("\"{text}\" is not a mail address"))
}
