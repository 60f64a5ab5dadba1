/* Linked statically and stripped: no symbol says where its allocator is. */
#include "testprog.h"

int main(void) {
    ready();
    keep(malloc(100));
    done();
}
