// Max-pooling, batch normalisation and GELU in one go, on bfloat16 (B, H, W, C) in memory, C a multiple of 32.
//
// Threads share out chunks of the batch, whose number is fixed. Sums are kept per chunk, so that results do not depend
// on how many threads there are.

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define LANES 16
#define LINE 32         // values per cache line; every pixel is whole lines
#define TILE 16         // pixels per inner loop: what a thread reads stays in its first-level cache
#define DEGREE 5
#define MAX_CHANNELS 4096

typedef struct {
    int64_t threads, chunks, batch, channels;
    int64_t height, width;                     // before pooling
    const uint16_t *input;                     // (B, H, W, C)
    uint16_t *pooled;                          // (B, H / 2, W / 2, C), or the input itself without pooling
    uint8_t *argmax;                           // like pooled: place in the 2 x 2 window, row by row; NULL: no pooling
    const float *pivot, *mean, *scale, *bias;  // (C,)
    const float *table;                        // (DEGREE + 1, 16): piecewise polynomial, see normalization.py
    uint16_t *output;                          // like pooled
    const uint16_t *output_gradient;           // like pooled
    const float *offset, *slope;               // (C,)
    uint16_t *input_gradient;                  // (B, H, W, C), aligned to 64 bytes, as torch's allocator does
    double *sums;                              // (chunks, 2, C)
} Task;

typedef struct {
    float first[MAX_CHANNELS], second[MAX_CHANNELS];
} Sums;

static inline __m512 load(const uint16_t *values) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)values));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline void store(uint16_t *values, __m512 result) {
    _mm256_storeu_si256((__m256i *)values, (__m256i)_mm512_cvtneps_pbh(result));
}

// Asks for values that will be read after the current ones; the channel loops are too strided to be foreseen.
static inline void prefetch(const void *values) { _mm_prefetch(values, _MM_HINT_T0); }

typedef struct {
    __m512 mean, scale, bias;
} Parameters;

static inline Parameters load_parameters(const Task *task, int64_t channel) {
    return (Parameters){_mm512_loadu_ps(task->mean + channel), _mm512_loadu_ps(task->scale + channel),
                        _mm512_loadu_ps(task->bias + channel)};
}

static inline void load_table(const float *table, __m512 coefficients[DEGREE + 1]) {
    for (int i = 0; i <= DEGREE; i++) coefficients[i] = _mm512_loadu_ps(table + 16 * i);
}

// The table's function at |x|, and zero beyond its last piece. A NaN gives a NaN.
static inline __m512 evaluate(const __m512 coefficients[DEGREE + 1], __m512 x) {
    __m512 place = _mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(1 / 0.375f));
    __m512i piece = _mm512_cvtps_epi32(place);
    __m512 rest = _mm512_reduce_ps(place, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __mmask16 inside = _mm512_cmp_ps_mask(place, _mm512_set1_ps(15.5f), _CMP_NGE_UQ);
    __m512 value = _mm512_permutexvar_ps(piece, coefficients[DEGREE]);
    for (int i = DEGREE - 1; i > 0; i--)
        value = _mm512_fmadd_ps(value, rest, _mm512_permutexvar_ps(piece, coefficients[i]));
    return _mm512_maskz_fmadd_ps(inside, value, rest, _mm512_permutexvar_ps(piece, coefficients[0]));
}

// What a kernel does to images `begin` to `end`; it adds to `sums` (2, C), if it has any.
typedef void Visit(const Task *task, int64_t begin, int64_t end, double *sums);

static void visit_chunks(const Task *task, Visit *visit) {
#pragma omp parallel for schedule(dynamic) num_threads((int)task->threads)
    for (int64_t i = 0; i < task->chunks; i++) {
        const int64_t begin = task->batch * i / task->chunks, end = task->batch * (i + 1) / task->chunks;
        visit(task, begin, end, task->sums ? task->sums + 2 * i * task->channels : NULL);
    }
}

