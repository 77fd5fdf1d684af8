/* SPDX-License-Identifier: Apache-2.0 */
/* Built several times: -DINTERPOSER=\"A\" a library that is preloaded too and counts what passes through it; -DSELF one that
 * exports a driver's name and looks itself up, as cuDNN does; -DPROGRAM the program that looks names up in every way. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*alloc_function)(uint64_t *pointer, size_t bytes);

#ifdef INTERPOSER
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes)
{
    static alloc_function next, again;
    next = (alloc_function)dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    again = (alloc_function)dlsym(RTLD_NEXT, "cuMemAlloc_v2");
    fprintf(stdout, "%s%s ", INTERPOSER, next == again && next != NULL ? "" : "?");
    return next != NULL ? next(pointer, bytes) : 999;
}

int puts(const char *text)
{
    int (*next)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "puts");
    int (*again)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "puts");
    return next != NULL && next == again ? next(text) : -1;
}
#endif

#ifdef SELF
int cuMemFree_v2(uint64_t pointer)
{
    return pointer == 7 ? 42 : 0;
}

int self_look_up(void *self)
{
    int (*mine)(uint64_t) = (int (*)(uint64_t))dlsym(self, "cuMemFree_v2");
    return mine != NULL ? mine(7) : -1;
}
#endif

#ifdef PROGRAM
static const char *named(void *function)
{
    Dl_info info;
    if (function == NULL || dladdr(function, &info) == 0)
        return "nothing";
    const char *slash = strrchr(info.dli_fname, '/');
    return slash != NULL ? slash + 1 : info.dli_fname;
}

int main(int count, char **words)
{
    if (strcmp(words[1], "none") == 0) {
        /* No driver is loaded: there is no such function, with every preloaded library. */
        printf("%s\n", named(dlsym(RTLD_DEFAULT, "cuInit")));
        return 0;
    }
    if (strcmp(words[1], "self") == 0) {
        void *self = dlopen(words[2], RTLD_NOW | RTLD_LOCAL);
        int (*look_up)(void *) = (int (*)(void *))dlsym(self, "self_look_up");
        printf("%d\n", look_up(self));
        return 0;
    }
    void *driver = dlopen(words[2], RTLD_LAZY | (strcmp(words[1], "global") == 0 ? RTLD_GLOBAL : RTLD_LOCAL));
    if (driver == NULL)
        return 3;
    int (*initialise)(unsigned) = (int (*)(unsigned))dlsym(driver, "cuInit");
    int (*retain)(void **, int) = (int (*)(void **, int))dlsym(driver, "cuDevicePrimaryCtxRetain");
    int (*current)(void *) = (int (*)(void *))dlsym(driver, "cuCtxSetCurrent");
    void *context;
    uint64_t pointer;
    if (initialise(0) != 0 || retain(&context, 0) != 0 || current(context) != 0)
        return 4;
    alloc_function alloc =
        (alloc_function)dlsym(strcmp(words[1], "global") == 0 ? RTLD_DEFAULT : driver, "cuMemAlloc_v2");
    int code = alloc(&pointer, strtoul(words[3], NULL, 10));
    printf("%d %s %s\n", code, named((void *)current),
           dlsym(driver, "cuNoSuch") == NULL && dlerror() != NULL ? "ok" : "bad");
    puts("end");
    return count != 4;
}
#endif
