// The memory of one task, carved from one block; include it after the level's lanes.

namespace rnnport {
namespace {

constexpr int kProjectedRows = 24;  // rows of x that are multiplied with W at once

inline int steps_at_once(int rows, std::int64_t time) {
  const int steps = rows < kProjectedRows ? kProjectedRows / rows : 1;
  return time < steps ? static_cast<int>(time) : steps;
}

struct Workspace {
  std::ptrdiff_t units = 0;    // hidden size, rounded up to whole blocks
  std::ptrdiff_t columns = 0;  // of x·W
  std::ptrdiff_t depth = 0;    // input size, rounded up to whole groups

  std::int64_t* row = nullptr;     // [rows]: the batch's rows, longest first
  std::int64_t* length = nullptr;  // [rows]
  float* h = nullptr;              // [rows, units]
  float* next = nullptr;           // [rows, units]
  float* c = nullptr;              // [rows, units]
  float* update = nullptr;         // [rows, units]: gate z, where a GRU resets first
  float* reset = nullptr;          // [rows, units]: r·h
  std::int16_t* fixed = nullptr;   // [rows, units]: h or r·h in fixed point
  void* inputs = nullptr;          // [rows · steps, depth]: x in fixed point, or padded
  void* states = nullptr;          // [rows] of Row
  void* slots = nullptr;           // [rows · steps] of Row
  float* projected = nullptr;      // [rows · steps, columns]: x·W + b

  std::size_t to_clear = 0;  // bytes before `projected`, which alone need not begin as zeros
};

// Lay the parts out from `base`, or only count: a null base gives null parts. Answers the bytes.
inline std::size_t carve(const Layer& layer, int rows, std::int64_t time, std::byte* base,
                         Workspace& work) {
  std::size_t used = 0;
  const auto take = [&](auto*& part, std::size_t bytes) {
    using Part = std::remove_reference_t<decltype(part)>;
    if (base) part = static_cast<Part>(static_cast<void*>(base + used));
    used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
  };
  const std::size_t count = rows, slots = count * steps_at_once(rows, time);
  work.units = rounded_up(layer.hidden_size, kLanes);
  work.columns = work.units * gates_of(layer.cell);
  work.depth = rounded_up(layer.input_size, 2);
  const std::size_t state = sizeof(float) * count * work.units;
  take(work.row, sizeof(std::int64_t) * count);
  take(work.length, sizeof(std::int64_t) * count);
  take(work.h, state);
  take(work.next, state);
  take(work.c, layer.cell == Cell::LSTM ? state : 0);
  take(work.update, layer.cell == Cell::ResetFirstGRU ? state : 0);
  take(work.reset, layer.cell == Cell::ResetFirstGRU ? state : 0);
  take(work.fixed, layer.precision == Precision::Int8 ? state / 2 : 0);
  take(work.inputs, layer.precision == Precision::Float32 ? 0 : sizeof(float) * slots * work.depth);
  take(work.states, sizeof(Row<float>) * count);
  take(work.slots, sizeof(Row<float>) * slots);
  work.to_clear = used;
  take(work.projected, sizeof(float) * slots * work.columns);
  return used;
}

}  // namespace
}  // namespace rnnport
