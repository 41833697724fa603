" Writes each piece of the buffer with its syntax group: LINE GROUP TEXT.
let pieces = []
for number in range(1, line('$'))
  let [name, piece] = ['', '']
  for column in range(1, strlen(getline(number)) + 1)
    let here = synIDattr(synID(number, column, 1), 'name')
    if here !=# name && piece !=# ''
      call add(pieces, number . ' ' . (name ==# '' ? '-' : name) . ' ' . piece)
      let piece = ''
    endif
    let [name, piece] = [here, piece . strpart(getline(number), column - 1, 1)]
  endfor
  if piece !=# ''
    call add(pieces, number . ' ' . (name ==# '' ? '-' : name) . ' ' . piece)
  endif
endfor
call writefile([&filetype] + pieces, 'pieces')
qall!
