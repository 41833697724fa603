/* What isinit and its peers are measured against: the same work by bare loops in C, without anything that a supervisor has
 * to know, to check or to remember.
 *
 *     bare launch FILE COMMAND...          notes when, and executes a command
 *     bare fork|vfork|two N FILE SERVICE   starts N services, and waits; `two`: by vfork, from two processes at once
 *     bare cgroups N FILE SERVICE GROUP    as fork, each service in a cgroup (v2) of its own below GROUP
 *     bare rounds N FILE SERVICE           starts one after the other that ends at once
 *     bare switch N M FILE SERVICE         starts N; on SIGUSR1 ends M of them, collects them, and starts M others
 *     bare reap FILE COMMAND...            executes a command, and collects whatever ends until nothing is left
 *     bare orphans FILE N BATCH            makes N orphans that end at once; after each batch they are waited for
 *     bare times N COMMAND...              executes a command N times: a line `took` with nanoseconds, and with microseconds
 *                                          of processor time, for each
 *     bare ask SOCKET REQUEST N            asks N times on one connection: nanoseconds for each
 *     bare fields FILE                     reads a table and finds the first four colons of each line: nanoseconds
 *     bare nothing
 */
#include "board.h"
#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static pid_t start(int by_vfork, char *program, char *board, char *how) {
    char *words[] = {program, board, how, NULL};
    pid_t pid = by_vfork ? vfork() : fork();
    if (pid == 0) {
        execv(program, words);
        _exit(127);
    }
    if (pid < 0)
        fail("fork");
    return pid;
}

static void wait_for_ever(void) {
    for (;;)
        pause();
}

static void start_all(const char *how, long count, char *board, char *program) {
    int two = strcmp(how, "two") == 0, by_vfork = how[0] == 'v' || two;
    if (two && fork() == 0) {
        for (long n = 0; n < count / 2; n++)
            start(1, program, board, NULL);
        wait_for_ever();
    }
    for (long n = two ? count / 2 : 0; n < count; n++)
        start(by_vfork, program, board, NULL);
    wait_for_ever();
}

static pid_t start_in_group(int groups, long number, char *program, char *board) {
    char name[32];
    snprintf(name, sizeof name, "%ld", number);
    if (mkdirat(groups, name, 0755) != 0)
        fail(name);
    int group = openat(groups, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = group};
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid == 0) {
        execv(program, (char *[]){program, board, NULL});
        _exit(127);
    }
    if (group < 0 || pid < 0)
        fail("clone3");
    close(group);
    return pid;
}

static void start_in_groups(long count, char *board, char *program, char *groups) {
    int directory = open(groups, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (long n = 0; n < count; n++)
        start_in_group(directory, n, program, board);
    wait_for_ever();
}

static void rounds(long count, char *board, char *program) {
    for (long n = 0; n < count; n++)
        if (waitpid(start(0, program, board, "round"), NULL, 0) < 0)
            fail("waitpid");
    wait_for_ever();
}

static void switch_some(long count, long others, char *board, char *program) {
    pid_t *pids = calloc(count, sizeof *pids);
    sigset_t wanted;
    int signal;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGUSR1);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    for (long n = 0; n < count; n++)
        pids[n] = start(0, program, board, NULL);
    sigwait(&wanted, &signal);
    struct board *times = board_of(board);
    times->begun = now();
    for (long n = 0; n < others; n++)
        kill(pids[n], SIGTERM);
    for (long n = 0; n < others; n++)
        waitpid(pids[n], NULL, 0);
    for (long n = 0; n < others; n++)
        start(0, program, board, NULL);
    wait_for_ever();
}

static void reap(char *board, char **command) {
    struct board *times = board_of(board);
    if (fork() == 0) {
        execv(command[0], command);
        _exit(127);
    }
    while (wait(NULL) > 0)
        continue;
    times->done = now();
}

