//! What NetBox answers: the API itself, made of recorded answers.

use super::{Fault, Kind, Machine, Seen, TOKEN, TOKEN_V2, recording};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use url::form_urlencoded;

const DEFAULT_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// An answer in JSON.
pub fn json_answer(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// What NetBox answers to a request that is not disturbed; `fault` may change
/// what is in the answer.
pub fn answer(machines: &[Machine], fault: &Fault, seen: &Seen, headers: &HeaderMap) -> Response {
    let send =
        |(status, body): (u16, Value)| json_answer(StatusCode::from_u16(status).unwrap(), body.to_string());
    match seen.authorization.as_deref().map(|value| value.split_once(' ').unwrap_or((value, ""))) {
        Some(("Token", TOKEN)) | Some(("Bearer", TOKEN_V2)) => {}
        Some(("Bearer", _)) => return send(recording(BAD_V2_TOKEN)),
        Some(_) => return send(recording(BAD_TOKEN)),
        None => return send(recording(NO_TOKEN)),
    }
    let parameters: Vec<(String, String)> = form_urlencoded::parse(seen.query.as_bytes())
        .into_owned()
        .filter(|(_, value)| !value.is_empty())
        .collect();
    let ask = Ask {
        parameters,
        path: &seen.path,
        fault,
        host: headers.get(header::HOST).map(|h| h.to_str().unwrap()),
    };
    send(match seen.path.as_str() {
        "/api/extras/tags/" => ask.tags(machines),
        "/api/dcim/devices/" => ask.machines(machines, Kind::Device),
        "/api/virtualization/virtual-machines/" => ask.machines(machines, Kind::VirtualMachine),
        _ => (404, json!({ "detail": "Not found." })),
    })
}

struct Ask<'a> {
    parameters: Vec<(String, String)>,
    path: &'a str,
    fault: &'a Fault,
    host: Option<&'a str>,
}

