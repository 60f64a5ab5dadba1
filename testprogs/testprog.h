/* What the test programs share: the protocol with the harness (tests-kernel/src/program.rs) and the truth.
 *
 * A program prints "ready PID" and waits for a line before its work, so that a tracer can attach; it prints its
 * truth and "done" after the work and waits for another line before it ends. None of this allocates: only
 * write, read and snprintf into the stack are used. */
#pragma once

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A function that has to show in stacks under its own name. */
#ifdef __clang__
#define SITE __attribute__((noinline, used))
#else
#define SITE __attribute__((noinline, noclone, used))
#endif

/* The compiler may assume nothing about the pointer from here on, so no allocation is taken for unused. */
static inline void *keep(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

__attribute__((format(printf, 1, 2))) static inline void say(const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (length < 0 || length >= (int)sizeof line || write(1, line, (size_t)length) != length) _exit(99);
}

/* Returns at the next line on stdin; ends the program if the harness is gone. */
static inline void wait_for_line(void) {
    char byte;
    do {
        if (read(0, &byte, 1) != 1) _exit(98);
    } while (byte != '\n');
}

/* Whether there is one, which is then read. */
static inline int a_line_came(void) {
    struct pollfd in = {.fd = 0, .events = POLLIN};
    if (poll(&in, 1, 0) <= 0) return 0;
    wait_for_line();
    return 1;
}

static inline void ready(void) {
    say("ready %d\n", (int)getpid());
    wait_for_line();
}

static inline void done(void) {
    say("done\n");
    wait_for_line();
}

/* What one site did, counted by the program itself. */
struct truth {
    const char *site;
    atomic_long allocs, alloc_bytes, frees, freed_bytes;
};

static inline void allocated(struct truth *truth, size_t bytes) {
    truth->allocs++;
    truth->alloc_bytes += (long)bytes;
}

static inline void freed(struct truth *truth, size_t bytes) {
    truth->frees++;
    truth->freed_bytes += (long)bytes;
}

static inline void tell(struct truth *truth) {
    say("{\"site\":\"%s\",\"live_bytes\":%ld,\"live_blocks\":%ld,\"allocs\":%ld,\"alloc_bytes\":%ld,"
        "\"frees\":%ld,\"freed_bytes\":%ld}\n",
        truth->site, truth->alloc_bytes - truth->freed_bytes, truth->allocs - truth->frees, truth->allocs,
        truth->alloc_bytes, truth->frees, truth->freed_bytes);
}

/* The value that one of the report's counters must have. */
static inline void tell_counter(const char *counter, long value) {
    say("{\"counter\":\"%s\",\"value\":%ld}\n", counter, value);
}
