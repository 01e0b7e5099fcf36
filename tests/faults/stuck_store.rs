//! The story of one host, with a store that does not do what it should.

use backup::app::admission::{Pace, Turns};
use backup::app::clock::clock_behind;
use backup::app::run::{Event, Watch};
use backup::app::run::{Run, Step, host};
use backup::core::model::host::{Host, HostName};
use backup::core::model::outcome::{HostReport, Outcome, Severity, Stage};
use backup::core::model::snapshot::{Facts, HoldName, Snapshot, SnapshotName, Verdict};
use backup::core::policy::anomaly::Past;
use backup::edge::config::{self, Environment};
use backup::edge::inventory;
use backup::edge::store::{
    DirectoryStore, HostSnapshots, Lockable, Removal, Store, StoreError, Survey, Workspace,
};
use backup::sys::clock::Clock;
use backup::sys::lock::Runtime;
use chrono::{DateTime, TimeDelta, Utc};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// A directory store that never comes to the end of one of its tasks, as on a
/// disk that does not answer.
struct Stuck {
    store: DirectoryStore,
    at: Step,
}

impl Store for Stuck {
    async fn survey(&self) -> Result<Survey, StoreError> {
        self.store.survey().await
    }
    async fn hosts(&self) -> Result<Vec<String>, StoreError> {
        self.store.hosts().await
    }
    async fn host(&self, host: &HostName) -> Result<Option<HostSnapshots>, StoreError> {
        self.store.host(host).await
    }
    async fn lockable(&self, host: &HostName, survey: &Survey) -> Result<Lockable, StoreError> {
        self.store.lockable(host, survey).await
    }
    async fn leave(&self, host: &HostName) -> Result<(), StoreError> {
        self.store.leave(host).await
    }
    async fn lockable_to_rename(&self, host: &HostName) -> Result<Option<Lockable>, StoreError> {
        self.store.lockable_to_rename(host).await
    }
    async fn rename(&self, from: &HostName, to: &HostName) -> Result<(), StoreError> {
        self.store.rename(from, to).await
    }
    async fn prepare(&self, host: &HostName, survey: &Survey) -> Result<Workspace, StoreError> {
        self.store.prepare(host, survey).await
    }
    async fn commit(
        &self,
        host: &HostName,
        workspace: &Workspace,
        name: SnapshotName,
        facts: &Facts,
    ) -> Result<(), StoreError> {
        if self.at == Step::Snapshot {
            std::future::pending::<()>().await;
        }
        self.store.commit(host, workspace, name, facts).await
    }
    async fn give_up(&self, host: &HostName) -> Result<(), StoreError> {
        self.store.give_up(host).await
    }
    async fn remove(&self, _: &HostName, _: &[Snapshot], _: &[String]) -> Result<Removal, StoreError> {
        std::future::pending().await
    }
    async fn space(&self, host: &HostName) -> Result<BTreeMap<String, u64>, StoreError> {
        self.store.space(host).await
    }
    fn space_is_known(&self) -> bool {
        self.store.space_is_known()
    }

    async fn hold(&self, _: &HostName, _: &str, _: &HoldName) -> Result<bool, StoreError> {
        Err(StoreError::new("the disk is full"))
    }
    async fn release(&self, host: &HostName, snapshot: &str, name: &str) -> Result<(), StoreError> {
        self.store.release(host, snapshot, name).await
    }
    async fn holds(&self, host: &HostName) -> Result<BTreeMap<String, Vec<String>>, StoreError> {
        self.store.holds(host).await
    }
    fn by_hand(&self, host: &HostName, name: &str) -> String {
        self.store.by_hand(host, name)
    }
}

/// A run of this machine itself, whose source has one file.
async fn run(dir: &Path, minute: i64, at: Step, cancel: &CancellationToken, watch: Watch) -> Run<Stuck> {
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    for name in ["source", "store"] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
    }
    std::fs::write(dir.join("source/file"), "text").unwrap();
    let text = format!(
        "server = \"b\"\nstate_dir = {:?}\nruntime_dir = {:?}\nexcludes.remote_file = {:?}\n[hosts.web]\ntransport = \"local\"\n\
         source = {:?}\nhooks = false\n[store.directory]\npath = {:?}\nmin_free_percent = 0\n\
         [retention]\ndaily = 1\n",
        path("state"),
        path("run"),
        path("excludes"),
        path("source"),
        path("store")
    );
    std::fs::write(dir.join("config.toml"), text).unwrap();
    let settings = config::load(&dir.join("config.toml"), &Environment::of_this_machine()).unwrap().settings;
    let now = noon() + TimeDelta::minutes(minute);
    let store = Stuck { store: DirectoryStore::new(&dir.join("store"), 0).unwrap(), at };
    let survey = store.survey().await;
    Run {
        runtime: Runtime::enter(&settings.runtime_dir).unwrap().0,
        settings,
        names: Default::default(),
        clock_behind: clock_behind(survey.as_ref().unwrap(), now),
        clock_agreed: std::cell::Cell::default(),
        held: Default::default(),
        store,
        survey,
        clock: Clock::starting_at(now),
        id: "test".to_owned(),
        configured: Vec::new(),
        cancel: cancel.clone(),
        accept_deletions: false,
        keep: None,
        past: Past::new(),
        fresh: Duration::from_millis(20),
        watch,
    }
}

/// Noon of today, so that runs some minutes apart fall on one day, which is
/// that of this machine's clock too.
#[expect(clippy::disallowed_methods, reason = "the runs look at this machine's clock too")]
fn noon() -> DateTime<Utc> {
    static NOON: LazyLock<DateTime<Utc>> =
        LazyLock::new(|| Utc::now().date_naive().and_hms_opt(12, 0, 0).unwrap().and_utc());
    *NOON
}

