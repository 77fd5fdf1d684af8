/* SPDX-License-Identifier: Apache-2.0 */
/* The processes on a node's GPUs: whether they live, what they hold, who is in the way. */
#ifndef HAMI_SIM_PROCESS_H
#define HAMI_SIM_PROCESS_H

#include "node/node.h"

/* Start time of a live process in clock ticks since boot; 0 if there is none or it is a zombie. */
uint64_t process_start_time(uint32_t pid);

/* A name that breaks no line or table; and what /proc says is the name of a process. */
void process_copy_name(char target[PROCESS_NAME_SIZE], const char *name);
void process_name(uint32_t pid, char target[PROCESS_NAME_SIZE]);

bool process_is_alive(const struct process *process);

/* Drops the entries of processes that are gone. */
void process_purge(struct node *node);

/* Which processes are meant: those of a GPU, a GPU instance or a compute instance. */
struct process_scope {
    uint32_t gpu;
    uint64_t gpu_instance, compute_instance; /* serials; 0 = any */
    bool whole_gpu_only;
};

bool process_in_scope(const struct process *process, const struct process_scope *scope);
bool process_any_alive(const struct node *node, const struct process_scope *scope);
uint64_t process_used_bytes(const struct node *node, const struct process_scope *scope);

/* The instance ids of a process by its serials; 0xFFFFFFFF where it is on the whole GPU. */
void process_find_ids(const struct gpu *gpu, const struct process *process, struct nvml_process *entry);

#endif
