//! The inventory against a stand-in for NetBox that serves what a real one was
//! recorded to serve, and against its faults.

use crate::support::netbox::{Fault, Kind, Machine, Seen, StandIn, TOKEN, TOKEN_V2, recording};
use crate::support::tls::{Authority, TlsListener};
use backup::core::model::host::{HostOptions, HostSettings};
use backup::core::model::settings::{
    AddressFrom, Excludes, HookSettings, HostOverride, InventorySettings, NetBox, NotifierSettings,
    Retention, Settings, Ssh, StoreSettings, TransferSettings,
};
use backup::edge::inventory::{self, Inventory, InventoryError};
use chrono::{DateTime, Utc};
use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A NetBox, a state directory, and settings that name both.
struct Scene {
    netbox: StandIn,
    folder: TempDir,
    settings: Settings,
}

impl Scene {
    fn of(machines: Vec<Machine>) -> Self {
        Self::with(StandIn::start(machines))
    }

    fn with(netbox: StandIn) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(&netbox.url(), &folder.path().join("state"));
        Scene { netbox, folder, settings }
    }

    fn wants(&mut self) -> &mut NetBox {
        self.settings.inventory.netbox.as_mut().unwrap()
    }

    fn add_static(&mut self, name: &str) {
        let own = HostOverride {
            name: name.parse().unwrap(),
            object: None,
            address: None,
            listed: true,
            options: HostOptions::default(),
        };
        self.settings.hosts.insert(own.name.key().to_owned(), own);
    }

    fn misbehaves(&mut self, fault: Fault) {
        self.netbox.misbehave(fault);
    }

    async fn load(&self) -> Result<Inventory, InventoryError> {
        inventory::load(&self.settings, at("2026-11-20T02:00:05Z")).await
    }

    /// The error of a NetBox whose list was never good.
    async fn error(&self) -> String {
        let error = self.load().await.unwrap_err().to_string();
        assert!(!error.contains(TOKEN) && !error.contains(TOKEN_V2) && !error.contains('\n'), "{error}");
        error
    }

    fn saved(&self) -> String {
        std::fs::read_to_string(self.settings.state_dir.join("inventory.json")).unwrap()
    }
}

/// What makes a list doubtful, as it is told.
fn warnings(inventory: &Inventory) -> Vec<String> {
    inventory.problems().map(ToString::to_string).collect()
}

fn at(time: &str) -> DateTime<Utc> {
    time.parse().unwrap()
}

