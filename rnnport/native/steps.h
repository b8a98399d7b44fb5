// The steps of a layer for some rows in one direction: products, activations and state update of a
// step in one pass; include it after the level's lanes.
//
// The equations are those of ONNX's LSTM, GRU and RNN (onnx.ai/onnx/operators).

namespace rnnport {
namespace {

template <Precision Kind, Cell Type>
class Steps {
 public:
  Steps(const Layer& layer, const Call& call, const Task& task, std::byte* memory)
      : layer_(layer), direction_(layer.direction[task.direction]), call_(call), task_(task) {
    carve(layer, task.rows, call.time, memory, work_);
    std::memset(memory, 0, work_.to_clear);
    states_ = static_cast<Row<Input>*>(work_.states);
    inputs_ = static_cast<Row<Input>*>(work_.slots);
  }

  void run() {
    order_rows();
    begin();
    const int chunk = steps_at_once(task_.rows, call_.time);
    int active = task_.rows;
    for (std::int64_t first = 0; first < work_.length[0]; first += chunk) {
      const std::int64_t left = work_.length[0] - first;
      const int steps = left < chunk ? static_cast<int>(left) : chunk;
      project(first, steps, active);
      const float* projected = work_.projected;
      for (std::int64_t step = first; step < first + steps; ++step) {
        active = active_at(step, active);
        take_state(work_.h, active);
        advance(projected, active);
        give(step, active);
        projected += active * work_.columns;
      }
    }
  }

 private:
  using Input = typename Numbers<Kind>::Input;
  static constexpr int kGates = gates_of(Type);

  // Longest rows first, so that those still running are always the first ones.
  void order_rows() {
    int count = 0;
    for (int index = 0; index < task_.rows; ++index) {
      const std::int64_t row = task_.first_row + index;
      const std::int64_t length = call_.lengths ? call_.lengths[row] : call_.time;
      int place = count++;
      for (; place > 0 && work_.length[place - 1] < length; --place) {
        work_.length[place] = work_.length[place - 1];
        work_.row[place] = work_.row[place - 1];
      }
      work_.length[place] = length;
      work_.row[place] = row;
    }
  }

  int active_at(std::int64_t step, int active) const {
    while (active > 0 && work_.length[active - 1] <= step) --active;
    return active;
  }

  std::int64_t state_offset(int index) const {
    return (task_.direction * call_.batch + work_.row[index]) * layer_.hidden_size;
  }

  float* output(std::int64_t time, int index) const {
    const std::int64_t row = (time * layer_.directions + task_.direction) * call_.batch;
    return call_.y + (row + work_.row[index]) * layer_.hidden_size;
  }

  void begin() {
    const std::size_t bytes = sizeof(float) * layer_.hidden_size;
    for (int index = 0; index < task_.rows; ++index) {
      const std::int64_t from = state_offset(index);
      if (call_.initial_h)
        std::memcpy(work_.h + index * work_.units, call_.initial_h + from, bytes);
      if (Type == Cell::LSTM && call_.initial_c)
        std::memcpy(work_.c + index * work_.units, call_.initial_c + from, bytes);
      if (work_.length[index] == 0) end(index, work_.h);
      for (std::int64_t t = work_.length[index]; call_.y && t < call_.time; ++t)
        std::memset(output(t, index), 0, bytes);
    }
  }

  void end(int index, const float* h) {
    const std::size_t bytes = sizeof(float) * layer_.hidden_size;
    const std::int64_t to = state_offset(index);
    if (call_.y_h) std::memcpy(call_.y_h + to, h + index * work_.units, bytes);
    if (Type == Cell::LSTM && call_.y_c)
      std::memcpy(call_.y_c + to, work_.c + index * work_.units, bytes);
  }

  // x·W + b of the next steps, for the rows that are still running in each.
  void project(std::int64_t first, int steps, int active) {
    int count = 0;
    for (std::int64_t step = first; step < first + steps; ++step) {
      active = active_at(step, active);
      for (int index = 0; index < active; ++index) {
        const std::int64_t t = direction_.reverse ? work_.length[index] - 1 - step : step;
        const float* x = call_.x + (t * call_.batch + work_.row[index]) * layer_.input_size;
        take_input(x, inputs_[count], count);
        ++count;
      }
    }
    const float* bias = direction_.bias.template as<float>();
    multiply<Kind, kGates>(
        direction_.input, inputs_, count, [&](int row, int block, int blocks, const float* sums) {
          const int column = block * kGates * kLanes;
          float* to = work_.projected + row * work_.columns + column;
          for (int j = 0; j < blocks * kGates * kLanes; j += kLanes)
            store(to + j, load(sums + j) + load(bias + column + j));
        });
  }

  void take_input(const float* x, Row<Input>& row, int slot) {
    [[maybe_unused]] const std::ptrdiff_t offset = slot * work_.depth;
    if constexpr (Kind == Precision::Int8) {
      Input* fixed = static_cast<Input*>(work_.inputs) + offset;
      row.scale = quantized(x, layer_.input_size, direction_.input.range, false, fixed);
      row.values = fixed;
    } else if (Kind == Precision::BFloat16 && layer_.input_size % 2 == 1) {
      float* padded = static_cast<float*>(work_.inputs) + offset;
      std::memcpy(padded, x, sizeof(float) * layer_.input_size);
      row.values = padded;
    } else {
      row.values = x;
    }
  }

