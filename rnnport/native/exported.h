// What the functions that ONNX Runtime calls have in common: how they are exported, and how what
// they throw becomes a status.
#pragma once

#include <exception>
#include <stdexcept>

#include "recurrent_op.h"

#if defined(_WIN32)
#define RNNPORT_EXPORT extern "C" __declspec(dllexport)
#else
#define RNNPORT_EXPORT extern "C" __attribute__((visibility("default")))
#endif

namespace rnnport {

// Run f, and turn what it throws into a status.
template <class F>
Status* guarded(const Ort& ort, const F& f) {
  try {
    f();
    return nullptr;
  } catch (const OrtFailure& failure) {
    return failure.status;
  } catch (const std::invalid_argument& error) {
    return ort.create_status(kInvalidArgument, error.what());
  } catch (const std::exception& error) {
    return ort.create_status(kFailed, error.what());
  }
}

inline void check(Status* status) {
  if (status) throw OrtFailure{status};
}

}  // namespace rnnport
