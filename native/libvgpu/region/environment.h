/* SPDX-License-Identifier: Apache-2.0 */
/* HAMi's environment variables, read once. Pure: text in, values and complaints out. */
#ifndef VGPU_ENVIRONMENT_H
#define VGPU_ENVIRONMENT_H

#include "vgpu.h"

#define VGPU_PATH 1024

struct vgpu_environment {
    uint64_t memory_limit[VGPU_DEVICES]; /* bytes; 0: none */
    uint64_t sm_limit[VGPU_DEVICES];     /* percent, 1 to 100 */
    unsigned malformed;                  /* a bit for each device whose memory limit means nothing */
    bool disabled;                       /* CUDA_DISABLE_CONTROL */
    bool oversubscribe;
    int log_level, priority, policy; /* policy: 0 default, 1 force, 2 disable */
    char cache[VGPU_PATH];           /* the region's file; empty: none named */
};

/* What a device gets whose limit is malformed: one byte, so that nothing fits and the log says why. Reading it as no
 * limit would take the neighbours' memory, as another number a job's. */
#define VGPU_MALFORMED_LIMIT 1

/* `512m`, `1.5g`, `100mb`, `0x10m`, `2GiB`, `4096` (bytes): a number, decimal with a fraction or hexadecimal, then a unit
 * of powers of 1024 (k, m, g, t, each also with b or ib) or none. False for anything else, for signs, and beyond 2^63. */
bool vgpu_parse_size(const char *text, uint64_t *bytes);

/* Variables by `look_up` (as getenv), those of `overrides` (lines NAME=VALUE, or NULL) before them. */
void vgpu_environment_read(struct vgpu_environment *found, const char *(*look_up)(const char *name),
                           const char *overrides);

#endif
