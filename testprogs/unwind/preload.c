// Loaded into a tested process: at every allocation it takes the stack by the process's own unwinder (libgcc's) and
// calls a probed function with it. The kernel side unwinds at the same place, and the two must be equal.
//
// LEAKTRACE_TRUTH=1 starts it: the process then stops itself for the tester to find its mappings, and again after
// every dlopen. LEAKTRACE_EVERY=n takes every n-th allocation of each thread only.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <execinfo.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>

#define FRAMES 400

struct truth {
    unsigned long sequence;
    void **frames;
    unsigned long depth;
};

// Three places to probe: its entry, an instruction behind its prologue, and its return. Returns its argument.
struct truth *leaktrace_truth(struct truth *);
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl leaktrace_truth, leaktrace_truth_site\n"
        ".type leaktrace_truth, @function\n"
        ".type leaktrace_truth_site, @function\n"
        "leaktrace_truth:\n"
        "  .cfi_startproc\n"
        "  push %rbx\n"
        "  .cfi_adjust_cfa_offset 8\n"
        "  .cfi_rel_offset %rbx, 0\n"
        "  sub $32, %rsp\n"
        "  .cfi_adjust_cfa_offset 32\n"
        "leaktrace_truth_site:\n"
        "  mov %rdi, %rax\n"
        "  add $32, %rsp\n"
        "  .cfi_adjust_cfa_offset -32\n"
        "  pop %rbx\n"
        "  .cfi_adjust_cfa_offset -8\n"
        "  .cfi_restore %rbx\n"
        "  ret\n"
        "  .cfi_endproc\n"
        ".size leaktrace_truth, . - leaktrace_truth\n");
#else
#error "write leaktrace_truth for this architecture"
#endif

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static __thread int inside __attribute__((tls_model("initial-exec")));
static __thread unsigned count __attribute__((tls_model("initial-exec")));
static unsigned long sequence;
static int ready;
static unsigned every = 1;

static inline __attribute__((always_inline)) void take(void) {
    if (!ready || inside || ++count % every)
        return;
    inside = 1;
    void *frames[FRAMES];
    int depth = backtrace(frames, FRAMES);
    struct truth truth = {__sync_fetch_and_add(&sequence, 1), frames, depth};
    leaktrace_truth(&truth);
    inside = 0;
}

void *malloc(size_t size) {
    take();
    void *block = __libc_malloc(size);
    __asm__ volatile("" : "+r"(block)); // no tail call: this frame stays
    return block;
}

void *calloc(size_t number, size_t size) {
    take();
    void *block = __libc_calloc(number, size);
    __asm__ volatile("" : "+r"(block));
    return block;
}

void *realloc(void *old, size_t size) {
    take();
    void *block = __libc_realloc(old, size);
    __asm__ volatile("" : "+r"(block));
    return block;
}

void *dlopen(const char *file, int flags) {
    static void *(*real)(const char *, int);
    if (!real)
        real = dlsym(RTLD_NEXT, "dlopen");
    int before = inside;
    inside = 1; // constructors of the new library run before the tester knows its mappings
    void *handle = real(file, flags);
    inside = before;
    if (ready && file)
        raise(SIGSTOP);
    return handle;
}

__attribute__((constructor)) static void start(void) {
    void *frames[4];
    backtrace(frames, 4); // loads libgcc
    if (getenv("LEAKTRACE_EVERY"))
        every = atoi(getenv("LEAKTRACE_EVERY"));
    if (getenv("LEAKTRACE_TRUTH")) {
        // Children are not tested; who replaces itself by exec finds it here.
        setenv("LEAKTRACE_PRELOAD", getenv("LD_PRELOAD"), 1);
        unsetenv("LD_PRELOAD");
        raise(SIGSTOP);
        ready = 1;
    }
}