static inline void add(Sums *sums, int64_t channel, __m512 first, __m512 second) {
    _mm512_storeu_ps(sums->first + channel, _mm512_add_ps(first, _mm512_loadu_ps(sums->first + channel)));
    _mm512_storeu_ps(sums->second + channel, _mm512_add_ps(second, _mm512_loadu_ps(sums->second + channel)));
}

// Single precision holds the sums of one image, double precision those of many.
static void flush(Sums *sums, double *total, int64_t channels) {
    for (int64_t i = 0; i < channels; i++) {
        total[i] += sums->first[i];
        total[channels + i] += sums->second[i];
        sums->first[i] = sums->second[i] = 0;
    }
}

// Where `next` wins, torch's way: the first of equal values, and any NaN.
static inline __mmask16 wins(__m512 next, __m512 best) {
    return _mm512_cmp_ps_mask(next, best, _CMP_GT_OQ) | _mm512_cmp_ps_mask(next, next, _CMP_UNORD_Q);
}

// One row of windows: pooled values, argmax, and sums of (x - pivot) and its square.
static void pool_row(const Task *task, const uint16_t *input, uint16_t *pooled, uint8_t *argmax, Sums *sums) {
    const int64_t channels = task->channels, stride = task->width * channels;
    const int64_t offsets[4] = {0, channels, stride, stride + channels};
    for (int64_t c = 0; c < channels; c += LANES) {
        const __m512 pivot = _mm512_loadu_ps(task->pivot + c);
        __m512 first = _mm512_setzero_ps(), second = first;
        for (int64_t column = 0; column < task->width / 2; column++) {
            const uint16_t *window = input + 2 * column * channels + c;
            if (c % LINE == 0)
                for (int i = 0; i < 4; i++) prefetch(window + 2 * stride + offsets[i]);
            __m512 best = load(window);
            __m128i place = _mm_setzero_si128();
            for (int i = 1; i < 4; i++) {
                const __m512 next = load(window + offsets[i]);
                const __mmask16 better = wins(next, best);
                best = _mm512_mask_mov_ps(best, better, next);
                place = _mm_mask_mov_epi8(place, better, _mm_set1_epi8(i));
            }
            store(pooled + column * channels + c, best);
            _mm_storeu_si128((__m128i *)(argmax + column * channels + c), place);
            const __m512 centred = _mm512_sub_ps(best, pivot);
            first = _mm512_add_ps(first, centred);
            second = _mm512_fmadd_ps(centred, centred, second);
        }
        add(sums, c, first, second);
    }
}

static void sum_tile(const Task *task, const uint16_t *input, int64_t count, Sums *sums) {
    for (int64_t c = 0; c < task->channels; c += LANES) {
        const __m512 pivot = _mm512_loadu_ps(task->pivot + c);
        __m512 first = _mm512_setzero_ps(), second = first;
        for (int64_t i = 0; i < count; i++) {
            if (c % LINE == 0) prefetch(input + (i + TILE) * task->channels + c);
            const __m512 centred = _mm512_sub_ps(load(input + i * task->channels + c), pivot);
            first = _mm512_add_ps(first, centred);
            second = _mm512_fmadd_ps(centred, centred, second);
        }
        add(sums, c, first, second);
    }
}

static void sum_inputs_of(const Task *task, int64_t begin, int64_t end, double *total) {
    const int64_t stride = task->width * task->channels, pixels = task->height * task->width;
    const int64_t rows = task->height / 2, row = task->width / 2 * task->channels;
    Sums sums = {0};
    for (int64_t b = begin; b < end; b++) {
        const uint16_t *image = task->input + b * task->height * stride;
        for (int64_t i = 0; task->argmax && i < rows; i++) {
            const int64_t to = (b * rows + i) * row;
            pool_row(task, image + 2 * i * stride, task->pooled + to, task->argmax + to, &sums);
        }
        for (int64_t i = 0; !task->argmax && i < pixels; i += TILE)
            sum_tile(task, image + i * task->channels, pixels - i < TILE ? pixels - i : TILE, &sums);
        flush(&sums, total, task->channels);
    }
}

