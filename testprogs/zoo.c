/* The classes of the simulated zoo (zoo/src/class.rs) as a real program: `zoo CLASS SECONDS`. An hour of the simulation
 * passes in SECONDS, and every time below is in seconds of that hour, so that numbers compare with the simulation's.
 * Works until a line comes on stdin. What it keeps for its own books is static: each block is the class's. */
#include "testprog.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <time.h>

static const double HOUR = 3600, FOREVER = INFINITY;
/* More than any class has alive at once. */
enum { MOST = 1 << 16 };

static double hour_lasts;
static struct timespec started;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    double passed = (double)(time.tv_sec - started.tv_sec) + (double)(time.tv_nsec - started.tv_nsec) / 1e9;
    return passed * HOUR / hour_lasts;
}

static double chance(void) {
    static unsigned long state = 88172645463325252u;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return ((double)(state >> 11) + 0.5) / (double)(1ul << 53);
}

static double between(double from, double to) { return from + (to - from) * chance(); }
static double exponential(double mean) { return -mean * log(chance()); }

static struct {
    double dies;
    void *block;
} objects[MOST];
static int number;

static void lives_until(double dies, void *block) {
    if (!block || number == MOST) _exit(1);
    objects[number].dies = dies;
    objects[number++].block = block;
}

static void bury(double at) {
    for (int i = 0; i < number; i++) {
        while (i < number && objects[i].dies <= at) {
            free(objects[i].block);
            objects[i] = objects[--number];
        }
    }
}

/* Whether the next of events at this mean distance is due; `next` is the class's own, 0 at first. */
static int due(double *next, double mean, double at) {
    if (*next == 0) *next = exponential(mean);
    if (*next > at) return 0;
    *next += exponential(mean);
    return 1;
}

/* What every program does beside. */
SITE static void serve_request(double at) { lives_until(at + exponential(3), keep(malloc(300))); }

SITE static void keep_request(void) { lives_until(FOREVER, keep(malloc(120))); }

static void steady(double at) {
    static double next;
    while (due(&next, HOUR / 2000, at)) keep_request();
}

/* One call in fifty is never freed, by the same stack as the others. */
SITE static void parse_header(double dies) { lives_until(dies, keep(malloc(80))); }

static void noise(double at) {
    static double next;
    while (due(&next, HOUR / 20000, at)) parse_header(chance() < 0.02 ? FOREVER : at + exponential(10));
}

SITE static void keep_entry(void) { lives_until(FOREVER, keep(malloc(200))); }

/* Each a function of its own: with the same text they would be one. */
#define WAY(n) \
    SITE static void way_##n(void) { \
        static volatile int calls = n; \
        calls++; \
        keep_entry(); \
        calls++; \
    }
#define WAYS(do) \
    do(0) do(1) do(2) do(3) do(4) do(5) do(6) do(7) do(8) do(9) do(10) do(11) do(12) do(13) do(14) do(15) do(16) \
    do(17) do(18) do(19) do(20) do(21) do(22) do(23) do(24) do(25) do(26) do(27) do(28) do(29) do(30) do(31) do(32) \
    do(33) do(34) do(35) do(36) do(37) do(38) do(39)
WAYS(WAY)
#define NAME(n) way_##n,
static void (*const ways[])(void) = {WAYS(NAME)};

SITE static void dispatch(void) { ways[(int)(chance() * (double)(sizeof ways / sizeof *ways))](); }

/* Ten objects a way in the whole hour: too few for any of them by itself. */
static void many_stacks(double at) {
    static double next;
    while (due(&next, HOUR / 400, at)) dispatch();
}

/* Entries leave in about the order in which they came. */
SITE static void cache_page(double at) { lives_until(at + 800 * between(0.7, 1.5), keep(malloc(500))); }

static void lru(double at) {
    static double next;
    while (due(&next, HOUR / 2000, at)) cache_page(at);
}

SITE static void fill_cache(void) { lives_until(FOREVER, keep(malloc(400))); }

static void fills_and_stops(double at) {
    static double next;
    while (next < 1200 && due(&next, HOUR / 4000, at)) fill_cache();
}

SITE static void append_to_batch(double flushed) { lives_until(flushed, keep(malloc(150))); }

/* The first time too early for a suspicion. */
static void sawtooth(double at) {
    static double next;
    while (due(&next, HOUR / 2000, at)) append_to_batch((floor((at + 700) / 900) + 1) * 900 - 700);
}

SITE static void learn_name(void) { lives_until(FOREVER, keep(malloc(100))); }

/* Each of a number of names is met first at a time of its own, ever fewer remain. */
static void warm_up(double at) {
    static int left = 1500;
    static double last;
    double meets = 1 - exp((last - at) / 200);
    for (int i = left; i > 0; i--) {
        if (chance() >= meets) continue;
        learn_name();
        left--;
    }
    last = at;
}

SITE static void build_table(void) { lives_until(FOREVER, keep(malloc(256))); }

/* Tables of the start, and those of a part that is used later. */
static void step(double at) {
    static int built;
    int wanted = at < 1500 ? 500 : 1000;
    for (; built < wanted; built++) build_table();
}

SITE static void open_session(double at) { lives_until(at + exponential(300), keep(malloc(700))); }

static void sessions(double at) {
    static double next;
    while (due(&next, HOUR / 2000, at)) open_session(at);
}

static const struct {
    const char *name;
    void (*work)(double at);
} classes[] = {
    {"steady", steady},
    {"noise", noise},
    {"many-stacks", many_stacks},
    {"lru", lru},
    {"fills-and-stops", fills_and_stops},
    {"sawtooth", sawtooth},
    {"warm-up", warm_up},
    {"step", step},
    {"sessions", sessions},
};

int main(int count, char **arguments) {
    void (*work)(double) = NULL;
    for (size_t i = 0; count == 3 && i < sizeof classes / sizeof *classes; i++) {
        if (strcmp(classes[i].name, arguments[1]) == 0) work = classes[i].work;
    }
    if (!work) return 2;
    hour_lasts = atof(arguments[2]);
    ready();
    clock_gettime(CLOCK_MONOTONIC, &started);
    double next = 0;
    struct pollfd end = {.fd = 0, .events = POLLIN};
    for (;;) {
        int lines = poll(&end, 1, 5);
        if (lines < 0 && errno != EINTR) return 1;
        if (lines > 0) break;
        double at = now();
        work(at);
        while (due(&next, HOUR / 5000, at)) serve_request(at);
        bury(at);
    }
    wait_for_line();
    done();
}
