/* SPDX-License-Identifier: Apache-2.0 */
/* Times calls of the CUDA driver, found as NVIDIA's runtime library finds them. One line: nanoseconds a call, medians of
 * nine: launch, pair, pair with 100,000 live, info, an unhooked call, and pairs a second of THREADS threads.
 * `init` times cuInit alone; `loop NAME COUNT` makes so many calls of one kind. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 9
static int (*get_proc)(const char *, void **, int, uint64_t, int *);
static int (*mem_alloc)(uint64_t *, size_t), (*mem_free)(uint64_t), (*info)(size_t *, size_t *), (*current)(void **);
static int (*set_current)(void *);
static int (*launch)(void *, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, unsigned, void *, void **,
                     void **);
static void *context, *function;
static const char PTX[] = ".version 8.0\n.target sm_80\n.visible .entry kernel() { ret; }\n";

static void *find(const char *name)
{
    void *found = NULL;
    int status;
    if (get_proc(name, &found, 12000, 0, &status) != 0 || found == NULL)
        exit(3);
    return found;
}

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(void (*call)(void), int count)
{
    double times[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double begin = now();
        for (int i = 0; i < count; i++)
            call();
        times[round] = (now() - begin) / count;
    }
    qsort(times, ROUNDS, sizeof *times, by_size);
    return times[ROUNDS / 2];
}

static void call_launch(void)
{
    launch(function, 1, 1, 1, 1, 1, 1, 0, NULL, NULL, NULL);
}

static void call_pair(void)
{
    uint64_t pointer;
    if (mem_alloc(&pointer, 4096) == 0)
        mem_free(pointer);
}

static void call_info(void)
{
    size_t left, total;
    info(&left, &total);
}

static void call_unhooked(void)
{
    void *found;
    current(&found);
}

static void *pairs(void *count)
{
    set_current(context);
    for (long i = (long)(intptr_t)count; i > 0; i--)
        call_pair();
    return NULL;
}

static double threaded(int threads, long count)
{
    pthread_t started[64];
    double begin = now();
    for (int i = 0; i < threads; i++)
        pthread_create(&started[i], NULL, pairs, (void *)(intptr_t)count);
    for (int i = 0; i < threads; i++)
        pthread_join(started[i], NULL);
    return (double)threads * (double)count / ((now() - begin) / 1e9);
}

/* For who counts instructions: so many calls of one kind, and nothing else after the start. */
static int loop(const char *what, long count)
{
    const struct {
        const char *name;
        void (*call)(void);
    } calls[] = {{"launch", call_launch}, {"pair", call_pair}, {"info", call_info}, {"unhooked", call_unhooked}};
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        for (long left = strcmp(calls[i].name, what) == 0 ? count : 0; left > 0; left--)
            calls[i].call();
    return 0;
}

int main(int count, char **words)
{
    double begin = now();
    void *library = dlopen("libcuda.so.1", RTLD_LAZY);
    if (count < 2 || library == NULL || (get_proc = dlsym(library, "cuGetProcAddress_v2")) == NULL)
        return 3;
    int (*initialise)(unsigned) = find("cuInit"), (*retain)(void **, int) = find("cuDevicePrimaryCtxRetain");
    double before = now();
    if (initialise(0) != 0)
        return 4;
    double attach = now() - before;
    if (strcmp(words[1], "init") == 0) {
        printf("%.0f %.0f\n", attach, now() - begin);
        return 0;
    }
    int (*load)(void **, const void *) = find("cuModuleLoadData");
    int (*get)(void **, void *, const char *) = find("cuModuleGetFunction");
    mem_alloc = find("cuMemAlloc"), mem_free = find("cuMemFree"), info = find("cuMemGetInfo");
    current = find("cuCtxGetCurrent"), set_current = find("cuCtxSetCurrent"), launch = find("cuLaunchKernel");
    void *module;
    if (retain(&context, 0) != 0 || set_current(context) != 0 || load(&module, PTX) != 0 ||
        get(&function, module, "kernel") != 0)
        return 5;
    if (strcmp(words[1], "loop") == 0)
        return loop(words[2], atol(words[3]));
    double launched = median(call_launch, 200000), pair = median(call_pair, 100000);
    for (int i = 0; i < 100000; i++) {
        uint64_t kept;
        if (mem_alloc(&kept, 512) != 0)
            return 6;
    }
    double full = median(call_pair, 100000);
    printf("%.2f %.2f %.2f %.2f %.2f %.0f %.0f\n", launched, pair, full, median(call_info, 200000),
           median(call_unhooked, 200000), threaded(1, 200000), threaded(atoi(words[1]), 200000));
    return 0;
}
