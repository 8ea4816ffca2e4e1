/* Checks the integer vectors beside it, bit for bit: every step is computed from its own inputs and parameters, by the rules
 * of the kernel set that manifest.json names, and compared with what is expected. It needs nothing but a C99 compiler:
 *
 *     cc -std=c99 -O2 -Wall -Wextra -Werror check.c -o check -lm && ./check
 *
 * To check a port, call it in place of run_step() below. Exit code: 0 all integers are equal, 1 some are not, 2 no data.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum dtype { I8, U8, I16, U16, I32, F32 };
enum op { CONV2D, DEPTHWISE_CONV2D, POINTWISE_CONV2D, LINEAR, FULLY_CONNECTED, RELU, HARD_SWISH, HARD_SIGMOID,
          GLOBAL_AVG_POOL, MEAN_TO_VECTOR, MAX_POOL2D, PAD2D, IDENTITY, SCALE, MUL, ADD, FILL };
enum rule { NONE, DOUBLE, UP, UP_BY_8, SINGLE, TRUNCATE, FLOAT, FLOAT_OFFSET, SHIFT, SHIFT_AWAY, FUSED, TWICE, OFFSET, TABLE, REAL };
enum role { WEIGHT, BIAS, WEIGHT_ZERO, CONSTANT, MULTIPLIER, EXPONENT, FACTOR, ADDEND, LOOKUP, SCALES, ROLES };

typedef struct {
    const char *name, *file;
    enum dtype dtype;
    int shape[4];      /* (C, H, W), (C), (O, I, KH, KW), (C, KH, KW), (O, I); unused axes are 1 */
    long size;         /* numbers */
    int zero_point;
    uint32_t crc;      /* CRC-32 of the numbers' bytes, little-endian */
    const void *data;  /* null: read it from the file */
} tensor;

typedef struct {
    const char *name;
    enum op op;
    enum rule rule;
    int inputs[2], output;  /* indices of tensors, -1: none */
    int params[ROLES];
    int kernel, stride[2], pad[4]; /* kernel of a pool; pad: top, bottom, left, right */
    int low, high;          /* where the result is cut: the dtype's range, and the fused activation */
    int saturates;          /* pairs of products are added with saturation to 16 bits */
} step;

#include "vectors.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof *(array)))

/* ------------------------------------------------------------------------------------------------- numbers */

typedef struct {
    int32_t *i;  /* the numbers of integers */
    float *f;    /* or those of floats */
} numbers;

static numbers loaded[COUNT(tensors)];

static void *memory(long count, size_t size)
{
    void *place = malloc((size_t)count * size);
    if (!place) {
        fprintf(stderr, "no memory\n");
        exit(2);
    }
    return place;
}

static uint32_t crc_of(uint32_t crc, uint32_t bits, size_t bytes)
{
    for (size_t b = 0; b < bytes; b++) {
        crc ^= bits >> 8 * b & 255u;
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1u ? 0xedb88320u : 0u);
    }
    return crc;
}

/* The number at `place`, in this machine's order of bytes; its bits. */
static uint32_t take(const tensor *t, const void *data, long place, numbers *out)
{
    uint32_t bits = 0;
    switch (t->dtype) {
    case I8: out->i[place] = ((const int8_t *)data)[place]; break;
    case U8: out->i[place] = ((const uint8_t *)data)[place]; break;
    case I16: out->i[place] = ((const int16_t *)data)[place]; break;
    case U16: out->i[place] = ((const uint16_t *)data)[place]; break;
    case I32: out->i[place] = ((const int32_t *)data)[place]; break;
    case F32:
        out->f[place] = ((const float *)data)[place];
        memcpy(&bits, &out->f[place], sizeof bits);
        return bits;
    }
    return (uint32_t)out->i[place];
}

/* Numbers of a file, which are little-endian, in this machine's order. */
static void *read_file(const tensor *t, size_t bytes)
{
    unsigned char *raw = memory(t->size, bytes);
    FILE *file = fopen(t->file, "rb");
    const uint16_t one = 1;
    if (!file || fread(raw, bytes, (size_t)t->size, file) != (size_t)t->size) {
        fprintf(stderr, "%s: cannot be read from %s\n", t->name, t->file);
        exit(2);
    }
    fclose(file);
    if (!*(const unsigned char *)&one)
        for (long i = 0; i < t->size; i++)
            for (size_t b = 0; b < bytes / 2; b++) {
                unsigned char *number = raw + (size_t)i * bytes, kept = number[b];
                number[b] = number[bytes - 1 - b];
                number[bytes - 1 - b] = kept;
            }
    return raw;
}

