//! A webhook: the event as a JSON object, POSTed; any 2xx is an acknowledgement.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde::Serialize;

use super::delivery::Parcel;
use super::word;
use crate::probe::Tools;
use crate::probe::fetch::{Ask, Trust, Url, fetch};
use crate::status::Event;

/// Of the answer's body so much is read before the connection is closed, in bytes.
const ANSWER_MAX: usize = 4 * 1024;

/// Where and how to POST.
#[derive(Debug)]
pub(super) struct Hook {
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Duration,
    pub(super) retries: u8,
}

/// The body: the event and what it is about.
#[derive(Serialize)]
struct Body<'a> {
    /// Name of the vip, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    vip: Option<&'a str>,
    /// Name of the sync group, when it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'a str>,
    /// active, backup, fault, stop, conflict or unusable.
    on: &'static str,
    #[serde(flatten)]
    event: &'a Event,
}

impl Hook {
    /// For messages: without path and query, which often are the secret.
    pub(super) fn target(&self) -> String {
        Url::parse(&self.url)
            .map_or_else(|_| "webhook".to_owned(), |url| format!("webhook to {}", url.authority))
    }
}

/// POSTs once.
pub(super) async fn post(hook: &Hook, parcel: &Parcel, tools: &Tools) -> anyhow::Result<()> {
    let url = Url::parse(&hook.url)?;
    let name = Some(parcel.name.as_str());
    let body = Body {
        vip: name.filter(|_| parcel.kind == "vip"),
        group: name.filter(|_| parcel.kind == "group"),
        on: word(parcel.notice.on),
        event: &parcel.notice.event,
    };
    let body = serde_json::to_vec(&body).context("encode a webhook's body")?;
    let mut headers = vec![("content-type".to_owned(), "application/json".to_owned())];
    headers.extend_from_slice(&hook.headers);
    let ask = Ask {
        url: &url,
        method: "POST",
        server_name: None,
        host: None,
        headers: &headers,
        body,
        trust: &Trust::default(),
        answer_max: ANSWER_MAX,
    };
    let answer = fetch(ask, tools, &tools.lane()).await?;
    ensure!((200..300).contains(&answer.status), "the answer was {}", answer.line());
    Ok(())
}
