// Taking the provider's functions out of ONNX Runtime's tables, and trying what can be tried.
#include "ep_api.h"

#include <cstring>
#include <type_traits>

namespace rnnport {

EpOrt::EpOrt(Table* table) {
  Table* from = table;
  const auto take = [&](int place, auto& function) {
    using Function = std::remove_reference_t<decltype(function)>;
    function = from ? reinterpret_cast<Function>(const_cast<void*>(from[place])) : nullptr;
    complete_ = complete_ && function;
  };
  take(55, tensor_of);
  take(93, release_status_);
  take(237, has_config);
  take(238, config);
  take(231, kernel_output_count);
  take(233, kernel_output_name);
  take(272, read_attribute);
  take(289, value_name);
  take(290, value_type);
  take(307, device_type);
  take(331, is_constant);
  take(332, is_from_outside);
  take(344, node_count);
  take(345, nodes);
  take(350, op_type);
  take(353, input_count);
  take(354, inputs);
  take(355, output_count);
  take(356, outputs);
  take(361, attribute);
  take(363, attribute_type);
  Table* (*plug_ins)() = nullptr;
  take(317, plug_ins);
  from = plug_ins ? plug_ins() : nullptr;
  take(0, create_device);
  take(3, claim);
  take(18, create_registry);
  take(19, release_registry);
  take(20, add_kernel);
  take(21, create_builder);
  take(22, release_builder);
  take(23, set_op_type);
  take(24, set_domain);
  take(25, set_versions);
  take(26, set_provider);
  take(29, constrain);
  take(32, build);
  take(33, release_def);
  take(34, def_op_type);
  take(36, def_versions);
  take(37, def_provider);
  take(40, tensor_type);
  take(41, kernel_of);
  take(43, ep_of);
}

const char* EpOrt::complaint() const {
  if (!complete_) return "rnnport: this ONNX Runtime lacks a part of the plug-in interface";
  if (!definitions_work())
    return "rnnport: this ONNX Runtime's kernel definitions are not what was expected";
  return nullptr;
}

// A definition must give back what it was made of.
bool EpOrt::definitions_work() const {
  KernelDefBuilder* builder = nullptr;
  KernelDef* def = nullptr;
  const DataType* type = nullptr;
  int first = 0, last = 0;
  Status* status = create_builder(&builder);
  if (!status) status = set_op_type(builder, "GRU");
  if (!status) status = set_domain(builder, "");
  if (!status) status = set_versions(builder, 7, 13);
  if (!status) status = set_provider(builder, "probe");
  if (!status) status = tensor_type(kFloat, &type);
  if (!status) status = constrain(builder, "T", &type, 1);
  if (!status) status = build(builder, &def);
  if (!status) status = def_versions(def, &first, &last);
  const bool works = !status && first == 7 && last == 13 &&
                     std::strcmp(def_op_type(def), "GRU") == 0 &&
                     std::strcmp(def_provider(def), "probe") == 0;
  if (status) release_status_(status);
  if (def) release_def(def);
  if (builder) release_builder(builder);
  return works;
}

}  // namespace rnnport
