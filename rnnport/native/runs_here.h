// Which instruction set levels this processor has.
#pragma once

namespace rnnport {

bool runs_avx2();
bool has_avx512();

}  // namespace rnnport
