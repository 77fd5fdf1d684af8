/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_API_STREAM_H
#define HAMI_CUDA_API_STREAM_H

#include "cuda/stream.h"

struct stream *stream_new(struct context *context, unsigned flags, int priority);

/* A context ended: its streams are waited for and freed. */
void streams_end_context(struct context *context);

#endif
