//! All that is known of one request on its way, and what was decided about it.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use mainstay_config::plan::edge::Template;
use mainstay_core::name::RouteId;
use mainstay_core::time::Boot;

use crate::request::Request;
use crate::response::{Response, ResponseHead};

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Unique in this process.
    pub number: u64,
    /// Position of its listener in the snapshot with which it was accepted.
    pub listener: u32,
    /// Where its listener counts, whatever its position becomes.
    pub counts: u32,
    /// The other end; `None` for unix sockets.
    pub peer: Option<SocketAddr>,
    /// Our end; `None` for unix sockets.
    pub local: Option<SocketAddr>,
    /// What the PROXY header said of source and destination.
    pub proxy: Option<(SocketAddr, SocketAddr)>,
    /// TLS, when it ended here.
    pub tls: Option<TlsInfo>,
}

/// What is known of a TLS session.
#[derive(Clone, Debug, Default)]
pub struct TlsInfo {
    /// `TLSv1.2` or `TLSv1.3`.
    pub protocol: &'static str,
    /// Cipher suite as IANA calls it.
    pub cipher: &'static str,
    /// The name that the client asked for.
    pub server_name: Option<String>,
    /// Whether the session was resumed.
    pub resumed: bool,
    /// The client's certificate, DER, and whether it verified, with the reason when not.
    pub client: Option<(Vec<u8>, Result<(), String>)>,
    /// The negotiated protocol.
    pub h2: bool,
}

/// One backend that was asked.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// `address:port` or `unix:/path`.
    pub addr: Rc<str>,
    /// Its status; `None` when it gave none.
    pub status: Option<u16>,
    /// Time to connect, when a connection was made.
    pub connect: Option<Duration>,
    /// Time to the head.
    pub header: Option<Duration>,
    /// Time to the end, once it is there.
    pub total: Option<Duration>,
}

/// One request on its way.
#[derive(Debug)]
pub struct Exchange {
    /// Its head, as it came.
    pub request: Request,
    /// Its connection.
    pub connection: Rc<Connection>,
    /// When its first byte came.
    pub started: Boot,
    /// The client, as far as trusted proxies tell; `None` behind a unix socket that says nothing.
    pub client: Option<IpAddr>,
    /// The client's port.
    pub client_port: u16,
    /// Path at this moment: decoded, normalised, perhaps rewritten. Always begins with `/` (or is `*`).
    pub path: String,
    /// Query at this moment, without `?`, as it came or was rewritten; empty when there is none.
    pub query: String,
    /// Path or query differ from what the target says.
    pub rewritten: bool,
    /// The method is GET from here on (after an error page's internal redirect).
    pub method_get: bool,
    /// Requests before this one on its connection.
    pub earlier: u32,
    /// The request was pipelined.
    pub pipelined: bool,
    /// The route that decides.
    pub route: Option<RouteId>,
    /// Internal redirects so far.
    pub redirects: u8,
    /// Steps marked `Once` have been run.
    pub once_done: bool,
    /// Variables of the configuration's own.
    pub vars: Vec<(Rc<str>, Rc<str>)>,
    /// Groups of the expression that matched last; 0 is the whole match.
    pub groups: Vec<Option<Box<str>>>,
    /// 32 hex digits, made when first asked for.
    pub id: Option<[u8; 32]>,
    /// The user that authenticated.
    pub user: Option<Box<str>>,
    /// Claims of the checked token.
    pub claims: Option<Rc<serde_json::Map<String, serde_json::Value>>>,
    /// An error page is being made for this status.
    pub error: Option<u16>,
    /// Rates were asked; internal redirects don't ask again.
    pub rated: bool,
    /// The request is among those that zones count at once; internal redirects don't count it again.
    pub counted: bool,
    /// Hold the request back this long before acting (rate limits).
    pub delay: Duration,
    /// Concurrency and other permits that end with the request.
    pub permits: Vec<crate::shared::Permit>,
    /// The backends that were asked.
    pub attempts: Vec<Attempt>,
    /// Bytes of the request so far, head included.
    pub received: u64,
    /// Status that the client got; 0 before.
    pub status: u16,
    /// Bytes of the response's body that went out.
    pub body_sent: u64,
    /// Bytes of the response that went out.
    pub sent: u64,
    /// The response went out whole.
    pub complete: bool,
    /// What `route` remembers between its steps.
    pub memory: crate::route::Memory,
}

