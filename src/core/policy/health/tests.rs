//! Tests of the judgement, in tables with a reason a row.

use super::*;
use crate::core::model::problem::Problem;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_795_140_000, 0).unwrap()
}

fn ago(hours: i64) -> DateTime<Utc> {
    now() - TimeDelta::hours(hours)
}

fn taken(hours: i64, verdict: Verdict) -> Taken {
    Taken { time: ago(hours), verdict, files: Some(10), bytes: Some(4096), duration: Some(12) }
}

/// The snapshots of these ages, in hours, oldest first.
fn copies(list: &[(i64, Verdict)]) -> Overview {
    let list: Vec<Taken> = list.iter().map(|(hours, verdict)| taken(*hours, *verdict)).collect();
    let times: Vec<DateTime<Utc>> = list.iter().map(|taken| taken.time).collect();
    Overview { ours: list.len(), ..Overview::looked_up(&times, now() + AT_ONCE, |index| Some(list[index])) }
}

fn run(hours: i64, severity: Severity, problem: &str) -> LastRun {
    let word = if severity == Severity::Ok { "good" } else { "failed" }.to_owned();
    LastRun { time: ago(hours), word, severity, problem: problem.to_owned() }
}

fn known(listing: InventoryState, list: &[(i64, Verdict)], last_run: Option<LastRun>) -> Known {
    let open = Ok(OpenFindings::default());
    Known { name: "vpn".into(), listing, copies: Ok(copies(list)), last_run, running: None, open }
}

fn judged(known: Known) -> Status {
    judge(known, now(), Patience::of(None))
}

use InventoryState::{Gone, Listed, Unfit, Unknown};
use Severity::{Critical, Ok as Fine, Warning};
use Verdict::{Good, Partial, Suspect};

