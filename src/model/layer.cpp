#include "cai/model/layer.hpp"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>

#include <algorithm>
#include <vector>

#include "cai/base/error.hpp"
#include "cai/model/half_low_ranks.hpp"
#include "cai/model/half_products.hpp"
#include "cai/model/linear.hpp"
#include "cai/model/rows.hpp"
#include "cai/model/tensors.hpp"

namespace cai {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kChunk = 64;  // rows whose part of a norm's or a bias's gradient is summed on its own,
                                     // so that threads do not matter

// The gradient of a norm or a bias that learns grows by the sum of `parts` [chunks, n].
void learn(at::Tensor weight, const at::Tensor& parts) {
  if (!weight.defined() || !weight.requires_grad()) return;
  at::Tensor& gradient = weight.mutable_grad();
  gradient = gradient.defined() ? gradient.add_(parts.sum(0)) : parts.sum(0);
}

at::Tensor parts_of(const at::Tensor& weight, std::int64_t rows) {
  return weight.defined() && weight.requires_grad()
             ? at::zeros({(rows + kChunk - 1) / kChunk, weight.size(0)},
                         weight.options().requires_grad(false))
             : at::Tensor();
}

// x + the products (+ bias), [n, width] float32.
at::Tensor sum_of(const at::Tensor& x, const at::Tensor& products, const at::Tensor& bias) {
  const at::Tensor sum = at::empty_like(x);
  const std::int64_t width = x.size(1);
  by_row(x.size(0), [&](std::int64_t r) {
    float* const to = floats(sum) + r * width;
    to_floats(halves(products) + r * width, width, to);
    if (bias.defined()) add_floats(floats(bias), width, to);
    add_floats(floats(x) + r * width, width, to);
  });
  return sum;
}

// norm(x) in bfloat16, filled up. scales, 1 / rms of each row [n], are made or taken as they are.
at::Tensor normed(const at::Tensor& x, const at::Tensor& weight, double epsilon, const at::Tensor& scales,
                  bool has_scales) {
  const std::int64_t width = x.size(1);
  const at::Tensor y = half_rows(x.size(0), width);
#pragma omp parallel
  {
    std::vector<float> row(static_cast<std::size_t>(width));
#pragma omp for schedule(static)
    for (std::int64_t r = 0; r < x.size(0); ++r) {
      float& scale = floats(scales)[r];
      if (has_scales)
        scale_row(floats(x) + r * width, floats(weight), scale, width, row.data());
      else
        scale =
            norm_row(floats(x) + r * width, floats(weight), width, static_cast<float>(epsilon), row.data());
      to_halves(row.data(), width, halves(y) + r * width);
    }
  }
  return y;
}

// Slopes towards x, to which a half of a layer adds what it makes of norm(x): those towards its sum, and
// those that come through the norm.
at::Tensor through_norm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& scales,
                        const at::Tensor& slopes_of_sum, const at::Tensor& slopes_of_normed) {
  const std::int64_t n = x.size(0), width = x.size(1);
  const at::Tensor d_x = at::empty_like(x), parts = parts_of(weight, n);
#pragma omp parallel
  {
    std::vector<float> g(static_cast<std::size_t>(width));
#pragma omp for schedule(static)
    for (std::int64_t c = 0; c < (n + kChunk - 1) / kChunk; ++c)
      for (std::int64_t r = c * kChunk; r < std::min(n, (c + 1) * kChunk); ++r) {
        const float *const from = floats(x) + r * width, scale = floats(scales)[r];
        float* const to = floats(d_x) + r * width;
        to_floats(halves(slopes_of_normed) + r * width, width, g.data());
        norm_row_backward(from, floats(weight), g.data(), scale, width, to);
        add_floats(floats(slopes_of_sum) + r * width, width, to);
        if (parts.defined()) add_norm_weight_slopes(from, g.data(), scale, width, floats(parts) + c * width);
      }
  }
  learn(weight, parts);
  return d_x;
}

// What a backward pass needs beside tensors that autograd keeps.
struct Kept : torch::CustomClassHolder {
  Kept(const LlamaLayer& l, const ModelConfig& c, std::shared_ptr<RoundedWeights> r, RowPositions p = {})
      : layer(l), config(c), rounded(std::move(r)), positions(std::move(p)) {}
  at::Tensor qkv() const { return rounded->of({layer.q, layer.k, layer.v}); }
  at::Tensor o() const { return rounded->of({layer.o}); }
  at::Tensor gate_up() const { return rounded->of({layer.gate, layer.up}); }
  at::Tensor down() const { return rounded->of({layer.down}); }

