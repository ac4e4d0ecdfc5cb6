//! Every kernel that the generators can emit, translated by naga for Vulkan, Metal and DX12: what would break on a
//! Mac or on Windows breaks here.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use naga::back::{hlsl, msl, spv};
use naga::valid::{Capabilities, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};
use proptest::test_runner::TestCaseError;

use super::operations::{gradient_programs, programs};
use super::planning::{fail, for_random_programs};
use super::samples::Sample;
use crate::gpu::{AdapterClass, Profile};
use crate::plan::kernels::matmul::{
    Body, Epilogue, Former, Layout, MatmulSpec, Operand, ProductText, Tile, matmul_wgsl, pair_wgsl, tiles,
};
use crate::plan::kernels::with_extensions;
use crate::plan::{Blueprint, Gradients, Plan, Precision};

/// Every adapter that kernels are chosen for: (what it is, its profile).
pub(super) fn profiles() -> [(&'static str, Profile); 4] {
    let of = |class| Profile { class, f16: true, ..Profile::portable() };
    let software = of(AdapterClass::Software);
    let eight = Profile { subgroups: true, min_subgroup_size: 8, max_subgroup_size: 8, ..software.clone() };
    [
        ("discrete", of(AdapterClass::Discrete)),
        ("integrated", of(AdapterClass::Integrated)),
        ("software", software),
        ("software with subgroups of eight", eight),
    ]
}

/// All that a product may do with what its result held.
const FORMER: [Former; 4] = [Former::Lost, Former::Continued, Former::ContinuedByStep, Former::AddedByStep];

/// The words of a SPIR-V module.
fn check_spirv(module: &naga::Module, info: &naga::valid::ModuleInfo) -> Result<(), String> {
    let options = spv::Options { lang_version: (1, 3), ..spv::Options::default() };
    let words = spv::write_vec(module, info, &options, None).map_err(|error| format!("SPIR-V: {error}"))?;
    // The magic number that every SPIR-V module begins with.
    if words.first() == Some(&0x0723_0203) { Ok(()) } else { Err("SPIR-V: no module".to_owned()) }
}

/// Whether naga takes `wgsl`, which is for matrix units, and writes it for Vulkan; elsewhere there are none of its kind.
fn translate_units(wgsl: &str) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let capabilities = Capabilities::SHADER_FLOAT16 | Capabilities::COOPERATIVE_MATRIX;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(wgsl))?;
    check_spirv(&module, &info)
}

/// Whether naga takes `wgsl`, which is all in f64 and has these bytes of workgroup memory, and writes it for Vulkan, and whether
/// a device without f64 refuses it: that is every device on Metal and, with wgpu 30, on DX12.
pub(super) fn translate_double(wgsl: &str, memory: u32) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let capabilities = Capabilities::FLOAT64 | Capabilities::SHADER_INT64;
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(wgsl))?;
    check_spirv(&module, &info)?;
    let is_float = |scalar: &naga::Scalar| scalar.kind == naga::ScalarKind::Float && scalar.width == 4;
    let single = module.types.iter().find(|(_, ty)| ty.inner.scalar().as_ref().is_some_and(is_float));
    if let Some((_, ty)) = single {
        return Err(format!("there is {:?}", ty.inner));
    }
    if workgroup_memory(wgsl) != memory {
        return Err(format!("{} bytes of workgroup memory, not {memory}", workgroup_memory(wgsl)));
    }
    match Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module) {
        Ok(_) => Err("taken without f64".to_owned()),
        Err(_) => Ok(()),
    }
}

/// Whether naga takes `wgsl` and writes it in all three languages, without or with subgroup operations.
pub(crate) fn translate(wgsl: &str, subgroups: bool) -> Result<(), String> {
    let module = naga::front::wgsl::parse_str(wgsl).map_err(|error| error.emit_to_string(wgsl))?;
    let half = wgsl.contains("enable f16;");
    let mut capabilities = if subgroups { Capabilities::SUBGROUP } else { Capabilities::empty() };
    capabilities.set(Capabilities::SHADER_FLOAT16, half);
    let mut validator = Validator::new(ValidationFlags::all(), capabilities);
    if subgroups {
        validator.subgroup_stages(ShaderStages::COMPUTE).subgroup_operations(SubgroupOperationSet::all());
    }
    let info = validator.validate(&module).map_err(|error| error.emit_to_string(wgsl))?;

    check_spirv(&module, &info)?;

    // The oldest Metal that has what the kernels use, and the shader model of Windows' own compiler, FXC; that has
    // neither subgroup operations nor f16.
    let options =
        msl::Options { lang_version: if subgroups { (2, 1) } else { (2, 0) }, ..Default::default() };
    let (text, translation) = msl::write_string(&module, &info, &options, &Default::default())
        .map_err(|error| format!("MSL: {error}"))?;
    check_entry_point("MSL", &text, &translation.entry_point_names)?;

    let shader_model = match (half, subgroups) {
        (true, _) => hlsl::ShaderModel::V6_2,
        (false, true) => hlsl::ShaderModel::V6_0,
        (false, false) => hlsl::ShaderModel::V5_1,
    };
    let options = hlsl::Options { shader_model, ..hlsl::Options::default() };
    let mut text = String::new();
    let pipeline = hlsl::PipelineOptions::default();
    let translation = hlsl::Writer::new(&mut text, &options, &pipeline)
        .write(&module, &info, None)
        .map_err(|error| format!("HLSL: {error}"))?;
    check_entry_point("HLSL", &text, &translation.entry_point_names)
}