// Pools if there is an argmax; sums of (x - pivot) and of its square over the normalisation's input.
void sum_inputs(const Task *task) { visit_chunks(task, sum_inputs_of); }

static int64_t count_pixels(const Task *task) {
    return task->argmax ? (task->height / 2) * (task->width / 2) : task->height * task->width;
}

static void normalize_activate_of(const Task *task, int64_t begin, int64_t end, double *none) {
    const int64_t channels = task->channels, last = end * count_pixels(task);
    __m512 table[DEGREE + 1];
    load_table(task->table, table);
    for (int64_t first = begin * count_pixels(task); first < last; first += TILE)
        for (int64_t c = 0; c < channels; c += LANES) {
            const int64_t stop = last - first < TILE ? last : first + TILE;
            const Parameters at = load_parameters(task, c);
            for (int64_t i = first * channels + c; i < stop * channels; i += channels) {
                if (c % LINE == 0) prefetch(task->pooled + i + TILE * channels);
                const __m512 centred = _mm512_sub_ps(load(task->pooled + i), at.mean);
                const __m512 z = _mm512_fmadd_ps(centred, at.scale, at.bias);
                const __m512 positive = _mm512_max_ps(z, _mm512_setzero_ps());
                store(task->output + i, _mm512_sub_ps(positive, evaluate(table, z)));
            }
        }
    (void)none;
}

// gelu(scale * (pooled - mean) + bias), with gelu(z) = max(z, 0) - |z| Phi(-|z|); the table holds the last term.
void normalize_activate(const Task *task) { visit_chunks(task, normalize_activate_of); }

// The gradient before the activation; the table holds gelu'(-|z|) = 1 - gelu'(|z|).
static inline __m512 differentiate(const __m512 table[DEGREE + 1], __m512 z, __m512 output_gradient) {
    const __m512 lower = evaluate(table, z);
    const __mmask16 positive = _mm512_cmp_ps_mask(z, _mm512_setzero_ps(), _CMP_GT_OQ);
    return _mm512_mul_ps(_mm512_mask_sub_ps(lower, positive, _mm512_set1_ps(1), lower), output_gradient);
}

static void sum_gradients_of(const Task *task, int64_t begin, int64_t end, double *total) {
    const int64_t channels = task->channels, last = end * count_pixels(task);
    Sums sums = {0};
    __m512 table[DEGREE + 1];
    load_table(task->table, table);
    for (int64_t start = begin * count_pixels(task), tiles = 1; start < last; start += TILE, tiles++) {
        const int64_t stop = last - start < TILE ? last : start + TILE;
        for (int64_t c = 0; c < channels; c += LANES) {
            const Parameters at = load_parameters(task, c);
            __m512 first = _mm512_setzero_ps(), second = first;
            for (int64_t i = start * channels + c; i < stop * channels; i += channels) {
                if (c % LINE == 0) prefetch(task->pooled + i + TILE * channels);
                if (c % LINE == 0) prefetch(task->output_gradient + i + TILE * channels);
                const __m512 centred = _mm512_sub_ps(load(task->pooled + i), at.mean);
                const __m512 z = _mm512_fmadd_ps(centred, at.scale, at.bias);
                const __m512 gradient = differentiate(table, z, load(task->output_gradient + i));
                first = _mm512_add_ps(first, gradient);
                second = _mm512_fmadd_ps(gradient, centred, second);
            }
            add(&sums, c, first, second);
        }
        if (tiles % TILE == 0) flush(&sums, total, channels);
    }
    flush(&sums, total, channels);
}

// Sums of the gradient before the activation, and of its product with (pooled - mean).
void sum_gradients(const Task *task) { visit_chunks(task, sum_gradients_of); }

