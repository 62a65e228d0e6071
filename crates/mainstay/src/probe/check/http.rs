//! An HTTP(S) check: status in the accepted ranges, and the body's start matched by a regular expression.

use anyhow::Context;
use mainstay_config::plan::HttpCheck;
use regex_lite::Regex;

use super::Report;
use crate::probe::Tools;
use crate::probe::dial::Lane;
use crate::probe::fetch::{Ask, Trust, Url, fetch};

/// The expression is matched against so much of the body, in bytes.
const BODY_MAX: usize = 64 * 1024;

/// A check, its URL and expression parsed.
#[derive(Debug)]
pub(in crate::probe) struct Page {
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
    pub(super) fn prepare(check: &HttpCheck) -> anyhow::Result<Self> {
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
        let ask = Ask {
            url: &self.url,
            method: &self.method,
            host: self.host.as_deref(),
            server_name: self.server_name.as_deref(),
            headers: &[],
            body: Vec::new(),
            trust: &self.trust,
            answer_max: BODY_MAX,
        };
        let answer = fetch(ask, tools, lane).await?;
        let line = answer.line();
        if !self.status.iter().any(|(first, last)| (*first..=*last).contains(&answer.status)) {
            return Ok(Report::new(false, format!("{line}, which is not an accepted status")));
        }
        let Some(expected) = &self.body else { return Ok(Report::new(true, line)) };
        if expected.is_match(&String::from_utf8_lossy(&answer.body)) {
            return Ok(Report::new(true, line));
        }
        Ok(Report::new(false, format!("{line}, but the body does not match \"{}\"", expected.as_str())))
    }
}