/* Reads tensor `index`; whether its numbers are those that were written. */
static int load(int index)
{
    static const size_t bytes_of[] = {1, 1, 2, 2, 4, 4};
    const tensor *t = &tensors[index];
    const size_t bytes = bytes_of[t->dtype];
    void *raw = t->data ? NULL : read_file(t, bytes);
    uint32_t crc = 0xffffffffu;
    if (t->dtype == F32)
        loaded[index].f = memory(t->size, sizeof(float));
    else
        loaded[index].i = memory(t->size, sizeof(int32_t));
    for (long i = 0; i < t->size; i++)
        crc = crc_of(crc, take(t, raw ? raw : t->data, i, &loaded[index]), bytes);
    free(raw);
    return (crc ^ 0xffffffffu) == t->crc;
}

/* ------------------------------------------------------------------------------------------------- rounding */

/* floor(x / 2^n), whatever >> does to negative numbers. */
static int64_t floor_shift(int64_t x, int n) { return x >= 0 ? x >> n : -((-x - 1) >> n) - 1; }

static int64_t power(int n) { return (int64_t)1 << n; }

/* What is left of x in 32 bits: what does not fit wraps round. */
static int64_t in_32_bits(int64_t x)
{
    const uint32_t bits = (uint32_t)x;
    return bits < 0x80000000u ? (int64_t)bits : (int64_t)bits - power(32);
}

static int64_t high(int64_t x, int64_t m, int e)
{
    return floor_shift((e > 0 ? in_32_bits(x * power(e)) : x) * m + power(30), 31);
}

/* x * m * 2^(e - 31) by a rule. */
static int64_t rescale(enum rule rule, int64_t x, int64_t m, int e)
{
    const int right = e < 0 ? -e : 0;
    const int64_t half = right ? power(right - 1) : 0;
    switch (rule) {
    case UP: return floor_shift(high(x, m, e) + half, right);
    case SINGLE: return floor_shift(x * m + power(30 - e), 31 - e);
    case TRUNCATE: return floor_shift(x * m, 31 - e);
    default: x = high(x, m, e); return floor_shift(x + half - (x < 0 && half), right);
    }
}

/* By which rule kernels round a channel that do `of` of them at a time by one rule, and those left over by another. */
static enum rule in_vectors(const step *s, int of, long channel)
{
    return channel < tensors[s->output].shape[0] / of * of ? UP : DOUBLE;
}

/* Rounds to float, wherever a compiler would keep more bits. */
static float f32(double x)
{
    volatile float rounded = (float)x;
    return rounded;
}

static double clip(double x, double low, double high_end) { return x < low ? low : x > high_end ? high_end : x; }

static int32_t cut(const step *s, int64_t x) { return (int32_t)(x < s->low ? s->low : x > s->high ? s->high : x); }

/* An exact sum or product as the output's integer: `channel` has the factor. */
static int32_t requantize(const step *s, int64_t x, long channel)
{
    const int zero = tensors[s->output].zero_point;
    if (s->rule == FLOAT || s->rule == FLOAT_OFFSET) {
        const float steps = f32((double)f32((double)x) * loaded[s->params[FACTOR]].f[channel]);
        if (s->rule == FLOAT_OFFSET)
            return (int32_t)rint(clip(f32((double)steps + zero), s->low, s->high));
        return (int32_t)rint(clip(steps, s->low - zero, s->high - zero)) + zero;
    }
    if (s->rule == REAL) {
        const float *scales = loaded[s->params[SCALES]].f;
        const double factor = (double)scales[0] * scales[2 + channel] / scales[1];
        return (int32_t)clip(round((double)x * factor) + zero, s->low, s->high);
    }
    const enum rule rule = s->rule == UP_BY_8 ? in_vectors(s, 8, channel) : s->rule;
    return cut(s, rescale(rule, x, loaded[s->params[MULTIPLIER]].i[channel], loaded[s->params[EXPONENT]].i[channel]) + zero);
}

/* ------------------------------------------------------------------------------------------------- operations */