impl Ask<'_> {
    fn all(&self, key: &str) -> Vec<&str> {
        self.parameters.iter().filter(|(k, _)| k == key).map(|(_, value)| value.as_str()).collect()
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.all(key).last()?.parse().ok()
    }

    fn tags(&self, machines: &[Machine]) -> (u16, Value) {
        if *self.fault == Fault::TagsForbidden {
            return (403, json!({ "detail": "You do not have permission to perform this action." }));
        }
        let (names, slugs) = (self.all("name"), self.all("slug"));
        let results = tags_of(machines)
            .into_iter()
            .filter(|_| *self.fault != Fault::SeesNothing)
            .filter(|(name, _)| names.is_empty() || names.contains(&name.as_str()))
            .filter(|(_, (_, slug))| slugs.is_empty() || slugs.contains(&slug.as_str()))
            .map(|(name, (id, slug))| {
                let mut tag = recording(TAG).1["results"][0].take();
                set(
                    &mut tag,
                    [
                        ("id", json!(id)),
                        ("name", json!(name)),
                        ("display", json!(name)),
                        ("slug", json!(slug)),
                    ],
                );
                tag
            })
            .collect();
        (200, self.page(results))
    }

    fn machines(&self, machines: &[Machine], kind: Kind) -> (u16, Value) {
        let known = tags_of(machines);
        let (wanted, statuses, names) = (self.all("tag"), self.all("status"), self.all("name"));
        if let Some(unknown) = wanted.iter().find(|tag| !known.values().any(|(_, slug)| slug == *tag)) {
            let (status, mut body) = recording(UNKNOWN_TAG);
            let text = body["tag"][0].as_str().unwrap().replace("nope", unknown);
            body["tag"][0] = json!(text);
            return (status, body);
        }
        // NetBox's choices; each kind has one that the other lacks.
        let own = if kind == Kind::Device { "inventory" } else { "paused" };
        let choices = ["offline", "active", "planned", "staged", "failed", "decommissioning", own];
        if let Some(unknown) = statuses.iter().find(|status| !choices.contains(*status)) {
            let text = format!("Select a valid choice. {unknown} is not one of the available choices.");
            return (400, json!({ "status": [text] }));
        }
        let ignored = *self.fault == Fault::FiltersIgnored;
        let results = machines
            .iter()
            .enumerate()
            .filter(|(_, m)| m.kind == kind && *self.fault != Fault::SeesNothing)
            .filter(|(_, m)| {
                ignored || wanted.iter().all(|slug| m.tags.iter().any(|name| slug_of(name) == *slug))
            })
            .filter(|(_, m)| ignored || statuses.is_empty() || statuses.contains(&m.status.as_str()))
            .filter(|(_, m)| names.is_empty() || m.name.as_deref().is_some_and(|name| names.contains(&name)))
            .collect();
        let render = |(index, machine): (usize, &Machine)| {
            self.object(machine.id.unwrap_or(index + 1), machine, &known)
        };
        (200, self.page_of(results, render))
    }

    /// The recorded object of that kind with this one's own facts.
    fn object(&self, id: usize, machine: &Machine, known: &BTreeMap<String, (usize, String)>) -> Value {
        let template: &Value = if machine.kind == Kind::Device { &DEVICE } else { &VIRTUAL_MACHINE };
        let mut object = template.clone();
        let ip = machine.primary_ip.as_ref().map_or(Value::Null, |address| {
            let mut ip = VIRTUAL_MACHINE["primary_ip"].clone();
            let family = if address.contains(':') { (6, "IPv6") } else { (4, "IPv4") };
            let family = json!({ "value": family.0, "label": family.1 });
            set(&mut ip, [("address", json!(address)), ("display", json!(address)), ("family", family)]);
            ip
        });
        let is_v6 = machine.primary_ip.as_ref().is_some_and(|address| address.contains(':'));
        let tags = machine.tags.iter().map(|name| {
            let (id, slug) = &known[name];
            let mut tag = template["tags"][0].clone();
            set(
                &mut tag,
                [("id", json!(id)), ("name", json!(name)), ("display", json!(name)), ("slug", json!(slug))],
            );
            tag
        });
        let tags = tags.collect();
        let mut label = machine.status.clone();
        label[..1].make_ascii_uppercase();
        set(
            &mut object,
            [
                ("id", json!(id)),
                ("name", json!(machine.name)),
                ("display", json!(machine.name.clone().unwrap_or_else(|| format!("R640 ({id})")))),
                ("status", json!({ "value": machine.status, "label": label })),
                ("primary_ip4", if is_v6 { Value::Null } else { ip.clone() }),
                ("primary_ip6", if is_v6 { ip.clone() } else { Value::Null }),
                ("primary_ip", ip),
                ("tags", Value::Array(tags)),
                ("custom_fields", Value::Object(machine.custom_fields.clone())),
            ],
        );
        let fields: Vec<&str> = self.all("fields").iter().flat_map(|list| list.split(',')).collect();
        if let (false, Value::Object(all)) = (fields.is_empty(), &mut object) {
            all.retain(|key, _| fields.contains(&key.as_str()));
        }
        object
    }

    fn page(&self, results: Vec<Value>) -> Value {
        self.page_of(results, |value| value)
    }

    fn page_of<T>(&self, all: Vec<T>, render: impl Fn(T) -> Value) -> Value {
        let count = all.len();
        let largest = match *self.fault {
            Fault::LargestPage(largest) => largest,
            _ => LARGEST_PAGE,
        };
        let limit = match self.number("limit").unwrap_or(DEFAULT_PAGE) {
            0 => largest,
            limit => limit.min(largest),
        };
        let offset = self.number("offset").unwrap_or(0);
        let forever = *self.fault == Fault::NextForever;
        let start = if forever { 0 } else { offset };
        let results: Vec<Value> = all.into_iter().skip(start).take(limit).map(render).collect();
        let next = match self.fault {
            Fault::NextLoop => Some(self.link(0, limit)),
            _ if forever || offset + limit < count => Some(self.link(offset + limit, limit)),
            _ => None,
        };
        let previous = (offset > 0).then(|| self.link(offset.saturating_sub(limit), limit));
        let count = if *self.fault == Fault::CountsOneMore { count + 1 } else { count };
        json!({ "count": count, "next": next, "previous": previous, "results": results })
    }

    /// As NetBox builds it: absolute, the parameters in order, no offset of 0.
    fn link(&self, offset: usize, limit: usize) -> String {
        let mut parameters: Vec<(String, String)> =
            self.parameters.iter().filter(|(key, _)| key != "limit" && key != "offset").cloned().collect();
        parameters.push(("limit".to_owned(), limit.to_string()));
        if offset > 0 {
            parameters.push(("offset".to_owned(), offset.to_string()));
        }
        parameters.sort_by(|a, b| a.0.cmp(&b.0));
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let origin = match self.fault {
            Fault::NextOrigin(origin) => origin.trim_end_matches('/').to_owned(),
            _ => format!("http://{}", self.host.unwrap_or("localhost")),
        };
        format!("{origin}{}?{query}", self.path)
    }
}

fn set<const N: usize>(object: &mut Value, fields: [(&str, Value); N]) {
    for (key, value) in fields {
        object[key] = value;
    }
}

/// Every tag by name, with its number and its slug. `Backup` is always there.
fn tags_of(machines: &[Machine]) -> BTreeMap<String, (usize, String)> {
    let names = machines.iter().flat_map(|machine| &machine.tags).cloned().chain(["Backup".to_owned()]);
    let mut tags: BTreeMap<String, (usize, String)> =
        names.map(|name| (name.clone(), (0, slug_of(&name)))).collect();
    for (index, (id, _)) in tags.values_mut().enumerate() {
        *id = index + 1;
    }
    tags
}

fn slug_of(name: &str) -> String {
    name.to_lowercase().replace(' ', "-")
}

const BAD_TOKEN: &str = include_str!("../../recorded/netbox/bad-token.json");
const BAD_V2_TOKEN: &str = include_str!("../../recorded/netbox/bad-v2-token.json");
const NO_TOKEN: &str = include_str!("../../recorded/netbox/no-token.json");
const UNKNOWN_TAG: &str = include_str!("../../recorded/netbox/unknown-tag.json");
const TAG: &str = include_str!("../../recorded/netbox/tag-by-name.json");

static DEVICE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
    recording(include_str!("../../recorded/netbox/active-only.json")).1["results"][0].take()
});

static VIRTUAL_MACHINE: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| {
    recording(include_str!("../../recorded/netbox/virtual-machines-page-1.json")).1["results"][0].take()
});
