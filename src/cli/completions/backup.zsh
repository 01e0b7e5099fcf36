#compdef backup
# zsh completion of backup(8); printed by `backup completions zsh`.

_backup() {
    local line tab=$'\t'
    local -a found
    for line in ${(f)"$($words[1] __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)"}; do
        if [[ $line == ${tab}files ]]; then
            _files
        else
            found+=("${${line%%$tab*}//:/\\:}:${line#*$tab}")
        fi
    done
    # Hosts in any case.
    (( $#found )) && _describe backup found -M 'm:{[:lower:]}={[:upper:]}'
}

if [[ $funcstack[1] == _backup ]]; then
    _backup "$@"
else
    compdef _backup backup
fi