  // What the layer's adapter adds to each of these.
  HalfLowRanks qkv_low_ranks() const {
    return added({&LayerAdapter::q, &LayerAdapter::k, &LayerAdapter::v}, {&layer.q, &layer.k, &layer.v});
  }
  HalfLowRanks o_low_ranks() const { return added({&LayerAdapter::o}, {&layer.o}); }
  HalfLowRanks gate_up_low_ranks() const {
    return added({&LayerAdapter::gate, &LayerAdapter::up}, {&layer.gate, &layer.up});
  }
  HalfLowRanks down_low_ranks() const { return added({&LayerAdapter::down}, {&layer.down}); }

  LlamaLayer layer;
  ModelConfig config;
  std::shared_ptr<RoundedWeights> rounded;
  RowPositions positions;

 private:
  HalfLowRanks added(const std::vector<LowRank LayerAdapter::*>& matrices,
                     const std::vector<const at::Tensor*>& weights) const {
    std::vector<std::int64_t> rows;
    for (const at::Tensor* weight : weights)
      rows.push_back(weight->size(0));
    return {layer.adapter.get(), matrices, rows, rounded};
  }
};

c10::IValue kept(c10::intrusive_ptr<Kept> what) {
  return c10::IValue::make_capsule(std::move(what));
}
c10::intrusive_ptr<Kept> kept_in(AutogradContext* context) {
  return c10::static_intrusive_pointer_cast<Kept>(context->saved_data["kept"].toCapsule());
}

// One of q, k and v: the columns of their products that it has, and what is done with them before attention.
struct Heads {
  std::int64_t from, count;
  at::Tensor bias, norm;  // may be undefined
  bool turns;
};

class QueryKeyValue {
 public:
  QueryKeyValue(const Kept& kept, std::int64_t rows, const at::Tensor& products)
      : config_(kept.config), positions_(kept.positions), rows_(rows), products_(products) {
    const LlamaLayer& l = kept.layer;
    const std::int64_t heads = config_.heads, kv_heads = config_.kv_heads, width = config_.head_width;
    const bool turns = positions_.cosines.defined();
    q = {0, heads, l.q_bias, l.q_norm, turns};
    k = {heads * width, kv_heads, l.k_bias, l.k_norm, turns};
    v = {(heads + kv_heads) * width, kv_heads, l.v_bias, {}, false};
  }
  Heads q, k, v;

  // [n, heads, head_width] float32, as attention takes them.
  at::Tensor open(const Heads& h) const {
    const std::int64_t width = config_.head_width, size = h.count * width;
    const at::Tensor opened = at::empty({rows_, h.count, width}, at::kFloat);
#pragma omp parallel
    {
      std::vector<float> row(static_cast<std::size_t>(size)), scaled(row);
#pragma omp for schedule(static)
      for (std::int64_t r = 0; r < rows_; ++r) {
        float* const to = floats(opened) + r * size;
        widen(h, r, row.data());
        const float* at = row.data();
        if (h.norm.defined()) {
          for (std::int64_t i = 0; i < size; i += width)
            norm_row(at + i, floats(h.norm), width, static_cast<float>(config_.norm_epsilon),
                     scaled.data() + i);
          at = scaled.data();
        }
        if (h.turns)
          turn(at, h, r, 1, to);
        else
          std::copy_n(at, size, to);
      }
    }
    return opened;
  }

