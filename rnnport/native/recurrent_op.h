// The operators of the domain `rnnport`: their names, inputs, and the kernel that runs a node.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "layer.h"
#include "level.h"
#include "ort_api.h"
#include "pack.h"

namespace rnnport {

// The inputs a node may have; which of them, and in what order, is the operator's.
enum Role { kX, kW, kWScale, kR, kRScale, kB, kLengths, kInitialH, kInitialC, kRoles };

// An operator as ONNX Runtime asks about it, with what sets it apart from the others.
struct RecurrentOp : CustomOp {
  const char* op_name;
  Cell cell;  // GRU stands for both of its forms
  Precision precision;
  int places[kRoles];  // where an input stands among the node's; -1 where the operator has none
  int input_count;
  const Level* level;
  bool plain;             // ONNX's own operator: its weights are float32, packed in `precision`
  Activation activation;  // of a plain RNN; the attribute of other nodes says it
};

ElementType type_of(Role role, Precision precision);

// A tensor that a node was given: its data and shape, or null data where it was left out.
struct Given {
  const void* data = nullptr;
  std::int64_t shape[3] = {};
  int rank = 0;
};

// One node of a session. Any number of threads may run it at once.
class RecurrentKernel {
 public:
  // Reads attributes and packs the weights, where they are constants of the graph.
  // Throws std::invalid_argument, std::bad_alloc.
  RecurrentKernel(const RecurrentOp& op, Table* table, const KernelInfo* info);
  ~RecurrentKernel();

  // Throws std::invalid_argument, std::bad_alloc, OrtFailure.
  void compute(KernelContext* context);

  bool has_packed_weights() const { return layer_ != nullptr; }
  const Ort& ort() const { return ort_; }

 private:
  std::int64_t integer(const KernelInfo* info, const char* name, std::int64_t otherwise) const;
  std::string text(const KernelInfo* info, const char* name, const char* otherwise) const;
  Given given(const Value* value, Role role) const;
  Given input(KernelContext* context, Role role) const;
  float* output(KernelContext* context, std::size_t index, const std::int64_t* shape,
                std::size_t rank) const;
  std::unique_ptr<Layer> layer_of(const Given (&all)[kRoles]) const;
  Call call_of(KernelContext* context, const Layer& layer) const;
  void run(KernelContext* context, const Layer& layer, const Call& call);

  const Ort ort_;
  const RecurrentOp& op_;
  Cell cell_;
  Activation activation_;
  int hidden_size_;
  int directions_;
  bool reverse_;
  bool bias_is_constant_ = false;
  std::unique_ptr<Layer> layer_;          // null where a weight is computed in every run
  std::atomic<Buffer*> spare_{nullptr};  // the workspace of the last call, for the next one
};

// A status that ONNX Runtime gave, on its way back to it.
struct OrtFailure {
  Status* status;
};

}  // namespace rnnport
