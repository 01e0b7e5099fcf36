//! HTTP and HTTPS, for the edges that ask a server something: what a client
//! trusts, what is an answer, and what a failure means.
//!
//! A client speaks to the server that it was told of and to no other: it
//! follows no redirect and takes no proxy from the environment, so that a
//! token or a password cannot go elsewhere. Every answer has an end, in time
//! and in bytes. This module does not know what is asked, nor of whom.

mod trust;

use crate::core::format::text::{human_bytes, human_duration, printable, shortened};
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, RequestBuilder, StatusCode, redirect};
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use url::Url;

/// The longest that a client waits for a connection; a server that answers at
/// all accepts within milliseconds.
const LONGEST_CONNECT: Duration = Duration::from_secs(10);

/// A client that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The private CA's certificates cannot be used.
    #[error("cannot use the CA certificates of `{}`: {why}; `ca_file` names a file of PEM certificates", printable(&.path.to_string_lossy()))]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// The system's certificates cannot be used.
    #[error(
        "cannot use the system's CA certificates: {why}; install `ca-certificates`, or name the server's CA with `ca_file`"
    )]
    System {
        /// Why not.
        why: String,
    },
}

/// A client for the server at `url`. `timeout` is for a whole request, from
/// connecting to the last byte of the answer.
///
/// With a `ca_file` (PEM) it trusts the certificates in there and nothing
/// else, the server's own among them: whoever names the CA of an internal server
/// does not mean that every public CA may vouch for it as well. Without one it trusts what the system
/// trusts; that is looked up only for `https`, so that plain `http` works
/// where no certificates are installed.
pub fn client(url: &Url, ca_file: Option<&Path>, timeout: Duration) -> Result<Client, ClientError> {
    // Fails where another client has installed it before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = Client::builder()
        .user_agent(concat!("backup/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(timeout)
        .connect_timeout(timeout.min(LONGEST_CONNECT));
    match ca_file {
        Some(path) => {
            let unusable = |why: String| ClientError::CaFile { path: path.to_owned(), why: printable(&why) };
            let pem = std::fs::read(path).map_err(|e| unusable(e.to_string()))?;
            let trust = trust::only(&pem).map_err(unusable)?;
            builder.tls_backend_preconfigured(trust).build().map_err(|e| unusable(root_cause(&e)))
        }
        None if url.scheme() == "https" => {
            builder.build().map_err(|e| ClientError::System { why: printable(&root_cause(&e)) })
        }
        None => builder
            .tls_certs_only([])
            .build()
            .map_err(|e| ClientError::System { why: printable(&root_cause(&e)) }),
    }
}

/// What a server answered, whatever the status; never a redirect.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The media type, in lower case and without its parameters; else empty.
    pub media_type: String,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Whether a page for people came, which is not to be shown.
    pub fn is_html(&self) -> bool {
        self.media_type == "text/html" || self.body.trim_ascii_start().starts_with(b"<")
    }
}

/// No usable answer came.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct HttpFailure {
    /// What went wrong, on one line, without the URL and without secrets.
    pub why: String,
    /// What to try, if that is known.
    pub hint: Option<&'static str>,
    /// Whether the same request may fare better in a moment: the connection
    /// was refused or lost, or the time was up.
    pub transient: bool,
}

impl HttpFailure {
    fn lasting(why: impl Into<String>, hint: &'static str) -> Self {
        HttpFailure { why: why.into(), hint: Some(hint), transient: false }
    }
}

/// Sends the request and reads the whole answer, of at most `longest` bytes.
/// A redirect is a failure that says where it points.
pub async fn ask(request: RequestBuilder, longest: usize) -> Result<Answer, HttpFailure> {
    let begun = Instant::now();
    let mut response = request.send().await.map_err(|e| failure(&e, begun))?;
    let status = response.status();
    let header = |name| response.headers().get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    if status.is_redirection() {
        let target = header(LOCATION).unwrap_or_default();
        return Err(HttpFailure::lasting(
            format!(
                "the server answered {status} and points to `{}`",
                shortened(&printable(&without_secrets(&target)), 200)
            ),
            "redirects are not followed, since they could carry the credentials elsewhere: set `url` to where the server really is",
        ));
    }
    let media_type = header(CONTENT_TYPE).unwrap_or_default();
    let media_type = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| failure(&e, begun))? {
        if body.len() + chunk.len() > longest {
            return Err(HttpFailure {
                why: format!("the answer is longer than {}", human_bytes(longest as u64)),
                hint: None,
                transient: false,
            });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(Answer { status, media_type, body })
}

/// The URL as it is shown: host, port and path. A query is long and says little.
pub fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    printable(&format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path()))
}

