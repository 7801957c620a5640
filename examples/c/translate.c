/*
 * Translates texts: translate MODEL TEXT...
 *
 *     cc translate.c $(pkg-config --cflags --libs siskin) -o translate
 *     ./translate models/en-de/en-de.siskin "Good morning!" "Where is the station?"
 */
#include <siskin.h>
#include <stdio.h>
#include <stdlib.h>

/* Prints why a call failed and ends the program. The call sets `error` when the argument is already evaluated. */
static void check(siskin_status status, siskin_error *const *error) {
    if (status != SISKIN_OK) {
        fprintf(stderr, "translate: %s\n", siskin_error_message(*error));
        siskin_error_free(*error);
        exit(EXIT_FAILURE);
    }
}

static int print_part(const char *text, size_t length, void *file) {
    fwrite(text, 1, length, (FILE *)file);
    fflush((FILE *)file);
    return 0;
}

static void print_alternatives(const siskin_result *result, size_t index) {
    size_t rank;
    if (siskin_result_status(result, index) != SISKIN_OK) {
        printf("%zu\t%s\n", index, siskin_result_message(result, index));
    }
    for (rank = 0; rank < siskin_result_alternatives(result, index); rank++) {
        printf("%zu\t%.6f\t%s\n", index, (double)siskin_result_score(result, index, rank),
               siskin_result_text(result, index, rank, NULL));
    }
}

int main(int argc, char **argv) {
    siskin_error *error;
    siskin_model *model;
    siskin_options options;
    siskin_translator *translator;
    siskin_result *result;
    size_t count, index;

    if (argc < 3) {
        fprintf(stderr, "usage: translate MODEL TEXT...\n");
        return EXIT_FAILURE;
    }
    count = (size_t)argc - 2;
    check(siskin_model_map(argv[1], &model, &error), &error);
    fprintf(stderr, "Siskin %s on %s\n", siskin_version(), siskin_model_isa(model));

    /* What the model asks for, but two alternatives from a beam of four, within 64 MB of working memory. */
    check(siskin_model_options(model, &options, sizeof options, &error), &error);
    options.beam = 4;
    options.n_best = 2;
    options.max_memory = 64000000;
    check(siskin_translator_new(model, &options, &translator, &error), &error);

    /* All texts together. */
    check(siskin_translator_translate_batch(translator, (const char *const *)argv + 2, NULL, count, &result, &error),
          &error);
    for (index = 0; index < siskin_result_count(result); index++) {
        print_alternatives(result, index);
    }
    siskin_result_free(result);

    /* One text, printed while it grows. */
    check(siskin_translator_translate_streaming(translator, argv[2], SISKIN_NUL_TERMINATED, print_part, stdout,
                                                &result, &error),
          &error);
    printf("\n");
    siskin_result_free(result);

    siskin_translator_free(translator);
    siskin_model_free(model);
    return EXIT_SUCCESS;
}
