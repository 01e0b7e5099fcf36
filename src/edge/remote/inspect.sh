# Looks closely at a few files: is each there, can it be read, when was it
# changed?
#
# Words: the source directory; `read` (regular files, which are read) or `any` (of
# any kind, which are not); a random mark. Standard output: the mark on a line, a
# line for each file in its order, the mark again. Standard input, after the first
# mark: the files, relative to the source, each ended by a NUL.
LC_ALL=C
source=$1 how=$2 mark=$3
export LC_ALL how
cd "$source" || exit 126
printf "\n%s\n" "$mark"
xargs -0 -n 1 sh -c "
    if [ \"\$how\" = any ]; then
        if [ -e \"\$1\" ] || [ -L \"\$1\" ]; then stat -c \"file %Z\" -- \"\$1\" 2>/dev/null || echo file
        else echo gone; fi
    elif [ ! -f \"\$1\" ] || [ -L \"\$1\" ]; then echo gone
    elif ! cat -- \"\$1\" >/dev/null 2>&1; then echo unreadable
    else stat -c \"file %Z\" -- \"\$1\" 2>/dev/null || echo file
    fi" sh || exit 124
printf "%s\n" "$mark"
