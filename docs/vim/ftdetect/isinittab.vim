" The tables of isinit(8): the table itself, and drop-ins beside it.
autocmd BufRead,BufNewFile isinittab,*.isinittab,*/isinittab.d/* setfiletype isinittab