fn check_entry_point<E: std::fmt::Display>(
    language: &str,
    text: &str,
    names: &[Result<String, E>],
) -> Result<(), String> {
    match names {
        [Ok(name)] if text.contains(name.as_str()) => Ok(()),
        [Err(error)] => Err(format!("{language}: {error}")),
        _ => Err(format!("{language}: {} entry points", names.len())),
    }
}

/// Kernels translated so far: label by text.
pub(super) type Translated = BTreeMap<String, String>;

/// Bytes of the variables that the invocations of a workgroup share.
fn workgroup_memory(wgsl: &str) -> u32 {
    let module = naga::front::wgsl::parse_str(wgsl).unwrap();
    let shared = module.global_variables.iter().filter(|(_, v)| v.space == naga::AddressSpace::WorkGroup);
    shared.map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx())).sum()
}

/// Translates the kernels of a plan that are new, and counts the workgroup memory that they state.
pub(super) fn translate_all(plan: &Plan, subgroups: bool, translated: &mut Translated) -> Result<(), String> {
    for kernel in &plan.kernels {
        let memory = workgroup_memory(&kernel.wgsl);
        if memory != kernel.workgroup_memory {
            return Err(format!("{} takes {memory} bytes, not {}", kernel.label, kernel.workgroup_memory));
        }
        if translated.insert(kernel.wgsl.clone(), kernel.label.clone()).is_none() {
            translate(&kernel.wgsl, subgroups)
                .map_err(|message| format!("{}: {message}\n{}", kernel.label, kernel.wgsl))?;
        }
    }
    Ok(())
}

#[test]
fn kernels_of_every_operation_are_valid_for_vulkan_metal_and_dx12() {
    let mut translated = Translated::new();
    for (name, program, _) in programs() {
        for (adapter, profile) in profiles() {
            let plan = Plan::new(&program, &profile, 1).unwrap();
            translate_all(&plan, profile.subgroups, &mut translated)
                .unwrap_or_else(|message| panic!("{name} ({adapter}): {message}"));
        }
    }
    let labels: BTreeSet<&str> = translated.values().map(String::as_str).collect();
    let families = [
        "cross-entropy",
        "cross-entropy gradient",
        "map",
        "matmul",
        "max",
        "scatter-add",
        "softmax",
        "sum",
        "two matmuls",
    ];
    assert_eq!(labels, families.into());
    let barriers = translated.keys().filter(|wgsl| wgsl.contains("workgroupBarrier")).count();
    assert!(barriers > 10, "only {barriers} cooperative kernels");
}

#[test]
fn kernels_that_accumulate_gradients_are_valid_for_vulkan_metal_and_dx12() {
    let mut translated = Translated::new();
    for (name, program, _) in gradient_programs() {
        for (adapter, profile) in profiles() {
            for precision in [Precision::F32, Precision::F16] {
                let blueprint = Blueprint::new(&program, &profile, Gradients::Accumulate, precision).unwrap();
                translate_all(&blueprint.plan(1).unwrap(), profile.subgroups, &mut translated)
                    .unwrap_or_else(|message| panic!("{name} ({adapter}): {message}"));
            }
        }
    }
    translated.retain(|wgsl, _| wgsl.contains("step.accumulate != 0u"));
    let labels: BTreeSet<&str> = translated.values().map(String::as_str).collect();
    assert_eq!(
        labels,
        ["cross-entropy gradient", "map", "matmul", "scatter-add", "sum", "two matmuls"].into()
    );
}

