/* SPDX-License-Identifier: Apache-2.0 */
/* A CUDA client of many threads, which finds its functions as NVIDIA's runtime library does: dlopen, cuGetProcAddress_v2
 * by dlsym, everything else by that.
 *
 *   hammer mix THREADS ROUNDS BYTES    allocates and frees pieces of up to BYTES in every way, then frees all of them
 *   hammer direct ...                  the same without pools
 *   hammer fill THREADS BYTES          takes pieces of BYTES until there is no more, says how many, waits for its input
 *   hammer fork|clone|vfork|exec|leave|close BYTES  takes BYTES, then does what the word says
 *   hammer worker BYTES                asks NVML, has a child that takes memory, then takes BYTES itself
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef uint64_t pointer;
static int (*get_proc)(const char *, void **, int, uint64_t, int *);
static int (*mem_alloc)(pointer *, size_t), (*mem_free)(pointer), (*alloc_async)(pointer *, size_t, void *);
static int (*free_async)(pointer, void *), (*managed)(pointer *, size_t, unsigned), (*set_current)(void *);
static int (*mem_info)(size_t *, size_t *);
static void *context;

static void *find(const char *name)
{
    void *found = NULL;
    int status = 0;
    if (get_proc(name, &found, 12000, 0, &status) != 0 || found == NULL) {
        fprintf(stderr, "no %s\n", name);
        exit(3);
    }
    return found;
}

static void open_driver(void)
{
    void *library = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    if (library == NULL || (get_proc = dlsym(library, "cuGetProcAddress_v2")) == NULL)
        exit(3);
    int (*initialise)(unsigned) = find("cuInit"), (*retain)(void **, int) = find("cuDevicePrimaryCtxRetain");
    mem_alloc = find("cuMemAlloc"), mem_free = find("cuMemFree"), alloc_async = find("cuMemAllocAsync");
    free_async = find("cuMemFreeAsync"), managed = find("cuMemAllocManaged"), set_current = find("cuCtxSetCurrent");
    mem_info = find("cuMemGetInfo");
    if (initialise(0) != 0 || retain(&context, 0) != 0 || set_current(context) != 0)
        exit(3);
}

static size_t bytes, rounds;
static atomic_long taken, wrong;
static int is_direct; /* no pools: they keep memory in steps of their own */

static int take(unsigned way, pointer *made, size_t size)
{
    return way == 0 ? mem_alloc(made, size) : way == 1 ? alloc_async(made, size, NULL) : managed(made, size, 1);
}

static void *mix(void *seed)
{
    pointer held[16] = {0};
    unsigned state = (unsigned)(uintptr_t)seed * 2654435761u + 1;
    set_current(context);
    for (size_t round = 0; round < rounds; round++) {
        state = state * 1664525u + 1013904223u;
        unsigned place = state >> 28, way = (state >> 8) % 3;
        way = is_direct && way == 1 ? 0 : way;
        if (held[place] != 0) {
            int code = (state >> 12) & 1 ? mem_free(held[place]) : free_async(held[place], NULL);
            /* Managed memory is none of a stream's. */
            if (code != 0)
                code = mem_free(held[place]);
            wrong += code != 0;
            held[place] = 0;
        } else {
            int code = take(way, &held[place], 1 + state % bytes);
            wrong += code != 0 && code != 2;
            if (code != 0)
                held[place] = 0;
        }
    }
    for (int place = 0; place < 16; place++)
        if (held[place] != 0)
            wrong += mem_free(held[place]) != 0;
    return NULL;
}

static void *fill(void *seed)
{
    pointer made;
    (void)seed;
    set_current(context);
    while (mem_alloc(&made, bytes) == 0)
        taken++;
    return NULL;
}

static void run(void *(*work)(void *), int threads)
{
    pthread_t started[64];
    for (int i = 0; i < threads; i++)
        pthread_create(&started[i], NULL, work, (void *)(uintptr_t)((unsigned)getpid() * 64 + (unsigned)i));
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
}

