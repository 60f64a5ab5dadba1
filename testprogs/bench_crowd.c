/* What `cargo xtask bench --crowd` fills a machine with. Each ends when its stdin does, so none outlives the benchmark.
 *
 * bench_crowd serve RATE LEAK: replaces blocks of a working set, RATE of them a second, and keeps LEAK bytes a second.
 * bench_crowd spawn RATE PROGRAM: starts PROGRAM, RATE times a second, and waits for each; says in the end how many it
 * started and how late the last one was. */
#include "testprog.h"

#include <errno.h>
#include <spawn.h>
#include <sys/wait.h>
#include <time.h>

enum { TICKS = 10, SLOTS = 256, KEPT = 1000 };

static int is_over(void) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    return poll(&in, 1, 0) > 0;
}

SITE static void crowd_leak(void) { memset(keep(malloc(KEPT)), 1, KEPT); }

static int serve(long rate, long leak) {
    static void *blocks[SLOTS];
    long leaked = 0;
    size_t next = 0;
    for (long tick = 1; !is_over(); tick++) {
        for (long i = 0; i < rate / TICKS; i++) {
            size_t size = 24 + next * 5 % 800;
            free(blocks[next]);
            blocks[next] = memset(keep(malloc(size)), 0, size);
            next = (next + 1) % SLOTS;
        }
        for (; leaked + KEPT <= tick * leak / TICKS; leaked += KEPT) crowd_leak();
        nanosleep(&(struct timespec){.tv_nsec = 1000000000L / TICKS}, NULL);
    }
    say("{\"leaked\":%ld}\n", leaked);
    return 0;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int spawn(double rate, char *program) {
    char *arguments[] = {program, NULL}, *environment[] = {NULL};
    double begun = seconds(), late = 0;
    long started = 0;
    while (!is_over()) {
        while ((late = seconds() - begun - (double)started / rate) >= 0 && !is_over()) {
            pid_t pid;
            if (posix_spawn(&pid, program, NULL, NULL, arguments, environment) != 0) return 1;
            started++;
            while (waitpid(-1, NULL, WNOHANG) > 0) {}
        }
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    }
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR) {}
    say("{\"started\":%ld,\"late\":%.1f}\n", started, late > 0 ? late : 0.0);
    return 0;
}

int main(int count, char **arguments) {
    if (count != 4) return 2;
    if (strcmp(arguments[1], "serve") == 0) return serve(atol(arguments[2]), atol(arguments[3]));
    if (strcmp(arguments[1], "spawn") == 0) return spawn(atof(arguments[2]), arguments[3]);
    return 2;
}
