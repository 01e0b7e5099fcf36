//! One request to NetBox: who asks, how often it is tried, and what an error
//! says. Knows nothing of what is asked for.

use super::answers;
use crate::core::format::text::{printable, shortened};
use crate::core::model::problem::Problem;
use crate::core::model::settings::NetBox;
use crate::sys::https::{self, Answer};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use std::time::Duration;
use url::Url;

/// How often a request is made before NetBox counts as down.
const TRIES: u32 = 3;

/// The longest answer that is read.
const LONGEST_ANSWER: usize = 64 << 20;

/// As much as is shown of what NetBox says is wrong, in characters.
const LONGEST_REASON: usize = 300;

/// NetBox gave no usable answer: what was asked, what came, what to try.
/// Holds no secret.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.problem())]
pub(super) struct NetBoxError {
    url: String,
    /// What went wrong.
    pub(super) why: String,
    /// What to try.
    pub(super) hint: Option<String>,
    /// The status, where that is what is wrong.
    pub(super) status: Option<StatusCode>,
    /// The parameters that NetBox complained about.
    about: Vec<String>,
}

impl NetBoxError {
    /// The same as a problem of whoever wanted the list.
    pub(super) fn problem(&self) -> Problem {
        let what = format!("{} (NetBox at `{}`)", self.why, self.url);
        Problem::warning(what, self.hint.clone().unwrap_or_default())
    }

    /// Whether NetBox refused what this parameter says.
    pub(super) fn is_about(&self, parameter: &str) -> bool {
        self.about.iter().any(|about| about == parameter)
    }
}

/// A NetBox, and what it takes to ask it.
pub(super) struct Session<'a> {
    /// What the operator says of it.
    pub(super) netbox: &'a NetBox,
    client: Client,
    /// NetBox's root without a login: the token is the only credential.
    pub(super) root: Url,
    /// The token without a prefix, to keep it out of messages.
    token: SecretString,
    authorization: HeaderValue,
}

impl<'a> Session<'a> {
    /// Fails if the CA file or the token cannot be used.
    pub(super) fn new(netbox: &'a NetBox) -> Result<Self, NetBoxError> {
        let mut root = netbox.url.clone();
        // Both refuse only URLs that cannot have a login at all.
        let _ = root.set_username("");
        let _ = root.set_password(None);
        let unable = |why: String, hint: Option<&str>| NetBoxError {
            url: https::shown(&netbox.url),
            why,
            hint: hint.map(str::to_owned),
            status: None,
            about: Vec::new(),
        };
        let client = https::client(&root, netbox.ca_file.as_deref(), netbox.timeout)
            .map_err(|e| unable(e.to_string(), None))?;
        let (scheme, token) = credentials(netbox.token.expose_secret());
        let mut authorization = HeaderValue::from_str(&format!("{scheme} {token}"))
            .ok()
            .filter(|_| !token.is_empty() && !token.contains(char::is_whitespace))
            .ok_or_else(|| {
                unable(
                    "the token is empty or has characters that no token has".to_owned(),
                    Some("put the token alone into `inventory.netbox.token_file`"),
                )
            })?;
        authorization.set_sensitive(true);
        Ok(Session { netbox, client, root, token: SecretString::from(token), authorization })
    }

    /// The URL of an endpoint, given from NetBox's root.
    pub(super) fn url(&self, path: &str) -> Result<Url, NetBoxError> {
        self.root
            .join(path)
            .map_err(|e| self.error(&self.root, format!("no URL can be made of it: {e}"), None))
    }

