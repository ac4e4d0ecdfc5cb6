/* downhill: trains neural networks on any Vulkan, Metal or DX12 GPU.
 *
 * Every function returns a status; downhill_last_message() tells what was wrong. Handles are plain numbers in a struct: copy them
 * freely, free each once. A handle that was freed is refused with DOWNHILL_STATUS_HANDLE, also where its number was used again.
 * All functions may be called from any thread; while one works on an object, others on the same object wait for it. Functions
 * whose text does not say so wait for nothing but that.
 *
 * Made by cbindgen from src/capi: change it there, then `make header`. */

#ifndef DOWNHILL_H
#define DOWNHILL_H

#include <stddef.h>
#include <stdint.h>

// What became of a call. Everything but DOWNHILL_STATUS_OK left nothing behind but a message, which
// downhill_last_message() tells.
typedef enum {
  // Done.
  DOWNHILL_STATUS_OK = 0,
  // A pointer that must not be null was.
  DOWNHILL_STATUS_NULL_POINTER = 1,
  // A handle that was freed, or never given out, or is of something else.
  DOWNHILL_STATUS_HANDLE = 2,
  // A text is not UTF-8.
  DOWNHILL_STATUS_TEXT = 3,
  // A size is not what it must be, or shapes do not go together.
  DOWNHILL_STATUS_SHAPE = 4,
  // A setting has no such name or cannot have this value.
  DOWNHILL_STATUS_SETTING = 5,
  // A file cannot be read, or says what cannot be right.
  DOWNHILL_STATUS_READ = 6,
  // A file cannot be written; what stood there before still does.
  DOWNHILL_STATUS_WRITE = 7,
  // There is no adapter that can run compute shaders, or it does not open.
  DOWNHILL_STATUS_ADAPTER = 8,
  // The device was lost or failed.
  DOWNHILL_STATUS_DEVICE = 9,
  // The run takes more memory than it may.
  DOWNHILL_STATUS_DOES_NOT_FIT = 10,
  // Memory ran out.
  DOWNHILL_STATUS_OUT_OF_MEMORY = 11,
  // The loss is not finite.
  DOWNHILL_STATUS_DIVERGED = 12,
  // A fault of downhill itself. What the call worked on must only be freed.
  DOWNHILL_STATUS_PANIC = 13,
} downhill_status;

// Why downhill_trainer_advance() submitted no more.
typedef enum {
  // The time granted is used up.
  DOWNHILL_STOPPED_TIME = 0,
  // The device has not done yet what it has.
  DOWNHILL_STOPPED_DEVICE = 1,
  // The next rows are not ready.
  DOWNHILL_STOPPED_DATA = 2,
  // Memory ran out, or its limit was lowered: the run was planned again.
  DOWNHILL_STOPPED_REPLANNED = 3,
  // The trainer is paused.
  DOWNHILL_STOPPED_PAUSED = 4,
  // All is done, or cancelled.
  DOWNHILL_STOPPED_FINISHED = 5,
} downhill_stopped;

// What an event is of.
typedef enum {
  // There is nothing to say now.
  DOWNHILL_EVENT_NONE = 0,
  // A step whose loss was asked for by "log-every".
  DOWNHILL_EVENT_STEP = 1,
  // An epoch is over.
  DOWNHILL_EVENT_EPOCH = 2,
  // Memory ran out, or its limit was lowered; the run goes on in smaller parts.
  DOWNHILL_EVENT_REPLANNED = 3,
  // All steps are done.
  DOWNHILL_EVENT_FINISHED = 4,
} downhill_event_kind;

// A device to train on.
typedef struct {
  // 0 for none.
  uint64_t id;
} downhill_gpu;

// Rows of features with a target each, and perhaps others that a model is tested with.
typedef struct {
  // 0 for none.
  uint64_t id;
} downhill_data;

// What data hold.
typedef struct {
  // Rows to train on, and to test with.
  uint64_t rows;
  // Rows to test with; 0 for none.
  uint64_t test_rows;
  // Features of a row.
  uint64_t features;
  // Numbers that a model gives for a row: a probability for each class, or the values themselves.
  uint64_t outputs;
  // 1 where targets are classes, 0 where they are values.
  uint32_t has_classes;
} downhill_data_info;

// What a run is asked to do.
typedef struct {
  // 0 for none.
  uint64_t id;
} downhill_options;

