/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: the library itself and the machine around it. */
#include "nvml/call.h"
#include "nvml/session.h"

#include <stdio.h>
#include <string.h>

static const char default_driver_version[] = "580.95.05";
enum { INIT_FLAG_MASK = 3 };

/* A fault may be meant for the init itself; then nothing stays open. */
static int initialise(const char *function)
{
    struct call call;
    int result = session_init();
    if (result != NVML_SUCCESS)
        return result;
    if (!call_begin(&call, function, READ, function)) {
        session_shutdown();
        return call.result;
    }
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlInitWithFlags(unsigned flags)
{
    return flags & ~(unsigned)INIT_FLAG_MASK ? NVML_ERROR_INVALID_ARGUMENT : initialise(__func__);
}

EXPORT int nvmlInit_v2(void)
{
    return initialise(__func__);
}

EXPORT int nvmlInit(void)
{
    return initialise(__func__);
}

EXPORT int nvmlShutdown(void)
{
    return session_shutdown();
}

/* Our own words for the codes that NVML defines. */
EXPORT const char *nvmlErrorString(int result)
{
    static const char *const texts[] = {"Success",
                                        "Uninitialized",
                                        "Invalid Argument",
                                        "Not Supported",
                                        "Insufficient Permissions",
                                        "Already Initialized",
                                        "Not Found",
                                        "Insufficient Size",
                                        "Insufficient External Power",
                                        "Driver Not Loaded",
                                        "Timeout",
                                        "Interrupt Request Issue",
                                        "NVML Shared Library Not Found",
                                        "Function Not Found",
                                        "Corrupted infoROM",
                                        "GPU is lost",
                                        "GPU requires reset",
                                        "GPU access blocked by the operating system",
                                        "Driver/library version mismatch",
                                        "In use by another client",
                                        "Insufficient Memory",
                                        "No data",
                                        "The requested vgpu operation is not available on target device",
                                        "Insufficient Resources",
                                        "Frequency Not Supported",
                                        "Argument version mismatch",
                                        "Deprecated",
                                        "Not Ready",
                                        "GPU not found",
                                        "Invalid State",
                                        "Reset Type Not Supported"};
    if (result >= 0 && (size_t)result < sizeof texts / sizeof texts[0])
        return texts[result];
    return "Unknown Error";
}

static int write_text(char *target, unsigned length, const char *text)
{
    if (strlen(text) >= length)
        return NVML_ERROR_INSUFFICIENT_SIZE;
    memcpy(target, text, strlen(text) + 1);
    return NVML_SUCCESS;
}

static const char *driver_version(const struct node *node)
{
    const char *version = node->behaviour.driver_version;
    return version[0] != '\0' ? version : default_driver_version;
}

EXPORT int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, version))
        return call.result;
    return call_end(&call, write_text(version, length, driver_version(call.node)));
}

EXPORT int nvmlSystemGetNVMLVersion(char *version, unsigned length)
{
    struct call call;
    char text[48];
    if (!call_begin(&call, __func__, READ, version))
        return call.result;
    snprintf(text, sizeof text, "%u.%s", node_cuda_version(call.node) / 1000, driver_version(call.node));
    return call_end(&call, write_text(version, length, text));
}

static int get_cuda_version(const char *function, int *version)
{
    struct call call;
    if (!call_begin(&call, function, READ, version))
        return call.result;
    *version = (int)node_cuda_version(call.node);
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlSystemGetCudaDriverVersion(int *version)
{
    return get_cuda_version(__func__, version);
}

EXPORT int nvmlSystemGetCudaDriverVersion_v2(int *version)
{
    return get_cuda_version(__func__, version);
}

/* The name that a process registered with, else what /proc says of it. */
static int find_process_name(const struct node *node, unsigned pid, char *name, unsigned length)
{
    char path[32], line[256] = "";
    for (unsigned row = 0; row < node->process_count; row++)
        if (node->processes[row].pid == pid && node->processes[row].name[0] != '\0')
            return write_text(name, length, node->processes[row].name);
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NVML_ERROR_NOT_FOUND;
    if (fread(line, 1, sizeof line - 1, file) == 0)
        line[0] = '\0';
    fclose(file);
    return line[0] != '\0' ? write_text(name, length, line) : NVML_ERROR_NOT_FOUND;
}

EXPORT int nvmlSystemGetProcessName(unsigned pid, char *name, unsigned length)
{
    struct call call;
    if (!call_begin(&call, __func__, READ, name))
        return call.result;
    return call_end(&call, length == 0 ? NVML_ERROR_INVALID_ARGUMENT : find_process_name(call.node, pid, name, length));
}