#[test]
fn a_host_is_judged_by_its_copies_and_its_last_run() {
    for (listing, list, last_run, state, severity, problem, why) in [
        (Listed, &[(13, Good)][..], Some(run(13, Fine, "")), State::Good, Fine, None, "last night's"),
        (Listed, &[(13, Good)], None, State::Good, Fine, None, "no history is no fault"),
        (Unknown, &[(13, Good)], None, State::Good, Fine, None, "nor is no inventory, of the host"),
        (Listed, &[], None, State::Never, Warning, Some("never backed up"), "new"),
        (
            Listed,
            &[],
            Some(run(13, Critical, "connect failed: no route")),
            State::Failed,
            Critical,
            Some("no good copy; connect failed: no route"),
            "tried in vain",
        ),
        (
            Listed,
            &[(13, Partial)],
            None,
            State::Failed,
            Critical,
            Some("no good copy; partial copy: some files could not be read"),
            "never good",
        ),
        (
            Listed,
            &[(37, Good), (13, Partial)],
            None,
            State::Warning,
            Warning,
            Some("last good copy is 37 hours old; partial copy: some files could not be read"),
            "a night that is partly missing",
        ),
        (
            Listed,
            &[(30, Good), (13, Suspect)],
            None,
            State::Failed,
            Critical,
            Some("suspect copy: it is not plausible"),
            "the guard spoke up",
        ),
        (
            Listed,
            &[(30, Good)],
            Some(run(6, Critical, "connect failed: no route")),
            State::Failed,
            Critical,
            Some("connect failed: no route"),
            "the last night's run failed, the copy is still fresh",
        ),
        (
            Listed,
            &[(6, Good)],
            Some(run(30, Critical, "connect failed: no route")),
            State::Good,
            Fine,
            None,
            "the history is older than the newest copy",
        ),
        (
            Listed,
            &[(80, Good)],
            Some(run(6, Warning, "skipped: locked by another run")),
            State::Failed,
            Critical,
            Some("last good copy is 3 days old; skipped: locked by another run"),
            "the worst first",
        ),
        (
            Listed,
            &[(6, Good)],
            Some(run(6, Warning, "")),
            State::Warning,
            Warning,
            Some("the last run: failed"),
            "a run that said nothing",
        ),
        (
            Listed,
            &[(37, Good)],
            None,
            State::Warning,
            Warning,
            Some("last good copy is 37 hours old"),
            "beyond the ttl",
        ),
        (Listed, &[(36, Good)], None, State::Good, Fine, None, "just fresh"),
        (
            Listed,
            &[(72, Good)],
            None,
            State::Warning,
            Warning,
            Some("last good copy is 3 days old"),
            "just not twice the ttl",
        ),
        (
            Listed,
            &[(73, Good)],
            None,
            State::Failed,
            Critical,
            Some("last good copy is 3 days old"),
            "beyond twice the ttl",
        ),
        (
            Listed,
            &[(-30, Good)],
            None,
            State::Failed,
            Critical,
            Some(
                "no good copy; its newest copy is dated 2026-11-21 08:00 UTC, in the future: correct this machine's \
                 clock, or remove that snapshot (`backup snapshots vpn` says how)",
            ),
            "a clock that was set back",
        ),
        (
            Listed,
            &[(13, Good), (-30, Good)],
            Some(run(13, Fine, "")),
            State::Warning,
            Warning,
            Some(
                "its newest copy is dated 2026-11-21 08:00 UTC, in the future: correct this machine's clock, or \
                 remove that snapshot (`backup snapshots vpn` says how)",
            ),
            "one of the future hides no age",
        ),
        (
            Listed,
            &[(13, Good), (-30, Suspect)],
            Some(run(13, Fine, "")),
            State::Good,
            Fine,
            None,
            "one that is known to have a wrong date is not the last run's",
        ),
        (
            Unfit("no address".into()),
            &[(6, Good)],
            None,
            State::Failed,
            Critical,
            Some("cannot be backed up: no address"),
            "nobody else will notice",
        ),
        (
            Unfit("no address".into()),
            &[],
            None,
            State::Failed,
            Critical,
            Some("cannot be backed up: no address; no good copy"),
            "nor that it never was",
        ),
        (
            Gone,
            &[(9000, Good), (8000, Suspect)],
            Some(run(9000, Critical, "old news")),
            State::Retired,
            Fine,
            Some("not in the inventory; its snapshots stay"),
            "retired hosts are not judged",
        ),
        (
            Gone,
            &[(9000, Good)],
            None,
            State::Retired,
            Fine,
            Some("not in the inventory; its snapshot stays"),
            "one",
        ),
        (Gone, &[], None, State::Retired, Fine, Some("not in the inventory; it has no snapshots"), "none"),
    ] {
        let status = judged(known(listing, list, last_run));
        assert_eq!((status.state, status.severity), (state, severity), "{why}");
        assert_eq!(status.problem.as_deref(), problem, "{why}");
    }
}

#[test]
fn a_running_host_is_judged_by_its_last_good_copy_alone() {
    let failed = || Some(run(6, Critical, "connect failed"));
    for (list, last_run, severity, problem, why) in [
        (&[(13, Good)][..], failed(), Fine, None, "it is being mended"),
        (&[(40, Good)], failed(), Warning, Some("last good copy is 40 hours old"), "it was not for long"),
        (&[], failed(), Critical, Some("no good copy"), "nothing to fall back to"),
        (&[], None, Warning, Some("never backed up"), "its first run"),
    ] {
        let mut known = known(Listed, list, last_run);
        known.running = Some(ago(1));
        let status = judged(known);
        assert_eq!((status.state, status.severity), (State::Running, severity), "{why}");
        assert_eq!(status.problem.as_deref(), problem, "{why}");
    }
    let mut gone = known(Gone, &[(13, Good)], None);
    gone.running = Some(ago(1));
    assert_eq!(judged(gone).state, State::Retired);
}

#[test]
fn what_cannot_be_read_is_never_called_never_backed_up() {
    let known = Known {
        copies: Err("cannot read the snapshots in `/srv/vpn`: permission denied".into()),
        ..known(Listed, &[], None)
    };
    let status = judged(known);
    assert_eq!((status.state, status.severity), (State::Failed, Critical));
    assert!(status.problem.unwrap().contains("permission denied"));
}

