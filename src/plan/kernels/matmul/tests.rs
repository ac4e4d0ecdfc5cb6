//! Every variant is valid WGSL; the tile that each adapter gets.

use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use super::tile::*;
use super::*;
use crate::gpu::{AdapterClass, Profile};

const STEP: &str = "struct Step { accumulate: u32 }\n@group(0) @binding(0) var<uniform> step: Step;\n";

const FORMER: [Former; 4] = [Former::Lost, Former::Continued, Former::ContinuedByStep, Former::AddedByStep];

/// Every combination of layouts, vector reads, stores and accumulation for one tile.
fn specs(tile: Tile) -> Vec<MatmulSpec> {
    let layouts = [Layout::Summed, Layout::Kept];
    let operands =
        layouts.map(|layout| [false, true].map(|vec4| Operand { layout, vec4, half: false })).concat();
    let mut specs = Vec::new();
    for &a in &operands {
        for &b in &operands {
            for former in FORMER {
                specs.extend([false, true].map(|store_vec4| MatmulSpec {
                    a,
                    b,
                    tile,
                    store_vec4,
                    store_half: false,
                    former,
                }));
            }
        }
    }
    specs
}

fn epilogues() -> [Epilogue; 2] {
    let bias = "@group(0) @binding(4) var<storage, read> bias: array<T>;\n";
    let biased = Epilogue {
        declarations: bias.to_owned(),
        statements: "    let biased = value + bias[col % arrayLength(&bias)];\n".to_owned(),
        expression: "max(biased, T(f32(row + index) * 0.0))".to_owned(),
    };
    [Epilogue::default(), biased]
}

fn parse(spec: &MatmulSpec, epilogue: &Epilogue) -> naga::Module {
    let text = matmul_wgsl(spec, STEP, epilogue, 5);
    naga::front::wgsl::parse_str(&text)
        .unwrap_or_else(|error| panic!("{spec:?}: {}", error.emit_to_string(&text)))
}

#[test]
fn every_variant_that_a_tile_gives_is_valid() {
    for tile in [BROADCAST, BROADCAST_SMALL, BROADCAST_LONG, SOFTWARE, GPU_LARGE, GPU_SMALL] {
        for spec in specs(tile) {
            for epilogue in epilogues() {
                let module = parse(&spec, &epilogue);
                let verdict = Validator::new(ValidationFlags::all(), Capabilities::SUBGROUP)
                    .subgroup_stages(ShaderStages::COMPUTE)
                    .subgroup_operations(SubgroupOperationSet::all())
                    .validate(&module);
                assert!(verdict.is_ok(), "{spec:?}: {verdict:?}");
            }
        }
    }
}

#[test]
fn only_broadcasting_tiles_take_subgroups() {
    for (tile, valid) in [(BROADCAST, false), (SOFTWARE, true), (GPU_LARGE, true), (GPU_SMALL, true)] {
        let module = parse(&specs(tile)[0], &Epilogue::default());
        let verdict = Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module);
        assert_eq!(verdict.is_ok(), valid, "{tile:?}");
    }
}

#[test]
fn the_uniform_in_wgsl_lies_as_in_rust() {
    let module = parse(&specs(SOFTWARE)[0], &Epilogue::default());
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
        ("c_offset", std::mem::offset_of!(MatmulParams, c_offset)),
        ("first_column", std::mem::offset_of!(MatmulParams, first_column)),
        ("fold", std::mem::offset_of!(MatmulParams, fold)),
    ];
    for (name, place) in rust {
        assert_eq!(offset(name), Some(place as u32), "{name}");
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
        (profile(AdapterClass::Integrated, true, 8, 8), GPU_SMALL),
    ];
    for (profile, tile) in rows {
        assert_eq!(tile_for(&profile, 128, 512, 784), tile, "{profile:?}");
    }
    let gpu = profile(AdapterClass::Discrete, true, 32, 32);
    assert_eq!(tile_for(&gpu, 512, 512, 1), GPU_LARGE);
    let llvmpipe = profile(AdapterClass::Software, true, 8, 8);
    let by_work =
        [(128, 10, 512), (128, 512, 784), (1024, 512, 784)].map(|(m, n, k)| tile_for(&llvmpipe, m, n, k));
    assert_eq!(by_work, [BROADCAST_SMALL, BROADCAST, BROADCAST_LONG]);
}
