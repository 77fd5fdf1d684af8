/* SPDX-License-Identifier: Apache-2.0 */
#include "node/capabilities.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* minor = 3 + 135 G + 9 I (+ 1 + C): fifteen GPU instances of a GPU, eight compute instances of each. */
enum { GPU_INSTANCE_IDS = 15, COMPUTE_INSTANCE_IDS = 8, FIRST_MINOR = 3, MINORS_PER_INSTANCE = 9, CAPS_MAJOR = 236 };
enum { CONFIG_MINOR = 1, MONITOR_MINOR = 2, PATH_SIZE = ROOT_SIZE + 192 };

static unsigned minor_of(unsigned gpu, unsigned instance)
{
    return FIRST_MINOR + gpu * GPU_INSTANCE_IDS * MINORS_PER_INSTANCE + instance * MINORS_PER_INSTANCE;
}

__attribute__((format(printf, 3, 4))) static void path_below(char path[PATH_SIZE], const struct node *node,
                                                             const char *format, ...)
{
    size_t used = (size_t)snprintf(path, PATH_SIZE, "%s", node->behaviour.root);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(path + used, PATH_SIZE - used, format, arguments);
    va_end(arguments);
}

/* Parents are made on the way; an error leaves the file out, as a full disk would. */
static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
}

static FILE *open_new(char path[PATH_SIZE])
{
    make_parents(path);
    return fopen(path, "we");
}

static bool says(const char *path, const char *text, size_t length)
{
    char found[128];
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t got = read(descriptor, found, sizeof found);
    close(descriptor);
    return got == (ssize_t)length && memcmp(found, text, length) == 0;
}

/* Every change checks all of a GPU's files and writes only those whose content has changed. */
static void write_access(char path[PATH_SIZE], unsigned minor, unsigned mode)
{
    char text[96];
    int length =
        snprintf(text, sizeof text, "DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n", minor, mode);
    if (says(path, text, (size_t)length))
        return;
    FILE *file = open_new(path);
    if (file == NULL)
        return;
    fputs(text, file);
    fclose(file);
}

/* On hardware, a program must run nvidia-modprobe to make these nodes, and they stay; the knob is for tests without
 * such a program. A container that may not make device nodes gets a plain file instead. */
static void set_device_node(const struct node *node, unsigned minor, bool wanted)
{
    char path[PATH_SIZE];
    if (!node->behaviour.make_device_nodes)
        return;
    path_below(path, node, "/dev/nvidia-caps/nvidia-cap%u", minor);
    if (!wanted) {
        unlink(path);
        return;
    }
    make_parents(path);
    if (mknod(path, S_IFCHR | 0444, makedev(CAPS_MAJOR, minor)) != 0 && errno != EEXIST) {
        FILE *file = fopen(path, "we");
        if (file != NULL)
            fclose(file);
    }
}

/* A file that does not exist needs no removal, but its device node may, if the simulator makes device nodes. */
static bool needs_nothing(const struct node *node, const char *path, bool wanted)
{
    return !wanted && !node->behaviour.make_device_nodes && access(path, F_OK) != 0;
}

static void set_directory(const struct node *node, char path[PATH_SIZE], unsigned minor, bool wanted)
{
    char file[PATH_SIZE + 16];
    if (needs_nothing(node, path, wanted))
        return;
    snprintf(file, sizeof file, "%s/access", path);
    if (wanted) {
        write_access(file, minor, 0444);
    } else {
        unlink(file);
        rmdir(path);
    }
    set_device_node(node, minor, wanted);
}

static bool has_instance(const struct gpu *gpu, unsigned id, uint32_t *slot)
{
    for (*slot = 0; *slot < MAX_GPU_INSTANCES; (*slot)++)
        if (gpu->gpu_instances[*slot].serial != 0 && gpu->gpu_instances[*slot].id == id)
            return true;
    return false;
}

static bool has_child(const struct gpu *gpu, uint32_t parent, unsigned id)
{
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *child = &gpu->compute_instances[slot];
        if (child->serial != 0 && child->gpu_instance == parent && child->id == id)
            return true;
    }
    return false;
}

static void write_instance(const struct node *node, unsigned index, unsigned id)
{
    char path[PATH_SIZE];
    uint32_t slot;
    const struct gpu *gpu = &node->gpus[index];
    bool exists = has_instance(gpu, id, &slot);
    path_below(path, node, "/proc/driver/nvidia/capabilities/gpu%u/mig/gi%u", index, id);
    if (needs_nothing(node, path, exists))
        return;
    for (unsigned child = 0; child < COMPUTE_INSTANCE_IDS; child++) {
        path_below(path, node, "/proc/driver/nvidia/capabilities/gpu%u/mig/gi%u/ci%u", index, id, child);
        set_directory(node, path, minor_of(index, id) + 1 + child, exists && has_child(gpu, slot, child));
    }
    path_below(path, node, "/proc/driver/nvidia/capabilities/gpu%u/mig/gi%u", index, id);
    set_directory(node, path, minor_of(index, id), exists);
}

void capabilities_write_gpu(const struct node *node, unsigned index)
{
    if (node->behaviour.root[0] == '\0')
        return;
    for (unsigned id = 0; id < GPU_INSTANCE_IDS; id++)
        write_instance(node, index, id);
}

/* Every possible minor, even of instances that do not exist: this file never changes on hardware either. */
static void write_minors(const struct node *node)
{
    char path[PATH_SIZE];
    path_below(path, node, "/proc/driver/nvidia-caps/mig-minors");
    FILE *file = open_new(path);
    if (file == NULL)
        return;
    fprintf(file, "config %u\nmonitor %u\n", CONFIG_MINOR, MONITOR_MINOR);
    for (unsigned gpu = 0; gpu < MAX_GPUS; gpu++)
        for (unsigned instance = 0; instance < GPU_INSTANCE_IDS; instance++) {
            fprintf(file, "gpu%u/gi%u/access %u\n", gpu, instance, minor_of(gpu, instance));
            for (unsigned child = 0; child < COMPUTE_INSTANCE_IDS; child++)
                fprintf(file, "gpu%u/gi%u/ci%u/access %u\n", gpu, instance, child, minor_of(gpu, instance) + 1 + child);
        }
    fclose(file);
}

static void write_devices(const struct node *node)
{
    char path[PATH_SIZE];
    path_below(path, node, "/proc/devices");
    FILE *file = open_new(path);
    if (file == NULL)
        return;
    fprintf(file, "Character devices:\n195 nvidia\n195 nvidiactl\n%u nvidia-caps\n510 nvidia-uvm\n", CAPS_MAJOR);
    fclose(file);
}

void capabilities_write_all(const struct node *node)
{
    char path[PATH_SIZE];
    if (node->behaviour.root[0] == '\0')
        return;
    write_minors(node);
    write_devices(node);
    path_below(path, node, "/proc/driver/nvidia/capabilities/mig/config");
    write_access(path, CONFIG_MINOR, 0400);
    path_below(path, node, "/proc/driver/nvidia/capabilities/mig/monitor");
    write_access(path, MONITOR_MINOR, 0444);
    for (unsigned index = 0; index < node->gpu_count; index++)
        capabilities_write_gpu(node, index);
}
