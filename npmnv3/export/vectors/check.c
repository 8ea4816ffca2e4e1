/* Checks the test vectors beside it: every step is computed from its own inputs and parameters and compared with what is
 * expected. It needs nothing but a C99 compiler:
 *
 *     cc -std=c99 -O2 -Wall -Wextra -Werror check.c -o check -lm && ./check
 *
 * To check a port, call it in place of run_step() below. Exit code: 0 all steps agree, 1 some do not, 2 no data.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum dtype { F32, F16, I8 };
enum op { CONV2D, DEPTHWISE_CONV2D, POINTWISE_CONV2D, LINEAR, BATCH_NORM, RELU, HARD_SWISH, HARD_SIGMOID, GLOBAL_AVG_POOL,
          MAX_POOL2D, SCALE, MUL, ADD, IDENTITY };

typedef struct {
    const char *name, *file;
    enum dtype dtype;
    int shape[4];         /* (C, H, W), (C), (O, I, KH, KW), ...; unused axes are 1 */
    long size;            /* numbers */
    const float *scales;  /* of int8: one, or one for each of shape[0]; else null */
    int scale_count;
    const void *data;     /* null: read it from the file */
} tensor;

typedef struct {
    const char *name;
    enum op op;
    int inputs[2], output;      /* indices of tensors, -1: none */
    int params[5];              /* weight, bias | gamma, beta, mean, variance */
    int kernel, stride[2], pad[4];
    double eps, slope, factor, tolerance;
} step;

#include "vectors.h"

/* ------------------------------------------------------------------------------------------------- numbers */

static float half_to_float(uint16_t h)
{
    int exponent = (h >> 10) & 31, fraction = h & 1023;
    double value = exponent == 31 ? (fraction ? NAN : INFINITY)
                 : exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return (float)(h & 0x8000 ? -value : value);
}

static const size_t bytes_of[] = {4, 2, 1};

static float number(const tensor *t, const void *data, long i)
{
    if (t->dtype == F32)
        return ((const float *)data)[i];
    if (t->dtype == F16)
        return half_to_float(((const uint16_t *)data)[i]);
    return ((const int8_t *)data)[i] * t->scales[t->scale_count > 1 ? i / (t->size / t->scale_count) : 0];
}

/* The tensor's numbers; the caller frees them. */
static float *load(const tensor *t)
{
    float *numbers = malloc((size_t)t->size * sizeof *numbers);
    void *raw = NULL;
    const void *data = t->data;
    if (numbers && !data && (raw = malloc((size_t)t->size * bytes_of[t->dtype])) != NULL) {
        FILE *file = fopen(t->file, "rb");
        if (file && fread(raw, bytes_of[t->dtype], (size_t)t->size, file) == (size_t)t->size)
            data = raw;
        if (file)
            fclose(file);
    }
    if (!numbers || !data) {
        fprintf(stderr, "%s: cannot be read from %s\n", t->name, t->file);
        exit(2);
    }
    for (long i = 0; i < t->size; i++)
        numbers[i] = number(t, data, i);
    free(raw);
    return numbers;
}

/* ---------------------------------------------------------------------------------------------- operations */

