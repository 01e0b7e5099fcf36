//! A look at Icinga that tells it nothing: whether it takes the password, what
//! the API user may do, and which hosts lack the service.
//!
//! `v1` says who one is and what one may do, and needs no permission. Services
//! are asked for by name, one by one: a list of names is refused as a whole if
//! one of them is missing, and a filter needs a permission of its own.

use super::{Icinga, LONGEST_ANSWER, ServiceName, text_of};
use crate::core::format::text::{printable, shortened};
use crate::core::model::finding::{CheckFinding, Level, named};
use crate::edge::notify::Notifier;
use crate::sys::https;
use glob::Pattern;
use reqwest::header::ACCEPT;
use secrecy::ExposeSecret;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use url::Url;

/// What a run needs.
const REPORT: &str = "actions/process-check-result";
/// What only this look needs.
const READ: &str = "objects/query/Service";
/// How Icinga marks a permission that has a filter.
const FILTERED: &str = " (filtered)";
/// How many services are asked for at once.
const AT_ONCE: usize = 8;

/// What to do where a host has the run's own service.
pub const OTHER_NAME: &str =
    "give the run's service another name with `icinga.run_service`, and create it in Icinga";
/// What to do where there is none.
const CREATE_FOR_RUN: &str = "create it there: README.md has the object; or name another with `icinga.run_host` and `icinga.run_service`";

#[derive(Debug, Deserialize)]
struct Answer<T> {
    results: Vec<T>,
}

/// Who one is.
#[derive(Debug, Deserialize)]
struct Own {
    #[serde(default)]
    user: String,
    /// Patterns, those with a filter marked.
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default)]
    version: String,
}

#[derive(Debug, Deserialize)]
struct Object {
    attrs: Service,
}

#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
struct Service {
    enable_passive_checks: bool,
    enable_active_checks: bool,
    /// A whole number, which Icinga may write as `1.0`.
    max_check_attempts: f64,
}

/// Why there is no answer.
enum Refusal {
    /// The object is not there, or not for this user.
    NotFound,
    /// Anything else.
    Other(CheckFinding),
}

impl Icinga {
    /// What there is to say of this Icinga, and of the services of these hosts,
    /// each spelled as the inventory does. Sends no check result.
    pub async fn examine(self, hosts: Vec<String>) -> Vec<CheckFinding> {
        let icinga = Arc::new(self);
        let subject = https::shown(&icinga.url(&[""]));
        let own = match icinga.own().await {
            Ok(own) => own,
            Err(finding) => return vec![CheckFinding { subject, ..finding }],
        };
        let (version, user) = (printable(&own.version), printable(&own.user));
        let mut findings = vec![CheckFinding::ok(
            &subject,
            format!("is Icinga {version} and accepts the password of `{user}`"),
        )];
        findings.extend(own.permitted(&subject));
        if own.may(READ) {
            let filtered = own.is_filtered(READ);
            findings.push(icinga.run_service(&hosts, filtered).await);
            findings.extend(icinga.services(hosts, filtered).await);
        } else if !hosts.is_empty() {
            let service = printable(&icinga.check.service);
            findings.push(CheckFinding::note(
                &subject,
                format!("cannot tell which hosts lack the service `{service}`"),
                format!(
                    "give the `ApiUser` \"{user}\" the permission `{READ}` as well; only this check uses it"
                ),
            ));
        }
        findings
    }

    /// Who the API user is.
    async fn own(&self) -> Result<Own, CheckFinding> {
        match self.get::<Own>(self.url(&["v1"])).await {
            Ok(mut results) if !results.is_empty() => Ok(results.swap_remove(0)),
            Ok(_) | Err(Refusal::NotFound) => Err(elsewhere()),
            Err(Refusal::Other(finding)) => Err(finding),
        }
    }

