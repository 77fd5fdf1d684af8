/* SPDX-License-Identifier: Apache-2.0 */
/* Reads `2xA100-SXM4-40GB,1xA30`: what GPUs a simulated node has. */
#ifndef HAMI_SIM_SPEC_H
#define HAMI_SIM_SPEC_H

#include "node/board.h"

enum { MAX_GPUS = 32 };

struct spec {
    unsigned count;
    struct board_choice gpus[MAX_GPUS];
};

/* False and a text that says what is wrong where, if `text` is no spec. */
bool spec_parse(const char *text, struct spec *spec, char *message, size_t size);

#endif