/// The text of a URL without its query, and without what stands between its
/// `//` and its `@`.
fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut url) if url.has_authority() => {
            // Both refuse only URLs that cannot have a user at all.
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.set_fragment(None);
            url.into()
        }
        _ => url.split(['?', '#']).next().unwrap_or_default().to_owned(),
    }
}

/// What a failed request means.
fn failure(error: &reqwest::Error, begun: Instant) -> HttpFailure {
    let cause = printable(&root_cause(error));
    // rustls adds where its manual speaks of it, which is for programmers.
    let cause = cause.split(": https://docs.rs/").next().unwrap_or_default();
    if let Some(tls) = tls_error(error) {
        return HttpFailure { why: format!("TLS failed: {cause}"), hint: tls_hint(tls), transient: false };
    }
    if error.is_builder() {
        return HttpFailure {
            why: format!("the request cannot be made: {cause}"),
            hint: None,
            transient: false,
        };
    }
    let why = match (error.is_timeout(), error.is_connect()) {
        (true, true) => format!("no connection within {}", human_duration(begun.elapsed())),
        (true, false) => format!("no complete answer within {}", human_duration(begun.elapsed())),
        (false, true) => format!("cannot connect: {cause}"),
        (false, false) => format!("the connection broke: {cause}"),
    };
    HttpFailure { why, hint: None, transient: true }
}

fn tls_hint(error: &rustls::Error) -> Option<&'static str> {
    use rustls::{CertificateError, Error};
    match error {
        // Two CAs of one name, as every Icinga calls its own: a bad signature.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => Some(
            "if a private CA signed the server's certificate, name that CA's certificate with `ca_file`; if `ca_file` is set, it is not the CA that signed it",
        ),
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => Some("use a name in `url` that the server's certificate is for"),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            Some("renew the server's certificate, or set this machine's clock right")
        }
        error if trust::is_authority(error) => Some(
            "the server shows a certificate that calls itself an authority: name that very certificate with `ca_file`",
        ),
        Error::InvalidMessage(_) => Some("does that port speak TLS? `http:` in `url` is without"),
        _ => None,
    }
}

/// The innermost cause, which says most; the layers above it only repeat that
/// something failed.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    chain(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    chain(error).find_map(|e| e.downcast_ref())
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&e| {
        // `io::Error` does not name what it wraps as its source, and TLS
        // errors come wrapped in two of them.
        match e.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner),
            None => e.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn plain_http_needs_no_certificates() {
        assert!(client(&url("http://127.0.0.1/"), None, Duration::from_secs(1)).is_ok());
    }

    #[test]
    fn a_ca_file_that_is_none_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let cases = [
            ("missing.pem", None, "No such file"),
            ("empty.pem", Some(""), "no certificate is in it"),
            ("text.pem", Some("hello\n"), "no certificate is in it"),
            ("broken.pem", Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), ""),
        ];
        for (name, content, why) in cases {
            let path = folder.path().join(name);
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error =
                client(&url("https://x/"), Some(&path), Duration::from_secs(1)).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains(why), "{name}: {error}");
        }
    }

    #[test]
    fn a_url_is_shown_as_host_and_path() {
        assert_eq!(shown(&url("https://me:secret@x:8443/api/?tag=a#b")), "x:8443/api/");
        assert_eq!(shown(&url("https://x/")), "x/");
        assert_eq!(without_secrets("/login/?next=a@b"), "/login/");
        assert_eq!(without_secrets("https://me:secret@x/login/?next=a"), "https://x/login/");
    }

    #[tokio::test]
    async fn a_refused_connection_is_worth_another_try() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = url(&format!("http://127.0.0.1:{port}/"));
        let failure =
            ask(client(&url, None, Duration::from_secs(5)).unwrap().get(url), 10).await.unwrap_err();
        assert!(failure.transient, "{failure:?}");
        assert!(failure.why.contains("Connection refused"), "{failure:?}");
    }
}
