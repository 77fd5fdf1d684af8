/* SPDX-License-Identifier: Apache-2.0 */
/* NVML: power, temperature, clocks, link, modes. */
#include "nvml/api/values.h"

#include "node/memory.h"

enum { CLOCK_MEMORY = 2, CLOCK_KINDS = 4 };
enum { REASON_IDLE = 1, PCIE_LANES = 16 };

VALUE(nvmlDeviceGetPersistenceMode, unsigned, ON_GPU, call.gpu->persistence)
VALUE(nvmlDeviceGetDisplayActive, unsigned, ON_GPU, 0)
VALUE(nvmlDeviceGetDisplayMode, unsigned, ON_GPU, 0)
VALUE(nvmlDeviceGetComputeMode, unsigned, ON_BOTH, 0)
VALUE(nvmlDeviceGetVirtualizationMode, unsigned, ON_GPU, 0)
VALUE(nvmlDeviceGetAccountingMode, unsigned, ON_GPU, 0)
VALUE(nvmlDeviceGetMultiGpuBoard, unsigned, ON_GPU, 0)
VALUE(nvmlDeviceGetBoardId, unsigned, ON_GPU, (call.index + 1) << 8)
VALUE(nvmlDeviceGetPowerManagementMode, unsigned, ON_GPU, 1)
SHEET_VALUE(nvmlDeviceGetPerformanceState, unsigned, 0)
SHEET_VALUE(nvmlDeviceGetPowerState, unsigned, 0)
SHEET_VALUE(nvmlDeviceGetPowerUsage, unsigned, busy.power_milliwatts)
SHEET_VALUE(nvmlDeviceGetEnforcedPowerLimit, unsigned, sheet->power_limit_watts * 1000)
SHEET_VALUE(nvmlDeviceGetPowerManagementLimit, unsigned, sheet->power_limit_watts * 1000)
SHEET_VALUE(nvmlDeviceGetPowerManagementDefaultLimit, unsigned, sheet->power_limit_watts * 1000)
SHEET_VALUE(nvmlDeviceGetMaxPcieLinkGeneration, unsigned, sheet->pcie_generation)
SHEET_VALUE(nvmlDeviceGetGpuMaxPcieLinkGeneration, unsigned, sheet->pcie_generation)
SHEET_VALUE(nvmlDeviceGetCurrPcieLinkGeneration, unsigned, sheet->pcie_generation)
SHEET_VALUE(nvmlDeviceGetMaxPcieLinkWidth, unsigned, PCIE_LANES)
SHEET_VALUE(nvmlDeviceGetCurrPcieLinkWidth, unsigned, PCIE_LANES)
SHEET_VALUE(nvmlDeviceGetPcieReplayCounter, unsigned, 0)
SHEET_VALUE(nvmlDeviceGetMemoryBusWidth, unsigned, sheet->memory_bus_bits)
SHEET_VALUE(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long,
            busy.utilization_percent == 0 ? REASON_IDLE : 0)
SHEET_VALUE(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, busy.utilization_percent == 0 ? REASON_IDLE : 0)
SHEET_VALUE(nvmlDeviceGetSupportedClocksThrottleReasons, unsigned long long, 0x1FF)
SHEET_VALUE(nvmlDeviceGetSupportedClocksEventReasons, unsigned long long, 0x1FF)

EXPORT int nvmlDeviceSetPersistenceMode(void *device, unsigned mode)
{
    struct call call;
    if (!call_begin_device(&call, __func__, WRITE, ON_GPU, device, device))
        return call.result;
    int result = mode > 1 ? NVML_ERROR_INVALID_ARGUMENT : call_privilege(&call);
    if (result == NVML_SUCCESS)
        call.gpu->persistence = (uint8_t)mode;
    return call_end(&call, result);
}

/* Both versions are one function to faults; `required` is what the caller gave to be filled. */
static int read_temperature(void *device, unsigned sensor, const void *required, unsigned *celsius)
{
    struct call call;
    if (!call_begin_device(&call, "nvmlDeviceGetTemperature", READ, ON_GPU, device, required))
        return call.result;
    if (sensor != 0)
        return call_end(&call, NVML_ERROR_INVALID_ARGUMENT);
    *celsius = telemetry_activity(call.node, call.gpu, NULL).temperature_celsius;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetTemperature(void *device, unsigned sensor, unsigned *celsius)
{
    return read_temperature(device, sensor, celsius, celsius);
}

EXPORT int nvmlDeviceGetTemperatureV(void *device, struct nvml_temperature *temperature)
{
    unsigned celsius = 0;
    if (temperature != NULL && temperature->version != STRUCT_VERSION(struct nvml_temperature, 1))
        return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    int result = read_temperature(device, temperature != NULL ? temperature->sensor : 0, temperature, &celsius);
    if (result == NVML_SUCCESS && temperature != NULL)
        temperature->celsius = (int)celsius;
    return result;
}

EXPORT int nvmlDeviceGetTemperatureThreshold(void *device, unsigned kind, unsigned *celsius)
{
    static const unsigned thresholds[] = {92, 89, 95, 85}; /* shutdown, slowdown, memory, GPU */
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, celsius))
        return call.result;
    if (kind >= sizeof thresholds / sizeof thresholds[0])
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    *celsius = thresholds[kind];
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetPowerManagementLimitConstraints(void *device, unsigned *lowest, unsigned *highest)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, lowest))
        return call.result;
    const struct datasheet *sheet = telemetry_datasheet(call.gpu);
    if (sheet == NULL || highest == NULL)
        return call_end(&call, highest == NULL ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED);
    *lowest = TELEMETRY_MIN_POWER_WATTS * 1000;
    *highest = sheet->power_limit_watts * 1000;
    return call_end(&call, NVML_SUCCESS);
}