// What a run takes and how it is laid out.
typedef struct {
  // Bytes of GPU memory, all together.
  uint64_t bytes;
  // Bytes that the run may take.
  uint64_t budget;
  // Numbers that are learnt.
  uint64_t parameters;
  // Rows that one update averages over.
  uint64_t batch;
  // Rows that are computed at once.
  uint64_t micro_batch;
  // Updates in one pass over the rows.
  uint64_t steps_per_epoch;
} downhill_plan;

// A model in training.
//
// Its functions may be called from any thread; while one works on a trainer, others on the same trainer wait for it.
typedef struct {
  // 0 for none.
  uint64_t id;
} downhill_trainer;

// What a call of downhill_trainer_advance() did.
typedef struct {
  // Steps whose last part was submitted.
  uint64_t steps;
  // Launches that were submitted.
  uint64_t launches;
  // Nanoseconds that they are expected to take on the device.
  uint64_t expected;
  // Nanoseconds that those of an earlier call took, where that became known now; else 0.
  uint64_t took;
  // Why there was not more.
  downhill_stopped stopped;
} downhill_advance;

// What happened. Numbers that an event does not have are NaN.
typedef struct {
  // What it is of.
  downhill_event_kind kind;
  // The epoch, from 1; 0 where it is of none.
  uint64_t epoch;
  // Steps done.
  uint64_t step;
  // The loss: the mean over the epoch's rows, or of the step's batch.
  double loss;
  // The loss on the rows to test with.
  double test_loss;
  // The part of the rows to test with whose class was right.
  double test_accuracy;
  // The learning rate of the step.
  double learning_rate;
  // Rows trained a second.
  double samples_per_second;
} downhill_event;

// A trained model at work.
//
// Its functions may be called from any thread; while one works on a model, others on the same model wait for it.
typedef struct {
  // 0 for none.
  uint64_t id;
} downhill_model;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// What the last call on this thread that did not return DOWNHILL_STATUS_OK has to say: one line that names what was wrong and
// what to do; empty before the first. The text is the library's, and valid until the next call on this thread fails.
const char *downhill_last_message(void);

// The library's version, such as "0.1.0": a text that is always valid.
const char *downhill_version(void);

// Opens a device. Waits until it is open.
//
// adapter: a part of an adapter's name or its number; NULL for the best.
// memory_limit: what may be taken of its memory, such as "2GiB" or "50%"; NULL for what is free, less a margin.
// cache_folder: where compiled kernels are kept for the next start; NULL for nowhere.
// gpu: receives the handle, which downhill_gpu_free() frees. Other objects keep what they need of it.
//
// May be called from any thread.
//
// Requires: Texts end with a zero byte; gpu points to a place for a handle.
downhill_status downhill_gpu_open(const char *adapter,
                                  const char *memory_limit,
                                  const char *cache_folder,
                                  downhill_gpu *gpu);

// Frees a device's handle; the device goes with the last object made with it. May be called from any thread.
downhill_status downhill_gpu_free(downhill_gpu gpu);

// Limits the memory that runs on the device may take to so many bytes, also while they train: the next call of
// downhill_trainer_advance() or downhill_trainer_next_event() then plans its run again. May be called from any thread.
downhill_status downhill_gpu_set_memory_limit(downhill_gpu gpu, uint64_t bytes);

// Writes the adapter's name into name, at most capacity bytes with the zero byte that ends it. Waits for nothing. May be
// called from any thread.
//
// Requires: name points to capacity bytes.
downhill_status downhill_gpu_name(downhill_gpu gpu,
                                  char *name,
                                  size_t capacity);

// Reads data as the command line does: spec is "digits", a folder of IDX files, a path to a .csv or .npy file and so on, as
// `downhill train --help` tells of --data. target is the name of the column to predict, or NULL. Waits for the disk.
//
// data: receives the handle, which downhill_data_free() frees. May be called from any thread.
//
// Requires: Texts end with a zero byte; data points to a place for a handle.
downhill_status downhill_data_load(const char *spec,
                                   const char *target,
                                   downhill_data *data);

// Takes rows × width floats, row after row, with a class below classes for each row. They are copied: the arrays stay the
// caller's. May be called from any thread.
//
// Requires: features points to rows × width floats, labels to rows numbers, data to a place for a handle.
downhill_status downhill_data_from_floats(const float *features,
                                          size_t rows,
                                          size_t width,
                                          const uint32_t *labels,
                                          size_t classes,
                                          downhill_data *data);

