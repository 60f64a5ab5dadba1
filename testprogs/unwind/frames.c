// Frames of every shape that C compilers make: alloca, variable arrays, realigned, larger than two pages, many saved
// registers, callbacks of qsort, signal handlers; in one thread and in many.
//
// frames ROUNDS THREADS
#define _GNU_SOURCE
#include <alloca.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int shape(int, int, double);
static shape plain, array, buffer, realigned, registers, variable, allocated, large, sorted, both;
static shape *const shapes[] = {plain, array, buffer, realigned, registers, variable, allocated, large, sorted, both};
#define SHAPES (sizeof shapes / sizeof *shapes)

static void *volatile sink;
static __thread unsigned seed = 1;
static unsigned next_random(void) { return (seed = seed * 1103515245 + 12345) >> 16; }

#define LEAF(size)                                                                                                     \
    do {                                                                                                               \
        void *block = malloc(size);                                                                                    \
        sink = block;                                                                                                  \
        free(block);                                                                                                   \
        return k;                                                                                                      \
    } while (0)
#define KEEP(memory) __asm__ volatile("" ::"r"(memory) : "memory")
#define SHAPE(name) __attribute__((noinline)) static int name(int depth, int k, double x)

__attribute__((noinline)) static int deeper(int depth, int k, double x) {
    return shapes[next_random() % SHAPES](depth - 1, k, x);
}

SHAPE(plain) {
    if (depth <= 0) LEAF(k % 100 + 1);
    return deeper(depth, k + 1, x) + 1;
}
SHAPE(array) {
    int t[8];
    if (depth <= 0) LEAF(k % 100 + 1);
    t[k & 7] = deeper(depth, k + 2, x * 2);
    return t[k & 7] + depth * k;
}
SHAPE(buffer) {
    volatile char b[300];
    b[k % 300] = k;
    if (depth <= 0) LEAF(300);
    int r = deeper(depth, k + 3, x);
    return r + b[k % 300];
}
SHAPE(realigned) {
    double y[4] __attribute__((aligned(64)));
    y[k & 3] = x;
    if (depth <= 0) LEAF(40);
    KEEP(y);
    int r = deeper(depth, k, y[k & 3] + 1);
    return r + (int)y[(k + 1) & 3];
}
SHAPE(registers) {
    long q = k * 3, w = depth * 5, z = q * w, u = z + q, v = u ^ w;
    if (depth <= 0) LEAF(8);
    int r = deeper(depth, k, x);
    return (int)(q + w * z - u * v) + r;
}
SHAPE(variable) {
    char v[16 + (k & 255)];
    v[k & 15] = 1;
    KEEP(v);
    if (depth <= 0) LEAF(8);
    int r = deeper(depth, k, x);
    return r + v[k & 15];
}
SHAPE(allocated) {
    char *v = alloca(32 + (depth & 31));
    v[0] = k;
    KEEP(v);
    if (depth <= 0) LEAF(8);
    int r = deeper(depth, k, x);
    return r + v[0];
}
SHAPE(large) {
    char v[9000];
    v[k & 4095] = 1;
    KEEP(v);
    if (depth <= 0) LEAF(8);
    int r = deeper(depth, k, x);
    return r + v[k & 4095];
}
SHAPE(both) { // realigned and of variable size
    double y[4] __attribute__((aligned(64)));
    char *v = alloca(16 + (k & 63));
    y[k & 3] = x;
    v[0] = 1;
    KEEP(y);
    KEEP(v);
    if (depth <= 0) LEAF(24);
    int r = deeper(depth, k, y[k & 3]);
    return r + v[0];
}
static __thread int sort_depth, sort_k;
static int compare(const void *a, const void *b) {
    if (sort_depth > 0) {
        int depth = sort_depth;
        sort_depth = 0;
        deeper(depth, sort_k, 1.0);
    }
    return *(const int *)a - *(const int *)b;
}
SHAPE(sorted) {
    int v[4] = {3, k, 1, depth};
    if (depth <= 0) LEAF(8);
    sort_depth = depth;
    sort_k = k;
    qsort(v, 4, sizeof *v, compare);
    return v[1];
}

static int handling;
static void on_signal(int signal) {
    (void)signal;
    if (handling++ < 2) deeper(6, 3, 1.0);
    handling--;
}

static void *run(void *rounds) {
    seed = 1 + (unsigned long)pthread_self() % 10007;
    for (long i = 0; i < (long)rounds; i++) deeper(next_random() % 45, i, 1.5);
    return 0;
}

int main(int count, char **words) {
    int rounds = count > 1 ? atoi(words[1]) : 1000;
    int threads = count > 2 ? atoi(words[2]) : 0;
    signal(SIGUSR1, on_signal);
    for (int i = 0; i < rounds; i++) {
        deeper(next_random() % 45, i, 1.5);
        if (i % 10 == 0) raise(SIGUSR1);
        char *s = NULL;
        if (i % 7 == 0 && asprintf(&s, "%d %f %s", i, i * 1.5, "x") > 0) free(s);
        // Deeper than what is kept of a stack.
        if (i % 200 == 0) deeper(290, i, 1.5);
    }
    pthread_t ids[64];
    if (threads > 64) threads = 64;
    for (int i = 0; i < threads; i++) pthread_create(&ids[i], 0, run, (void *)(long)rounds);
    for (int i = 0; i < threads; i++) pthread_join(ids[i], 0);
    return 0;
}