#[test]
fn kernels_of_random_programs_are_valid_for_vulkan_metal_and_dx12() {
    let translated = RefCell::new(Translated::new());
    for_random_programs(100, |genes| {
        let Sample { program, batch, .. } = genes.sample().map_err(fail)?;
        for (_, profile) in profiles() {
            let forms = [
                (Gradients::Overwrite, Precision::F32),
                (Gradients::Accumulate, Precision::F32),
                (Gradients::Accumulate, Precision::F16),
            ];
            for (gradients, precision) in forms {
                let plan = match Blueprint::new(&program, &profile, gradients, precision) {
                    // Random numbers whose batch is not the outermost axis.
                    Err(error) if error.to_string().contains("by micro-batches") => continue,
                    blueprint => blueprint.and_then(|blueprint| blueprint.plan(batch)).map_err(fail)?,
                };
                translate_all(&plan, profile.subgroups, &mut translated.borrow_mut())
                    .map_err(TestCaseError::fail)?;
            }
        }
        Ok(())
    });
}

#[test]
fn the_ceiling_of_matrix_units_is_valid_for_vulkan() {
    translate_units(&crate::measure::matrices_wgsl(100)).unwrap();
}

/// The text of every product by a tile, but for the epilogue.
fn specs(tile: Tile) -> Vec<MatmulSpec> {
    let operands = [Layout::Summed, Layout::Kept]
        .map(|layout| [false, true].map(|vec4| Operand { layout, vec4, half: tile.on_units() }))
        .concat();
    let mut specs = Vec::new();
    for (a, b) in operands.iter().flat_map(|a| operands.iter().map(move |b| (*a, *b))) {
        for (former, store_vec4) in FORMER.into_iter().flat_map(|f| [(f, false), (f, true)]) {
            let spec = MatmulSpec { a, b, tile, store_vec4, store_half: false, former, sums_rows: false };
            specs.push(spec);
            if a.layout == Layout::Kept && !tile.on_units() {
                specs.push(MatmulSpec { sums_rows: true, ..spec });
            }
        }
    }
    specs
}

/// Without an epilogue, and with one that reads a tensor.
fn epilogues() -> [Epilogue; 2] {
    let bias = Epilogue {
        declarations: "@group(0) @binding(4) var<storage, read> b4: array<f32>;\n".to_owned(),
        statements: "    let v0 = value + T(b4[col]);\n".to_owned(),
        expression: "max(v0, T(f32(row + index)))".to_owned(),
    };
    [Epilogue::default(), bias]
}

const STEP: &str = include_str!("../../../shaders/step.wgsl");

fn check_matmul(wgsl: String, tile: Tile) {
    let wgsl = with_extensions(wgsl);
    let verdict = match tile.on_units() {
        true => translate_units(&wgsl),
        false => translate(&wgsl, tile.body == Body::Broadcast),
    };
    assert!(verdict.is_ok(), "{tile:?}: {verdict:?}\n{wgsl}");
}

#[test]
fn every_matmul_is_valid_for_vulkan_metal_and_dx12() {
    let mut count = 0;
    let [.., (_, eight)] = profiles();
    let units = Profile { matrix_units: true, max_workgroup_memory: 48 << 10, ..Profile::desktop() };
    for tile in tiles(&eight).chain(tiles(&units).filter(Tile::on_units)) {
        for spec in specs(tile) {
            for (extra, epilogue) in epilogues().into_iter().enumerate() {
                check_matmul(matmul_wgsl(&ProductText { spec, epilogue, reads: 2 + extra }, STEP), tile);
                count += 1;
            }
        }
    }
    // Four tiles that are staged, three that broadcast, four for matrix units, four others. Half of the layouts have sums
    // of rows, but not on matrix units.
    let layouts = (4 + 3 + 4) * (16 + 8) + 4 * 16;
    assert_eq!(count, layouts * 2 * FORMER.len() * 2);
}

/// Every product beside its neighbour in the list, which has another epilogue and mostly another form.
#[test]
fn two_matmuls_in_one_kernel_are_valid_for_vulkan_metal_and_dx12() {
    let [.., (_, eight)] = profiles();
    for tile in tiles(&eight) {
        let texts: Vec<ProductText> = specs(tile)
            .into_iter()
            .flat_map(|spec| epilogues().map(|epilogue| (spec, epilogue)))
            .map(|(spec, epilogue)| {
                let reads = if epilogue == Epilogue::default() { 2 } else { 3 };
                ProductText { spec, epilogue, reads }
            })
            .collect();
        for pair in texts[1..].chunks_exact(2) {
            check_matmul(pair_wgsl([&pair[0], &pair[1]], STEP), tile);
        }
    }
}
