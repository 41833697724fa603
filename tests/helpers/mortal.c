/* A service of `make soak`: lives for a random time, and counts its starts and its own ends.
 *
 *     mortal FILE NUMBER MOST_MS
 *
 * FILE is an array of 32-bit words: the first is 1 once everybody shall live for ever; the services have two each, for
 * starts and for ends. */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int file = argc == 4 ? open(argv[1], O_RDWR) : -1;
    off_t size = lseek(file, 0, SEEK_END);
    _Atomic unsigned *words = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (file < 0 || words == MAP_FAILED)
        return 2;
    long number = atol(argv[2]), most_ms = atol(argv[3]);
    unsigned start = atomic_fetch_add(&words[1 + 2 * number], 1);
    srand(number * 7919 + start);
    long life_ms = rand() % most_ms;
    struct timespec life = {life_ms / 1000, life_ms % 1000 * 1000000};
    nanosleep(&life, NULL);
    while (words[0])
        pause();
    atomic_fetch_add(&words[2 + 2 * number], 1);
    return rand() % 3;
}
