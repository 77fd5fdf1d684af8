/* SPDX-License-Identifier: Apache-2.0 */
#ifndef HAMI_CUDA_INIT_H
#define HAMI_CUDA_INIT_H

/* The CUDA version of the node's driver, also before cuInit; the newest without a node. */
int driver_version(void);

#endif
