//! The memory segments of a DirectX 12 adapter, as DXGI's video memory manager tells them.

use windows::Win32::Graphics::Dxgi::{
    DXGI_MEMORY_SEGMENT_GROUP_LOCAL, DXGI_MEMORY_SEGMENT_GROUP_NON_LOCAL, DXGI_QUERY_VIDEO_MEMORY_INFO,
};

use super::MemoryHeap;

/// Of linked adapters, which share one DXGI adapter, wgpu opens the first.
const NODE: u32 = 0;

/// The local and the non-local segment of `adapter`; empty where it is not DirectX 12's or DXGI does not tell.
pub(super) fn heaps(adapter: &wgpu::Adapter) -> Vec<MemoryHeap> {
    // SAFETY: the adapter lent here is only asked; nothing is created or destroyed through it.
    let Some(adapter) = (unsafe { adapter.as_hal::<wgpu::hal::api::Dx12>() }) else {
        return Vec::new();
    };
    let adapter = adapter.as_raw();
    let segment = |group| {
        let mut info = DXGI_QUERY_VIDEO_MEMORY_INFO::default();
        // SAFETY: `info` is a structure of the type that is filled, and outlives the call.
        unsafe { adapter.QueryVideoMemoryInfo(NODE, group, &mut info) }.ok().map(|()| info)
    };
    let segments = segment(DXGI_MEMORY_SEGMENT_GROUP_LOCAL).zip(segment(DXGI_MEMORY_SEGMENT_GROUP_NON_LOCAL));
    // SAFETY: a plain query of a live adapter.
    let (Some((local, non_local)), Ok(sizes)) = (segments, unsafe { adapter.GetDesc() }) else {
        return Vec::new();
    };
    let dedicated = (sizes.DedicatedVideoMemory + sizes.DedicatedSystemMemory) as u64;
    let shared = sizes.SharedSystemMemory as u64;
    let heap = |bytes, device_local, info: DXGI_QUERY_VIDEO_MEMORY_INFO| MemoryHeap {
        bytes,
        device_local,
        budget: Some(info.Budget),
        used: Some(info.CurrentUsage),
    };
    // An adapter with unified memory has one segment, the local one, and in it what it shares with the host.
    match non_local.Budget {
        0 => vec![heap(dedicated + shared, true, local)],
        _ => vec![heap(dedicated, true, local), heap(shared, false, non_local)],
    }
}
