/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are captured: what is allocated there is a node of a graph. */
#ifndef VGPU_CAPTURE_H
#define VGPU_CAPTURE_H

#include "vgpu.h"

bool capture_is_active(void *stream);

/* Counts bytes for the graph that the stream is captured into, unless the driver failed; gives the result on. */
int capture_allocated(void *stream, uint64_t bytes, int result);

#endif
