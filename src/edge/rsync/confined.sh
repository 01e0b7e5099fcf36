# Runs rsync in a view of this machine in which nothing but one directory can be
# written to, wherever a symlink in that directory leads.
#
# Arguments: the directory; its device and inode, `DEVICE:INODE`; rsync;
# directories that rsync reads; `--`; rsync's arguments. All paths are absolute.
# The mounts are seen by nobody else, and go with the last process that sees them.
#
# The view is an empty directory. What is in it: the system's programs and
# libraries, and what rsync reads, all read-only; and the directory. Links in /proc
# lead out of any view, so that it is one in which no process is but those in here.
#
# Exit status: rsync's; 125 if there is no such view to be had.
set -u
unset CDPATH
# The way to a tool must not depend on where this stands.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
fail() {
    echo "$1" >&2
    exit 125
}
# Adds what is mounted at a path of the view, by the path. It is made from inside
# the view, and gone to without following a symlink: others may be able to move
# what leads there.
place() {
    chroot "$view" mkdir -p -- "$1" || exit 125
    cd -P "$view$1" || exit 125
    [ "$(pwd)" = "$view$1" ] || fail "\`$1\` is reached through a symlink"
}
# Shows a directory as it is, to be read.
show() {
    place "$1"
    mount -n -c --bind "$1" . && cd / && mount -n -c -o remount,bind,ro "$view$1" || exit 125
}
to=$1 identity=$2 rsync=$3
shift 3
# What was looked at, and nothing that has come into its place meanwhile. From
# here on it is held, wherever the path leads.
cd -P "$to" || exit 125
[ "$(stat -c %d:%i .) $(pwd)" = "$identity $to" ] ||
    fail "\`$to\` is not what it was: somebody has put something else into its place"
exec 9<.
cd /
# Nothing that matters to rsync is covered by this.
mount -n -t tmpfs -o mode=755,size=1m none /sys || exit 125
view=/sys/view
mkdir "$view" && mount -n -t tmpfs -o mode=755,size=1m none "$view" || exit 125
for part in /usr /etc /bin /sbin /lib*; do
    if [ -L "$part" ]; then
        ln -s "$(readlink "$part")" "$view$part" || exit 125
    elif [ -d "$part" ]; then
        mkdir "$view$part" && mount -n -c --bind "$part" "$view$part" &&
            mount -n -c -o remount,bind,ro "$view$part" || exit 125
    fi
done
# Some rsyncs set modes by /proc/self/fd. Where this is forbidden, as in some
# containers, those say what they cannot set.
mkdir "$view/proc" || exit 125
mount -n -t proc -o ro,nosuid,nodev,noexec none "$view/proc" || :
chroot "$view" test -x "$rsync" || show "${rsync%/*}"
while [ "$1" != -- ]; do
    show "$1"
    shift
done
shift
place "$to"
# What is mounted on this machine from here on is not mounted in the view.
mount -n -c -o remount,bind,ro "$view" && mount -n -c --make-rprivate "$view" || exit 125
while read -r _ _ _ _ point options _; do
    case $point in "$view" | "$view"/*) ;; *) continue ;; esac
    case ,$options, in *,ro,*) ;; *) fail "\`$point\` cannot be made read-only" ;; esac
done </proc/self/mountinfo
mount -n -c --rbind /proc/self/fd/9 . || exit 125
# `/proc/self/fd/0/..` would lead out. Who waits for us outside holds it as well.
[ ! -d /proc/self/fd/0 ] || exec </dev/null
exec chroot "$view" "$rsync" "$@" 9<&-
