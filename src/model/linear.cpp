#include "cai/model/linear.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "cai/base/error.hpp"
#include "cai/base/lanes.hpp"

// Compiled for each width of vector registers, chosen at load time.
#define CAI_WIDE __attribute__((target_clones("avx512f", "avx2,fma", "default")))

namespace cai {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

typedef std::uint16_t Halves __attribute__((vector_size(16)));
typedef std::uint32_t Words __attribute__((vector_size(32)));

[[gnu::always_inline]] inline Lanes from_bfloat16(const std::uint16_t* p) {
  Halves h;
  std::memcpy(&h, p, sizeof h);
  return (Lanes)(__builtin_convertvector(h, Words) << 16);
}

// To nearest, ties to even. No NaN comes here: a loss that is not finite ends the training.
[[gnu::always_inline]] inline void to_bfloat16(Lanes v, std::uint16_t* p) {
  const Words bits = (Words)v;
  const Halves h = __builtin_convertvector((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16, Halves);
  std::memcpy(p, &h, sizeof h);
}

[[gnu::always_inline]] inline Lanes sigmoid(Lanes x) { return 1.0f / (1.0f + exp_lanes(-x)); }

// Calls body(i, lanes) for eights of [0, n), the last one on copies that are filled up with zeros.
template <class Body>
[[gnu::always_inline]] inline void by_eights(std::int64_t n, const Body& body) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) body(i, 8);
  if (i < n) body(i, n - i);
}

// A row of gate and up products becomes mixed = silu(gate) * up.
CAI_WIDE void mix_row(const std::uint16_t* gate, const std::uint16_t* up, std::int64_t n, std::uint16_t* mixed) {
  by_eights(n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
    std::uint16_t g[8] = {}, u[8] = {}, m[8];
    std::memcpy(g, gate + i, static_cast<std::size_t>(count) * 2), std::memcpy(u, up + i, static_cast<std::size_t>(count) * 2);
    const Lanes x = from_bfloat16(g);
    to_bfloat16(x * sigmoid(x) * from_bfloat16(u), m);
    std::memcpy(mixed + i, m, static_cast<std::size_t>(count) * 2);
  });
}

// mixed again, and the slopes towards gate and up from those towards mixed.
CAI_WIDE void unmix_row(const std::uint16_t* gate, const std::uint16_t* up, const std::uint16_t* slopes, std::int64_t n, std::uint16_t* mixed, std::uint16_t* to_gate, std::uint16_t* to_up) {
  by_eights(n, [&](std::int64_t i, std::int64_t count) __attribute__((always_inline)) {
    std::uint16_t g[8] = {}, u[8] = {}, s[8] = {}, m[8], tg[8], tu[8];
    const std::size_t bytes = static_cast<std::size_t>(count) * 2;
    std::memcpy(g, gate + i, bytes), std::memcpy(u, up + i, bytes), std::memcpy(s, slopes + i, bytes);
    const Lanes x = from_bfloat16(g), y = from_bfloat16(u), d = from_bfloat16(s), open = sigmoid(x), silu = x * open;
    to_bfloat16(silu * y, m);
    to_bfloat16(d * y * (open + silu * (1.0f - open)), tg);
    to_bfloat16(d * silu, tu);
    std::memcpy(mixed + i, m, bytes), std::memcpy(to_gate + i, tg, bytes), std::memcpy(to_up + i, tu, bytes);
  });
}

CAI_WIDE void add_run(const std::uint16_t* from, std::int64_t n, float* to) {
  std::int64_t i = 0;
  for (; i + 8 <= n; i += 8) {
    Lanes sum;
    std::memcpy(&sum, to + i, sizeof sum);
    sum += from_bfloat16(from + i);
    std::memcpy(to + i, &sum, sizeof sum);
  }
  for (; i < n; ++i) to[i] += std::bit_cast<float>(std::uint32_t{from[i]} << 16);
}

std::uint16_t* halves(const at::Tensor& t) { return reinterpret_cast<std::uint16_t*>(t.data_ptr()); }

// `weight`'s gradient, float32, grows by `part`, bfloat16. Autograd would add a copy in float32: twice the memory to go through, for each pass.
void add_to_gradient(at::Tensor weight, const at::Tensor& part) {
  at::Tensor& gradient = weight.mutable_grad();
  if (!gradient.defined()) {
    gradient = part.to(at::kFloat);
    return;
  }
  constexpr std::int64_t kRun = 1 << 14;
  const std::int64_t n = part.numel();
#pragma omp parallel for schedule(static)
  for (std::int64_t from = 0; from < n; from += kRun) add_run(halves(part) + from, std::min(kRun, n - from), gradient.data_ptr<float>() + from);
}

// Adds to the gradients of stacked weights, those that learn, what x gives them.
void learn(const std::vector<at::Tensor>& weights, const at::Tensor& slopes, const at::Tensor& x) {
  if (std::none_of(weights.begin(), weights.end(), [](const at::Tensor& w) { return w.requires_grad(); })) return;
  const at::Tensor all = at::mm(slopes.t(), x);
  std::int64_t from = 0;
  for (const at::Tensor& w : weights) {
    if (w.requires_grad()) add_to_gradient(w, all.narrow(0, from, w.size(0)));
    from += w.size(0);
  }
}

