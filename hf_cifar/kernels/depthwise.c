// Depthwise convolution, channels last, on bfloat16 with float32 sums, for AVX512-BF16. Loaded by depthwise.py, which
// holds the shapes' contract.
//
// Work goes by blocks of 32 channels, a cache line of a pixel. A source is first copied to scratch as pairs of pixels,
// interleaved by channel, so that one instruction multiplies and adds two pixels of 16 channels. Interleaving within
// the registers' 128-bit lanes gives a pixel two registers, of channels 0-3, 8-11, 16-19, 24-27 and of the others;
// what goes with them is in the same order, and results are put back into the channels' own order.
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 8")
#define BLOCK 32
#define SCRATCH (96L << 10) // bytes of pairs that a strip of rows may fill: a tenth of a core's second-level cache
#define MAX_PHASES 4        // strides up to 2
#define JOBS 64             // of the weight gradient, about; fixed, so that its sums do not depend on the threads

typedef uint16_t bf16;

static long round_up(long value, long step) { return (value + step - 1) / step * step; }

static long min(long a, long b) { return a < b ? a : b; }

static long max(long a, long b) { return a > b ? a : b; }

static void *allocate(long bytes) {
    void *memory = aligned_alloc(64, round_up(bytes, 64));
    if (!memory) abort();
    return memory;
}

static __mmask32 channel_mask(long left) { return left >= BLOCK ? ~0u : (1u << left) - 1; }

INLINE __m512bh load_pairs(const int32_t *from) { return (__m512bh)_mm512_load_si512(from); }

// sum + the dot products of pairs. The intrinsic takes no operand from memory in gcc 12, which then spills the sums.
INLINE __m512 multiply_add(__m512 sum, __m512bh pairs, const int32_t *others) {
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(pairs), "m"(*(const __m512i *)others));
    return sum;
}

INLINE void store_pairs(int32_t *to, __m512i first, __m512i second) {
    _mm512_store_si512(to, _mm512_unpacklo_epi16(first, second));
    _mm512_store_si512(to + 16, _mm512_unpackhi_epi16(first, second));
}

// Where in a block the channels of a pixel's first register are; those of the second follow 4 later.
INLINE __m512i channel_order(void) {
    return _mm512_set_epi32(27, 26, 25, 24, 19, 18, 17, 16, 11, 10, 9, 8, 3, 2, 1, 0);
}

// Two registers of sums to 32 channels in their own order.
INLINE void store_pixel(bf16 *to, __mmask32 mask, __m512 first, __m512 second) {
    const __m512i order = _mm512_set_epi64(0x1f001e001d001cll, 0xf000e000d000cll, 0x1b001a00190018ll, 0xb000a00090008ll,
                                           0x17001600150014ll, 0x7000600050004ll, 0x13001200110010ll, 0x3000200010000ll);
    __m512i both = (__m512i)_mm512_cvtne2ps_pbh(second, first);
    _mm512_mask_storeu_epi16(to, mask, _mm512_permutexvar_epi16(order, both));
}

// A strip of a source's rows as pairs of pixels that are `distance` apart; what lies outside the image is zero.
typedef struct {
    long first_row, rows, columns, first_column, distance;
    int32_t *pairs;       // [rows][columns][2][16]; the margins left and right of the image stay zero
    int32_t *zeros;       // [columns][2][16]
    int32_t **at;         // each row's first column, in `pairs` or `zeros`
} Strip;

static Strip allocate_strip(long rows, long first_column, long columns, long distance) {
    Strip strip = {.rows = rows, .columns = columns, .first_column = first_column, .distance = distance};
    long size = columns * BLOCK;
    strip.pairs = allocate((rows + 1) * size * sizeof *strip.pairs);
    memset(strip.pairs, 0, (rows + 1) * size * sizeof *strip.pairs);
    strip.zeros = strip.pairs + rows * size;
    strip.at = allocate(rows * sizeof *strip.at);
    return strip;
}

static void free_strip(Strip *strip) {
    free(strip->pairs);
    free(strip->at);
}