fn web(run: &Run<Stuck>) -> Host {
    inventory::forced(&run.settings, "web".parse().unwrap())
}

/// One host at a time.
fn turns() -> Rc<Turns> {
    Turns::new(Pace {
        jobs: NonZeroUsize::MIN,
        most: NonZeroUsize::MIN,
        connections_per_second: NonZeroU32::MIN,
    })
}

/// Two runs within a day, of which the second has a snapshot to remove, and
/// what each reports. `then` is called when a run comes to where it is stuck; from
/// there on, time passes as fast as anybody waits for it.
async fn reports(at: Step, then: fn(&CancellationToken)) -> Vec<HostReport> {
    let dir = tempfile::Builder::new().prefix("story").tempdir().unwrap();
    let mut reports = Vec::new();
    for minute in [0, 1] {
        let cancel = CancellationToken::new();
        let theirs = cancel.clone();
        let stuck = Rc::new(Cell::new(false));
        let seen = stuck.clone();
        let watch: Watch = Box::new(move |_, event| {
            if event == Event::At(at) {
                seen.set(true);
                tokio::time::pause();
                then(&theirs);
            }
        });
        let run = run(dir.path(), minute, at, &cancel, watch).await;
        let web = web(&run);
        let story = std::pin::pin!(host(&run, &web, turns().begin()));
        reports.push(tokio::time::timeout(Duration::from_secs(100 * 3600), story).await.unwrap());
        if stuck.get() {
            tokio::time::resume();
        }
    }
    reports
}

#[tokio::test]
async fn a_run_that_is_stopped_while_it_removes_reports_the_copy_that_it_has_kept() {
    for report in reports(Step::Rotate, CancellationToken::cancel).await {
        assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. }), "{report:?}");
        assert_eq!(report.severity(), Severity::Ok);
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_fails_the_host_and_not_the_run() {
    for report in reports(Step::Snapshot, |_| ()).await {
        let Outcome::Failed { stage: Stage::Snapshot, why } = &report.outcome else { panic!("{report:?}") };
        assert!(why.contains("does its disk hang"), "{why}");
    }
    let reports = reports(Step::Rotate, |_| ()).await;
    assert!(matches!(reports[1].outcome, Outcome::Copied { verdict: Verdict::Good, .. }), "{reports:?}");
    assert_eq!(reports[1].severity(), Severity::Warning);
    assert!(reports[1].summary().contains("old snapshots could not be removed: the store did not finish"));
}

#[tokio::test]
async fn a_copy_that_cannot_be_held_as_the_operator_wants_is_critical_and_replaces_nothing() {
    let dir = tempfile::Builder::new().prefix("story").tempdir().unwrap();
    for (minute, keep) in [(0, None), (1, Some("before-upgrade".parse().unwrap()))] {
        let cancel = CancellationToken::new();
        let mut run = run(dir.path(), minute, Step::Rotate, &cancel, Box::new(|_, _| ())).await;
        let is_held = keep.is_some();
        run.keep = keep;
        let report = host(&run, &web(&run), turns().begin()).await;
        assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. }), "{report:?}");
        if is_held {
            assert_eq!(report.severity(), Severity::Critical);
            let said =
                "the snapshot could not be held as `before-upgrade`: the disk is full (`backup hold web ";
            assert!(report.summary().starts_with(said), "{}", report.summary());
            assert_eq!(run.store.survey().await.unwrap().hosts["web"].len(), 2, "nothing was removed");
        }
    }
}

/// A host that waits for its turn, what `meanwhile` does then, and its report
/// if its turn comes after some event and what is done `then`.
async fn waited(dir: &Path, meanwhile: impl FnOnce(), after: Event, then: impl FnOnce()) -> HostReport {
    let (heard, mut events) = tokio::sync::mpsc::unbounded_channel();
    let watch: Watch = Box::new(move |_, event| {
        let _ = heard.send(event);
    });
    let run = run(dir, 0, Step::Rotate, &CancellationToken::new(), watch).await;
    let turns = turns();
    let first = turns.begin();
    first.come().await;
    let web = web(&run);
    let other = async {
        let mut next = async |event| while events.recv().await.unwrap() != event {};
        next(Event::At(Step::Probe)).await;
        next(Event::At(Step::Wait)).await;
        meanwhile();
        next(after).await;
        then();
        drop(first);
    };
    tokio::join!(host(&run, &web, turns.begin()), other).0
}

#[tokio::test]
async fn what_changes_on_a_host_that_waits_for_its_turn_is_heeded() {
    let dir = tempfile::Builder::new().prefix("story").tempdir().unwrap();
    std::fs::create_dir(dir.path().join("source")).unwrap();
    std::fs::write(dir.path().join("source/other"), "text").unwrap();
    let exclude = || std::fs::write(dir.path().join("excludes"), "/file\n").unwrap();
    let report = waited(dir.path(), exclude, Event::AskedAgain, || ()).await;
    assert_eq!(report.severity(), Severity::Ok, "{report:?}");
    assert_eq!(report.figures.unwrap().files, 2, "the directory and the other file");
}

#[tokio::test]
async fn a_host_that_goes_bad_while_it_waits_is_tried_again() {
    let dir = tempfile::Builder::new().prefix("story").tempdir().unwrap();
    let source = dir.path().join("source");
    let gone = dir.path().join("gone");
    let (go, come) =
        (|| std::fs::rename(&source, &gone).unwrap(), || std::fs::rename(&gone, &source).unwrap());
    let report = waited(dir.path(), go, Event::At(Step::Connect), come).await;
    assert!(matches!(report.outcome, Outcome::Copied { verdict: Verdict::Good, .. }), "{report:?}");
}
