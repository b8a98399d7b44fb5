// The part of ONNX Runtime's C interface that the kernels use, declared here: its headers are not
// needed. The interface is a table that only ever grows (onnxruntime_c_api.h); what is declared is
// that of version 17, and `Ort` proves on a tensor of its own that the table is what it expects.
#pragma once

#include <cstddef>
#include <cstdint>

namespace rnnport {

struct Status;
struct Value;
struct ShapeInfo;
struct MemoryInfo;
struct SessionOptions;
struct OpDomain;
struct KernelInfo;
struct KernelContext;

using Table = const void* const;  // an array of functions

struct ApiBase {
  Table* (*get_api)(std::uint32_t version);
  const char* (*version)();
};

constexpr std::uint32_t kApiVersion = 17;
constexpr int kFailed = 1, kInvalidArgument = 2;  // OrtErrorCode

enum ElementType : int { kFloat = 1, kInt8 = 3, kInt32 = 6, kBFloat16 = 16 };

// A custom operator as version 17 has it; a newer runtime reads no further than `version` says.
struct CustomOp {
  std::uint32_t version;
  void* (*create_kernel)(const CustomOp*, Table*, const KernelInfo*);
  const char* (*name)(const CustomOp*);
  const char* (*provider)(const CustomOp*);
  ElementType (*input_type)(const CustomOp*, std::size_t);
  std::size_t (*inputs)(const CustomOp*);
  ElementType (*output_type)(const CustomOp*, std::size_t);
  std::size_t (*outputs)(const CustomOp*);
  void (*compute)(void*, KernelContext*);
  void (*destroy_kernel)(void*);
  int (*input_is_optional)(const CustomOp*, std::size_t);  // 0: required, 1: optional
  int (*output_is_optional)(const CustomOp*, std::size_t);
  int (*input_memory)(const CustomOp*, std::size_t);
  int (*least_variadic_inputs)(const CustomOp*);
  int (*equal_variadic_inputs)(const CustomOp*);
  int (*least_variadic_outputs)(const CustomOp*);
  int (*equal_variadic_outputs)(const CustomOp*);
  Status* (*create_kernel_v2)(const CustomOp*, Table*, const KernelInfo*, void**);
  Status* (*compute_v2)(void*, KernelContext*);
  Status* (*infer_shapes)(const CustomOp*, void*);
  int (*first_version)(const CustomOp*);
  int (*last_version)(const CustomOp*);
};

// The one function that every version has, for a runtime too old for `Ort`.
using CreateStatus = Status* (*)(int code, const char* message);
CreateStatus create_status_of(Table* table);

// The functions of the table that are used, by their place in it.
class Ort {
 public:
  explicit Ort(Table* table);

  // Why this runtime cannot be worked with; null where it can.
  const char* complaint() const;

  CreateStatus create_status;
  int (*status_code)(const Status*);
  const char* (*status_message)(const Status*);
  void (*release_status)(Status*);
  Status* (*create_domain)(const char* name, OpDomain**);
  Status* (*add_op)(OpDomain*, const CustomOp*);
  Status* (*add_domain)(SessionOptions*, OpDomain*);
  Status* (*create_tensor)(const MemoryInfo*, void* data, std::size_t bytes,
                           const std::int64_t* shape, std::size_t rank, ElementType, Value**);
  Status* (*is_tensor)(const Value*, int*);
  Status* (*tensor_data)(Value*, void**);
  Status* (*element_type)(const ShapeInfo*, ElementType*);
  Status* (*rank)(const ShapeInfo*, std::size_t*);
  Status* (*shape)(const ShapeInfo*, std::int64_t*, std::size_t rank);
  Status* (*shape_info)(const Value*, ShapeInfo**);
  Status* (*cpu_memory)(int allocator, int kind, MemoryInfo**);
  Status* (*integer_attribute)(const KernelInfo*, const char* name, std::int64_t*);
  Status* (*text_attribute)(const KernelInfo*, const char* name, char*, std::size_t* bytes);
  Status* (*input)(const KernelContext*, std::size_t, const Value**);
  Status* (*output)(KernelContext*, std::size_t, const std::int64_t*, std::size_t rank, Value**);
  void (*release_memory)(MemoryInfo*);
  void (*release_value)(Value*);
  void (*release_shape_info)(ShapeInfo*);
  Status* (*constant_input)(const KernelInfo*, std::size_t, int* constant, const Value**);
  Status* (*parallel_for)(const KernelContext*, void (*run)(void*, std::size_t), std::size_t total,
                          std::size_t batches, void* data);

 private:
  bool statuses_work() const;
  bool tensors_work() const;
};

}  // namespace rnnport