/* The sum of one output of a layer: (x - zero point) * (weight - zero point) and the bias. */
static int64_t sum_of(const step *s, int o, int i, int j)
{
    const tensor *in = &tensors[s->inputs[0]], *weight = &tensors[s->params[WEIGHT]];
    const int32_t *x = loaded[s->inputs[0]].i, *w = loaded[s->params[WEIGHT]].i;
    const int depthwise = s->op == DEPTHWISE_CONV2D, channels = depthwise ? 1 : in->shape[0];
    const int kh = depthwise ? weight->shape[1] : weight->shape[2], kw = depthwise ? weight->shape[2] : weight->shape[3];
    const int own = s->params[WEIGHT_ZERO] >= 0, zero = own ? loaded[s->params[WEIGHT_ZERO]].i[o] : weight->zero_point;
    int64_t sum = loaded[s->params[BIAS]].i[o], pair = 0;
    long count = 0;
    for (int p = 0; p < kh; p++)
        for (int q = 0; q < kw; q++)
            for (int c = 0; c < channels; c++, count++) {
                const int row = i * s->stride[0] + p - s->pad[0], column = j * s->stride[1] + q - s->pad[2];
                const int inside = row >= 0 && row < in->shape[1] && column >= 0 && column < in->shape[2];
                const long place = ((long)(depthwise ? o : c) * in->shape[1] + row) * in->shape[2] + column;
                const int64_t value = inside ? x[place] : in->zero_point;
                const int64_t factor = w[(((long)o * channels + c) * kh + p) * kw + q];
                sum += (value - in->zero_point) * (factor - zero);
                pair = (count % 2 ? pair : 0) + value * factor;
                if (s->saturates)
                    sum += (pair > 32767 ? 32767 - pair : pair < -32768 ? -32768 - pair : 0) * (count % 2);
            }
    return in->dtype == I8 || in->dtype == U8 ? in_32_bits(sum) : sum;
}

static void layer(const step *s, int32_t *y)
{
    const tensor *out = &tensors[s->output];
    for (int o = 0; o < out->shape[0]; o++)
        for (int i = 0; i < out->shape[1]; i++)
            for (int j = 0; j < out->shape[2]; j++)
                *y++ = requantize(s, sum_of(s, o, i, j), o);
}

/* The product with another tensor, with a gate (a number a channel), or with a constant. */
static void multiply(const step *s, int32_t *y)
{
    const int other = s->op == SCALE ? s->params[CONSTANT] : s->inputs[1];
    const tensor *in = &tensors[s->inputs[0]];
    const long run = in->size / tensors[other].size;
    for (long i = 0; i < in->size; i++)
        y[i] = requantize(s, (int64_t)(loaded[s->inputs[0]].i[i] - in->zero_point)
                             * (loaded[other].i[i / run] - tensors[other].zero_point), 0);
}

static int32_t sum_two(const step *s, int32_t first, int32_t second)
{
    const int64_t a = first - tensors[s->inputs[0]].zero_point, b = second - tensors[s->inputs[1]].zero_point;
    const int32_t *m = s->params[MULTIPLIER] < 0 ? NULL : loaded[s->params[MULTIPLIER]].i;
    const int32_t *e = s->params[EXPONENT] < 0 ? NULL : loaded[s->params[EXPONENT]].i;
    const int zero = tensors[s->output].zero_point;
    if (s->rule == FUSED) {
        const float *factor = loaded[s->params[FACTOR]].f;
        const float inner = f32((double)second * factor[1] + loaded[s->params[ADDEND]].f[0]);
        return (int32_t)rint(clip(f32((double)first * factor[0] + inner), s->low, s->high));
    }
    if (s->rule == SHIFT || s->rule == SHIFT_AWAY) {
        const int64_t sum = a * m[0] + b * m[1], away = s->rule == SHIFT_AWAY && sum < 0;
        return cut(s, floor_shift(sum + power(e[0]) / 2 - away, e[0]) + zero);
    }
    return cut(s, rescale(s->rule, rescale(s->rule, a * power(20), m[0], e[0]) + rescale(s->rule, b * power(20), m[1], e[1]),
                          m[2], e[2]) + zero);
}

static int32_t mean(const step *s, int64_t sum, long pixels, int c)
{
    const int zero = tensors[s->output].zero_point;
    const int64_t above = sum - (int64_t)pixels * tensors[s->inputs[0]].zero_point;
    if (s->rule == FLOAT)
        return requantize(s, above, 0);
    if (s->rule == FLOAT_OFFSET) {
        const float product = f32((double)f32((double)sum) * loaded[s->params[FACTOR]].f[0]);
        return (int32_t)rint(clip(f32((double)product + loaded[s->params[ADDEND]].f[0]), s->low, s->high));
    }
    const int64_t m = loaded[s->params[MULTIPLIER]].i[0];
    const int e = loaded[s->params[EXPONENT]].i[0];
    if (s->rule == OFFSET)
        return cut(s, rescale(in_vectors(s, 16, c), sum, m, e) + loaded[s->params[ADDEND]].i[0]);
    if (s->rule == TWICE) {
        const int64_t scaled = rescale(DOUBLE, above, m, e), size = (llabs(scaled) + pixels / 2) / pixels;
        return cut(s, (scaled < 0 ? -size : size) + zero);
    }
    return cut(s, rescale(s->rule, above, m, e) + zero);
}