fn settings(url: &str, state_dir: &Path) -> Settings {
    let netbox = NetBox {
        url: url.parse().unwrap(),
        token: TOKEN.into(),
        tag: "Backup".to_owned(),
        statuses: vec!["active".to_owned()],
        address: AddressFrom::Name,
        domain: String::new(),
        name_field: None,
        ca_file: None,
        timeout: Duration::from_secs(20),
        max_shrink_percent: 50,
        max_age: Duration::from_secs(48 * 3600),
    };
    let host_defaults = HostSettings::default();
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
        state_dir: state_dir.to_owned(),
        runtime_dir: state_dir.to_owned(),
        inventory: InventorySettings { netbox: Some(netbox) },
        host_defaults,
        hosts: BTreeMap::new(),
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

fn names(inventory: &Inventory) -> Vec<&str> {
    inventory.hosts.iter().map(|host| host.name.spelled()).collect()
}

fn many(count: usize) -> Vec<Machine> {
    (0..count).map(|n| Machine::vm(&format!("vm{n:05}"))).collect()
}

#[tokio::test]
async fn tagged_devices_and_virtual_machines_are_hosts() {
    let scene = Scene::of(vec![
        Machine::vm("web1"),
        Machine::vm("VPN"),
        Machine::device("db"),
        Machine::device("off").status("offline"),
        Machine::vm("untagged").tags(&["other"]),
        Machine::vm("both").tags(&["other", "Backup"]),
        Machine::new(Kind::Device, None),
        Machine::vm("-e sh"),
        Machine::vm("vpn2").tags(&[]),
    ]);
    let inventory = scene.load().await.unwrap();
    assert_eq!(names(&inventory), ["both", "db", "VPN", "web1"]);
    let faults: Vec<&str> = inventory.faults.iter().map(|fault| fault.name.as_str()).collect();
    assert_eq!(faults, ["", "-e sh"]);
    assert!(inventory.faults[0].why.what.contains("device 7 has no name"), "{:?}", inventory.faults);
    assert!(warnings(&inventory).is_empty() && inventory.notes.is_empty(), "{inventory:?}");
}

#[tokio::test]
async fn every_request_is_small_bears_the_token_and_says_who_asks() {
    let scene = Scene::of(many(3));
    scene.load().await.unwrap();
    let seen = scene.netbox.seen();
    let paths: BTreeSet<&str> = seen.iter().map(|request| request.path.as_str()).collect();
    let expected = ["/api/dcim/devices/", "/api/extras/tags/", "/api/virtualization/virtual-machines/"];
    assert_eq!(paths, BTreeSet::from(expected));
    for request in &seen {
        assert_eq!(request.authorization.as_deref(), Some(format!("Token {TOKEN}").as_str()));
        assert!(request.user_agent.starts_with("backup/"), "{request:?}");
        if request.path != "/api/extras/tags/" {
            for (key, value) in [
                ("tag", "backup"),
                ("status", "active"),
                ("fields", "id,name,status,tags"),
                ("exclude", "config_context"),
                ("limit", "1000"),
            ] {
                assert!(
                    request.parameters().contains(&(key.to_owned(), value.to_owned())),
                    "{key}: {request:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_tag_is_known_by_its_name_and_by_its_slug() {
    let machines = vec![Machine::vm("a").tags(&["Back up"]), Machine::vm("b")];
    for (tag, fault, reason) in [
        ("Back up", Fault::None, "its name"),
        ("back-up", Fault::None, "its slug"),
        ("Back up", Fault::TagsForbidden, "its name, by a token that may not see tags"),
        ("back-up", Fault::TagsForbidden, "its slug, by such a token"),
    ] {
        let mut scene = Scene::of(machines.clone());
        scene.misbehaves(fault);
        scene.wants().tag = tag.to_owned();
        assert_eq!(names(&scene.load().await.unwrap()), ["a"], "{reason}");
    }
}

#[tokio::test]
async fn both_kinds_of_token_are_accepted_however_they_were_pasted() {
    for token in
        [TOKEN.to_owned(), format!("Token {TOKEN}\n"), TOKEN_V2.to_owned(), format!("Bearer {TOKEN_V2}")]
    {
        let mut scene = Scene::of(many(1));
        scene.wants().token = token.as_str().into();
        assert!(scene.load().await.is_ok(), "{token}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_refused_with_a_hint_and_not_shown() {
    let secret = "9999999999999999999999999999999999999999";
    for (token, detail) in [
        (secret.to_owned(), "403 Forbidden: Invalid v1 token"),
        (format!("nbt_AAAA.{secret}"), "403 Forbidden: Invalid v2 token"),
        (format!("{secret}\n{secret}"), "characters that no token has"),
        (String::new(), "the token is empty"),
    ] {
        let mut scene = Scene::of(many(1));
        scene.wants().token = token.as_str().into();
        let error = scene.error().await;
        assert!(error.contains(detail) && error.contains("token_file") && !error.contains(secret), "{error}");
        let seen = scene.netbox.seen();
        assert!(seen.len() <= 3, "a refusal is final: {seen:?}");
    }
}

#[tokio::test]
async fn an_unknown_tag_is_named() {
    let mut scene = Scene::of(many(1));
    scene.wants().tag = "Nope".to_owned();
    let error = scene.error().await;
    for part in
        ["400 Bad Request", "nope is not one of the available choices", "`Nope`", "`inventory.netbox.tag`"]
    {
        assert!(error.contains(part), "{part}: {error}");
    }
}

#[tokio::test]
async fn a_status_that_one_kind_lacks_is_no_error_and_one_that_both_lack_is() {
    let machines = vec![
        Machine::device("spare").status("inventory"),
        Machine::device("db"),
        Machine::vm("web"),
        Machine::vm("off").status("offline"),
    ];
    let mut scene = Scene::of(machines.clone());
    scene.wants().statuses = vec!["active".to_owned(), "inventory".to_owned()];
    let inventory = scene.load().await.unwrap();
    assert_eq!(names(&inventory), ["db", "spare", "web"]);
    assert!(warnings(&inventory).is_empty(), "{inventory:?}");
    scene.wants().statuses = vec!["active".to_owned(), "inventory".to_owned(), "paused".to_owned()];
    assert_eq!(scene.load().await.unwrap(), inventory, "each kind lacks another one");

    let mut scene = Scene::of(machines);
    scene.wants().statuses = vec!["active".to_owned(), "inactive".to_owned()];
    let error = scene.error().await;
    assert!(error.contains("inactive") && error.contains("`inventory.netbox.statuses`"), "{error}");
}

#[tokio::test]
async fn an_address_can_be_the_primary_ip() {
    let mut scene = Scene::of(vec![
        Machine::vm("four").ip("10.0.0.7/24"),
        Machine::device("six").ip("2001:db8::7/64"),
        Machine::vm("none"),
    ]);
    scene.wants().address = AddressFrom::PrimaryIp;
    let inventory = scene.load().await.unwrap();
    let addresses: Vec<&str> = inventory.hosts.iter().map(|host| host.address.as_str()).collect();
    assert_eq!(addresses, ["10.0.0.7", "2001:db8::7"]);
    assert_eq!(inventory.faults[0].name, "none");
}

#[tokio::test]
async fn ten_thousand_hosts_come_in_pages() {
    let scene = Scene::of(many(10_000));
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 10_000);
    assert!(warnings(&inventory).is_empty());
    let pages = scene.netbox.seen().iter().filter(|r| r.path.ends_with("/virtual-machines/")).count();
    assert_eq!(pages, 10);
}

#[tokio::test]
async fn what_is_not_needed_is_not_asked_for() {
    for (address, asked, why) in [
        (AddressFrom::Name, false, "the name is the address"),
        (AddressFrom::PrimaryIp, true, "the address is asked for"),
    ] {
        let mut scene = Scene::of(many(1));
        scene.wants().address = address;
        let _ = scene.load().await;
        let hosts = |request: &&Seen| !request.path.ends_with("/tags/");
        let seen = scene.netbox.seen();
        assert!(seen.iter().any(|request| hosts(&request)), "{why}");
        assert!(
            seen.iter().filter(hosts).all(|request| request.query.contains("primary_ip") == asked),
            "{why}"
        );
    }
}

#[tokio::test]
async fn pages_are_as_large_as_netbox_lets_them_be() {
    let mut scene = Scene::of(many(95));
    scene.misbehaves(Fault::LargestPage(10));
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 95);
    assert!(inventory.warnings.is_empty(), "{inventory:?}");
    let pages = scene.netbox.seen().iter().filter(|r| r.path.ends_with("/virtual-machines/")).count();
    assert_eq!(pages, 10);
}

#[tokio::test]
async fn a_certificate_that_is_trusted_and_the_servers_own_is_believed() {
    for (names, until, why, refusal) in [
        (&["127.0.0.1"][..], 2999, "as NetBox's installation guide makes it", None),
        (&["localhost"], 2999, "of another name", Some("a name in `url`")),
        (&["127.0.0.1"], 2020, "it has expired", Some("renew the server's certificate")),
    ] {
        let (pem, acceptor) = Authority::of_a_server(names, until);
        let netbox = StandIn::start_on("https", many(2), move |tcp| TlsListener { tcp, acceptor });
        let mut scene = Scene::with(netbox);
        let file = scene.folder.path().join("ca.pem");
        scene.wants().ca_file = Some(file.clone());
        std::fs::write(&file, &pem).unwrap();
        match refusal {
            None => assert_eq!(scene.load().await.unwrap().hosts.len(), 2, "{why}"),
            Some(refusal) => {
                let error = scene.error().await;
                assert!(error.contains("TLS failed") && error.contains(refusal), "{why}: {error}");
            }
        }
    }
    // Another server's is not believed, whatever it calls itself.
    let (_, acceptor) = Authority::of_a_server(&["127.0.0.1"], 2999);
    let netbox = StandIn::start_on("https", many(2), move |tcp| TlsListener { tcp, acceptor });
    let mut scene = Scene::with(netbox);
    let file = scene.folder.path().join("ca.pem");
    scene.wants().ca_file = Some(file.clone());
    std::fs::write(&file, Authority::of_a_server(&["127.0.0.1"], 2999).0).unwrap();
    assert!(scene.error().await.contains("name that very certificate with `ca_file`"));
}

#[tokio::test]
async fn the_token_goes_nowhere_else_whatever_next_names() {
    let elsewhere = StandIn::start(Vec::new());
    for origin in [
        elsewhere.url(),
        format!("http://user:pass@localhost:{}", elsewhere.port()),
        "https://[::1".to_owned(),
    ] {
        let mut scene = Scene::of(many(1200));
        scene.misbehaves(Fault::NextOrigin(origin));
        assert_eq!(scene.load().await.unwrap().hosts.len(), 1200);
    }
    assert_eq!(elsewhere.seen(), []);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_says_where_it_points() {
    let elsewhere = StandIn::start(Vec::new());
    let mut scene = Scene::of(many(1));
    scene.misbehaves(Fault::Redirect(format!("{}login/", elsewhere.url())));
    let error = scene.error().await;
    assert!(
        error.contains(&format!("points to `{}login/`", elsewhere.url())) && error.contains("set `url`"),
        "{error}"
    );
    assert_eq!(elsewhere.seen(), []);
    assert_eq!(scene.netbox.seen().len(), 1);
}

#[tokio::test]
async fn a_list_of_pages_without_an_end_is_an_error() {
    for fault in [Fault::NextLoop, Fault::NextForever] {
        let devices = (0..600).map(|n| Machine::device(&format!("d{n}")));
        let mut scene = Scene::of(many(600).into_iter().chain(devices).collect());
        scene.misbehaves(fault.clone());
        let error = scene.error().await;
        assert!(error.contains("has no end"), "{fault:?}: {error}");
        assert!(scene.netbox.seen().len() < 20, "{fault:?}");
    }
}

#[tokio::test]
async fn a_short_trouble_is_waited_out() {
    for fault in [Fault::FirstRequestsFail(2), Fault::FirstAnswersDrop(2)] {
        let mut scene = Scene::of(many(3));
        scene.wants().timeout = Duration::from_secs(2);
        scene.misbehaves(fault.clone());
        let inventory = scene.load().await.unwrap();
        assert_eq!(inventory.hosts.len(), 3, "{fault:?}");
        assert!(warnings(&inventory).is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_lasting_trouble_is_an_error_that_says_what_it_was() {
    for (fault, requests, parts) in [
        (Fault::Status(500), 3, &["500 Internal Server Error: an HTML page", "3 times in a row"][..]),
        (Fault::Status(502), 3, &["502 Bad Gateway"]),
        (Fault::Status(404), 1, &["404 Not Found", "is `inventory.netbox.url` NetBox's root?"]),
        (Fault::Html, 1, &["HTML page, not with JSON", "is `inventory.netbox.url` NetBox's root?"]),
        (Fault::HalfJson, 1, &["not the JSON that NetBox gives", "EOF"]),
        (Fault::Silence, 3, &["no complete answer within", "3 times in a row"]),
        (Fault::SlowDrip, 3, &["no complete answer within"]),
        (Fault::Drop, 3, &["the connection broke"]),
    ] {
        let mut scene = Scene::of(many(3));
        scene.wants().timeout = Duration::from_millis(400);
        scene.misbehaves(fault.clone());
        let error = scene.error().await;
        let root = scene.netbox.url().replace("http://", "");
        let url = format!(" (NetBox at `{root}api/extras/tags/`)");
        assert!(error.contains(&url) && !error.contains("?name"), "{fault:?}: {error}");
        for part in parts.iter().chain(&["no earlier list of its hosts was kept"]) {
            assert!(error.contains(part), "{fault:?} lacks {part}: {error}");
        }
        assert_eq!(scene.netbox.seen().len(), requests, "{fault:?}");
        assert!(!scene.settings.state_dir.exists(), "{fault:?}");
    }
}

#[tokio::test]
async fn an_answer_without_an_end_is_cut_off() {
    let mut scene = Scene::of(many(3));
    scene.misbehaves(Fault::Endless);
    let error = scene.error().await;
    assert!(error.contains("longer than 64.0 MiB"), "{error}");
}

#[tokio::test]
async fn a_netbox_that_is_down_is_an_error_or_costs_only_a_warning() {
    let mut scene = Scene::of(many(3));
    scene.wants().timeout = Duration::from_secs(1);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let live = scene.wants().url.clone();
    let down = format!("http://127.0.0.1:{port}/");
    scene.wants().url = down.parse().unwrap();
    let error = scene.error().await;
    assert!(error.contains("Connection refused") && error.contains(&down.replace("http://", "")), "{error}");

    scene.add_static("fixed");
    let inventory = scene.load().await.unwrap();
    assert_eq!(names(&inventory), ["fixed"]);
    assert!(warnings(&inventory)[0].contains("only the hosts of the configuration"), "{inventory:?}");

    scene.wants().url = live;
    let good = scene.load().await.unwrap();
    assert_eq!(names(&good), ["fixed", "vm00000", "vm00001", "vm00002"]);
    assert!(warnings(&good).is_empty());
    let saved = scene.saved();

    scene.wants().url = down.parse().unwrap();
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts, good.hosts);
    let warning = warnings(&inventory).remove(0);
    assert!(warning.contains("its list of 2026-11-20 02:00 UTC is used (3 hosts)"), "{warning}");
    assert_eq!(scene.saved(), saved);
}

#[tokio::test]
async fn any_refusal_leaves_the_last_good_list_in_use() {
    let mut scene = Scene::of(many(3));
    scene.load().await.unwrap();
    scene.wants().timeout = Duration::from_millis(400);
    for fault in [
        Fault::Status(403),
        Fault::Status(500),
        Fault::Html,
        Fault::NextLoop,
        Fault::SeesNothing,
        Fault::Silence,
    ] {
        scene.misbehaves(fault.clone());
        let inventory = scene.load().await.unwrap();
        assert_eq!(inventory.hosts.len(), 3, "{fault:?}");
        assert_eq!(warnings(&inventory).len(), 1, "{fault:?}: {inventory:?}");
    }
    scene.misbehaves(Fault::None);
    scene.wants().tag = "Nope".to_owned();
    assert_eq!(scene.load().await.unwrap().hosts.len(), 3);
    scene.wants().ca_file = Some(scene.folder.path().join("missing.pem"));
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 3);
    assert!(warnings(&inventory)[0].contains("missing.pem"), "{inventory:?}");
}

#[tokio::test]
async fn a_list_that_shrank_too_far_is_not_believed_until_the_file_is_removed() {
    let scene = Scene::of(many(10));
    scene.load().await.unwrap();
    let saved = scene.saved();
    scene.netbox.set_machines([many(3), vec![Machine::vm("new")]].concat());
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 11, "the union");
    assert!(warnings(&inventory)[0].contains("only 3 of the 10 hosts"), "{inventory:?}");
    assert_eq!(scene.saved(), saved);

    std::fs::remove_file(scene.settings.state_dir.join("inventory.json")).unwrap();
    let inventory = scene.load().await.unwrap();
    assert_eq!(names(&inventory), ["new", "vm00000", "vm00001", "vm00002"]);
    assert!(warnings(&inventory).is_empty());
}

#[tokio::test]
async fn an_empty_list_without_an_earlier_one_says_what_it_may_mean() {
    let mut scene = Scene::of(many(3));
    scene.misbehaves(Fault::SeesNothing);
    let error = scene.error().await;
    assert!(error.contains("one without the right to view hosts gets an empty list"), "{error}");
    scene.add_static("fixed");
    let inventory = scene.load().await.unwrap();
    assert_eq!((names(&inventory), warnings(&inventory).len()), (vec!["fixed"], 1));
}

#[tokio::test]
async fn hosts_that_an_ignored_filter_let_through_are_left_out_and_counted() {
    let mut scene = Scene::of(vec![
        Machine::vm("a"),
        Machine::vm("b").tags(&["other"]),
        Machine::device("c").status("offline"),
    ]);
    scene.misbehaves(Fault::FiltersIgnored);
    let inventory = scene.load().await.unwrap();
    assert_eq!(names(&inventory), ["a"]);
    let said = warnings(&inventory);
    let [tag, status] = said.as_slice() else { panic!("{inventory:?}") };
    assert!(tag.contains("1 object without the tag `Backup`"), "{tag}");
    assert!(status.contains("1 object without a status of `active`"), "{status}");
}

#[tokio::test]
async fn a_host_that_was_counted_and_not_listed_is_a_warning() {
    let mut scene = Scene::of(many(3));
    scene.misbehaves(Fault::CountsOneMore);
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 3);
    assert!(
        warnings(&inventory).iter().any(|w| w.contains("counts 4 virtual machines and listed 3")),
        "{inventory:?}"
    );
}

#[tokio::test]
async fn a_broken_saved_list_is_set_aside_and_the_run_goes_on() {
    let scene = Scene::of(many(3));
    let state = &scene.settings.state_dir;
    std::fs::create_dir(state).unwrap();
    std::fs::write(state.join("inventory.json"), "{\"version\": 1, ").unwrap();
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 3);
    assert!(warnings(&inventory)[0].contains("set aside"), "{inventory:?}");
    assert_eq!(std::fs::read_to_string(state.join("inventory.json.corrupt")).unwrap(), "{\"version\": 1, ");
    assert!(warnings(&scene.load().await.unwrap()).is_empty());
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_written_is_a_warning() {
    let mut scene = Scene::of(many(3));
    std::fs::write(scene.folder.path().join("file"), "").unwrap();
    scene.settings.state_dir = scene.folder.path().join("file/state");
    let inventory = scene.load().await.unwrap();
    assert_eq!(inventory.hosts.len(), 3);
    assert!(warnings(&inventory).iter().any(|w| w.contains("cannot keep NetBox's list")), "{inventory:?}");
}

#[tokio::test]
async fn the_saved_list_holds_no_secret() {
    let scene = Scene::of(many(1));
    scene.load().await.unwrap();
    assert!(!scene.saved().contains(TOKEN));
}

#[tokio::test]
async fn static_hosts_need_no_netbox_and_no_hosts_at_all_is_an_error() {
    let mut scene = Scene::of(Vec::new());
    scene.settings.inventory.netbox = None;
    assert!(scene.load().await.unwrap_err().to_string().contains("no host is configured"));
    scene.add_static("b");
    scene.add_static("A");
    assert_eq!(names(&scene.load().await.unwrap()), ["A", "b"]);
    assert_eq!(scene.netbox.seen(), []);
}

#[tokio::test]
async fn a_private_ca_is_trusted_and_only_when_it_is_named() {
    let ours = Authority::new("Ours");
    let acceptor = ours.acceptor(&["127.0.0.1"]);
    let netbox = StandIn::start_on("https", many(2), move |tcp| TlsListener { tcp, acceptor });
    let mut scene = Scene::with(netbox);
    let file = scene.folder.path().join("ca.pem");
    scene.wants().ca_file = Some(file.clone());

    for (other, why) in [("Another", "UnknownIssuer"), ("Ours", "BadSignature")] {
        std::fs::write(&file, Authority::new(other).pem()).unwrap();
        let error = scene.error().await;
        assert!(
            error.contains("TLS failed") && error.contains(why) && error.contains("`ca_file`"),
            "{error}"
        );
    }
    assert_eq!(scene.netbox.seen(), []);

    std::fs::write(&file, ours.pem()).unwrap();
    assert_eq!(scene.load().await.unwrap().hosts.len(), 2);

    let port = scene.netbox.port();
    scene.wants().url = format!("https://localhost:{port}/").parse().unwrap();
    let inventory = scene.load().await.unwrap();
    assert!(
        warnings(&inventory)[0].contains("a name in `url` that the server's certificate is for"),
        "{inventory:?}"
    );
}

#[tokio::test]
async fn tls_to_a_port_without_it_says_so() {
    let mut scene = Scene::of(many(1));
    let authority = Authority::new("Ours");
    let file = scene.folder.path().join("ca.pem");
    std::fs::write(&file, authority.pem()).unwrap();
    let port = scene.netbox.port();
    let wants = scene.wants();
    (wants.ca_file, wants.url) = (Some(file), format!("https://127.0.0.1:{port}/").parse().unwrap());
    let error = scene.error().await;
    assert!(error.contains("does that port speak TLS?"), "{error}");
}

/// The stand-in has to be like the recorded NetBox, or the tests above show
/// nothing.
mod likeness {
    use super::*;
    use serde_json::Value;

    fn recorded(name: &str) -> (String, u16, Value) {
        let path = format!("{}/tests/recorded/netbox/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        let whole: Value = serde_json::from_str(&text).unwrap();
        let request = whole["request"].as_str().unwrap().strip_prefix("GET /").unwrap().to_owned();
        let (status, body) = recording(&text);
        (request, status, body)
    }

    /// The keys and types of a value; of a list, those of its first entry.
    fn shape(value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
            Value::Array(values) => Value::Array(values.iter().take(1).map(shape).collect()),
            Value::String(_) => "string".into(),
            Value::Number(_) => "number".into(),
            Value::Bool(_) => "bool".into(),
            Value::Null => Value::Null,
        }
    }

    async fn ask(netbox: &StandIn, path: &str, authorization: Option<&str>) -> (u16, Value) {
        let url = format!("{}{path}", netbox.url()).parse().unwrap();
        let mut request = backup::sys::https::client(&url, None, Duration::from_secs(20)).unwrap().get(url);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let answer = backup::sys::https::ask(request, 1 << 24).await.unwrap();
        (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
    }

    /// 61 devices of which every second one is tagged, and virtual machines.
    fn recorded_machines() -> Vec<Machine> {
        let devices = (0..61).map(|n| {
            let device = Machine::device(&format!("dev{n:03}"));
            let device = if n % 2 == 0 { device } else { device.tags(&[]) };
            if n == 0 { device.status("offline") } else { device }
        });
        let first = Machine::vm("vm0000").ip("127.0.0.1/32");
        devices.chain([first]).chain(many(550)).chain([Machine::vm("VPN")]).collect()
    }

    #[tokio::test]
    async fn lists_look_as_recorded() {
        let netbox = StandIn::start(recorded_machines());
        let token = format!("Token {TOKEN}");
        for name in [
            "devices-page-1",
            "devices-page-2",
            "active-only",
            "unknown-filter-is-ignored",
            "virtual-machines-page-1",
            "virtual-machines-fields",
            "virtual-machines-upper-case-name",
            "tag-by-name",
            "tag-by-name-none",
        ] {
            let (request, status, mut expected) = recorded(name);
            let (found_status, mut found) = ask(&netbox, &request, Some(&token)).await;
            assert_eq!(found_status, status, "{name}");
            let own = format!("http://127.0.0.1:{}", netbox.port());
            for key in ["next", "previous"] {
                let link = found[key].as_str().map(|link| link.replace(&own, "http://127.0.0.1:8000"));
                assert_eq!(link.as_deref(), expected[key].as_str(), "{name}: {key}");
            }
            assert_eq!(
                found["results"].as_array().unwrap().len(),
                expected["results"].as_array().unwrap().len(),
                "{name}"
            );
            for list in [&mut found, &mut expected] {
                // What is null in one host and set in another differs.
                for host in list["results"].as_array_mut().unwrap() {
                    for key in ["name", "primary_ip", "primary_ip4"] {
                        if host.get(key).is_some() {
                            host[key] = Value::Null;
                        }
                    }
                }
            }
            assert_eq!(shape(&found), shape(&expected), "{name}");
        }
    }

    #[tokio::test]
    async fn refusals_are_as_recorded() {
        let netbox = StandIn::start(many(1));
        for (name, authorization) in [
            ("bad-token", Some("Token 9999")),
            ("bad-v2-token", Some("Bearer nbt_x.y")),
            ("no-token", None),
            ("unknown-tag", Some(format!("Token {TOKEN}").as_str())),
        ] {
            let (request, status, body) = recorded(name);
            assert_eq!(ask(&netbox, &request, authorization).await, (status, body), "{name}");
        }
    }

    #[tokio::test]
    async fn a_limit_of_zero_is_the_largest_page_and_not_everything() {
        let netbox = StandIn::start(many(1500));
        let token = format!("Token {TOKEN}");
        for (query, length) in [("limit=0", 1000), ("", 50), ("limit=2000", 1000), ("limit=7&offset=1498", 2)]
        {
            let path = format!("api/virtualization/virtual-machines/?{query}");
            let (_, body) = ask(&netbox, &path, Some(&token)).await;
            assert_eq!(body["results"].as_array().unwrap().len(), length, "{query}");
        }
    }
}
