//! `backup check --trust-host-keys`: keys of hosts that ssh reaches however its
//! configuration says, shown and kept as ssh will look for them.

use crate::support::rig::*;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// Runs the binary where this is the system's configuration of ssh, and root has
/// none of its own.
fn backup_with(rig: &Rig, ssh_config: &str, arguments: &[&str]) -> Ran {
    let ssh_config = rig.write("ssh_config", ssh_config);
    let config = rig.configure();
    let mut command = program("unshare");
    command.args(["--mount", "--", "sh", "-ec"]);
    command.arg("mount -t tmpfs none /root; mount --bind \"$1\" /etc/ssh/ssh_config; shift; exec \"$@\"");
    command.arg("sh").arg(ssh_config).arg(env!("CARGO_BIN_EXE_backup")).args(arguments);
    command.env("BACKUP_CONFIG", config).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    finish(command.spawn().unwrap()).into()
}

/// The private key of the rig's configuration.
fn client_key(rig: &Rig) -> String {
    let config = fs::read_to_string(rig.configure()).unwrap();
    config.lines().find_map(|line| line.strip_prefix("identity_file = ")).unwrap().to_owned()
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

#[test]
fn a_host_behind_a_jump_is_trusted_by_the_name_that_ssh_looks_for_and_so_is_the_jump() {
    let mut rig = Rig::new();
    rig.host_with("Web", "address = \"inner\"\n");
    rig.write("known_hosts", "");
    let gate = Sshd::start(&rig.join("gate"));
    let ssh_config = format!(
        "Host inner\n HostName 127.0.0.1\n HostKeyAlias inner-alias\n ProxyJump gate\n\
         Host gate\n HostName 127.0.0.1\n Port {}\n User root\n IdentityFile {}\n UserKnownHostsFile {}\n",
        gate.port,
        client_key(&rig),
        rig.join("gate_known").display()
    );
    let of_gate = format!("[127.0.0.1]:{}", gate.port);
    let found = backup_with(&rig, &ssh_config, &["check", "web"]).exits(1).stdout;
    let what = format!(
        "the host key of `{of_gate}`, on the way to `inner`, is not known: it shows ssh-ed25519 SHA256:"
    );
    assert!(found.contains(&what), "{found}");
    assert!(found.contains("→ backup check --trust-host-keys Web"), "{found}");

    backup_with(&rig, &ssh_config, &["check", "--trust-host-keys"])
        .exits(2)
        .says(&format!("gate, on the way to Web ({of_gate})"))
        .says("not a terminal");
    assert_eq!((read(rig.join("known_hosts")), read(rig.join("gate_known"))), (String::new(), String::new()));

    backup_with(&rig, &ssh_config, &["check", "--trust-host-keys", "--yes"])
        .says(&format!("gate, on the way to Web ({of_gate})"))
        .says("Web (inner-alias)");
    assert!(read(rig.join("gate_known")).starts_with(&format!("{of_gate} ssh-ed25519 ")));
    assert!(read(rig.join("known_hosts")).starts_with("inner-alias ssh-ed25519 "));
    backup_with(&rig, &ssh_config, &["check", "--trust-host-keys"]).says("there is no new key to trust");
}

#[test]
fn a_host_behind_a_command_of_its_own_is_trusted_too() {
    let mut rig = Rig::new();
    rig.host_with("Web", "address = \"inner\"\n");
    rig.write("known_hosts", "");
    let port = rig.sshd().port;
    let tunnel = rig.write("tunnel", "exec 3<>/dev/tcp/127.0.0.1/$1; cat <&3 & exec cat >&3\n");
    let ssh_config = format!("Host inner\n ProxyCommand bash {} %p\n", tunnel.display());
    backup_with(&rig, &ssh_config, &["check", "--trust-host-keys", "--yes"])
        .says(&format!("Web ([inner]:{port})"))
        .says("1 key added to");
    assert!(read(rig.join("known_hosts")).starts_with(&format!("[inner]:{port} ssh-ed25519 ")));
}

#[test]
fn a_way_that_does_not_lead_there_gives_its_reason() {
    let mut rig = Rig::new();
    rig.host_with("Web", "address = \"inner\"\n");
    // Its words come before its end.
    let ssh_config = "Host inner\n ProxyCommand sh -c 'echo the tunnel is closed >&2; false'\n";
    backup_with(&rig, ssh_config, &["check", "--trust-host-keys", "--yes"])
        .exits(1)
        .says("Web: it shows no host key: the tunnel is closed (try `ssh -v -p");
    let said = backup_with(&rig, ssh_config, &["check"]).exits(1).stdout;
    assert!(said.contains("cannot reach `inner` through the proxy `sh -c 'echo the tunnel"), "{said}");
    assert!(said.contains("false'`: the tunnel is closed") && said.contains(" root@inner`"), "{said}");
}

#[test]
fn a_key_that_is_known_under_a_hashed_name_is_known() {
    let mut rig = Rig::new();
    rig.host("Web");
    let known = rig.join("known_hosts");
    must("ssh-keygen", &["-q", "-H", "-f", known.to_str().unwrap()]);
    assert!(read(known).starts_with("|1|"));
    rig.backup(&["check", "--trust-host-keys"]).exits(0).says("there is no new key to trust");
}

#[test]
fn a_host_with_a_certificate_of_a_known_authority_is_known_and_one_without_is_not() {
    let mut rig = Rig::new();
    rig.host("Web");
    let line = rig.sshd().known_hosts_line();
    let (name, key) = line.split_once(' ').unwrap();
    let authority = rig.join("authority");
    must("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", authority.to_str().unwrap()]);
    let trusted = read(authority.with_extension("pub"));
    rig.write("known_hosts", format!("@cert-authority {name} {trusted}"));
    let public = rig.write("host.pub", key);
    let sign = ["-q", "-h", "-I", "web", "-n", "127.0.0.1", "-s", authority.to_str().unwrap()];
    must("ssh-keygen", &[&sign[..], &[public.to_str().unwrap()]].concat());
    let lines = format!("HostCertificate {}", rig.join("host-cert.pub").display());
    rig.sshd().start_again_with(&Setup { lines: &lines, ..Setup::default() });
    rig.backup(&["check", "--trust-host-keys"]).exits(0).says("there is no new key to trust");
    rig.sshd().start_again();
    rig.backup(&["check", "--trust-host-keys", "--yes"]).exits(0).says("1 key added to");
    assert!(read(rig.join("known_hosts")).contains(&format!("\n{name} ssh-ed25519 ")));
}

