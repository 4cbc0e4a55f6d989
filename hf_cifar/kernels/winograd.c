// 3 x 3 convolution, stride 1, padding 1, by Winograd F(2x2, 3x3) (Lavin & Gray 2015, arXiv:1509.09308) in bfloat16,
// channels last, for AVX512-BF16. Loaded by convolution.py, which transforms the weights and holds the shapes' contract.
//
// A tile is 2 x 2 outputs and the 4 x 4 inputs that they see; each of the 16 transformed positions is one matrix
// product over channels. Transforms and sums are float32; only the products' operands are rounded to bfloat16.
//
// Where height or width is odd, the last tile has one output, which sees padding at its third input: it is
// g0 d0 + g1 d1, two products instead of four. Position 0 is g0 d0 already and a fifth one, for g1, is added, so there
// are 5 x 5 positions, each over the tiles that have it. The transforms need no other arithmetic: with d2 = d3 = 0
// (or a second output of 0) position 1's value is what position 4 needs, and positions 2 and 3 are dropped.
#include <immintrin.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 6")
#define POSITIONS 25
#define ROWS 6           // 6 x 4 sums of 16 floats fill 24 of the 32 registers
#define SLICE (6 * ROWS) // input channels of the weight gradient that are one thread's job
#define BLOCK_TILES 48   // transformed inputs of 48 tiles and 256 channels are 0.4 MB: within a core's L2
#define CHUNK_TILES 512  // of two images; the weight gradient's sums are read and written once a chunk
#define CHUNK_BYTES (8L << 20)

typedef uint16_t bf16;

typedef struct {
    long images, height, width, in_channels, out_channels;
} Shape;

static long round_up(long value, long step) { return (value + step - 1) / step * step; }

static long min(long a, long b) { return a < b ? a : b; }

static void *allocate(long bytes) {
    void *memory = aligned_alloc(64, round_up(bytes, 64));
    if (!memory) abort();
    return memory;
}

// Registers of 16 channels that a block of outputs is wide: the widest that divides `channels` (a multiple of 16).
static int block_width(long channels) {
    for (int width = 4; width > 1; width--)
        if (channels / 16 % width == 0) return width;
    return 1;
}

static __mmask16 channel_mask(long left) { return left >= 16 ? 0xffff : (__mmask16)((1 << left) - 1); }

INLINE __m512 load(const bf16 *from, __mmask16 mask) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

// Two tiles' values of 16 channels as 16 pairs, the operands of a dot product over tiles.
INLINE void store_pairs(void *to, __m512 first, __m512 second) {
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    __m512bh both = _mm512_cvtne2ps_pbh(second, first);
    _mm512_store_si512(to, _mm512_permutexvar_epi16(order, (__m512i)both));
}

// c (`rows` x 16 * width) = or += a b; each 32-bit element of a and b is a pair of bfloat16 along the summed dimension.
INLINE void multiply_block(const int32_t *a, long a_row, long a_step, const int32_t *b, float *c, long c_row,
                           long steps, int rows, int width, int add) {
    __m512 sums[ROWS][4];
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < width; j++)
            sums[i][j] = add ? _mm512_load_ps(c + i * c_row + 16 * j) : _mm512_setzero_ps();
    for (long k = 0; k < steps; k++, a += a_step, b += 16 * width) {
        __m512bh right[4];
        UNROLL for (int j = 0; j < width; j++) right[j] = (__m512bh)_mm512_load_si512(b + 16 * j);
        UNROLL for (int i = 0; i < rows; i++) {
            __m512bh left = (__m512bh)_mm512_set1_epi32(a[i * a_row]);
            UNROLL for (int j = 0; j < width; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], left, right[j]);
        }
    }
    UNROLL for (int i = 0; i < rows; i++)
        UNROLL for (int j = 0; j < width; j++) _mm512_store_ps(c + i * c_row + 16 * j, sums[i][j]);
}

#define BY_WIDTH(width, call) \
    switch (width) { \
    case 1: { enum { W = 1 }; call; } break; \
    case 2: { enum { W = 2 }; call; } break; \
    case 3: { enum { W = 3 }; call; } break; \
    default: { enum { W = 4 }; call; } \
    }

// `rows` may be rounded up to 3 or ROWS: a and c have room.
static void multiply(const int32_t *a, long a_row, const int32_t *b, float *c, long steps, long rows, int width) {
    for (; rows > 3; rows -= ROWS, a += ROWS * a_row, c += ROWS * 16 * width)
        BY_WIDTH(width, multiply_block(a, a_row, 1, b, c, 16 * W, steps, ROWS, W, 0))
    if (rows > 0) BY_WIDTH(width, multiply_block(a, a_row, 1, b, c, 16 * W, steps, 3, W, 0))
}

