// The kernels compiled in plain C++, for any processor.
#include "level.h"
#include "lanes_portable.h"
// The order matters: each of these needs what stands before it.
#include "activations.h"
#include "multiply.h"
#include "workspace.h"
#include "steps.h"

namespace rnnport {

const Level kPortable = {"portable", kLanes, [] { return true; }, workspace_bytes, run_task};

}  // namespace rnnport
