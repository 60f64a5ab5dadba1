/* bench_pairs THREADS PAIRS: how long one malloc and free takes, by the CPU time of the threads that do it, so
 * that waiting for a CPU does not count. */
#include "testprog.h"

#include <pthread.h>
#include <time.h>

static long pairs;
static atomic_long total_ns;

SITE static void pair(size_t size) { free(keep(malloc(size))); }

static long cpu_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void *work(void *unused) {
    /* The first ones touch fresh memory and fill the thread's cache. */
    for (int i = 0; i < 100; i++) pair(64);
    long before = cpu_ns();
    for (long i = 0; i < pairs; i++) pair(16 + (size_t)(i % 32) * 8);
    total_ns += cpu_ns() - before;
    return unused;
}

int main(int count, char **arguments) {
    if (count != 3) return 2;
    long threads = atol(arguments[1]);
    pairs = atol(arguments[2]);
    if (threads < 1 || threads > 64 || pairs < 1) return 2;
    ready();
    pthread_t ids[64];
    for (long i = 0; i < threads; i++) pthread_create(&ids[i], NULL, work, NULL);
    for (long i = 0; i < threads; i++) pthread_join(ids[i], NULL);
    say("{\"threads\":%ld,\"pairs\":%ld,\"ns_per_pair\":%.2f}\n", threads, pairs,
        (double)total_ns / (double)(threads * pairs));
    done();
}