impl Exchange {
    /// A request whose way begins.
    #[must_use]
    pub fn new(request: Request, connection: Rc<Connection>, started: Boot) -> Self {
        Self {
            request,
            connection,
            started,
            client: None,
            client_port: 0,
            path: String::new(),
            query: String::new(),
            rewritten: false,
            method_get: false,
            earlier: 0,
            pipelined: false,
            route: None,
            redirects: 0,
            once_done: false,
            vars: Vec::new(),
            groups: Vec::new(),
            id: None,
            user: None,
            claims: None,
            error: None,
            rated: false,
            counted: false,
            delay: Duration::ZERO,
            permits: Vec::new(),
            attempts: Vec::new(),
            received: 0,
            status: 0,
            body_sent: 0,
            sent: 0,
            complete: false,
            memory: crate::route::Memory::default(),
        }
    }

    /// Becomes blank, for the next request of its connection: made in place, with the memory of the one before.
    pub(crate) fn forget(&mut self) {
        let Self { request, connection: _, started: _, client, client_port, path, query, .. } = self;
        request.forget();
        (*client, *client_port) = (None, 0);
        forget_text(path);
        forget_text(query);
        let Self { rewritten, method_get, earlier, pipelined, route, redirects, once_done, .. } = self;
        (*rewritten, *method_get, *earlier, *pipelined) = (false, false, 0, false);
        (*route, *redirects, *once_done) = (None, 0, false);
        let Self { vars, groups, id, user, claims, error, rated, counted, delay, permits, .. } = self;
        vars.clear();
        groups.clear();
        (*id, *user, *claims, *error) = (None, None, None, None);
        (*rated, *counted, *delay) = (false, false, Duration::ZERO);
        permits.clear();
        let Self { attempts, received, status, body_sent, sent, complete, memory, .. } = self;
        attempts.clear();
        (*received, *status, *body_sent, *sent, *complete) = (0, 0, 0, 0, false);
        memory.forget();
    }

    /// A connection that is relayed as bytes, for its log.
    #[must_use]
    pub fn of_stream(connection: Connection, started: Boot) -> Self {
        let source = connection.proxy.map(|(source, _)| source).or(connection.peer);
        let mut exchange = Self::new(Request::none(), Rc::new(connection), started);
        exchange.client = source.map(|source| source.ip().to_canonical());
        exchange.client_port = source.map_or(0, |source| source.port());
        exchange
    }
}

/// Bytes of a text that are kept for the next request.
const TEXT_KEPT: usize = 1 << 10;

fn forget_text(text: &mut String) {
    if text.capacity() <= TEXT_KEPT {
        text.clear();
    } else {
        *text = String::new();
    }
}

/// What is done with a request.
#[derive(Debug)]
pub enum Decision {
    /// A response of ours; its fields are complete but for framing.
    Respond(Response),
    /// To the pool of `exchange.route`'s action.
    Forward,
    /// Close the connection without a word (status 444).
    Close,
}

/// Writes the value of a template for a request: `route::render` with its snapshot.
pub type Render<'a> = &'a dyn Fn(&Template, &Exchange, &mut Vec<u8>);

/// Takes header fields, one by one; HTTP/1 writes lines, HTTP/2 fills a map.
pub trait FieldSink {
    /// One field; name and value were checked or come from checked ones.
    fn field(&mut self, name: &[u8], value: &[u8]);
}

/// What becomes of a backend's response once its head is known.
#[derive(Debug)]
pub enum Verdict {
    /// It goes to the client.
    Pass,
    /// This takes its place; the backend's body is thrown away.
    Instead(Decision),
}

/// The fields of a response: where `route` gets them from.
pub type Head<'a> = &'a dyn ResponseHead;
