/* What runs in a container that was made from nothing. Each prints a line.
 *
 *     service stay NAME          says `start NAME`, waits for SIGTERM, says `term NAME`
 *     service end STATUS         ends with it
 *     service who                its process id, its parent's, its user, and LISTEN_PID and LISTEN_FDS
 *     service while FILE STATUS  waits until the file has gone, then ends with the status */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stay(const char *name) {
    sigset_t all;
    int number;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, NULL);
    printf("start %s\n", name);
    while (sigwait(&all, &number) == 0 && number != SIGTERM)
        printf("signal %d %s\n", number, name);
    printf("term %s\n", name);
    return 0;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && !strcmp(argv[1], "stay"))
        return stay(argv[2]);
    if (argc == 3 && !strcmp(argv[1], "end"))
        return atoi(argv[2]);
    if (argc == 2 && !strcmp(argv[1], "who")) {
        const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
        printf("who %d %d %d %s %s\n", getpid(), getppid(), getuid(), pid ? pid : "-", fds ? fds : "-");
        return 0;
    }
    if (argc == 4 && !strcmp(argv[1], "while")) {
        while (access(argv[2], F_OK) == 0)
            usleep(5000);
        return atoi(argv[3]);
    }
    return 2;
}
