/* Allocates through code that it makes itself, whose name it writes where perf looks for it: in a file that is named by
 * the pid that it knows itself by. As its argument says, that file is a `file`, a `link` to one or a `pipe`. */
#include "testprog.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

SITE void *allocate(size_t bytes) { return keep(malloc(bytes)); }

typedef void *function(size_t);

/* push %rbp; mov %rsp,%rbp; movabs $callee,%rax; call *%rax; pop %rbp; ret */
static function *made(function *callee) {
    unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xd0, 0x5d, 0xc3};
    memcpy(code + 6, &callee, sizeof callee);
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) _exit(1);
    memcpy(page, code, sizeof code);
    if (mprotect(page, 4096, PROT_READ | PROT_EXEC) != 0) _exit(1);
    return (function *)page;
}

static void write_map(const char *path, const void *page) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0) _exit(1);
    dprintf(file, "%lx 12 code_made_at_run_time\n", (long)page);
    close(file);
}

int main(int count, char **words) {
    const char *kind = count > 1 ? words[1] : "file";
    function *jit = made(allocate);
    char path[64];
    snprintf(path, sizeof path, "/tmp/perf-%d.map", (int)getpid());
    if (strcmp(kind, "pipe") == 0) {
        if (mkfifo(path, 0600) != 0) return 1;
    } else if (strcmp(kind, "link") == 0) {
        write_map("/tmp/names", (void *)jit);
        if (symlink("/tmp/names", path) != 0) return 1;
    } else {
        write_map(path, (void *)jit);
    }
    ready();
    static struct truth truth = {.site = "allocate"};
    for (int i = 0; i < 7; i++) {
        jit(1000);
        allocated(&truth, 1000);
    }
    tell(&truth);
    done();
    return 0;
}
