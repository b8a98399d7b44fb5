// The kernels compiled for AVX2 and FMA; on processors of another family, nothing.
#include "level.h"

#if defined(__x86_64__) || defined(_M_X64)
#include "lanes_avx2.h"
// The order matters: each of these needs what stands before it.
#include "activations.h"
#include "multiply.h"
#include "workspace.h"
#include "steps.h"
#include "runs_here.h"

namespace rnnport {

const Level kAvx2 = {"avx2", kLanes, runs_avx2, workspace_bytes, run_task};

}  // namespace rnnport
#endif