// Writes a pooled pixel's gradient to its maximum's place, zero to the rest of the window. It writes past the cache:
// this is four times what the other kernels write, and a cache would first read what it replaces.
static inline void scatter(const Task *task, uint16_t *window, const uint8_t *argmax, __m512i gradient) {
    const int64_t channels = task->channels, stride = task->width * channels;
    const int64_t offsets[4] = {0, channels, stride, stride + channels};
    const __m256i places = _mm256_loadu_si256((const __m256i *)argmax);
    for (int i = 0; i < 4; i++) {
        const __mmask32 here = _mm256_cmpeq_epi8_mask(places, _mm256_set1_epi8(i));
        _mm512_stream_si512((__m512i *)(window + offsets[i]), _mm512_maskz_mov_epi16(here, gradient));
    }
}

// Gradients of `count` pooled pixels from `start`: scale * gradient + slope * (pooled - mean) + offset.
static inline void write_gradients(const Task *task, const __m512 table[], int64_t start, int64_t count,
                                   uint16_t *input_gradient) {
    const int64_t channels = task->channels;
    for (int64_t c = 0; c < channels; c += LINE) {
        const Parameters at[2] = {load_parameters(task, c), load_parameters(task, c + LANES)};
        const __m512 slope[2] = {_mm512_loadu_ps(task->slope + c), _mm512_loadu_ps(task->slope + c + LANES)};
        const __m512 offset[2] = {_mm512_loadu_ps(task->offset + c), _mm512_loadu_ps(task->offset + c + LANES)};
        for (int64_t i = 0; i < count; i++) {
            const int64_t place = (start + i) * channels + c;
            prefetch(task->pooled + place + count * channels);
            prefetch(task->output_gradient + place + count * channels);
            __m512 gradient[2];
            for (int h = 0; h < 2; h++) {
                const __m512 centred = _mm512_sub_ps(load(task->pooled + place + h * LANES), at[h].mean);
                const __m512 z = _mm512_fmadd_ps(centred, at[h].scale, at[h].bias);
                const __m512 before = differentiate(table, z, load(task->output_gradient + place + h * LANES));
                gradient[h] = _mm512_fmadd_ps(before, at[h].scale, _mm512_fmadd_ps(centred, slope[h], offset[h]));
            }
            const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(gradient[1], gradient[0]);
            if (task->argmax)
                scatter(task, input_gradient + 2 * i * channels + c, task->argmax + place, both);
            else
                _mm512_storeu_si512(input_gradient + i * channels + c, both);
        }
    }
}

static void differentiate_inputs_of(const Task *task, int64_t begin, int64_t end, double *none) {
    const int64_t pixels = task->height * task->width, rows = task->height / 2, columns = task->width / 2;
    const int64_t channels = task->channels, stride = task->width * channels, size = sizeof(uint16_t);
    __m512 table[DEGREE + 1];
    load_table(task->table, table);
    for (int64_t b = begin; b < end; b++) {
        uint16_t *image = task->input_gradient + b * pixels * channels;
        for (int64_t i = 0; !task->argmax && i < pixels; i += TILE)
            write_gradients(task, table, b * pixels + i, pixels - i < TILE ? pixels - i : TILE, image + i * channels);
        for (int64_t i = 0; task->argmax && i < rows; i++) {
            uint16_t *row = image + 2 * i * stride;
            write_gradients(task, table, (b * rows + i) * columns, columns, row);
            if (task->width % 2) {  // no window covers the last column, nor the last row
                memset(row + stride - channels, 0, channels * size);
                memset(row + 2 * stride - channels, 0, channels * size);
            }
        }
        if (task->argmax && task->height % 2) memset(image + (task->height - 1) * stride, 0, stride * size);
    }
    _mm_sfence();  // orders the writes that went past the cache before the end of the parallel region
    (void)none;
}

// The gradient of the input, from the sums' `slope` and `offset`.
void differentiate_inputs(const Task *task) { visit_chunks(task, differentiate_inputs_of); }
