//! NetBox's REST API: the devices and virtual machines that bear a tag.
//!
//! What the API does was recorded from NetBox 4.6.8 (`tests/recorded/netbox`):
//! `tag=` takes a slug and answers 400 to one that no tag has; an unknown
//! filter is ignored, so tags and statuses are checked again here; lists come
//! in pages, each with the absolute URL of the next. That URL is built from
//! the request's `Host` header and can name another origin behind a proxy:
//! only its query is taken, so the token never leaves the configured server.
//!
//! This module does not know which names are fit for a host, nor what to do
//! when NetBox does not answer.

mod answers;
mod request;

use super::source::{About, Listed, Listing, Naming, Source};
use crate::core::format::text::{counted, printable};
use crate::core::model::host::ObjectKind;
use crate::core::model::problem::Problem;
use crate::core::model::settings::{AddressFrom, NetBox};
use crate::sys::https;
use answers::{Machine, Page, Tag};
use futures_util::{StreamExt, TryStreamExt, stream};
use request::{NetBoxError, Session};
use reqwest::StatusCode;
use std::collections::HashSet;
use url::Url;

/// The whole list may take this many times the timeout of one request; ten
/// thousand hosts are twenty pages a kind.
const LONGEST_LIST: u32 = 20;

/// Hosts asked for at once, which is NetBox's own largest page by default; one
/// that is set to less answers with less.
const PAGE: &str = "1000";

/// Pages asked for at once: NetBox has a few workers, and other users.
const PAGES_AT_ONCE: usize = 4;

/// Objects that may be answered beyond NetBox's own count before the list is
/// taken for an endless one; some may be added while it is read.
const SLACK: usize = 1000;

fn endpoint(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Device => "api/dcim/devices/",
        ObjectKind::VirtualMachine => "api/virtualization/virtual-machines/",
    }
}

impl Source for NetBox {
    fn about(&self) -> About<'_> {
        let (tag, statuses) = (printable(&self.tag), printable(&self.statuses.join("`, `")));
        let what = format!("NetBox knows no host with the tag `{tag}` and a status of `{statuses}`");
        let remedy = "tag the hosts, or look at the token, since one without the right to view hosts gets an \
                      empty list";
        About {
            naming: Naming {
                source: "NetBox",
                alias_field: self.name_field.as_deref().unwrap_or_default(),
                address: self.address,
                domain: self.domain.trim_matches('.'),
            },
            section: "inventory.netbox",
            timeout: self.timeout,
            max_shrink_percent: self.max_shrink_percent,
            max_age: self.max_age,
            nothing: Problem::critical(what, remedy),
            place: https::shown(&self.url),
            answered: format!(
                "accepts the token and lists {{hosts}} with the tag `{tag}` and a status of `{statuses}`"
            ),
        }
    }

    async fn list(&self) -> Result<Listing, Problem> {
        list(self).await.map_err(|error| error.problem())
    }
}

/// Asks NetBox for every host with the tag and one of the statuses.
async fn list(netbox: &NetBox) -> Result<Listing, NetBoxError> {
    let session = Session::new(netbox)?;
    let longest = netbox.timeout.saturating_mul(LONGEST_LIST);
    tokio::time::timeout(longest, session.list()).await.unwrap_or_else(|_| {
        let why = format!("the list was not complete after {} s", longest.as_secs());
        Err(session.error(&session.root, why, Some("NetBox is too slow; look at its load".to_owned())))
    })
}

/// The slug of the configured tag, and whether NetBox itself named it.
struct Slug {
    slug: String,
    confirmed: bool,
}

