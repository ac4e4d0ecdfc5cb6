//! What tiles take of an adapter; the tiling that each adapter gets.

use naga::valid::{Capabilities, ValidationFlags, Validator};

use super::tile::*;
use super::*;
use crate::gpu::{AdapterClass, Profile};

const STEP: &str = "struct Step { accumulate: u32 }\n@group(0) @binding(0) var<uniform> step: Step;\n";

/// The kernel of a tile in one layout, without an epilogue.
fn parse(tile: Tile) -> naga::Module {
    let operand = Operand { layout: Layout::Summed, vec4: false, half: false };
    let (a, b, former) = (operand, operand, Former::Lost);
    let spec = MatmulSpec { a, b, tile, store_vec4: false, store_half: false, former, sums_rows: false };
    let text = matmul_wgsl(&ProductText { spec, epilogue: Epilogue::default(), reads: 2 }, STEP);
    naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{tile:?}: {}", error.emit_to_string(&text)))
}

/// All tiles there are: an adapter that runs them is thought up.
fn all_tiles() -> Vec<Tile> {
    let profile =
        Profile { subgroups: true, min_subgroup_size: 8, max_subgroup_size: 8, ..Profile::portable() };
    tiles(&profile).collect()
}

#[test]
fn only_broadcasting_tiles_take_subgroups() {
    for tile in all_tiles() {
        let module = parse(tile);
        let verdict = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
        assert_eq!(verdict.is_ok(), tile.body != Body::Broadcast, "{tile:?}");
    }
}

#[test]
fn staged_tiles_take_no_more_workgroup_memory_than_is_promised_everywhere() {
    let promised = wgpu::Limits::defaults().max_compute_workgroup_storage_size;
    for tile in all_tiles() {
        let module = parse(tile);
        let mut layouter = naga::proc::Layouter::default();
        layouter.update(module.to_ctx()).unwrap();
        let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
        let bytes: u32 = shared.map(|(_, variable)| layouter[variable.ty].size).sum();
        assert_eq!(bytes > 0, tile.body == Body::Staged, "{tile:?}");
        assert!(bytes <= promised, "{tile:?}: {bytes}");
    }
}

#[test]
fn the_uniform_in_wgsl_lies_as_in_rust() {
    let module = parse(SOFTWARE);
    let (_, uniform) = module
        .types
        .iter()
        .find(|(_, ty)| ty.name.as_deref() == Some("Matmul"))
        .expect("the module declares its parameters");
    let naga::TypeInner::Struct { members, span } = &uniform.inner else { panic!("not a struct") };
    assert_eq!(*span as usize, size_of::<MatmulParams>());
    let offset = |name: &str| members.iter().find(|m| m.name.as_deref() == Some(name)).map(|m| m.offset);
    let rust = [
        ("lda", std::mem::offset_of!(MatmulParams, lda)),
        ("last_k", std::mem::offset_of!(MatmulParams, last_k)),
        ("c_offset", std::mem::offset_of!(MatmulParams, c_offset)),
        ("first_column", std::mem::offset_of!(MatmulParams, first_column)),
        ("fold", std::mem::offset_of!(MatmulParams, fold)),
    ];
    for (name, place) in rust {
        assert_eq!(offset(name), Some(place as u32), "{name}");
    }
}

#[test]
fn slices_of_matrix_units_are_shared_out_evenly() {
    let profile = Profile { matrix_units: true, max_workgroup_memory: 48 << 10, ..Profile::desktop() };
    let on_units: Vec<Tile> = tiles(&profile).filter(Tile::on_units).collect();
    assert_eq!(on_units.len(), 4);
    for tile in on_units {
        for kept in [tile.workgroup_rows(), tile.workgroup_columns()] {
            assert!((kept * UNITS_DEPTH / 8).is_multiple_of(tile.invocations()), "{tile}");
        }
        assert!(tile.workgroup_memory() <= 48 << 10, "{tile}");
    }
}

#[test]
fn broadcasting_is_for_software_with_subgroups_of_exactly_eight() {
    let profile = |class, subgroups, least, most| Profile {
        class,
        subgroups,
        min_subgroup_size: least,
        max_subgroup_size: most,
        ..Profile::portable()
    };
    let rows = [
        (profile(AdapterClass::Software, true, 8, 8), BROADCAST),
        (profile(AdapterClass::Software, false, 8, 8), SOFTWARE),
        (profile(AdapterClass::Software, true, 4, 8), SOFTWARE),
        (profile(AdapterClass::Software, true, 16, 16), SOFTWARE),
        (profile(AdapterClass::Integrated, true, 8, 8), STAGED_32),
    ];
    for (profile, tile) in rows {
        assert_eq!(tiling_for(&profile, 128, 512, 784), Tiling { tile, parts: 1 }, "{profile:?}");
    }
    let llvmpipe = profile(AdapterClass::Software, true, 8, 8);
    let by_work = [(128, 10, 512), (128, 512, 784), (1024, 512, 784)]
        .map(|(m, n, k)| tiling_for(&llvmpipe, m, n, k).tile);
    assert_eq!(by_work, [BROADCAST_SMALL, BROADCAST, BROADCAST_LONG]);
}

#[test]
fn tilings_of_gpus_fill_them_and_those_of_software_are_never_split() {
    let of = |class, [m, n, k]: [usize; 3]| tiling_for(&Profile { class, ..Profile::portable() }, m, n, k);
    let (discrete, integrated) = (AdapterClass::Discrete, AdapterClass::Integrated);
    let rows = [
        // Enough of the largest; of 64 × 64.
        (discrete, [4096, 2048, 64], STAGED_128_TALL, 1),
        (discrete, [4096, 512, 784], STAGED_64, 1),
        // They fill it in parts.
        (discrete, [1024, 2048, 2048], STAGED_128_TALL, 2),
        (discrete, [512, 784, 4096], STAGED_64, 4),
        // 240 of the largest nearly fill it: the next one does.
        (discrete, [1920, 2048, 2048], STAGED_64, 1),
        (discrete, [512, 784, 1024], STAGED_32, 1),
        // A tile that would lie half beyond C.
        (discrete, [4096, 80, 784], STAGED_32, 1),
        (integrated, [4096, 512, 784], STAGED_128, 1),
        // Axes that fill no tile.
        (discrete, [512, 512, 8], STAGED_32, 1),
        // 16 workgroups of 256, and four: no part is shorter than 128.
        (discrete, [8, 512, 784], STAGED_32, 6),
        (discrete, [64, 64, 16384], STAGED_32, 64),
        (integrated, [64, 64, 16384], STAGED_32, 16),
        (discrete, [10, 512, 4096], STAGED_32, 16),
    ];
    for (class, shape, tile, parts) in rows {
        assert_eq!(of(class, shape), Tiling { tile, parts }, "{class:?} {shape:?}");
        assert_eq!(of(AdapterClass::Software, shape).parts, 1, "{shape:?}");
    }
    // The sums of parts fit a binding.
    let small = Profile { class: discrete, max_binding_size: 16 << 12, ..Profile::portable() };
    assert_eq!(tiling_for(&small, 64, 64, 16384), Tiling { tile: STAGED_32, parts: 4 });
    // Where workgroups have too little memory.
    let bare = Profile { class: discrete, max_workgroup_memory: 0, ..Profile::portable() };
    assert_eq!(tiling_for(&bare, 2048, 2048, 64).tile, DIRECT_32);
}
