// The plug-in execution provider, which runs ONNX's own LSTM, GRU and RNN nodes in the kernels.
#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "claim.h"
#include "ep_api.h"
#include "exported.h"
#include "policy.h"
#include "recurrent_op.h"

namespace rnnport {
namespace {

constexpr const char* kName = "rnnport";  // as a file's placement and options have it
constexpr const char* kPrecision = "ep.rnnport.precision";
constexpr const char* kClaim = "ep.rnnport.claim";
constexpr const char* kBatch = "ep.rnnport.batch";
constexpr int kVersions[][2] = {{7, 13}, {14, 21}, {22, 22}};  // of ONNX's recurrent operators

// The operators as the kernel takes them; `places` has ONNX's order of inputs.
RecurrentOp plain_op(Cell cell, Activation activation, Precision precision, const Level& level) {
  RecurrentOp op = {};
  op.cell = cell;
  op.precision = precision;
  op.level = &level;
  op.plain = true;
  op.activation = activation;
  for (int role = 0; role < kRoles; ++role) {
    const bool absent = role == kWScale || role == kRScale ||
                        (role == kInitialC && cell != Cell::LSTM);
    op.places[role] = absent ? -1 : op.input_count++;
  }
  return op;
}

struct Factory : EpFactory {
  explicit Factory(Table* table);

  Table* table;
  const Ort ort;
  const EpOrt ep;
};

// The provider of one session.
struct Provider : Ep {
  Provider(const Factory& factory, const SessionOptions* options);

  bool option(const SessionOptions* options, const char* key, const char* usual,
              const char* other) const;
  void claim(const Graph* graph, SupportInfo* info);
  void add_kernels();

  const Factory& factory;
  const Level& level;
  Precision precision = Precision::Float32;
  bool all = false;      // claim whatever the kernels carry, faster or not
  bool one_row = false;  // the batch will be 1
  std::unique_ptr<KernelRegistry, void (*)(KernelRegistry*)> kernels;
  std::map<std::string, PlainNode> claimed;  // by the name of the node's first output
};

struct Kernel : KernelImpl {
  Kernel(const RecurrentOp& made, Table* table, const KernelInfo* info)
      : KernelImpl{}, op(made), node(op, table, info) {
    version = kEpApiVersion;
    compute = [](KernelImpl* self, KernelContext* context) {
      RecurrentKernel& kernel = static_cast<Kernel*>(self)->node;
      return guarded(kernel.ort(), [&] { kernel.compute(context); });
    };
    release = [](KernelImpl* self) { delete static_cast<Kernel*>(self); };
    // Called with each constant input once the kernel is made, and has packed them: from then on
    // ONNX Runtime need not keep them.
    prepack = [](KernelImpl* self, const Value*, int input, Allocator*, WeightCache*,
                 bool* packed) -> Status* {
      const Kernel& kernel = *static_cast<Kernel*>(self);
      const auto is = [&](Role role) { return kernel.op.places[role] == input; };
      *packed = kernel.node.has_packed_weights() && (is(kW) || is(kR) || is(kB));
      return nullptr;
    };
  }

