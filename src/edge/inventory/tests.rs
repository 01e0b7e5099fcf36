//! The decisions of the inventory, over lists made here; `tests/contract/inventory.rs`
//! has the conversations with a server.

use super::resolve::Resolved;
use super::source::Listing;
use super::*;
use crate::core::model::host::{HostOptions, HostSettings, ObjectKind, Transport};
use crate::core::model::settings::{
    AddressFrom, Excludes, HookSettings, HostOverride, InventorySettings, NetBox, NotifierSettings,
    Retention, Ssh, StoreSettings, TransferSettings,
};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

fn resolve(settings: &Settings, listed: Vec<Listed>) -> Resolved {
    super::resolve::resolve(settings, Naming::of(settings), listed, &Identities::default())
}

pub(super) fn settings(netbox: Option<NetBox>, hosts: &[HostOverride]) -> Settings {
    let host_defaults = HostSettings {
        exclude: vec!["/tmp/".to_owned()],
        inplace: vec!["/images".to_owned()],
        ..HostSettings::default()
    };
    let transfer = TransferSettings {
        compress: true,
        bandwidth_limit: None,
        stall_timeout: Duration::from_secs(600),
        deadline: Duration::from_secs(600),
        retries: 2,
        max_delete_percent: 50,
    };
    Settings {
        server: "b32-1".to_owned(),
        timezone: chrono_tz::UTC,
        jobs: NonZeroUsize::MIN,
        state_dir: PathBuf::from("/nonexistent"),
        runtime_dir: PathBuf::from("/nonexistent"),
        inventory: InventorySettings { netbox },
        host_defaults,
        hosts: hosts.iter().map(|own| (own.name.key().to_owned(), own.clone())).collect(),
        ssh: Ssh {
            identity_file: None,
            known_hosts_file: None,
            connect_timeout: Duration::from_secs(20),
            connections_per_second: NonZeroU32::MIN,
        },
        hooks: HookSettings { directory: "/etc/backup-scripts".to_owned(), timeout: Duration::from_secs(60) },
        transfer,
        excludes: Excludes { files: Vec::new(), remote_file: "/etc/backup-exclude.conf".to_owned() },
        store: StoreSettings::Zfs { dataset: "data".to_owned(), min_free_percent: 5 },
        retention: Retention { daily: Some(NonZeroU32::MIN), ..Retention::default() },
        notifiers: NotifierSettings::default(),
        metrics_textfile: None,
    }
}

fn netbox(address: AddressFrom, domain: &str) -> NetBox {
    NetBox {
        url: "http://127.0.0.1:1/".parse().unwrap(),
        token: "t".into(),
        tag: "Backup".to_owned(),
        statuses: vec!["active".to_owned()],
        address,
        domain: domain.to_owned(),
        name_field: None,
        ca_file: None,
        timeout: Duration::from_secs(1),
        max_shrink_percent: 50,
        max_age: Duration::from_secs(48 * 3600),
    }
}

fn own(name: &str, listed: bool) -> HostOverride {
    HostOverride {
        name: name.parse().unwrap(),
        object: None,
        address: None,
        listed,
        options: HostOptions::default(),
    }
}

fn vm(id: u64, name: &str) -> Listed {
    Listed {
        kind: ObjectKind::VirtualMachine,
        id,
        name: Some(name.to_owned()),
        alias: None,
        primary_ip: None,
    }
}

fn vms(names: &[&str]) -> Vec<Listed> {
    (1..).zip(names).map(|(id, name)| vm(id, name)).collect()
}

fn addresses(resolved: &Resolved) -> Vec<(String, String)> {
    resolved.hosts.iter().map(|host| (host.name.to_string(), host.address.clone())).collect()
}

fn faults(resolved: &Resolved) -> Vec<(&str, String)> {
    resolved.faults.iter().map(|fault| (fault.name.as_str(), fault.why.to_string())).collect()
}

