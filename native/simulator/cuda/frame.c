/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/frame.h"

#include "cuda/context.h"
#include "cuda/devices.h"
#include "cuda/lock.h"
#include "node/fault.h"
#include "node/node.h"
#include "node/store.h"

#include <signal.h>

_Atomic uint32_t *driver_state;

int call_refuse(void)
{
    return CU_ERROR_NOT_INITIALIZED;
}

void call_die(void)
{
    raise(SIGKILL);
}

int call_fault(struct call *call, const char *function)
{
    struct fault_effect effect;
    driver_lock();
    bool due = store_lock(&driver.store) == NVML_SUCCESS;
    if (due) {
        unsigned gpu = thread.current != NULL ? device_of_current()->place.gpu : NO_SLOT;
        due = fault_due(&driver.store, store_current(&driver.store), function, gpu, &effect);
        store_unlock(&driver.store);
    }
    driver_unlock();
    if (!due)
        return CU_SUCCESS;
    call->dies_after = effect.action == FAULT_KILL_AFTER;
    return fault_act(&effect);
}
