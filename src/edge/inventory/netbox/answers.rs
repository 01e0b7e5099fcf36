//! The shapes of NetBox's answers, as far as they matter here, and the ways in
//! which it says no.

use crate::sys::https::Answer;
use serde::Deserialize;
use serde_json::{Map, Value};

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct Page<T> {
    /// How many there are on all pages.
    pub count: usize,
    /// An absolute URL of the next page.
    pub next: Option<String>,
    pub results: Vec<T>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Tag {
    pub name: String,
    pub slug: String,
}

/// A device or a virtual machine.
#[derive(Debug, Deserialize)]
pub(super) struct Machine {
    pub id: u64,
    pub name: Option<String>,
    pub status: Option<Choice>,
    /// Whichever of the next two NetBox prefers.
    pub primary_ip: Option<Address>,
    pub primary_ip4: Option<Address>,
    pub primary_ip6: Option<Address>,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// Only there where it was asked for.
    pub custom_fields: Option<Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Choice {
    pub value: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Address {
    /// With a prefix length.
    pub address: String,
}

/// The text of a custom field; `None` for an empty one.
pub(super) fn text(field: &Value) -> Option<String> {
    let text = match field {
        Value::Null => return None,
        Value::String(text) => text.trim().to_owned(),
        other => other.to_string(),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// What NetBox says is wrong with a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Complaint {
    /// As it came, but of a text no more than a line; may be empty.
    pub text: String,
    /// The parameters that it is about.
    pub about: Vec<String>,
}

/// Reads `{"detail": "…"}`, `{"parameter": ["…"]}`, or the first line of
/// whatever else came.
pub(super) fn complaint(answer: &Answer) -> Complaint {
    let (text, about) = match serde_json::from_slice(&answer.body) {
        Ok(Value::Object(fields)) => match fields.get("detail") {
            Some(Value::String(detail)) => (detail.clone(), Vec::new()),
            _ => {
                let parts: Vec<String> =
                    fields.iter().map(|(key, value)| format!("{key}: {}", said(value))).collect();
                (parts.join("; "), fields.into_iter().map(|(key, _)| key).collect())
            }
        },
        _ if answer.is_html() => ("an HTML page".to_owned(), Vec::new()),
        _ => {
            let text = String::from_utf8_lossy(&answer.body);
            (
                text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default().trim().to_owned(),
                Vec::new(),
            )
        }
    };
    Complaint { text, about }
}

fn said(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => values.iter().map(said).collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    }
}

/// The slug that NetBox gives a tag of this name, unless somebody chose
/// another: lower case, blanks as dashes, nothing but letters, digits, `-` and
/// `_`. A slug is its own slug.
pub(super) fn slugify(name: &str) -> String {
    let mut slug = String::new();
    for c in name.trim().to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' => slug.push(c),
            '-' => slug.push('-'),
            c if c.is_whitespace() && !slug.ends_with('-') => slug.push('-'),
            _ => {}
        }
    }
    slug
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::StatusCode;

    fn recorded(name: &str) -> (u16, Answer) {
        let path = format!("{}/tests/recorded/netbox/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let body = serde_json::to_vec(&file["body"]).unwrap();
        let status = u16::try_from(file["status"].as_u64().unwrap()).unwrap();
        let media_type = "application/json".to_owned();
        (status, Answer { status: StatusCode::from_u16(status).unwrap(), media_type, body })
    }

    fn page<T: serde::de::DeserializeOwned>(name: &str) -> Page<T> {
        serde_json::from_slice(&recorded(name).1.body).unwrap()
    }

    #[test]
    fn recorded_devices_are_understood() {
        let first: Page<Machine> = page("devices-page-1");
        let second: Page<Machine> = page("devices-page-2");
        assert_eq!((first.count, first.results.len(), second.results.len()), (31, 16, 15));
        assert!(first.next.is_some() && second.next.is_none());
        let all: Vec<_> = first.results.iter().chain(&second.results).collect();
        assert_eq!(all.iter().filter(|device| device.name.is_none()).count(), 1);
        assert!(
            all.iter()
                .all(|device| device.tags.iter().any(|tag| tag.slug == "backup" && tag.name == "Backup"))
        );
        assert!(all.iter().all(|device| device.status.is_some()));
    }

    #[test]
    fn recorded_virtual_machines_are_understood_with_and_without_fields() {
        for name in ["virtual-machines-page-1", "virtual-machines-fields"] {
            let page: Page<Machine> = page(name);
            assert_eq!(page.results[0].primary_ip.as_ref().unwrap().address, "127.0.0.1/32", "{name}");
            assert_eq!(page.results[1].name.as_deref(), Some("vm0002"), "{name}");
            assert!(page.results[1].primary_ip.is_none(), "{name}");
        }
        assert_eq!(
            page::<Machine>("virtual-machines-upper-case-name").results[0].name.as_deref(),
            Some("VPN")
        );
    }

    #[test]
    fn recorded_tags_are_understood() {
        assert_eq!(page::<Tag>("tag-by-name").results[0].slug, "backup");
        assert!(page::<Tag>("tag-by-name-none").results.is_empty());
    }

    #[test]
    fn recorded_refusals_are_quoted() {
        for (name, status, text, about) in [
            ("bad-token", 403, "Invalid v1 token", &[][..]),
            ("bad-v2-token", 403, "Invalid v2 token", &[]),
            ("no-token", 403, "Authentication credentials were not provided.", &[]),
            (
                "unknown-tag",
                400,
                "tag: Select a valid choice. nope is not one of the available choices.",
                &["tag"],
            ),
        ] {
            let (recorded_status, answer) = recorded(name);
            assert_eq!(recorded_status, status, "{name}");
            let about = about.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(complaint(&answer), Complaint { text: text.to_owned(), about }, "{name}");
        }
    }

    #[test]
    fn other_refusals_are_cut_to_a_line() {
        for (body, text) in [
            (&b"\n  Bad Gateway\x1b[2J\nmore"[..], "Bad Gateway\x1b[2J"),
            (b" <html>\n<body>x", "an HTML page"),
            (b"", ""),
            (b"[1, 2]", "[1, 2]"),
        ] {
            let answer =
                Answer { status: StatusCode::BAD_GATEWAY, media_type: String::new(), body: body.to_vec() };
            assert_eq!(complaint(&answer).text, text);
        }
    }

    #[test]
    fn a_name_becomes_the_slug_that_netbox_would_give_it() {
        for (name, slug) in [
            ("Backup", "backup"),
            ("backup", "backup"),
            ("Back up  (daily)", "back-up-daily"),
            ("a_b-c--d", "a_b-c--d"),
            ("日本", ""),
        ] {
            assert_eq!(slugify(name), slug, "{name}");
        }
    }
}
