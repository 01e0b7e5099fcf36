# Tells what is in the place of directories that are to be written.
#
# Words: the root, a random mark. Standard input, after the first mark: paths below
# the root, a line each. Standard output: a line of the mark, and then what each
# path is, by its number from 0, if it is there; what is free below the root, in
# KiB; the mark.
#
# Builtins, for there may be many thousand paths. No symlink is followed but on
# the way to one that was told of already.
LC_ALL=C
export LC_ALL
root=$1 mark=$2
printf "\n%s\n" "$mark"
if cd "$root" 2>/dev/null; then
    number=0
    while IFS= read -r path; do
        if [ -L "./$path" ]; then
            echo "link $number"
        elif [ -d "./$path" ]; then
            echo "directory $number"
        elif [ -e "./$path" ]; then
            echo "other $number"
        fi
        number=$((number + 1))
    done
    df -Pk . | {
        read -r _
        read -r _ _ _ free _
        echo "free $free"
    }
else
    echo "unusable 0"
fi
printf "%s\n" "$mark"