    /// One request, with further tries where they may help.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: &Url) -> Result<T, NetBoxError> {
        let mut tries = 1;
        loop {
            let request = self
                .client
                .get(url.clone())
                .header(AUTHORIZATION, self.authorization.clone())
                .header(ACCEPT, "application/json");
            let (again, mut error) = match https::ask(request, LONGEST_ANSWER).await {
                Ok(answer) if answer.status.is_success() => return self.parsed(url, &answer),
                Ok(answer) => (answer.status.is_server_error(), self.refusal(url, &answer)),
                Err(failure) => {
                    (failure.transient, self.error(url, failure.why, failure.hint.map(str::to_owned)))
                }
            };
            if !again {
                return Err(error);
            }
            if tries == TRIES {
                error.why.push_str(&format!(", {TRIES} times in a row"));
                return Err(error);
            }
            tokio::time::sleep(pause(self.netbox.timeout, tries)).await;
            tries += 1;
        }
    }

    fn parsed<T: DeserializeOwned>(&self, url: &Url, answer: &Answer) -> Result<T, NetBoxError> {
        let mut json = serde_json::Deserializer::from_slice(&answer.body);
        serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let hint = "is `inventory.netbox.url` NetBox's root?".to_owned();
            if answer.is_html() {
                return self.error(
                    url,
                    "NetBox answered with an HTML page, not with JSON".to_owned(),
                    Some(hint),
                );
            }
            self.error(url, format!("the answer is not the JSON that NetBox gives: {error}"), Some(hint))
        })
    }

    fn refusal(&self, url: &Url, answer: &Answer) -> NetBoxError {
        let status = answer.status;
        let complaint = answers::complaint(answer);
        let colon = if complaint.text.is_empty() { "" } else { ": " };
        let hint = match status.as_u16() {
            400 if complaint.about.iter().any(|parameter| parameter == "status") => Some(
                "neither devices nor virtual machines know each of these statuses: fix `inventory.netbox.statuses`",
            ),
            401 | 403 => Some(
                "the token is wrong or expired, or it lacks the permission to view devices and virtual machines: see `inventory.netbox.token_file`",
            ),
            404 => Some("is `inventory.netbox.url` NetBox's root?"),
            _ => None,
        };
        let mut error = self.error(
            url,
            format!("NetBox answered {status}{colon}{}", complaint.text),
            hint.map(str::to_owned),
        );
        error.status = Some(status);
        error.about = complaint.about;
        error
    }

    /// An error that shows neither control characters nor, should an answer
    /// have echoed it, the token.
    pub(super) fn error(&self, url: &Url, why: String, hint: Option<String>) -> NetBoxError {
        // Cut last: half a token would not be recognised.
        let why = shortened(&printable(&why.replace(self.token.expose_secret(), "…")), LONGEST_REASON);
        NetBoxError { url: https::shown(url), why, hint, status: None, about: Vec::new() }
    }
}

/// The authorization scheme and the bare token of what was pasted. Version 2
/// tokens (`nbt_KEY.TOKEN`, NetBox 4.5 on) are bearer tokens.
fn credentials(pasted: &str) -> (&'static str, &str) {
    let pasted = pasted.trim();
    let (scheme, token) = match pasted.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("bearer") => ("Bearer", rest.trim_start()),
        Some((word, rest)) if word.eq_ignore_ascii_case("token") => ("Token", rest.trim_start()),
        _ => ("Token", pasted),
    };
    if token.starts_with("nbt_") { ("Bearer", token) } else { (scheme, token) }
}

/// How long to wait before another try: longer each time, and in proportion
/// to the patience that the operator asked for (1.5 s and 4.5 s of 30 s).
fn pause(timeout: Duration, tries: u32) -> Duration {
    timeout / 20 * 3u32.pow(tries - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_token_are_understood_however_they_were_pasted() {
        for (pasted, scheme, token, reason) in [
            ("abc123", "Token", "abc123", "version 1"),
            ("nbt_key.tok", "Bearer", "nbt_key.tok", "version 2"),
            ("Token abc123\n", "Token", "abc123", "a whole header value"),
            ("bearer  abc123", "Bearer", "abc123", "what was pasted knows best"),
            ("Token nbt_key.tok", "Bearer", "nbt_key.tok", "NetBox refuses version 2 as `Token`"),
            ("Bearer nbt_key.tok", "Bearer", "nbt_key.tok", "as NetBox shows it"),
        ] {
            assert_eq!(credentials(pasted), (scheme, token), "{reason}");
        }
    }

    #[test]
    fn pauses_grow_with_the_tries_and_with_the_timeout() {
        let timeout = Duration::from_secs(30);
        assert_eq!([1, 2].map(|tries| pause(timeout, tries).as_millis()), [1500, 4500]);
    }
}
