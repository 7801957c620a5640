/*
 * Threads that share a model and nothing else: threads MODEL THREADS TRANSLATIONS. Every thread's texts and score bits
 * must be those that one thread gives.
 */
#define _POSIX_C_SOURCE 200809L
#include <siskin.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const texts[] = {
    "Good morning!",
    "Where is the station?",
    "I would like a cup of coffee.",
    "It has been raining all day.",
    "She asked me to close the window.",
};
enum { TEXTS = sizeof texts / sizeof *texts };

struct worker {
    pthread_t thread;
    const siskin_model *model;
    const siskin_result *expected;
    size_t first;
    size_t translations;
    size_t wrong;
};

static siskin_translator *make_translator(const siskin_model *model) {
    siskin_options options;
    siskin_translator *translator;
    if (siskin_model_options(model, &options, sizeof options, NULL) != SISKIN_OK) {
        exit(EXIT_FAILURE);
    }
    options.beam = 2;
    if (siskin_translator_new(model, &options, &translator, NULL) != SISKIN_OK) {
        exit(EXIT_FAILURE);
    }
    return translator;
}

static int same(const siskin_result *expected, size_t index, const siskin_result *result) {
    float score = siskin_result_score(result, 0, 0), expected_score = siskin_result_score(expected, index, 0);
    return memcmp(&score, &expected_score, sizeof score) == 0 &&
           strcmp(siskin_result_text(result, 0, 0, NULL), siskin_result_text(expected, index, 0, NULL)) == 0;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    siskin_translator *translator = make_translator(worker->model);
    size_t i;
    for (i = 0; i < worker->translations; i++) {
        size_t index = (worker->first + i) % TEXTS;
        siskin_result *result;
        siskin_status status =
            siskin_translator_translate(translator, texts[index], SISKIN_NUL_TERMINATED, &result, NULL);
        worker->wrong += status != SISKIN_OK || !same(worker->expected, index, result);
        siskin_result_free(result);
    }
    siskin_translator_free(translator);
    return NULL;
}

int main(int argc, char **argv) {
    size_t count, i, wrong = 0;
    struct worker *workers;
    siskin_model *model;
    siskin_translator *serial;
    siskin_result *expected;
    if (argc != 4 || siskin_model_map(argv[1], &model, NULL) != SISKIN_OK) {
        fprintf(stderr, "usage: threads MODEL THREADS TRANSLATIONS\n");
        return EXIT_FAILURE;
    }
    serial = make_translator(model);
    if (siskin_translator_translate_batch(serial, texts, NULL, TEXTS, &expected, NULL) != SISKIN_OK) {
        return EXIT_FAILURE;
    }
    count = strtoul(argv[2], NULL, 10);
    workers = calloc(count, sizeof *workers);
    if (workers == NULL) {
        return EXIT_FAILURE;
    }
    for (i = 0; i < count; i++) {
        workers[i].model = model;
        workers[i].expected = expected;
        workers[i].first = i;
        workers[i].translations = strtoul(argv[3], NULL, 10);
        if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0) {
            return EXIT_FAILURE;
        }
    }
    for (i = 0; i < count; i++) {
        pthread_join(workers[i].thread, NULL);
        wrong += workers[i].wrong;
    }
    printf("%zu threads, %s translations each, %zu wrong\n", count, argv[3], wrong);
    free(workers);
    siskin_result_free(expected);
    siskin_translator_free(serial);
    siskin_model_free(model);
    return wrong == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
