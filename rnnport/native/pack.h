// Packing the weights of an ONNX node for the kernels, once, when the node's kernel is made.
#pragma once

#include <vector>

#include "layer.h"

namespace rnnport {

// The constant tensors of a node, in ONNX's layout: [directions, gates · hidden, …].
struct Weights {
  const void* w = nullptr;  // float, bfloat16 or int8 [directions, gates · hidden, input]
  const void* r = nullptr;  // [directions, gates · hidden, hidden]
  const float* w_scale = nullptr;  // int8: [directions, gates · hidden, 1]
  const float* r_scale = nullptr;
  const float* bias = nullptr;     // [directions, 2 · gates · hidden], or null for zeros
};

// Fill the directions of a layer whose sizes are set, for panels of `lanes` columns.
void pack(Layer& layer, const Weights& weights, bool reverse, int lanes);

// To the nearest, ties to even; NaN stays NaN.
std::vector<std::uint16_t> to_bfloat16(const float* values, std::size_t count);

// The least fixed-point range that still gives activations 10 bits.
constexpr int kLeastRange = 511;

}  // namespace rnnport
