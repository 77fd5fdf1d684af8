/* SPDX-License-Identifier: Apache-2.0 */
/* cuda_fuzz SEED ROUNDS: random CUDA calls with good, stale, foreign and garbage handles. Run under sanitizers nothing
 * may break; at the end everything is given back and the device must be empty. */
#include "cuda_abi.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*function)(uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                        uint64_t, uint64_t);

struct entry {
    const char *name;
    int (*call)();
    const char *arguments;
};

/* A table. */
/* clang-format off */
#define CALLS(row)                                                                                                   \
    row(cuCtxCreate_v2, "C0d") row(cuCtxDestroy_v2, "c") row(cuCtxPushCurrent_v2, "c") row(cuCtxPopCurrent_v2, "o")  \
    row(cuCtxSetCurrent, "q") row(cuCtxGetCurrent, "o") row(cuCtxGetId, "co") row(cuCtxSetLimit, "uz")               \
    row(cuCtxGetLimit, "ou") row(cuCtxSynchronize, "") row(cuCtxRecordEvent, "ce") row(cuCtxWaitEvent, "ce")         \
    row(cuDeviceGetName, "b9d") row(cuDeviceGetAttribute, "oud") row(cuDeviceTotalMem_v2, "od")                      \
    row(cuDeviceGetUuid_v2, "od") row(cuDeviceGetPCIBusId, "b9d") row(cuMemGetInfo_v2, "oo")                         \
    row(cuMemAlloc_v2, "Pz") row(cuMemAlloc_v2, "Pz") row(cuMemAllocPitch_v2, "Pozz4") row(cuMemAllocManaged, "Pzu") \
    row(cuMemFree_v2, "p") row(cuMemFree_v2, "p") row(cuMemAllocAsync, "Pzs") row(cuMemFreeAsync, "ps")              \
    row(cuMemAllocFromPoolAsync, "Pzls") row(cuMemGetAddressRange_v2, "oop") row(cuMemHostAlloc, "Hvu")              \
    row(cuMemAllocHost_v2, "Hv") row(cuMemFreeHost, "h") row(cuMemHostGetDevicePointer_v2, "oh0")                    \
    row(cuMemHostGetFlags, "oh") row(cuMemHostUnregister, "h") row(cuMemcpyHtoD_v2, "pbv")                           \
    row(cuMemcpyDtoH_v2, "bpv") row(cuMemcpyDtoD_v2, "ppz") row(cuMemcpyHtoDAsync_v2, "pbvs")                        \
    row(cuMemcpyDtoHAsync_v2, "bpvs") row(cuMemcpyDtoDAsync_v2, "ppzs") row(cuMemsetD8_v2, "puz")                    \
    row(cuMemsetD32_v2, "puv") row(cuMemsetD2D16_v2, "pvuvv") row(cuMemsetD16Async, "puvs")                          \
    row(cuMemAdvise, "pzud") row(cuPointerGetAttribute, "oup") row(cuPointerGetAttribute, "ouh")                     \
    row(cuMemPoolCreate, "Lw") row(cuMemPoolDestroy, "l") row(cuMemPoolTrimTo, "lz") row(cuDeviceSetMemPool, "dl")   \
    row(cuDeviceGetDefaultMemPool, "Ld") row(cuMemPoolGetAttribute, "luo") row(cuMemPoolSetAttribute, "lub")         \
    row(cuMemCreate, "YZw0") row(cuMemRelease, "y") row(cuMemAddressReserve, "RZ000") row(cuMemAddressFree, "rZ")    \
    row(cuMemMap, "rZ0y0") row(cuMemUnmap, "rZ") row(cuMemSetAccess, "rZt1") row(cuMemRetainAllocationHandle, "Yr")  \
    row(cuMemGetAccess, "otr") row(cuArray3DCreate_v2, "Aj") row(cuArrayDestroy, "a") row(cuArrayDestroy, "a")       \
    row(cuArray3DGetDescriptor_v2, "oa") row(cuArrayGetMemoryRequirements, "oad") row(cuMipmappedArrayCreate, "Iju") \
    row(cuMipmappedArrayDestroy, "i") row(cuMipmappedArrayGetLevel, "Aiu") row(cuMemcpyHtoA_v2, "avbv")              \
    row(cuMemcpyAtoH_v2, "bavv") row(cuMemcpyDtoA_v2, "avpv") row(cuMemcpy3D_v2, "k") row(cuMemcpy3DAsync_v2, "ks")  \
    row(cuStreamCreate, "Su") row(cuStreamDestroy_v2, "s") row(cuStreamQuery, "s") row(cuStreamSynchronize, "s")     \
    row(cuStreamWaitEvent, "se0") row(cuStreamGetPriority, "so") row(cuStreamGetCtx, "so") row(cuStreamGetId, "so")  \
    row(cuStreamBeginCapture_v2, "s0") row(cuStreamEndCapture, "sG") row(cuStreamIsCapturing, "so")                  \
    row(cuEventCreate, "Eu") row(cuEventDestroy_v2, "e") row(cuEventRecord, "es") row(cuEventQuery, "e")             \
    row(cuEventSynchronize, "e") row(cuEventElapsedTime_v2, "oee") row(cuModuleLoadData, "Mx")                       \
    row(cuModuleUnload, "m") row(cuModuleGetFunction, "Fmn") row(cuModuleGetGlobal_v2, "oomn")                       \
    row(cuLibraryLoadData, "Mx0000000") row(cuFuncGetAttribute, "ouf") row(cuFuncSetAttribute, "fuu")                \
    row(cuFuncGetName, "of") row(cuLaunchKernel, "f111v110s00") row(cuLaunchCooperativeKernel, "f111v110s0")         \
    row(cuGraphCreate, "G0") row(cuGraphDestroy, "g") row(cuGraphAddEmptyNode, "Ng00")                               \
    row(cuGraphAddMemAllocNode, "Ng00T") row(cuGraphAddMemFreeNode, "Ng00p") row(cuGraphAddMemsetNode, "Ng00Vc")     \
    row(cuGraphAddChildGraphNode, "Ng00g") row(cuGraphClone, "Gg") row(cuGraphGetNodes, "g0o")                       \
    row(cuGraphInstantiateWithFlags, "Xgu") row(cuGraphLaunch, "Xs") row(cuGraphLaunch, "Xs")                        \
    row(cuGraphDestroyNode, "W") row(cuGraphNodeGetDependentNodes, "W0o") row(cuGraphExecUpdate_v2, "Xgo")           \
    row(cuGraphExecDestroy, "D") row(cuDeviceGraphMemTrim, "d") row(cuDeviceGetGraphMemAttribute, "duo")             \
    row(cuLinkCreate_v2, "000K") row(cuLinkAddData_v2, "Bux90000") row(cuLinkComplete, "Boo") row(cuLinkDestroy, "B")
