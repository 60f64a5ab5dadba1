/* A thousand threads that live for one leak and one pair: what a thread leaves behind when it ends. */
#include "testprog.h"

#include <pthread.h>

enum { THREADS = 1000 };

static struct truth leaked = {.site = "thread_leak"}, paired = {.site = "thread_pair"};

SITE static void thread_leak(size_t size) { keep(malloc(size)); }
SITE static void *thread_pair(size_t size) { return keep(malloc(size)); }

static void *live_shortly(void *unused) {
    thread_leak(64);
    allocated(&leaked, 64);
    void *block = thread_pair(200);
    allocated(&paired, 200);
    free(block);
    freed(&paired, 200);
    return unused;
}

int main(void) {
    ready();
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, live_shortly, NULL) != 0) _exit(1);
        pthread_join(thread, NULL);
    }
    tell(&leaked);
    tell(&paired);
    tell_counter("CallAbandoned", 0);
    done();
}