impl Session<'_> {
    async fn list(&self) -> Result<Listing, NetBoxError> {
        let slug = self.slug().await?;
        let (devices, machines) = tokio::try_join!(
            self.kind(ObjectKind::Device, &slug),
            self.kind(ObjectKind::VirtualMachine, &slug)
        )?;
        let mut listing = Listing::default();
        if !slug.confirmed {
            let tag = printable(&self.netbox.tag);
            let what =
                format!("the tag `{tag}` itself cannot be seen, so whether its name is right is not known");
            let remedy = "let the token's user view tags; compare `inventory.netbox.tag` with NetBox";
            listing.doubts.push((what, remedy));
        }
        let mut refused = Vec::new();
        let mut has_field = false;
        let (mut untagged, mut other_status) = (0, 0);
        for (kind, found) in [(ObjectKind::Device, devices), (ObjectKind::VirtualMachine, machines)] {
            if found.seen < found.count {
                listing.warnings.push(format!(
                    "NetBox counts {} {kind}s and listed {}: the list changed while it was read, \
                     and a host may be missing from this run",
                    found.count, found.seen
                ));
            }
            has_field |= found.has_field;
            untagged += found.untagged;
            other_status += found.other_status;
            listing.hosts.extend(found.hosts);
            refused.extend(found.refused);
        }
        if let [one, other] = refused.as_slice() {
            if one.why == other.why {
                return Err(refused.swap_remove(0));
            }
        }
        if let Some(field) =
            self.netbox.name_field.as_ref().filter(|_| !has_field && !listing.hosts.is_empty())
        {
            listing.warnings.push(format!(
                "no host in NetBox has the custom field `{field}`, which `inventory.netbox.name_field` names: all keep \
                 the names that they have there; create the field for devices and virtual machines, or fix the name"
            ));
        }
        for (count, what) in [
            (untagged, format!("the tag `{}`", printable(&self.netbox.tag))),
            (other_status, format!("a status of `{}`", printable(&self.netbox.statuses.join("`, `")))),
        ] {
            if count > 0 {
                listing.warnings.push(format!(
                    "NetBox answered with {} without {what}: it ignored the filter; they are not backed up",
                    counted(count, "object")
                ));
            }
        }
        Ok(listing)
    }

    /// The slug to filter by. Tags can be hidden from a token that may see
    /// hosts; then the configured text has to do.
    async fn slug(&self) -> Result<Slug, NetBoxError> {
        let tag = self.netbox.tag.trim();
        for filter in ["name", "slug"] {
            let mut url = self.url("api/extras/tags/")?;
            url.query_pairs_mut().append_pair(filter, tag).append_pair("limit", PAGE);
            let found: Page<Tag> = match self.get(&url).await {
                Ok(page) => page,
                Err(error) if error.status == Some(StatusCode::FORBIDDEN) => break,
                Err(error) => return Err(error),
            };
            let found = found
                .results
                .into_iter()
                .find(|t| if filter == "name" { t.name == tag } else { t.slug == tag });
            if let Some(found) = found {
                return Ok(Slug { slug: found.slug, confirmed: true });
            }
        }
        let slug = answers::slugify(tag);
        if slug.is_empty() {
            let why = format!("no tag with the name `{tag}` can be seen");
            let hint = "create it, or fix `inventory.netbox.tag`".to_owned();
            return Err(self.error(&self.root, why, Some(hint)));
        }
        Ok(Slug { slug, confirmed: false })
    }

    /// One kind of host. Each kind has statuses that the other lacks
    /// (`inventory`, `paused`), and its endpoint refuses those that it lacks;
    /// then its hosts of any status are asked for, and chosen here. A status
    /// that both refuse is a misspelt one.
    async fn kind(&self, kind: ObjectKind, slug: &Slug) -> Result<Found, NetBoxError> {
        match self.pages(kind, slug, &self.netbox.statuses).await {
            Err(error) if error.is_about("status") => {
                let found = self.pages(kind, slug, &[]).await?;
                Ok(Found { refused: Some(error), other_status: 0, ..found })
            }
            found => found,
        }
    }

    /// Every page of one kind of host.
    async fn pages(&self, kind: ObjectKind, slug: &Slug, statuses: &[String]) -> Result<Found, NetBoxError> {
        let endpoint = self.url(endpoint(kind))?;
        let mut url = endpoint.clone();
        {
            let mut query = url.query_pairs_mut();
            query.append_pair("tag", &slug.slug);
            for status in statuses {
                query.append_pair("status", status);
            }
            query.append_pair("fields", &fields(self.netbox));
            query.append_pair("exclude", "config_context");
            // By number: a renamed or added host cannot move others to
            // another page while the list is read.
            query.append_pair("ordering", "id");
            query.append_pair("limit", PAGE);
        }
        let mut reading = Reading { session: self, kind, slug, found: Found::default(), ids: HashSet::new() };
        let first = self.page(&url, slug).await?;
        let size = first.results.len();
        let (count, next) = (first.count, first.next.clone());
        reading.take(&url, first)?;
        let Some(next) = next else { return Ok(reading.found) };
        let mut url = endpoint.clone();
        url.set_query(query_of(&next));
        // Where `next` goes on where this page has ended, all others are known.
        let offsets = (size..count).step_by(size.max(1));
        let urls: Vec<Url> = match (offset_of(&url), size) {
            (Some(offset), 1..) if offset == size => offsets.map(|offset| at(&url, offset)).collect(),
            _ => vec![url],
        };
        let mut asked: HashSet<String> = urls.iter().map(Url::to_string).collect();
        let mut pages = stream::iter(urls)
            .map(|url| async move { self.page(&url, slug).await.map(|page| (url, page)) })
            .buffered(PAGES_AT_ONCE);
        let mut last = None;
        while let Some((url, page)) = pages.try_next().await? {
            last = page.next.clone();
            reading.take(&url, page)?;
        }
        // Some were added meanwhile; or NetBox's pages are not what was reckoned.
        while let Some(next) = last {
            let mut url = endpoint.clone();
            url.set_query(query_of(&next));
            if !asked.insert(url.to_string()) {
                return Err(self.endless(&url));
            }
            let page = self.page(&url, slug).await?;
            last = page.next.clone();
            reading.take(&url, page)?;
        }
        Ok(reading.found)
    }

    async fn page(&self, url: &Url, slug: &Slug) -> Result<Page<Machine>, NetBoxError> {
        self.get(url).await.map_err(|error| self.with_tag_hint(error, slug))
    }

    fn endless(&self, url: &Url) -> NetBoxError {
        let why = "the list of pages has no end: `next` leads to what was there before".to_owned();
        self.error(url, why, Some("is a proxy between that rewrites queries?".to_owned()))
    }

    fn with_tag_hint(&self, mut error: NetBoxError, slug: &Slug) -> NetBoxError {
        if error.is_about("tag") {
            let tag = printable(&self.netbox.tag);
            error.hint = Some(match slug.confirmed {
                true => format!("was the tag `{tag}` just removed?"),
                false => format!(
                    "no tag with the name or slug `{tag}` can be seen: create it in NetBox, or fix `inventory.netbox.tag`"
                ),
            });
        }
        error
    }
}