  const RecurrentOp op;
  RecurrentKernel node;
};

std::string first_output(const EpOrt& ep, const KernelInfo* info) {
  std::size_t count = 0;
  check(ep.kernel_output_count(info, &count));
  for (std::size_t place = 0; place < count; ++place) {
    std::size_t bytes = 0;
    check(ep.kernel_output_name(info, place, nullptr, &bytes));
    std::string name(bytes, '\0');
    check(ep.kernel_output_name(info, place, name.data(), &bytes));
    name.resize(bytes - 1);
    if (!name.empty()) return name;
  }
  return "";
}

Status* create_kernel(void* state, const KernelInfo* info, KernelImpl** made) {
  const Factory& factory = *static_cast<const Factory*>(state);
  return guarded(factory.ort, [&] {
    const Ep* ep = nullptr;
    check(factory.ep.ep_of(info, &ep));
    const Provider& provider = *static_cast<const Provider*>(ep);
    const auto found = provider.claimed.find(first_output(factory.ep, info));
    if (found == provider.claimed.end()) throw std::invalid_argument("rnnport: an unclaimed node");
    const PlainNode& node = found->second;
    *made = new Kernel(plain_op(node.cell, node.activation, provider.precision, provider.level),
                       factory.table, info);
  });
}

Provider::Provider(const Factory& made, const SessionOptions* options)
    : Ep{},
      factory(made),
      level(chosen_level()),
      kernels(nullptr, made.ep.release_registry) {
  version = kEpApiVersion;
  name = [](const Ep*) { return kName; };
  capability = [](Ep* self, const Graph* graph, SupportInfo* info) {
    auto* provider = static_cast<Provider*>(self);
    return guarded(provider->factory.ort, [&] { provider->claim(graph, info); });
  };
  registry = [](Ep* self, const KernelRegistry** kernels) -> Status* {
    *kernels = static_cast<Provider*>(self)->kernels.get();
    return nullptr;
  };
  if (option(options, kPrecision, "fp32", "bf16")) precision = Precision::BFloat16;
  all = option(options, kClaim, "faster", "all");
  one_row = option(options, kBatch, "any", "1");
  add_kernels();
}

// Whether an option has its second value; left out, it has the first.
bool Provider::option(const SessionOptions* options, const char* key, const char* usual,
                      const char* other) const {
  int given = 0;
  check(factory.ep.has_config(options, key, &given));
  if (!given) return false;
  char letters[32] = {};
  std::size_t bytes = sizeof letters;
  check(factory.ep.config(options, key, letters, &bytes));
  const std::string value = letters;
  if (value != usual && value != other)
    throw std::invalid_argument(std::string(key) + " is '" + value + "'; expected " + usual +
                                " or " + other);
  return value == other;
}

void Provider::claim(const Graph* graph, SupportInfo* info) {
  const EpOrt& ep = factory.ep;
  const NodeReader reader(factory.ort, ep);
  std::size_t count = 0;
  check(ep.node_count(graph, &count));
  std::vector<const Node*> nodes(count);
  check(ep.nodes(graph, nodes.data(), count));
  for (const Node* node : nodes) {
    const std::optional<PlainNode> plain = reader.carried(node);
    if (!plain) continue;
    if (!all && !gains(*plain, one_row ? 1 : plain->batch, precision, level)) continue;
    const KernelDef* kernel = nullptr;  // none for another type, domain or version
    check(ep.kernel_of(info, node, &kernel));
    if (!kernel) continue;
    const auto [known, fresh] = claimed.insert({reader.output_name(node), *plain});
    const bool same = known->second.cell == plain->cell &&
                      known->second.activation == plain->activation;
    if (fresh || same) check(ep.claim(info, node));  // two subgraphs may share a name
  }
}

void Provider::add_kernels() {
  const EpOrt& ep = factory.ep;
  const DataType* number = nullptr;
  check(ep.tensor_type(kFloat, &number));
  KernelRegistry* empty = nullptr;
  check(ep.create_registry(&empty));
  kernels.reset(empty);
  for (const char* op_type : {"LSTM", "GRU", "RNN"})
    for (const auto& [first, last] : kVersions) {
      KernelDefBuilder* builder = nullptr;
      KernelDef* def = nullptr;
      Status* status = ep.create_builder(&builder);
      if (!status) status = ep.set_op_type(builder, op_type);
      if (!status) status = ep.set_domain(builder, "");
      if (!status) status = ep.set_versions(builder, first, last);
      if (!status) status = ep.set_provider(builder, kName);
      if (!status) status = ep.constrain(builder, "T", &number, 1);
      if (!status) status = ep.build(builder, &def);
      if (!status)
        status = ep.add_kernel(kernels.get(), def, create_kernel, const_cast<Factory*>(&factory));
      if (def) ep.release_def(def);
      if (builder) ep.release_builder(builder);
      check(status);
    }
}

Status* devices_of(EpFactory* self, const HardwareDevice* const* devices, std::size_t count,
                   EpDevice** found, std::size_t most, std::size_t* found_count) {
  const Factory& factory = *static_cast<Factory*>(self);
  *found_count = 0;
  for (std::size_t i = 0; i < count && *found_count < most; ++i) {
    if (factory.ep.device_type(devices[i]) != kCpuDevice) continue;
    Status* status = factory.ep.create_device(self, devices[i], nullptr, nullptr,
                                              found + *found_count);
    if (status) return status;
    ++*found_count;
  }
  return nullptr;
}

Status* create_provider(EpFactory* self, const HardwareDevice* const*, const KeyValues* const*,
                        std::size_t, const SessionOptions* options, const Logger*, Ep** made) {
  const Factory& factory = *static_cast<Factory*>(self);
  return guarded(factory.ort, [&] { *made = new Provider(factory, options); });
}

Factory::Factory(Table* given) : EpFactory{}, table(given), ort(given), ep(given) {
  version = kEpApiVersion;
  name = vendor = [](const EpFactory*) { return kName; };
  devices = devices_of;
  create = create_provider;
  release = [](EpFactory*, Ep* made) { delete static_cast<Provider*>(made); };
  vendor_id = [](const EpFactory*) { return std::uint32_t{0}; };
  ep_version = [](const EpFactory*) { return "1.0.0"; };
  data_transfer = [](EpFactory*, void** transfer) -> Status* {
    *transfer = nullptr;
    return nullptr;
  };
  streams = [](const EpFactory*) { return false; };
}

// Factories live as long as the process: a session may outlive the registration that it came from.
Factory& factory_of(Table* table) {
  static std::mutex mutex;
  static auto& all = *new std::map<Table*, std::unique_ptr<Factory>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<Factory>& factory = all[table];
  if (!factory) factory = std::make_unique<Factory>(table);
  return *factory;
}

}  // namespace
}  // namespace rnnport

// Called by ONNX Runtime when the library is registered as one of execution providers.
RNNPORT_EXPORT rnnport::Status* CreateEpFactories(const char*, const rnnport::ApiBase* base,
                                                  const rnnport::Logger*,
                                                  rnnport::EpFactory** factories, std::size_t most,
                                                  std::size_t* count) {
  using namespace rnnport;
  *count = 0;
  Table* table = base->get_api(kEpApiVersion);
  if (!table) {
    Table* first = base->get_api(1);
    const auto create_status = first ? create_status_of(first) : nullptr;
    return first ? create_status(kFailed, "rnnport's provider needs ONNX Runtime 1.24 or newer")
                 : nullptr;
  }
  const Ort ort(table);
  if (const char* complaint = ort.complaint()) return ort.create_status(kFailed, complaint);
  return guarded(ort, [&] {
    Factory& factory = factory_of(table);
    if (const char* complaint = factory.ep.complaint()) throw std::runtime_error(complaint);
    if (most < 1) throw std::invalid_argument("rnnport: there is no room for a provider");
    factories[(*count)++] = &factory;
  });
}

RNNPORT_EXPORT rnnport::Status* ReleaseEpFactory(rnnport::EpFactory*) { return nullptr; }