static void fill_row(const bf16 *row, int32_t *to, long width, long channels, __mmask32 mask, const Strip *strip) {
    const __m512i zero = _mm512_setzero_si512();
    long distance = strip->distance, p = max(-distance, strip->first_column); // the latter is not positive
    to -= strip->first_column * BLOCK;
    for (; p < min(0, width - distance); p++)
        store_pairs(to + p * BLOCK, zero, _mm512_maskz_loadu_epi16(mask, row + (p + distance) * channels));
    for (p = 0; p < width - distance; p++) {
        const bf16 *from = row + p * channels;
        _mm_prefetch(from + BLOCK, _MM_HINT_T0); // for the next block
        __m512i first = _mm512_maskz_loadu_epi16(mask, from);
        store_pairs(to + p * BLOCK, first, _mm512_maskz_loadu_epi16(mask, from + distance * channels));
    }
    for (p = max(0, width - distance); p < width; p++)
        store_pairs(to + p * BLOCK, _mm512_maskz_loadu_epi16(mask, row + p * channels), zero);
}

// Fills the strip with rows from `first_row` of an image (height, width, channels), at a block of channels.
static void fill_strip(Strip *strip, const bf16 *image, long first_row, long height, long width, long channels,
                       __mmask32 mask) {
    strip->first_row = first_row;
    for (long i = 0; i < strip->rows; i++) {
        long row = first_row + i;
        int inside = row >= 0 && row < height;
        strip->at[i] = inside ? strip->pairs + i * strip->columns * BLOCK : strip->zeros;
        if (inside) fill_row(image + row * width * channels, strip->at[i], width, channels, mask, strip);
    }
}

// How targets along an axis come from sources: target `first + step * u` is the sum over taps m of the source at
// `source_step * u + offset + m` times the weight at `tap + tap_step * m`.
typedef struct {
    long first, step, count, source_step, offset, taps, tap, tap_step;
} Axis;

static Axis make_axis(long kernel, long stride, long padding, long size) {
    return (Axis){0, 1, size, stride, -padding, kernel, 0, 1};
}

// The same for the input's gradient, at the inputs that see the taps `phase`, `phase + stride`, ...
static Axis make_transposed_axis(long kernel, long stride, long padding, long size, long phase) {
    long first = ((phase - padding) % stride + stride) % stride, taps = (kernel - phase + stride - 1) / stride;
    long count = max(0, size - first + stride - 1) / stride, offset = (first + padding - phase) / stride - (taps - 1);
    return (Axis){first, stride, count, 1, offset, taps, phase + stride * (taps - 1), -stride};
}

typedef struct {
    Axis y, x;
    long pairs;       // of taps in a row; the last one's second tap is zero where taps are odd (an infinity beside
                      // the window then makes a NaN of it, one pixel further than it would have)
    int32_t *weights; // [block][y.taps][pairs][2][16]
} Phase;

static void pack_weights(const Phase *phase, const float *weight, long kernel, long channels, long block) {
    long size = kernel * kernel, left = channels - block * BLOCK;
    int32_t *to = phase->weights + block * phase->y.taps * phase->pairs * BLOCK;
    const __m512i places = _mm512_mullo_epi32(channel_order(), _mm512_set1_epi32((int)size)), mix = channel_order();
    for (long i = 0; i < phase->y.taps; i++)
        for (long j = 0; j < 2 * phase->pairs; j += 2, to += BLOCK)
            for (int half = 0; half < 2; half++) {
                __mmask16 mask = _mm512_cmplt_epi32_mask(mix, _mm512_set1_epi32((int)min(left, BLOCK) - 4 * half));
                const float *row = weight + (block * BLOCK + 4 * half) * size;
                row += (phase->y.tap + i * phase->y.tap_step) * kernel + phase->x.tap;
                __m512i bits[2] = {_mm512_setzero_si512(), _mm512_setzero_si512()};
                for (int n = 0; n < 2 && j + n < phase->x.taps; n++) {
                    const float *from = row + (j + n) * phase->x.tap_step;
                    __m512 values = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, places, from, 4);
                    bits[n] = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(values));
                }
                _mm512_store_si512(to + 16 * half, _mm512_or_si512(bits[0], _mm512_slli_epi32(bits[1], 16)));
            }
}