#[test]
fn on_a_terminal_each_host_may_be_asked_for() {
    let mut rig = Rig::new();
    rig.host("Alpha");
    let other = Sshd::start(&rig.join("other"));
    rig.host_with("Beta", &format!("address = \"127.0.0.1\"\nport = {}\n", other.port));
    let names = [format!("[127.0.0.1]:{} ", rig.sshd().port), format!("[127.0.0.1]:{} ", other.port)];
    for (answers, kept) in [("n\n", [false, false]), ("e\nn\ny\n", [false, true]), ("y\n", [true, true])] {
        rig.write("known_hosts", "");
        let config = rig.configure();
        let command =
            format!("{} check --trust-host-keys --config {}", env!("CARGO_BIN_EXE_backup"), config.display());
        let mut script = program("script");
        script.args(["-qec", &command, "/dev/null"]).env("TERM", "dumb");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        let said = String::from_utf8_lossy(&finish(child).stdout).into_owned();
        assert!(said.contains("Trust these 2 hosts from now on? [y]es, [n]o, or [e]ach:"), "{said}");
        let known = read(rig.join("known_hosts"));
        let found = names.each_ref().map(|name| known.contains(name));
        assert_eq!(found, kept, "{answers:?}: {said}");
    }
}

/// The rig's configuration without this key.
fn configured_without(rig: &Rig, key: &str) -> String {
    let text = read(rig.configure());
    assert!(text.contains(key));
    let lines = text.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n"));
    rig.write("without.toml", lines.collect::<String>()).to_str().unwrap().to_owned()
}

#[test]
fn keys_are_not_kept_in_what_is_no_file_and_it_stays_what_it_is() {
    let mut rig = Rig::new();
    rig.host_with("Web", "address = \"web\"\n");
    let null = rig.join("null");
    must("mknod", &[null.to_str().unwrap(), "c", "1", "3"]);
    let config = configured_without(&rig, "known_hosts_file");
    for (file, what) in
        [(null.to_str().unwrap(), "it is not a regular file"), ("none", "`UserKnownHostsFile none`")]
    {
        let ssh_config = format!("Host web\n HostName 127.0.0.1\n UserKnownHostsFile {file}\n");
        let ran =
            backup_with(&rig, &ssh_config, &["check", "--trust-host-keys", "--yes", "--config", &config]);
        ran.exits(2).says(file).says(what).says("`ssh.known_hosts_file`");
    }
    assert!(fs::metadata(&null).unwrap().file_type().is_char_device());
}

#[test]
fn the_port_is_for_the_configuration_of_ssh_to_say_where_it_is_not_configured_here() {
    let mut rig = Rig::new();
    rig.host_with("Web", "address = \"web\"\n");
    let port = rig.sshd().port;
    let ssh_config = format!("Host web\n HostName 127.0.0.1\n Port {port}\n");
    let config = configured_without(&rig, "port");
    let plan = backup_with(&rig, &ssh_config, &["plan", "--config", &config, "web"]).exits(0);
    assert!(plan.stdout.contains("root@web "), "{}", plan.stdout);
    backup_with(&rig, &ssh_config, &["web", "--config", &config]).exits(0);
    backup_with(&rig, &ssh_config, &["check", "--config", &config, "web"]).exits(0);
    let other = free_port();
    rig.section("hosts.\"Web\"", &format!("port = {other}\n"));
    let ran = backup_with(&rig, &ssh_config, &["web"]).exits(1);
    ran.says(&format!("`web` refuses connections to port {other}"));
}

#[test]
fn a_file_of_known_hosts_may_have_a_blank_in_its_name() {
    let mut rig = Rig::new();
    rig.host("Web");
    let known = Path::new("known hosts");
    let line = rig.sshd().known_hosts_line();
    rig.write(known, line);
    let lines = format!("known_hosts_file = {:?}\n", rig.join(known).to_str().unwrap());
    rig.section("ssh", &lines);
    rig.backup(&["check", "--trust-host-keys"]).says("there is no new key to trust");
    rig.backup(&["web"]).exits(0);
    rig.write(known, "");
    rig.backup(&["check", "--trust-host-keys", "--yes"]).says("1 key added to");
    assert_eq!(read(rig.join(known)).lines().count(), 1);
}
