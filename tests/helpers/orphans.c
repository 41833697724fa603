/* Leaves orphans behind: `orphans WAVES EACH`. In each wave a process forks EACH children that end at once, waits for
 * none of them, and ends: at that moment all of them, zombies already, are given to process 1 or to the subreaper. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 3)
        return 2;
    for (long wave = atol(argv[1]); wave > 0; wave--) {
        int status;
        pid_t parent = fork();
        if (parent == 0) {
            for (long n = atol(argv[2]); n > 0; n--) {
                pid_t child = vfork();
                if (child == 0)
                    _exit(0);
                if (child < 0) {
                    perror("fork");
                    _exit(1);
                }
            }
            _exit(0);
        }
        if (waitpid(parent, &status, 0) != parent || status != 0)
            return 1;
    }
    return 0;
}