// As downhill_data_from_floats(), with rows × width bytes, whose values are the bytes times scale, such as 1/255 for pixels: they
// stay bytes on the GPU.
//
// Requires: features points to rows × width bytes, labels to rows numbers, data to a place for a handle.
downhill_status downhill_data_from_bytes(const uint8_t *features,
                                         size_t rows,
                                         size_t width,
                                         float scale,
                                         const uint32_t *labels,
                                         size_t classes,
                                         downhill_data *data);

// As downhill_data_from_floats(), with outputs values to predict for each row in the place of a class.
//
// Requires: features points to rows × width floats, values to rows × outputs floats, data to a place for a handle.
downhill_status downhill_data_with_values(const float *features,
                                          size_t rows,
                                          size_t width,
                                          const float *values,
                                          size_t outputs,
                                          downhill_data *data);

// Has models that are trained on data tested with the rows of test. Both keep their handles; trainers made before go on as they
// were. May be called from any thread.
downhill_status downhill_data_set_test(downhill_data data,
                                       downhill_data test);

// Tells what data hold. Waits for nothing. May be called from any thread.
//
// Requires: info points to a place for it.
downhill_status downhill_data_describe(downhill_data data, downhill_data_info *info);

// Frees data; trainers keep the rows that they need. May be called from any thread.
downhill_status downhill_data_free(downhill_data data);

// Options of a run: 10 epochs in batches of 128, everything else as the memory allows.
//
// model: such as "mlp:256,128", or a list of layers, "linear 64, relu, linear 10".
// optimizer: the name of an update rule, such as "adam", with its usual hyper-parameters.
// options: receives the handle, which downhill_options_free() frees. May be called from any thread.
//
// Requires: Texts end with a zero byte; options points to a place for a handle.
downhill_status downhill_options_new(const char *model, const char *optimizer, downhill_options *options);

// Sets an option to a value, both as texts: "loss", "batch", "micro-batch", "epochs", "steps", "seed", "eval-every", "log-every",
// "precision", "resident", "recompute", "schedule", "line-search", "clip-norm", "skip-not-finite" (true or false) and "ema" are
// as on the command line (`downhill train --help`); any other name is a hyper-parameter of the optimizer, such as "lr". Runs
// made before stay as they are. May be called from any thread.
//
// Requires: Texts end with a zero byte.
downhill_status downhill_options_set(downhill_options options,
                                     const char *name,
                                     const char *value);

// Frees options. May be called from any thread.
downhill_status downhill_options_free(downhill_options options);

// Tells what a run would take, before anything is allocated. Waits for nothing. May be called from any thread.
//
// Requires: plan points to a place for it.
downhill_status downhill_plan_run(downhill_gpu gpu, downhill_data data, downhill_options options, downhill_plan *plan);

// Makes a trainer: plans the run, allocates its memory and compiles its kernels, and waits for that; on a thread of its own where
// nothing may stand still.
//
// trainer: receives the handle, which downhill_trainer_free() frees. The other handles may be freed before.
//
// Requires: trainer points to a place for a handle.
downhill_status downhill_trainer_new(downhill_gpu gpu,
                                     downhill_data data,
                                     downhill_options options,
                                     downhill_trainer *trainer);

// Frees a trainer and its memory, at any time.
downhill_status downhill_trainer_free(downhill_trainer trainer);

// Trains for about so many nanoseconds on the device, in a frame of an app: submits as much work as fits, and waits for nothing.
// Results come by downhill_trainer_poll().
//
// advance: receives what was done; NULL where nobody wants to know.
//
// Requires: advance is NULL or points to a place for it.
downhill_status downhill_trainer_advance(downhill_trainer trainer,
                                         uint64_t nanoseconds,
                                         downhill_advance *advance);

// Tells what happened since the last call, oldest first, without a wait; DOWNHILL_EVENT_NONE where nothing did, and
// DOWNHILL_EVENT_FINISHED once.
//
// Requires: event points to a place for it.
downhill_status downhill_trainer_poll(downhill_trainer trainer, downhill_event *event);

// Trains until something happened, and waits for it; DOWNHILL_EVENT_FINISHED at the end, and again. For a thread of its own:
// all other calls on this trainer wait until then, so who wants to pause or cancel calls downhill_trainer_advance() instead.
//
// Requires: event points to a place for it.
downhill_status downhill_trainer_next_event(downhill_trainer trainer,
                                            downhill_event *event);

// Has downhill_trainer_advance() submit nothing until downhill_trainer_resume(). Waits for nothing.
downhill_status downhill_trainer_pause(downhill_trainer trainer);

