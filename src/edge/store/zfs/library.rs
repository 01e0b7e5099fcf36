//! Snapshots taken and destroyed through libzfs_core, without a program
//! (feature `libzetta`; `docs/decisions/0012-libzetta.md` says what it costs).
//!
//! What the library refuses is left to `zfs(8)`, which says why in words: the
//! library has an error number and no more. What it does not answer is asked of
//! nobody else.
//!
//! Not known here: whether a snapshot may go. A call that the kernel does not
//! end cannot be given up as a program can: its thread stays in the kernel until
//! the pool answers, and with it this process.

use super::super::{StoreError, blocking};
use super::dataset::Property;
use super::system::{System, pool_of};
use crate::core::format::text::human_duration;
use libzetta::zfs::{DestroyTiming, Error, ZfsEngine, ZfsLzc};
use rustix::io::Errno;
use std::path::{Path, PathBuf};

/// How the library came out of a call.
#[derive(Debug)]
enum Answer {
    Done,
    /// It refused these, each for a reason of its own, and did nothing.
    Refused(Vec<String>),
    /// Somebody else took a snapshot of the same dataset in the same moment,
    /// and ours may be there or not.
    Unclear,
    /// It did nothing.
    Failed,
}

/// Takes a snapshot together with its properties, and says whether it did: if
/// not, `zfs` may, or may say why not. An error if nobody knows.
pub(super) async fn snapshot(
    system: &System,
    target: &str,
    properties: &[Property],
) -> Result<bool, StoreError> {
    let user_properties = properties.iter().cloned().collect();
    let snapshots = [PathBuf::from(target)];
    let doing = format!("cannot take the snapshot `{target}`");
    let call = move |library: ZfsLzc| library.snapshot(&snapshots, Some(user_properties));
    match ask(system, &doing, target, call).await? {
        Answer::Done => Ok(true),
        Answer::Unclear => Ok(is_there(system, target, properties).await),
        Answer::Refused(_) | Answer::Failed => Ok(false),
    }
}

/// Destroys snapshots of a dataset, and gives back the names of those that it
/// left: one that is held, busy or cloned does not keep the others. An error if
/// nobody knows.
pub(super) async fn destroy(
    system: &System,
    dataset: &str,
    names: &[String],
) -> Result<Vec<String>, StoreError> {
    let doing = format!("cannot destroy snapshots of `{dataset}`");
    let full = |name: &String| format!("{dataset}@{name}");
    let mut left = Vec::new();
    // All or none: the second time without those that it refused.
    for _ in 0..2 {
        let doomed = names.iter().map(full).filter(|name| !left.contains(name));
        let snapshots: Vec<PathBuf> = doomed.map(PathBuf::from).collect();
        if snapshots.is_empty() {
            break;
        }
        let call = move |library: ZfsLzc| library.destroy_snapshots(&snapshots, DestroyTiming::RightNow);
        match ask(system, &doing, dataset, call).await? {
            Answer::Done => {
                return Ok(names.iter().filter(|name| left.contains(&full(name))).cloned().collect());
            }
            Answer::Refused(refused) => left.extend(refused),
            Answer::Unclear | Answer::Failed => break,
        }
    }
    Ok(names.to_vec())
}

/// Lets the library do something, away from the thread that serves all hosts.
async fn ask(
    system: &System,
    doing: &str,
    target: &str,
    call: impl FnOnce(ZfsLzc) -> Result<(), Error> + Send + 'static,
) -> Result<Answer, StoreError> {
    if system.zfs != Path::new("zfs") {
        return Ok(Answer::Failed);
    }
    let answer = blocking(move || Ok(understood(ZfsLzc::new().and_then(call))));
    tokio::time::timeout(system.change_deadline, answer).await.unwrap_or_else(|_| {
        let waited = human_duration(system.change_deadline);
        Err(StoreError::new(format!("{doing}: ZFS did not answer within {waited}"))
            .hint(format!("zpool status {}", pool_of(target))))
    })
}

fn understood(result: Result<(), Error>) -> Answer {
    let again = Errno::AGAIN.raw_os_error().into();
    match result {
        Ok(()) => Answer::Done,
        // The library looks at this list before it looks at whether the call
        // failed, and the kernel, which then tries again by itself, leaves in it
        // what hindered its first try.
        Err(Error::MultiOpError(reasons)) if reasons.values().any(|reason| *reason == again) => {
            Answer::Unclear
        }
        Err(Error::MultiOpError(reasons)) => Answer::Refused(reasons.into_keys().collect()),
        Err(error) => {
            tracing::debug!("libzfs_core: {error:?}");
            Answer::Failed
        }
    }
}

/// Whether a snapshot is there with the properties that ours has.
async fn is_there(system: &System, target: &str, properties: &[Property]) -> bool {
    let args = ["get", "-Hp", "-s", "local", "-o", "property,value", "all", target];
    let what = format!("the properties of `{target}`");
    let Ok(text) = system.list(&system.zfs, &what, target, &args).await else { return false };
    let lines: Vec<&str> = text.lines().collect();
    properties.iter().all(|(key, value)| lines.contains(&format!("{key}\t{value}").as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn a_list_of_reasons_is_not_always_a_refusal() {
        let reasons = |number: i32| {
            let reasons = HashMap::from([("data/vpn@x".to_owned(), number.into())]);
            understood(Err(Error::MultiOpError(reasons)))
        };
        assert!(matches!(reasons(Errno::AGAIN.raw_os_error()), Answer::Unclear));
        assert!(
            matches!(reasons(Errno::BUSY.raw_os_error()), Answer::Refused(names) if names == ["data/vpn@x"])
        );
        assert!(matches!(understood(Err(Error::invalid_input())), Answer::Failed));
        assert!(matches!(understood(Ok(())), Answer::Done));
    }

    #[tokio::test]
    async fn a_zfs_that_is_not_this_machines_is_not_gone_round() {
        let system = System { zfs: "/nowhere/zfs".into(), ..System::default() };
        let names = ["x".to_owned()];
        assert_eq!(destroy(&system, "data/vpn", &names).await.unwrap(), names);
        assert!(!snapshot(&system, "data/vpn@x", &[]).await.unwrap());
    }
}