/* While MIG is on, a GPU has no utilisation of its own (reference 2.7). */
EXPORT int nvmlDeviceGetUtilizationRates(void *device, struct nvml_utilization *utilization)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, utilization))
        return call.result;
    if (call.gpu->mig_current)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    struct activity busy = telemetry_activity(call.node, call.gpu, NULL);
    *utilization = (struct nvml_utilization){busy.utilization_percent, busy.memory_percent};
    return call_end(&call, NVML_SUCCESS);
}

static int media_utilization(const char *function, void *device, unsigned *percent, unsigned *period_us)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, ON_GPU, device, percent))
        return call.result;
    if (call.gpu->mig_current || period_us == NULL)
        return call_end(&call, period_us == NULL ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED);
    *percent = 0;
    *period_us = 167000;
    return call_end(&call, NVML_SUCCESS);
}

#define MEDIA_UTILIZATION(name)                                                                                        \
    EXPORT int name(void *device, unsigned *percent, unsigned *period_us)                                              \
    {                                                                                                                  \
        return media_utilization(__func__, device, percent, period_us);                                                \
    }

MEDIA_UTILIZATION(nvmlDeviceGetEncoderUtilization)
MEDIA_UTILIZATION(nvmlDeviceGetDecoderUtilization)
MEDIA_UTILIZATION(nvmlDeviceGetJpgUtilization)
MEDIA_UTILIZATION(nvmlDeviceGetOfaUtilization)

static int get_clock(const char *function, void *device, unsigned kind, bool highest, unsigned *mhz)
{
    struct call call;
    if (!call_begin_device(&call, function, READ, ON_GPU, device, mhz))
        return call.result;
    const struct datasheet *sheet = telemetry_datasheet(call.gpu);
    if (kind >= CLOCK_KINDS || sheet == NULL)
        return call_end(&call, kind >= CLOCK_KINDS ? NVML_ERROR_INVALID_ARGUMENT : NVML_ERROR_NOT_SUPPORTED);
    unsigned graphics =
        highest ? sheet->graphics_clock_mhz : telemetry_activity(call.node, call.gpu, sheet).graphics_clock_mhz;
    *mhz = kind == CLOCK_MEMORY ? sheet->memory_clock_mhz : graphics;
    return call_end(&call, NVML_SUCCESS);
}

EXPORT int nvmlDeviceGetClockInfo(void *device, unsigned kind, unsigned *mhz)
{
    return get_clock(__func__, device, kind, false, mhz);
}

EXPORT int nvmlDeviceGetMaxClockInfo(void *device, unsigned kind, unsigned *mhz)
{
    return get_clock(__func__, device, kind, true, mhz);
}

EXPORT int nvmlDeviceGetClock(void *device, unsigned kind, unsigned which, unsigned *mhz)
{
    return get_clock(__func__, device, kind, which != 0, mhz);
}

EXPORT int nvmlDeviceGetPcieThroughput(void *device, unsigned counter, unsigned *kib_per_second)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_GPU, device, kib_per_second))
        return call.result;
    *kib_per_second = 0;
    return call_end(&call, counter > 1 ? NVML_ERROR_INVALID_ARGUMENT : NVML_SUCCESS);
}

/* A MIG device sees the part of BAR1 that its memory slices are of the whole. */
EXPORT int nvmlDeviceGetBAR1MemoryInfo(void *device, struct nvml_bar1_memory *info)
{
    struct call call;
    if (!call_begin_device(&call, __func__, READ, ON_BOTH, device, info))
        return call.result;
    const struct datasheet *sheet = telemetry_datasheet(call.gpu);
    if (sheet == NULL)
        return call_end(&call, NVML_ERROR_NOT_SUPPORTED);
    unsigned long long total = (unsigned long long)sheet->bar1_mib * MIB;
    if (call.gpu_instance != NULL)
        total = total * gpu_instance_profile(call.gpu, call.gpu_instance)->size / gpu_board(call.gpu)->memory_slices;
    *info = (struct nvml_bar1_memory){.total = total, .free = total};
    return call_end(&call, NVML_SUCCESS);
}
