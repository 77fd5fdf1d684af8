/* SPDX-License-Identifier: Apache-2.0 */
/* One lock for what is rare: contexts, modules, pools, graphs, the host's memory. Recursive: nothing below it blocks. */
#ifndef HAMI_CUDA_LOCK_H
#define HAMI_CUDA_LOCK_H

void driver_lock(void);
void driver_unlock(void);

#endif
