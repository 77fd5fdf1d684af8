/* SPDX-License-Identifier: Apache-2.0 */
/* Streams that are captured: what is allocated there is a node of a graph. */
#ifndef VGPU_CAPTURE_H
#define VGPU_CAPTURE_H

#include "vgpu.h"

struct capture {
    bool active;
    int device;
    void *graph;
};

/* Whether a stream is being captured, and into what. Where the driver does not say, the answer is the driver's error, and
 * that of the call in which it was asked: nothing is given that could not be counted. */
int capture_ask(void *stream, struct capture *capture);

/* Counts bytes for the graph, unless the driver failed; gives the result on. */
int capture_allocated(const struct capture *capture, uint64_t bytes, int result);

#endif
