#!/usr/bin/env bash
# A first look at `backup` on one machine: `make demo`.
#
# Three folders below demo/hosts/ stand for three hosts. A private sshd, with
# keys made for this hour, leads to them, and a stand-in for NetBox lists them.
# All that is made lies in demo/ and in a folder of the system's temporary
# directory, which is removed at the end. Nothing of anybody's ~/.ssh and
# nothing of /etc is touched.
#
# Building is an ordinary user's; the rest is root's, because root's files keep
# their owners only for root.
set -euo pipefail
cd "$(dirname "$0")/.."

title() { printf '\n--- %s\n\n' "$*"; }
say() { printf '%s\n' "$@"; }
fail() {
    printf '\nThe demo stopped: %s\n' "$*" >&2
    exit 1
}

if [[ ${1-} != --built ]]; then
    scripts/need rsync openssh-server=sshd openssh-client=ssh acl=setfacl attr=setfattr
    say 'Building (the first time takes a few minutes) ...'
    # shellcheck disable=SC2086 # one word or more
    ${CARGO:-cargo} build --quiet --locked --bin backup --example netbox_standin
    built=$(realpath "${CARGO_TARGET_DIR:-target}")/debug
    ((EUID == 0)) && exec "$0" --built "$built"
    type -P sudo >/dev/null || fail 'it needs root from here on: run it as root, or install sudo.'
    say 'Root is needed from here on, to start an sshd and to keep the owners of files.'
    exec sudo "$0" --built "$built"
fi

backup=$2/backup
netbox=$2/examples/netbox_standin
here=$PWD
PATH=/usr/sbin:/sbin:$PATH