static void multiply_add(const int32_t *a, long a_step, const int32_t *b, float *c, long c_row, long steps, int width) {
    BY_WIDTH(width, multiply_block(a, 1, a_step, b, c, c_row, steps, ROWS, W, 1))
}

// How many of tile rows [first, first + rows) have position `p` on the vertical axis, or of a row's tiles on the other.
static long count_rows(Shape s, long first, long rows, int p) {
    long high = (s.height + 1) / 2, last = s.height % 2 ? (first + rows) / high - first / high : 0;
    return p == 0 ? rows : p == 4 ? last : rows - last;
}

static long count_columns(Shape s, int p) { return p == 0 ? (s.width + 1) / 2 : p == 4 ? s.width % 2 : s.width / 2; }

static long count_tiles(Shape s, long first, long rows, int p) {
    return count_rows(s, first, rows, p / 5) * count_columns(s, p % 5);
}

// One row of tiles: the rows of pixels that it sees, and where its tiles lie in arrays [POSITIONS][tile][tile_stride].
typedef struct {
    long rows[4]; // first pixel's index
    int exists[4];
    int positions;        // of the vertical axis: 4, or 2 in a last row of one output
    long offsets[2][16];  // of the first tile, and of a last tile of one output
} TileRow;

static TileRow find_tile_row(Shape s, long image, long tile_y, int top, long block_first, long tile_row, long stride,
                             long tile_stride) {
    TileRow row;
    for (int i = 0; i < 4; i++) {
        long y = 2 * tile_y + top + i;
        row.exists[i] = image < s.images && y >= 0 && y < s.height;
        row.rows[i] = row.exists[i] ? (image * s.height + y) * s.width : 0;
    }
    int last_row = 2 * tile_y + 1 == s.height;
    row.positions = last_row ? 2 : 4;
    for (int i = 0; i < row.positions; i++)
        for (int j = 0; j < 4; j++) {
            int a = last_row && i ? 4 : i;
            long above = count_rows(s, block_first, tile_row - block_first, a);
            row.offsets[0][4 * i + j] = (5 * a + j) * stride + above * count_columns(s, j) * tile_stride;
            row.offsets[1][4 * i + j] = (5 * a + 4) * stride + above * tile_stride; // position 4 of the other axis
        }
    for (int i = 0; i < row.positions; i++) // position 0 has all tiles of the row, the last one too
        row.offsets[1][4 * i] = row.offsets[0][4 * i] + s.width / 2 * tile_stride;
    return row;
}

// B^T d of one column of 16 channels.
INLINE void transform_column(const bf16 *x, const TileRow *row, long column, Shape s, long channel, __m512 out[4]) {
    int inside = column >= 0 && column < s.width;
    __mmask16 mask = inside ? channel_mask(s.in_channels - channel) : 0;
    x += (inside ? column : 0) * s.in_channels + channel;
    __m512 d[4];
    UNROLL for (int i = 0; i < 4; i++) d[i] = load(x + row->rows[i] * s.in_channels, row->exists[i] ? mask : 0);
    out[0] = d[0] - d[2];
    out[1] = d[1] + d[2];
    out[2] = d[2] - d[1];
    out[3] = d[1] - d[3];
}

// (B^T d) B of four columns, at row i.
INLINE void transform_across(__m512 w[4][4], int i, __m512 out[4]) {
    out[0] = w[0][i] - w[2][i];
    out[1] = w[1][i] + w[2][i];
    out[2] = w[2][i] - w[1][i];
    out[3] = w[1][i] - w[3][i];
}

// One row of tiles to v[POSITIONS][tile][channel].
static void transform_input(const bf16 *x, const TileRow *row, Shape s, bf16 *v, long padded) {
    for (long c = 0; c < s.in_channels; c += 16) {
        __m512 w[4][4];
        UNROLL for (int j = 0; j < 2; j++) transform_column(x, row, j - 1, s, c, w[j]);
        for (long tile = 0; 2 * tile < s.width; tile++) {
            int last = 2 * tile + 1 == s.width;
            const long *offsets = row->offsets[last];
            bf16 *to = v + c + (last ? 0 : tile * padded);
            UNROLL for (int j = 2; j < 4; j++) transform_column(x, row, 2 * tile + j - 1, s, c, w[j]);
            UNROLL for (int i = 0; i < 4; i++) {
                if (i >= row->positions) break;
                __m512 out[4];
                transform_across(w, i, out);
                UNROLL for (int j = 0; j < 4; j++)
                    if (j < 2 || !last)
                        _mm256_store_si256((void *)(to + offsets[4 * i + j]), (__m256i)_mm512_cvtneps_pbh(out[j]));
            }
            UNROLL for (int i = 0; i < 4; i++) w[0][i] = w[2][i], w[1][i] = w[3][i];
        }
    }
}

