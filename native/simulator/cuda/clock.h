/* SPDX-License-Identifier: Apache-2.0 */
/* The host's time. */
#ifndef HAMI_CUDA_CLOCK_H
#define HAMI_CUDA_CLOCK_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t clock_ns(void);
void sleep_until(uint64_t time_ns);

#endif
