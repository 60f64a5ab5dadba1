/* Threads with names: what one has alone, what two of one name have, and what all have. */
#define _GNU_SOURCE
#include "testprog.h"

#include <pthread.h>

enum { ROUNDS = 100 };

static struct truth own = {.site = "by_one"};
static struct truth pool = {.site = "by_the_pool"};
static struct truth all = {.site = "by_all"};

SITE static void by_one(void) {
    keep(malloc(16));
    allocated(&own, 16);
}

SITE static void by_the_pool(void) {
    keep(malloc(32));
    allocated(&pool, 32);
}

SITE static void by_all(void) {
    keep(malloc(64));
    allocated(&all, 64);
}

static void *work(void *name) {
    pthread_setname_np(pthread_self(), name);
    for (int i = 0; i < ROUNDS; i++) {
        if (strcmp(name, "reader") == 0) by_one();
        else by_the_pool();
        by_all();
    }
    return NULL;
}

int main(void) {
    ready();
    const char *names[] = {"pool worker", "reader", "pool worker"};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++) pthread_create(&threads[i], NULL, work, (void *)names[i]);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], NULL);
    tell(&own);
    tell(&pool);
    tell(&all);
    done();
}
