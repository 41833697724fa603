# Completion of isinit(8) for fish. Groups, levels and tags are those of the daemon that answers at the socket, else of the
# table: `isinit check --words` lists them.

# What stands before the cursor: `common` (-c and -s with their paths), then the verb, then its names, one on a line.
function __isinit_line
    set -l tokens (commandline -opc)
    set -l common
    set -l verb
    set -l names
    set -l at 2
    while test $at -le (count $tokens)
        set -l word $tokens[$at]
        switch $word
            case -c --table -s --socket
                set at (math $at + 1)
                if test $at -le (count $tokens)
                    set common $common $word $tokens[$at]
                end
            case --timeout --svg --from --group
                set at (math $at + 1)
            case -d
                set verb -d
            case '-*'
            case '*'
                if test -z "$verb"
                    set verb $word
                else
                    set names $names $word
                end
        end
        set at (math $at + 1)
    end
    # What would be a verb is a group where it is none.
    if test -n "$verb"; and not contains -- $verb -d $__isinit_verbs
        set names $verb $names
        set verb classic
    end
    test -n "$verb"; or set verb none
    printf '%s\n' (count $common) $common $verb $names
end

# Is the verb one of these (before `--`), with so many names behind it (after it; none: any number)?
function __isinit_at
    set -l line (__isinit_line)
    set -l verb $line[(math $line[1] + 2)]
    set -l names (math (count $line) - $line[1] - 2)
    set -l split (contains -i -- -- $argv)
    or return 1
    contains -- $verb $argv[1..(math $split - 1)]; or return 1
    test (count $argv) -eq $split; or test $names -eq $argv[-1]
end

# Names of a kind, `level` those of the group that stands there.
function __isinit_names
    set -l line (__isinit_line)
    set -l common
    test $line[1] -gt 0; and set common $line[2..(math $line[1] + 1)]
    set -l group $line[(math $line[1] + 3)]
    set -l program (commandline -opc)[1]
    $program $common check --words 2>/dev/null | while read -l -d ' ' kind first second
        test "$kind" = $argv[1]; or continue
        switch $kind
            case group
                printf '%s\n' $first
            case tag
                printf '%s\n' $second
            case level
                test "$first" = "$group"; and printf '%s\n' $second
        end
    end
end

set -g __isinit_verbs tell plan check status watch timeline top start stop restart signal poweroff reboot halt kexec \
    switch-root import upgrade run

complete -c isinit -f
complete -c isinit -s c -l table -r -F -d 'the table'
complete -c isinit -s s -l socket -r -F -d 'the socket of the daemon'
complete -c isinit -n '__isinit_at none --' -s d -d 'be the daemon, in the foreground'
complete -c isinit -n '__isinit_at none --' -s k -d 'stop everything, end the daemon'
complete -c isinit -n '__isinit_at none run --' -s V -l version -d 'show the version'
complete -c isinit -n '__isinit_at none run --' -s h
complete -c isinit -l help -d 'show help'

complete -c isinit -n '__isinit_at none -- 0' -a tell -d 'switch a group to a level'
complete -c isinit -n '__isinit_at none -- 0' -a plan -d 'what a tell would stop, keep and start'
complete -c isinit -n '__isinit_at none -- 0' -a check -d 'all errors and warnings of a table'
complete -c isinit -n '__isinit_at none -- 0' -a status -d 'groups and entries'
complete -c isinit -n '__isinit_at none -- 0' -a watch -d 'one line for each change'
complete -c isinit -n '__isinit_at none -- 0' -a timeline -d 'what was when, as bars'
complete -c isinit -n '__isinit_at none -- 0' -a top -d 'groups and entries with what they use'
complete -c isinit -n '__isinit_at none -- 0' -a start -d 'start one entry'
complete -c isinit -n '__isinit_at none -- 0' -a stop -d 'stop one entry'
complete -c isinit -n '__isinit_at none -- 0' -a restart -d 'stop one entry and start it again'
complete -c isinit -n '__isinit_at none -- 0' -a signal -d 'send a signal to one entry'
complete -c isinit -n '__isinit_at none -- 0' -a poweroff -d 'switch the machine off'
complete -c isinit -n '__isinit_at none -- 0' -a reboot -d 'start the machine anew'
complete -c isinit -n '__isinit_at none -- 0' -a halt -d 'halt the machine'
complete -c isinit -n '__isinit_at none -- 0' -a kexec -d 'start the kernel that is loaded'
complete -c isinit -n '__isinit_at none -- 0' -a switch-root -d 'leave the initramfs'
complete -c isinit -n '__isinit_at none -- 0' -a import -d 'an inittab as a table'
complete -c isinit -n '__isinit_at none -- 0' -a upgrade -d 'the new binary takes the place of the daemon'
complete -c isinit -n '__isinit_at none -- 0' -a run -d 'one command, as the entrypoint of a container'

complete -c isinit -n '__isinit_at none -d tell plan status timeline -- 0' -a '(__isinit_names group)' -d group
complete -c isinit -n '__isinit_at classic -d tell plan -- 1' -a '(__isinit_names level)' -d level
complete -c isinit -n '__isinit_at start stop restart -- 0' -a '(__isinit_names tag)' -d entry
complete -c isinit -n '__isinit_at signal -- 1' -a '(__isinit_names tag)' -d entry
complete -c isinit -n '__isinit_at signal -- 0' \
    -a 'HUP INT QUIT ABRT KILL USR1 USR2 ALRM TERM CHLD CONT STOP TSTP WINCH' -d signal
complete -c isinit -n '__isinit_at check import -- 0' -F
complete -c isinit -n '__isinit_at run --' -F
complete -c isinit -n '__isinit_at switch-root -- 0' -a '(__fish_complete_directories)'

complete -c isinit -n '__isinit_at tell --' -l wait -d 'return with the verdict'
complete -c isinit -n '__isinit_at tell --' -l timeout -x -d 'seconds to wait at most'
complete -c isinit -n '__isinit_at tell --' -l or-revert -d 'all or nothing'
complete -c isinit -n '__isinit_at tell --' -l force -d 'take a level that no entry has'
complete -c isinit -n '__isinit_at check --' -l digest -d 'what hosts compare'
complete -c isinit -n '__isinit_at check --' -l words -d 'the names of the table, for programs'
complete -c isinit -n '__isinit_at status watch --' -l json -d 'for programs'
complete -c isinit -n '__isinit_at status --' -l prometheus -d 'for its textfile collector'
complete -c isinit -n '__isinit_at status --' -l tree -d 'with processes'
complete -c isinit -n '__isinit_at timeline --' -l svg -r -F -d 'a picture for a browser'
complete -c isinit -n '__isinit_at import --' -l from -x -a 'sysvinit busybox' -d 'whose inittab it is'
complete -c isinit -n '__isinit_at import --' -l group -x -d 'the group that its entries get'
complete -c isinit -n '__isinit_at run --' -s g -l group -d 'signals go to the whole process group'
complete -c isinit -n '__isinit_at run --' -s r -l rewrite -x -d 'another signal in place of this one'
complete -c isinit -n '__isinit_at run --' -s e -x -d 'an exit status that counts as success'
complete -c isinit -n '__isinit_at run --' -s p -x -d 'end by this signal when the parent ends'
complete -c isinit -n '__isinit_at run --' -l grace -x -d 'seconds for what is left behind'
complete -c isinit -n '__isinit_at run --' -s v -l verbose -d 'say what arrives and what ends'
