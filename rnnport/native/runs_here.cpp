// Asking the processor, by CPUID, which instruction sets it and the operating system carry.
#include "runs_here.h"

#if defined(_MSC_VER)
#include <immintrin.h>
#include <intrin.h>
#endif

namespace rnnport {

#if defined(__GNUC__) && defined(__x86_64__)
bool runs_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool has_avx512() { return __builtin_cpu_supports("avx512f"); }
#elif defined(_MSC_VER) && defined(_M_X64)
bool runs_avx2() {
  constexpr int kFma = 1 << 12, kSavesState = 1 << 27, kAvx2 = 1 << 5, kVectors = 6;
  int one[4], seven[4];
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  return (one[2] & kFma) && (one[2] & kSavesState) && (seven[1] & kAvx2) &&
         (_xgetbv(0) & kVectors) == kVectors;
}
bool has_avx512() {
  constexpr int kSavesState = 1 << 27, kAvx512 = 1 << 16, kVectors = 0xe6;
  int one[4], seven[4];
  __cpuid(one, 1);
  __cpuidex(seven, 7, 0);
  return (one[2] & kSavesState) && (seven[1] & kAvx512) && (_xgetbv(0) & kVectors) == kVectors;
}
#else
bool runs_avx2() { return false; }
bool has_avx512() { return false; }
#endif

}  // namespace rnnport