  // Slopes towards what open() gave become slopes towards the products, `to` [n, columns] bfloat16; the bias
  // and the norm learn.
  void close(const Heads& h, const at::Tensor& slopes, const at::Tensor& to) const {
    const std::int64_t width = config_.head_width, size = h.count * width, n = rows_,
                       columns = products_.size(1);
    const at::Tensor bias_parts = parts_of(h.bias, n), norm_parts = parts_of(h.norm, n);
#pragma omp parallel
    {
      std::vector<float> row(static_cast<std::size_t>(size)), scaled(row), turned(row), through(row);
#pragma omp for schedule(static)
      for (std::int64_t c = 0; c < (n + kChunk - 1) / kChunk; ++c)
        for (std::int64_t r = c * kChunk; r < std::min(n, (c + 1) * kChunk); ++r) {
          const float* g = floats(slopes) + r * size;
          if (h.turns) turn(g, h, r, -1, turned.data()), g = turned.data();
          if (h.norm.defined()) {
            widen(h, r, row.data());
            for (std::int64_t i = 0; i < size; i += width) {
              const float scale = norm_row(row.data() + i, floats(h.norm), width,
                                           static_cast<float>(config_.norm_epsilon), scaled.data() + i);
              norm_row_backward(row.data() + i, floats(h.norm), g + i, scale, width, through.data() + i);
              if (norm_parts.defined())
                add_norm_weight_slopes(row.data() + i, g + i, scale, width, floats(norm_parts) + c * width);
            }
            g = through.data();
          }
          if (bias_parts.defined()) add_floats(g, size, floats(bias_parts) + c * size);
          to_halves(g, size, halves(to) + r * columns + h.from);
        }
    }
    learn(h.bias, bias_parts), learn(h.norm, norm_parts);
  }

 private:
  void widen(const Heads& h, std::int64_t r, float* row) const {
    const std::int64_t size = h.count * config_.head_width;
    to_floats(halves(products_) + r * products_.size(1) + h.from, size, row);
    if (h.bias.defined()) add_floats(floats(h.bias), size, row);
  }
  void turn(const float* x, const Heads& h, std::int64_t r, float sign, float* y) const {
    const std::int64_t half = config_.rotary() / 2;
    rotate_row(x, floats(positions_.cosines) + r * half, floats(positions_.sines) + r * half, h.count,
               config_.head_width, half, sign, y);
  }

  const ModelConfig& config_;
  const RowPositions& positions_;
  std::int64_t rows_;  // products_ may have more
  at::Tensor products_;
};

// `norm` is the layer's: autograd sees through it that the layer learns.
struct AddAttention : torch::autograd::Function<AddAttention> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& norm,
                            const c10::intrusive_ptr<Kept>& what) {
    const at::Tensor scales = at::empty({x.size(0)}, x.options()),
                     y = normed(x, norm, what->config.norm_epsilon, scales, false),
                     products = product(y, what->qkv().t());
    what->qkv_low_ranks().add(products, y);
    const QueryKeyValue heads(*what, x.size(0), products);
    const Attended attended = attend(heads.open(heads.q), heads.open(heads.k), heads.open(heads.v),
                                     *what->positions.layout, what->positions.rule, true);
    context->save_for_backward({x, norm, scales, products, attended.out, attended.totals});
    context->saved_data["kept"] = kept(what);
    const at::Tensor out = rounded_rows(attended.out), projected = product(out, what->o().t());
    what->o_low_ranks().add(projected, out);
    return sum_of(x, projected, what->layer.o_bias);
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &norm = saved[1], &scales = saved[2], &products = saved[3],
                     slopes = gradients[0].contiguous();
    const Attended attended{saved[4], saved[5]};
    const auto what = kept_in(context);
    const LlamaLayer& l = what->layer;
    const at::Tensor to_products = half_rows(x.size(0), products.size(1));
    {
      const at::Tensor rounded = rounded_rows(slopes), out = rounded_rows(attended.out),
                       to_rounded_out = product(rounded, what->o());
      learn_products({l.o}, rounded, out);
      what->o_low_ranks().learn(rounded, out, to_rounded_out);
      const at::Tensor to_out = float_rows(to_rounded_out, x.size(0));
      if (l.o_bias.defined() && l.o_bias.requires_grad()) learn(l.o_bias, slopes);
      const QueryKeyValue heads(*what, x.size(0), products);
      const AttentionSlopes d =
          attend_backward(heads.open(heads.q), heads.open(heads.k), heads.open(heads.v), attended, to_out,
                          *what->positions.layout, what->positions.rule, true);
      heads.close(heads.q, d.q, to_products), heads.close(heads.k, d.k, to_products),
          heads.close(heads.v, d.v, to_products);
    }
    const at::Tensor y = normed(x, norm, 0, scales, true), to_y = product(to_products, what->qkv());
    learn_products({l.q, l.k, l.v}, to_products, y);
    what->qkv_low_ranks().learn(to_products, y, to_y);
    variable_list result{through_norm(x, norm, scales, slopes, to_y)};
    result.resize(3);
    return result;
  }
};

