# bash completion of backup(8); printed by `backup completions bash`.

_backup() {
    local line answer
    COMPREPLY=()
    answer=$("$1" __complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null) || return 0
    while IFS= read -r line; do
        if [[ $line == $'\t'files ]]; then
            compopt -o filenames
            while IFS= read -r line; do COMPREPLY+=("$line"); done < <(compgen -f -- "$2")
        elif [[ -n $line ]]; then
            COMPREPLY+=("${line%%$'\t'*}")
        fi
    done <<<"$answer"
}
complete -F _backup backup
