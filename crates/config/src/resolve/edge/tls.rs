//! TLS that ends here: certificates, their keys, and those of clients.

use std::path::PathBuf;

use super::{flag, span_of};
use crate::material::{self, Part};
use crate::plan::edge::{ClientAuth, TlsMaterial, TlsServer};
use crate::raw;
use crate::resolve::{Resolver, SECOND};
use crate::source::At;
use crate::values::ClientAuthWord;

impl Resolver<'_> {
    pub(super) fn tls_server(&mut self, raw: &raw::Listener, who: &str) -> Option<TlsServer> {
        let Some(list) = &raw.tls else {
            for (span, key) in [
                (span_of(&raw.tls12), "tls12"),
                (span_of(&raw.tickets), "tickets"),
                (span_of(&raw.tls_timeout), "tls_timeout"),
                (span_of(&raw.client_ca), "client_ca"),
                (span_of(&raw.client_auth), "client_auth"),
            ] {
                if !raw.head.spoiled.iter().any(|spoiled| spoiled == "tls") {
                    self.foreign(span, key, "`tls`", who);
                }
            }
            return None;
        };
        if list.value.is_empty() {
            let help = "write tls = [{ cert = \"/path.pem\", key = \"/path.key\" }], or take it out";
            self.error(list.span, format!("{who}: tls names no certificate"), help);
        }
        let who = format!("{who}: tls");
        let mut certificates = Vec::new();
        for At { value: raw, .. } in &list.value {
            let cert = self.required(&raw.cert, &raw.head, &who, "cert");
            let key = self.required(&raw.key, &raw.head, &who, "key");
            if let (Some(cert), Some(key)) = (cert, key) {
                certificates.push(self.material(&cert, &key, &who));
            }
        }
        let client = match (raw.client_auth.as_ref().map(|at| at.value), &raw.client_ca) {
            (None, None) => ClientAuth::Off,
            (None | Some(ClientAuthWord::Required), Some(_)) => ClientAuth::Required,
            (Some(ClientAuthWord::Optional), Some(_)) => ClientAuth::Optional,
            (Some(ClientAuthWord::Off), _) => ClientAuth::Off,
            (Some(ClientAuthWord::Optional | ClientAuthWord::Required), None) => {
                self.needs(false, "client_ca", "`client_auth`", &raw.head, &who);
                ClientAuth::Off
            }
        };
        let client_ca = raw.client_ca.as_ref().map(|ca| self.authorities(ca, &who, "client_ca"));
        Some(TlsServer {
            certificates,
            tls12: flag(&raw.tls12, true),
            client,
            client_ca,
            tickets: flag(&raw.tickets, true),
            timeout: self.wait(&raw.tls_timeout, SECOND * 10, &who, "tls_timeout"),
        })
    }

    /// A chain and its key, which belong together.
    pub(super) fn material(&mut self, cert: &At<String>, key: &At<String>, who: &str) -> TlsMaterial {
        let cert_file = self.absolute(cert, who, "\"/etc/mainstay/tls/site.pem\"");
        let key_file = self.absolute(key, who, "\"/etc/mainstay/tls/site.key\"");
        let chain = self.secret_file(cert, who, "cert", "a PEM file");
        let secret = self.secret_file(key, who, "key", "a PEM file");
        if let (Some(chain), Some(secret)) = (&chain, &secret)
            && let Err(wrong) = material::pair(chain, secret)
        {
            let (at, key) = match wrong.part {
                Part::Cert => (cert, "cert"),
                Part::Key => (key, "key"),
            };
            let message = format!("{who}: {key} {} {}", at.value, wrong.why);
            self.error(at.span, message, wrong.help);
        }
        TlsMaterial { cert_file, key_file, cert: chain.unwrap_or_default(), key: secret.unwrap_or_default() }
    }

    /// CA certificates and their file.
    pub(super) fn authorities(&mut self, ca: &At<String>, who: &str, key: &str) -> (PathBuf, String) {
        let file = self.absolute(ca, who, "\"/etc/mainstay/tls/ca.pem\"");
        let text = self.secret_file(ca, who, key, "a PEM file");
        if let Some(text) = &text
            && let Err(why) = material::authorities(text)
        {
            self.error(
                ca.span,
                format!("{who}: {key} {} {why}", ca.value),
                "write a PEM file with CA certificates",
            );
        }
        (file, text.unwrap_or_default())
    }

    /// What a file holds; nothing where files are not looked at.
    pub(super) fn secret_file(
        &mut self,
        path: &At<String>,
        who: &str,
        key: &str,
        what: &str,
    ) -> Option<String> {
        if !self.checks.files || !path.value.starts_with('/') {
            return None;
        }
        match material::read(path.value.as_ref()) {
            Ok(text) => Some(text),
            Err(error) => {
                let message = format!("{who}: {key} {} can't be read: {error}", path.value);
                self.error(path.span, message, format!("write the path of {what} that this user may read"));
                None
            }
        }
    }
}
