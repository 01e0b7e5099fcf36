# Tells what rsync is here: all that it says of its version, then a line
#
#     @package VERSION    of the package that it came with,
#     @package            if the package manager here does not know it.
#
# Without a package manager there is no such line.
LC_ALL=C
export LC_ALL
rsync --version || exit
path=$(command -v rsync)
real=$(readlink -f "$path" 2>/dev/null) || real=$path

# Each sets `version` if the file is from a package, and `asked` if it could say.
debian() {
    owner=$(dpkg-query -S "$real" 2>/dev/null)
    case $? in
        0 | 1) asked=yes ;;
    esac
    # "rsync: /usr/bin/rsync", or "rsync:amd64: ..."; a diversion says more before it.
    owner=${owner##*"
"}
    owner=${owner%%: *}
    case $owner in
        "" | *[!a-z0-9+.:-]*) return ;;
    esac
    version=$(dpkg-query -W -f "\${Version}" "$owner" 2>/dev/null) || version=
}
redhat() {
    asked=yes
    version=$(rpm -qf --qf "%{VERSION}-%{RELEASE}" "$real" 2>/dev/null) || version=
}
# Both say "/usr/bin/rsync is owned by rsync-3.4.1-r0", or "by rsync 3.4.1-2".
words() {
    asked=yes
    owner=$("$@" "$real" 2>/dev/null) || owner=
    version=${owner##* is owned by rsync[ -]}
    [ "$version" != "$owner" ] || version=
}

asked=
version=
for manager in dpkg-query rpm apk pacman; do
    if [ -n "$version" ] || ! command -v "$manager" >/dev/null; then
        continue
    fi
    case $manager in
        dpkg-query) debian ;;
        rpm) redhat ;;
        apk) words apk info -W ;;
        pacman) words pacman -Qo ;;
    esac
done
[ -z "$asked" ] || printf "@package %s\n" "$version"
