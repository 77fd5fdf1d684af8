/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: ECC, error counters, remapped rows, recovery. */
#include "nvml/api/values.h"

#include <time.h>

enum { RECOVERY_NONE, RECOVERY_GPU_RESET, VALUE_UNSIGNED = 1, CORRECTED = 0 };

/* Field numbers of nvml.h. */
enum {
    FIELD_POWER_AVERAGE = 185,
    FIELD_POWER_INSTANT,
    FIELD_POWER_MIN_LIMIT,
    FIELD_POWER_MAX_LIMIT,
    FIELD_POWER_DEFAULT_LIMIT,
    FIELD_POWER_CURRENT_LIMIT,
    FIELD_POWER_REQUESTED_LIMIT,
    FIELD_RESET_STATUS = 226,
    FIELD_RECOVERY_ACTION = 230
};

static int get_ecc_mode(const char *function, void *device, unsigned *first, unsigned *second, bool needs_second)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, ON_GPU, device, first))
        return call.result;
    if (needs_second && second == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *first = 1;
    if (second != NULL)
        *second = 1;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetEccMode(void *device, unsigned *current, unsigned *pending)
{
    return get_ecc_mode(__func__, device, current, pending, true);
}

EXPORT int nvmlDeviceGetDefaultEccMode(void *device, unsigned *mode)
{
    return get_ecc_mode(__func__, device, mode, NULL, false);
}

static uint64_t count_of(const struct gpu *gpu, unsigned kind)
{
    return kind == CORRECTED ? gpu->ecc_corrected : gpu->ecc_uncorrected;
}

EXPORT int nvmlDeviceGetTotalEccErrors(void *device, unsigned kind, unsigned counter, unsigned long long *count)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_BOTH, device, count))
        return call.result;
    if (kind > 1 || counter > 1)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *count = count_of(call.gpu, kind);
    return call_end(&call, NVML_SUCCESS);
}

/* nvidia-smi shows no MIG devices at all unless this succeeds for them (reference 4.2). Errors are counted as device
 * memory's. */
EXPORT int nvmlDeviceGetMemoryErrorCounter(void *device, unsigned kind, unsigned counter, unsigned location,
                                           unsigned long long *count)
{
    enum { LOCATION_DEVICE_MEMORY = 2, LOCATION_COUNT = 8 };
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_BOTH, device, count))
        return call.result;
    if (kind > 1 || counter > 1 || location >= LOCATION_COUNT)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *count = location == LOCATION_DEVICE_MEMORY ? count_of(call.gpu, kind) : 0;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetRemappedRows(void *device, unsigned *corrected, unsigned *uncorrected, unsigned *pending,
                                     unsigned *failed)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, corrected))
        return call.result;
    if (uncorrected == NULL || pending == NULL || failed == NULL)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *corrected = *failed = 0;
    *uncorrected = (unsigned)call.gpu->ecc_uncorrected;
    *pending = call.gpu->reset_required;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceValidateInforom(void *device)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, device))
        return call.result;
    return call_end(&call, NVML_SUCCESS);
}

/* The fields that nvidia-smi takes power figures from, and the recovery action; ABSENT_ID for any other. */
static unsigned field_value(const struct call *call, unsigned field)
{
    const struct datasheet *sheet = telemetry_datasheet(call->gpu);
    unsigned limit = sheet != NULL ? sheet->power_limit_watts * 1000 : ABSENT_ID;
    switch (field) {
    case FIELD_POWER_AVERAGE:
    case FIELD_POWER_INSTANT:
        return sheet != NULL ? telemetry_activity(call->node, call->gpu, sheet).power_milliwatts : ABSENT_ID;
    case FIELD_POWER_MIN_LIMIT:
        return sheet != NULL ? TELEMETRY_MIN_POWER_WATTS * 1000 : ABSENT_ID;
    case FIELD_POWER_MAX_LIMIT:
    case FIELD_POWER_DEFAULT_LIMIT:
    case FIELD_POWER_CURRENT_LIMIT:
    case FIELD_POWER_REQUESTED_LIMIT:
        return limit;
    case FIELD_RESET_STATUS:
        return call->gpu->reset_required;
    case FIELD_RECOVERY_ACTION:
        return call->gpu->reset_required ? RECOVERY_GPU_RESET : RECOVERY_NONE;
    default:
        return ABSENT_ID;
    }
}

static void answer_field(const struct call *call, struct nvml_field_value *field)
{
    struct timespec now;
    unsigned value = field_value(call, field->field);
    bool is_power = field->field >= FIELD_POWER_AVERAGE && field->field <= FIELD_POWER_REQUESTED_LIMIT;
    clock_gettime(CLOCK_REALTIME, &now);
    field->timestamp_us = (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000;
    field->latency_us = 0;
    field->value_type = VALUE_UNSIGNED;
    field->value = value == ABSENT_ID ? 0 : value;
    /* The scope of a power field is the GPU (0), or a module or memory rail, which was never measured. */
    field->result = value == ABSENT_ID || (is_power && field->scope != 0) ? NVML_ERROR_NOT_SUPPORTED : NVML_SUCCESS;
}

EXPORT int nvmlDeviceGetFieldValues(void *device, int count, struct nvml_field_value *fields)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_BOTH, device, fields))
        return call.result;
    for (int index = 0; index < count; index++)
        answer_field(&call, &fields[index]);
    return call_end(&call, count <= 0 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS);
}
