/* What the programs of `make bench` write for each other and for bench.py to read: a file that all of them map. Times are
 * nanoseconds of CLOCK. bench.py knows this layout too. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 16384
#ifndef CLOCK
#define CLOCK CLOCK_MONOTONIC
#endif

struct board {
    _Atomic long long begun;        /* when the supervisor was executed */
    _Atomic unsigned long started;  /* services that have been executed */
    _Atomic long long last;         /* when the last of them was */
    _Atomic long long done;         /* when something else was over */
    struct {
        long long start, end;
    } rounds[ROUNDS_MAX];
};

static inline long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static inline struct board *board_of(const char *path) {
    int file = open(path, O_RDWR | O_CLOEXEC);
    void *board = mmap(NULL, sizeof(struct board), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || board == MAP_FAILED) {
        perror(path);
        exit(2);
    }
    close(file);
    return board;
}
