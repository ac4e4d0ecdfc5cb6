//! The C interface from the other side of the border: a whole use, and misuse.

use std::ffi::{CStr, CString, c_char};
use std::ptr::{null, null_mut};

use super::downhill_status::*;
use super::*;

fn message() -> String {
    // SAFETY: the library's text, which ends with a zero byte.
    unsafe { CStr::from_ptr(downhill_last_message()) }.to_str().unwrap().to_owned()
}

#[track_caller]
fn ok(status: downhill_status) {
    assert_eq!(status, DOWNHILL_STATUS_OK, "{}", message());
}

fn c(text: &str) -> CString {
    CString::new(text).unwrap()
}

const NO_GPU: downhill_gpu = downhill_gpu { id: 0 };
const NO_DATA: downhill_data = downhill_data { id: 0 };
const NO_OPTIONS: downhill_options = downhill_options { id: 0 };
const NO_TRAINER: downhill_trainer = downhill_trainer { id: 0 };
const NO_MODEL: downhill_model = downhill_model { id: 0 };

fn open() -> downhill_gpu {
    let mut gpu = NO_GPU;
    // SAFETY: no texts, and a place for the handle.
    ok(unsafe { downhill_gpu_open(null(), null(), null(), &mut gpu) });
    gpu
}

/// Two features whose larger one is the class.
fn rows(count: usize) -> (Vec<f32>, Vec<u32>) {
    let features: Vec<f32> = (0..2 * count).map(|i| (i * 37 % 101) as f32 / 101.0).collect();
    let labels = features.chunks(2).map(|row| u32::from(row[1] > row[0])).collect();
    (features, labels)
}

fn data(count: usize) -> downhill_data {
    let ((features, labels), mut data) = (rows(count), NO_DATA);
    // SAFETY: arrays of that many rows, and a place for the handle.
    ok(unsafe { downhill_data_from_floats(features.as_ptr(), count, 2, labels.as_ptr(), 2, &mut data) });
    data
}

fn options(settings: &[(&str, &str)]) -> downhill_options {
    let mut options = NO_OPTIONS;
    // SAFETY: texts, and a place for the handle.
    ok(unsafe { downhill_options_new(c("mlp:8:tanh").as_ptr(), c("adam").as_ptr(), &mut options) });
    for (name, value) in settings {
        // SAFETY: texts.
        ok(unsafe { downhill_options_set(options, c(name).as_ptr(), c(value).as_ptr()) });
    }
    options
}

fn trainer(gpu: downhill_gpu, data: downhill_data, options: downhill_options) -> downhill_trainer {
    let mut trainer = NO_TRAINER;
    // SAFETY: a place for the handle.
    ok(unsafe { downhill_trainer_new(gpu, data, options, &mut trainer) });
    trainer
}

#[test]
fn a_program_trains_in_frames_predicts_saves_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = c(folder.path().join("model.safetensors").to_str().unwrap());
    let (gpu, rows_of, test) = (open(), data(500), data(60));
    ok(downhill_data_set_test(rows_of, test));
    let options = options(&[("epochs", "30"), ("lr", "0.05"), ("batch", "32"), ("seed", "3")]);
    let mut plan = std::mem::MaybeUninit::uninit();
    // SAFETY: a place for it, which is filled where the call succeeds.
    let planned = unsafe {
        ok(downhill_plan_run(gpu, rows_of, options, plan.as_mut_ptr()));
        plan.assume_init()
    };
    assert_eq!((planned.parameters, planned.batch, planned.steps_per_epoch), (2 * 8 + 8 + 8 * 2 + 2, 32, 16));
    let trainer = trainer(gpu, rows_of, options);
    // Everything else may go.
    ok(downhill_data_free(rows_of));
    ok(downhill_data_free(test));
    ok(downhill_options_free(options));
    let mut accuracy = 0.0;
    for _ in 0..200_000 {
        let mut event = described_none();
        // SAFETY: no place for what was done, and one for the event.
        unsafe {
            ok(downhill_trainer_advance(trainer, 4_000_000, null_mut()));
            ok(downhill_trainer_poll(trainer, &mut event));
        }
        match event.kind {
            downhill_event_kind::DOWNHILL_EVENT_EPOCH => accuracy = event.test_accuracy,
            downhill_event_kind::DOWNHILL_EVENT_FINISHED => break,
            _ => std::thread::sleep(std::time::Duration::from_micros(50)),
        }
    }
    assert!(accuracy > 0.9, "{accuracy}");
    let mut model = NO_MODEL;
    // SAFETY: a place for the handle, and a text.
    unsafe {
        ok(downhill_model_of(trainer, 16, &mut model));
        ok(downhill_trainer_save_model(trainer, path.as_ptr()));
    }
    ok(downhill_trainer_free(trainer));
    let mut loaded = NO_MODEL;
    let spec = c("mlp:8:tanh");
    // SAFETY: texts, and a place for the handle.
    ok(unsafe { downhill_model_load(gpu, spec.as_ptr(), path.as_ptr(), 2, 2, 1, 7, &mut loaded) });
    ok(downhill_gpu_free(gpu));
    let (features, labels) = rows(100);
    let [first, second] = [model, loaded].map(|model| {
        let mut outputs = vec![0.0f32; 200];
        // SAFETY: 100 rows of 2 floats, and room for 200.
        ok(unsafe { downhill_model_predict(model, features.as_ptr(), 100, outputs.as_mut_ptr(), 200) });
        outputs
    });
    assert!(first.iter().zip(&second).all(|(a, b)| (a - b).abs() < 1e-6), "rows at once do not matter");
    let right = first.chunks(2).zip(&labels).filter(|(row, label)| u32::from(row[1] > row[0]) == **label);
    assert!(right.count() > 90);
    ok(downhill_model_free(model));
    ok(downhill_model_free(loaded));
}

