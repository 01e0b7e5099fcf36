//! A stand-in for Icinga 2's API: what the recorded answers of a real Icinga
//! 2.13.6 show, over TLS on a free port of the loopback interface, with faults
//! that can be switched on.
//!
//! It runs in a thread of its own, so that tests with and without a runtime,
//! and tests that start the program as a child, can use it. It ends when it is
//! dropped.

#![allow(missing_docs, clippy::unwrap_used, reason = "a support of tests fails by panicking")]

use super::tls::{Authority, TlsListener};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread::JoinHandle;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// The API user that every stand-in knows.
pub const USER: &str = "backup";
/// That user's password.
pub const PASSWORD: &str = "hunter2";
/// The service of the run itself.
const RUN: &str = "b32-1!BACKUP-b32-1";
/// The two, as HTTP's basic authentication has them.
const AUTHORIZATION: &str = "Basic YmFja3VwOmh1bnRlcjI=";

/// How a stand-in misbehaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// Requests get 503 and an HTML page, as a proxy before Icinga sends it.
    Unavailable,
    /// The API user lacks the permission; from 2.14.9, 2.15.4 and 2.16.2 on
    /// Icinga says so.
    NoPermission,
    /// The same in older versions.
    NoPermissionUnsaid,
    /// The filter of the API user's permission leaves the service out.
    FilteredOut,
    /// 500 with empty results, as to a filter without a match.
    EmptyResults,
    /// 200, and the result is dropped: the host's parent is unreachable.
    Ignoring,
    /// The service takes no passive results.
    PassiveDisabled,
    /// 409, from 2.14 on: there is a newer result.
    Newer,
    /// Requests are never answered.
    Silence,
    /// 200 and a page for people.
    Html,
}

/// A running stand-in.
pub struct Icinga {
    address: SocketAddr,
    folder: tempfile::TempDir,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    services: BTreeSet<String>,
    fault: Fault,
    /// For single requests, before `fault`.
    next: VecDeque<Fault>,
    requests: usize,
    results: Vec<Value>,
}

impl Icinga {
    /// A stand-in that knows these services, each as `host!service`, and that
    /// of the run itself.
    pub fn start(services: &[&str]) -> Self {
        let authority = Authority::new("Icinga CA");
        Self::showing(services, authority.pem(), authority.acceptor(&["127.0.0.1", "localhost"]))
    }

    /// [`Icinga::start`] with a certificate that is its own authority.
    pub fn self_signed(services: &[&str]) -> Self {
        let (pem, acceptor) = Authority::of_a_server(&["127.0.0.1"], 2999);
        Self::showing(services, &pem, acceptor)
    }

    fn showing(services: &[&str], ca: &str, acceptor: TlsAcceptor) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("ca.pem"), ca).unwrap();
        std::fs::write(folder.path().join("stranger.pem"), Authority::new("Icinga CA").pem()).unwrap();

        let shared = Arc::<Shared>::default();
        let known = services.iter().chain([&RUN]);
        shared.lock().services = known.map(|service| (*service).to_owned()).collect();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = mpsc::channel();
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(tcp.local_addr().unwrap()).unwrap();
                tokio::select! {
                    served = axum::serve(TlsListener { tcp, acceptor }, app) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().unwrap();
        Icinga { address, folder, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// `https://127.0.0.1:PORT/`.
    pub fn url(&self) -> String {
        format!("https://{}/", self.address)
    }

    /// The CA that signed its certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    /// A CA that did not sign its certificate.
    pub fn stranger_ca_file(&self) -> PathBuf {
        self.folder.path().join("stranger.pem")
    }

    /// A file with the password of [`USER`], made on demand.
    pub fn password_file(&self) -> PathBuf {
        let path: &Path = self.folder.path();
        std::fs::write(path.join("password"), format!("{PASSWORD}\n")).unwrap();
        path.join("password")
    }

    /// Makes it misbehave, or behave, from now on.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.lock().fault = fault;
    }

    /// Makes it misbehave so for single requests, one after the other.
    pub fn next_faults(&self, faults: &[Fault]) {
        self.shared.lock().next.extend(faults);
    }

    /// How many requests came, whatever became of them.
    pub fn requests(&self) -> usize {
        self.shared.lock().requests
    }

    /// The bodies that it took as results of hosts, in order.
    pub fn results(&self) -> Vec<Value> {
        self.all_results().into_iter().filter(|result| result["service"] != RUN).collect()
    }

    /// The same of whole runs.
    pub fn runs(&self) -> Vec<Value> {
        self.all_results().into_iter().filter(|result| result["service"] == RUN).collect()
    }

    fn all_results(&self) -> Vec<Value> {
        self.shared.lock().results.clone()
    }

    /// Lets it know a service no more.
    pub fn forget(&self, service: &str) {
        self.shared.lock().services.remove(service);
    }

    /// The last result that it took for a service, `host!service`.
    pub fn result(&self, service: &str) -> Option<Value> {
        self.results().into_iter().rev().find(|result| result["service"] == service)
    }
}

