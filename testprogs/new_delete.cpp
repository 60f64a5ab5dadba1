// operator new and delete in their forms, and a bad_alloc that is caught while the allocator is traced.
#include <cstddef>
#include <new>
#include <stdio.h>
#include <unistd.h>

#define SITE extern "C" __attribute__((noinline, used))

namespace {

struct Truth {
    const char *site;
    long allocs = 0, bytes = 0, frees = 0, freed = 0;

    void tell(const char *kind = "site") const {
        char line[300];
        int length = snprintf(line, sizeof line,
                              "{\"%s\":\"%s\",\"live_bytes\":%ld,\"live_blocks\":%ld,\"allocs\":%ld,"
                              "\"alloc_bytes\":%ld,\"frees\":%ld,\"freed_bytes\":%ld}\n",
                              kind, site, bytes - freed, allocs - frees, allocs, bytes, frees, freed);
        if (write(1, line, static_cast<size_t>(length)) != length) _exit(99);
    }
};

template <class T> T *keep(T *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

void wait_for_line() {
    char byte;
    do {
        if (read(0, &byte, 1) != 1) _exit(98);
    } while (byte != '\n');
}

void say(const char *text) {
    size_t length = 0;
    while (text[length]) length++;
    if (write(1, text, length) != static_cast<ssize_t>(length)) _exit(99);
}

struct Thing {
    char bytes[72];
};
struct alignas(64) Aligned {
    char bytes[192];
};

volatile size_t too_much = size_t{1} << 62;
int caught = 0;

} // namespace

// Each site calls `new` from a function of its own. libstdc++ has no frame pointers, so a walk by frame pointers
// misses who called its operator new: that is the inner function, and the site is seen either way.
#define INNER __attribute__((noinline, used)) static

INNER Thing *make_one() { return keep(new Thing); }
INNER char *make_array(size_t size) { return keep(new char[size]); }
INNER char *make_nothrow(size_t size) { return keep(new (std::nothrow) char[size]); }
INNER char *make_too_much() { return keep(new char[too_much]); }

SITE Thing *new_one() { return keep(make_one()); }
SITE char *new_array(size_t size) { return keep(make_array(size)); }
SITE char *new_nothrow(size_t size) { return keep(make_nothrow(size)); }
// The aligned operator new uses the frame pointer's register for something else: no site can be seen through it.
SITE Aligned *new_aligned() { return keep(new Aligned); }

SITE void new_fails() {
    try {
        make_too_much();
    } catch (const std::bad_alloc &) {
        caught++;
    }
}

int main() {
    char line[40];
    snprintf(line, sizeof line, "ready %d\n", static_cast<int>(getpid()));
    say(line);
    wait_for_line();

    Truth one{"new_one"}, array{"new_array"}, aligned{"aligned_alloc"}, nothrow{"new_nothrow"};
    for (int i = 0; i < 100; i++) {
        new_one();
        delete new_one();
        one.allocs += 2, one.bytes += 2 * 72, one.frees++, one.freed += 72;
        new_array(1000 + static_cast<size_t>(i));
        delete[] new_array(50);
        array.allocs += 2, array.bytes += 1050 + i, array.frees++, array.freed += 50;
        new_aligned();
        delete new_aligned();
        aligned.allocs += 2, aligned.bytes += 2 * 192, aligned.frees++, aligned.freed += 192;
        new_nothrow(30);
        nothrow.allocs++, nothrow.bytes += 30;
        new_fails();
    }
    if (keep(new (std::nothrow) char[too_much]) != nullptr) _exit(1);
    if (caught != 100) _exit(1);
    one.tell();
    array.tell();
    aligned.tell("allocator");
    nothrow.tell();
    say("done\n");
    wait_for_line();
}
