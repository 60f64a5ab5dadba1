/* Preloaded into any program: a thread of its own that loses 64 bytes every 20 ms, as a small leak does beside a program's
 * real work. gcc -shared -fPIC */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

static void *volatile last;

__attribute__((noinline, noclone, used)) void leak_beside(void) { last = malloc(64); }

static void *leak(void *nothing) {
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    for (;;) {
        leak_beside();
        nanosleep(&pause, NULL);
    }
    return nothing;
}

__attribute__((constructor)) static void begin(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, leak, NULL) == 0) pthread_detach(thread);
}