# ------------------------------------------------------------- in and out ---
# Short and without blanks: ssh's control sockets live below it.
private=$(mktemp -d /tmp/backup-demo.XXXXXX)
processes=()
finish() {
    local code=$?
    trap - EXIT
    # Only what was started here, by its number.
    for pid in "${processes[@]}"; do kill "$pid" 2>/dev/null || :; done
    rm -rf "$private"
    # Whoever asked for this through sudo can remove it without.
    if [[ -n ${SUDO_UID-} && -d demo ]]; then
        find demo -type d -exec chown "$SUDO_UID:${SUDO_GID-}" {} +
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# A text as TOML's.
quoted() {
    local text=${1//\\/\\\\}
    printf '"%s"' "${text//\"/\\\"}"
}

# ---------------------------------------------------------- three "hosts" ---
rm -rf demo
mkdir -p demo/{hosts,hooks,store,state}
hosts=$here/demo/hosts

mkdir -p "$hosts"/web/{etc,srv/www} "$hosts"/db/{etc,var/lib/db} "$hosts"/files/{etc,srv/share}
for host in web db files; do echo "$host" >"$hosts/$host/etc/hostname"; done

echo 'Welcome to web. Nothing is planned.' >"$hosts/web/etc/motd"
for page in {1..50}; do echo "<h1>Page $page</h1>" >"$hosts/web/srv/www/$page.html"; done

seq 1000 >"$hosts/db/var/lib/db/table"

share=$hosts/files/srv/share
echo 'one file with two names' >"$share/first name"
ln "$share/first name" "$share/second name"
echo 'shared with daemon' >"$share/acl"
setfacl -m user:daemon:rw "$share/acl" || say '(This filesystem keeps no ACLs, so the demo has none.)'
echo 'knows where it came from' >"$share/xattr"
setfattr -n user.origin -v scanner "$share/xattr" || say '(This filesystem keeps no xattrs, so the demo has none.)'
truncate -s 100M "$share/sparse"
mkfifo "$share/fifo"
ln -s loop "$share/loop"
# shellcheck disable=SC2016  # a name that some shell may expand is the point
for name in '-rf *' $'two\nlines' 'trailing blank ' '$(reboot)' $'not UTF-8 \xff' "it's \"quoted\""; do
    echo 'odd name' >"$share/$name"
done

cat >demo/hooks/dump-database <<'HOOK'
#!/bin/sh
echo "dumping database shop"
echo "cannot connect to the database: it is not running" >&2
exit 3
HOOK
chmod 755 demo/hooks/dump-database

# ------------------------------------------------------- NetBox and sshd ---
echo '[{"name": "web"}, {"name": "db"}, {"name": "files"}]' >"$private/hosts.json"
# It ends with its standard input, so with this script, however that ends.
# shellcheck disable=SC2034  # held open, never written to
exec {netbox_input}> >(exec "$netbox" "$private/hosts.json" "$private/netbox.url")
netbox_pid=$!
processes+=("$netbox_pid")
# tail tells when the file comes, or ends when the stand-in does.
exec {netbox_url}< <(exec tail --pid="$netbox_pid" -n +1 -F "$private/netbox.url" 2>/dev/null)
processes+=($!)
read -r -t 30 url <&"$netbox_url" || fail 'the stand-in for NetBox did not start.'

for key in login host; do ssh-keygen -q -t ed25519 -N '' -C demo -f "$private/$key"; done
# sshd's own folder, which its package makes only when the service starts.
mkdir -p /run/sshd
# Another HOME, because what root's ~/.bashrc prints would spoil a copy.
# Without PAM sshd lets nobody in whose password is locked with a "!".
pam=no
[[ $(getent shadow root || :) == root:!* ]] && pam=yes
for try in {1..20}; do
    port=$((RANDOM % 20000 + 20000))
    cat >"$private/sshd_config" <<CONFIG
Port $port
ListenAddress 127.0.0.1
HostKey $private/host
AuthorizedKeysFile $private/login.pub
AllowUsers root
PermitRootLogin prohibit-password
PasswordAuthentication no
PermitUserRC no
StrictModes no
UsePAM $pam
PidFile none
SetEnv HOME=$private
CONFIG
    exec {sshd_log}< <(exec /usr/sbin/sshd -D -e -f "$private/sshd_config" 2>&1)
    sshd_pid=$!
    said=
    while IFS= read -r -t 30 line <&"$sshd_log"; do
        said=$line
        [[ $line == 'Server listening'* ]] && break
    done
    [[ $said == 'Server listening'* ]] && break
    kill "$sshd_pid" 2>/dev/null || :
    ((try < 20)) || fail "sshd did not start: $said"
done
processes+=("$sshd_pid")
echo "[127.0.0.1]:$port $(cat "$private/host.pub")" >"$private/known_hosts"

# ---------------------------------------------------------- configuration ---
(umask 077 && echo 0123456789abcdef0123456789abcdef01234567 >"$private/netbox.token")
cat >demo/config.toml <<CONFIG
# The demo's configuration. config.example.toml explains every option.
server = "demo"
state_dir = $(quoted "$here/demo/state")
runtime_dir = "$private/run"

# Which hosts: those that NetBox tags "Backup".
[inventory.netbox]
url = "$url"
token_file = "$private/netbox.token"

# How they are reached: strict host keys, a key of our own.
[host_defaults]
port = $port
hooks = false

[ssh]
identity_file = "$private/login"
known_hosts_file = "$private/known_hosts"

# All three are folders of this machine, for once.
[hosts.web]
listed = false
address = "127.0.0.1"
source = $(quoted "$hosts/web")

[hosts.db]
listed = false
address = "127.0.0.1"
source = $(quoted "$hosts/db")
hooks = true

[hosts.files]
listed = false
address = "127.0.0.1"
source = $(quoted "$hosts/files")

[hooks]
directory = $(quoted "$here/demo/hooks")

[excludes]
remote_file = $(quoted "$here/demo/backup-exclude.conf")

# Where the copies go: folders and hard links here, ZFS in earnest.
[store.directory]
path = $(quoted "$here/demo/store")
min_free_percent = 1

[retention]
daily = 7
weekly = 4
monthly = 24
yearly = 5
CONFIG

# ------------------------------------------------------------------- runs ---
# The names of a host's snapshots, oldest first.
snapshots() { find "demo/store/$1/snapshots" -mindepth 1 -maxdepth 1 -type d -printf '%f\n' | LC_ALL=C sort; }
# Runs `backup all`. It must leave so many snapshots of each host, and the exit
# code that the failing hook makes.
run() {
    local code=0 host count
    say "\$ backup all" ''
    # To stdout, so that a pipe keeps everything in its order.
    "$backup" --config demo/config.toml all 2>&1 || code=$?
    say '' "Exit code $code."
    ((code == 1)) || fail 'the exit code was to be 1, because one hook fails.'
    for host in web files db; do
        count=$(snapshots "$host" 2>/dev/null | wc -l)
        ((count == $1)) || fail "$host has $count snapshots, not $1. What went wrong stands above."
    done
}

title 'Three hosts, in a NetBox'
say "NetBox (a stand-in, at $url) lists three hosts with the tag \"Backup\":" \
    '  web     an ordinary host' \
    '  files   hard links, ACLs, extended attributes, sparse files, odd file names' \
    '  db      has a hook, a script that runs before each copy; and its hook fails'

title 'The first run'
run 1
say 'It is 1 and not 0 because the hook of db failed. The copy of db was still made and kept,' \
    'but somebody has to look: cron would mail this, and Icinga would show db as CRITICAL.'

# One a day is kept, so that two runs within a minute would leave one snapshot.
title 'A day passes, and something changes on web'
say 'The tier "daily" keeps the newest good snapshot of each day. So that there are two days, the demo' \
    'dates what it has back by one: a snapshot is a folder, and its name is its time.' ''
for host in web files db; do
    name=$(snapshots "$host")
    time=${name#backup-}
    time=$(date -u -d "${time:0:13}:${time:13:2}:${time:15} 1 day ago" +backup-%Y-%m-%dT%H%M%SZ)
    mv -T "demo/store/$host/snapshots/$name" "demo/store/$host/snapshots/$time"
    mv -T "demo/store/$host/snapshots/$name.json" "demo/store/$host/snapshots/$time.json"
    ln -sfn "snapshots/$time" "demo/store/$host/latest"
done
say "\$ echo 'Welcome to web. Maintenance on Friday.' >demo/hosts/web/etc/motd"
echo 'Welcome to web. Maintenance on Friday.' >"$hosts/web/etc/motd"

title 'The second run'
run 2

title 'What there is now'
for host in web files db; do
    say "demo/store/$host/snapshots/"
    snapshots "$host" | sed 's/^/    /'
done
mapfile -t names < <(snapshots web)
say '' "The changed file, before and after:" ''
for name in "${names[@]}"; do
    say "\$ cat demo/store/web/snapshots/$name/etc/motd"
    cat "demo/store/web/snapshots/$name/etc/motd"
done
changed=("${names[@]}")
cmp -s "demo/store/web/snapshots/${names[0]}/etc/motd" "demo/store/web/snapshots/${names[1]}/etc/motd" &&
    fail 'the old version is gone.'
mapfile -t names < <(snapshots files)
say '' 'The copy of files, compared with the original by contents, owners, links, ACLs and attributes:' ''
say "\$ rsync -naHAXXSi --checksum --delete demo/hosts/files/ demo/store/files/snapshots/${names[1]}/"
different=$(rsync -naHAXXSi --numeric-ids --checksum --delete "$hosts/files/" "demo/store/files/snapshots/${names[1]}/")
[[ -z $different ]] || fail "the copy of files differs:
$different"
say '(nothing differs)'

title "An operator's questions"
# Runs a command of the operator's, which must exit with a code.
ask() {
    local expected=$1 code=0
    shift
    say "" "\$ backup $*"
    "$backup" --config demo/config.toml "$@" 2>&1 || code=$?
    ((code == expected)) || fail "that was to exit with $expected, not $code."
}
say 'Are we safe? (It exits with 1, because of db.)'
ask 1 status
say '' 'Which versions of the file are there, and what else changed?'
ask 0 find web motd
ask 1 diff web "${changed[@]}"
say '' 'Give the old one back, beside the new one:'
mkdir demo/restored
ask 0 restore web /etc/motd --snapshot "${changed[0]}" --to demo/restored --yes
cmp -s demo/restored/etc/motd "demo/store/web/snapshots/${changed[0]}/etc/motd" || fail 'that is not the old version.'
say '' 'Is everything in order for tonight?'
ask 0 check

title 'Have a look'
say '  demo/store/web/snapshots/  a folder a snapshot, each with every file; unchanged files are shared' \
    '  demo/store/web/latest/     the newest good one' \
    '  demo/config.toml           the configuration of these runs' \
    '  demo/hosts/                what was copied' \
    '  docs/operating.md          what an operator can ask, and how' \
    '  README.md                  how to go on with your own hosts, NetBox, Icinga and ZFS' \
    '' 'The sshd and the NetBox stand-in end here. "make demo" starts afresh.'
