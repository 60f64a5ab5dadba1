// Calls a probed function from so many frames deep, and prints the nanoseconds of a call: the least and the mean of
// batches of 1000.
//
// bench DEPTH CALLS
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

// Its first instruction is one that the kernel emulates, as malloc's is.
__attribute__((noinline)) void target(long x) {
    __asm__ volatile("push %%rbx; pop %%rbx" ::"r"(x) : "memory");
}

#define BATCH 1000
static long calls;

__attribute__((noinline)) static long leaf(void) {
    double least = 1e18, sum = 0;
    for (long batch = 0; batch < calls / BATCH; batch++) {
        double start = now();
        for (long i = 0; i < BATCH; i++) target(i);
        double each = (now() - start) / BATCH;
        if (each < least) least = each;
        sum += each;
    }
    printf("%.1f %.1f\n", least, sum / (calls / BATCH));
    return (long)least;
}

#define FRAME(name, next, size)                                                                                        \
    __attribute__((noinline)) static long name(int depth) {                                                            \
        volatile char b[size];                                                                                         \
        b[depth % size] = depth;                                                                                       \
        long r = depth <= 0 ? leaf() : next(depth - 1);                                                                \
        return r + b[depth % size];                                                                                    \
    }
static long f0(int), f1(int), f2(int), f3(int), f4(int);
FRAME(f0, f1, 16)
FRAME(f1, f2, 64)
FRAME(f2, f3, 24)
FRAME(f3, f4, 200)
FRAME(f4, f0, 40)

int main(int count, char **words) {
    if (count < 3) return 2;
    calls = atol(words[2]);
    raise(SIGSTOP);
    f0(atoi(words[1]));
    return 0;
}
