# Runs one hook and ends all that it started.
#
# Words: the path of the hook, the seconds after which it is ended even if nobody
# asks, the seconds between asking and killing, a random mark. Standard input:
# its end says that the caller wants the hook ended, or is gone. Standard output: what the hook says on its stdout and stderr,
# then a line of the mark, the exit status, and "left" if the hook ended
# but left processes behind in its session.
#
# A hook gets a session of its own, and the mark in its environment, by which
# even those of its processes are found that made themselves daemons. Those
# are ended with a hook that is ended; a hook that ends by itself may leave
# daemons (it may restart a service), but nothing in its own session.
LC_ALL=C
export LC_ALL
hook=$1 limit=$2 grace=$3 mark=$4
exec 3<&0 </dev/null 2>&1
cd /

BACKUP_HOOK=$mark setsid "$hook" 3<&- &
pid=$!
# Shells say on stderr how their jobs end, each in its own words, and those
# would pass for the words of the hook.
exec 2>/dev/null

# The environments that have the mark. Some greps (of busybox, on Alpine) read
# no further than the first NUL; for them, each is made lines first.
if printf "x\000y" | grep -qF y; then
    marked() { grep -lF "BACKUP_HOOK=$mark" /proc/[0-9]*/environ; }
else
    marked() {
        for environment in /proc/[0-9]*/environ; do
            if tr "\000" "\n" <"$environment" | grep -qF "BACKUP_HOOK=$mark"; then
                printf "%s\n" "$environment"
            fi
        done
    }
fi

everything() {
    kill -s "$1" -- "-$pid" 2>/dev/null
    marked | while IFS=/ read -r _ _ process _; do
        kill -s "$1" "$process" 2>/dev/null
    done
}

(
    timeout "$limit" cat <&3
    trap "" TERM
    everything TERM
    waited=0
    while [ "$waited" -lt "$grace" ] && [ -n "$(marked)" ]; do
        sleep 1
        waited=$((waited + 1))
    done
    everything KILL
    everything KILL
) >/dev/null 2>&1 &
watcher=$!

wait "$pid"
status=$?

left=
if kill -s TERM -- "-$pid" 2>/dev/null; then
    left=left
    sleep 1
    kill -s KILL -- "-$pid" 2>/dev/null
fi
# Once it has begun to end things, the watcher does not hear this.
kill "$watcher" 2>/dev/null
wait "$watcher"
printf "\n%s %s %s\n" "$mark" "$status" "$left"