    /// A URL below the API's root, which ends with a slash.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.endpoint.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            // The endpoint's own three, below the root.
            segments.pop().pop().pop().extend(path);
        }
        url
    }

    async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<Vec<T>, Refusal> {
        let request = self.client.get(url).header(ACCEPT, "application/json");
        let request = request.basic_auth(&self.user, Some(self.password.expose_secret()));
        let answer = https::ask(request, LONGEST_ANSWER).await.map_err(|failure| {
            let unless = "is Icinga 2 running there, is `icinga.url` right, and may this machine reach it?";
            Refusal::Other(CheckFinding::error("", failure.why, failure.hint.unwrap_or(unless)))
        })?;
        match answer.status.as_u16() {
            200 => serde_json::from_slice::<Answer<T>>(&answer.body)
                .map(|answer| answer.results)
                .map_err(|_| Refusal::Other(elsewhere())),
            401 => Err(Refusal::Other(CheckFinding::error(
                "",
                format!("it does not accept the user `{}` and the password (401)", printable(&self.user)),
                "compare `icinga.user` and the password with its `ApiUser` object",
            ))),
            404 => Err(Refusal::NotFound),
            status => {
                let said = shortened(&printable(&text_of(&answer)), 200);
                let remedy = "look into Icinga's log, and at what stands between";
                Err(Refusal::Other(CheckFinding::error(
                    "",
                    format!("Icinga answered {status}: {said}"),
                    remedy,
                )))
            }
        }
    }

    /// Which hosts lack the service, or have one that would not do.
    async fn services(self: &Arc<Self>, hosts: Vec<String>, filtered: bool) -> Vec<CheckFinding> {
        let gate = Arc::new(Semaphore::new(AT_ONCE));
        let mut asked = JoinSet::new();
        for host in hosts {
            let (icinga, gate) = (self.clone(), gate.clone());
            asked.spawn(async move {
                // Nobody closes the gate.
                let _permit = gate.acquire().await;
                let service = icinga.service(icinga.check.of_host(&host)).await;
                (host, service)
            });
        }
        let mut found = Vec::new();
        while let Some(done) = asked.join_next().await {
            match done {
                Ok((host, Ok(service))) => found.push((host, service)),
                // One that does not answer does not answer for the others either.
                Ok((_, Err(finding))) => {
                    return vec![CheckFinding { subject: self.subject(), ..finding }];
                }
                Err(_) => {}
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        judged(&self.subject(), &found, filtered)
    }

    /// Whether the run's own service is there and would do.
    async fn run_service(&self, hosts: &[String], filtered: bool) -> CheckFinding {
        let object = self.check.of_run();
        let subject = format!("service {}", printable(object.service));
        if hosts.iter().any(|host| self.takes_the_runs_place(host).is_some()) {
            let text = format!("is the run's own and that of the host `{}` as well", printable(object.host));
            return CheckFinding::error(subject, text, OTHER_NAME);
        }
        let on = format!("on the host `{}`, for the run itself", printable(object.host));
        let found = match self.service(object).await {
            Err(finding) => return CheckFinding { subject, ..finding },
            Ok(found) => found,
        };
        let findings = judged(&subject, &[(object.host.to_owned(), found)], filtered);
        match findings.into_iter().next() {
            Some(finding) if finding.level > Level::Ok => {
                let remedy = match found {
                    None => Some(CREATE_FOR_RUN.to_owned()),
                    Some(_) => finding.remedy,
                };
                CheckFinding { text: format!("{} ({on})", finding.text), remedy, ..finding }
            }
            _ => CheckFinding::ok(subject, format!("is there {on}")),
        }
    }

    fn subject(&self) -> String {
        format!("service {}", printable(&self.check.service))
    }

    async fn service(&self, object: ServiceName<'_>) -> Result<Option<Service>, CheckFinding> {
        let name = object.to_string();
        let mut url = self.url(&["v1", "objects", "services", &name]);
        for attribute in ["enable_passive_checks", "enable_active_checks", "max_check_attempts"] {
            url.query_pairs_mut().append_pair("attrs", attribute);
        }
        match self.get::<Object>(url).await {
            Ok(mut objects) => Ok(objects.pop().map(|object| object.attrs)),
            Err(Refusal::NotFound) => Ok(None),
            Err(Refusal::Other(finding)) => Err(finding),
        }
    }
}

fn elsewhere() -> CheckFinding {
    let remedy = "is `icinga.url` the root of Icinga 2's API, as in `https://icinga.example.org:5665/`?";
    CheckFinding::error("", "it answers with something else than Icinga 2's API does", remedy)
}

impl Own {
    /// Whether one of the permissions covers this one, as Icinga compares them.
    fn may(&self, wanted: &str) -> bool {
        self.permissions.iter().any(|own| covers(own, wanted))
    }

    /// Whether it is covered only for what a filter lets through.
    fn is_filtered(&self, wanted: &str) -> bool {
        let mut covering = self.permissions.iter().filter(|own| covers(own, wanted));
        covering.all(|own| own.ends_with(FILTERED))
    }

    fn permitted(&self, subject: &str) -> Option<CheckFinding> {
        let user = printable(&self.user);
        if !self.may(REPORT) {
            let remedy = format!("give it the permission: `permissions = [ \"{REPORT}\" ]`");
            return Some(CheckFinding::error(
                subject,
                format!("its `ApiUser` \"{user}\" may not report results"),
                remedy,
            ));
        }
        self.permissions.iter().any(|own| own == "*").then(|| {
            let remedy = format!("`{REPORT}` and `{READ}` are enough");
            CheckFinding::note(subject, format!("its `ApiUser` \"{user}\" may do everything"), remedy)
        })
    }
}

fn covers(own: &str, wanted: &str) -> bool {
    let own = own.strip_suffix(FILTERED).unwrap_or(own).to_lowercase();
    Pattern::new(&own).is_ok_and(|pattern| pattern.matches(&wanted.to_lowercase()))
}

/// What there is to say of the hosts' services; `None` is one that is missing.
fn judged(subject: &str, found: &[(String, Option<Service>)], filtered: bool) -> Vec<CheckFinding> {
    let which = |wanted: fn(&Option<Service>) -> bool| -> Vec<&str> {
        found.iter().filter(|(_, service)| wanted(service)).map(|(host, _)| host.as_str()).collect()
    };
    let mut findings = Vec::new();
    let missing = which(|service| service.is_none());
    if !missing.is_empty() {
        let unless = match filtered {
            true => format!(", or the filter of the permission `{READ}` leaves it out"),
            false => String::new(),
        };
        findings.push(CheckFinding::error(
            subject,
            format!("is missing on hosts of exactly these names: {}{unless}", named(&missing)),
            "create the hosts and the service there, with passive checks: README.md has an `apply Service` for it",
        ));
    }
    let deaf = which(|service| service.is_some_and(|service| !service.enable_passive_checks));
    if !deaf.is_empty() {
        let text = format!("takes no passive results on {}", named(&deaf));
        findings.push(CheckFinding::error(subject, text, "set `enable_passive_checks = true` there"));
    }
    let blind = which(|service| service.is_some_and(|service| !service.enable_active_checks));
    if !blind.is_empty() {
        let hosts = named(&blind);
        findings.push(CheckFinding::warning(
            subject,
            format!("makes no check of its own on {hosts}: nobody hears of it if this server falls silent"),
            "set `enable_active_checks = true` there, with the check command `passive`",
        ));
    }
    let slow = which(|service| service.is_some_and(|service| service.max_check_attempts > 1.0));
    if !slow.is_empty() {
        let hosts = named(&slow);
        findings.push(CheckFinding::note(
            subject,
            format!(
                "waits for another bad result before it tells anybody, on {hosts}: that is another night"
            ),
            "set `max_check_attempts = 1` there",
        ));
    }
    if findings.is_empty() && !found.is_empty() {
        let hosts =
            if found.len() == 1 { "the host".to_owned() } else { format!("all {} hosts", found.len()) };
        findings.push(CheckFinding::ok(subject, format!("is there for {hosts}")));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIT: Service =
        Service { enable_passive_checks: true, enable_active_checks: true, max_check_attempts: 1.0 };

    fn own(permissions: &[&str]) -> Own {
        let permissions = permissions.iter().map(|permission| (*permission).to_owned()).collect();
        Own { user: "backup".to_owned(), permissions, version: "r2.13.6-1".to_owned() }
    }

    #[test]
    fn permissions_are_patterns_without_case_and_may_have_a_filter() {
        for (permissions, report, read, reason) in [
            (&["actions/process-check-result"][..], true, false, "what README.md says"),
            (
                &["Actions/Process-Check-Result (filtered)", "objects/query/*"],
                true,
                true,
                "a filter, a pattern",
            ),
            (&["*"], true, true, "everything"),
            (&["objects/query/Host", "status/query"], false, false, "something else"),
            (&[], false, false, "nothing"),
        ] {
            assert_eq!(
                (own(permissions).may(REPORT), own(permissions).may(READ)),
                (report, read),
                "{reason}"
            );
        }
        assert!(own(&["objects/query/Service (filtered)"]).is_filtered(READ));
        assert!(!own(&["objects/query/Service (filtered)", "objects/*"]).is_filtered(READ));
    }

    #[test]
    fn services_that_would_not_do_are_told_apart() {
        let deaf = Service { enable_passive_checks: false, ..FIT };
        let blind = Service { enable_active_checks: false, ..FIT };
        let slow = Service { max_check_attempts: 3.0, ..FIT };
        let found = [("a", Some(FIT)), ("b", None), ("c", Some(deaf)), ("d", Some(blind)), ("e", Some(slow))];
        let found = found.map(|(name, service)| (name.to_owned(), service));
        let levels: Vec<Level> = judged("B", &found, false).iter().map(|finding| finding.level).collect();
        assert_eq!(levels, [Level::Error, Level::Error, Level::Warning, Level::Note]);
        assert!(judged("B", &found, true)[0].text.contains("or the filter"));
        assert_eq!(judged("B", &found[..1], false)[0].text, "is there for the host");
        assert!(judged("B", &[], false).is_empty());
    }
}