#[test]
fn a_host_that_cannot_be_backed_up_is_a_fault_and_the_rest_go_on() {
    let mut listed =
        vec![Listed { kind: ObjectKind::Device, id: 62, name: None, alias: None, primary_ip: None }];
    let long = "x".repeat(255);
    let hostile = ["-e sh", "a\nb", "a'b\"", "$(id)", "x ", "all", "", &long];
    listed.extend(vms(&hostile));
    listed.extend([vm(20, "db"), vm(21, "VPN"), Listed { kind: ObjectKind::Device, ..vm(5, "vpn") }]);
    listed.extend([vm(30, "twin"), Listed { kind: ObjectKind::Device, ..vm(31, "twin") }]);
    let resolved = resolve(&settings(Some(netbox(AddressFrom::Name, "")), &[]), listed);
    assert_eq!(addresses(&resolved), [("db".to_owned(), "db".to_owned())]);
    let names: Vec<&str> = resolved.faults.iter().map(|fault| fault.name.as_str()).collect();
    let mut expected =
        vec!["", "", "$(id)", "-e sh", "VPN", "a\nb", "a'b\"", "all", "twin", "vpn", "x ", &long];
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, why) in [
        (
            "",
            "device 62 has no name in NetBox (give it one there, or write `[hosts.\"device:62\"]` and below it `name = \"device-62\"` into the configuration)",
        ),
        (
            "VPN",
            "virtual machine 21 `VPN` and device 5 `vpn` in NetBox have one name, as names compare without case (rename all but one there, or write into the configuration: `[hosts.\"vm:21\"]` and below it `name = \"VPN-vm21\"`, or `[hosts.\"device:5\"]` and below it `name = \"vpn-device5\"`)",
        ),
        (
            "x ",
            "`x ` cannot be a host's name: only the letters a to z, digits, `-`, `_` and `.` are allowed (rename virtual machine 5 in NetBox, or write `[hosts.\"vm:5\"]` and below it `name = \"x\"` into the configuration)",
        ),
    ] {
        assert!(faults(&resolved).contains(&(name, why.to_owned())), "{name}: {:?}", faults(&resolved));
    }
    assert!(resolved.faults.iter().all(|fault| !fault.why.to_string().contains('\n')));
}

#[test]
fn an_address_is_the_name_with_the_domain_once() {
    for (name, domain, address, reason) in [
        ("vpn", "", "vpn", "no domain"),
        ("VPN", "example.org", "VPN.example.org", "one dot"),
        ("vpn", ".example.org", "vpn.example.org", "still one dot"),
        ("vpn.example.org", "example.org", "vpn.example.org", "it is there already"),
        ("vpn.EXAMPLE.org", "Example.org", "vpn.EXAMPLE.org", "in whatever case"),
        ("notexample.org", "example.org", "notexample.org.example.org", "a part of a label is no domain"),
        ("example.org", "example.org", "example.org", "the domain itself"),
    ] {
        let settings = settings(Some(netbox(AddressFrom::Name, domain)), &[]);
        assert_eq!(addresses(&resolve(&settings, vms(&[name])))[0].1, address, "{reason}");
        assert_eq!(forced(&settings, name.parse().unwrap()).address, address, "{reason}");
    }
}

#[test]
fn an_address_can_be_the_primary_ip() {
    let at = |id, name, ip: &str| Listed { primary_ip: Some(ip.to_owned()), ..vm(id, name) };
    let listed = vec![
        at(1, "four", "10.0.0.7/24"),
        at(2, "six", "2001:db8::7/64"),
        at(3, "bad", "-oProxyCommand=sh/24"),
        vm(4, "none"),
        vm(5, "known"),
        vm(6, "myself"),
    ];
    let known = HostOverride { address: Some("10.9.9.9".to_owned()), ..own("known", false) };
    let myself = HostOverride {
        options: HostOptions { transport: Some(Transport::Local), ..HostOptions::default() },
        ..own("myself", false)
    };
    let settings = settings(Some(netbox(AddressFrom::PrimaryIp, "example.org")), &[known, myself]);
    let resolved = resolve(&settings, listed);
    let expected = [
        ("four", "10.0.0.7"),
        ("known", "10.9.9.9"),
        ("myself", "myself.example.org"),
        ("six", "2001:db8::7"),
    ];
    assert_eq!(addresses(&resolved), expected.map(|(name, address)| (name.to_owned(), address.to_owned())));
    let names: Vec<&str> = resolved.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(names, ["bad", "none"]);
    assert!(resolved.faults[1].why.what.contains("no primary IP"), "{:?}", resolved.faults);
}