static void pool(const step *s, int32_t *y)
{
    const tensor *in = &tensors[s->inputs[0]], *out = &tensors[s->output];
    const int largest = s->op == MAX_POOL2D, kh = largest ? s->kernel : in->shape[1], kw = largest ? s->kernel : in->shape[2];
    for (int c = 0; c < out->shape[0]; c++)
        for (int i = 0; i < out->shape[1]; i++)
            for (int j = 0; j < out->shape[2]; j++) {
                int64_t sum = 0;
                int32_t most = INT32_MIN;
                for (int p = 0; p < kh; p++)
                    for (int q = 0; q < kw; q++) {
                        const int32_t x = loaded[s->inputs[0]].i[((long)c * in->shape[1] + i * kh + p) * in->shape[2] + j * kw + q];
                        sum += x;
                        most = x > most ? x : most;
                    }
                *y++ = largest ? most : mean(s, sum, (long)kh * kw, c);
            }
}

static void pad(const step *s, int32_t *y)
{
    const tensor *in = &tensors[s->inputs[0]], *out = &tensors[s->output];
    for (int c = 0; c < out->shape[0]; c++)
        for (int i = -s->pad[0]; i < in->shape[1] + s->pad[1]; i++)
            for (int j = -s->pad[2]; j < in->shape[2] + s->pad[3]; j++) {
                const int inside = i >= 0 && i < in->shape[1] && j >= 0 && j < in->shape[2];
                *y++ = inside ? loaded[s->inputs[0]].i[((long)c * in->shape[1] + i) * in->shape[2] + j] : in->zero_point;
            }
}

static int32_t look_up(const step *s, int32_t x)
{
    const enum dtype dtype = tensors[s->inputs[0]].dtype;
    return loaded[s->params[LOOKUP]].i[x + (dtype == I8 ? 128 : dtype == I16 ? 32768 : 0)];
}

/* The step's output from its inputs, loaded[s->inputs[...]], and parameters, loaded[s->params[...]]: put your own here. */
static void run_step(const step *s, int32_t *y)
{
    const numbers *x = s->op == FILL ? NULL : &loaded[s->inputs[0]];
    switch (s->op) {
    case CONV2D: case DEPTHWISE_CONV2D: case POINTWISE_CONV2D: case LINEAR: case FULLY_CONNECTED: layer(s, y); break;
    case GLOBAL_AVG_POOL: case MEAN_TO_VECTOR: case MAX_POOL2D: pool(s, y); break;
    case SCALE: case MUL: multiply(s, y); break;
    case PAD2D: pad(s, y); break;
    case FILL:
        for (long i = 0; i < tensors[s->output].size; i++)
            y[i] = loaded[s->params[CONSTANT]].i[0];
        break;
    default:
        for (long i = 0; i < tensors[s->output].size; i++)
            y[i] = s->op == ADD ? sum_two(s, x->i[i], loaded[s->inputs[1]].i[i]) : s->op == IDENTITY ? x->i[i] : look_up(s, x->i[i]);
    }
}

/* ------------------------------------------------------------------------------------------------- comparison */

static int check(const step *s)
{
    const tensor *out = &tensors[s->output];
    const int32_t *expected = loaded[s->output].i;
    int32_t *y = memory(out->size, sizeof *y);
    long wrong = 0, place = 0;
    run_step(s, y);
    for (long i = out->size; i-- > 0;)
        if (y[i] != expected[i]) {
            wrong++;
            place = i;
        }
    if (wrong) {
        const long plane = (long)out->shape[1] * out->shape[2];
        printf("BAD  %s: %ld of %ld integers differ, the first at %ld (channel %ld, row %ld, column %ld): found %ld, expected %ld\n",
               s->name, wrong, out->size, place, place / plane, place % plane / out->shape[2], place % out->shape[2],
               (long)y[place], (long)expected[place]);
    } else
        printf("ok   %s: %ld integers\n", s->name, out->size);
    free(y);
    return !wrong;
}

int main(int argc, char **argv)
{
    int bad = 0, done = 0, changed = 0;
    const char *first = NULL;
    for (int i = 0; i < COUNT(tensors); i++)
        if (!load(i)) {
            printf("BAD  %s (%s): not the numbers that were written\n", tensors[i].name, tensors[i].file);
            changed++;
        }
    for (int i = 0; i < COUNT(steps); i++)
        if (argc < 2 || strcmp(argv[1], steps[i].name) == 0) {
            const int good = check(&steps[i]);
            first = first || good ? first : steps[i].name;
            bad += !good;
            done++;
        }
    printf("%d of %d steps are equal, integer for integer", done - bad, done);
    if (first)
        printf("; the first that is not: %s", first);
    printf("%s\n", changed ? "; vectors were changed" : "");
    return !done ? 2 : bad != 0 || changed != 0;
}