#[test]
fn of_a_retired_host_that_cannot_be_read_it_is_not_said_that_it_has_nothing() {
    let copies = Err("cannot read the snapshots in `/srv/old`: permission denied".into());
    let status = judged(Known { copies, ..known(Gone, &[], None) });
    assert_eq!((status.state, status.severity), (State::Retired, Fine));
    let problem = "not in the inventory; cannot read the snapshots in `/srv/old`: permission denied";
    assert_eq!(status.problem.as_deref(), Some(problem));
}

#[test]
fn a_longer_ttl_makes_more_patient() {
    let week = Patience::of(Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(judge(known(Listed, &[(100, Good)], None), now(), week).state, State::Good);
    assert_eq!(judge(known(Listed, &[(200, Good)], None), now(), week).state, State::Warning);
    assert_eq!(Patience::of(Some(Duration::MAX)).failed, TimeDelta::MAX);
}

#[test]
fn the_figures_are_those_of_the_newest_good_copy() {
    let status = judged(known(Listed, &[(40, Good), (13, Good), (6, Suspect)], None));
    assert_eq!(status.last_good, Some(ago(13)));
    assert_eq!(status.age, Some(TimeDelta::hours(13)));
    assert_eq!((status.bytes(), status.copies.ours), (Some(4096), 3));
    assert_eq!(status.growth().map(|growth| growth.bytes), Some(0));
    assert_eq!(status.last_run.unwrap().word, "suspect");
}

#[test]
fn ages_are_told_as_people_do() {
    for (seconds, told) in [
        (0, "seconds"),
        (-5, "seconds"),
        (60, "1 minute"),
        (3599, "59 minutes"),
        (3600, "1 hour"),
        (47 * 3600 + 3599, "47 hours"),
        (48 * 3600, "2 days"),
        (400 * 86_400, "400 days"),
    ] {
        assert_eq!(human_age(TimeDelta::seconds(seconds)), told);
    }
}

fn named(name: &str, listing: InventoryState, list: &[(i64, Verdict)], last_run: Option<LastRun>) -> Status {
    judged(Known { name: name.into(), ..known(listing, list, last_run) })
}

#[test]
fn a_plugin_line_names_the_worst_first_and_has_figures() {
    let good = || named("vpn", Listed, &[(13, Good)], None);
    let stale = || named("db-1", Listed, &[(40, Good)], None);
    let failed = || named("web2", Listed, &[(14, Good)], Some(run(6, Critical, "no | route\nat all")));
    let gone = || named("old", Gone, &[(9000, Good)], None);
    for (statuses, unlisted, doubts, exit, text) in [
        (
            vec![good()],
            None,
            vec![],
            0,
            "BACKUP OK - 1 host good | hosts=1 good=1 warning=0 failed=0 never=0 running=0 retired=0 left=0 \
             oldest_good=46800s snapshots=1 bytes=4096B",
        ),
        (
            vec![good(), gone()],
            None,
            vec![Problem::warning("NetBox is away; its list of yesterday is used", "look")],
            0,
            "BACKUP OK - 1 host good; NetBox is away; its list of yesterday is used | hosts=1 good=1 warning=0 \
             failed=0 never=0 running=0 retired=1 left=0 oldest_good=46800s snapshots=1 bytes=4096B",
        ),
        (
            vec![good()],
            None,
            vec![Problem::critical("NetBox is away; its list of last week is used", "look")],
            2,
            "BACKUP CRITICAL - 1 host good; NetBox is away; its list of last week is used | hosts=1 good=1 warning=0 \
             failed=0 never=0 running=0 retired=0 left=0 oldest_good=46800s snapshots=1 bytes=4096B",
        ),
        (
            vec![good(), stale()],
            None,
            vec![],
            1,
            "BACKUP WARNING - 2 hosts: 1 with a warning, 1 good; db-1: last good copy is 40 hours old | hosts=2 \
             good=1 warning=1 failed=0 never=0 running=0 retired=0 left=0 oldest_good=144000s snapshots=2 bytes=8192B",
        ),
        (
            vec![good(), stale(), failed()],
            Some("no list of hosts"),
            vec![],
            2,
            "BACKUP CRITICAL - 3 hosts: 1 failed, 1 with a warning, 1 good; web2: no / route\\nat all; db-1: last \
             good copy is 40 hours old; no list of hosts | hosts=3 good=1 warning=1 failed=1 never=0 running=0 \
             retired=0 left=0 oldest_good=144000s snapshots=3 bytes=12288B",
        ),
        (
            vec![good()],
            Some("no list of hosts"),
            vec![],
            3,
            "BACKUP UNKNOWN - 1 host good; no list of hosts | hosts=1 good=1 warning=0 failed=0 never=0 running=0 \
             retired=0 left=0 oldest_good=46800s snapshots=1 bytes=4096B",
        ),
        (
            vec![named("new", Listed, &[], None)],
            None,
            vec![],
            1,
            "BACKUP WARNING - 1 host: 1 never backed up; new: never backed up | hosts=1 good=0 warning=0 failed=0 \
             never=1 running=0 retired=0 left=0 snapshots=0 bytes=0B",
        ),
    ] {
        assert_eq!(plugin(&statuses, unlisted, &doubts), Line { text: text.to_owned(), exit });
    }
}

#[test]
fn a_plugin_line_stays_one_line_of_a_sane_length() {
    let long = "x|\n".repeat(500);
    let statuses: Vec<Status> =
        (0..300).map(|n| named(&format!("host-{n}"), Listed, &[], Some(run(6, Critical, &long)))).collect();
    let Line { text, exit } = plugin(&statuses, None, &[Problem::warning(long, "")]);
    assert_eq!(exit, 2);
    assert!(text.chars().count() < 1000 && !text.contains('\n'), "{text}");
    assert_eq!(text.matches('|').count(), 1, "{text}");
    assert!(text.matches("host-").count() >= 4, "several are named: {text}");
    assert!(Line::unknown("why\nnot").text.ends_with("- why\\nnot"));
}

#[test]
fn hosts_are_counted_by_state() {
    let statuses = [
        named("a", Listed, &[(13, Good)], None),
        named("b", Listed, &[(13, Good)], None),
        named("c", Listed, &[(40, Good)], None),
        named("d", Gone, &[], None),
        named("e", Listed, &[], None),
    ];
    assert_eq!(counts(&statuses), "5 hosts: 1 retired, 2 good, 1 never backed up, 1 with a warning");
    assert_eq!(counts(&statuses[..1]), "1 host: 1 good");
    assert_eq!(counts(&[]), "no hosts");
}

#[test]
fn a_good_copy_beside_which_something_went_wrong_is_not_called_good_and_no_more() {
    for (word, severity, shown) in [
        ("good", Severity::Ok, "good"),
        ("good", Severity::Critical, "good, but"),
        ("partial", Severity::Warning, "partial"),
    ] {
        let run = LastRun { time: now(), word: word.to_owned(), severity, problem: String::new() };
        assert_eq!(run.display(), shown, "{word} {severity}");
    }
}

#[test]
fn a_host_that_left_is_a_warning_until_somebody_says_that_it_is_meant() {
    let left =
        || named("old", InventoryState::Left(ago(48)), &[(49, Good)], Some(run(50, Critical, "no route")));
    let status = left();
    assert_eq!(
        (status.state, status.severity, status.is_expected()),
        (State::Left, Severity::Warning, false)
    );
    let problem = status.problem.unwrap();
    assert!(problem.starts_with("left the inventory on 2026-11-"), "{problem}");
    assert!(problem.contains("`backup retire old`; its snapshot stays"), "{problem}");
    let line = plugin(&[named("vpn", Listed, &[(13, Good)], None), left()], None, &[]);
    assert_eq!(line.exit, 1);
    assert!(line.text.starts_with("BACKUP WARNING - 1 host good; old: left the inventory"), "{}", line.text);
    assert!(
        line.text.contains("hosts=1 good=1 ") && line.text.contains(" retired=0 left=1 "),
        "{}",
        line.text
    );
}