#[test]
fn a_host_s_own_settings_win_and_the_defaults_fill_in() {
    let vpn = HostOverride {
        address: Some("10.0.0.7".to_owned()),
        options: HostOptions {
            user: Some("backup".to_owned()),
            port: Some(2222),
            sudo: Some(true),
            exclude: Some(Vec::new()),
            inplace: Some(vec!["/db".to_owned()]),
            ..HostOptions::default()
        },
        ..own("vpn", true)
    };
    let static_host = HostOverride {
        options: HostOptions { source: Some("/srv".to_owned()), ..HostOptions::default() },
        ..own("Static", true)
    };
    let unused = own("typo", false);
    let settings = settings(Some(netbox(AddressFrom::Name, "example.org")), &[vpn, static_host, unused]);
    let resolved = resolve(&settings, vms(&["VPN", "db"]));
    let [db, fixed, vpn] = resolved.hosts.as_slice() else { panic!("{resolved:?}") };
    assert_eq!(
        (db.address.as_str(), db.settings.user.as_str(), db.settings.port, db.settings.sudo),
        ("db.example.org", "root", None, false)
    );
    assert_eq!(vpn.name.spelled(), "VPN", "NetBox's spelling wins");
    assert_eq!(
        (vpn.address.as_str(), vpn.settings.user.as_str(), vpn.settings.port, vpn.settings.sudo),
        ("10.0.0.7", "backup", Some(2222), true)
    );
    assert!(vpn.settings.exclude.is_empty() && vpn.settings.hooks && db.settings.exclude == ["/tmp/"]);
    assert_eq!(
        (&vpn.settings.inplace[..], &db.settings.inplace[..]),
        (&["/db".to_owned()][..], &["/images".to_owned()][..])
    );
    assert_eq!((fixed.name.spelled(), fixed.address.as_str()), ("Static", "Static.example.org"));
    assert_eq!(fixed.settings.source, "/srv");
    assert_eq!(resolved.unused, ["typo"]);
}

#[test]
fn a_static_host_does_not_settle_which_of_two_is_meant() {
    let settings = settings(Some(netbox(AddressFrom::Name, "")), &[own("vpn", true)]);
    let resolved = resolve(&settings, vms(&["VPN", "vpn"]));
    assert!(resolved.hosts.is_empty());
    assert_eq!(resolved.faults.len(), 2);
}

#[test]
fn force_needs_no_inventory() {
    let vpn = HostOverride {
        address: Some("10.0.0.7".to_owned()),
        options: HostOptions { port: Some(2222), ..HostOptions::default() },
        ..own("VPN", false)
    };
    let settings = settings(Some(netbox(AddressFrom::PrimaryIp, "example.org")), &[vpn]);
    let host = forced(&settings, "vpn".parse().unwrap());
    assert_eq!(
        (host.name.spelled(), host.address.as_str(), host.settings.port),
        ("VPN", "10.0.0.7", Some(2222))
    );
    let host = forced(&settings, "new".parse().unwrap());
    assert_eq!(
        (host.name.spelled(), host.address.as_str(), host.settings.port),
        ("new", "new.example.org", None)
    );
}

fn saved(names: &[&str]) -> Option<Saved> {
    Some(Saved { at: "2026-11-19T02:00:00Z".parse().unwrap(), hosts: vms(names) })
}

fn decided(answer: Result<Vec<Listed>, Problem>, saved: Option<Saved>) -> Decision {
    decided_knowing(answer, saved, &Identities::default())
}

fn decided_knowing(
    answer: Result<Vec<Listed>, Problem>,
    saved: Option<Saved>,
    identities: &Identities,
) -> Decision {
    let netbox = netbox(AddressFrom::Name, "");
    decide(answer, saved, &netbox.about(), now(), Path::new("/state/inventory.json"), identities)
}

fn now() -> DateTime<Utc> {
    "2026-11-20T02:00:00Z".parse().unwrap()
}

fn down() -> Problem {
    Problem::warning("NetBox is down", "start it")
}

fn names(decision: &Decision) -> Vec<&str> {
    decision.hosts.iter().map(|machine| machine.name.as_deref().unwrap_or("-")).collect()
}

#[test]
fn an_answer_is_weighed_against_the_last_good_list() {
    let four = ["a", "b", "c", "d"];
    for (fresh, before, hosts, keep, reason) in [
        (&["a"][..], &[][..], &["a"][..], true, "an empty list says nothing"),
        (&["a", "b", "c", "d", "e"], &four, &["a", "b", "c", "d", "e"], true, "more hosts"),
        (&["A", "b", "c"], &four, &["A", "b", "c"], true, "one fewer, one spelled anew"),
        (&["a", "b"], &four, &["a", "b"], true, "just enough"),
        (&["a"], &four, &["a", "b", "c", "d"], false, "too few: the union"),
        (&["A"], &four, &["A", "b", "c", "d"], false, "the union, in the new spelling"),
        (
            &["e", "f", "g", "h"],
            &four,
            &["a", "b", "c", "d"],
            false,
            "as many of the same numbers, and all with other names",
        ),
        (
            &["a", "x", "y", "z", "e"],
            &four,
            &["a", "e", "b", "c", "d"],
            false,
            "the new one, and the others as they were called",
        ),
        (&[], &four, &["a", "b", "c", "d"], false, "none at all"),
    ] {
        let decision = decided(Ok(vms(fresh)), saved(before));
        assert_eq!(names(&decision), hosts, "{reason}");
        assert_eq!(decision.keep, keep, "{reason}");
        assert_eq!(decision.warnings.is_empty(), keep, "{reason}");
        assert_eq!(decision.nothing, None, "{reason}");
    }
}

