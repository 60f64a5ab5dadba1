/* Threads fill glibc's heap in every way that malloc knows, and a table in a file tells which blocks are in use.
 *
 *     heap_truth FILE THREADS BLOCKS still|churn
 *
 * Even threads stay as they are once the heap is filled. Odd ones go on with `churn`: each allocates and frees all the
 * time, on a part of its rows, and keeps the rest. Blocks freed at last by threads that stay are free for certain: they
 * lie in these threads' lists or in arenas that no other thread uses. */
#define _GNU_SOURCE
#include "testprog.h"

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

enum { UNUSED, LIVE, FREED, CHANGING };

/* Written before and after each change: equal stamps mean that nothing changed between. */
struct row {
    uint64_t address, usable, state;
    _Atomic uint64_t stamp;
};

static struct row *rows;
static long threads, blocks;
static int churn;
static pthread_barrier_t filled, passed;

static uint64_t next(uint64_t *seed) {
    *seed ^= *seed << 13, *seed ^= *seed >> 7, *seed ^= *seed << 17;
    return *seed;
}

static size_t a_size(uint64_t *seed) {
    uint64_t kind = next(seed) % 1000;
    if (kind < 600) return 1 + next(seed) % 160;
    if (kind < 900) return 1 + next(seed) % 1500;
    if (kind < 995) return 1 + next(seed) % 9000;
    return 1 + next(seed) % 60000;
}

static void *a_block(uint64_t *seed) {
    size_t size = a_size(seed);
    switch (next(seed) % 8) {
    case 0: return calloc(1, size);
    case 1: return realloc(malloc(size / 2 + 1), size);
    case 2: return aligned_alloc(32u << next(seed) % 8, size);
    default: return malloc(size);
    }
}

static void change(struct row *row, uint64_t state, void *block) {
    row->stamp++;
    row->state = CHANGING;
    atomic_thread_fence(memory_order_seq_cst);
    if (block) row->address = (uint64_t)block, row->usable = malloc_usable_size(block);
    /* Some blocks are written to, some stay as malloc left them. */
    if (block && row->stamp % 4) memset(block, (int)row->stamp, row->usable < 64 ? row->usable : 64);
    row->state = state;
    atomic_thread_fence(memory_order_seq_cst);
    row->stamp++;
}

static void *work(void *number) {
    long me = (long)number;
    struct row *mine = rows + me * blocks;
    uint64_t seed = 0x9e3779b97f4a7c15u * (uint64_t)(me + 1);
    for (long row = 0; row < blocks; row++) change(&mine[row], LIVE, keep(a_block(&seed)));
    /* Holes of all kinds, filled again in part. */
    for (long row = 0; row < blocks; row += 3) {
        mine[row].state = CHANGING;
        free((void *)mine[row].address);
        if (row % 2) change(&mine[row], LIVE, keep(a_block(&seed)));
        else mine[row].state = UNUSED;
    }
    /* Large ones: beyond the threshold each has a mapping of its own, some at an alignment. */
    for (long row = 0; row < 240; row++) {
        if (mine[row].state != UNUSED) continue;
        size_t size = 200000 + next(&seed) % 800000;
        change(&mine[row], LIVE, keep(row % 4 ? malloc(size) : aligned_alloc(64u << row % 16, size)));
    }
    pthread_barrier_wait(&filled);
    /* Blocks of the next thread's arena come into this one's lists. */
    if (me % 2 == 0 && threads > 1) {
        struct row *other = rows + (me + 1) % threads * blocks;
        volatile uint64_t *own = keep(malloc(40));
        free((void *)own);
        uint64_t key = own[1];
        for (long row = blocks / 2; row < blocks / 2 + 400; row++) {
            if (other[row].state != LIVE || other[row].usable < 16 || other[row].usable > 1000) continue;
            /* With the key of this thread's lists it is in one, and stays. Without, it went back to its arena. */
            volatile uint64_t *words = (void *)other[row].address;
            words[1] = 0;
            free((void *)words);
            change(&other[row], words[1] == key || !churn ? FREED : UNUSED, NULL);
        }
    }
    pthread_barrier_wait(&passed);
    if (me % 2 == 0 || !churn) {
        for (long row = blocks - blocks / 5; row < blocks; row++) {
            if (mine[row].state != LIVE) continue;
            free((void *)mine[row].address);
            change(&mine[row], FREED, NULL);
        }
        pthread_barrier_wait(&filled);
        if (me == 0) return NULL;
        for (;;) pause();
    }
    pthread_barrier_wait(&filled);
    for (;;) {
        struct row *row = &mine[(uint64_t)blocks / 4 + next(&seed) % (uint64_t)(blocks / 4)];
        if (row->state == LIVE) {
            row->stamp++;
            row->state = CHANGING;
            atomic_thread_fence(memory_order_seq_cst);
            free((void *)row->address);
            row->state = UNUSED;
            row->stamp++;
        } else {
            change(row, LIVE, keep(a_block(&seed)));
        }
    }
}

int main(int count, char **arguments) {
    if (count != 5) return 2;
    threads = atol(arguments[2]), blocks = atol(arguments[3]), churn = !strcmp(arguments[4], "churn");
    size_t bytes = (size_t)(threads * blocks) * sizeof *rows;
    int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || ftruncate(file, (off_t)bytes)) return 3;
    rows = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (rows == MAP_FAILED) return 4;
    pthread_barrier_init(&filled, NULL, (unsigned)threads);
    pthread_barrier_init(&passed, NULL, (unsigned)threads);
    for (long number = 1; number < threads; number++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, (void *)number)) return 5;
    }
    work((void *)0);
    ready();
    done();
}