// The same of two images to v[POSITIONS][tile][channel][2].
static void transform_input_pair(const bf16 *x, const TileRow rows[2], Shape s, int32_t *v, long padded) {
    for (long c = 0; c < s.in_channels; c += 16) {
        __m512 w[2][4][4];
        UNROLL for (int n = 0; n < 2; n++)
            UNROLL for (int j = 0; j < 2; j++) transform_column(x, rows + n, j - 1, s, c, w[n][j]);
        for (long tile = 0; 2 * tile < s.width; tile++) {
            int last = 2 * tile + 1 == s.width;
            const long *offsets = rows->offsets[last];
            int32_t *to = v + c + (last ? 0 : tile * padded);
            UNROLL for (int n = 0; n < 2; n++)
                UNROLL for (int j = 2; j < 4; j++) transform_column(x, rows + n, 2 * tile + j - 1, s, c, w[n][j]);
            UNROLL for (int i = 0; i < 4; i++) {
                if (i >= rows->positions) break;
                __m512 out[2][4];
                UNROLL for (int n = 0; n < 2; n++) transform_across(w[n], i, out[n]);
                UNROLL for (int j = 0; j < 4; j++)
                    if (j < 2 || !last) store_pairs(to + offsets[4 * i + j], out[0][j], out[1][j]);
            }
            UNROLL for (int n = 0; n < 2; n++)
                UNROLL for (int i = 0; i < 4; i++) w[n][0][i] = w[n][2][i], w[n][1][i] = w[n][3][i];
        }
    }
}

// A y A^T of one 2 x 2 tile of 16 channels; zero beyond the image.
INLINE void transform_gradient_tile(const bf16 *dy, const TileRow *row, long column, Shape s, long channel,
                                    __m512 out[16]) {
    __m512 y[2][2], w[4][2];
    UNROLL for (int j = 0; j < 2; j++) {
        int inside = column + j < s.width;
        __mmask16 mask = inside ? channel_mask(s.out_channels - channel) : 0;
        const bf16 *from = dy + (inside ? column + j : 0) * s.out_channels + channel;
        UNROLL for (int i = 0; i < 2; i++)
            y[i][j] = load(from + row->rows[i] * s.out_channels, row->exists[i] ? mask : 0);
        w[0][j] = y[0][j];
        w[1][j] = y[0][j] + y[1][j];
        w[2][j] = y[0][j] - y[1][j];
        w[3][j] = _mm512_setzero_ps() - y[1][j];
    }
    UNROLL for (int i = 0; i < 4; i++) {
        out[4 * i] = w[i][0];
        out[4 * i + 1] = w[i][0] + w[i][1];
        out[4 * i + 2] = w[i][0] - w[i][1];
        out[4 * i + 3] = _mm512_setzero_ps() - w[i][1];
    }
}

// One row of tiles of two images' gradients to m[POSITIONS][block of channels][tile][channel][2].
static void transform_gradient_pair(const bf16 *dy, const TileRow rows[2], Shape s, int32_t *m, long block_stride,
                                    int width) {
    for (long c = 0; c < s.out_channels; c += 16) {
        int32_t *block = m + c / 16 / width * block_stride + c / 16 % width * 16;
        for (long tile = 0; 2 * tile < s.width; tile++) {
            int last = 2 * tile + 1 == s.width;
            const long *offsets = rows->offsets[last];
            int32_t *to = block + (last ? 0 : tile * 16 * width);
            __m512 out[2][16];
            UNROLL for (int n = 0; n < 2; n++) transform_gradient_tile(dy, rows + n, 2 * tile, s, c, out[n]);
            UNROLL for (int i = 0; i < 4; i++) {
                if (i >= rows->positions) break;
                UNROLL for (int j = 0; j < 4; j++)
                    if (j < 2 || !last) store_pairs(to + offsets[4 * i + j], out[0][4 * i + j], out[1][4 * i + j]);
            }
        }
    }
}