#[test]
fn hosts_with_copies_that_all_have_new_names_were_renamed_and_are_not_missing() {
    let folder = tempfile::tempdir().unwrap();
    for (number, name) in [("vm:1", "a"), ("vm:2", "b"), ("vm:3", "c")] {
        assert_eq!(remember(folder.path(), number.parse().unwrap(), &name.parse().unwrap()), None);
    }
    let known = identities(folder.path()).unwrap();
    let (before, after) = (["a", "b", "c", "d"], ["a.org", "b.org", "c.org", "d.org"]);
    let decision = decided_knowing(Ok(vms(&after)), saved(&before), &known);
    assert!(decision.keep && decision.warnings.is_empty(), "{decision:?}");
    let last = saved(&before).unwrap();
    let Drift { new, gone, .. } = drift(&vms(&after), &last, &known);
    assert_eq!((new, gone), (1, 1), "the one that has no copies is known by its name alone");
    // NetBox was set up anew: other numbers, and the same names.
    let renumbered: Vec<Listed> = (11..).zip(before).map(|(id, name)| vm(id, name)).collect();
    assert!(decided_knowing(Ok(renumbered), saved(&before), &known).keep);
    assert!(!decided_knowing(Ok(vms(&["a.org"])), saved(&before), &known).keep, "three are missing");
}

#[test]
fn a_warning_says_how_to_accept_a_shrunken_list() {
    let warning = decided(Ok(vms(&["a"])), saved(&["a", "b", "c"])).warnings.remove(0).to_string();
    for part in
        ["only 1 of the 3 hosts", "2026-11-19 02:00 UTC", "remove `/state/inventory.json`", "the token"]
    {
        assert!(warning.contains(part), "{part}: {warning}");
    }
}

#[test]
fn an_empty_answer_is_not_believed_even_where_any_shrinking_is_allowed() {
    let any = NetBox { max_shrink_percent: 0, ..netbox(AddressFrom::Name, "") };
    let decision =
        decide(Ok(Vec::new()), saved(&["a"]), &any.about(), now(), Path::new("/x"), &Identities::default());
    assert_eq!((names(&decision), decision.keep), (vec!["a"], false));
    let decision =
        decide(Ok(vms(&["z"])), saved(&["a"]), &any.about(), now(), Path::new("/x"), &Identities::default());
    assert_eq!((names(&decision), decision.keep), (vec!["z"], true));
}

#[test]
fn without_an_answer_the_last_good_list_is_used_and_not_renewed() {
    let decision = decided(Err(down()), saved(&["a", "b"]));
    assert_eq!((names(&decision), decision.keep), (vec!["a", "b"], false));
    let problem = decision.stand_in.unwrap();
    assert_eq!(
        (problem.severity, problem.to_string().as_str()),
        (Severity::Warning, "NetBox is down; its list of 2026-11-19 02:00 UTC is used (2 hosts) (start it)")
    );
    assert_eq!(decision.listed_at, Some(now() - TimeDelta::days(1)));
}

#[test]
fn a_list_that_stands_in_for_too_long_is_critical() {
    let netbox = netbox(AddressFrom::Name, "");
    for (hours, severity, reason) in [
        (48, Severity::Warning, "as old as it may be"),
        (49, Severity::Critical, "older"),
        (-5, Severity::Warning, "of a clock that was wrong"),
    ] {
        let now = saved(&[]).unwrap().at + TimeDelta::hours(hours);
        let silent = decide(
            Err(down()),
            saved(&["a", "b"]),
            &netbox.about(),
            now,
            Path::new("/x"),
            &Identities::default(),
        );
        assert_eq!(silent.stand_in.unwrap().severity, severity, "{reason}");
        let shrunken = decide(
            Ok(Vec::new()),
            saved(&["a", "b"]),
            &netbox.about(),
            now,
            Path::new("/x"),
            &Identities::default(),
        );
        assert_eq!(shrunken.warnings[0].severity, severity, "{reason}");
        let told = shrunken.warnings[0].what.contains("older than `inventory.netbox.max_age`");
        assert_eq!(told, severity == Severity::Critical, "{reason}");
    }
}

