//! Vulkan's heaps, with `VK_EXT_memory_budget` where the driver has it.

use ash::{ext, vk};

use super::MemoryHeap;

/// The memory heaps of `adapter`; empty where it is not Vulkan's.
pub(super) fn heaps(adapter: &wgpu::Adapter) -> Vec<MemoryHeap> {
    // SAFETY: the handles lent here are only asked; nothing is created or destroyed through them.
    let Some(adapter) = (unsafe { adapter.as_hal::<wgpu::hal::api::Vulkan>() }) else {
        return Vec::new();
    };
    let instance = adapter.shared_instance();
    let capabilities = adapter.physical_device_capabilities();
    let physical_device = adapter.raw_physical_device();

    // `vkGetPhysicalDeviceMemoryProperties2` came with Vulkan 1.1, and ash panics on a function that the
    // instance did not load.
    let has_properties2 = instance.instance_api_version() >= vk::API_VERSION_1_1
        && capabilities.properties().api_version >= vk::API_VERSION_1_1;
    let tells_budget = has_properties2 && capabilities.supports_extension(ext::memory_budget::NAME);

    let mut budget = vk::PhysicalDeviceMemoryBudgetPropertiesEXT::default();
    let memory = if tells_budget {
        let mut properties = vk::PhysicalDeviceMemoryProperties2::default().push_next(&mut budget);
        // SAFETY: the instance and the physical device are alive while `adapter` is, the function is
        // loaded (above), and the chained structure is one that the extension, supported, defines.
        unsafe {
            instance.raw_instance().get_physical_device_memory_properties2(physical_device, &mut properties);
        }
        properties.memory_properties
    } else {
        // SAFETY: the instance and the physical device are alive while `adapter` is.
        unsafe { instance.raw_instance().get_physical_device_memory_properties(physical_device) }
    };
    memory
        .memory_heaps_as_slice()
        .iter()
        .enumerate()
        .map(|(index, heap)| MemoryHeap {
            bytes: heap.size,
            device_local: heap.flags.contains(vk::MemoryHeapFlags::DEVICE_LOCAL),
            budget: tells_budget.then_some(budget.heap_budget[index]),
            used: tells_budget.then_some(budget.heap_usage[index]),
        })
        .collect()
}