// A^T m A of one row of tiles and `width` registers of channels, to y.
static void transform_output(const float *m, const TileRow *row, Shape s, long channel, int width, bf16 *y) {
    for (long tile = 0; 2 * tile < s.width; tile++) {
        int last = 2 * tile + 1 == s.width;
        const long *offsets = row->offsets[last];
        for (int c = 0; c < width && channel + 16 * c < s.out_channels; c++) {
            __mmask16 mask = channel_mask(s.out_channels - channel - 16 * c);
            const float *from = m + 16 * c + (last ? 0 : tile * 16 * width);
            __m512 w[2][4];
            UNROLL for (int j = 0; j < 4; j++) {
                __m512 d[4];
                UNROLL for (int i = 0; i < 4; i++)
                    d[i] = i < row->positions && (j < 2 || !last) ? _mm512_load_ps(from + offsets[4 * i + j])
                                                                  : _mm512_setzero_ps();
                w[0][j] = d[0] + d[1] + d[2];
                w[1][j] = d[1] - d[2] - d[3];
            }
            for (int i = 0; i < 2 && row->exists[i]; i++) {
                bf16 *to = y + (row->rows[i] + 2 * tile) * s.out_channels + channel + 16 * c;
                __m512 left = w[i][0] + w[i][1] + w[i][2], right = w[i][1] - w[i][2] - w[i][3];
                _mm256_mask_storeu_epi16(to, mask, (__m256i)_mm512_cvtneps_pbh(left));
                if (!last) _mm256_mask_storeu_epi16(to + s.out_channels, mask, (__m256i)_mm512_cvtneps_pbh(right));
            }
        }
    }
}

// u = G g G^T of a float32 weight, in the order that winograd_convolve reads; strides in elements, of any sign.
void winograd_transform_weight(const float *w, int32_t *u, long in_channels, long out_channels, long in_stride,
                               long out_stride, long row_stride, long column_stride, int threads) {
    long padded = round_up(out_channels, 16), wide = 16 * block_width(padded), panel = in_channels / 2 * wide;
    const __m512i lanes = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i index = _mm512_mullo_epi32(lanes, _mm512_set1_epi32((int)out_stride));
    const __m512 half = _mm512_set1_ps(0.5f);
#pragma omp parallel for num_threads(threads)
    for (long k = 0; k < in_channels / 2; k++)
        for (long o = 0; o < padded; o += 16) {
            __m512 out[2][5][5], t[5][3];
            for (int n = 0; n < 2; n++) {
                const float *from = w + (2 * k + n) * in_stride + o * out_stride;
                UNROLL for (int j = 0; j < 3; j++) {
                    __m512 g[3];
                    UNROLL for (int i = 0; i < 3; i++)
                        g[i] = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), channel_mask(out_channels - o), index,
                                                        from + i * row_stride + j * column_stride, 4);
                    t[0][j] = g[0];
                    t[1][j] = half * (g[0] + g[1] + g[2]);
                    t[2][j] = half * (g[0] - g[1] + g[2]);
                    t[3][j] = g[2];
                    t[4][j] = g[1];
                }
                UNROLL for (int i = 0; i < 5; i++) {
                    out[n][i][0] = t[i][0];
                    out[n][i][1] = half * (t[i][0] + t[i][1] + t[i][2]);
                    out[n][i][2] = half * (t[i][0] - t[i][1] + t[i][2]);
                    out[n][i][3] = t[i][2];
                    out[n][i][4] = t[i][1];
                }
            }
            int32_t *to = u + o / wide * panel + k * wide + o % wide;
            for (int p = 0; p < POSITIONS; p++)
                store_pairs(to + p * (padded / wide) * panel, out[0][p / 5][p % 5], out[1][p / 5][p % 5]);
        }
}