#[test]
fn without_any_list_there_is_nothing_and_a_word_on_why() {
    let decision = decided(Err(down()), None);
    assert!(decision.nothing.unwrap().what.starts_with("NetBox is down; no earlier list"));
    let decision = decided(Ok(Vec::new()), None);
    assert!(decision.nothing.unwrap().remedy.contains("without the right to view hosts gets an empty list"));
    assert!(!decision.keep);
}

#[test]
fn faults_survive_in_the_last_good_list() {
    let mut before = saved(&["a", "-e sh"]);
    before.as_mut().unwrap().hosts.push(Listed {
        kind: ObjectKind::Device,
        id: 62,
        name: None,
        alias: None,
        primary_ip: None,
    });
    let decision = decided(Err(down()), before);
    let settings = settings(Some(netbox(AddressFrom::Name, "")), &[]);
    let inventory = assemble(&settings, Naming::of(&settings), decision, Vec::new(), &Identities::default());
    assert_eq!((inventory.hosts.len(), inventory.faults.len()), (1, 2));
}

fn alias(object: &str, name: &str) -> HostOverride {
    HostOverride { object: Some(object.parse().unwrap()), ..own(name, false) }
}

#[test]
fn an_object_is_called_what_the_configuration_says_then_its_field_then_netbox() {
    let named =
        |id, name: &str, field: Option<&str>| Listed { alias: field.map(str::to_owned), ..vm(id, name) };
    let listed = vec![
        named(1, "Web Server", None),
        named(2, "Büro", Some("office")),
        named(3, "three", Some("drei")),
        named(4, "four", Some("a b")),
        Listed { name: None, ..named(5, "", None) },
        named(6, "six", None),
    ];
    let aliases =
        [alias("vm:1", "web"), alias("vm:3", "trois"), alias("vm:5", "five"), alias("vm:9", "nine")];
    let netbox =
        NetBox { name_field: Some("backup_name".to_owned()), ..netbox(AddressFrom::Name, "example.org") };
    let resolved = resolve(&settings(Some(netbox), &aliases), listed);
    let expected = [
        ("five", "five.example.org"),
        ("office", "office.example.org"),
        ("six", "six.example.org"),
        ("trois", "three.example.org"),
        ("web", "web.example.org"),
    ];
    assert_eq!(addresses(&resolved), expected.map(|(name, address)| (name.to_owned(), address.to_owned())));
    assert_eq!(
        faults(&resolved),
        [(
            "a b",
            "`a b` cannot be a host's name: only the letters a to z, digits, `-`, `_` and `.` are allowed (correct \
             the custom field `backup_name` of virtual machine 4 in NetBox)"
                .to_owned()
        )]
    );
    assert_eq!(resolved.unlisted, [("vm:9".parse().unwrap(), "nine".parse().unwrap())]);
    assert!(resolved.unused.is_empty());
}

#[test]
fn an_address_that_is_not_its_alone_is_never_an_alias_s() {
    let device = |id, name| Listed { kind: ObjectKind::Device, ..vm(id, name) };
    let settings = settings(
        Some(netbox(AddressFrom::Name, "")),
        &[
            alias("vm:1", "twin-vm"),
            alias("device:2", "twin-device"),
            alias("vm:3", "b"),
            alias("vm:4", "a"),
            alias("vm:5", "web"),
            own("static", true),
        ],
    );
    let listed = vec![vm(1, "twin"), device(2, "twin"), vm(3, "a"), vm(4, "x y"), vm(5, "static")];
    let resolved = resolve(&settings, listed);
    let expected = [
        ("b", "a"),
        ("static", "static"),
        ("twin-device", "twin-device"),
        ("twin-vm", "twin-vm"),
        ("web", "web"),
    ];
    assert_eq!(addresses(&resolved), expected.map(|(name, address)| (name.to_owned(), address.to_owned())));
    let [(name, why)] = &faults(&resolved)[..] else { panic!("{resolved:?}") };
    assert!(*name == "a" && why.contains("`[hosts.\"vm:4\"]` with `name = \"a\"` and an `address`"), "{why}");
}

