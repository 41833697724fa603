# Completion of isinit(8) for bash. It needs nothing but bash; with bash-completion it is loaded when it is first used.
#
# Groups, levels and tags are those of the daemon that answers at the socket, else of the table: `isinit check --words` lists
# them. They are anybody's words, so none is ever evaluated: each is compared, quoted and offered.

_isinit() {
    local verbs='tell plan check status watch timeline top start stop restart signal poweroff reboot halt kexec
        switch-root import upgrade run'
    local signals='HUP INT QUIT ABRT KILL USR1 USR2 ALRM TERM CHLD CONT STOP TSTP WINCH'
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} word verb= at
    local -a common=() names=()
    COMPREPLY=()
    for ((at = 1; at < COMP_CWORD; at++)); do
        word=${COMP_WORDS[at]//[\\\"\']/}
        case $word in
        -c | --table | -s | --socket)
            ((++at < COMP_CWORD)) || break
            common+=("$word" "${COMP_WORDS[at]/#\~\//$HOME/}")
            ;;
        --timeout | --svg | --from | --group) ((at++)) ;;
        -d) verb=-d ;;
        -*) ;;
        *) if [[ -z $verb ]]; then verb=$word; else names+=("$word"); fi ;;
        esac
    done
    # What would be a verb is a group where it is none.
    if [[ -n $verb && $verb != -d && " ${verbs//$'\n'/ } " != *" $verb "* ]]; then
        names=("$verb" "${names[@]}")
        verb=classic
    fi
    case $previous in
    -c | --table | -s | --socket | --svg) _isinit_files; return ;;
    --from) _isinit_offer sysvinit busybox; return ;;
    --timeout) return ;;
    esac
    case $verb:${#names[@]}:$current in
    :*:-*) _isinit_offer -c --table -s --socket -d -k -h --help -V --version ;;
    tell:*:-*) _isinit_offer --wait --timeout --or-revert --force --help ;;
    check:*:-*) _isinit_offer --digest --words --help ;;
    status:*:-*) _isinit_offer --json --prometheus --tree --help ;;
    watch:*:-*) _isinit_offer --json --help ;;
    timeline:*:-*) _isinit_offer --svg --help ;;
    import:*:-*) _isinit_offer --from --group --help ;;
    run:*:-*) _isinit_offer -g --group -r --rewrite -e -p --grace -v --verbose -h --help -V --version -- ;;
    *:*:-*) _isinit_offer --help ;;
    :0:*)
        _isinit_offer $verbs
        _isinit_names group
        ;;
    tell:0:* | plan:0:* | status:0:* | timeline:0:* | -d:0:*) _isinit_names group ;;
    tell:1:* | plan:1:* | classic:1:* | -d:1:*) _isinit_names level "${names[0]}" ;;
    start:0:* | stop:0:* | restart:0:* | signal:1:*) _isinit_names tag ;;
    signal:0:*) _isinit_offer $signals ;;
    check:0:* | import:0:* | run:*) _isinit_files ;;
    switch-root:0:*) _isinit_files -d ;;
    esac
}

# Offers what begins as what has been typed.
_isinit_offer() {
    local word quoted
    for word; do
        [[ $word == "${current//[\\\"\']/}"* ]] || continue
        printf -v quoted %q "$word"
        COMPREPLY+=("$quoted")
    done
}

# Names of a kind, `level` those of a group.
_isinit_names() {
    local kind first second
    local -a found=()
    while read -r kind first second; do
        case $kind in
        "$1") if [[ $1 == group ]]; then found+=("$first"); elif [[ $1 == tag || $first == "$2" ]]; then found+=("$second"); fi ;;
        esac
    done < <("${COMP_WORDS[0]/#\~\//$HOME/}" "${common[@]}" check --words 2>/dev/null)
    _isinit_offer "${found[@]}"
}

_isinit_files() {
    local file
    compopt -o filenames 2>/dev/null
    while IFS= read -r file; do
        COMPREPLY+=("$file")
    done < <(compgen "${1:--f}" -- "${current//[\\\"\']/}")
}

complete -F _isinit isinit
