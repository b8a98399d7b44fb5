// Vectors of eight float32 numbers and the inner products, in plain C++ for any processor.

#include <cmath>

#include "layer.h"

namespace rnnport {
namespace {

constexpr int kLanes = 8;

struct Vector {
  float v[kLanes];
};

template <class F>
inline Vector each(F f) {
  Vector made;
  for (int j = 0; j < kLanes; ++j) made.v[j] = f(j);
  return made;
}

inline Vector splat(float value) {
  return each([&](int) { return value; });
}
inline Vector load(const float* from) {
  return each([&](int j) { return from[j]; });
}
inline void store(float* to, Vector a) { std::memcpy(to, a.v, sizeof a.v); }
inline Vector operator+(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] + b.v[j]; });
}
inline Vector operator-(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] - b.v[j]; });
}
inline Vector operator*(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] * b.v[j]; });
}
inline Vector operator/(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] / b.v[j]; });
}
inline Vector fused(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector smaller(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] < b.v[j] ? a.v[j] : b.v[j]; });
}
inline Vector larger(Vector a, Vector b) {
  return each([&](int j) { return a.v[j] > b.v[j] ? a.v[j] : b.v[j]; });
}

inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}
inline float from_bits(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// To the nearest whole number, ties to even, for sizes up to 2^22: the last bit of such a sum is 1.
inline Vector rounded(Vector a) {
  const Vector big = splat(12582912.0f);
  return (a + big) - big;
}

// 2^n for whole n from -126 to 127; anything for NaN.
inline Vector power_of_two(Vector n) {
  return each([&](int j) {
    const int power = n.v[j] == n.v[j] ? static_cast<int>(n.v[j]) : 0;
    return from_bits(static_cast<std::uint32_t>(power + 127) << 23);
  });
}

// The bits of the largest size; as integers, those of infinity and NaN are larger than any other.
inline std::uint32_t largest_bits(const float* values, int count) {
  std::uint32_t most = 0;
  for (int k = 0; k < count; ++k) {
    const std::uint32_t bits = bits_of(values[k]) & 0x7fffffffu;
    most = bits > most ? bits : most;
  }
  return most;
}

// Round to fixed point, ties to even.
inline void to_fixed_point(const float* values, int count, float inverse, std::int16_t* fixed) {
  for (int k = 0; k < count; ++k) {
    const float whole = (values[k] * inverse + 12582912.0f) - 12582912.0f;
    fixed[k] = static_cast<std::int16_t>(static_cast<int>(whole));
  }
}

template <class T>
struct Row {
  const T* values;
  float scale;  // int8: what one unit of the fixed-point numbers stands for
};

// R rows times P panels, of which two are stored together: the next two begin `pair` weights on. A
// row of the sums is `width` numbers after the one before.

template <class T>
inline const T* panel_of(const T* weights, std::ptrdiff_t pair, int panel, int group) {
  return weights + panel / 2 * pair + panel % 2 * kLanes * group;
}

// Of float32.
template <int R, int P>
void product(const Row<float>* rows, const float* weights, std::ptrdiff_t pair, int groups,
             const float*, float* sums, int width) {
  float sum[R][P][kLanes] = {};
  for (int k = 0; k < groups; ++k, weights += 2 * kLanes)
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) {
        const float a = rows[r].values[k], *w = panel_of(weights, pair, p, 1);
        for (int j = 0; j < kLanes; ++j) sum[r][p][j] += a * w[j];
      }
  for (int r = 0; r < R; ++r) std::memcpy(sums + r * width, sum[r], sizeof sum[r]);
}

// Of bfloat16, two of a column together: a bfloat16 number is the upper half of a float32.
template <int R, int P>
void product(const Row<float>* rows, const std::uint16_t* weights, std::ptrdiff_t pair, int groups,
             const float*, float* sums, int width) {
  float sum[R][P][kLanes] = {};
  for (int k = 0; k < groups; ++k, weights += 4 * kLanes)
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) {
        const float* a = rows[r].values + 2 * k;
        const std::uint16_t* w = panel_of(weights, pair, p, 2);
        for (int j = 0; j < kLanes; ++j) {
          sum[r][p][j] += a[0] * from_bits(static_cast<std::uint32_t>(w[2 * j]) << 16);
          sum[r][p][j] += a[1] * from_bits(static_cast<std::uint32_t>(w[2 * j + 1]) << 16);
        }
      }
  for (int r = 0; r < R; ++r) std::memcpy(sums + r * width, sum[r], sizeof sum[r]);
}

// Of int8, two of a column together, times 16-bit fixed point: the sums are exact 32-bit integers.
template <int R, int P>
void product(const Row<std::int16_t>* rows, const std::int8_t* weights, std::ptrdiff_t pair,
             int groups, const float* scale, float* sums, int width) {
  std::int32_t sum[R][P * kLanes] = {};
  for (int k = 0; k < groups; ++k, weights += 4 * kLanes)
    for (int r = 0; r < R; ++r)
      for (int p = 0; p < P; ++p) {
        const std::int16_t* a = rows[r].values + 2 * k;
        const std::int8_t* w = panel_of(weights, pair, p, 2);
        for (int j = 0; j < kLanes; ++j)
          sum[r][p * kLanes + j] += w[2 * j] * a[0] + w[2 * j + 1] * a[1];
      }
  for (int r = 0; r < R; ++r)
    for (int j = 0; j < P * kLanes; ++j)
      sums[r * width + j] = static_cast<float>(sum[r][j]) * (scale[j] * rows[r].scale);
}

}  // namespace
}  // namespace rnnport
