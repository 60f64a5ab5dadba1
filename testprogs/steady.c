/* Works until a line comes on stdin, and proves that its memory was right all the time: every block is filled
 * with a pattern of its own and compared before it is freed. What tracers do to it must not show. */
#include "testprog.h"

#include <poll.h>
#include <pthread.h>

enum { THREADS = 2, SLOTS = 256 };

static atomic_int stop;
static atomic_long rounds, wrong;

static void *work(void *argument) {
    unsigned long state = (unsigned long)(long)argument * 2654435761u + 1;
    unsigned char *blocks[SLOTS] = {0};
    size_t sizes[SLOTS] = {0};
    while (!stop) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t slot = (state >> 33) % SLOTS;
        if (blocks[slot]) {
            for (size_t i = 0; i < sizes[slot]; i++) wrong += blocks[slot][i] != (unsigned char)(slot + i);
        }
        size_t size = 1 + (state >> 45) % 3000;
        unsigned char *block = realloc(state >> 63 ? blocks[slot] : (free(blocks[slot]), NULL), size);
        if (!block) _exit(1);
        for (size_t i = 0; i < size; i++) block[i] = (unsigned char)(slot + i);
        blocks[slot] = block;
        sizes[slot] = size;
        rounds++;
    }
    for (int i = 0; i < SLOTS; i++) free(blocks[i]);
    return NULL;
}

int main(void) {
    ready();
    pthread_t threads[THREADS];
    for (long i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    wait_for_line();
    stop = 1;
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    say("{\"rounds\":%ld,\"wrong\":%ld}\n", rounds, wrong);
    done();
}
