// What the library exports: RegisterCustomOps for ONNX Runtime, and its level for whoever asks.
#include <array>
#include <list>
#include <mutex>

#include "exported.h"
#include "recurrent_op.h"

#if !defined(RNNPORT_SOURCES)  // build.py gives it
#define RNNPORT_SOURCES "unknown"
#endif

namespace rnnport {
namespace {

constexpr int kFunctionVersion = 1;  // of the domain `rnnport`

const RecurrentOp& of(const CustomOp* op) { return *static_cast<const RecurrentOp*>(op); }

int role_at(const CustomOp* op, std::size_t index) {
  int role = kX;
  while (of(op).places[role] != static_cast<int>(index)) ++role;
  return role;
}

ElementType input_type(const CustomOp* op, std::size_t index) {
  return type_of(static_cast<Role>(role_at(op, index)), of(op).precision);
}

Status* create(const CustomOp* op, Table* table, const KernelInfo* info, void** kernel) {
  return guarded(Ort(table), [&] { *kernel = new RecurrentKernel(of(op), table, info); });
}

Status* compute(void* kernel, KernelContext* context) {
  auto* node = static_cast<RecurrentKernel*>(kernel);
  return guarded(node->ort(), [&] { node->compute(context); });
}

RecurrentOp make(const char* name, Cell cell, Precision precision) {
  RecurrentOp op = {};
  op.version = kApiVersion;
  op.name = [](const CustomOp* self) { return of(self).op_name; };
  op.provider = [](const CustomOp*) -> const char* { return nullptr; };  // the CPU's
  op.input_type = input_type;
  op.inputs = [](const CustomOp* self) { return static_cast<std::size_t>(of(self).input_count); };
  op.output_type = [](const CustomOp*, std::size_t) { return kFloat; };
  op.outputs = [](const CustomOp* self) -> std::size_t {
    return of(self).cell == Cell::LSTM ? 3 : 2;
  };
  op.destroy_kernel = [](void* kernel) { delete static_cast<RecurrentKernel*>(kernel); };
  op.input_is_optional = [](const CustomOp* self, std::size_t index) {
    return role_at(self, index) >= kB ? 1 : 0;
  };
  op.output_is_optional = [](const CustomOp*, std::size_t) { return 1; };
  op.input_memory = [](const CustomOp*, std::size_t) { return 0; };
  op.least_variadic_inputs = op.least_variadic_outputs = [](const CustomOp*) { return 1; };
  op.equal_variadic_inputs = op.equal_variadic_outputs = [](const CustomOp*) { return 0; };
  op.create_kernel_v2 = create;
  op.compute_v2 = compute;
  op.first_version = op.last_version = [](const CustomOp*) { return kFunctionVersion; };
  op.op_name = name;
  op.cell = cell;
  op.precision = precision;
  for (int role = 0; role < kRoles; ++role) {
    const bool scale = role == kWScale || role == kRScale;
    const bool absent = (scale && precision != Precision::Int8) ||
                        (role == kInitialC && cell != Cell::LSTM);
    op.places[role] = absent ? -1 : op.input_count++;
  }
  return op;
}

using Ops = std::array<RecurrentOp, 9>;

Ops all_ops(const Level& level) {
  Ops ops = {
      make("LSTMInt8", Cell::LSTM, Precision::Int8),
      make("GRUInt8", Cell::GRU, Precision::Int8),
      make("RNNInt8", Cell::RNN, Precision::Int8),
      make("LSTMBFloat16", Cell::LSTM, Precision::BFloat16),
      make("GRUBFloat16", Cell::GRU, Precision::BFloat16),
      make("RNNBFloat16", Cell::RNN, Precision::BFloat16),
      make("LSTMFloat32", Cell::LSTM, Precision::Float32),
      make("GRUFloat32", Cell::GRU, Precision::Float32),
      make("RNNFloat32", Cell::RNN, Precision::Float32),
  };
  for (RecurrentOp& op : ops) op.level = &level;
  return ops;
}

// The operators as one runtime and level have them. They live as long as the process: every session
// that was made with them points to them.
struct Domain {
  Table* table;
  const Level* level;
  Ops ops;
  OpDomain* domain;
};

OpDomain* domain_of(const Ort& ort, Table* table, const Level& level) {
  static std::mutex mutex;
  static auto& all = *new std::list<Domain>;
  const std::lock_guard<std::mutex> lock(mutex);
  for (const Domain& each : all)
    if (each.table == table && each.level == &level) return each.domain;
  all.push_back({table, &level, all_ops(level), nullptr});
  Domain& made = all.back();
  check(ort.create_domain("rnnport", &made.domain));
  for (const RecurrentOp& op : made.ops) check(ort.add_op(made.domain, &op));
  return made.domain;
}

}  // namespace
}  // namespace rnnport

// The fingerprint of the sources that this library was built from.
RNNPORT_EXPORT const char* rnnport_sources() { return RNNPORT_SOURCES; }

// The level that runs here ("avx2", …), or null where RNNPORT_ISA names one that does not.
RNNPORT_EXPORT const char* rnnport_level() {
  try {
    return rnnport::chosen_level().name;
  } catch (const std::exception&) {
    return nullptr;
  }
}

// Called by ONNX Runtime for a session's options.
RNNPORT_EXPORT rnnport::Status* RegisterCustomOps(rnnport::SessionOptions* options,
                                                  const rnnport::ApiBase* base) {
  using namespace rnnport;
  Table* table = base->get_api(kApiVersion);
  if (!table) {  // the first function of the table has been there since the first version
    Table* first = base->get_api(1);
    const auto create_status = first ? create_status_of(first) : nullptr;
    return first ? create_status(kFailed, "rnnport needs ONNX Runtime 1.17 or newer") : nullptr;
  }
  const Ort ort(table);
  if (const char* complaint = ort.complaint()) return ort.create_status(kFailed, complaint);
  return guarded(ort, [&] {
    check(ort.add_domain(options, domain_of(ort, table, chosen_level())));
  });
}
