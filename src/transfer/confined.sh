# Runs rsync in a view of this machine in which nothing but one directory can be
# written to, wherever a symlink in that directory leads.
#
# Arguments: the directory; what rsync is to read, each a path of its own; `--`;
# rsync's arguments. All paths are absolute. Nobody else sees the mounts that are
# made here, and they go with the last process that sees them.
#
# Exit status: rsync's; 125 if there is no such view to be had.
set -u
unset CDPATH
# Tools of the system's administration are not in everybody's PATH.
PATH=$PATH:/usr/sbin:/sbin
fail() {
    echo "$1" >&2
    exit 125
}
# A place to make the view at: nobody restores to it, and rsync has no use for it.
for view in /sys /mnt /dev; do
    [ ! -d "$view" ] || break
done
# Makes the place of a file or a directory in the view. Only what is on another
# filesystem than the root has none, and what is in its place is a mount point.
place() {
    [ -d "$1" ] && folder=$1 || folder=${1%/*}
    if ! mkdir -p "$view$folder" 2>/dev/null; then
        there=$folder
        while [ ! -d "$view$there" ]; do there=${there%/*}; done
        mount -n -t tmpfs -o mode=755 none "$view$there" && mkdir -p "$view$folder" || exit 125
    fi
    [ -e "$view$1" ] || : >"$view$1" || exit 125
}
# Shows something as it is, to be read.
show() {
    mount -n --bind -o ro "$1" "$view$1" || exit 125
}
to=$1
shift
# What it is now, it stays: the way there may be led elsewhere in a moment.
cd -P "$to" || exit 125
[ "$(pwd -P)" = "$to" ] || fail "\`$to\` is not where it was"
mount -n --bind -o ro / "$view" || exit 125
show /usr
rsync=$(command -v rsync) || fail "rsync is not installed"
if [ ! -x "$view$rsync" ]; then
    place "${rsync%/*}"
    show "${rsync%/*}"
fi
while [ "$1" != -- ]; do
    place "$1"
    show "$1"
    shift
done
shift
place "$to"
mount -n -c --rbind . "$view$to" || exit 125
exec chroot "$view" "$rsync" "$@"
