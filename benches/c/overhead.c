/* What the C interface adds to a call: the time of calls that do next to nothing behind it. `benches/c/run` builds and runs it. */

#define _POSIX_C_SOURCE 199309L

#include <stdio.h>
#include <time.h>

#include <downhill.h>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != DOWNHILL_STATUS_OK) {                                                                            \
            fprintf(stderr, "%s\n", downhill_last_message());                                                          \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(void) {
    enum { CALLS = 1000000 };
    downhill_gpu gpu;
    downhill_data data;
    downhill_options options;
    downhill_trainer trainer;
    unsigned long refused = 0;

    CHECK(downhill_gpu_open(NULL, NULL, NULL, &gpu));
    CHECK(downhill_data_load("digits", NULL, &data));
    CHECK(downhill_options_new("mlp:64", "adam", &options));
    CHECK(downhill_trainer_new(gpu, data, options, &trainer));
    CHECK(downhill_trainer_pause(trainer));
    double began = seconds();
    for (int i = 0; i < CALLS; i++) {
        uint64_t steps;
        CHECK(downhill_trainer_steps(trainer, &steps));
    }
    printf("downhill_trainer_steps: %.0f ns a call\n", 1e9 * (seconds() - began) / CALLS);
    began = seconds();
    for (int i = 0; i < CALLS; i++) CHECK(downhill_trainer_advance(trainer, 1000000, NULL));
    printf("downhill_trainer_advance, paused: %.0f ns a call\n", 1e9 * (seconds() - began) / CALLS);
    CHECK(downhill_trainer_free(trainer));
    began = seconds();
    for (int i = 0; i < CALLS; i++) refused += downhill_trainer_pause(trainer) == DOWNHILL_STATUS_HANDLE;
    printf("a freed handle, refused with its message: %.0f ns a call\n", 1e9 * (seconds() - began) / CALLS);
    return refused == CALLS ? 0 : 1;
}
