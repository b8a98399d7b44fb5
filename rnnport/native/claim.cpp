// Reading the nodes of a graph, as ONNX's operators describe them.
#include "claim.h"

#include <algorithm>
#include <cctype>
#include <climits>
#include <cstring>
#include <vector>

#include "exported.h"

namespace rnnport {
namespace {

// Inputs of ONNX's operators.
constexpr std::size_t kXAt = 0, kWAt = 1, kRAt = 2, kBAt = 3, kPeepholesAt = 7;

std::optional<Cell> cell_of(const char* op_type) {
  if (std::strcmp(op_type, "LSTM") == 0) return Cell::LSTM;
  if (std::strcmp(op_type, "GRU") == 0) return Cell::GRU;
  if (std::strcmp(op_type, "RNN") == 0) return Cell::RNN;
  return std::nullopt;
}

}  // namespace

const Attribute* NodeReader::attribute(const Node* node, const char* name) const {
  const Attribute* found = nullptr;
  if (Status* status = ep_.attribute(node, name, &found)) {  // the operator knows no such attribute
    ort_.release_status(status);
    return nullptr;
  }
  return found;
}

std::int64_t NodeReader::integer(const Node* node, const char* name,
                                 std::int64_t otherwise) const {
  const Attribute* found = attribute(node, name);
  if (!found) return otherwise;
  std::int64_t value = otherwise;
  std::size_t bytes = 0;
  check(ep_.read_attribute(found, kInteger, &value, sizeof value, &bytes));
  return value;
}

// The words of an attribute in small letters, each ended by a space; empty where it is left out.
std::string NodeReader::texts(const Node* node, const char* name) const {
  const Attribute* found = attribute(node, name);
  if (!found) return "";
  AttributeType type{};
  check(ep_.attribute_type(found, &type));
  char letters[256];
  std::size_t bytes = 0;
  if (Status* status = ep_.read_attribute(found, type, letters, sizeof letters, &bytes)) {
    ort_.release_status(status);
    return "? ";  // longer than any that the kernels carry
  }
  std::string words(letters, bytes);
  if (bytes == 0 || words.back() != '\0') words += '\0';  // one text comes without its end
  for (char& letter : words)
    letter = letter ? static_cast<char>(std::tolower(static_cast<unsigned char>(letter))) : ' ';
  return words;
}

std::string NodeReader::output_name(const Node* node) const {
  std::size_t count = 0;
  check(ep_.output_count(node, &count));
  std::vector<const NodeValue*> values(count);
  check(ep_.outputs(node, values.data(), count));
  for (const NodeValue* value : values) {
    const char* name = nullptr;
    if (value) check(ep_.value_name(value, &name));
    if (name && *name) return name;
  }
  return "";
}

std::vector<const NodeValue*> NodeReader::inputs(const Node* node) const {
  std::size_t count = 0;
  check(ep_.input_count(node, &count));
  std::vector<const NodeValue*> values(count);
  check(ep_.inputs(node, values.data(), count));
  return values;
}

// X is [time, batch, input]; a free axis has no positive size.
std::int64_t NodeReader::batch(const Node* node) const {
  const std::vector<const NodeValue*> values = inputs(node);
  const TypeInfo* type = nullptr;
  const ShapeInfo* tensor = nullptr;
  std::int64_t sizes[3] = {};
  std::size_t rank = 0;
  if (values.empty() || !values[kXAt]) return 0;
  check(ep_.value_type(values[kXAt], &type));
  if (type) check(ep_.tensor_of(type, &tensor));
  if (tensor) check(ort_.rank(tensor, &rank));
  if (rank != 3) return 0;
  check(ort_.shape(tensor, sizes, rank));
  return std::max<std::int64_t>(sizes[1], 0);
}

// W and R, and B where there is one; a graph around this one may compute what it hands in.
bool NodeReader::weights_are_constants(const Node* node) const {
  const std::vector<const NodeValue*> values = inputs(node);
  const std::size_t count = values.size();
  if (count > kPeepholesAt && values[kPeepholesAt]) return false;
  for (std::size_t place : {kWAt, kRAt, kBAt}) {
    if (place == kBAt && (count <= kBAt || !values[kBAt])) continue;
    bool constant = false, outside = true;
    if (place >= count || !values[place]) return false;
    check(ep_.is_constant(values[place], &constant));
    check(ep_.is_from_outside(values[place], &outside));
    if (!constant || outside) return false;
  }
  return true;
}

std::optional<Activation> NodeReader::activation(const Node* node, Cell cell,
                                                 int directions) const {
  const auto all = [&](const std::string& usual) {
    return directions == 2 ? usual + usual : usual;
  };
  const std::string words = texts(node, "activations");
  const auto begin_with = [&](const std::string& wanted) {  // an RNN's default names two
    return words.compare(0, wanted.size(), wanted) == 0;
  };
  if (words.empty()) return Activation::Tanh;
  if (cell == Cell::RNN && begin_with(all("relu "))) return Activation::Relu;
  const std::string usual = cell == Cell::LSTM  ? "sigmoid tanh tanh "
                            : cell == Cell::GRU ? "sigmoid tanh "
                                                : "tanh ";
  if (begin_with(all(usual))) return Activation::Tanh;
  return std::nullopt;
}

std::optional<PlainNode> NodeReader::carried(const Node* node) const {
  const char* op_type = "";
  check(ep_.op_type(node, &op_type));
  const std::optional<Cell> cell = cell_of(op_type);
  if (!cell) return std::nullopt;
  const std::string direction = texts(node, "direction");
  const int directions = direction == "bidirectional " ? 2 : 1;
  const std::int64_t hidden = integer(node, "hidden_size", 0);
  if (hidden < 1 || hidden > INT_MAX / 64) return std::nullopt;
  if (attribute(node, "clip") || integer(node, "layout", 0) != 0 ||
      integer(node, "input_forget", 0) != 0 || !weights_are_constants(node))
    return std::nullopt;
  const std::optional<Activation> usual = activation(node, *cell, directions);
  if (!usual) return std::nullopt;
  return PlainNode{*cell, *usual, static_cast<int>(hidden), batch(node)};
}

}  // namespace rnnport
