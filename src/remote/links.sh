# Looks for files with more than one link below a few paths.
#
# Standard input, a line each: the source directory, the seconds after which a
# look is given up, a random mark. Then the paths, relative to the source
# and beginning with "./", each ended by a NUL.
# Standard output: the mark on a line; for each path, every word ended by a NUL:
# "missing", or "symlink" and the link, or "looked", the first file with more
# than one link if there is one, and "done" with the exit of find; the mark.
#
# This text travels as one shell word: it holds no single quote.
LC_ALL=C
export LC_ALL
IFS= read -r source && IFS= read -r limit && IFS= read -r mark || exit 125
cd "$source" || exit 126
# Tried here, so that an option that is not known is told from a directory that
# cannot be read: find exits alike.
timeout -k 5 "$limit" find . -xdev -prune ! -type d -links +1 -print0 -quit </dev/null >/dev/null || exit 123
export limit
printf "\n%s\n" "$mark"
xargs -0 -n 1 sh -c "
    at=. rest=\${1#./}
    while :; do
        at=\$at/\${rest%%/*}
        if [ -L \"\$at\" ]; then
            printf \"symlink\\000%s\\000\" \"\$at\"
            exit
        elif [ ! -e \"\$at\" ]; then
            printf \"missing\\000\"
            exit
        fi
        case \$rest in */*) rest=\${rest#*/} ;; *) break ;; esac
    done
    printf \"looked\\000\"
    timeout -k 5 \"\$limit\" find \"\$at\" -xdev ! -type d -links +1 -print0 -quit </dev/null 2>/dev/null
    printf \"done %s\\000\" \"\$?\"
    " sh || exit 124
printf "%s\n" "$mark"
