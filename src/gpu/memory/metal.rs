//! What Metal recommends to use of a device's memory at most, and what of it is in use.

use objc2_metal::MTLDevice;

use super::MemoryHeap;

/// The memory of `adapter` as one heap; empty where it is not Metal's.
pub(super) fn heaps(adapter: &wgpu::Adapter) -> Vec<MemoryHeap> {
    // SAFETY: the device lent here is only asked; nothing is created or destroyed through it.
    let Some(adapter) = (unsafe { adapter.as_hal::<wgpu::hal::api::Metal>() }) else {
        return Vec::new();
    };
    let device = adapter.raw_device();
    // Metal does not tell the memory in all; above this size it begins to move resources out of the GPU's reach.
    let bytes = device.recommendedMaxWorkingSetSize();
    let used = device.currentAllocatedSize() as u64;
    vec![MemoryHeap { bytes, device_local: true, budget: Some(bytes), used: Some(used) }]
}
