/* Another caller of sbrk takes memory in the middle of malloc's: the main arena goes on behind a gap.
 *
 *     heap_gap FILE
 *
 * Writes the addresses of its blocks as rows of heap_truth.c's table. */
#define _GNU_SOURCE
#include "testprog.h"

#include <fcntl.h>
#include <malloc.h>
#include <sys/mman.h>

enum { BLOCKS = 4000, LIVE = 1 };

int main(int count, char **arguments) {
    if (count < 2) return 2;
    uint64_t(*rows)[4] = mmap(NULL, BLOCKS * sizeof *rows, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (long row = 0; row < BLOCKS; row++) {
        if (row == BLOCKS / 2) memset(sbrk(12345), 0xff, 12345);
        void *block = keep(malloc(1000));
        rows[row][0] = (uint64_t)block, rows[row][1] = malloc_usable_size(block), rows[row][2] = LIVE;
    }
    int file = open(arguments[1], O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (write(file, rows, BLOCKS * sizeof *rows) != BLOCKS * sizeof *rows) return 3;
    ready();
    done();
}
