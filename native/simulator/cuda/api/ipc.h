/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that another process opens: its unit becomes a file in memory that both map. */
#ifndef HAMI_CUDA_IPC_H
#define HAMI_CUDA_IPC_H

#include "cuda/arena.h"

void ipc_unshare(struct block *block);
void ipc_close(struct block *block);

#endif