impl Drop for Icinga {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap()
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let fault = {
        let mut inner = shared.lock();
        inner.requests += 1;
        inner.next.pop_front().unwrap_or(inner.fault)
    };
    match fault {
        Fault::Silence => std::future::pending().await,
        Fault::Unavailable => {
            return (StatusCode::SERVICE_UNAVAILABLE, Html("<h1>503 Service Unavailable</h1>"))
                .into_response();
        }
        Fault::Html => return Html("<!doctype html><title>Welcome</title>").into_response(),
        _ => {}
    }
    if headers.get(header::ACCEPT).is_none_or(|accept| accept != "application/json") {
        let text = "<h1>Accept header is missing or not set to 'application/json'.</h1>";
        return (StatusCode::BAD_REQUEST, Html(text)).into_response();
    }
    if headers.get(header::AUTHORIZATION).is_none_or(|sent| sent != AUTHORIZATION) {
        return recorded(include_str!("../recorded/icinga/bad-password.json"));
    }
    let path = uri.path().trim_start_matches('/');
    if method == Method::GET && path == "v1" {
        let permissions = match fault {
            Fault::NoPermission | Fault::NoPermissionUnsaid => json!([]),
            _ => json!(["actions/process-check-result", "objects/query/Service"]),
        };
        let mut own: Value = serde_json::from_str(include_str!("../recorded/icinga/own.json")).unwrap();
        own["body"]["results"][0]["permissions"] = permissions;
        return json_answer(200, &own["body"]);
    }
    if let Some(name) = path.strip_prefix("v1/objects/services/").filter(|_| method == Method::GET) {
        if fault == Fault::FilteredOut || !shared.lock().services.contains(name) {
            return recorded(include_str!("../recorded/icinga/no-such-service-by-name.json"));
        }
        let mut service: Value =
            serde_json::from_str(include_str!("../recorded/icinga/service.json")).unwrap();
        let found = &mut service["body"]["results"][0];
        found["name"] = json!(name);
        found["attrs"]["enable_passive_checks"] = json!(fault != Fault::PassiveDisabled);
        return json_answer(200, &service["body"]);
    }
    if path != "v1/actions/process-check-result" || method != Method::POST {
        let status = format!(
            "The requested path '{path}' could not be found or the request method is not valid for this path."
        );
        return json_answer(404, &json!({"error": 404, "status": status}));
    }
    if fault == Fault::NoPermission {
        let body = json!({"error": 403, "status": "Missing permission: actions/process-check-result"});
        return json_answer(403, &body);
    }
    if fault == Fault::EmptyResults {
        return recorded(include_str!("../recorded/icinga/no-such-host.json"));
    }
    let Ok(result) = serde_json::from_slice::<Value>(&body) else {
        let status = "Invalid request body: Error: it is no JSON\n";
        return json_answer(400, &json!({"error": 400, "status": status}));
    };
    let service = result["service"].as_str().unwrap_or_default().to_owned();
    let mut inner = shared.lock();
    let hidden = matches!(fault, Fault::NoPermissionUnsaid | Fault::FilteredOut);
    if hidden || !inner.services.contains(&service) {
        return recorded(include_str!("../recorded/icinga/no-such-service-by-name.json"));
    }
    let (code, status) = match fault {
        Fault::Ignoring => {
            (200, format!("Ignoring passive check result for unreachable object '{service}'."))
        }
        Fault::PassiveDisabled => (403, format!("Passive checks are disabled for object '{service}'.")),
        Fault::Newer => {
            (409, format!("Newer check result already present. Check result for '{service}' was discarded."))
        }
        _ if !result["exit_status"].is_number() => {
            return recorded(include_str!("../recorded/icinga/missing-exit-status.json"));
        }
        _ => {
            inner.results.push(result);
            (200, format!("Successfully processed check result for object '{service}'."))
        }
    };
    json_answer(code, &json!({"results": [{"code": code, "status": status}]}))
}

fn recorded(file: &str) -> Response {
    let recorded: Value = serde_json::from_str(file).unwrap();
    json_answer(recorded["status"].as_u64().unwrap().try_into().unwrap(), &recorded["body"])
}

fn json_answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}
