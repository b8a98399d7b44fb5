// exp, sigmoid and tanh on the vectors of a level; include it after the level's lanes.
//
// exp is that of Stephen Moshier's Cephes library (single/expf.c). tanh(x) = m / (m + 2) with
// m = exp(2x) - 1, made without the loss near 0. Relative errors are about 2e-7; NaN stays NaN.

namespace rnnport {
namespace {

// exp(x) = power · (1 + rest), with a whole power of two and the rest from -0.3 to 0.42.
struct Exponential {
  Vector power;
  Vector rest;
};

inline Exponential exponential(Vector x) {
  // The bound is the first operand: where the second is NaN, smaller and larger give the second.
  x = smaller(splat(88.0f), larger(splat(-87.0f), x));
  const Vector n = rounded(x * splat(1.44269504088896341f));
  const Vector r = fused(n, splat(2.12194440e-4f), fused(n, splat(-0.693359375f), x));
  Vector p = splat(1.9875691500e-4f);
  p = fused(p, r, splat(1.3981999507e-3f));
  p = fused(p, r, splat(8.3334519073e-3f));
  p = fused(p, r, splat(4.1665795894e-2f));
  p = fused(p, r, splat(1.6666665459e-1f));
  p = fused(p, r, splat(5.0000001201e-1f));
  return {power_of_two(n), fused(p, r * r, r)};
}

// 1 + exp(-x): sigmoid's divisor.
inline Vector sigmoid_divisor(Vector x) {
  const Exponential e = exponential(splat(0.0f) - x);
  return fused(e.power, e.rest, e.power + splat(1.0f));
}

// exp(2x) - 1.
inline Vector doubled_less_one(Vector x) {
  const Exponential e = exponential(x + x);
  return fused(e.power, e.rest, e.power - splat(1.0f));
}

inline Vector sigmoid(Vector x) { return splat(1.0f) / sigmoid_divisor(x); }

inline Vector hyperbolic_tangent(Vector x) {
  const Vector m = doubled_less_one(x);
  return m / (m + splat(2.0f));
}

// sigmoid(gate) · tanh(x), with one division.
inline Vector gated_tangent(Vector gate, Vector x) {
  const Vector m = doubled_less_one(x);
  return m / (sigmoid_divisor(gate) * (m + splat(2.0f)));
}

inline Vector rectified(Vector x) { return larger(splat(0.0f), x); }

}  // namespace
}  // namespace rnnport