/* clang-format on */

#define DECLARE(name, arguments) int name();
#define ROW(name, arguments) {#name, name, arguments},
CALLS(DECLARE)
int cuInit(unsigned flags);
int cuDevicePrimaryCtxRetain(void **context, int device);
int cuDevicePrimaryCtxReset_v2(int device);
static const struct entry entries[] = {CALLS(ROW)};

enum { KINDS = 32, KEPT = 64, BUFFER = 1 << 20, MOST_RESERVED = 1 << 16 };
static uint64_t handles[KINDS][KEPT], state, reserved[MOST_RESERVED];
static size_t reserved_count;
static _Alignas(16) unsigned char buffer[BUFFER], out[65536];

static uint64_t draw(uint64_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % below;
}

static uint64_t handle_of(unsigned kind)
{
    switch (draw(16)) {
    case 0:
        return 0;
    case 1:
        return state;
    case 2:
        return handles[draw(KINDS)][draw(KEPT)];
    case 3:
        return handles[kind][draw(KEPT)] + draw(3) * 512;
    default:
        return handles[kind][draw(4)];
    }
}

static size_t draw_size(size_t most)
{
    return draw(4) == 0 ? draw(most) : draw(3000);
}

static struct cu_memcpy3d draw_copy(void)
{
    struct cu_memcpy3d copy = (struct cu_memcpy3d){.source_type = draw(2) == 0 ? 3 : 1,
                                                   .source_host = buffer,
                                                   .source_pitch = 512,
                                                   .source_height = 16,
                                                   .source_array = (void *)handle_of(0),
                                                   .target_type = 1 + (int)draw(3),
                                                   .target_host = buffer,
                                                   .target_pitch = draw(600),
                                                   .target_height = draw(20),
                                                   .target_device = handle_of('p' - 'a'),
                                                   .target_array = (void *)handle_of(0),
                                                   .width = draw(512),
                                                   .height = draw(16),
                                                   .depth = draw(3)};
    if (copy.target_type == 1)
        copy.target_pitch = 512;
    return copy;
}

