# What every script begins with: its words, decoded. A newline at the end of one
# would be lost without the point.
for word; do
    case $word in
    *\\*)
        word=$(printf "%b." "$word")
        word=${word%.}
        ;;
    esac
    set -- "$@" "$word"
    shift
done
