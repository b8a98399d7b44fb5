// Runs the kernels on random layers and calls, every tensor in a block of its own exact size, so
// that the sanitizers see whatever reads or writes past one.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "level.h"
#include "pack.h"

using namespace rnnport;

namespace {

std::mt19937 generator(1);

int between(int least, int most) {
  return std::uniform_int_distribution<int>(least, most)(generator);
}

float real(float size) { return std::uniform_real_distribution<float>(-size, size)(generator); }

std::unique_ptr<float[]> floats(std::size_t count, float size) {
  auto made = std::make_unique<float[]>(count);
  for (std::size_t index = 0; index < count; ++index) made[index] = real(size);
  return made;
}

// Weights of the layer's precision: each is `bytes` long.
std::vector<std::uint8_t> weights(std::size_t count, Precision precision) {
  const bool narrow = precision == Precision::Int8;
  const std::size_t bytes = narrow ? 1 : precision == Precision::BFloat16 ? 2 : 4;
  std::vector<std::uint8_t> made(count * bytes);
  for (std::size_t index = 0; index < count; ++index) {
    const float value = real(0.5f);
    std::uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const auto upper = static_cast<std::uint16_t>(bits >> 16);
    const auto whole = static_cast<std::int8_t>(between(-128, 127));
    if (bytes == 4) std::memcpy(&made[4 * index], &value, 4);
    if (bytes == 2) std::memcpy(&made[2 * index], &upper, 2);
    if (bytes == 1) std::memcpy(&made[index], &whole, 1);
  }
  return made;
}

void one_layer(const Level& level, Precision precision, Cell cell) {
  Layer layer;
  layer.cell = cell;
  layer.precision = precision;
  layer.activation = between(0, 1) ? Activation::Tanh : Activation::Relu;
  layer.input_size = between(1, 40);
  layer.hidden_size = between(1, 70);
  layer.directions = between(1, 2);
  const std::size_t rows = std::size_t(gates_of(cell)) * layer.hidden_size * layer.directions;
  const auto w = weights(rows * layer.input_size, precision);
  const auto r = weights(rows * layer.hidden_size, precision);
  const auto w_scale = floats(rows, 0.01f), r_scale = floats(rows, 0.01f), b = floats(2 * rows, 1);
  const bool scaled = precision == Precision::Int8;
  const Weights all = {w.data(), r.data(), scaled ? w_scale.get() : nullptr,
                       scaled ? r_scale.get() : nullptr, between(0, 3) ? b.get() : nullptr};
  pack(layer, all, between(0, 1) == 1, level.lanes);

  Call call;
  call.time = between(0, 30);
  call.batch = between(1, 14);
  const std::size_t state = std::size_t(layer.directions) * call.batch * layer.hidden_size;
  auto x = floats(call.time * call.batch * layer.input_size, 3);
  const auto h = floats(state, 2), c = floats(state, 2);
  const auto y = floats(call.time * state, 1), y_h = floats(state, 1), y_c = floats(state, 1);
  auto lengths = std::make_unique<std::int32_t[]>(call.batch);
  for (int row = 0; row < call.batch; ++row) lengths[row] = between(0, int(call.time));
  const float odd[] = {NAN, INFINITY, -INFINITY, 1e-45f, 3e38f};
  if (call.time && between(0, 3) == 0) x[0] = odd[between(0, 4)];
  call.x = x.get();
  if (between(0, 1)) call.lengths = lengths.get();
  if (between(0, 1)) call.initial_h = h.get();
  if (between(0, 1)) call.initial_c = c.get();
  if (between(0, 3)) call.y = y.get();
  if (between(0, 3)) call.y_h = y_h.get();
  if (cell == Cell::LSTM && between(0, 3)) call.y_c = y_c.get();
  for (int direction = 0; direction < layer.directions; ++direction) {
    const int first = between(0, int(call.batch) - 1);
    const Task tasks[] = {{direction, 0, first}, {direction, first, int(call.batch) - first}};
    for (const Task& task : tasks) {
      if (task.rows == 0) continue;
      const Buffer memory(level.workspace(layer, task.rows, call.time));
      level.run(layer, call, task, memory.as<std::byte>());
    }
  }
}

}  // namespace

int main() {
  const Level& level = chosen_level();
  for (int round = 0; round < 60; ++round)
    for (Precision precision : {Precision::Float32, Precision::BFloat16, Precision::Int8})
      for (Cell cell : {Cell::LSTM, Cell::GRU, Cell::ResetFirstGRU, Cell::RNN})
        one_layer(level, precision, cell);
  std::puts(level.name);
}