// Goes on after downhill_trainer_pause(). Waits for nothing.
downhill_status downhill_trainer_resume(downhill_trainer trainer);

// Ends the run with the last whole step: DOWNHILL_EVENT_FINISHED comes next. Waits for nothing.
downhill_status downhill_trainer_cancel(downhill_trainer trainer);

// Tells how many steps are submitted. Waits for nothing.
//
// Requires: steps points to a place for it.
downhill_status downhill_trainer_steps(downhill_trainer trainer, uint64_t *steps);

// Tells what the run takes as it is laid out now. Waits for nothing.
//
// Requires: plan points to a place for it.
downhill_status downhill_trainer_plan(downhill_trainer trainer, downhill_plan *plan);

// Copies all parameters, one tensor after the other in the model's order, into count floats: as many as downhill_plan says.
// Waits for the steps under way.
//
// Requires: parameters points to count floats.
downhill_status downhill_trainer_parameters(downhill_trainer trainer,
                                            float *parameters,
                                            size_t count);

// Writes the parameters as a safetensors file. Waits for the steps under way. A file that was there is replaced whole or not
// at all.
//
// Requires: path ends with a zero byte.
downhill_status downhill_trainer_save_model(downhill_trainer trainer,
                                            const char *path);

// Puts the tensors of a safetensors file in the place of the parameters of the same names, before the first step; the others
// begin as they would.
//
// Requires: path ends with a zero byte.
downhill_status downhill_trainer_load_model(downhill_trainer trainer,
                                            const char *path);

// Copies all that resuming the run bit for bit needs into buffer. Waits for the steps under way.
//
// length: receives how many bytes it takes. Where capacity is less, nothing is copied and the call fails with
// DOWNHILL_STATUS_SHAPE: ask with capacity 0, then with as many.
//
// Requires: buffer points to capacity bytes, or capacity is 0; length points to a place for it.
downhill_status downhill_trainer_snapshot(downhill_trainer trainer, uint8_t *buffer, size_t capacity, size_t *length);

// Goes on from a snapshot of a run with the same data and options. Waits for the steps under way; where the snapshot is refused,
// the trainer is as it was.
//
// Requires: buffer points to length bytes.
downhill_status downhill_trainer_restore(downhill_trainer trainer,
                                         const uint8_t *buffer,
                                         size_t length);

// Makes a model with the parameters that a trainer has now, for up to rows rows at once. Compiles its kernels and waits for
// that, and for the steps under way.
//
// model: receives the handle, which downhill_model_free() frees. The trainer may be freed before.
//
// Requires: model points to a place for a handle.
downhill_status downhill_model_of(downhill_trainer trainer,
                                  size_t rows,
                                  downhill_model *model);

// Loads a model from a safetensors file, for up to rows rows of width floats at once. Compiles its kernels and waits for that.
//
// spec: the model, as for downhill_options_new().
// outputs: numbers that it gives for a row.
// has_classes: 1 where they are to be probabilities of classes, 0 where they are values.
// model: receives the handle, which downhill_model_free() frees.
//
// Requires: Texts end with a zero byte; model points to a place for a handle.
downhill_status downhill_model_load(downhill_gpu gpu,
                                    const char *spec,
                                    const char *path,
                                    size_t width,
                                    size_t outputs,
                                    uint32_t has_classes,
                                    size_t rows,
                                    downhill_model *model);

// Gives a model the parameters that a trainer of the same model has now. Waits for nothing, unless the trainer keeps an average
// and has made no step.
downhill_status downhill_model_follow(downhill_model model,
                                      downhill_trainer trainer);

// What a model says of rows of floats, one after another: its outputs for each row, into count floats, rows × outputs of them.
// Takes any number of rows. Waits for the device.
//
// Requires: features points to rows × width floats, where width is that of the model; outputs points to count floats.
downhill_status downhill_model_predict(downhill_model model,
                                       const float *features,
                                       size_t rows,
                                       float *outputs,
                                       size_t count);

// As downhill_model_predict(), for a model that was trained on bytes.
//
// Requires: features points to rows × width bytes, where width is that of the model; outputs points to count floats.
downhill_status downhill_model_predict_bytes(downhill_model model,
                                             const uint8_t *features,
                                             size_t rows,
                                             float *outputs,
                                             size_t count);

// Frees a model and its memory.
downhill_status downhill_model_free(downhill_model model);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* DOWNHILL_H */
