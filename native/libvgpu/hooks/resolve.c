/* SPDX-License-Identifier: Apache-2.0 */
/* How callers come to our hooks: by linking against libcuda, by dlsym, by cuGetProcAddress. */
#include <ctype.h>
#include <dlfcn.h>
#include <string.h>

#include "cuda_abi.h"
#include "driver.h"
#include "hooks/table.h"
#include "symbols.h"
#include "vgpu.h"

/* Answers of vgpu_lookup besides an address. */
#define GO_ON ((void *)0) /* dlsym itself answers, and sees its real caller */
#define NOTHING ((void *)1)

__attribute__((visibility("hidden"), used)) void *vgpu_lookup(void *handle, const char *name);

/* dlsym asks who calls it (RTLD_NEXT, RTLD_DEFAULT), so ours must not stand between: it looks into our table, and else
 * jumps on with everything as it came. */
#if defined(__x86_64__)
__asm__(".text\n"
        ".globl dlsym\n"
        ".type dlsym, @function\n"
        "dlsym:\n"
        "    endbr64\n"
        "    pushq %rdi\n"
        "    pushq %rsi\n"
        "    subq $8, %rsp\n"
        "    call vgpu_lookup\n"
        "    addq $8, %rsp\n"
        "    popq %rsi\n"
        "    popq %rdi\n"
        "    testq %rax, %rax\n"
        "    je 1f\n"
        "    cmpq $1, %rax\n"
        "    jne 2f\n"
        "    xorl %eax, %eax\n"
        "2:  ret\n"
        "1:  jmp *vgpu_real_dlsym(%rip)\n"
        ".size dlsym, .-dlsym\n");
#elif defined(__aarch64__)
__asm__(".text\n"
        ".globl dlsym\n"
        ".type dlsym, %function\n"
        "dlsym:\n"
        "    hint #34\n" /* bti c */
        "    stp x29, x30, [sp, #-32]!\n"
        "    mov x29, sp\n"
        "    stp x0, x1, [sp, #16]\n"
        "    bl vgpu_lookup\n"
        "    mov x9, x0\n"
        "    ldp x0, x1, [sp, #16]\n"
        "    ldp x29, x30, [sp], #32\n"
        "    cbz x9, 1f\n"
        "    cmp x9, #1\n"
        "    csel x0, xzr, x9, eq\n"
        "    ret\n"
        "1:  adrp x16, vgpu_real_dlsym\n"
        "    ldr x16, [x16, #:lo12:vgpu_real_dlsym]\n"
        "    br x16\n"
        ".size dlsym, .-dlsym\n");
#else
#error "dlsym must be written for this processor"
#endif

static bool is_driver_name(const char *name)
{
    size_t prefix = name[0] == 'c' && name[1] == 'u' ? 2 : strncmp(name, "nvml", 4) == 0 ? 4 : 0;
    return prefix != 0 && isupper((unsigned char)name[prefix]);
}

static bool is_in_driver(const void *address)
{
    const char *path = symbols_object_of(address);
    const char *slash = strrchr(path, '/');
    const char *name = slash != NULL ? slash + 1 : path;
    return strncmp(name, "libcuda.so", 10) == 0 || strncmp(name, "libnvidia-ml.so", 15) == 0;
}

/* The global name resolves to our hook even if no driver is loaded; in that case there is no such function. */
static void *lookup_default(int hook, const char *name)
{
    if (symbols_real_dlsym(RTLD_DEFAULT, name) != hook_ours(hook))
        return GO_ON;
    const char *library = name[0] == 'n' ? "libnvidia-ml.so.1" : "libcuda.so.1";
    bool loaded =
        symbols_real_dlsym(RTLD_NEXT, name) != NULL || symbols_dlopen(library, RTLD_LAZY | RTLD_NOLOAD) != NULL;
    return loaded ? hook_ours(hook) : NOTHING;
}

void *vgpu_lookup(void *handle, const char *name)
{
    int hook = name != NULL && is_driver_name(name) ? hook_by_symbol(name) : -1;
    if (hook < 0 || handle == RTLD_NEXT) {
        symbols_real_dlsym(NULL, NULL); /* finds the function that the assembly jumps to */
        return GO_ON;
    }
    if (handle == RTLD_DEFAULT)
        return lookup_default(hook, name);
    void *found = symbols_real_dlsym(handle, name);
    if (found == NULL)
        return NOTHING; /* and dlerror says why */
    if (found == hook_ours(hook) || !is_in_driver(found))
        return GO_ON;
    hook_found(hook, found);
    return hook_ours(hook);
}

static void swap(const char *symbol, void **address, int version, uint64_t flags)
{
    if (address == NULL || *address == NULL || symbol == NULL)
        return;
    int hook = hook_by_request(symbol, version, (flags & CU_PROC_PER_THREAD_STREAM) != 0, *address);
    if (hook < 0)
        return;
    hook_found(hook, *address);
    *address = hook_ours(hook);
}

VGPU_EXPORT int cuGetProcAddress(const char *symbol, void **address, int version, uint64_t flags)
{
    int result = REAL(cuGetProcAddress)(symbol, address, version, flags);
    if (result == CU_SUCCESS)
        swap(symbol, address, version, flags);
    return result;
}

VGPU_EXPORT int cuGetProcAddress_v2(const char *symbol, void **address, int version, uint64_t flags, int *status)
{
    int result = REAL(cuGetProcAddress_v2)(symbol, address, version, flags, status);
    if (result == CU_SUCCESS)
        swap(symbol, address, version, flags);
    return result;
}