typedef struct {
    long width, channels, left; // `left`: channels of this block and the following
    __m512 bias[2];
    bf16 *pixels; // of one image, at the block's first channel
} Target;

// `rows` x `columns` targets from (u, v) of a phase, as many of them as exist.
INLINE void correlate_tile(const Phase *phase, const int32_t *weights, const Strip *strip, const Target *target, long u,
                           long v, int rows, int columns, int source_step) {
    const Axis y = phase->y, x = phase->x;
    __m512 sums[2][8][2];
    UNROLL for (int r = 0; r < rows; r++)
        UNROLL for (int c = 0; c < columns; c++) sums[r][c][0] = target->bias[0], sums[r][c][1] = target->bias[1];
    long column = (v * source_step + x.offset - strip->first_column) * BLOCK;
    int32_t **at = strip->at + (u * source_step + y.offset - strip->first_row);
    for (long i = 0; i < y.taps; i++) {
        const int32_t *from[2], *weight = weights + i * phase->pairs * BLOCK;
        int any = 0;
        UNROLL for (int r = 0; r < rows; r++) {
            const int32_t *start = u + r < y.count ? at[r * source_step + i] : strip->zeros;
            any |= start != strip->zeros;
            from[r] = start + column;
        }
        if (!any) continue;
        for (long j = 0; j < phase->pairs; j++, weight += BLOCK)
            UNROLL for (int half = 0; half < 2; half++) {
                __m512bh w = load_pairs(weight + 16 * half);
                UNROLL for (int r = 0; r < rows; r++)
                    UNROLL for (int c = 0; c < columns; c++)
                        sums[r][c][half] = multiply_add(sums[r][c][half], w,
                                                          from[r] + (2 * j + c * source_step) * BLOCK + 16 * half);
            }
    }
    __mmask32 mask = channel_mask(target->left);
    UNROLL for (int r = 0; r < rows; r++) {
        if (u + r >= y.count) break;
        bf16 *row = target->pixels + (y.first + (u + r) * y.step) * target->width * target->channels;
        UNROLL for (int c = 0; c < columns; c++)
            if (v + c < x.count)
                store_pixel(row + (x.first + (v + c) * x.step) * target->channels, mask, sums[r][c][0],
                            sums[r][c][1]);
    }
}

// Both tile shapes have 16 sums: enough to hide an instruction's latency.
INLINE void correlate_rows(const Phase *phase, const int32_t *weights, const Strip *strip, const Target *target,
                           long first, long stop, int source_step) {
    stop = min(stop, phase->y.count);
    long v = 0;
    for (; phase->x.count - v > 4; v += 8)
        for (long u = first; u < stop; u++) correlate_tile(phase, weights, strip, target, u, v, 1, 8, source_step);
    if (v < phase->x.count)
        for (long u = first; u < stop; u += 2) correlate_tile(phase, weights, strip, target, u, v, 2, 4, source_step);
}

static void load_bias(Target *target, const float *bias) {
    float values[BLOCK] = {0};
    if (bias) memcpy(values, bias, min(BLOCK, target->left) * sizeof *values);
    for (int half = 0; half < 2; half++)
        target->bias[half] = _mm512_i32gather_ps(channel_order(), values + 4 * half, 4);
}

