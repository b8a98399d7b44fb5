// Packing: gates interleaved, columns in pairs of panels, neighbours in depth side by side.
#include "pack.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>

namespace rnnport {
namespace {

constexpr int kInt16Max = 32767;

// One gate-major matrix of a direction, [gates · hidden, depth], and the gates to take from it.
template <class T>
struct Source {
  const T* values;
  const float* scale;  // one for each row, or null
  int hidden;
  int depth;
  int first_gate;
  int gates;

  std::size_t row(int gate, int unit) const {
    return static_cast<std::size_t>(first_gate + gate) * hidden + unit;
  }
};

// The largest activation, up to 16 bits, with which no sum of a row can leave 32 bits: a sum is at
// most the activation's bound times the sum of the weights' sizes.
int safe_range(const Source<std::int8_t>& source) {
  std::int64_t largest = 1;
  for (int gate = 0; gate < source.gates; ++gate)
    for (int unit = 0; unit < source.hidden; ++unit) {
      const std::int8_t* row = source.values + source.row(gate, unit) * source.depth;
      std::int64_t sum = 0;
      for (int k = 0; k < source.depth; ++k) sum += std::abs(static_cast<int>(row[k]));
      largest = std::max(largest, sum);
    }
  const auto range = std::min<std::int64_t>(kInt16Max, INT32_MAX / largest);
  if (range < kLeastRange) throw std::invalid_argument("too many int8 weights in a row");
  return static_cast<int>(range);
}

template <class T>
Matrix packed(const Source<T>& source, int group, int lanes) {
  Matrix matrix;
  const int blocks = rounded_up(source.hidden, lanes) / lanes;
  const int groups = rounded_up(source.depth, group) / group;
  matrix.depth = source.depth;
  matrix.panels = blocks * source.gates;
  const std::size_t columns = static_cast<std::size_t>(rounded_up(matrix.panels, 2)) * lanes;
  matrix.weights = Buffer(sizeof(T) * columns * groups * group);
  if (source.scale) matrix.scale = Buffer(sizeof(float) * columns);
  for (int gate = 0; gate < source.gates; ++gate)
    for (int unit = 0; unit < source.hidden; ++unit) {
      const int panel = unit / lanes * source.gates + gate;
      const int lane = unit % lanes;
      const std::size_t row = source.row(gate, unit);
      if (source.scale) matrix.scale.template as<float>()[panel * lanes + lane] = source.scale[row];
      T* weights = matrix.weights.template as<T>();
      for (int k = 0; k < source.depth; ++k) {
        const std::size_t depth = static_cast<std::size_t>(panel / 2) * groups + k / group;
        const std::size_t column = (depth * 2 + panel % 2) * lanes + lane;
        weights[column * group + k % group] = source.values[row * source.depth + k];
      }
    }
  return matrix;
}

template <class T>
Matrix matrix_of(const Source<T>& source, Precision precision, int lanes) {
  Matrix matrix = packed(source, group_of(precision), lanes);
  if constexpr (sizeof(T) == 1) matrix.range = safe_range(source);
  return matrix;
}

// Wb + Rb in the order of the packed columns; a GRU's Rb of gate h stays apart.
void pack_bias(Direction& direction, const Layer& layer, const float* bias, int lanes) {
  const int gates = gates_of(layer.cell), hidden = layer.hidden_size;
  const int padded = rounded_up(hidden, lanes);
  direction.bias = Buffer(sizeof(float) * padded * gates);
  direction.candidate_bias = Buffer(sizeof(float) * padded);
  if (!bias) return;
  for (int gate = 0; gate < gates; ++gate)
    for (int unit = 0; unit < hidden; ++unit) {
      const float wb = bias[gate * hidden + unit], rb = bias[(gates + gate) * hidden + unit];
      const bool apart = layer.cell == Cell::GRU && gate == 2;
      const int column = (unit / lanes * gates + gate) * lanes + unit % lanes;
      direction.bias.as<float>()[column] = apart ? wb : wb + rb;
      if (apart) direction.candidate_bias.as<float>()[unit] = rb;
    }
}

template <class T>
void pack_direction(Layer& layer, const Weights& weights, int index, int lanes) {
  Direction& direction = layer.direction[index];
  const int gates = gates_of(layer.cell), hidden = layer.hidden_size;
  const std::size_t rows = static_cast<std::size_t>(gates) * hidden;
  const auto source = [&](const void* all, const float* scale, int depth, int first, int count) {
    return Source<T>{static_cast<const T*>(all) + index * rows * depth,
                     scale ? scale + index * rows : nullptr, hidden, depth, first, count};
  };
  const auto recurrent = [&](int first, int count) {
    return matrix_of(source(weights.r, weights.r_scale, hidden, first, count), layer.precision,
                     lanes);
  };
  direction.input = matrix_of(source(weights.w, weights.w_scale, layer.input_size, 0, gates),
                              layer.precision, lanes);
  if (layer.cell == Cell::ResetFirstGRU) {
    direction.recurrent = recurrent(0, 2);
    direction.candidate = recurrent(2, 1);
  } else {
    direction.recurrent = recurrent(0, gates);
  }
  pack_bias(direction, layer, weights.bias ? weights.bias + index * 2 * rows : nullptr, lanes);
}

}  // namespace

void pack(Layer& layer, const Weights& weights, bool reverse, int lanes) {
  for (int index = 0; index < layer.directions; ++index) {
    layer.direction[index].reverse = reverse || index == 1;
    if (layer.precision == Precision::Float32) {
      pack_direction<float>(layer, weights, index, lanes);
    } else if (layer.precision == Precision::BFloat16) {
      pack_direction<std::uint16_t>(layer, weights, index, lanes);
    } else {
      pack_direction<std::int8_t>(layer, weights, index, lanes);
    }
  }
}

std::vector<std::uint16_t> to_bfloat16(const float* values, std::size_t count) {
  std::vector<std::uint16_t> rounded(count);
  for (std::size_t i = 0; i < count; ++i) {
    std::uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    const bool nan = values[i] != values[i];
    bits = nan ? bits | 0x400000u : bits + 0x7fffu + (bits >> 16 & 1u);
    rounded[i] = static_cast<std::uint16_t>(bits >> 16);
  }
  return rounded;
}

}  // namespace rnnport
