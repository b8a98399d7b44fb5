// Rows of activations times a packed matrix, tile by tile; include it after the level's lanes.
//
// Every row goes through the same operations in the same order, however many rows there are: an
// answer depends neither on who shares the batch nor on how work is cut up.

namespace rnnport {
namespace {

template <Precision>
struct Numbers {  // float32
  using Weight = float;
  using Input = float;
};
template <>
struct Numbers<Precision::BFloat16> {
  using Weight = std::uint16_t;
  using Input = float;
};
template <>
struct Numbers<Precision::Int8> {
  using Weight = std::int8_t;
  using Input = std::int16_t;
};

template <int N>
struct Count {
  static constexpr int value = N;
};

// Call f with the count n, from 1 to Most, as a constant.
template <int Most, class F>
inline void with_count(int n, F&& f) {
  if constexpr (Most > 1) {
    if (n < Most) return with_count<Most - 1>(n, f);
  }
  f(Count<Most>{});
}

// The rows of a tile of two panels: as many sums as the registers hold, beside a weight and an
// activation.
constexpr int tile_rows(Precision kind) {
  return kind == Precision::Float32 ? 6 : kind == Precision::BFloat16 ? 4 : 5;
}

// Finish takes (row, first block of hidden units, blocks, sums [blocks · gates, lanes]).
template <Precision Kind, int Gates, class Finish>
inline void multiply(const Matrix& matrix, const Row<typename Numbers<Kind>::Input>* rows,
                     int count, const Finish& finish) {
  constexpr int kGroup = group_of(Kind), kRows = tile_rows(Kind);
  constexpr int kBlocks = blocks_at_once(Gates), kWidth = kBlocks * Gates * kLanes;
  static_assert(kBlocks * Gates % 2 == 0 && kBlocks * Gates <= kMostPanels);
  const int groups = rounded_up(matrix.depth, kGroup) / kGroup;
  const std::ptrdiff_t pair = std::ptrdiff_t{2} * kLanes * kGroup * groups;
  const auto* weights = matrix.weights.as<typename Numbers<Kind>::Weight>();
  const float* scale = matrix.scale.as<float>();
  alignas(kAlignment) float sums[kRows * kWidth];

  const int all = matrix.panels / Gates;
  for (int block = 0; block < all; block += kBlocks) {
    const int blocks = all - block < kBlocks ? all - block : kBlocks;
    const int first = block * Gates, panels = blocks * Gates;
    if (count == 1) {
      with_count<kBlocks>(blocks, [&](auto wide) {
        product<1, decltype(wide)::value * Gates>(rows, weights + first / 2 * pair, pair, groups,
                                                  scale + first * kLanes, sums, kWidth);
      });
      finish(0, block, blocks, sums);
      continue;
    }
    for (int row = 0; row < count; row += kRows) {
      const int high = count - row < kRows ? count - row : kRows;
      with_count<kRows>(high, [&](auto height) {
        for (int panel = 0; panel < panels; panel += 2)
          product<decltype(height)::value, 2>(
              rows + row, weights + (first + panel) / 2 * pair, pair, groups,
              scale + (first + panel) * kLanes, sums + panel * kLanes, kWidth);
      });
      for (int r = 0; r < high; ++r) finish(row + r, block, blocks, sums + r * kWidth);
    }
  }
}

// A row as fixed-point numbers of at most `range`; the answer is what one unit stands for. A state
// has the fixed scale of sizes up to 1, unless it is larger. A row with infinity or NaN gets NaN
// for its unit, and so do all sums that it enters.
inline float quantized(const float* values, int count, int range, bool state, std::int16_t* fixed) {
  const std::uint32_t bits = largest_bits(values, count);
  float largest;
  std::memcpy(&largest, &bits, sizeof largest);
  if (state && largest < 1.0f) largest = 1.0f;
  const bool finite = bits < 0x7f800000u;
  if (!finite || largest < 1e-30f) {  // below, the unit's inverse would leave float32
    std::memset(fixed, 0, sizeof(std::int16_t) * count);
    return finite ? 0.0f : largest - largest;
  }
  to_fixed_point(values, count, static_cast<float>(range) / largest, fixed);
  return largest / static_cast<float>(range);
}

}  // namespace
}  // namespace rnnport