/// One kind of host, while its pages are read.
struct Reading<'a> {
    session: &'a Session<'a>,
    kind: ObjectKind,
    slug: &'a Slug,
    found: Found,
    ids: HashSet<u64>,
}

impl Reading<'_> {
    /// Takes a page, which must have something new unless it is the first.
    fn take(&mut self, url: &Url, page: Page<Machine>) -> Result<(), NetBoxError> {
        let netbox = self.session.netbox;
        let is_first = self.ids.is_empty();
        let mut is_new = false;
        self.found.count = page.count;
        for machine in page.results {
            if self.ids.insert(machine.id) {
                is_new = true;
                self.found.take(machine, self.kind, netbox, |tag| {
                    tag.slug == self.slug.slug || tag.name == netbox.tag.trim()
                });
            }
        }
        let is_endless = !is_first && !is_new && page.next.is_some();
        if is_endless || self.found.seen > page.count.saturating_add(SLACK) {
            return Err(self.session.endless(url));
        }
        Ok(())
    }
}

/// One kind's hosts, and what was not taken for one.
#[derive(Default)]
struct Found {
    hosts: Vec<Listed>,
    /// How many NetBox says there are.
    count: usize,
    /// How many different ones it listed.
    seen: usize,
    untagged: usize,
    other_status: usize,
    /// Whether one of them has the custom field that gives names.
    has_field: bool,
    /// The refusal of the statuses, where the filter had to be left out.
    refused: Option<NetBoxError>,
}

impl Found {
    fn take(&mut self, machine: Machine, kind: ObjectKind, netbox: &NetBox, is_ours: impl Fn(&Tag) -> bool) {
        let statuses = &netbox.statuses;
        self.seen += 1;
        if !machine.tags.iter().any(is_ours) {
            self.untagged += 1;
        } else if !statuses.is_empty()
            && !machine.status.is_some_and(|status| statuses.contains(&status.value))
        {
            self.other_status += 1;
        } else {
            let ip = machine.primary_ip.or(machine.primary_ip4).or(machine.primary_ip6);
            let primary_ip = ip.map(|ip| ip.address);
            let fields = machine.custom_fields.unwrap_or_default();
            let field = netbox.name_field.as_ref().and_then(|field| fields.get(field));
            self.has_field |= field.is_some();
            let alias = field.and_then(answers::text);
            self.hosts.push(Listed { kind, id: machine.id, name: machine.name, alias, primary_ip });
        }
    }
}

/// What is asked for of each object.
fn fields(netbox: &NetBox) -> String {
    let mut fields = vec!["id", "name", "status"];
    // Addresses are a third of the answer, and of NetBox's work.
    if netbox.address == AddressFrom::PrimaryIp {
        fields.extend(["primary_ip", "primary_ip4", "primary_ip6"]);
    }
    fields.push("tags");
    fields.extend(netbox.name_field.as_ref().map(|_| "custom_fields"));
    fields.join(",")
}

/// The query of a `next` URL, whatever else it names.
fn query_of(next: &str) -> Option<&str> {
    next.split('#').next()?.split_once('?').map(|(_, query)| query)
}

/// Where a page begins, as its URL says.
fn offset_of(url: &Url) -> Option<usize> {
    url.query_pairs().find(|(key, _)| key == "offset")?.1.parse().ok()
}

/// The URL of the page that begins there.
fn at(url: &Url, offset: usize) -> Url {
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| key != "offset")
        .map(|(key, value)| (key.into(), value.into()))
        .collect();
    let mut url = url.clone();
    url.query_pairs_mut().clear().extend_pairs(others).append_pair("offset", &offset.to_string());
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_by_where_it_begins() {
        let url: Url = "http://x/api/?limit=500&offset=500&tag=a%20b".parse().unwrap();
        assert_eq!(offset_of(&url), Some(500));
        assert_eq!(at(&url, 1500).as_str(), "http://x/api/?limit=500&tag=a+b&offset=1500");
        assert_eq!(offset_of(&"http://x/?cursor=500".parse().unwrap()), None);
    }

    #[test]
    fn only_the_query_of_next_counts() {
        assert_eq!(query_of("http://evil.example/x/?limit=2&offset=2#f"), Some("limit=2&offset=2"));
        assert_eq!(query_of("?offset=2"), Some("offset=2"));
        assert_eq!(query_of("http://x/"), None);
    }
}