// Up to three weights, the rest of no rows: autograd's functions take neither lists nor undefined tensors. Weights are leaves: their gradients are added to here and not
// handed back.
struct Products : torch::autograd::Function<Products> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& a, const at::Tensor& b, const at::Tensor& c, const at::Tensor& rounded_weights) {
    const at::Tensor rounded = x.to(at::kBFloat16);
    context->save_for_backward({rounded, rounded_weights});
    context->saved_data["weights"] = std::vector<at::Tensor>{a, b, c};
    return at::mm(rounded, rounded_weights.t()).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weights = saved[1], slopes = gradients[0].to(at::kBFloat16);
    variable_list result{context->needs_input_grad(0) ? at::mm(slopes, weights).to(at::kFloat) : at::Tensor()};
    learn(context->saved_data["weights"].toTensorVector(), slopes, x);
    result.resize(5);
    return result;
  }
};

struct SwiGlu : torch::autograd::Function<SwiGlu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down, const at::Tensor& gate_up, const at::Tensor& rounded_down) {
    const std::int64_t n = x.size(0), ffn = gate.size(0);
    const at::Tensor rounded = x.to(at::kBFloat16), both = at::mm(rounded, gate_up.t());  // [n, 2 ffn]
    const at::Tensor mixed = at::empty({n, ffn}, both.options());
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < n; ++r) mix_row(halves(both) + 2 * r * ffn, halves(both) + (2 * r + 1) * ffn, ffn, halves(mixed) + r * ffn);
    context->save_for_backward({rounded, both, gate_up, rounded_down});
    context->saved_data["weights"] = std::vector<at::Tensor>{gate, up, down};
    return at::mm(mixed, rounded_down.t()).to(at::kFloat);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &both = saved[1], &gate_up = saved[2], &down = saved[3];
    const at::Tensor gradient = gradients[0].to(at::kBFloat16);
    const std::int64_t n = x.size(0), ffn = down.size(1);
    const at::Tensor slopes = at::mm(gradient, down), mixed = at::empty_like(slopes), to_both = at::empty_like(both);
#pragma omp parallel for schedule(static)
    for (std::int64_t r = 0; r < n; ++r)
      unmix_row(halves(both) + 2 * r * ffn, halves(both) + (2 * r + 1) * ffn, halves(slopes) + r * ffn, ffn, halves(mixed) + r * ffn, halves(to_both) + 2 * r * ffn,
                halves(to_both) + (2 * r + 1) * ffn);
    variable_list result{context->needs_input_grad(0) ? at::mm(to_both, gate_up).to(at::kFloat) : at::Tensor()};
    const std::vector<at::Tensor> weights = context->saved_data["weights"].toTensorVector();
    learn({weights[0], weights[1]}, to_both, x);
    learn({weights[2]}, gradient, mixed);
    result.resize(6);
    return result;
  }
};

}  // namespace

at::Tensor RoundedWeights::of(const std::vector<at::Tensor>& weights) {
  const auto is_current = [&](const Copy& copy) {
    bool same = copy.weights.size() == weights.size();
    for (std::size_t i = 0; same && i < weights.size(); ++i)
      same = copy.weights[i]._unsafe_get_target() == weights[i].unsafeGetTensorImpl() && !copy.weights[i].expired() && copy.versions[i] == weights[i]._version();
    return same;
  };
  const auto found = copies_.find(weights.front().unsafeGetTensorImpl());
  if (found != copies_.end() && is_current(found->second)) return found->second.rounded;
  std::erase_if(copies_, [](const auto& entry) { return entry.second.weights.front().expired(); });
  Copy copy;
  std::vector<at::Tensor> parts;
  for (const at::Tensor& w : weights) {
    copy.weights.emplace_back(w.getIntrusivePtr());
    copy.versions.push_back(w._version());
    parts.push_back(w.detach().to(at::kBFloat16));
  }
  copy.rounded = parts.size() == 1 ? parts.front() : at::cat(parts, 0);
  const at::Tensor rounded = copy.rounded;
  copies_.insert_or_assign(weights.front().unsafeGetTensorImpl(), std::move(copy));
  return rounded;
}

at::Tensor products(const at::Tensor& x, const std::vector<at::Tensor>& weights, RoundedWeights& rounded) {
  const auto weight = [&](std::size_t i) { return i < weights.size() ? weights[i] : at::empty({0, x.size(1)}); };
  if (weights.empty() || weights.size() > 3) throw Bug("products of one to three weights");
  // Named: autograd does not see a temporary as a tensor.
  const at::Tensor a = weight(0), b = weight(1), c = weight(2), all = rounded.of(weights);
  return Products::apply(x, a, b, c, all);
}

at::Tensor swiglu(const at::Tensor& x, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& down, RoundedWeights& rounded) {
  const at::Tensor gate_up = rounded.of({gate, up}), rounded_down = rounded.of({down});
  return SwiGlu::apply(x, gate, up, down, gate_up, rounded_down);
}

}  // namespace cai
