# fish completion of backup(8); printed by `backup completions fish`.

function __backup_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in (command $words[1] __complete -- $words[2..-1] "$current" 2>/dev/null)
        if test "$line" = \tfiles
            __fish_complete_path "$current"
        else
            printf '%s\n' $line
        end
    end
end
complete -c backup -f -a '(__backup_complete)'
