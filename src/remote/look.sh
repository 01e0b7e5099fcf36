# Looks closely at a few files: is each there, can it be read, when was it
# changed?
#
# Standard input: a line with the source directory, a line with `read` (regular
# files, which are read) or `any` (of any kind, which are not), a line with a random
# mark, then the files, relative to it, each ended by a NUL.
# Standard output: the mark on a line, a line for each file in its order, the
# mark again.
#
# This text travels as one shell word: it holds no single quote.
LC_ALL=C
IFS= read -r source && IFS= read -r how && IFS= read -r mark || exit 125
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
