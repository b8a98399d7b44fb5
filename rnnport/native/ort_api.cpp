// Taking the functions out of ONNX Runtime's table, and trying them before anything relies on them.
#include "ort_api.h"

#include <cstring>

namespace rnnport {
namespace {

template <class Function>
void take(Table* table, int place, Function& function) {
  function = reinterpret_cast<Function>(const_cast<void*>(table[place]));
}

}  // namespace

CreateStatus create_status_of(Table* table) {
  CreateStatus function = nullptr;
  take(table, 0, function);
  return function;
}

Ort::Ort(Table* table) : create_status(create_status_of(table)) {
  take(table, 1, status_code);
  take(table, 2, status_message);
  take(table, 26, create_domain);
  take(table, 27, add_op);
  take(table, 28, add_domain);
  take(table, 49, create_tensor);
  take(table, 50, is_tensor);
  take(table, 51, tensor_data);
  take(table, 60, element_type);
  take(table, 61, rank);
  take(table, 62, shape);
  take(table, 65, shape_info);
  take(table, 69, cpu_memory);
  take(table, 86, integer_attribute);
  take(table, 87, text_attribute);
  take(table, 90, input);
  take(table, 91, output);
  take(table, 93, release_status);
  take(table, 94, release_memory);
  take(table, 96, release_value);
  take(table, 99, release_shape_info);
  take(table, 249, constant_input);
  take(table, 274, parallel_for);
}

const char* Ort::complaint() const {
  if (!statuses_work()) return "rnnport: this ONNX Runtime's statuses are not what was expected";
  if (!tensors_work()) return "rnnport: this ONNX Runtime's tensors are not what was expected";
  return nullptr;
}

bool Ort::statuses_work() const {
  Status* status = create_status(kInvalidArgument, "probe");
  const bool works = status && status_code(status) == kInvalidArgument &&
                     std::strcmp(status_message(status), "probe") == 0;
  if (status) release_status(status);
  return works;
}

bool Ort::tensors_work() const {
  constexpr int kDeviceAllocator = 0, kDefaultMemory = 0;  // OrtAllocatorType, OrtMemType
  float numbers[6] = {};
  const std::int64_t wanted[2] = {2, 3};
  std::int64_t found[2] = {};
  MemoryInfo* memory = nullptr;
  Value* value = nullptr;
  ShapeInfo* info = nullptr;
  void* data = nullptr;
  ElementType type{};
  std::size_t axes = 0;
  int tensor = 0;
  Status* status = cpu_memory(kDeviceAllocator, kDefaultMemory, &memory);
  if (!status) status = create_tensor(memory, numbers, sizeof numbers, wanted, 2, kFloat, &value);
  if (!status) status = is_tensor(value, &tensor);
  if (!status) status = tensor_data(value, &data);
  if (!status) status = shape_info(value, &info);
  if (!status) status = element_type(info, &type);
  if (!status) status = rank(info, &axes);
  if (!status && axes == 2) status = shape(info, found, 2);
  const bool works = !status && tensor == 1 && data == numbers && type == kFloat && axes == 2 &&
                     found[0] == 2 && found[1] == 3;
  if (status) release_status(status);
  if (info) release_shape_info(info);
  if (value) release_value(value);
  if (memory) release_memory(memory);
  return works;
}

}  // namespace rnnport
