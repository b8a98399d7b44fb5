// Running one node: what it was given is checked, packed or run, and outputs are made.
#include "recurrent_op.h"

#include <algorithm>
#include <climits>
#include <stdexcept>
#include <vector>

namespace rnnport {
namespace {

const char* const kNames[kRoles] = {"X", "W",            "W_scale",   "R",        "R_scale",
                                    "B", "sequence_lens", "initial_h", "initial_c"};

// Rows of the batch that one task runs: many, so that weights are read seldom, and whole tiles.
constexpr int kTaskRows = 18, kTileRows = 6;
// Products under which a task costs less than waking a thread for it.
constexpr double kLeastProducts = 2e6;

std::string shape_text(const Given& given) {
  std::string text = "[";
  for (int axis = 0; axis < given.rank; ++axis)
    text += (axis ? ", " : "") + std::to_string(given.shape[axis]);
  return text + "]";
}

void require_shape(const Given& given, Role role, std::initializer_list<std::int64_t> wanted) {
  Given expected;
  for (std::int64_t size : wanted) expected.shape[expected.rank++] = size;
  if (given.rank == expected.rank &&
      std::equal(wanted.begin(), wanted.end(), given.shape))
    return;
  throw std::invalid_argument(std::string(kNames[role]) + " is " + shape_text(given) +
                              "; expected " + shape_text(expected));
}

bool is_weight(int role) { return role >= kW && role <= kRScale; }

}  // namespace

ElementType type_of(Role role, Precision precision) {
  if (role == kLengths) return kInt32;
  if (role != kW && role != kR) return kFloat;
  return precision == Precision::Int8 ? kInt8
                                      : precision == Precision::BFloat16 ? kBFloat16 : kFloat;
}

RecurrentKernel::RecurrentKernel(const RecurrentOp& op, Table* table, const KernelInfo* info)
    : ort_(table), op_(op), cell_(op.cell), activation_(op.activation) {
  const std::int64_t hidden = integer(info, "hidden_size", 0);
  if (hidden < 1 || hidden > INT_MAX / 64)
    throw std::invalid_argument("hidden_size is " + std::to_string(hidden));
  hidden_size_ = static_cast<int>(hidden);
  const std::string direction = text(info, "direction", "forward");
  if (direction != "forward" && direction != "reverse" && direction != "bidirectional")
    throw std::invalid_argument("direction is '" + direction + "'");
  directions_ = direction == "bidirectional" ? 2 : 1;
  reverse_ = direction == "reverse";
  if (cell_ == Cell::GRU && integer(info, "linear_before_reset", 0) == 0)
    cell_ = Cell::ResetFirstGRU;
  if (cell_ == Cell::RNN && !op_.plain) {
    const std::string activation = text(info, "activation", "Tanh");
    if (activation != "Tanh" && activation != "Relu")
      throw std::invalid_argument("activation is '" + activation + "'");
    activation_ = activation == "Relu" ? Activation::Relu : Activation::Tanh;
  }
  Given all[kRoles];
  bool constant = true;
  for (int role = kW; role <= kB; ++role) {
    if (op_.places[role] < 0) continue;
    int is_constant = 0;
    const Value* value = nullptr;
    const auto place = static_cast<std::size_t>(op_.places[role]);
    if (Status* status = ort_.constant_input(info, place, &is_constant, &value))
      throw OrtFailure{status};
    if (is_constant && value) all[role] = given(value, static_cast<Role>(role));
    if (is_weight(role)) constant = constant && all[role].data;
  }
  bias_is_constant_ = all[kB].data;
  if (constant) layer_ = layer_of(all);
}

RecurrentKernel::~RecurrentKernel() { delete spare_.load(); }

std::int64_t RecurrentKernel::integer(const KernelInfo* info, const char* name,
                                      std::int64_t otherwise) const {
  std::int64_t value = 0;
  Status* status = ort_.integer_attribute(info, name, &value);
  if (!status) return value;
  ort_.release_status(status);
  return otherwise;
}

std::string RecurrentKernel::text(const KernelInfo* info, const char* name,
                                  const char* otherwise) const {
  char value[32] = {};
  std::size_t bytes = sizeof value;
  Status* status = ort_.text_attribute(info, name, value, &bytes);
  if (!status) return value;
  ort_.release_status(status);
  return otherwise;
}

Given RecurrentKernel::given(const Value* value, Role role) const {
  Given found;
  ShapeInfo* info = nullptr;
  if (Status* status = ort_.shape_info(value, &info)) throw OrtFailure{status};
  ElementType type{};
  std::size_t rank = 0;
  Status* status = ort_.element_type(info, &type);
  if (!status) status = ort_.rank(info, &rank);
  if (!status && rank <= 3) status = ort_.shape(info, found.shape, rank);
  ort_.release_shape_info(info);
  if (status) throw OrtFailure{status};
  found.rank = static_cast<int>(rank);
  if (rank > 3) throw std::invalid_argument(std::string(kNames[role]) + " has more than 3 axes");
  if (type != type_of(role, op_.plain ? Precision::Float32 : op_.precision))
    throw std::invalid_argument(std::string(kNames[role]) + " has another type than expected");
  void* data = nullptr;
  if (Status* failed = ort_.tensor_data(const_cast<Value*>(value), &data))
    throw OrtFailure{failed};
  static const char kEmpty = 0;  // a tensor without elements may have no data, and yet is given
  found.data = data ? data : &kEmpty;
  return found;
}

Given RecurrentKernel::input(KernelContext* context, Role role) const {
  if (op_.places[role] < 0) return {};
  const Value* value = nullptr;
  const auto place = static_cast<std::size_t>(op_.places[role]);
  if (Status* status = ort_.input(context, place, &value)) throw OrtFailure{status};
  return value ? given(value, role) : Given{};
}

float* RecurrentKernel::output(KernelContext* context, std::size_t index,
                               const std::int64_t* shape, std::size_t rank) const {
  Value* value = nullptr;
  if (Status* status = ort_.output(context, index, shape, rank, &value)) throw OrtFailure{status};
  void* data = nullptr;
  if (value)
    if (Status* status = ort_.tensor_data(value, &data)) throw OrtFailure{status};
  return static_cast<float*>(data);
}

std::unique_ptr<Layer> RecurrentKernel::layer_of(const Given (&all)[kRoles]) const {
  const std::int64_t rows = std::int64_t{gates_of(cell_)} * hidden_size_;
  if (all[kW].rank != 3 || all[kW].shape[2] < 1 || all[kW].shape[2] > INT_MAX / 64)
    throw std::invalid_argument("W is " + shape_text(all[kW]));
  require_shape(all[kW], kW, {directions_, rows, all[kW].shape[2]});
  require_shape(all[kR], kR, {directions_, rows, hidden_size_});
  if (op_.precision == Precision::Int8) {
    require_shape(all[kWScale], kWScale, {directions_, rows, 1});
    require_shape(all[kRScale], kRScale, {directions_, rows, 1});
  }
  if (all[kB].data) require_shape(all[kB], kB, {directions_, 2 * rows});
  auto layer = std::make_unique<Layer>();
  layer->cell = cell_;
  layer->precision = op_.precision;
  layer->activation = activation_;
  layer->input_size = static_cast<int>(all[kW].shape[2]);
  layer->hidden_size = hidden_size_;
  layer->directions = directions_;
  const auto floats = [&](Role role) { return static_cast<const float*>(all[role].data); };
  Weights weights = {all[kW].data, all[kR].data, floats(kWScale), floats(kRScale), floats(kB)};
  std::vector<std::uint16_t> w, r;
  if (op_.plain && op_.precision == Precision::BFloat16) {
    const std::size_t columns = static_cast<std::size_t>(directions_) * rows;
    weights.w = (w = to_bfloat16(floats(kW), columns * layer->input_size)).data();
    weights.r = (r = to_bfloat16(floats(kR), columns * hidden_size_)).data();
  }
  pack(*layer, weights, reverse_, op_.level->lanes);
  return layer;
}

void RecurrentKernel::compute(KernelContext* context) {
  const Layer* layer = layer_.get();
  std::unique_ptr<Layer> passing;
  if (!layer || (!bias_is_constant_ && input(context, kB).data)) {
    Given all[kRoles];
    for (int role = kW; role <= kB; ++role) {
      all[role] = input(context, static_cast<Role>(role));
      if (op_.places[role] >= 0 && is_weight(role) && !all[role].data)
        throw std::invalid_argument(std::string(kNames[role]) + " is missing");
    }
    passing = layer_of(all);
    layer = passing.get();
  }
  const Call call = call_of(context, *layer);
  if (call.batch > 0) run(context, *layer, call);
}

Call RecurrentKernel::call_of(KernelContext* context, const Layer& layer) const {
  const Given x = input(context, kX), lengths = input(context, kLengths);
  const Given h = input(context, kInitialH), c = input(context, kInitialC);
  if (x.rank != 3) throw std::invalid_argument("X is " + shape_text(x) + "; expected 3 axes");
  Call call;
  call.time = x.shape[0];
  call.batch = x.shape[1];
  if (call.batch > INT_MAX / 64) throw std::invalid_argument("the batch is too large");
  require_shape(x, kX, {call.time, call.batch, layer.input_size});
  if (lengths.data) require_shape(lengths, kLengths, {call.batch});
  if (h.data) require_shape(h, kInitialH, {directions_, call.batch, hidden_size_});
  if (c.data) require_shape(c, kInitialC, {directions_, call.batch, hidden_size_});
  call.x = static_cast<const float*>(x.data);
  call.lengths = static_cast<const std::int32_t*>(lengths.data);
  call.initial_h = static_cast<const float*>(h.data);
  call.initial_c = static_cast<const float*>(c.data);
  for (std::int64_t row = 0; call.lengths && row < call.batch; ++row)
    if (call.lengths[row] < 0 || call.lengths[row] > call.time)
      throw std::invalid_argument("sequence_lens has " + std::to_string(call.lengths[row]) +
                                  "; expected 0 to " + std::to_string(call.time));
  const std::int64_t y[] = {call.time, directions_, call.batch, hidden_size_};
  call.y = output(context, 0, y, 4);
  call.y_h = output(context, 1, y + 1, 3);
  if (cell_ == Cell::LSTM) call.y_c = output(context, 2, y + 1, 3);
  return call;
}

// Rows and directions are independent of each other, and each row's answer is the same in any task.
void RecurrentKernel::run(KernelContext* context, const Layer& layer, const Call& call) {
  const int batch = static_cast<int>(call.batch);
  const double products = static_cast<double>(call.time) * batch * gates_of(layer.cell) *
                          layer.hidden_size * (layer.hidden_size + layer.input_size);
  const bool together = products < kLeastProducts;
  struct Plan {
    const Layer& layer;
    const Call& call;
    const Level& level;
    int rows;       // of one task
    int pieces;     // of the batch
    std::size_t bytes;
    std::byte* memory;
  } plan{layer, call, *op_.level, batch, 1, 0, nullptr};
  if (!together) {
    plan.pieces = (batch + kTaskRows - 1) / kTaskRows;
    plan.rows = rounded_up((batch + plan.pieces - 1) / plan.pieces, kTileRows);
    plan.pieces = (batch + plan.rows - 1) / plan.rows;
  }
  const std::size_t tasks = static_cast<std::size_t>(plan.pieces) * layer.directions;
  plan.bytes = plan.level.workspace(layer, plan.rows, call.time);
  std::unique_ptr<Buffer> memory(spare_.exchange(nullptr));
  if (!memory || memory->bytes() < plan.bytes * tasks)
    memory = std::make_unique<Buffer>(plan.bytes * tasks);
  plan.memory = memory->as<std::byte>();
  const auto one = [](void* data, std::size_t index) {
    const Plan& all = *static_cast<Plan*>(data);
    Task task;
    const int piece = static_cast<int>(index) % all.pieces;
    task.direction = static_cast<int>(index) / all.pieces;
    task.first_row = std::int64_t{piece} * all.rows;
    task.rows = static_cast<int>(std::min<std::int64_t>(all.rows, all.call.batch - task.first_row));
    all.level.run(all.layer, all.call, task, all.memory + index * all.bytes);
  };
  if (tasks == 1 || together) {
    for (std::size_t index = 0; index < tasks; ++index) one(&plan, index);
  } else if (Status* status = ort_.parallel_for(context, one, tasks, 0, &plan)) {
    throw OrtFailure{status};
  }
  delete spare_.exchange(memory.release());
}

}  // namespace rnnport
