// Choosing a level when the library is registered: by CPUID, or as RNNPORT_ISA says.
#include "level.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

namespace rnnport {
namespace {

const Level* const kLevels[] = {  // the best comes last
    &kPortable,
#if defined(__x86_64__) || defined(_M_X64)
    &kAvx2,
#endif
};

}  // namespace

const Level& chosen_level() {
  const char* asked = std::getenv("RNNPORT_ISA");
  const bool any = !asked || !*asked;
  const Level* best = nullptr;
  std::string names;
  for (const Level* level : kLevels) {
    if (!level->runs_here()) continue;
    names += (names.empty() ? "" : ", ") + std::string(level->name);
    if (any || std::string(asked) == level->name) best = level;
  }
  if (!best) {
    throw std::invalid_argument("RNNPORT_ISA is '" + std::string(asked) +
                                "'; this processor and this library have " + names);
  }
  return *best;
}

}  // namespace rnnport