static double clip(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

/* Correlate; each output channel sees `group` input channels. */
static void convolve(const step *s, const int *in, const int *out, int group, const float *x, const float *w, const float *b, float *y)
{
    int k = s->kernel > 0 ? s->kernel : 1;
    for (int o = 0; o < out[0]; o++)
        for (int i = 0; i < out[1]; i++)
            for (int j = 0; j < out[2]; j++) {
                double sum = b ? b[o] : 0;
                for (int g = 0; g < group; g++)
                    for (int p = 0; p < k; p++)
                        for (int q = 0; q < k; q++) {
                            int row = i * s->stride[0] + p - s->pad[0], column = j * s->stride[1] + q - s->pad[2];
                            int channel = group == 1 && s->op == DEPTHWISE_CONV2D ? o : g;
                            if (row >= 0 && row < in[1] && column >= 0 && column < in[2])
                                sum += (double)w[((long)(o * group + g) * k + p) * k + q]
                                     * x[((long)channel * in[1] + row) * in[2] + column];
                        }
                y[((long)o * out[1] + i) * out[2] + j] = (float)sum;
            }
}

static void pool(const step *s, const int *in, const int *out, const float *x, float *y)
{
    int kh = s->op == MAX_POOL2D ? s->kernel : in[1], kw = s->op == MAX_POOL2D ? s->kernel : in[2];
    for (int c = 0; c < out[0]; c++)
        for (int i = 0; i < out[1]; i++)
            for (int j = 0; j < out[2]; j++) {
                double sum = 0, most = -INFINITY;
                for (int p = 0; p < kh; p++)
                    for (int q = 0; q < kw; q++) {
                        double value = x[((long)c * in[1] + i * kh + p) * in[2] + j * kw + q];
                        sum += value;
                        most = value > most ? value : most;
                    }
                y[((long)c * out[1] + i) * out[2] + j] = (float)(s->op == MAX_POOL2D ? most : sum / ((double)kh * kw));
            }
}

static double pointwise(const step *s, double x, double other, const float *const *p, long channel)
{
    switch (s->op) {
    case BATCH_NORM: return (x - p[2][channel]) / sqrt(p[3][channel] + s->eps) * p[0][channel] + p[1][channel];
    case RELU: return x > 0 ? x : 0;
    case HARD_SWISH: return x * clip(x + 3, 0, 6) / 6;
    case HARD_SIGMOID: return clip(s->slope * x + 0.5, 0, 1);
    case SCALE: return x * s->factor;
    case MUL: return x * other;
    case ADD: return x + other;
    default: return x;
    }
}

/* The step's output from its inputs x (and x2) and parameters p: put your own here. */
static void run_step(const step *s, const tensor *in, const tensor *out, const float *x, const float *x2, const float *const *p, float *y)
{
    switch (s->op) {
    case CONV2D: case POINTWISE_CONV2D: case LINEAR: convolve(s, in->shape, out->shape, in->shape[0], x, p[0], p[1], y); break;
    case DEPTHWISE_CONV2D: convolve(s, in->shape, out->shape, 1, x, p[0], p[1], y); break;
    case GLOBAL_AVG_POOL: case MAX_POOL2D: pool(s, in->shape, out->shape, x, y); break;
    default:
        for (long i = 0, pixels = out->size / out->shape[0]; i < out->size; i++)
            y[i] = (float)pointwise(s, x[i], x2 ? x2[s->op == MUL ? i / pixels : i] : 0, p, i / pixels);
    }
}

/* ---------------------------------------------------------------------------------------------- comparison */

static int check(const step *s)
{
    const tensor *out = &tensors[s->output];
    float *x = load(&tensors[s->inputs[0]]), *x2 = s->inputs[1] < 0 ? NULL : load(&tensors[s->inputs[1]]), *params[4];
    float *expected = load(out), *y = malloc((size_t)out->size * sizeof *y);
    if (!y)
        exit(2);
    for (int i = 0; i < 4; i++)
        params[i] = s->params[i] < 0 ? NULL : load(&tensors[s->params[i]]);
    run_step(s, &tensors[s->inputs[0]], out, x, x2, (const float *const *)params, y);
    double worst = -1;
    long place = 0;
    for (long i = 0; i < out->size; i++) {
        double error = fabs((double)y[i] - expected[i]);
        if (!(error <= worst)) {
            worst = error;
            place = i;
            if (isnan(error))
                break;
        }
    }
    int good = worst <= s->tolerance;
    printf("%-4s %-28s largest error %.3g at %ld (found %.9g, expected %.9g), allowed %.3g\n", good ? "ok" : "BAD", s->name, worst,
           place, y[place], expected[place], s->tolerance);
    for (int i = 0; i < 4; i++)
        free(params[i]);
    free(x), free(x2), free(expected), free(y);
    return good;
}

int main(int argc, char **argv)
{
    const int count = (int)(sizeof steps / sizeof *steps);
    int bad = 0, done = 0;
    for (int i = 0; i < count; i++)
        if (argc < 2 || strcmp(argv[1], steps[i].name) == 0) {
            bad += !check(&steps[i]);
            done++;
        }
    printf("%d of %d steps agree\n", done - bad, done);
    return !done ? 2 : bad != 0;
}
