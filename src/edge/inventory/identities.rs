//! What NetBox's objects were called when they were last backed up, so that one
//! that gets another name is known again: `objects.json` in the state directory.
//!
//! A copy under another name is a whole one, and the former ones are nobody's.
//! So a host goes on under the name that its copies have until an operator
//! renames them; nothing here is renamed because NetBox says so. While that
//! is under way, the file says so too, and the host is not backed up.

use super::kept::{self, Kept};
use super::{file::Aside, resolve::Called};
use crate::core::model::host::{HostName, LONGEST_NAME, Object};
use crate::core::model::problem::Problem;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The version of the file's format that is written and read.
const VERSION: u32 = 1;

/// Objects of NetBox's, by what they were last backed up as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identities {
    version: u32,
    /// No two have one name.
    names: BTreeMap<Object, HostName>,
    /// The renaming that has begun and not ended.
    renaming: Option<Renaming>,
}

/// A host's copies and history get another name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renaming {
    /// The name that they have had.
    pub from: HostName,
    /// The name that they get.
    pub to: HostName,
}

/// A host that is called otherwise than its copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rename {
    /// What NetBox knows it by.
    pub object: Object,
    /// The name that its copies have, and that it goes on under.
    pub from: HostName,
    /// What it is called now.
    pub to: HostName,
}

impl Rename {
    /// What there is to say of it.
    pub fn problem(&self) -> Problem {
        let Rename { object, from, to } = self;
        Problem::warning(
            format!(
                "{object} is now called `{to}`, but is still backed up as `{from}`, the name of its copies"
            ),
            format!(
                "run `backup rename {from} {to}`; if it is a different machine now, run `backup retire {from}`, and it \
                 starts afresh"
            ),
        )
    }
}

impl Kept for Identities {
    const FILE: &'static str = "objects.json";
    const WHAT: &'static str = "the list of what NetBox's objects were backed up as";
    const VERSION: u32 = VERSION;

    fn version(&self) -> u32 {
        self.version
    }
}

impl Default for Identities {
    fn default() -> Self {
        Identities { version: VERSION, names: BTreeMap::new(), renaming: None }
    }
}

impl Identities {
    /// The renaming that has begun and not ended, if there is one.
    pub fn renaming(&self) -> Option<&Renaming> {
        self.renaming.as_ref()
    }

    /// Whether an object was ever backed up.
    pub(super) fn has_copies(&self, object: Object) -> bool {
        self.names.contains_key(&object)
    }

    /// Why a host of this name is not backed up: its rename was interrupted.
    pub(super) fn half_renamed(&self, name: &HostName) -> Option<Problem> {
        let Renaming { from, to } = self.renaming.as_ref().filter(|r| r.from == *name || r.to == *name)?;
        let what = format!("renaming `{from}` to `{to}` was interrupted");
        Some(Problem::critical(what, format!("run `backup rename {from} {to}` again")))
    }

    fn set(&mut self, object: Object, name: HostName) {
        self.names.retain(|_, known| *known != name);
        self.names.insert(object, name);
    }

