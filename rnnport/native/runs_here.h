// Which instruction set levels this processor has.
#pragma once

namespace rnnport {

bool runs_avx2();

}  // namespace rnnport
