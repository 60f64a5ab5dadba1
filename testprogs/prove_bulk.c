/* A large heap: COUNT blocks of 16 to 1000 bytes, each but every hundredth reached by way of another one, in an order
 * of chance. Writes address and size of each, as two words, to the file named. */
#include "testprog.h"

#include <fcntl.h>
#include <sys/mman.h>

static void *first;

int main(int count, char **arguments) {
    if (count != 3) return 2;
    size_t blocks = strtoul(arguments[1], NULL, 10);
    int file = open(arguments[2], O_WRONLY);
    ready();
    /* Complements of the addresses, so that this list reaches nothing. */
    uintptr_t *all = mmap(NULL, blocks * 16, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (file < 0 || all == MAP_FAILED) return 1;
    unsigned long state = 1;
    for (size_t i = 0; i < blocks; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        size_t size = 16 + (state >> 33) % 985;
        void **made = malloc(size);
        if (!made) return 1;
        memset(made, 0, size);
        uintptr_t told[2] = {(uintptr_t)made, size};
        if (write(file, told, sizeof told) != sizeof told) return 1;
        all[2 * i] = ~(uintptr_t)made;
        if (i % 100 == 49) continue;
        /* Some earlier one that is itself reached, and has room for this in its second word or passes on its own. */
        if (!first) {
            first = made;
            continue;
        }
        size_t above;
        do {
            state = state * 6364136223846793005u + 1442695040888963407u;
            above = (state >> 33) % i;
        } while (above % 100 == 49);
        void **parent = (void **)~all[2 * above];
        made[0] = parent[0];
        parent[0] = made;
    }
    /* Its end is where the rest of the heap begins, which the allocator's books point to. */
    void *last = malloc(16);
    keep(last);
    done();
}
