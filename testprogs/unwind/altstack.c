// Signal handlers on stacks of their own, above and below the one that they interrupt, in one thread and in several.
//
// altstack ROUNDS
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define BYTES (1 << 18)

__attribute__((noinline)) static int deeper(int depth) {
    volatile char room[64];
    room[depth & 63] = depth;
    if (depth > 0) return deeper(depth - 1) + room[depth & 63];
    // The thread's own: a shared one would be freed twice where two threads are here at one time.
    void *volatile block = malloc(32);
    free(block);
    return room[0];
}

static void on_signal(int signal) {
    deeper(signal == SIGUSR1 ? 5 : 9);
    // A handler that is interrupted by one on the same stack.
    if (signal == SIGUSR1) raise(SIGUSR2);
}

__attribute__((noinline)) static int interrupted(int depth, int signal) {
    volatile char room[200];
    room[depth] = depth;
    if (depth > 0) return interrupted(depth - 1, signal) + room[depth];
    raise(signal);
    return room[0];
}

static void *run(void *rounds) {
    char *memory = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) abort();
    stack_t stack = {.ss_sp = memory, .ss_size = BYTES};
    sigaltstack(&stack, NULL);
    for (long i = 0; i < (long)rounds; i++) {
        interrupted(i % 20, SIGUSR1);
        deeper(i % 7);
    }
    stack.ss_flags = SS_DISABLE;
    sigaltstack(&stack, NULL);
    munmap(memory, BYTES);
    return NULL;
}

int main(int count, char **words) {
    long rounds = count > 1 ? atol(words[1]) : 100;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    run((void *)rounds);
    // Above the main stack there is no room; in a part of it, the handler's frames are above some of those it interrupts.
    static pthread_t ids[4];
    for (int i = 0; i < 4; i++) pthread_create(&ids[i], NULL, run, (void *)rounds);
    for (int i = 0; i < 4; i++) pthread_join(ids[i], NULL);
    char inside[BYTES];
    stack_t stack = {.ss_sp = inside, .ss_size = BYTES};
    sigaltstack(&stack, NULL);
    for (long i = 0; i < rounds; i++) interrupted(i % 20, SIGUSR1);
    return 0;
}
