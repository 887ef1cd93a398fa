// Microbenchmarks of the engine's arithmetic beside the machine's own limits. build/bench_kernels
// --benchmark_filter=...
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>
#include <omp.h>

#include <numeric>
#include <vector>

#include "cai/base/hash.hpp"
#include "cai/base/random.hpp"
#include "cai/engine/attention.hpp"
#include "cai/engine/kernels.hpp"
#include "cai/engine/products.hpp"
#include "cai/engine/sampling.hpp"

namespace {

std::vector<float> numbers(std::int64_t n) {
  cai::Random random(1);
  std::vector<float> v(static_cast<std::size_t>(n));
  for (float& x : v)
    x = static_cast<float>(random.normal());
  return v;
}

void rate(benchmark::State& state, const char* name, double each) {
  state.counters[name] =
      benchmark::Counter(each * static_cast<double>(state.iterations()) / 1e9, benchmark::Counter::kIsRate);
}

// The engine's product: rows x in -> out.
void engine_product(benchmark::State& state, cai::Precision precision) {
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  const std::vector<float> weights = numbers(in * out), x = numbers(rows * in);
  std::vector<float> y(static_cast<std::size_t>(rows * out));
  const float* part = weights.data();
  const cai::PackedMatrix w({&part, 1}, {&out, 1}, in, precision);
  for (auto _ : state)
    w.multiply(x.data(), rows, y.data()), benchmark::ClobberMemory();
  rate(state, "GFLOP/s", 2.0 * static_cast<double>(rows * in * out));
}

// The same product by ATen (oneDNN): what a well-kept library reaches on this machine.
void library_product(benchmark::State& state, bool bfloat16) {
  const std::int64_t rows = state.range(0), in = state.range(1), out = state.range(2);
  const auto type = bfloat16 ? at::kBFloat16 : at::kFloat;
  const at::Tensor x = at::randn({rows, in}).to(type), w = at::randn({out, in}).to(type);
  for (auto _ : state)
    benchmark::DoNotOptimize(at::mm(x, w.t()));
  rate(state, "GFLOP/s", 2.0 * static_cast<double>(rows * in * out));
}

void shapes(benchmark::internal::Benchmark* b) {
  for (std::int64_t rows : {1, 8, 64, 192})
    b->Args({rows, 576, 3072})->Args({rows, 1536, 576})->Args({rows, 576, 49152});
  b->UseRealTime()->MinTime(0.2);
}

BENCHMARK_CAPTURE(engine_product, int8, cai::Precision::kInt8)->Apply(shapes);
BENCHMARK_CAPTURE(engine_product, bfloat16, cai::Precision::kBfloat16)->Apply(shapes);
BENCHMARK_CAPTURE(engine_product, float32, cai::Precision::kFloat32)->Apply(shapes);
BENCHMARK_CAPTURE(library_product, bfloat16, true)
    ->Apply(shapes)
    ->Args({1024, 1024, 1024})
    ->Args({2048, 2048, 2048});
BENCHMARK_CAPTURE(library_product, float32, false)
    ->Apply(shapes)
    ->Args({1024, 1024, 1024})
    ->Args({2048, 2048, 2048});

// Bytes read a second from memory, all threads.
void memory_read(benchmark::State& state) {
  const std::vector<float> v(std::size_t{128} << 20, 1.0f);
  for (auto _ : state) {
    float sum = 0;
#pragma omp parallel for simd reduction(+ : sum) schedule(static)
    for (std::size_t i = 0; i < v.size(); ++i)
      sum += v[i];
    benchmark::DoNotOptimize(sum);
  }
  rate(state, "GB/s", static_cast<double>(v.size() * sizeof(float)));
}
BENCHMARK(memory_read)->UseRealTime();

// Three query heads that share one key and value head, against so many cached positions.
void attend(benchmark::State& state, cai::Cached kind) {
  const std::int64_t positions = state.range(0), width = 64;
  const std::vector<float> rows = numbers(positions * width), queries = numbers(3 * width);
  std::vector<std::byte> keys(static_cast<std::size_t>(cai::cache_bytes(kind, positions, width))),
      values(keys.size());
  for (std::int64_t p = 0; p < positions; ++p)
    cai::put_key(kind, rows.data() + p * width, p, width, keys.data()),
        cai::put_value(kind, rows.data() + p * width, p, width, values.data());
  std::vector<float> scores(static_cast<std::size_t>(cai::kQueries * positions)),
      out(static_cast<std::size_t>(3 * width));
  const cai::AttentionBlock block{keys.data(), values.data(), 0, positions};
  for (auto _ : state)
    cai::attend(kind, {queries.data(), 1, 3, 0}, {&block, 1}, width, 0.125f, scores.data(), out.data(), 0),
        benchmark::ClobberMemory();
  rate(state, "GFLOP/s", 12.0 * static_cast<double>(positions * width));
}
BENCHMARK_CAPTURE(attend, float32, cai::Cached::kFloat32)->RangeMultiplier(4)->Range(16, 4096);
BENCHMARK_CAPTURE(attend, bfloat16, cai::Cached::kBfloat16)->RangeMultiplier(4)->Range(16, 4096);

void sample(benchmark::State& state) {
  const std::vector<float> logits = numbers(49152);
  cai::Random random(1);
  for (auto _ : state)
    benchmark::DoNotOptimize(cai::sample(logits, 1.0, static_cast<double>(state.range(0)) / 100, random));
}
BENCHMARK(sample)->Arg(100)->Arg(90);

void hash(benchmark::State& state) {
  const std::string bytes(std::size_t{1} << 24, 'a');
  for (auto _ : state)
    benchmark::DoNotOptimize(cai::sha256(bytes));
  rate(state, "GB/s", static_cast<double>(bytes.size()));
}
BENCHMARK(hash);

}  // namespace

BENCHMARK_MAIN();
