/* What the machines of boot.py are measured with, one static program by three names:
 *
 *     /init CONTENDER...             is what the kernel starts: notes when, and executes the contender in its place
 *     /bare fork|vfork|cgroups N     is the limit: an init that mounts what isinit mounts, and starts N services
 *     /service ...                   notes when it starts, and waits; the last one tells what was noted, and ends the machine
 *
 * The board is the file /board on the kernel's own root. What is said goes byte by byte to the port of QEMU's debug
 * console, so that it does not mix with what the contender says on the serial one.
 */
#define CLOCK CLOCK_BOOTTIME
#include "board.h"
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BOARD "/board"
#define SERVICES 100 /* as in boot.py */
#define DEBUG_CONSOLE 0xe9
#define DEBUG_EXIT 0x501
/* QEMU ends with twice this and one. */
#define EXIT_VALUE 16

static void launch(char **command) {
    struct board *board;
    if (truncate(BOARD, sizeof *board) != 0)
        perror(BOARD);
    board = board_of(BOARD);
    board->begun = now();
    execv(command[0], command);
    perror(command[0]);
}

/* What isinit's src/machine/mounts.rs has, in its order and with its flags. */
static void mount_all(void) {
    static const struct {
        const char *kind, *place, *options;
        unsigned long flags;
    } wanted[] = {
        {"proc", "/proc", "", MS_NOSUID | MS_NOEXEC | MS_NODEV},
        {"sysfs", "/sys", "", MS_NOSUID | MS_NOEXEC | MS_NODEV},
        {"devtmpfs", "/dev", "mode=0755", MS_NOSUID},
        {"devpts", "/dev/pts", "gid=5,mode=0620,ptmxmode=0666", MS_NOSUID | MS_NOEXEC},
        {"tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV},
        {"tmpfs", "/run", "mode=0755", MS_NOSUID | MS_NODEV},
        {"cgroup2", "/sys/fs/cgroup", "", MS_NOSUID | MS_NOEXEC | MS_NODEV},
    };
    for (size_t n = 0; n < sizeof wanted / sizeof *wanted; n++) {
        mkdir(wanted[n].place, 0755);
        if (mount(wanted[n].kind, wanted[n].place, wanted[n].kind, wanted[n].flags, wanted[n].options) != 0)
            perror(wanted[n].place);
    }
    if (symlink("/proc/self/fd", "/dev/fd") != 0 || symlink("/proc/self/fd/0", "/dev/stdin") != 0 ||
        symlink("/proc/self/fd/1", "/dev/stdout") != 0 || symlink("/proc/self/fd/2", "/dev/stderr") != 0)
        perror("/dev");
}

/* Starts in a cgroup of its own, as each service of isinit does. */
static pid_t fork_into_cgroup(long number) {
    char path[64];
    sprintf(path, "/sys/fs/cgroup/s%ld", number);
    mkdir(path, 0755);
    int cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct clone_args arguments = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD, .cgroup = cgroup};
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid != 0)
        close(cgroup);
    return pid;
}

static void bare(const char *how, long count) {
    char *words[] = {"/service", NULL};
    mount_all();
    for (long n = 0; n < count; n++) {
        pid_t pid = how[0] == 'v' ? vfork() : how[0] == 'c' ? fork_into_cgroup(n) : fork();
        if (pid == 0) {
            execv(words[0], words);
            _exit(127);
        }
        if (pid < 0)
            perror("fork");
    }
    for (;;)
        pause();
}

static void tell(const struct board *board) {
    if (ioperm(DEBUG_CONSOLE, 1, 1) != 0 || ioperm(DEBUG_EXIT, 1, 1) != 0)
        perror("ioperm");
    for (int n = -1; n < SERVICES; n++) {
        char line[32];
        sprintf(line, "%lld\n", n < 0 ? board->begun : board->rounds[n].start);
        for (const char *byte = line; *byte != 0; byte++)
            outb(*byte, DEBUG_CONSOLE);
    }
    outb(EXIT_VALUE, DEBUG_EXIT);
}

static void serve(void) {
    long long start = now();
    struct board *board = board_of(BOARD);
    unsigned long number = atomic_fetch_add(&board->started, 1);
    board->rounds[number % ROUNDS_MAX].start = start;
    /* Who comes first has not always written first. */
    if (atomic_fetch_add(&board->done, 1) + 1 == SERVICES)
        tell(board);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    if (strcmp(argv[0], "/init") == 0 && argc > 1)
        launch(argv + 1);
    else if (strcmp(argv[0], "/bare") == 0 && argc == 3)
        bare(argv[1], atol(argv[2]));
    else
        serve();
    return 1;
}