// Targets (images, target_height, target_width, channels) from sources and a float32 weight (channels, kernel, kernel):
// a convolution, or transposed the gradient of its input (the target) from that of its output. `bias` may be null.
void depthwise_correlate(const bf16 *source, const float *weight, const float *bias, bf16 *pixels, long images,
                         long channels, long kernel, long stride, long top, long left, long height, long width,
                         long target_height, long target_width, int transposed, int threads) {
    long blocks = (channels + BLOCK - 1) / BLOCK, count = transposed ? stride * stride : 1, units = 0;
    long low = 0, high = 0, first_column = 0, last_column = width, source_step = transposed ? 1 : stride;
    Phase phases[MAX_PHASES];
    for (long i = 0; i < count; i++) {
        Phase *phase = phases + i;
        phase->y = transposed ? make_transposed_axis(kernel, stride, top, target_height, i / stride)
                              : make_axis(kernel, stride, top, target_height);
        phase->x = transposed ? make_transposed_axis(kernel, stride, left, target_width, i % stride)
                              : make_axis(kernel, stride, left, target_width);
        phase->pairs = (phase->x.taps + 1) / 2;
        phase->weights = allocate(blocks * phase->y.taps * phase->pairs * BLOCK * sizeof *phase->weights);
        units = max(units, phase->y.count);
        low = i ? min(low, phase->y.offset) : phase->y.offset;
        high = i ? max(high, phase->y.offset + phase->y.taps) : phase->y.offset + phase->y.taps;
        first_column = min(first_column, phase->x.offset);
        // A tile reads on to its eighth column.
        last_column = max(last_column, phase->x.offset + 2 * phase->pairs + (phase->x.count + 7) * source_step);
    }
    long columns = last_column - first_column, row_bytes = columns * BLOCK * sizeof(int32_t);
    long strip_units = min(units, max(8, round_up((SCRATCH / row_bytes - (high - low)) / source_step, 2)));
    long strips = (units + strip_units - 1) / strip_units;
#pragma omp parallel num_threads(threads)
    {
        Strip strip = allocate_strip((strip_units - 1) * source_step + high - low, first_column, columns, 1);
#pragma omp for
        for (long block = 0; block < blocks; block++)
            for (long i = 0; i < count; i++) pack_weights(phases + i, weight, kernel, channels, block);
#pragma omp for schedule(dynamic)
        for (long job = 0; job < images * strips; job++)
            for (long channel = 0; channel < channels; channel += BLOCK) {
                long image = job / strips, first = job % strips * strip_units, stop = first + strip_units;
                Target target = {.width = target_width, .channels = channels, .left = channels - channel};
                target.pixels = pixels + image * target_height * target_width * channels + channel;
                load_bias(&target, bias ? bias + channel : NULL);
                fill_strip(&strip, source + image * height * width * channels + channel, first * source_step + low,
                           height, width, channels, channel_mask(target.left));
                for (long i = 0; i < count; i++) {
                    const Phase *phase = phases + i;
                    const int32_t *weights = phase->weights + channel * phase->y.taps * phase->pairs;
                    if (source_step == 1) correlate_rows(phase, weights, &strip, &target, first, stop, 1);
                    else correlate_rows(phase, weights, &strip, &target, first, stop, 2);
                }
            }
        free_strip(&strip);
    }
    for (long i = 0; i < count; i++) free(phases[i].weights);
}

// Adds to sums[kernel * kernel + 1][2][16] the products of a strip of gradients with the pixels that each tap sees, at
// tap rows `first` to `stop` and at one half of the channels, and with the last tap row the sum of the gradients.
INLINE void accumulate(const Strip *x, const Strip *gradient, long rows, long pairs, float *sums, int kernel, int first,
                       int stop, int stride) {
    const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
    __m512 total = _mm512_load_ps(sums + kernel * kernel * BLOCK), tap[5][7];
    UNROLL for (int i = first; i < stop; i++)
        UNROLL for (int j = 0; j < kernel; j++) tap[i - first][j] = _mm512_load_ps(sums + (i * kernel + j) * BLOCK);
    for (long row = 0; row < rows; row++) {
        const int32_t *from[5], *pair = gradient->at[row];
        UNROLL for (int i = first; i < stop; i++) from[i - first] = x->at[row * stride + i];
        for (long offset = 0; offset < pairs * 2 * BLOCK; offset += 2 * BLOCK) {
            __m512bh g = load_pairs(pair + offset);
            UNROLL for (int i = 0; i < stop - first; i++)
                UNROLL for (int j = 0; j < kernel; j++)
                    tap[i][j] = multiply_add(tap[i][j], g, from[i] + offset * stride + j * BLOCK);
            if (stop == kernel) total = _mm512_dpbf16_ps(total, g, ones);
        }
    }
    UNROLL for (int i = first; i < stop; i++)
        UNROLL for (int j = 0; j < kernel; j++) _mm512_store_ps(sums + (i * kernel + j) * BLOCK, tap[i - first][j]);
    if (stop == kernel) _mm512_store_ps(sums + kernel * kernel * BLOCK, total);
}

