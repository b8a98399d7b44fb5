// The table of instruction set levels: what each kernel is compiled for, and which one runs here.
#pragma once

#include "layer.h"

namespace rnnport {

struct Level {
  const char* name;  // as RNNPORT_ISA has it
  int lanes;         // float32 numbers in one register: the width of the packed panels
  bool (*runs_here)();
  // The bytes that `run` needs for a task of so many rows.
  std::size_t (*workspace)(const Layer& layer, int rows, std::int64_t time);
  void (*run)(const Layer& layer, const Call& call, const Task& task, std::byte* workspace);
};

extern const Level kPortable;
#if defined(__x86_64__) || defined(_M_X64)
extern const Level kAvx2;
#endif

// The best level of this processor, or the one that RNNPORT_ISA names.
// Throws std::invalid_argument for a name that is unknown or needs another processor.
const Level& chosen_level();

}  // namespace rnnport
