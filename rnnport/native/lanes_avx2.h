// Vectors of eight float32 numbers and the inner products, in AVX2 and FMA instructions.

#include <immintrin.h>

#include "layer.h"

namespace rnnport {
namespace {

constexpr int kLanes = 8;

struct Vector {
  __m256 v;
};

inline Vector splat(float value) { return {_mm256_set1_ps(value)}; }
inline Vector load(const float* from) { return {_mm256_loadu_ps(from)}; }
inline void store(float* to, Vector a) { _mm256_storeu_ps(to, a.v); }
inline Vector operator+(Vector a, Vector b) { return {_mm256_add_ps(a.v, b.v)}; }
inline Vector operator-(Vector a, Vector b) { return {_mm256_sub_ps(a.v, b.v)}; }
inline Vector operator*(Vector a, Vector b) { return {_mm256_mul_ps(a.v, b.v)}; }
inline Vector operator/(Vector a, Vector b) { return {_mm256_div_ps(a.v, b.v)}; }
inline Vector fused(Vector a, Vector b, Vector c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
inline Vector smaller(Vector a, Vector b) { return {_mm256_min_ps(a.v, b.v)}; }
inline Vector larger(Vector a, Vector b) { return {_mm256_max_ps(a.v, b.v)}; }

inline Vector rounded(Vector a) {
  return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}

// 2^n for whole n from -126 to 127; anything for NaN.
inline Vector power_of_two(Vector n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}

// The bits of the largest size; as integers, those of infinity and NaN are larger than any other.
inline std::uint32_t largest_bits(const float* values, int count) {
  const __m256i positive = _mm256_set1_epi32(0x7fffffff);
  __m256i largest = _mm256_setzero_si256();
  int k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values + k));
    largest = _mm256_max_epi32(largest, _mm256_and_si256(bits, positive));
  }
  alignas(32) std::uint32_t each[kLanes];
  _mm256_store_si256(reinterpret_cast<__m256i*>(each), largest);
  std::uint32_t most = 0;
  for (std::uint32_t bits : each) most = bits > most ? bits : most;
  for (; k < count; ++k) {
    std::uint32_t bits;
    std::memcpy(&bits, values + k, sizeof bits);
    bits &= 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return most;
}

// Round to fixed point, ties to even.
inline void to_fixed_point(const float* values, int count, float inverse, std::int16_t* fixed) {
  const __m256 factor = _mm256_set1_ps(inverse);
  int k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    const __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(values + k), factor));
    const __m128i half = _mm_packs_epi32(_mm256_castsi256_si128(whole),
                                         _mm256_extracti128_si256(whole, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(fixed + k), half);
  }
  for (; k < count; ++k)
    fixed[k] = static_cast<std::int16_t>(_mm_cvtss_si32(_mm_set_ss(values[k] * inverse)));
}

// Marks a sum as done: otherwise GCC makes all products of a step before it adds any of them, and
// has too few registers for that.
template <class T>
inline void settle([[maybe_unused]] T& sum) {
#if defined(__GNUC__)
  asm("" : "+x"(sum));
#endif
}

template <class T>
struct Row {
  const T* values;
  float scale;  // int8: what one unit of the fixed-point numbers stands for
};

// R rows times P panels, of which two are stored together: the next two begin `pair` weights on. A
// row of the sums is `width` numbers after the one before.
//
// The loops over rows and panels are unrolled, early enough that every sum gets a register. Several
// rows share each weight that was read; one row alone takes many panels, to have as many sums.

template <class T>
inline const T* panel_of(const T* weights, std::ptrdiff_t pair, int panel, int group) {
  return weights + panel / 2 * pair + panel % 2 * kLanes * group;
}

template <int R, int P>
inline void write_sums(const __m256 (&sum)[R][P], float* sums, int width) {
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) _mm256_storeu_ps(sums + r * width + p * kLanes, sum[r][p]);
}

// Of float32.
template <int R, int P>
[[gnu::noinline]] void product(const Row<float>* rows, const float* weights, std::ptrdiff_t pair,
                               int groups, const float*, float* sums, int width) {
  __m256 sum[R][P] = {};
  for (int k = 0; k < groups; ++k, weights += 2 * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m256 a = _mm256_broadcast_ss(rows[r].values + k);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m256 w = _mm256_loadu_ps(panel_of(weights, pair, p, 1));
        sum[r][p] = _mm256_fmadd_ps(a, w, sum[r][p]);
        settle(sum[r][p]);
      }
    }
  }
  write_sums<R, P>(sum, sums, width);
}

inline __m256i eight_pairs(const std::uint16_t* weights) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(weights));
}

// Of bfloat16, two of a column together: a bfloat16 number is the upper half of a float32.
template <int R, int P>
[[gnu::noinline]] void product(const Row<float>* rows, const std::uint16_t* weights,
                               std::ptrdiff_t pair, int groups, const float*, float* sums,
                               int width) {
  const __m256i upper = _mm256_set1_epi32(static_cast<int>(0xffff0000u));
  __m256 sum[R][P] = {};
  for (int k = 0; k < groups; ++k, weights += 4 * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m256 a = _mm256_broadcast_ss(rows[r].values + 2 * k);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m256i first = _mm256_slli_epi32(eight_pairs(panel_of(weights, pair, p, 2)), 16);
        sum[r][p] = _mm256_fmadd_ps(a, _mm256_castsi256_ps(first), sum[r][p]);
        settle(sum[r][p]);
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m256 a = _mm256_broadcast_ss(rows[r].values + 2 * k + 1);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m256i second = _mm256_and_si256(eight_pairs(panel_of(weights, pair, p, 2)), upper);
        sum[r][p] = _mm256_fmadd_ps(a, _mm256_castsi256_ps(second), sum[r][p]);
        settle(sum[r][p]);
      }
    }
  }
  write_sums<R, P>(sum, sums, width);
}

inline __m256i two_fixed_point(const std::int16_t* values) {
  int both;
  std::memcpy(&both, values, sizeof both);
  return _mm256_set1_epi32(both);
}

// Of int8, two of a column together, times 16-bit fixed point: the sums are exact 32-bit integers.
template <int R, int P>
[[gnu::noinline]] void product(const Row<std::int16_t>* rows, const std::int8_t* weights,
                               std::ptrdiff_t pair, int groups, const float* scale, float* sums,
                               int width) {
  __m256i sum[R][P] = {};
  for (int k = 0; k < groups; ++k, weights += 4 * kLanes) {
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      const __m256i a = two_fixed_point(rows[r].values + 2 * k);
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
        const __m256i pairs = _mm256_cvtepi8_epi16(
            _mm_loadu_si128(reinterpret_cast<const __m128i*>(panel_of(weights, pair, p, 2))));
        sum[r][p] = _mm256_add_epi32(sum[r][p], _mm256_madd_epi16(pairs, a));
        settle(sum[r][p]);
      }
    }
  }
  __m256 real[R][P];
#pragma GCC unroll 16
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const __m256 unit =
          _mm256_mul_ps(_mm256_loadu_ps(scale + p * kLanes), _mm256_set1_ps(rows[r].scale));
      real[r][p] = _mm256_mul_ps(_mm256_cvtepi32_ps(sum[r][p]), unit);
    }
  write_sums<R, P>(real, sums, width);
}

}  // namespace
}  // namespace rnnport
