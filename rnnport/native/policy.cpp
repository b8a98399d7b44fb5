// The policy of the execution provider, as a table of hidden sizes.
#include "policy.h"

#include "runs_here.h"

namespace rnnport {
namespace {

// The largest hidden size, of those up to 1,024 that were measured, at which the kernels gain or
// lose less than a tenth at any batch and time; and the same where the batch is one row.
struct Limit {
  Cell cell;
  Precision precision;
  int any_batch;
  int one_row;
};

constexpr Limit kAvx2Limits[] = {
    {Cell::LSTM, Precision::Float32, 256, 256}, {Cell::LSTM, Precision::BFloat16, 256, 1024},
    {Cell::GRU, Precision::Float32, 256, 1024}, {Cell::GRU, Precision::BFloat16, 512, 1024},
    {Cell::RNN, Precision::Float32, 512, 1024}, {Cell::RNN, Precision::BFloat16, 1024, 1024},
};

}  // namespace

bool gains(const PlainNode& node, std::int64_t batch, Precision precision, const Level& level) {
  // The portable level is slower than ONNX Runtime. With AVX-512 the latter's kernels are twice as
  // wide as those of the AVX2 level, and nothing was measured.
  if (&level == &kPortable || has_avx512()) return false;
  for (const Limit& limit : kAvx2Limits)
    if (limit.cell == node.cell && limit.precision == precision)
      return node.hidden_size <= (batch == 1 ? limit.one_row : limit.any_batch);
  return false;
}

}  // namespace rnnport
