# What zsh offers for a line: complete.zsh DIRECTORY FILE LINE. The function is in DIRECTORY; what it adds goes into FILE, and
# then the line as it is after Tab.
zmodload zsh/zpty
zpty inner zsh -f -i
zpty -w inner 'PS1= PS2= RPS1=; unsetopt zle_bracketed_paste'
zpty -w inner "fpath=(${(q)1} \$fpath); autoload -Uz compinit; compinit -u -D"
zpty -w inner "compadd() { local -a got; builtin compadd -O got \"\$@\"; print -rl -- \"\${got[@]}\" >>${(q)2}; builtin compadd \"\$@\"; }"
zpty -w inner "tell-it() { print -r -- \"LINE:\$BUFFER\" >>${(q)2}; exit; }; zle -N tell-it; bindkey '^O' tell-it"
zpty -w inner "print READ''Y"
zpty -r -m inner out '*READY*'
zpty -wn inner "$3"$'\t\x0f'
while zpty -r inner out; do :; done
