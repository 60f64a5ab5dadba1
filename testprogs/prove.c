/* Loses blocks and holds others in every way that there is, and tells of each block which it was. Whoever searches its
 * memory must find the lost ones lost and none of the others.
 *
 * Addresses that must not be left anywhere are passed on as their complements. Threads wipe the stack that they used;
 * the main thread waits in read() meanwhile, where what lies below its stack pointer is unused. */
#define _GNU_SOURCE
#include "testprog.h"

#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/mman.h>

enum { LOST = 50, MOVING = 256, SIZE = 40 };
typedef uintptr_t hidden;

struct node {
    struct node *left, *right;
    long rest[3];
};

/* Allocates a block, tells of it and hides its address. */
SITE static hidden block(const char *site, size_t size) {
    void *made = malloc(size);
    if (!made) _exit(1);
    memset(made, 0, size);
    say("{\"block\":%lu,\"size\":%zu,\"site\":\"%s\"}\n", (unsigned long)made, size, site);
    return ~(hidden)made;
}

static inline void *seen(hidden address) { return (void *)~address; }

SITE static void wipe_stack(void) {
    char used[16 << 10];
    memset(used, 0, sizeof used);
    keep(used);
}

/* Complements of what it loses stay nowhere either, but would do no harm. */
SITE static void lost_single(void) {
    for (int i = 0; i < LOST; i++) block("lost_single", SIZE);
}

SITE static void lost_ring(void) {
    hidden first = block("lost_ring", sizeof(struct node)), last = first;
    for (int i = 1; i < LOST; i++) {
        hidden next = block("lost_ring", sizeof(struct node));
        ((struct node *)seen(last))->right = seen(next);
        last = next;
    }
    ((struct node *)seen(last))->right = seen(first);
}

SITE static void lost_tree(void) {
    hidden tree[LOST];
    for (int i = 0; i < LOST; i++) {
        tree[i] = block("lost_tree", sizeof(struct node));
        struct node *above = seen(tree[i ? (i - 1) / 2 : 0]);
        if (i) *(i % 2 ? &above->left : &above->right) = seen(tree[i]);
    }
}

/* Volatile, or what is never read would not be written. */
static void *volatile in_global, *volatile interior, *volatile past_end;
static struct node *volatile list;
static __thread void *volatile in_tls;
static void **before, **mapped;

/* Held by a thread's stack, and by its thread-local storage. */
static atomic_int told, stop;
static int never[2];

static void *with_stack(void *unused) {
    void *volatile on_stack = seen(block("held_stack", SIZE));
    in_tls = seen(block("held_tls", SIZE));
    told++;
    char byte;
    while (read(never[0], &byte, 1) < 0) {}
    keep(on_stack);
    return unused;
}

/* Leaves nothing of the last block's address behind. An arena's last one is pointed to by the allocator's books: where
 * its memory ends, the rest begins. */
SITE static void forget_address(void) {
    keep(malloc(SIZE));
    wipe_stack();
}

/* Nothing but rbx of a running thread. */
static void *with_register(void *unused) {
    hidden address = block("held_register", SIZE);
    forget_address();
    told++;
    __asm__ volatile("mov %0, %%rbx\n not %%rbx\n 1: pause\n cmpl $0, (%1)\n je 1b\n xor %%ebx, %%ebx\n"
                     :
                     : "r"(address), "r"(&stop)
                     : "rbx", "cc", "memory");
    return unused;
}

/* Nothing but r12 of one that waits in a system call. */
static void *with_waiting_register(void *unused) {
    hidden address = block("held_waiting_register", SIZE);
    forget_address();
    told++;
    char byte;
    long result = 0;
    __asm__ volatile("mov %1, %%r12\n not %%r12\n syscall\n xor %%r12d, %%r12d\n"
                     : "+a"(result)
                     : "r"(address), "D"((long)never[0]), "S"(&byte), "d"(1L)
                     : "r12", "rcx", "r11", "cc", "memory");
    return unused;
}

/* Blocks that are now in one place and now in another, some in the heap: never in neither. */
static void *here[MOVING];
static void **there;
static hidden moving[MOVING];

static void *mover(void *unused) {
    for (long round = 0; !stop; round++) {
        for (int i = 0; i < MOVING; i++) {
            void *volatile *from = round % 2 ? &there[i] : &here[i];
            void *volatile *to = round % 2 ? &here[i] : &there[i];
            *to = seen(moving[i]);
            *from = NULL;
        }
    }
    return unused;
}

SITE static void hold(void) {
    in_global = seen(block("held_global", SIZE));
    for (int i = 0; i < LOST; i++) {
        struct node *next = seen(block("held_list", sizeof *next));
        next->right = list;
        list = next;
    }
    interior = (char *)seen(block("held_interior", 4000)) + 1777;
    past_end = (char *)seen(block("held_past_end", SIZE)) + SIZE;
    before[7] = seen(block("held_before", SIZE));
    mapped[1000] = seen(block("held_mapped", SIZE));
    /* Read-only by now. */
    mprotect(mapped, 4096 * 4, PROT_READ);
    int poll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = ~block("held_epoll", SIZE)};
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, never[0], &event)) _exit(2);
    event.data.u64 = 0;
    for (int i = 0; i < MOVING; i++) {
        moving[i] = block("held_moving", SIZE);
        here[i] = seen(moving[i]);
    }
}

int main(int count, char **arguments) {
    bool moves_in_heap = count > 1 && !strcmp(arguments[1], "heap");
    before = calloc(100, sizeof *before);
    /* Far from the heap, so that a search comes by at another time. */
    mapped = mmap(NULL, 4096 * 4, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    there = moves_in_heap ? calloc(MOVING, sizeof *there)
                          : mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!before || mapped == MAP_FAILED || !there || there == MAP_FAILED || pipe(never)) _exit(1);
    ready();
    lost_single();
    lost_ring();
    lost_tree();
    hold();
    void *(*work[])(void *) = {with_stack, with_register, with_waiting_register, mover};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&threads[i], NULL, work[i], NULL);
        while (i < 3 && told <= i) usleep(1000);
    }
    forget_address();
    done();
    stop = 1;
    if (write(never[1], "..", 2) != 2) _exit(3);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
}