fn described_none() -> downhill_event {
    downhill_event {
        kind: downhill_event_kind::DOWNHILL_EVENT_NONE,
        epoch: 0,
        step: 0,
        loss: 0.0,
        test_loss: 0.0,
        test_accuracy: 0.0,
        learning_rate: 0.0,
        samples_per_second: 0.0,
    }
}

#[test]
fn a_snapshot_in_memory_resumes_bit_for_bit() {
    let (gpu, rows) = (open(), data(500));
    let options = options(&[("steps", "20")]);
    let ends = [false, true].map(|cut| {
        let mut trainer = trainer(gpu, rows, options);
        if cut {
            let mut snapshot = Vec::new();
            // SAFETY: no room at first, then as much as was told.
            unsafe {
                for _ in 0..40 {
                    ok(downhill_trainer_advance(trainer, 300_000, null_mut()));
                }
                let mut length = 0;
                let asked = downhill_trainer_snapshot(trainer, null_mut(), 0, &mut length);
                assert_eq!(asked, DOWNHILL_STATUS_SHAPE);
                snapshot.resize(length, 0);
                ok(downhill_trainer_snapshot(trainer, snapshot.as_mut_ptr(), length, &mut length));
            }
            ok(downhill_trainer_free(trainer));
            trainer = self::trainer(gpu, rows, options);
            // SAFETY: as many bytes.
            ok(unsafe { downhill_trainer_restore(trainer, snapshot.as_ptr(), snapshot.len()) });
        }
        let (mut event, mut parameters) = (described_none(), vec![0.0f32; 2 * 8 + 8 + 8 * 2 + 2]);
        // SAFETY: places for the results.
        unsafe {
            while event.kind != downhill_event_kind::DOWNHILL_EVENT_FINISHED {
                ok(downhill_trainer_next_event(trainer, &mut event));
            }
            ok(downhill_trainer_parameters(trainer, parameters.as_mut_ptr(), parameters.len()));
        }
        ok(downhill_trainer_free(trainer));
        parameters
    });
    assert_eq!(ends[0], ends[1]);
}

/// A call that misuses the interface, and what it says.
type Misuse = (&'static str, downhill_status, Box<dyn Fn() -> downhill_status>, &'static str);

