// Which of the nodes that the kernels carry the execution provider claims.
#pragma once

#include "claim.h"
#include "level.h"

namespace rnnport {

// Whether a level's kernels run such a node faster than ONNX Runtime's own, by what was measured
// (ARCHITECTURE.md has the figures). `batch` is the largest that the node will see; 0: any.
bool gains(const PlainNode& node, std::int64_t batch, Precision precision, const Level& level);

}  // namespace rnnport