static void show(void)
{
    size_t left = 0, total = 0;
    mem_info(&left, &total);
    printf("%zu %zu\n", total - left, total);
    fflush(stdout);
}

static void wait_for_input(void)
{
    char letter;
    if (read(STDIN_FILENO, &letter, 1) < 0)
        exit(3);
}

static pid_t child_of(const char *word, pointer made)
{
    /* The child frees what is not its own; the parent's figure stays for every answer of the driver. */
    pid_t child = strcmp(word, "clone") == 0 ? (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0) : fork();
    if (child == 0) {
        mem_free(made);
        mem_alloc(&made, 1 << 20);
        _exit(0);
    }
    return child;
}

/* Asks NVML for the memory, as PyTorch does before it forks workers: libvgpu takes part in the container from then on. */
static void ask_nvml(void)
{
    struct {
        unsigned long long total, free, used;
    } memory;
    void *device, *library = dlopen("libnvidia-ml.so.1", RTLD_LAZY | RTLD_LOCAL);
    int (*initialise)(void), (*by_index)(unsigned, void **), (*memory_of)(void *, void *);
    if (library == NULL || (initialise = dlsym(library, "nvmlInit_v2")) == NULL ||
        (by_index = dlsym(library, "nvmlDeviceGetHandleByIndex_v2")) == NULL ||
        (memory_of = dlsym(library, "nvmlDeviceGetMemoryInfo")) == NULL)
        exit(3);
    if (initialise() != 0 || by_index(0, &device) != 0 || memory_of(device, &memory) != 0)
        exit(3);
}

/* A worker takes memory, and ends without giving it back. */
static void work_in_child(void)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        pointer made;
        open_driver();
        _exit(mem_alloc(&made, 1 << 20));
    }
    if (waitpid(child, &status, 0) != child || status != 0)
        exit(5);
}

static pid_t vfork_child(void)
{
    pid_t child = vfork();
    if (child == 0) {
        execl("/bin/true", "true", NULL);
        _exit(1);
    }
    return child;
}

static void become(char **words, pointer made)
{
    const char *word = words[1];
    if (strcmp(word, "exec") == 0)
        execl(words[0], words[0], "fill", "1", words[2], NULL);
    else if (strcmp(word, "leave") == 0)
        execl(words[0], words[0], "wait", NULL);
    else if (strcmp(word, "fork") == 0 || strcmp(word, "clone") == 0)
        waitpid(child_of(word, made), NULL, 0);
    else if (strcmp(word, "vfork") == 0)
        waitpid(vfork_child(), NULL, 0);
    else if (strcmp(word, "close") == 0)
        for (int number = 3; number < 2048; number++)
            close(number);
}

static int many(char **words)
{
    is_direct = strcmp(words[1], "direct") == 0;
    rounds = strtoul(words[3], NULL, 10);
    bytes = strtoul(words[4], NULL, 10);
    run(mix, atoi(words[2]));
    printf("%ld\n", (long)wrong);
    return 0;
}

static int all(char **words)
{
    bytes = strtoul(words[3], NULL, 10);
    run(fill, atoi(words[2]));
    printf("%ld\n", (long)taken);
    fflush(stdout);
    wait_for_input();
    return 0;
}

int main(int count, char **words)
{
    pointer made;
    if (count < 2)
        return 2;
    if (strcmp(words[1], "wait") == 0) {
        puts("waits");
        fflush(stdout);
        wait_for_input();
        return 0;
    }
    if (strcmp(words[1], "worker") == 0) {
        ask_nvml();
        work_in_child();
    }
    open_driver();
    if (strcmp(words[1], "direct") == 0 || strcmp(words[1], "mix") == 0)
        return many(words);
    if (strcmp(words[1], "fill") == 0)
        return all(words);
    if (mem_alloc(&made, strtoul(words[2], NULL, 10)) != 0)
        return 4;
    show();
    wait_for_input();
    become(words, made);
    show();
    wait_for_input();
    return mem_free(made);
}
