# Looks closely at a few files: is each there, can it be read, when was it
# changed?
#
# Words: the source directory, a random mark. Standard output: the mark on a line,
# a line for each file in its order, the mark again. Standard input, after the
# first mark: the files, relative to the source, each ended by a NUL.
LC_ALL=C
export LC_ALL
source=$1 mark=$2
cd "$source" || exit 126
printf "\n%s\n" "$mark"
xargs -0 -n 1 sh -c "
    if [ ! -f \"\$1\" ] || [ -L \"\$1\" ]; then echo gone
    elif ! cat -- \"\$1\" >/dev/null 2>&1; then echo unreadable
    else stat -c \"file %Z\" -- \"\$1\" 2>/dev/null || echo file
    fi" sh || exit 124
printf "%s\n" "$mark"
