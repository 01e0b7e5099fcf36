//! Who lists hosts: the seam that NetBox stands behind.
//!
//! A source says what hosts there are, as they are called there. It does not know
//! which names are fit for a host, nor what is made of a list that is missing or
//! much too short.

use crate::core::model::host::{Object, ObjectKind};
use crate::core::model::problem::Problem;
use crate::core::model::settings::{AddressFrom, Settings};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The source that the configuration names, if it names one.
pub(super) fn configured(settings: &Settings) -> Option<&impl Source> {
    settings.inventory.netbox.as_ref()
}

/// Something that lists hosts.
pub(super) trait Source {
    /// What is known of it without asking it.
    fn about(&self) -> About<'_>;

    /// Asks for every host that is to be backed up.
    ///
    /// # Errors
    /// There is no list, or not a whole one.
    async fn list(&self) -> Result<Listing, Problem>;
}

/// What is known of a source without asking it.
#[derive(Debug, Clone)]
pub(super) struct About<'a> {
    /// What it is, and how it is to be understood.
    pub naming: Naming<'a>,
    /// Its section in the configuration.
    pub section: &'static str,
    /// For one request, from connecting to the last byte.
    pub timeout: Duration,
    /// Fewer hosts than this share of the last good list are not believed.
    pub max_shrink_percent: u8,
    /// A last good list that is older than this is critical.
    pub max_age: Duration,
    /// What is wrong where it has listed nothing, and never had.
    pub nothing: Problem,
    /// Where it is, for people.
    pub place: String,
    /// What it has accepted and done if it lists hosts, with their number for
    /// `{hosts}`.
    pub answered: String,
}

/// How a source's hosts get their names and addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Naming<'a> {
    /// What people call the source.
    pub source: &'static str,
    /// The field that gives a host another name than its own there.
    pub alias_field: &'a str,
    /// Where a host's address comes from.
    pub address: AddressFrom,
    /// Added to a host's name to get its address; may be empty.
    pub domain: &'a str,
}

impl<'a> Naming<'a> {
    /// As the configured source has it.
    pub fn of(settings: &'a Settings) -> Self {
        let none =
            Naming { source: "the inventory", alias_field: "", address: AddressFrom::Name, domain: "" };
        configured(settings).map_or(none, |source| source.about().naming)
    }
}

/// A host as a source lists it; nothing of it has been checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listed {
    /// What it is.
    pub kind: ObjectKind,
    /// The source's number for it, within its kind.
    pub id: u64,
    /// Its name; a device need not have one.
    pub name: Option<String>,
    /// What the source says that it is called here, where it can say that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alias: Option<String>,
    /// Its primary IP address with a prefix length, `10.0.0.7/24`.
    pub primary_ip: Option<String>,
}

impl Listed {
    /// What the source knows it by.
    pub fn object(&self) -> Object {
        Object { kind: self.kind, id: self.id }
    }
}

/// What a source has listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Every host that is to be backed up.
    pub hosts: Vec<Listed>,
    /// What was odd about the answer.
    pub warnings: Vec<String>,
    /// What cannot be known of the answer, which is nothing wrong, each with what
    /// to do about it.
    pub doubts: Vec<(String, &'static str)>,
}
