/* An allocator of its own, on a static arena: pool_malloc, pool_calloc, pool_realloc, pool_free. When it is full it
 * leaves by longjmp, as interpreters' allocators do, so its caller never sees it return.
 *
 * With the argument "deeper", calls after the failure come from further down the stack than the failed one. */
#include "testprog.h"

#include <setjmp.h>

static _Alignas(16) char arena[1 << 20];
static size_t used;
static jmp_buf when_full;

__attribute__((noinline)) void *pool_malloc(size_t size) {
    size_t rounded = (size + 31) & ~(size_t)15;
    if (size > sizeof arena || rounded > sizeof arena - used) longjmp(when_full, 1);
    char *block = arena + used;
    used += rounded;
    *(size_t *)block = size;
    return keep(block + 16);
}

__attribute__((noinline)) void pool_free(void *block) { keep(block); }

__attribute__((noinline)) void *pool_calloc(size_t count, size_t size) {
    return memset(pool_malloc(count * size), 0, count * size);
}

__attribute__((noinline)) void *pool_realloc(void *block, size_t size) {
    void *moved = pool_malloc(size);
    size_t before = ((size_t *)block)[-2];
    memcpy(moved, block, before < size ? before : size);
    pool_free(block);
    return moved;
}

static struct truth kept = {.site = "pool_leak"}, paired = {.site = "pool_pair"}, grown = {.site = "pool_grow"};
static struct truth cleared = {.site = "pool_clear"};

SITE static void *pool_leak(size_t size) { return keep(pool_malloc(size)); }
SITE static void *pool_pair(size_t size) { return keep(pool_malloc(size)); }
SITE static void *pool_grow(void *block, size_t size) { return keep(pool_realloc(block, size)); }
SITE static void *pool_clear(size_t count, size_t size) { return keep(pool_calloc(count, size)); }

SITE static int fails(void) {
    if (setjmp(when_full)) return 1;
    keep(pool_malloc(sizeof arena + 1));
    return 0;
}

SITE static void work(void) {
    for (int i = 0; i < 20; i++) {
        pool_leak(40);
        allocated(&kept, 40);
        void *block = pool_pair(60);
        allocated(&paired, 60);
        void *larger = pool_grow(block, 600);
        freed(&paired, 60);
        allocated(&grown, 600);
        pool_free(larger);
        freed(&grown, 600);
        pool_clear(5, 9);
        allocated(&cleared, 45);
    }
}

/* Takes more of the stack than `fails` and pool_malloc did. */
SITE static void work_deeper(void) {
    char room[4096];
    keep(room);
    work();
    keep(room);
}

int main(int count, char **arguments) {
    (void)arguments;
    ready();
    work();
    for (int i = 0; i < 10; i++) {
        if (!fails()) _exit(1);
    }
    if (count > 1) {
        work_deeper();
    } else {
        work();
    }
    tell(&kept);
    tell(&paired);
    tell(&grown);
    tell(&cleared);
    done();
}