#[test]
fn misuse_is_an_error_each_and_no_crash() {
    let gpu = open();
    let rows_of = data(100);
    let run = options(&[("steps", "5")]);
    let trainer = trainer(gpu, rows_of, run);
    let freed = self::trainer(gpu, rows_of, run);
    ok(downhill_trainer_free(freed));
    let mut model = NO_MODEL;
    // SAFETY: a place for the handle.
    ok(unsafe { downhill_model_of(trainer, 4, &mut model) });
    let (features, labels) = rows(4);
    let (features, labels) = (features.leak().as_mut_ptr(), labels.leak().as_mut_ptr());
    let out = |count: usize| vec![0.0f32; count].leak().as_mut_ptr();
    let no = null::<c_char>();
    let not_utf8 = c"\xff".as_ptr();
    let text = |text: &str| c(text).into_raw().cast_const();
    let missing = text("/nonexistent/model.safetensors");
    // SAFETY: every pointer is null, which is what is tested, or of what the call asks for.
    let misuses: Vec<Misuse> = unsafe {
        vec![
            (
                "no place for a handle",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_gpu_open(no, no, no, null_mut())),
                "place for the result",
            ),
            (
                "no features",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_data_from_floats(null(), 4, 2, labels, 2, &mut { NO_DATA })),
                "features must not be null",
            ),
            (
                "no labels",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_data_from_floats(features, 4, 2, null(), 2, &mut { NO_DATA })),
                "labels must not be null",
            ),
            (
                "no name",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_options_set(run, no, text("1"))),
                "name must not be null",
            ),
            (
                "no outputs",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_model_predict(model, features, 4, null_mut(), 8)),
                "outputs must not be null",
            ),
            (
                "no event",
                DOWNHILL_STATUS_NULL_POINTER,
                Box::new(move || downhill_trainer_poll(trainer, null_mut())),
                "place for the result",
            ),
            (
                "not UTF-8",
                DOWNHILL_STATUS_TEXT,
                Box::new(move || downhill_options_set(run, not_utf8, text("1"))),
                "name is not UTF-8",
            ),
            (
                "freed",
                DOWNHILL_STATUS_HANDLE,
                Box::new(move || downhill_trainer_advance(freed, 1000, null_mut())),
                "this trainer was freed",
            ),
            (
                "freed twice",
                DOWNHILL_STATUS_HANDLE,
                Box::new(move || downhill_trainer_free(freed)),
                "this trainer was freed",
            ),
            (
                "none",
                DOWNHILL_STATUS_HANDLE,
                Box::new(|| downhill_trainer_pause(NO_TRAINER)),
                "make a trainer first",
            ),
            (
                "of something else",
                DOWNHILL_STATUS_HANDLE,
                Box::new(move || downhill_trainer_free(downhill_trainer { id: model.id })),
                "something else than a trainer",
            ),
            (
                "made up",
                DOWNHILL_STATUS_HANDLE,
                Box::new(move || downhill_trainer_pause(downhill_trainer { id: trainer.id ^ (1 << 30) })),
                "freed, or never made",
            ),
            (
                "rows beyond memory",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || {
                    downhill_data_from_floats(features, usize::MAX, 2, labels, 2, &mut { NO_DATA })
                }),
                "more than memory can hold",
            ),
            (
                "no rows",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || downhill_data_from_floats(features, 0, 2, labels, 2, &mut { NO_DATA })),
                "row",
            ),
            (
                "a label beyond the classes",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || downhill_data_from_floats(features, 4, 2, labels, 1, &mut { NO_DATA })),
                "class",
            ),
            (
                "room for too few outputs",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || downhill_model_predict(model, features, 4, out(7), 7)),
                "8 outputs, and room for 7",
            ),
            (
                "bytes for floats",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || downhill_model_predict_bytes(model, features.cast(), 4, out(8), 8)),
                "takes no bytes",
            ),
            (
                "room for too many parameters",
                DOWNHILL_STATUS_SHAPE,
                Box::new(move || downhill_trainer_parameters(trainer, out(43), 43)),
                "42 parameters",
            ),
            (
                "an unknown setting",
                DOWNHILL_STATUS_SETTING,
                Box::new(move || downhill_options_set(run, text("lrr"), text("1"))),
                "did you mean `lr`",
            ),
            (
                "a value that is none",
                DOWNHILL_STATUS_SETTING,
                Box::new(move || downhill_options_set(run, text("batch"), text("many"))),
                "batch",
            ),
            (
                "an unknown rule",
                DOWNHILL_STATUS_SETTING,
                Box::new(move || downhill_options_new(text("mlp:8"), text("adm"), &mut { NO_OPTIONS })),
                "did you mean `adam`",
            ),
            (
                "no such file",
                DOWNHILL_STATUS_READ,
                Box::new(move || downhill_trainer_load_model(trainer, missing)),
                "/nonexistent/model.safetensors",
            ),
            (
                "nowhere to write",
                DOWNHILL_STATUS_WRITE,
                Box::new(move || downhill_trainer_save_model(trainer, missing)),
                "/nonexistent/",
            ),
            (
                "a snapshot of noise",
                DOWNHILL_STATUS_READ,
                Box::new(move || downhill_trainer_restore(trainer, labels.cast(), 16)),
                "safetensors",
            ),
            (
                "no such adapter",
                DOWNHILL_STATUS_SETTING,
                Box::new(move || downhill_gpu_open(text("no such adapter"), no, no, &mut { NO_GPU })),
                "no such adapter",
            ),
            (
                "too little memory",
                DOWNHILL_STATUS_DOES_NOT_FIT,
                Box::new(move || {
                    let mut small = NO_GPU;
                    ok(downhill_gpu_open(no, text("10KiB"), no, &mut small));
                    let refused = downhill_trainer_new(small, rows_of, run, &mut { NO_TRAINER });
                    ok(downhill_gpu_free(small));
                    refused
                }),
                "raise the memory limit",
            ),
        ]
    };
    for (label, expected, call, fragment) in &misuses {
        let status = call();
        assert_eq!(status, *expected, "{label}: {}", message());
        assert!(message().contains(fragment), "{label}: {}", message());
        assert!(!message().contains('\n'), "{label}");
    }
    // None of it has hurt anything.
    let mut event = described_none();
    while event.kind != downhill_event_kind::DOWNHILL_EVENT_FINISHED {
        // SAFETY: a place for the event.
        ok(unsafe { downhill_trainer_next_event(trainer, &mut event) });
    }
    ok(downhill_trainer_free(trainer));
    ok(downhill_model_free(model));
    ok(downhill_options_free(run));
    ok(downhill_data_free(rows_of));
    ok(downhill_gpu_free(gpu));
}

#[test]
fn a_panic_stays_on_this_side_of_the_border() {
    let status = super::status::guard(|| panic!("on purpose"));
    assert_eq!(status, DOWNHILL_STATUS_PANIC);
    assert!(message().contains("a fault of downhill itself"), "{}", message());
}