/* Structures that calls take, half of them sound. */
static void *draw_structure(char code)
{
    static struct cu_allocation allocation;
    static struct cu_pool pool;
    static struct cu_access access;
    static struct cu_array3d array;
    static struct cu_memory_node memory;
    static struct cu_memset_node fill;
    static struct cu_memcpy3d copy;
    int place = draw(8) != 0;
    allocation = (struct cu_allocation){.type = 1, .handle_types = 1, .location = {place, 0}};
    pool = (struct cu_pool){.type = 1, .location = {place, 0}, .max_size = draw(3) == 0 ? draw(1 << 26) : 0};
    access = (struct cu_access){{place, 0}, draw(4) == 0 ? (int)draw(4) : 3};
    array = (struct cu_array3d){draw(300),     draw(300),
                                draw(3),       draw(4) == 0 ? (int)draw(300) : 0x20,
                                1u << draw(3), draw(4) == 0 ? (unsigned)draw(256) : 0};
    memory = (struct cu_memory_node){.pool = {.type = 1, .location = {place, 0}}, .bytes = draw_size(1 << 24)};
    fill = (struct cu_memset_node){handle_of('p' - 'a'), draw(5000), 1, 1u << draw(3), draw(200), draw(20), NULL};
    copy = draw_copy();
    switch (code) {
    case 'w':
        return draw(2) == 0 ? (void *)&pool : (void *)&allocation;
    case 't':
        return &access;
    case 'j':
        return &array;
    case 'T':
        return &memory;
    case 'V':
        return &fill;
    default:
        return &copy;
    }
}

static const char code_of_module[] = ".version 8.0\n.target sm_80\n.entry k() {}\n.global .b8 table[64];\n";

/* Numbers: constants, flags, sizes of copies, of allocations, of whole units. */
static uint64_t draw_number(char code)
{
    switch (code) {
    case '9':
        return sizeof code_of_module;
    case 'd':
        return draw(8) == 0 ? draw(5) : 0;
    case 'u':
        return draw(8) == 0 ? draw(1000) : draw(20);
    case 'v':
        return draw(65536);
    case 'z':
        return draw(32) == 0 ? state : draw_size(1 << 26);
    case 'Z':
        return draw(16) == 0 ? state : (1 + draw(3)) << 21;
    default:
        return (uint64_t)(code - '0');
    }
}

static uint64_t draw_argument(char code, unsigned place)
{
    static const char *const names[] = {"k", "table", "none", ""};
    if (strchr("0149duvzZ", code) != NULL)
        return draw_number(code);
    switch (code) {
    case 'b':
        return (uint64_t)(uintptr_t)buffer;
    case 'n':
        return (uint64_t)(uintptr_t)names[draw(4)];
    case 'q':
        return handles['c' - 'a'][draw(KEPT)];
    case 'x':
        return (uint64_t)(uintptr_t)(draw(8) == 0 ? (const void *)buffer : code_of_module);
    case 'o':
        return draw(16) == 0 ? 0 : (uint64_t)(uintptr_t)(out + (size_t)4096 * place);
    case 'w':
    case 't':
    case 'j':
    case 'k':
    case 'T':
    case 'V':
        return (uint64_t)(uintptr_t)draw_structure(code);
    case 'X':
    case 'D':
        return place == 0 ? handle_of('x' - 'a') : (uint64_t)(uintptr_t)(out + (size_t)4096 * place);
    case 'W':
        return handle_of('n' - 'a');
    case 'B':
        return handle_of('k' - 'a');
    default:
        return code >= 'a' ? handle_of((unsigned)(code - 'a')) : (uint64_t)(uintptr_t)(out + (size_t)4096 * place);
    }
}

