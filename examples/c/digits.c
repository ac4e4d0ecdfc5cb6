/* Trains on handwritten digits in the frames of a loop that has other things to do, and reads a digit drawn by hand.
 *
 * digits [EPOCHS [MODEL]]: so many epochs instead of 20, and the path to write the model to. */

#define _POSIX_C_SOURCE 199309L

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include <downhill.h>

/* Every call says whether it worked, and there is a line that says why not. */
#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        if ((call) != DOWNHILL_STATUS_OK) {                                                                            \
            fprintf(stderr, "digits: %s\n", downhill_last_message());                                                  \
            return 1;                                                                                                  \
        }                                                                                                              \
    } while (0)

/* A digit of 8 x 8 pixels: ' ' is 0, 'o' is half ink, '#' full ink, which is 16. */
static const char *const SEVEN[8] = {
    "  o###o ",
    "  #oo## ",
    "      # ",
    "   oo#o ",
    " ###### ",
    "   o#o  ",
    "   ##   ",
    "   #o   ",
};

static void wait_for_the_next_frame(void) {
    const struct timespec rest = {0, 12000000};
    nanosleep(&rest, NULL);
}

int main(int argc, char **argv) {
    downhill_gpu gpu;
    downhill_data data;
    downhill_options options;
    downhill_plan plan;
    downhill_trainer trainer;

    CHECK(downhill_gpu_open(NULL, NULL, NULL, &gpu));
    CHECK(downhill_data_load("digits", NULL, &data));
    CHECK(downhill_options_new("mlp:64", "adam", &options));
    CHECK(downhill_options_set(options, "epochs", argc > 1 ? argv[1] : "20"));
    CHECK(downhill_options_set(options, "lr", "0.003"));

    /* What it takes is known before anything is allocated. */
    CHECK(downhill_plan_run(gpu, data, options, &plan));
    printf("%llu parameters, %llu bytes of GPU memory, batches of %llu\n", (unsigned long long)plan.parameters,
           (unsigned long long)plan.bytes, (unsigned long long)plan.batch);

    CHECK(downhill_trainer_new(gpu, data, options, &trainer));
    for (int finished = 0; !finished; wait_for_the_next_frame()) {
        /* 4 ms of the GPU in every frame; the call itself waits for nothing. */
        CHECK(downhill_trainer_advance(trainer, 4000000, NULL));
        for (;;) {
            downhill_event event;
            CHECK(downhill_trainer_poll(trainer, &event));
            if (event.kind == DOWNHILL_EVENT_NONE) break;
            if (event.kind == DOWNHILL_EVENT_EPOCH && event.epoch % 5 == 0) {
                printf("epoch %2llu  loss %.4f  test accuracy %.4f\n", (unsigned long long)event.epoch, event.loss,
                       event.test_accuracy);
            }
            finished |= event.kind == DOWNHILL_EVENT_FINISHED;
        }
    }

    /* A model at work, on bytes as it was trained on. */
    uint8_t pixels[64];
    float probabilities[10];
    for (int i = 0; i < 64; i++) {
        const char ink = SEVEN[i / 8][i % 8];
        pixels[i] = ink == '#' ? 16 : ink == 'o' ? 8 : 0;
    }
    downhill_model model;
    CHECK(downhill_model_of(trainer, 1, &model));
    CHECK(downhill_model_predict_bytes(model, pixels, 1, probabilities, 10));
    int likeliest = 0;
    for (int i = 1; i < 10; i++) {
        if (probabilities[i] > probabilities[likeliest]) likeliest = i;
    }
    printf("the drawing is a %d (%.0f %%)\n", likeliest, 100 * probabilities[likeliest]);

    if (argc > 2) {
        CHECK(downhill_trainer_save_model(trainer, argv[2]));
        printf("the model is in %s\n", argv[2]);
    }

    CHECK(downhill_model_free(model));
    CHECK(downhill_trainer_free(trainer));
    CHECK(downhill_options_free(options));
    CHECK(downhill_data_free(data));
    CHECK(downhill_gpu_free(gpu));
    return 0;
}