struct AddFeedForward : torch::autograd::Function<AddFeedForward> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& norm,
                            const c10::intrusive_ptr<Kept>& what) {
    const std::int64_t n = x.size(0), ffn = what->layer.down.size(1);
    const at::Tensor scales = at::empty({n}, x.options()),
                     y = normed(x, norm, what->config.norm_epsilon, scales, false),
                     both = product(y, what->gate_up().t());  // [n, 2 ffn]
    what->gate_up_low_ranks().add(both, y);
    const at::Tensor mixed = half_rows(n, ffn);
    by_row(n, [&](std::int64_t r) {
      mix_row(halves(both) + 2 * r * ffn, halves(both) + (2 * r + 1) * ffn, ffn, halves(mixed) + r * ffn);
    });
    context->save_for_backward({x, norm, scales, both});
    context->saved_data["kept"] = kept(what);
    const at::Tensor projected = product(mixed, what->down().t());
    what->down_low_ranks().add(projected, mixed);
    return sum_of(x, projected, {});
  }

  static variable_list backward(AutogradContext* context, variable_list gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &norm = saved[1], &scales = saved[2], &both = saved[3],
                     slopes = gradients[0].contiguous();
    const auto what = kept_in(context);
    const LlamaLayer& l = what->layer;
    const std::int64_t n = x.size(0), ffn = l.down.size(1);
    const at::Tensor to_both = half_rows(n, 2 * ffn);
    {
      const at::Tensor rounded = rounded_rows(slopes), to_mixed = product(rounded, what->down()),
                       mixed = half_rows(n, ffn);
      if (l.adapter && l.adapter->down.a.defined()) {  // which needs mixed before the slopes towards it
        by_row(n, [&](std::int64_t r) {
          mix_row(halves(both) + 2 * r * ffn, halves(both) + (2 * r + 1) * ffn, ffn, halves(mixed) + r * ffn);
        });
        what->down_low_ranks().learn(rounded, mixed, to_mixed);
      }
      by_row(n, [&](std::int64_t r) {
        unmix_row(halves(both) + 2 * r * ffn, halves(both) + (2 * r + 1) * ffn, halves(to_mixed) + r * ffn,
                  ffn, halves(mixed) + r * ffn, halves(to_both) + 2 * r * ffn,
                  halves(to_both) + (2 * r + 1) * ffn);
      });
      learn_products({l.down}, rounded, mixed);
    }
    const at::Tensor y = normed(x, norm, 0, scales, true), to_y = product(to_both, what->gate_up());
    learn_products({l.gate, l.up}, to_both, y);
    what->gate_up_low_ranks().learn(to_both, y, to_y);
    variable_list result{through_norm(x, norm, scales, slopes, to_y)};
    result.resize(3);
    return result;
  }
};

// The steps return no gradients of weights, so autograd must see one of their other inputs learn.
void need_learning_input(const at::Tensor& x, const at::Tensor& norm,
                         const std::vector<at::Tensor>& weights) {
  if (x.requires_grad() || norm.requires_grad()) return;
  for (const at::Tensor& w : weights)
    if (w.defined() && w.requires_grad()) throw Bug("a layer learns, and its norms do not");
}

// An input through which autograd sees that the layer's adapter learns, where no layer below does.
at::Tensor learning_input(const at::Tensor& x, const LlamaLayer& l) {
  bool learns = false;
  if (l.adapter)
    for_each_low_rank(*l.adapter, [&](const LowRank& low_rank) {
      learns = learns || (low_rank.a.defined() && (low_rank.a.requires_grad() || low_rank.b.requires_grad()));
    });
  return learns && !x.requires_grad() ? x.detach().requires_grad_(true) : x;
}