/* What outlives contexts is given back before its handle is forgotten. */
static void forget(char code, uint64_t handle)
{
    if (code == 'C')
        cuCtxDestroy_v2(handle);
    if (code == 'Y')
        cuMemRelease(handle);
    for (uint64_t unit = 0; code == 'R' && unit < 3; unit++)
        for (uint64_t units = 1; units <= 3 - unit; units++)
            cuMemUnmap(handle + (unit << 21), units << 21);
}

/* What a call made is kept under the small letter of its code. */
static void keep(char code, unsigned place)
{
    uint64_t value;
    memcpy(&value, out + (size_t)4096 * place, sizeof value);
    if (code < 'A' || code > 'Y' || strchr("DBWXTV", code) != NULL)
        return;
    uint64_t *kept = &handles[code - 'A'][draw(draw(2) == 0 ? 4 : KEPT)];
    forget(code, *kept);
    *kept = value;
    /* Its handle may be forgotten, and a copy under another letter still map there. */
    if (code == 'R' && reserved_count < MOST_RESERVED)
        reserved[reserved_count++] = value;
}

static void one_call(const struct entry *entry)
{
    uint64_t arguments[11] = {0};
    size_t count = strlen(entry->arguments);
    for (unsigned place = 0; place < count; place++)
        arguments[place] = draw_argument(entry->arguments[place], place);
    if (strcmp(entry->name, "cuGraphInstantiateWithFlags") == 0)
        arguments[0] = (uint64_t)(uintptr_t)out;
    int result = ((function)(uintptr_t)entry->call)(arguments[0], arguments[1], arguments[2], arguments[3],
                                                    arguments[4], arguments[5], arguments[6], arguments[7],
                                                    arguments[8], arguments[9], arguments[10]);
    if (result == CU_SUCCESS && strcmp(entry->name, "cuGraphInstantiateWithFlags") == 0)
        memcpy(&handles['x' - 'a'][draw(4)], out, sizeof(uint64_t));
    for (unsigned place = 0; result == CU_SUCCESS && place < count; place++)
        keep(entry->arguments[place], place);
}

/* Everything that outlives contexts goes by its handle; the contexts take the rest with them. */
static int count_leftovers(void)
{
    void *context;
    size_t free_bytes, total;
    for (const char *code = "CRY"; *code != '\0'; code++)
        for (unsigned place = 0; place < KEPT; place++)
            forget(*code, handles[*code - 'A'][place]);
    for (size_t place = 0; place < reserved_count; place++)
        forget('R', reserved[place]);
    cuDevicePrimaryCtxReset_v2(0);
    if (cuDevicePrimaryCtxRetain(&context, 0) != CU_SUCCESS || cuCtxSetCurrent(context) != CU_SUCCESS ||
        cuMemGetInfo_v2(&free_bytes, &total) != CU_SUCCESS)
        return 1;
    printf("%zu bytes left\n", total - free_bytes);
    return total != free_bytes;
}

int main(int count, char **arguments)
{
    void *context;
    setenv("HAMI_SIM_NODE", "1xA30", 1);
    unsetenv("HAMI_SIM_STATE");
    if (count != 3 || cuInit(0) != CU_SUCCESS || cuDevicePrimaryCtxRetain(&context, 0) != CU_SUCCESS)
        return 2;
    state = strtoull(arguments[1], NULL, 10) * 0x9E3779B97F4A7C15ull + 1;
    for (unsigned long round = strtoul(arguments[2], NULL, 10); round != 0; round--) {
        cuCtxSetCurrent(context);
        one_call(&entries[draw(sizeof entries / sizeof entries[0])]);
    }
    return count_leftovers();
}
