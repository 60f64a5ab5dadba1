/* churn.c made short, for machines that are emulated: two threads make 10,000 pairs; among them two sites leak. */
#include "testprog.h"

#include <pthread.h>

enum { THREADS = 2, PAIRS = 5000 };

static struct truth pairs = {.site = "churn_pair"};
static struct truth small = {.site = "leak_small"};
static struct truth large = {.site = "leak_large"};

SITE static void *churn_pair(size_t size) { return keep(malloc(size)); }
SITE static void leak_small(size_t size) { keep(malloc(size)); }
SITE static void leak_large(size_t size) { keep(malloc(size)); }

static void *work(void *argument) {
    long thread = (long)argument;
    for (long i = 0; i < PAIRS; i++) {
        size_t size = 16 + (size_t)((i * 37 + thread) % 2000);
        void *block = churn_pair(size);
        allocated(&pairs, size);
        if (i % 50 == 0) {
            leak_small(24);
            allocated(&small, 24);
        }
        if (i % 500 == 0) {
            leak_large(1000);
            allocated(&large, 1000);
        }
        free(block);
        freed(&pairs, size);
    }
    return NULL;
}

int main(void) {
    ready();
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)i);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    tell(&pairs);
    tell(&small);
    tell(&large);
    done();
}