#[test]
fn a_section_of_an_object_is_no_other_s() {
    let section = HostOverride { address: Some("10.0.0.7".to_owned()), ..alias("vm:12", "web") };
    let settings = settings(Some(netbox(AddressFrom::Name, "")), &[section]);
    let resolved = resolve(&settings, vec![vm(3, "web")]);
    assert_eq!(addresses(&resolved), [("web".to_owned(), "web".to_owned())], "vm:12 is another");
    let resolved = resolve(&settings, vec![vm(3, "web"), vm(12, "old")]);
    assert!(resolved.hosts.is_empty(), "{resolved:?}");
    let [(name, why)] = &faults(&resolved)[..] else { panic!("{resolved:?}") };
    assert_eq!(
        (*name, why.as_str()),
        (
            "web",
            "virtual machine 3 `web` and virtual machine 12 `old` (`web` by `[hosts.\"vm:12\"]`) in NetBox have one \
             name, as names compare without case (rename all but one there, or write into the configuration: \
             `[hosts.\"vm:3\"]` and below it `name = \"web-vm3\"`)"
        )
    );
}

#[test]
fn a_name_that_will_not_do_comes_with_one_that_will() {
    let long = "ü".repeat(300);
    for (name, fits) in [
        ("Büro Server", "buero-server"),
        ("Straße 7 (alt)", "strasse-7-alt"),
        ("-e sh", "e-sh"),
        ("日本", "vm-12"),
        ("all", "vm-12"),
        ("", "vm-12"),
        ("db.", "db"),
        ("a..b", "a.b"),
        (&long, &"ue".repeat(20)[..]),
    ] {
        let resolved = resolve(&settings(Some(netbox(AddressFrom::Name, "")), &[]), vec![vm(12, name)]);
        let lines =
            format!("write `[hosts.\"vm:12\"]` and below it `name = \"{fits}\"` into the configuration");
        assert!(resolved.faults[0].why.remedy.contains(&lines), "{}", resolved.faults[0].why);
        assert!(fits.parse::<HostName>().is_ok(), "{fits}");
    }
}

/// A second source: what its author wrote down, or nothing.
struct Spreadsheet(Result<Vec<Listed>, Problem>);

impl Source for Spreadsheet {
    fn about(&self) -> About<'_> {
        About {
            naming: Naming {
                source: "the spreadsheet",
                alias_field: "",
                address: AddressFrom::Name,
                domain: "example.org",
            },
            section: "inventory.spreadsheet",
            timeout: Duration::from_secs(1),
            max_shrink_percent: 50,
            max_age: Duration::from_secs(3600),
            nothing: Problem::critical("the spreadsheet is empty", "write hosts into it"),
            place: "/srv/hosts.csv".to_owned(),
            answered: "has {hosts}".to_owned(),
        }
    }

    async fn list(&self) -> Result<Listing, Problem> {
        Ok(Listing { hosts: self.0.clone()?, ..Listing::default() })
    }
}

#[tokio::test]
async fn another_source_is_weighed_and_kept_as_the_first_is() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { state_dir: dir.path().to_owned(), ..settings(None, &[]) };
    let ask = async |answer, at| {
        let (source, mut examined) = (Spreadsheet(answer), None);
        let inventory = question(Some(&source), &settings, at, true, None, &mut examined).await;
        (inventory, examined.unwrap().answer.map(|answered| answered.what))
    };
    let (refused, _) = ask(Ok(Vec::new()), now()).await;
    assert_eq!(refused.unwrap_err().to_string(), "the spreadsheet is empty (write hosts into it)");
    let (listed, said) = ask(Ok(vms(&["a", "b"])), now()).await;
    let addresses: Vec<String> = listed.unwrap().hosts.into_iter().map(|host| host.address).collect();
    assert_eq!(addresses, ["a.example.org", "b.example.org"]);
    assert_eq!(said.unwrap(), "has 2 hosts");
    let later = now() + TimeDelta::hours(2);
    let (old, _) = ask(Err(Problem::warning("it is open elsewhere", "close it")), later).await;
    let stand_in = old.unwrap().stand_in.unwrap();
    assert_eq!(stand_in.severity, Severity::Critical);
    assert_eq!(
        stand_in.what,
        "it is open elsewhere; its list of 2026-11-20 02:00 UTC is used (2 hosts), which is older than \
         `inventory.spreadsheet.max_age` (1h00m)"
    );
    let (short, _) = ask(Ok(Vec::new()), now()).await;
    assert!(short.unwrap().warnings[0].what.starts_with("the spreadsheet lists only 0 of the 2 hosts"));
}