    /// Lets hosts go on under the names of their copies. Gives those that did,
    /// and takes out, each with the reason, those whose name is another's.
    pub(super) fn follow(
        &self,
        called: Vec<Called>,
        objects: &BTreeSet<Object>,
    ) -> (Vec<Called>, Vec<Rename>, Vec<(HostName, Problem)>) {
        let names: BTreeSet<HostName> = called.iter().map(|called| called.name.clone()).collect();
        let now: BTreeMap<Object, HostName> =
            called.iter().map(|called| (called.machine.object(), called.name.clone())).collect();
        let owners: BTreeMap<&HostName, Object> = self
            .names
            .iter()
            .filter(|(object, _)| objects.contains(object))
            .map(|(object, name)| (name, *object))
            .collect();
        let (mut kept, mut renames, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for host in called {
            let object = host.machine.object();
            match (self.names.get(&object), owners.get(&host.name)) {
                (Some(from), _) if *from != host.name && names.contains(from) => {
                    let commands = match circle(object, &now, &owners) {
                        Some(circle) => self.around(&circle, &names),
                        None => format!("`backup rename {from} {}`", host.name),
                    };
                    let what = format!(
                        "{object} is now called `{}`, and another host has `{from}`, the name of its copies",
                        host.name
                    );
                    others.push((host.name, Problem::critical(what, format!("run {commands}"))));
                }
                (Some(from), _) if *from != host.name => {
                    renames.push(Rename { object, from: from.clone(), to: host.name.clone() });
                    kept.push(host.before(from.clone()));
                }
                (_, Some(owner)) if *owner != object && now.get(owner) != Some(&host.name) => {
                    let new = now.get(owner).map_or("NEW", HostName::spelled);
                    let what = format!(
                        "the copies named `{}` belong to {owner}, which has another name now",
                        host.name
                    );
                    let remedy =
                        format!("run `backup rename {} {new}`, and {object} can use the name", host.name);
                    others.push((host.name, Problem::critical(what, remedy)));
                }
                _ => kept.push(host),
            }
        }
        (kept, renames, others)
    }

    /// The commands that rename hosts whose names went round in a circle, by way of
    /// a name that nobody has.
    fn around(&self, circle: &[HostName], names: &BTreeSet<HostName>) -> String {
        let Some((first, others)) = circle.split_first() else { return String::new() };
        let short: String = first.spelled().chars().take(LONGEST_NAME - 16).collect();
        let is_free = |name: &String| {
            let known = names.iter().chain(self.names.values());
            !known.into_iter().any(|known| known.key().eq_ignore_ascii_case(name))
        };
        let apart = std::iter::once(format!("{short}-tmp")).chain((2..).map(|n| format!("{short}-tmp{n}")));
        let Some(apart) = apart.into_iter().find(is_free) else { return String::new() };
        let mut commands = vec![format!("`backup rename {first} {apart}`")];
        let mut free = first;
        for name in others.iter().rev() {
            commands.push(format!("`backup rename {name} {free}`"));
            free = name;
        }
        commands.push(format!("`backup rename {apart} {free}`"));
        commands.join(", then ")
    }

    /// The object that was last backed up under this name.
    pub(super) fn object_of(&self, name: &HostName) -> Option<Object> {
        self.names.iter().find(|(_, known)| *known == name).map(|(object, _)| *object)
    }
}

/// The names of the copies of hosts that got each other's names, if an object is
/// among them: each is now called what comes next, and the last one what comes
/// first.
fn circle(
    object: Object,
    now: &BTreeMap<Object, HostName>,
    owners: &BTreeMap<&HostName, Object>,
) -> Option<Vec<HostName>> {
    let (mut circle, mut at) = (Vec::new(), object);
    while circle.len() <= now.len() {
        let next = now.get(&at)?;
        circle.push(next.clone());
        at = *owners.get(next)?;
        if at == object {
            // Everybody in it is told the same.
            let least = circle.iter().enumerate().min_by_key(|(_, name)| name.key()).map(|(at, _)| at);
            circle.rotate_left(least.unwrap_or_default());
            return Some(circle);
        }
    }
    None
}

/// What NetBox's objects were last backed up as. Nothing is touched.
pub fn identities(state_dir: &Path) -> Result<Identities, Problem> {
    kept::read(state_dir, Aside::Leave)
}

/// Remembers what an object was backed up as. Whoever says so has the host's lock,
/// so that nobody renames it meanwhile.
pub fn remember(state_dir: &Path, object: Object, name: &HostName) -> Option<Problem> {
    kept::must_change(state_dir, |identities: &mut Identities| identities.set(object, name.clone()))
        .err()
        .map(|problem| Problem { severity: crate::core::model::outcome::Severity::Warning, ..problem })
}

/// Forgets that objects were backed up under these names.
pub(super) fn forget(state_dir: &Path, names: &[HostName]) -> Result<(), Problem> {
    kept::must_change(state_dir, |identities: &mut Identities| {
        identities.names.retain(|_, name| !names.contains(name));
    })
}

/// Remembers that a renaming has begun, until it has ended.
pub fn begin_renaming(state_dir: &Path, from: &HostName, to: &HostName) -> Result<(), Problem> {
    kept::must_change(state_dir, |identities: &mut Identities| {
        identities.renaming = Some(Renaming { from: from.clone(), to: to.clone() });
    })
}

/// Forgets a renaming that has changed nothing.
pub fn cancel_renaming(state_dir: &Path) -> Result<(), Problem> {
    kept::must_change(state_dir, |identities: &mut Identities| identities.renaming = None)
}

/// The last step of a renaming: objects that were backed up under the former
/// name were so under the new one.
pub fn end_renaming(state_dir: &Path, from: &HostName, to: &HostName) -> Result<(), Problem> {
    kept::must_change(state_dir, |identities: &mut Identities| {
        let objects: Vec<Object> =
            identities.names.iter().filter(|(_, name)| *name == from).map(|(object, _)| *object).collect();
        for object in objects {
            identities.set(object, to.clone());
        }
        identities.renaming = None;
    })
}
