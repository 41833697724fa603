/* What is supervised in `make bench`. FILE is shared by all of one run; see `struct board` in board.h.
 *
 *     service FILE NAME     counts itself, notes when, and waits to be ended
 *     service FILE round    notes when it starts and when it ends, and ends
 */
#include "board.h"
#include <string.h>

int main(int argc, char **argv) {
    struct board *board = board_of(argv[1]);
    long long start = now();
    if (argc < 3 || strcmp(argv[2], "round") != 0) {
        atomic_fetch_add(&board->started, 1);
        for (long long last = board->last; last < start && !atomic_compare_exchange_weak(&board->last, &last, start);)
            continue;
        for (;;)
            pause();
    }
    unsigned long number = atomic_fetch_add(&board->started, 1) % ROUNDS_MAX;
    board->rounds[number].start = start;
    board->rounds[number].end = now();
    return 0;
}