// The weights [out_i, in] one below the other, [sum of out_i, in] bfloat16; in place of `last` where that has
// the shape.
at::Tensor rounded(const std::vector<at::Tensor>& weights, at::Tensor last = {}) {
  const at::NoGradGuard no_gradients;
  std::int64_t rows = 0, from = 0;
  for (const at::Tensor& w : weights)
    rows += w.size(0);
  const std::vector<std::int64_t> shape = {rows, weights.front().size(1)};
  const at::Tensor all = last.defined() && last.sizes() == shape
                             ? last
                             : at::empty(shape, weights.front().options().dtype(at::kBFloat16));
  for (const at::Tensor& w : weights) {
    if (!has_own_code(w)) {
      all.narrow(0, from, w.size(0)).copy_(w);
      from += w.size(0);
      continue;
    }
    const at::Tensor plain = w.contiguous();
    by_row(w.size(0), [&](std::int64_t r) {
      to_halves(floats(plain) + r * w.size(1), w.size(1), halves(all) + (from + r) * w.size(1));
    });
    from += w.size(0);
  }
  return all;
}

// Weights as one: in place where they lie one below the other already.
at::Tensor stacked(const std::vector<at::Tensor>& weights) {
  std::int64_t rows = 0;
  const at::Tensor& first = weights.front();
  for (const at::Tensor& w : weights) {
    if (w.storage().data() != first.storage().data() || !w.is_contiguous() ||
        w.storage_offset() != first.storage_offset() + rows * first.size(1))
      return at::cat(weights);  // of a clone
    rows += w.size(0);
  }
  return first.as_strided({rows, first.size(1)}, first.strides());
}

void round_together(const std::vector<at::Tensor*>& weights) {
  std::vector<at::Tensor> plain;
  for (const at::Tensor* w : weights)
    plain.push_back(*w);
  const at::Tensor all = rounded(plain);
  std::int64_t from = 0;
  for (at::Tensor* w : weights) {
    const std::int64_t rows = w->size(0);
    *w = all.narrow(0, from, rows);
    from += rows;
  }
}

}  // namespace

void round_matrices(LlamaLayer& l) {
  if (l.q.scalar_type() == at::kBFloat16) return;
  round_together({&l.q, &l.k, &l.v}), round_together({&l.o}), round_together({&l.gate, &l.up}),
      round_together({&l.down});
}

at::Tensor RoundedWeights::of(const std::vector<at::Tensor>& weights) {
  if (weights.front().scalar_type() == at::kBFloat16) return stacked(weights);
  const auto is_current = [&](const Copy& copy) {
    bool same = copy.weights.size() == weights.size();
    for (std::size_t i = 0; same && i < weights.size(); ++i)
      same = copy.weights[i]._unsafe_get_target() == weights[i].unsafeGetTensorImpl() &&
             !copy.weights[i].expired() && copy.versions[i] == weights[i]._version();
    return same;
  };
  const auto found = copies_.find(weights.front().unsafeGetTensorImpl());
  if (found != copies_.end() && is_current(found->second)) return found->second.rounded;
  std::erase_if(copies_, [](const auto& entry) { return entry.second.weights.front().expired(); });
  Copy& copy = copies_[weights.front().unsafeGetTensorImpl()];
  copy.rounded = rounded(weights, std::move(copy.rounded));
  copy.weights.clear(), copy.versions.clear();
  for (const at::Tensor& w : weights)
    copy.weights.emplace_back(w.getIntrusivePtr()), copy.versions.push_back(w._version());
  return copy.rounded;
}

bool has_half_layers(const ModelConfig& c) {
  return c.norms_before && !c.norms_after && !c.gelu && !c.qk_norm_is_whole && c.residual_scale == 1;
}

at::Tensor add_attention(const at::Tensor& x, const LlamaLayer& l, const ModelConfig& config,
                         const RowPositions& positions, const std::shared_ptr<RoundedWeights>& rounded) {
  need_learning_input(x, l.attention_norm,
                      {l.q, l.k, l.v, l.q_bias, l.k_bias, l.v_bias, l.q_norm, l.k_norm, l.o, l.o_bias});
  return AddAttention::apply(learning_input(x, l).contiguous(), l.attention_norm,
                             c10::make_intrusive<Kept>(l, config, rounded, positions));
}

at::Tensor add_feed_forward(const at::Tensor& x, const LlamaLayer& l, const ModelConfig& config,
                            const std::shared_ptr<RoundedWeights>& rounded) {
  need_learning_input(x, l.ffn_norm, {l.gate, l.up, l.down});
  return AddFeedForward::apply(learning_input(x, l).contiguous(), l.ffn_norm,
                               c10::make_intrusive<Kept>(l, config, rounded));
}

}  // namespace cai
