/* SPDX-License-Identifier: Apache-2.0 */
#include "node/process.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* proc(5): the name in parentheses may hold anything, so fields are counted from the last parenthesis; the state is
 * field 3 and the start time field 22. A zombie has given its GPU context back. */
static uint64_t start_time_of_stat(const char *stat)
{
    const char *field = strrchr(stat, ')');
    if (field == NULL || field[1] != ' ' || field[2] == 'Z' || field[2] == 'X')
        return 0;
    field += 2;
    for (unsigned number = 3; number < 22 && field != NULL; number++) {
        field = strchr(field, ' ');
        field = field != NULL ? field + 1 : NULL;
    }
    return field != NULL ? strtoull(field, NULL, 10) : 0;
}

uint64_t process_start_time(uint32_t pid)
{
    char path[32], stat[1024];
    snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return 0;
    ssize_t length = read(descriptor, stat, sizeof stat - 1);
    close(descriptor);
    if (length <= 0)
        return 0;
    stat[length] = '\0';
    return start_time_of_stat(stat);
}

bool process_is_alive(const struct process *process)
{
    return process_start_time(process->pid) == process->start_time;
}

void process_purge(struct node *node)
{
    unsigned kept = 0;
    for (unsigned row = 0; row < node->process_count; row++)
        if (process_is_alive(&node->processes[row]))
            node->processes[kept++] = node->processes[row];
    node->process_count = kept;
}

bool process_in_scope(const struct process *process, const struct process_scope *scope)
{
    if (process->gpu != scope->gpu || (scope->whole_gpu_only && process->gpu_instance != 0))
        return false;
    if (scope->gpu_instance != 0 && process->gpu_instance != scope->gpu_instance)
        return false;
    return scope->compute_instance == 0 || process->compute_instance == scope->compute_instance;
}

bool process_any_alive(const struct node *node, const struct process_scope *scope)
{
    for (unsigned row = 0; row < node->process_count; row++)
        if (process_in_scope(&node->processes[row], scope) && process_is_alive(&node->processes[row]))
            return true;
    return false;
}

uint64_t process_used_bytes(const struct node *node, const struct process_scope *scope)
{
    uint64_t used = 0;
    for (unsigned row = 0; row < node->process_count; row++)
        if (process_in_scope(&node->processes[row], scope) && process_is_alive(&node->processes[row]))
            used += node->processes[row].memory_bytes;
    return used;
}

void process_find_ids(const struct gpu *gpu, const struct process *process, struct nvml_process *entry)
{
    entry->gpu_instance_id = entry->compute_instance_id = WHOLE_GPU;
    for (unsigned slot = 0; slot < MAX_COMPUTE_INSTANCES; slot++) {
        const struct compute_instance *instance = &gpu->compute_instances[slot];
        if (instance->serial != 0 && instance->serial == process->compute_instance) {
            entry->compute_instance_id = instance->id;
            entry->gpu_instance_id = gpu->gpu_instances[instance->gpu_instance].id;
        }
    }
}

/* Tabs and line ends would break the lines of the process list. */
void process_copy_name(char target[PROCESS_NAME_SIZE], const char *name)
{
    size_t length = strnlen(name, PROCESS_NAME_SIZE - 1);
    for (size_t index = 0; index < length; index++)
        target[index] = iscntrl((unsigned char)name[index]) ? '?' : name[index];
    target[length] = '\0';
}

void process_name(uint32_t pid, char target[PROCESS_NAME_SIZE])
{
    char path[32], line[PROCESS_NAME_SIZE] = "";
    snprintf(path, sizeof path, "/proc/%u/cmdline", pid);
    FILE *file = fopen(path, "re");
    size_t length = file != NULL ? fread(line, 1, sizeof line - 1, file) : 0;
    line[length] = '\0';
    if (file != NULL)
        fclose(file);
    process_copy_name(target, line);
}
