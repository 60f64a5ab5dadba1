/* Allocates and frees as fast as it can until a line comes on stdin: more than can be followed call by call for a twentieth
 * of its time. One site leaks; the others churn, keep the latest of a ring, or keep each block for a time of its own. */
#include "testprog.h"

#include <poll.h>
#include <sys/wait.h>
#include <time.h>

enum { RING = 4096, SESSIONS = 2000, LEAK_EVERY = 2000, BATCH = 1000 };

static char *ring[RING], *sessions[SESSIONS];
static struct truth leaking = {.site = "leak_record"};

SITE static char *leak_record(unsigned long number) {
    unsigned long *record = keep(malloc(64));
    for (int i = 0; i < 8; i++) record[i] = number * 0x9e3779b97f4a7c15u + (unsigned long)i;
    allocated(&leaking, 64);
    return (char *)record;
}

SITE static char *cache_page(unsigned long number) {
    unsigned long *page = keep(malloc(64));
    for (int i = 0; i < 8; i++) page[i] = number;
    return (char *)page;
}

SITE static char *open_session(unsigned long number) {
    unsigned long *session = keep(malloc(64));
    for (int i = 0; i < 8; i++) session[i] = number;
    return (char *)session;
}

SITE static void churn(unsigned long number) {
    char *block = keep(malloc(16 + number % 200));
    *block = (char)number;
    free(block);
}

int main(int argc, char **argv) {
    ready();
    /* If asked for, in a child. */
    if (argc > 1 && strcmp(argv[1], "child") == 0) {
        pid_t child = fork();
        if (child != 0) return waitpid(child, NULL, 0) == child ? 0 : 1;
    }
    unsigned long state = 1;
    unsigned long number = 0;
    struct pollfd stdin_line = {.fd = 0, .events = POLLIN};
    do {
        for (int i = 0; i < BATCH; i++) {
            number++;
            state = state * 6364136223846793005u + 1442695040888963407u;
            churn(state >> 40);
            free(ring[number % RING]);
            ring[number % RING] = cache_page(number);
            size_t slot = (state >> 33) % SESSIONS;
            free(sessions[slot]);
            sessions[slot] = open_session(number);
            if (number % LEAK_EVERY == 0) keep(leak_record(number));
        }
    } while (poll(&stdin_line, 1, 0) == 0);
    wait_for_line();
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    tell(&leaking);
    say("{\"rounds\":%lu,\"cpu_ns\":%ld}\n", number, cpu.tv_sec * 1000000000 + cpu.tv_nsec);
    done();
}
