// The part of ONNX Runtime's plug-in interface that the execution provider uses, declared here like
// that of the kernels in ort_api.h. What is declared is that of version 24
// (onnxruntime_c_api.h, onnxruntime_ep_c_api.h), which only ever grows.
#pragma once

#include "ort_api.h"

namespace rnnport {

struct Graph;
struct Node;
struct NodeValue;
struct TypeInfo;
struct Attribute;
struct HardwareDevice;
struct EpDevice;
struct KeyValues;
struct Logger;
struct SupportInfo;
struct KernelRegistry;
struct KernelDef;
struct KernelDefBuilder;
struct DataType;
struct Allocator;
struct WeightCache;

constexpr std::uint32_t kEpApiVersion = 24;

enum AttributeType : int { kInteger = 1, kText = 5, kTexts = 6 };  // OrtOpAttrType
constexpr int kCpuDevice = 0;                                      // OrtHardwareDeviceType

// A runtime calls no function of these that `version` does not have; a null one is not offered.
struct KernelImpl {
  std::uint32_t version;
  std::uint32_t flags;
  Status* (*compute)(KernelImpl*, KernelContext*);
  void (*release)(KernelImpl*);
  Status* (*prepack)(KernelImpl*, const Value*, int input, Allocator*, WeightCache*, bool* packed);
  void* share_packed;
};

struct Ep {
  std::uint32_t version;
  const char* (*name)(const Ep*);
  Status* (*capability)(Ep*, const Graph*, SupportInfo*);
  void* of_compiling_and_devices[10];
  Status* (*registry)(Ep*, const KernelRegistry**);
  void* concurrent;
};
static_assert(offsetof(Ep, registry) == 13 * sizeof(void*), "not the interface's layout");

struct EpFactory {
  std::uint32_t version;
  const char* (*name)(const EpFactory*);
  const char* (*vendor)(const EpFactory*);
  Status* (*devices)(EpFactory*, const HardwareDevice* const*, std::size_t count, EpDevice** found,
                     std::size_t most, std::size_t* found_count);
  Status* (*create)(EpFactory*, const HardwareDevice* const*, const KeyValues* const*,
                    std::size_t count, const SessionOptions*, const Logger*, Ep**);
  void (*release)(EpFactory*, Ep*);
  std::uint32_t (*vendor_id)(const EpFactory*);
  const char* (*ep_version)(const EpFactory*);
  void* validate_compiled;
  void* create_allocator;
  void* release_allocator;
  Status* (*data_transfer)(EpFactory*, void** transfer);  // called on every factory; may give none
  bool (*streams)(const EpFactory*);
  void* of_streams_devices_and_domains[5];
};
static_assert(offsetof(EpFactory, streams) == 12 * sizeof(void*), "not the interface's layout");

using CreateKernel = Status* (*)(void* state, const KernelInfo*, KernelImpl**);

// The functions that the provider uses beside those of `Ort`, by their places in two tables.
class EpOrt {
 public:
  explicit EpOrt(Table* table);  // as version 24 gives it

  // Why this runtime cannot be worked with; null where it can.
  const char* complaint() const;

  Status* (*has_config)(const SessionOptions*, const char* key, int*);
  Status* (*config)(const SessionOptions*, const char* key, char*, std::size_t* bytes);
  int (*device_type)(const HardwareDevice*);
  Status* (*node_count)(const Graph*, std::size_t*);
  Status* (*nodes)(const Graph*, const Node**, std::size_t);
  Status* (*op_type)(const Node*, const char**);
  Status* (*input_count)(const Node*, std::size_t*);
  Status* (*inputs)(const Node*, const NodeValue**, std::size_t);
  Status* (*output_count)(const Node*, std::size_t*);
  Status* (*outputs)(const Node*, const NodeValue**, std::size_t);
  Status* (*attribute)(const Node*, const char* name, const Attribute**);
  Status* (*attribute_type)(const Attribute*, AttributeType*);
  Status* (*read_attribute)(const Attribute*, AttributeType, void*, std::size_t bytes,
                            std::size_t* needed);
  Status* (*value_name)(const NodeValue*, const char**);
  Status* (*value_type)(const NodeValue*, const TypeInfo**);
  Status* (*tensor_of)(const TypeInfo*, const ShapeInfo**);
  Status* (*is_constant)(const NodeValue*, bool*);
  Status* (*is_from_outside)(const NodeValue*, bool*);  // of a subgraph
  Status* (*kernel_output_count)(const KernelInfo*, std::size_t*);
  Status* (*kernel_output_name)(const KernelInfo*, std::size_t, char*, std::size_t* bytes);

  Status* (*create_device)(EpFactory*, const HardwareDevice*, const KeyValues* metadata,
                           const KeyValues* options, EpDevice**);
  Status* (*claim)(SupportInfo*, const Node*);
  Status* (*create_registry)(KernelRegistry**);
  void (*release_registry)(KernelRegistry*);
  Status* (*add_kernel)(KernelRegistry*, const KernelDef*, CreateKernel, void* state);
  Status* (*create_builder)(KernelDefBuilder**);
  void (*release_builder)(KernelDefBuilder*);
  Status* (*set_op_type)(KernelDefBuilder*, const char*);
  Status* (*set_domain)(KernelDefBuilder*, const char*);
  Status* (*set_versions)(KernelDefBuilder*, int first, int last);
  Status* (*set_provider)(KernelDefBuilder*, const char* name);
  Status* (*constrain)(KernelDefBuilder*, const char* type, const DataType* const*, std::size_t);
  Status* (*build)(KernelDefBuilder*, KernelDef**);
  void (*release_def)(KernelDef*);
  const char* (*def_op_type)(const KernelDef*);
  Status* (*def_versions)(const KernelDef*, int* first, int* last);
  const char* (*def_provider)(const KernelDef*);
  Status* (*tensor_type)(ElementType, const DataType**);
  Status* (*kernel_of)(SupportInfo*, const Node*, const KernelDef**);
  Status* (*ep_of)(const KernelInfo*, const Ep**);

 private:
  bool definitions_work() const;

  bool complete_ = true;  // no function is missing
  void (*release_status_)(Status*);
};

}  // namespace rnnport
