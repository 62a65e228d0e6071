//! One look at a target: a connection, or a page that answers.

use std::time::Duration;

use mainstay_config::plan::HttpCheck;
use mainstay_config::plan::agent::Look;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::probe::Page;

/// How a target is looked at.
pub(super) struct Looker {
    addr: String,
    within: Duration,
    page: Option<Page>,
}

impl Looker {
    pub(super) fn new(addr: &str, look: &Look) -> anyhow::Result<Self> {
        let of = |check: &HttpCheck| {
            Page::prepare(&HttpCheck { url: format!("http://{addr}{}", check.url), ..check.clone() })
        };
        let page = look.http.as_ref().map(of).transpose()?;
        Ok(Self { addr: addr.to_owned(), within: look.timeout, page })
    }

    /// Looks; why it is not well.
    pub(super) async fn look(&self) -> Result<(), String> {
        let look = async {
            let stream = TcpStream::connect(&self.addr).await.map_err(|error| error.to_string())?;
            match &self.page {
                Some(page) => page.over(stream).await,
                None => Ok(()),
            }
        };
        timeout(self.within, look).await.unwrap_or_else(|_| Err("it does not answer".to_owned()))
    }
}
