# Looks for files with more than one link below a few paths.
#
# Words: the source directory, the seconds after which one look is given up, a
# random mark. Standard input, after the first mark: a line for each path: "one "
# if the look is not to go into filesystems that are mounted below, else "all ";
# and the path as printf takes it for %b, relative to the source and beginning
# with "./". Then an empty line. Then it stays open: its end says that the caller
# is gone, and ends the look. The process group has to be its own.
# Standard output: the mark on a line; for each path, every word ended by a NUL:
# "missing", or "symlink" and the link, or "looked", the first file with more
# than one link if there is one, and "done" with the exit of find; the mark.
LC_ALL=C
export LC_ALL
source=$1 limit=$2 mark=$3
cd "$source" || exit 126

# Told to, it stays in the process group. The one of busybox does without.
foreground=--foreground
timeout --foreground 5 true 2>/dev/null </dev/null || foreground=
find_linked() {
    timeout $foreground -k 5 "$limit" find "$@" ! -type d -links +1 -print0 -quit
}
# Tried here, so that an option that is not known is told from a directory that
# cannot be read: find exits alike.
find_linked . -xdev -prune >/dev/null </dev/null || exit 123

printf "\n%s\n" "$mark"
set --
while IFS= read -r line && [ -n "$line" ]; do
    set -- "$@" "$line"
done
exec 3<&0 </dev/null
(
    read -r _ <&3
    kill -s KILL 0
) >/dev/null 2>&1 &
watcher=$!
trap "kill \$watcher" EXIT
exec 3<&-

look() {
    rest=${1#./}
    at=.
    while :; do
        at=$at/${rest%%/*}
        if [ -L "$at" ]; then
            printf "symlink\000%s\000" "$at"
            return
        elif [ ! -e "$at" ]; then
            printf "missing\000"
            return
        fi
        case $rest in */*) rest=${rest#*/} ;; *) break ;; esac
    done
    printf "looked\000"
    find_linked "$at" ${2:+"$2"} 2>/dev/null
    printf "done %s\000" "$?"
}

for line; do
    # A newline at its end would be lost without the point.
    path=$(printf "%b." "${line#* }")
    case $line in
        one*) look "${path%.}" -xdev ;;
        *) look "${path%.}" "" ;;
    esac
done
printf "%s\n" "$mark"