// y (images, height, width, out_channels) from x (images, height, width, in_channels) and
// u[POSITIONS][block of out_channels][in_channels / 2][out_channel][2], padded with zeros to 16 outputs.
void winograd_convolve(const bf16 *x, const int32_t *u, bf16 *y, long images, long height, long width,
                       long in_channels, long out_channels, int threads) {
    Shape s = {images, height, width, in_channels, out_channels};
    long high = (height + 1) / 2, tiles_wide = (width + 1) / 2, tile_rows = images * high;
    long rows_per_block = BLOCK_TILES > tiles_wide ? BLOCK_TILES / tiles_wide : 1;
    long tiles = round_up(rows_per_block * tiles_wide, ROWS), padded = round_up(in_channels, 16);
    int registers = block_width(round_up(out_channels, 16));
    long wide = 16 * registers, blocks = round_up(out_channels, 16) / wide, panel = in_channels / 2 * wide;
    // A line more than a power of two: else all positions share the cache's few ways.
    long v_stride = tiles * padded + 32, m_stride = tiles * wide + 16;
#pragma omp parallel num_threads(threads)
    {
        bf16 *v = allocate(POSITIONS * v_stride * sizeof *v);
        float *m = allocate(POSITIONS * m_stride * sizeof *m);
        memset(v, 0, POSITIONS * v_stride * sizeof *v); // rows that only round up: any finite number will do
#pragma omp for schedule(dynamic)
        for (long first = 0; first < tile_rows; first += rows_per_block) {
            long rows = min(rows_per_block, tile_rows - first);
            for (long r = first; r < first + rows; r++) {
                TileRow row = find_tile_row(s, r / high, r % high, -1, first, r, v_stride, padded);
                transform_input(x, &row, s, v, padded);
            }
            for (long block = 0; block < blocks; block++) {
                for (int p = 0; p < POSITIONS; p++)
                    multiply((int32_t *)(v + p * v_stride), padded / 2, u + (p * blocks + block) * panel,
                             m + p * m_stride, in_channels / 2, count_tiles(s, first, rows, p), registers);
                for (long r = first; r < first + rows; r++) {
                    TileRow row = find_tile_row(s, r / high, r % high, 0, first, r, m_stride, wide);
                    transform_output(m, &row, s, block * wide, registers, y);
                }
            }
        }
        free(v);
        free(m);
    }
}

// du[POSITIONS][in_channels, rounded up to ROWS][out_channels, rounded up to 16] += the transformed weights' gradient.
// Each sum is one thread's, in the order of the images: the result does not depend on the number of threads.
void winograd_weight_gradient(const bf16 *x, const bf16 *dy, float *du, long images, long height, long width,
                              long in_channels, long out_channels, int threads) {
    Shape s = {images, height, width, in_channels, out_channels};
    long high = (height + 1) / 2, tiles_wide = (width + 1) / 2, tile_rows = (images + 1) / 2 * high; // of two images
    long padded = round_up(in_channels, 16) + 16, out_padded = round_up(out_channels, 16);
    int registers = block_width(out_padded);
    long wide = 16 * registers, blocks = out_padded / wide, du_rows = round_up(in_channels, ROWS);
    long slices = (in_channels + SLICE - 1) / SLICE;
    long tiles = min(CHUNK_TILES, CHUNK_BYTES / (16 * 4 * (padded + out_padded)));
    long rows_per_chunk = min(tile_rows, tiles > tiles_wide ? tiles / tiles_wide : 1);
    long block_stride = rows_per_chunk * tiles_wide * wide;
    long v_stride = rows_per_chunk * tiles_wide * padded + 16, m_stride = blocks * block_stride + 16;
    long v_bytes = (POSITIONS * v_stride + 16) * sizeof(int32_t);
    int32_t *v = allocate(v_bytes), *m = allocate(POSITIONS * m_stride * sizeof *m);
    memset(v, 0, v_bytes);
#pragma omp parallel num_threads(threads)
    for (long first = 0; first < tile_rows; first += rows_per_chunk) {
        long rows = min(rows_per_chunk, tile_rows - first);
#pragma omp for schedule(dynamic, 4)
        for (long r = first; r < first + rows; r++) {
            TileRow pair[2];
            for (int n = 0; n < 2; n++)
                pair[n] = find_tile_row(s, r / high * 2 + n, r % high, -1, first, r, v_stride, padded);
            transform_input_pair(x, pair, s, v, padded);
            for (int n = 0; n < 2; n++)
                pair[n] = find_tile_row(s, r / high * 2 + n, r % high, 0, first, r, m_stride, wide);
            transform_gradient_pair(dy, pair, s, m, block_stride, registers);
        }
#pragma omp for schedule(dynamic)
        for (long job = 0; job < POSITIONS * blocks * slices; job++) {
            long p = job / slices / blocks, block = job / slices % blocks, start = job % slices * SLICE;
            long count = count_tiles(s, first, rows, p), stop = count ? min(start + SLICE, in_channels) : 0;
            for (long c = start; c < stop; c += ROWS)
                multiply_add(v + p * v_stride + c, padded, m + p * m_stride + block * block_stride,
                             du + (p * du_rows + c) * out_padded + block * wide, out_padded, count, registers);
        }
    }
    free(v);
    free(m);
}