  // The rows of a state as the recurrent product takes them.
  void take_state(const float* state, int active) {
    for (int index = 0; index < active; ++index) {
      const float* values = state + index * work_.units;
      if constexpr (Kind == Precision::Int8) {
        const Matrix& matrix = state == work_.reset ? direction_.candidate : direction_.recurrent;
        std::int16_t* fixed = work_.fixed + index * work_.units;
        states_[index].scale =
            quantized(values, layer_.hidden_size, matrix.range, true, fixed);
        states_[index].values = fixed;
      } else {
        states_[index].values = values;
      }
    }
  }

  // One step of all active rows, from h to next.
  void advance(const float* projected, int active) {
    const auto recur = [&](auto gates, const Matrix& matrix, const auto& cell) {
      constexpr int kCount = decltype(gates)::value;
      multiply<Kind, kCount>(
          matrix, states_, active, [&](int row, int block, int blocks, const float* sums) {
            for (int each = 0; each < blocks; ++each) {
              cell(projected + row * work_.columns + (block + each) * kGates * kLanes,
                   sums + each * kCount * kLanes, row * work_.units + (block + each) * kLanes,
                   (block + each) * kLanes);
            }
          });
    };
    const auto add = [](const float* xw, const float* sums, int gate) {
      return load(xw + gate * kLanes) + load(sums + gate * kLanes);
    };
    if constexpr (Type == Cell::LSTM) {
      recur(Count<4>{}, direction_.recurrent,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int) {
              const Vector entering = gated_tangent(add(xw, sums, 0), add(xw, sums, 3));
              const Vector c = fused(sigmoid(add(xw, sums, 2)), load(work_.c + at), entering);
              store(work_.c + at, c);
              store(work_.next + at, gated_tangent(add(xw, sums, 1), c));
            });
    } else if constexpr (Type == Cell::GRU) {
      const float* inner = direction_.candidate_bias.template as<float>();
      recur(Count<3>{}, direction_.recurrent,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int unit) {
              const Vector z = sigmoid(add(xw, sums, 0)), r = sigmoid(add(xw, sums, 1));
              const Vector inside = load(sums + 2 * kLanes) + load(inner + unit);
              const Vector g = hyperbolic_tangent(fused(r, inside, load(xw + 2 * kLanes)));
              store(work_.next + at, fused(z, load(work_.h + at) - g, g));
            });
    } else if constexpr (Type == Cell::ResetFirstGRU) {
      recur(Count<2>{}, direction_.recurrent,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int) {
              store(work_.update + at, sigmoid(add(xw, sums, 0)));
              store(work_.reset + at, sigmoid(add(xw, sums, 1)) * load(work_.h + at));
            });
      take_state(work_.reset, active);
      recur(Count<1>{}, direction_.candidate,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int) {
              const Vector z = load(work_.update + at);
              const Vector g = hyperbolic_tangent(load(xw + 2 * kLanes) + load(sums));
              store(work_.next + at, fused(z, load(work_.h + at) - g, g));
            });
    } else if (layer_.activation == Activation::Tanh) {
      recur(Count<1>{}, direction_.recurrent,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int) {
              store(work_.next + at, hyperbolic_tangent(add(xw, sums, 0)));
            });
    } else {
      recur(Count<1>{}, direction_.recurrent,
            [&](const float* xw, const float* sums, std::ptrdiff_t at, int) {
              store(work_.next + at, rectified(add(xw, sums, 0)));
            });
    }
  }

  // Write the step's outputs, and the final states of rows that end with it.
  void give(std::int64_t step, int active) {
    for (int index = 0; index < active; ++index) {
      const std::int64_t length = work_.length[index];
      if (call_.y)
        std::memcpy(output(direction_.reverse ? length - 1 - step : step, index),
                    work_.next + index * work_.units, sizeof(float) * layer_.hidden_size);
      if (length == step + 1) end(index, work_.next);
    }
    float* before = work_.h;
    work_.h = work_.next;
    work_.next = before;
  }

  const Layer& layer_;
  const Direction& direction_;
  const Call& call_;
  const Task task_;
  Workspace work_;
  Row<Input>* states_;
  Row<Input>* inputs_;
};

template <Precision Kind>
void run_kind(const Layer& layer, const Call& call, const Task& task, std::byte* memory) {
  switch (layer.cell) {
    case Cell::LSTM: return Steps<Kind, Cell::LSTM>(layer, call, task, memory).run();
    case Cell::GRU: return Steps<Kind, Cell::GRU>(layer, call, task, memory).run();
    case Cell::ResetFirstGRU:
      return Steps<Kind, Cell::ResetFirstGRU>(layer, call, task, memory).run();
    case Cell::RNN: return Steps<Kind, Cell::RNN>(layer, call, task, memory).run();
  }
}

void run_task(const Layer& layer, const Call& call, const Task& task, std::byte* memory) {
  switch (layer.precision) {
    case Precision::Float32: return run_kind<Precision::Float32>(layer, call, task, memory);
    case Precision::BFloat16: return run_kind<Precision::BFloat16>(layer, call, task, memory);
    case Precision::Int8: return run_kind<Precision::Int8>(layer, call, task, memory);
  }
}

std::size_t workspace_bytes(const Layer& layer, int rows, std::int64_t time) {
  Workspace unused;
  return carve(layer, rows, time, nullptr, unused);
}

}  // namespace
}  // namespace rnnport