static void orphans(char *board, long count, long batch) {
    struct board *times = board_of(board);
    pid_t *pids = mmap(NULL, batch * sizeof *pids, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    times->begun = now();
    for (long made = 0; made < count; made += batch) {
        pid_t parent = fork();
        if (parent == 0) {
            for (long n = 0; n < batch; n++) {
                pid_t pid = vfork();
                if (pid == 0)
                    _exit(0);
                if (pid < 0)
                    fail("vfork");
                pids[n] = pid;
            }
            _exit(0);
        }
        if (parent < 0 || waitpid(parent, NULL, 0) != parent)
            fail("fork");
        /* All are zombies by now, and process 1 has them. */
        for (long n = 0; n < batch; n++)
            while (kill(pids[n], 0) == 0)
                usleep(50);
    }
    times->done = now();
}

static long microseconds(struct timeval time) {
    return time.tv_sec * 1000000 + time.tv_usec;
}

static void times(long count, char **command) {
    for (long n = 0; n < count; n++) {
        long long begun = now();
        pid_t pid = vfork();
        int status;
        struct rusage usage;
        if (pid == 0) {
            execv(command[0], command);
            _exit(127);
        }
        if (pid < 0 || wait4(pid, &status, 0, &usage) != pid || status != 0) {
            fprintf(stderr, "%s: status %x\n", command[0], status);
            exit(1);
        }
        printf("took %lld %ld\n", now() - begun, microseconds(usage.ru_utime) + microseconds(usage.ru_stime));
    }
}

static void ask(const char *path, const char *request, long count) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char buffer[65536];
    strncpy(address.sun_path, path, sizeof address.sun_path - 1);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail(path);
    for (long n = 0; n < count; n++) {
        long long begun = now();
        ssize_t all = 0, got;
        if (dprintf(fd, "%s\n", request) < 0)
            fail("write");
        /* The last line begins with ok. */
        do {
            if (all > (ssize_t)sizeof buffer / 2)
                memmove(buffer, buffer + all - 512, 512), all = 512;
            if ((got = read(fd, buffer + all, sizeof buffer - all - 1)) <= 0)
                fail("read");
            all += got;
            buffer[all] = 0;
        } while (buffer[all - 1] != '\n' || (strncmp(buffer, "ok", 2) != 0 && strstr(buffer, "\nok") == NULL));
        printf("%lld\n", now() - begun);
    }
}

static void fields(const char *path) {
    struct stat stat;
    size_t found = 0;
    long long begun = now();
    int file = open(path, O_RDONLY);
    if (file < 0 || fstat(file, &stat) != 0)
        fail(path);
    char *text = malloc(stat.st_size);
    ssize_t length = read(file, text, stat.st_size);
    for (char *line = text, *end; (end = memchr(line, '\n', text + length - line)); line = end + 1) {
        char *field = line;
        for (int n = 0; n < 4 && (field = memchr(field, ':', end - field)); n++, field++)
            found++;
    }
    printf("%lld\n", now() - begun);
    /* Nobody asks for the count: it is looked at so that the compiler leaves no search out. */
    exit(found == 1);
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "launch") == 0 && argc > 3) {
        board_of(argv[2])->begun = now();
        execvp(argv[3], argv + 3);
        fail(argv[3]);
    } else if ((strstr("fork vfork two", what)) && argc == 5) {
        start_all(what, atol(argv[2]), argv[3], argv[4]);
    } else if (strcmp(what, "cgroups") == 0 && argc == 6) {
        start_in_groups(atol(argv[2]), argv[3], argv[4], argv[5]);
    } else if (strcmp(what, "rounds") == 0 && argc == 5) {
        rounds(atol(argv[2]), argv[3], argv[4]);
    } else if (strcmp(what, "switch") == 0 && argc == 6) {
        switch_some(atol(argv[2]), atol(argv[3]), argv[4], argv[5]);
    } else if (strcmp(what, "reap") == 0 && argc > 3) {
        reap(argv[2], argv + 3);
    } else if (strcmp(what, "orphans") == 0 && argc == 5) {
        orphans(argv[2], atol(argv[3]), atol(argv[4]));
    } else if (strcmp(what, "times") == 0 && argc > 3) {
        times(atol(argv[2]), argv + 3);
    } else if (strcmp(what, "ask") == 0 && argc == 5) {
        ask(argv[2], argv[3], atol(argv[4]));
    } else if (strcmp(what, "fields") == 0 && argc == 3) {
        fields(argv[2]);
    } else if (strcmp(what, "nothing") != 0) {
        return 2;
    }
    return 0;
}
