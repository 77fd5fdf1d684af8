/* SPDX-License-Identifier: Apache-2.0 */
/* Holds the binary interface: a wrong size or offset fails the build. */
#include "nvml_abi.h"

#include <assert.h>
#include <stddef.h>

#define ASSERT_SIZE(type, size) static_assert(sizeof(type) == (size), #type)
#define ASSERT_OFFSET(type, field, offset) static_assert(offsetof(type, field) == (offset), #type "." #field)

ASSERT_SIZE(struct nvml_pci_info, 68);
ASSERT_OFFSET(struct nvml_pci_info, device_id, 28);
ASSERT_OFFSET(struct nvml_pci_info, bus_id, 36);
ASSERT_SIZE(struct nvml_pci_info_v1, 52);

ASSERT_SIZE(struct nvml_pci_info_ext, 64);

ASSERT_SIZE(struct nvml_memory, 24);
ASSERT_SIZE(struct nvml_memory_v2, 40);
ASSERT_OFFSET(struct nvml_memory_v2, total, 8);

ASSERT_SIZE(struct nvml_process_v1, 16);
ASSERT_SIZE(struct nvml_process, 24);
ASSERT_OFFSET(struct nvml_process, gpu_instance_id, 16);

ASSERT_SIZE(struct nvml_attributes, 40);
ASSERT_OFFSET(struct nvml_attributes, memory_mib, 32);

ASSERT_SIZE(struct nvml_profile_v1, 48);
ASSERT_OFFSET(struct nvml_profile_v1, memory_mib, 40);
ASSERT_SIZE(struct nvml_profile_v2, 152);
ASSERT_OFFSET(struct nvml_profile_v2, memory_mib, 48);
ASSERT_OFFSET(struct nvml_profile_v2, name, 56);
ASSERT_SIZE(struct nvml_profile_v3, 152);
ASSERT_OFFSET(struct nvml_profile_v3, memory_mib, 40);
ASSERT_OFFSET(struct nvml_profile_v3, name, 48);
ASSERT_OFFSET(struct nvml_profile_v3, capabilities, 144);

ASSERT_SIZE(struct nvml_instance_info, 24);
ASSERT_OFFSET(struct nvml_instance_info, placement, 16);

ASSERT_SIZE(struct nvml_compute_profile_v1, 36);
ASSERT_SIZE(struct nvml_compute_profile_v2, 136);
ASSERT_OFFSET(struct nvml_compute_profile_v2, name, 40);
ASSERT_SIZE(struct nvml_compute_profile_v3, 140);
ASSERT_OFFSET(struct nvml_compute_profile_v3, capabilities, 136);

ASSERT_SIZE(struct nvml_compute_info, 32);
ASSERT_OFFSET(struct nvml_compute_info, placement, 24);

ASSERT_SIZE(struct nvml_bar1_memory, 24);
ASSERT_SIZE(struct nvml_temperature, 12);
ASSERT_SIZE(struct nvml_utilization, 8);
ASSERT_SIZE(struct nvml_event_data, 32);
ASSERT_OFFSET(struct nvml_event_data, gpu_instance_id, 24);
ASSERT_SIZE(struct nvml_field_value, 40);
ASSERT_OFFSET(struct nvml_field_value, result, 28);
ASSERT_OFFSET(struct nvml_field_value, value, 32);
