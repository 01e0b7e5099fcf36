//! A stand-in for NetBox: what the recorded answers of a real NetBox 4.6.8
//! show, on a free port of the loopback interface, with faults that can be
//! switched on.
//!
//! It runs in a thread of its own, so that tests with and without a runtime,
//! tests that start the program as a child, and the demo can use it. It ends
//! when it is dropped.
//!
//! Served: tags by name and slug; devices and virtual machines with `tag`,
//! `status`, `name`, `limit`, `offset`, `fields` and `exclude`; other
//! parameters are ignored, as NetBox ignores them.

#![allow(dead_code, reason = "no program needs all of it")]
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a support of tests fails by panicking"
)]

// Named, so that it is found however this file is included.
#[path = "netbox/api.rs"]
mod api;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;
use url::form_urlencoded;

/// A version 1 token that every stand-in knows.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef01234567";

/// A version 2 token that every stand-in knows.
pub const TOKEN_V2: &str = "nbt_ABCDEFGHIJKL.0123456789abcdefghijABCDEFGHIJ0123456789";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Device,
    VirtualMachine,
}

/// A host in NetBox; in JSON all but the name may be left out.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    pub name: Option<String>,
    #[serde(default = "virtual_machine")]
    pub kind: Kind,
    #[serde(default = "active")]
    pub status: String,
    /// Names of tags; the slug of `Back up` is `back-up`.
    #[serde(default = "backup")]
    pub tags: Vec<String>,
    /// With a prefix length.
    #[serde(default)]
    pub primary_ip: Option<String>,
    /// By the field's name.
    #[serde(default)]
    pub custom_fields: Map<String, Value>,
    /// Its number; one that it had before, or a new one, where none is given.
    #[serde(default)]
    pub id: Option<usize>,
}

fn virtual_machine() -> Kind {
    Kind::VirtualMachine
}

fn active() -> String {
    "active".to_owned()
}

fn backup() -> Vec<String> {
    vec!["Backup".to_owned()]
}

impl Machine {
    /// An active one with the tag `Backup`.
    pub fn new(kind: Kind, name: Option<&str>) -> Self {
        Machine {
            name: name.map(str::to_owned),
            kind,
            status: active(),
            tags: backup(),
            primary_ip: None,
            custom_fields: Map::new(),
            id: None,
        }
    }

    pub fn vm(name: &str) -> Self {
        Machine::new(Kind::VirtualMachine, Some(name))
    }

    pub fn device(name: &str) -> Self {
        Machine::new(Kind::Device, Some(name))
    }

    pub fn status(mut self, status: &str) -> Self {
        self.status = status.to_owned();
        self
    }

    pub fn tags(mut self, tags: &[&str]) -> Self {
        self.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        self
    }

    pub fn id(mut self, id: usize) -> Self {
        self.id = Some(id);
        self
    }

    pub fn field(mut self, name: &str, value: Value) -> Self {
        self.custom_fields.insert(name.to_owned(), value);
        self
    }

    pub fn ip(mut self, address: &str) -> Self {
        self.primary_ip = Some(address.to_owned());
        self
    }
}

/// How a stand-in misbehaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Every request gets this status and an HTML page.
    Status(u16),
    /// So many requests get 500, the ones after them are answered.
    FirstRequestsFail(usize),
    /// 200 and a page for people.
    Html,
    /// JSON that ends in the middle, as a whole answer.
    HalfJson,
    /// Answers come a byte at a time, for ever.
    SlowDrip,
    /// Requests are never answered.
    Silence,
    /// The connection is lost in the middle of every answer.
    Drop,
    /// The connection is lost in the middle of so many answers.
    FirstAnswersDrop(usize),
    /// Every `next` leads to the first page.
    NextLoop,
    /// Every `next` leads to a page that was not there before, for ever.
    NextForever,
    /// No page has more than so many, as NetBox's `MAX_PAGE_SIZE` has it.
    LargestPage(usize),
    /// `next` is built with this origin, as behind a proxy.
    NextOrigin(String),
    /// Every request is redirected there.
    Redirect(String),
    /// A token that may see no object: empty lists, no tags.
    SeesNothing,
    /// A token that may not see tags.
    TagsForbidden,
    /// The filters `tag` and `status` are ignored.
    FiltersIgnored,
    /// The count says that there is one more than is listed.
    CountsOneMore,
    /// An answer that never ends, sent as fast as possible.
    Endless,
}

/// A request as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub path: String,
    pub query: String,
    pub authorization: Option<String>,
    pub user_agent: String,
}

impl Seen {
    pub fn parameters(&self) -> Vec<(String, String)> {
        form_urlencoded::parse(self.query.as_bytes()).into_owned().collect()
    }
}

#[derive(Default)]
struct Shared {
    machines: Vec<Machine>,
    fault: Fault,
    seen: Vec<Seen>,
}

