/* One thread allocates, another frees. */
#include "testprog.h"

#include <pthread.h>

enum { BLOCKS = 50000, KEPT_EVERY = 500, SLOTS = 64 };

static struct truth made = {.site = "make_block"};
static void *slots[SLOTS];
static long head, tail;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static size_t size_of(long i) { return 32 + (size_t)(i % 700); }

SITE static void *make_block(size_t size) { return keep(malloc(size)); }

static void *produce(void *unused) {
    for (long i = 0; i < BLOCKS; i++) {
        void *block = make_block(size_of(i));
        allocated(&made, size_of(i));
        pthread_mutex_lock(&lock);
        while (head - tail == SLOTS) pthread_cond_wait(&changed, &lock);
        slots[head++ % SLOTS] = block;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
    }
    return unused;
}

static void *consume(void *unused) {
    for (long i = 0; i < BLOCKS; i++) {
        pthread_mutex_lock(&lock);
        while (head == tail) pthread_cond_wait(&changed, &lock);
        void *block = slots[tail++ % SLOTS];
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
        if (i % KEPT_EVERY == 0) continue;
        free(block);
        freed(&made, size_of(i));
    }
    return unused;
}

int main(void) {
    ready();
    pthread_t producer, consumer;
    pthread_create(&producer, NULL, produce, NULL);
    pthread_create(&consumer, NULL, consume, NULL);
    pthread_join(producer, NULL);
    pthread_join(consumer, NULL);
    tell(&made);
    done();
}
