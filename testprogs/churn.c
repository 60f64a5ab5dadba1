/* Four threads make 10^6 malloc and free pairs; among them two sites leak. CHURN_THREADS and CHURN_PAIRS (of each
 * thread) make it shorter, for machines that are emulated. */
#include "testprog.h"

#include <pthread.h>

enum { MOST_THREADS = 64 };

static long threads = 4, pairs_of_each = 250000;

static struct truth pairs = {.site = "churn_pair"};
static struct truth small = {.site = "leak_small"};
static struct truth large = {.site = "leak_large"};

SITE static void *churn_pair(size_t size) { return keep(malloc(size)); }
SITE static void leak_small(size_t size) { keep(malloc(size)); }
SITE static void leak_large(size_t size) { keep(malloc(size)); }

static void *work(void *argument) {
    long thread = (long)argument;
    for (long i = 0; i < pairs_of_each; i++) {
        size_t size = 16 + (size_t)((i * 37 + thread) % 2000);
        void *block = churn_pair(size);
        allocated(&pairs, size);
        if (i % 1000 == 0) {
            leak_small(24);
            allocated(&small, 24);
        }
        if (i % 5000 == 0) {
            size_t leaked = 1000 + (size_t)(i / 5000);
            leak_large(leaked);
            allocated(&large, leaked);
        }
        free(block);
        freed(&pairs, size);
    }
    return NULL;
}

static long setting(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text == NULL ? otherwise : atol(text);
}

int main(void) {
    threads = setting("CHURN_THREADS", threads);
    pairs_of_each = setting("CHURN_PAIRS", pairs_of_each);
    if (threads > MOST_THREADS) return 1;
    ready();
    pthread_t started[MOST_THREADS];
    for (long i = 0; i < threads; i++) pthread_create(&started[i], NULL, work, (void *)i);
    for (long i = 0; i < threads; i++) pthread_join(started[i], NULL);
    tell(&pairs);
    tell(&small);
    tell(&large);
    done();
}