type Handle = Arc<Mutex<Shared>>;

/// A running stand-in.
pub struct StandIn {
    address: SocketAddr,
    scheme: &'static str,
    shared: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl StandIn {
    /// Serves these hosts over plain HTTP.
    pub fn start(machines: Vec<Machine>) -> Self {
        Self::start_on("http", machines, |listener| listener)
    }

    /// Serves these hosts over what `wrap` makes of a TCP listener.
    pub fn start_on<L>(
        scheme: &'static str,
        machines: Vec<Machine>,
        wrap: impl FnOnce(tokio::net::TcpListener) -> L + Send + 'static,
    ) -> Self
    where
        L: axum::serve::Listener<Addr = SocketAddr>,
    {
        let machines = numbered(machines, &[]);
        let shared: Handle = Arc::new(Mutex::new(Shared { machines, ..Shared::default() }));
        let app = Router::new().fallback(handle).with_state(shared.clone());
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let server = axum::serve(wrap(listener), app).into_future();
                tokio::select! {
                    _ = server => {}
                    _ = stopped => {}
                }
            });
        });
        StandIn { address: told.recv().unwrap(), scheme, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Its root, with a trailing slash.
    pub fn url(&self) -> String {
        format!("{}://{}/", self.scheme, self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn misbehave(&self, fault: Fault) {
        self.shared.lock().unwrap().fault = fault;
    }

    pub fn set_machines(&self, machines: Vec<Machine>) {
        let mut shared = self.shared.lock().unwrap();
        shared.machines = numbered(machines, &shared.machines);
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.shared.lock().unwrap().seen.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The machines with their numbers, which those of before keep.
fn numbered(mut machines: Vec<Machine>, before: &[Machine]) -> Vec<Machine> {
    let given = machines.iter().chain(before).filter_map(|machine| machine.id);
    let mut last = given.max().unwrap_or_default();
    for index in 0..machines.len() {
        let machine = &machines[index];
        let taken = |id: &usize| machines.iter().any(|other| other.id == Some(*id));
        let same = before.iter().filter(|other| (other.kind, &other.name) == (machine.kind, &machine.name));
        let kept = same.filter_map(|other| other.id).find(|id| !taken(id));
        machines[index].id = machine.id.or(kept).or_else(|| {
            last += 1;
            Some(last)
        });
    }
    machines
}

async fn handle(State(shared): State<Handle>, uri: Uri, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned());
    let seen = Seen {
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        authorization: text(header::AUTHORIZATION),
        user_agent: text(header::USER_AGENT).unwrap_or_default(),
    };
    let fault = {
        let mut shared = shared.lock().unwrap();
        shared.seen.push(seen.clone());
        let fault = shared.fault.clone();
        if let Fault::FirstRequestsFail(left) | Fault::FirstAnswersDrop(left) = &mut shared.fault {
            *left = left.saturating_sub(1);
        }
        fault
    };
    match fault {
        Fault::Status(status) => {
            (StatusCode::from_u16(status).unwrap(), axum::response::Html(PAGE)).into_response()
        }
        Fault::FirstRequestsFail(1..) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Fault::Html => axum::response::Html(PAGE).into_response(),
        Fault::HalfJson => {
            api::json_answer(StatusCode::OK, "{\"count\": 1, \"next\": null, \"resu".to_owned())
        }
        Fault::SlowDrip => stream(Some(Duration::from_millis(20)), 1),
        Fault::Endless => stream(None, 1 << 20),
        Fault::Silence => std::future::pending().await,
        Fault::Drop | Fault::FirstAnswersDrop(1..) => {
            let half = futures_util::stream::iter([Ok("{\"count\": "), Err(io::Error::other("lost"))]);
            Body::from_stream(half).into_response()
        }
        Fault::Redirect(to) => Redirect::temporary(&to).into_response(),
        fault => {
            let machines = shared.lock().unwrap().machines.clone();
            api::answer(&machines, &fault, &seen, &headers)
        }
    }
}

const PAGE: &str = "<!DOCTYPE html>\n<html><body><h1>Some page</h1></body></html>\n";

/// Blanks, which JSON may begin with, without an end.
fn stream(pause: Option<Duration>, size: usize) -> Response {
    let blanks = futures_util::stream::unfold((), move |()| async move {
        match pause {
            Some(pause) => tokio::time::sleep(pause).await,
            None => tokio::task::yield_now().await,
        }
        Some((Ok::<_, Infallible>(" ".repeat(size)), ()))
    });
    ([(header::CONTENT_TYPE, "application/json")], Body::from_stream(blanks)).into_response()
}

/// The status and the body of a recorded answer.
pub fn recording(text: &str) -> (u16, Value) {
    let mut recorded: Map<String, Value> = serde_json::from_str(text).unwrap();
    let status = recorded["status"].as_u64().unwrap();
    (u16::try_from(status).unwrap(), recorded["body"].take())
}
