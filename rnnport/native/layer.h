// What a recurrent layer is once its weights are packed, and what one call of it is given.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <utility>

namespace rnnport {

enum class Cell { LSTM, GRU, ResetFirstGRU, RNN };  // ResetFirstGRU: linear_before_reset = 0
enum class Precision { Float32, BFloat16, Int8 };
enum class Activation { Tanh, Relu };  // of an RNN; the other cells have tanh

constexpr std::size_t kAlignment = 64;  // bytes: a cache line

// Zeroed memory on a cache line's edge; it is moved, never copied.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes)
      : data_(::operator new(bytes ? bytes : 1, std::align_val_t(kAlignment))), bytes_(bytes) {
    std::memset(data_, 0, bytes);
  }
  Buffer(Buffer&& other) noexcept { *this = std::move(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~Buffer() { ::operator delete(data_, std::align_val_t(kAlignment)); }

  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  std::size_t bytes_ = 0;
};

// One factor of the products of every step. A panel is `lanes` columns wide and belongs to one
// gate; the panels of the same hidden units follow each other. Two panels are stored interleaved by
// depth: a tile of many rows reads them in order, and again from the nearest cache.
struct Matrix {
  int depth = 0;   // the length of each sum: the input size or the hidden size
  int panels = 0;  // gates times blocks of hidden units
  int range = 0;   // int8: activations are fixed-point numbers of at most this size
  Buffer weights;  // [panels / 2, depth / group, 2, lanes, group], rounded up; pack.cpp
  Buffer scale;    // int8: float [panels, lanes], the weight of one unit of an int8 weight
};

struct Direction {
  Matrix input;           // W
  Matrix recurrent;       // R; of a ResetFirstGRU the gates z and r
  Matrix candidate;       // of a ResetFirstGRU the gate h of R
  Buffer bias;            // float, in the order of the input's columns
  Buffer candidate_bias;  // float per hidden unit: Rb of gate h, inside the reset of a GRU
  bool reverse = false;
};

struct Layer {
  Cell cell = Cell::LSTM;
  Precision precision = Precision::Float32;
  Activation activation = Activation::Tanh;
  int input_size = 0;
  int hidden_size = 0;
  int directions = 1;
  Direction direction[2];
};

// The tensors of one call in ONNX's layout 0; a null pointer is an input or output left out.
struct Call {
  std::int64_t time = 0;
  std::int64_t batch = 0;
  const float* x = nullptr;               // [time, batch, input]
  const std::int32_t* lengths = nullptr;  // [batch]
  const float* initial_h = nullptr;       // [directions, batch, hidden]
  const float* initial_c = nullptr;
  float* y = nullptr;                     // [time, directions, batch, hidden]
  float* y_h = nullptr;                   // [directions, batch, hidden]
  float* y_c = nullptr;
};

// A part of a call that one thread runs through all steps: rows of the batch in one direction.
struct Task {
  int direction = 0;
  std::int64_t first_row = 0;
  int rows = 0;
};

constexpr int gates_of(Cell cell) {
  return cell == Cell::LSTM ? 4 : cell == Cell::RNN ? 1 : 3;
}

// Blocks of hidden units that are worked on together: enough sums to hide an addition's time, in an
// even number of panels.
constexpr int kMostPanels = 12;
constexpr int blocks_at_once(int gates) { return gates == 3 ? 4 : 8 / gates; }

// How many weights of one column lie side by side, so that one instruction takes them together.
constexpr int group_of(Precision precision) {
  return precision == Precision::Float32 ? 1 : 2;
}

constexpr int rounded_up(int count, int multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

}  // namespace rnnport
