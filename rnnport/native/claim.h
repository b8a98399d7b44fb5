// Which nodes of a graph the kernels carry; policy.h says which of them the provider claims.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ep_api.h"
#include "layer.h"

namespace rnnport {

// What has to be known of a node to judge it, and to choose its kernel.
struct PlainNode {
  Cell cell;  // GRU stands for both of its forms
  Activation activation;
  int hidden_size;
  std::int64_t batch;  // as the file fixes it; 0 where it is free
};

// Reading nodes of a graph. Throws OrtFailure, std::invalid_argument.
class NodeReader {
 public:
  NodeReader(const Ort& ort, const EpOrt& ep) : ort_(ort), ep_(ep) {}

  // The node as the kernels carry it: an LSTM, GRU or RNN whose weights are constants, with the
  // usual activations and layout 0; no peepholes, clip or input_forget. Nothing for any other.
  std::optional<PlainNode> carried(const Node* node) const;

  // The name of the first output that the node has: unlike a node's own, it is never empty.
  std::string output_name(const Node* node) const;

 private:
  const Attribute* attribute(const Node* node, const char* name) const;
  std::int64_t integer(const Node* node, const char* name, std::int64_t otherwise) const;
  std::string texts(const Node* node, const char* name) const;
  std::int64_t batch(const Node* node) const;
  std::vector<const NodeValue*> inputs(const Node* node) const;
  bool weights_are_constants(const Node* node) const;
  std::optional<Activation> activation(const Node* node, Cell cell, int directions) const;

  const Ort& ort_;
  const EpOrt& ep_;
};

}  // namespace rnnport
