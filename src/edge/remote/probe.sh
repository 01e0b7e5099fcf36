# Tells what a host is and has, in one round trip.
#
# Words: the source directory, the exclude file, the directory of hooks, a file
# that only the asking machine has, a random mark. Standard output: sections, each
# begun by a line of the mark and the name of the section; the last one is "end".
#
# Builtins where they do, since each program costs more than all the rest.
LC_ALL=C
export LC_ALL
source=$1 excludes=$2 hooks=$3 witness=$4 mark=$5
section() { printf "\n%s %s\n" "$mark" "$1"; }

section user
while read -r key _ uid _; do
    case $key in Uid:) echo "$uid" ;; esac
done </proc/self/status

section witness
if [ -e "$witness" ]; then echo here; fi

section machine
if [ -r /etc/machine-id ]; then
    IFS= read -r machine </etc/machine-id
    printf "%s\n" "$machine"
fi

section hostname
if [ -r /proc/sys/kernel/hostname ]; then
    IFS= read -r hostname </proc/sys/kernel/hostname
    printf "%s\n" "$hostname"
fi

section time
date +%s

section source
if [ ! -e "$source" ]; then
    echo missing
elif [ ! -d "$source" ]; then
    echo "not a directory"
elif [ ! -r "$source" ] || [ ! -x "$source" ]; then
    echo unreadable
else
    echo ok
fi

section rsync
command -v rsync

section mounts
cat /proc/self/mountinfo

section excludes
if [ -e "$excludes" ]; then
    head -c 1048577 "$excludes" || section unreadable-excludes
fi

# As run-parts(8): every executable file whose name is made of letters,
# digits, "-" and "_". A name that it would pass over is told, not hidden.
section hooks
if [ -d "$hooks" ]; then
    for hook in "$hooks"/*; do
        if [ ! -f "$hook" ] || [ ! -x "$hook" ]; then continue; fi
        name=${hook##*/}
        case $name in
        *[!A-Za-z0-9_-]*) printf "odd %s\n" "$(printf "%s" "$name" | tr -c "A-Za-z0-9._-" "?")" ;;
        *) printf "run %s\n" "$name" ;;
        esac
    done
fi

# Last, for the working directory is not needed any more.
section path
cd "$source" 2>/dev/null && pwd -P

section end
