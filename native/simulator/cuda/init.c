/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/init.h"

#include "cuda/devices.h"
#include "cuda/frame.h"
#include "cuda/lock.h"
#include "cuda/visible.h"
#include "node/environment.h"
#include "node/fault.h"
#include "node/node.h"
#include "node/store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static bool was_ready; /* survives a fork, which the page of driver_state does not */

static int result_of(int nvml)
{
    switch (nvml) {
    case NVML_SUCCESS:
        return CU_SUCCESS;
    case NVML_ERROR_TIMEOUT:
        return CU_ERROR_SYSTEM_NOT_READY;
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
        return 803; /* SYSTEM_DRIVER_MISMATCH */
    default:
        return CU_ERROR_NO_DEVICE;
    }
}

/* As without a kernel module, where nothing is named or the driver is absent. */
static int open_node(void)
{
    char message[2048] = "";
    int result = environment_open(&driver.store, message, sizeof message);
    if (result == NVML_SUCCESS && !fault_read_environment(message, sizeof message))
        result = NVML_ERROR_UNKNOWN;
    if (result == NVML_SUCCESS)
        result = environment_check_driver(&driver.store);
    if (result != NVML_SUCCESS) {
        if (message[0] != '\0' && (getenv("HAMI_SIM_STATE") != NULL || getenv("HAMI_SIM_NODE") != NULL))
            fprintf(stderr, "hami-sim: %s\n", message);
        store_close(&driver.store);
    }
    return result_of(result);
}

static int find_devices(void)
{
    int result = store_lock(&driver.store);
    if (result != NVML_SUCCESS)
        return result_of(result);
    visible_devices(store_current(&driver.store));
    store_unlock(&driver.store);
    return driver.device_count != 0 ? CU_SUCCESS : CU_ERROR_NO_DEVICE;
}

static int make_state(void)
{
    size_t size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return CU_ERROR_OPERATING_SYSTEM;
    madvise(page, size, MADV_WIPEONFORK);
    driver_state = page;
    return CU_SUCCESS;
}

/* A driver that was ready before a fork is of no use to the child, as on hardware. */
static int initialise(void)
{
    if (was_ready)
        return atomic_load(driver_state) == READY ? CU_SUCCESS : CU_ERROR_NOT_INITIALIZED;
    int result = driver_state == NULL ? make_state() : CU_SUCCESS;
    if (result == CU_SUCCESS && driver.store.file == NULL)
        result = open_node();
    if (result == CU_SUCCESS)
        result = find_devices();
    struct call call = {false};
    if (result == CU_SUCCESS)
        result = call_fault(&call, "cuInit");
    if (result != CU_SUCCESS) {
        store_close(&driver.store);
        return result;
    }
    was_ready = true;
    atomic_store(driver_state, READY);
    call_end(&call);
    return CU_SUCCESS;
}

static int early_version = NEWEST_CUDA_VERSION;
static pthread_once_t early_once = PTHREAD_ONCE_INIT;

/* A node that cannot be opened is complained of by cuInit, not here. */
static void look_at_version(void)
{
    char message[2048];
    struct store store = STORE_CLOSED;
    if (environment_open(&store, message, sizeof message) != NVML_SUCCESS)
        return;
    early_version = (int)node_cuda_version(store_current(&store));
    store_close(&store);
}

int driver_version(void)
{
    pthread_once(&early_once, look_at_version);
    return early_version;
}

CUDA_API int cuInit(unsigned flags)
{
    if (flags != 0)
        return CU_ERROR_INVALID_VALUE;
    if (driver_state != NULL && atomic_load_explicit(driver_state, memory_order_acquire) == READY) {
        ENTER();
        return CU_SUCCESS;
    }
    if (was_ready)
        return CU_ERROR_NOT_INITIALIZED;
    driver_lock();
    int result = initialise();
    driver_unlock();
    return result;
}

CUDA_API int cuDriverGetVersion(int *version)
{
    ENTER_EARLY();
    if (version == NULL)
        return CU_ERROR_INVALID_VALUE;
    *version = driver_version();
    return CU_SUCCESS;
}

/* Only the vendor's own tables are asked for here, and none of them is imitated. */
CUDA_API int cuGetExportTable(const void **table, const struct cu_uuid *id)
{
    ENTER_EARLY();
    if (table == NULL || id == NULL)
        return CU_ERROR_INVALID_VALUE;
    *table = NULL;
    return CU_ERROR_NOT_FOUND;
}
