//! An HTTP(S) check: status in the accepted ranges, and the body's start matched by a regular expression.

use anyhow::Context;
use mainstay_config::plan::HttpCheck;
use regex_lite::Regex;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Report;
use crate::probe::Tools;
use crate::probe::dial::Lane;
use crate::probe::fetch::{Answer, Ask, Trust, Url, fetch, fetch_over};

/// The expression is matched against so much of the body, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// A check, its URL and expression parsed.
#[derive(Debug)]
pub(crate) struct Page {
    url: Url,
    method: String,
    host: Option<String>,
    server_name: Option<String>,
    status: Vec<(u16, u16)>,
    body: Option<Regex>,
    trust: Trust,
}

impl Page {
    /// Parses URL and expression.
    pub(crate) fn prepare(check: &HttpCheck) -> anyhow::Result<Self> {
        let body = check.body.as_deref().map(Regex::new).transpose();
        Ok(Self {
            url: Url::parse(&check.url)?,
            method: check.method.clone(),
            host: check.host.clone(),
            server_name: check.server_name.clone(),
            status: check.status.clone(),
            body: body.context("the regular expression for the body")?,
            trust: Trust { ca: check.ca.clone(), insecure: check.insecure },
        })
    }

    /// Asks and judges.
    pub(super) async fn ask(&self, tools: &Tools, lane: &Lane) -> anyhow::Result<Report> {
        let answer = fetch(self.question(), tools, lane).await?;
        Ok(match self.judge(&answer) {
            Ok(said) => Report::new(true, said),
            Err(why) => Report::new(false, why),
        })
    }

    /// Asks over a connection that there is, without TLS; why the answer is not as it should be. The caller sets the deadline.
    pub(crate) async fn over<S>(&self, stream: S) -> Result<(), String>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let answer = fetch_over(stream, &self.question()).await.map_err(|error| format!("{error:#}"))?;
        self.judge(&answer).map(|_| ())
    }

    fn question(&self) -> Ask<'_> {
        Ask {
            url: &self.url,
            method: &self.method,
            host: self.host.as_deref(),
            server_name: self.server_name.as_deref(),
            headers: &[],
            body: Vec::new(),
            trust: &self.trust,
            answer_max: BODY_MAX,
        }
    }

    /// What it says, when that is as it should be; else why it is not.
    fn judge(&self, answer: &Answer) -> Result<String, String> {
        let line = answer.line();
        if !self.status.iter().any(|(first, last)| (*first..=*last).contains(&answer.status)) {
            return Err(format!("{line}, which is not an accepted status"));
        }
        match &self.body {
            Some(expected) if !expected.is_match(&String::from_utf8_lossy(&answer.body)) => {
                Err(format!("{line}, but the body does not match \"{}\"", expected.as_str()))
            }
            Some(_) | None => Ok(line),
        }
    }
}