// Registers hold 28 sums of 16 channels at most, so 7 x 7 taps take two passes.
#define ACCUMULATE(kernel, first, stop) \
    if (stride == 1) accumulate(x, gradient, rows, pairs, sums, kernel, first, stop, 1); \
    else accumulate(x, gradient, rows, pairs, sums, kernel, first, stop, 2);

static void accumulate_taps(const Strip *x, const Strip *gradient, long rows, long pairs, float *sums, long kernel,
                            long stride) {
    switch (kernel) {
    case 3: ACCUMULATE(3, 0, 3) break;
    case 5: ACCUMULATE(5, 0, 5) break;
    case 7: ACCUMULATE(7, 0, 4) ACCUMULATE(7, 4, 7)
    }
}

// Gradients of the weight (channels, kernel, kernel) and the bias (channels), from the input and the output's gradient.
// Sums are kept per chunk of images and added in the chunks' order.
void depthwise_weight_gradient(const bf16 *x, const bf16 *gradient, float *weight_gradient, float *bias_gradient,
                               long images, long channels, long kernel, long stride, long top, long left, long height,
                               long width, long out_height, long out_width, int threads) {
    long blocks = (channels + BLOCK - 1) / BLOCK, taps = kernel * kernel, size = (taps + 1) * BLOCK;
    long chunks = min(images, max(1, JOBS / blocks)), pairs = (out_width + 1) / 2;
    long columns = max(width + left, 2 * stride * (pairs - 1) + kernel), bytes = columns * BLOCK * sizeof(int32_t);
    long strip_rows = min(out_height, max(8, (SCRATCH / bytes - kernel) / stride));
    float *sums = allocate(chunks * blocks * size * sizeof *sums);
    memset(sums, 0, chunks * blocks * size * sizeof *sums);
#pragma omp parallel num_threads(threads)
    {
        Strip sources = allocate_strip((strip_rows - 1) * stride + kernel, -left, columns, stride);
        Strip gradients = allocate_strip(strip_rows, 0, 2 * pairs, 1);
#pragma omp for schedule(dynamic)
        for (long job = 0; job < chunks * blocks; job++) {
            long chunk = job / blocks, channel = job % blocks * BLOCK;
            __mmask32 mask = channel_mask(channels - channel);
            for (long image = images * chunk / chunks; image < images * (chunk + 1) / chunks; image++)
                for (long row = 0; row < out_height; row += strip_rows) {
                    fill_strip(&sources, x + image * height * width * channels + channel, row * stride - top, height,
                               width, channels, mask);
                    fill_strip(&gradients, gradient + image * out_height * out_width * channels + channel, row,
                               out_height, out_width, channels, mask);
                    for (int half = 0; half < 2; half++) {
                        accumulate_taps(&sources, &gradients, min(strip_rows, out_height - row), pairs,
                                        sums + job * size + 16 * half, kernel, stride);
                        // The second half of each pixel's registers.
                        for (long i = 0; i < sources.rows; i++) sources.at[i] += half ? 0 : 16;
                        for (long i = 0; i < gradients.rows; i++) gradients.at[i] += half ? 0 : 16;
                    }
                }
        }
        free_strip(&sources);
        free_strip(&gradients);
#pragma omp for
        for (long channel = 0; channel < channels; channel++) {
            // `channel_order` inverted.
            long place = channel % 8 / 4 * 16 + channel % BLOCK / 8 * 4 + channel % 4;
            for (long tap = 0; tap <= taps; tap++) {
                float sum = 0;
                for (long chunk = 0; chunk < chunks; chunk++)
                    sum += sums[(chunk * blocks + channel / BLOCK) * size + tap * BLOCK + place];
                *(tap < taps ? weight_gradient + channel * taps + tap : bias_gradient + channel) = sum;
            }
        }
    }
    free(sums);
}
