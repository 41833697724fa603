" Vim syntax file
" Language: isinittab(5), the table of isinit(8)
" The words are the parser's own; a test compares them. What is not one of them is shown as an error.

if exists("b:current_syntax")
  finish
endif
let s:cpo_save = &cpo
set cpo&vim

" A name may have any byte but a blank, and @ stands before some of their values.
setlocal commentstring=#\ %s

syntax case match

" group:tag:levels:action[,option...]:process; blanks around the first four do not count. A line that ends with a
" backslash goes on, a comment never does.
syntax match isinittabComment /^\s*#.*$/ contains=isinittabTodo
syntax keyword isinittabTodo TODO FIXME XXX contained

syntax match isinittabGroup /^\s*[^#: \t][^: \t]*\s*\ze:/ nextgroup=isinittabColonTag
syntax match isinittabColonTag /:/ contained nextgroup=isinittabTag
syntax match isinittabTag /[^:]*/ contained nextgroup=isinittabColonLevels
syntax match isinittabColonLevels /:/ contained nextgroup=isinittabLevels,isinittabColonAction
syntax match isinittabLevels /[^:]\+/ contained contains=isinittabLevelComma nextgroup=isinittabColonAction
syntax match isinittabLevelComma /,/ contained
syntax match isinittabColonAction /:\s*/ contained nextgroup=isinittabAction,isinittabBadAction
syntax match isinittabBadAction /[^:, \t][^:,]*/ contained nextgroup=isinittabComma,isinittabColonProcess skipwhite
syntax match isinittabComma /,\s*/ contained nextgroup=isinittabOption,isinittabRlimit,isinittabBadOption

" Behind the fourth colon everything belongs to the process, and it may go on in the next line.
syntax match isinittabColonProcess /:/ contained nextgroup=isinittabProcess,isinittabPrefix
syntax region isinittabProcess start=/./ skip=/\\$/ end=/$/ contained contains=isinittabContinued,isinittabString,isinittabVariable
syntax match isinittabPrefix /\s*[-+@]\+/ contained nextgroup=isinittabProcess
syntax match isinittabContinued /\\$/ contained
syntax region isinittabString start=/"/ skip=/\\./ end=/"/ end=/$/ contained oneline contains=isinittabVariable
syntax region isinittabString start=/'/ end=/'/ end=/$/ contained oneline
syntax match isinittabVariable /\$\%(\h\w*\|[0-9@*#?$!-]\|{[^}]*}\)/ contained

syntax keyword isinittabAction respawn wait once test off ondemand initdefault sysinit boot bootwait powerwait powerfail
      \ powerokwait powerfailnow ctrlaltdel kbrequest askfirst shutdown restart
      \ contained nextgroup=isinittabComma,isinittabColonProcess,isinittabBadAction skipwhite

" Words with a dash in them are no keywords of vim's. Of two that match at one place the later one holds.
syntax match isinittabBadOption /[^=,: \t][^=,:]*/ contained nextgroup=isinittabEquals,isinittabComma,isinittabColonProcess
syntax match isinittabOption /\%(stop\|stop-timeout\|limit\|delay\|fail\|ready\|ready-timeout\|user\|dir\|umask\|nice\|oom\|tty\|log\|memory\|cpu\|pids\|main\)\ze\%([=,:]\|\s*$\)/
      \ contained nextgroup=isinittabEquals,isinittabComma,isinittabColonProcess
syntax match isinittabRlimit /rlimit-\c\%(as\|core\|cpu\|data\|fsize\|locks\|memlock\|msgqueue\|nice\|nofile\|nproc\|rss\|rtprio\|rttime\|sigpending\|stack\)\ze=/
      \ contained nextgroup=isinittabEquals
syntax match isinittabEquals /=/ contained nextgroup=isinittabSignal,isinittabNumber,isinittabWord,isinittabValue
syntax match isinittabValue /[^,:]\+/ contained nextgroup=isinittabComma,isinittabColonProcess
syntax match isinittabNumber /-\=\d[0-9.\/%KkMmGgTt]*\ze\s*[,:]/ contained nextgroup=isinittabComma,isinittabColonProcess skipwhite
syntax match isinittabWord /\%(entry\|group\|all\|socket\|no\|unlimited\|infinity\|@console\)\ze\s*[,:]/
      \ contained nextgroup=isinittabComma,isinittabColonProcess skipwhite
syntax match isinittabSignal /\c\%(SIG\)\=\%(HUP\|INT\|QUIT\|ILL\|TRAP\|ABRT\|BUS\|FPE\|KILL\|USR1\|SEGV\|USR2\|PIPE\|ALRM\|TERM\|STKFLT\|CHLD\|CONT\|STOP\|TSTP\|TTIN\|TTOU\|URG\|XCPU\|XFSZ\|VTALRM\|PROF\|WINCH\|IO\|PWR\|SYS\|RTMIN\%(+\d\+\)\=\|RTMAX\%(-\d\+\)\=\)\ze\s*[,:]/
      \ contained nextgroup=isinittabComma,isinittabColonProcess skipwhite

" :::name:value
syntax match isinittabSettingColons /^\s*:\s*:\s*:\s*/ nextgroup=isinittabSetting,isinittabBadSetting
syntax match isinittabBadSetting /[^:]\+/ contained nextgroup=isinittabSettingColon
syntax match isinittabSetting /\%(socket\|initstat\|clstat\|log\|include\|group\|env\|stop-timeout\|limit\|mounts\|survivors\|prefix\|watchdog\|initscript\)\ze\s*:/
      \ contained nextgroup=isinittabSettingColon skipwhite
syntax match isinittabSettingColon /:/ contained nextgroup=isinittabSettingValue
syntax region isinittabSettingValue start=/./ skip=/\\$/ end=/$/ contained contains=isinittabContinued

syntax sync minlines=50

highlight default link isinittabComment Comment
highlight default link isinittabTodo Todo
highlight default link isinittabGroup Type
highlight default link isinittabTag Identifier
highlight default link isinittabLevels Constant
highlight default link isinittabAction Statement
highlight default link isinittabOption PreProc
highlight default link isinittabRlimit PreProc
highlight default link isinittabSignal Special
highlight default link isinittabNumber Number
highlight default link isinittabWord Constant
highlight default link isinittabValue String
highlight default link isinittabSetting PreProc
highlight default link isinittabSettingValue String
highlight default link isinittabString String
highlight default link isinittabVariable Special
highlight default link isinittabPrefix Special
highlight default link isinittabContinued Special
highlight default link isinittabBadAction Error
highlight default link isinittabBadOption Error
highlight default link isinittabBadSetting Error
for s:colon in ["ColonTag", "ColonLevels", "ColonAction", "ColonProcess", "SettingColons", "SettingColon",
      \ "LevelComma", "Comma", "Equals"]
  execute "highlight default link isinittab" . s:colon . " Delimiter"
endfor
unlet s:colon

let b:current_syntax = "isinittab"
let &cpo = s:cpo_save
unlet s:cpo_save
