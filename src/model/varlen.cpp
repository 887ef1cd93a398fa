#include "cai/model/varlen.hpp"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "cai/model/tensors.hpp"

namespace cai {
namespace {

at::Tensor offsets_on(const at::Device& device, const std::vector<std::int64_t>& offsets) {
  return at::tensor(offsets, at::kLong).to(at::kInt).to(device);
}

// Which keys each query of a segment does not see: [n, m]. The queries are the last n of its m positions.
at::Tensor unseen(std::int64_t n, std::int64_t m, std::int64_t window, const at::Device& device) {
  const at::Tensor query = at::arange(m - n, m, at::TensorOptions(at::kLong).device(device)).unsqueeze(1),
                   key = at::arange(m, at::TensorOptions(at::kLong).device(device)).unsqueeze(0);
  const at::Tensor later = key.gt(query);
  return window > 0 ? later.logical_or(key.le(query - window)) : later;
}

double scale_of(const at::Tensor& q, const AttentionRule& rule) {
  return rule.scale > 0 ? rule.scale : 1.0 / std::sqrt(static_cast<double>(q.size(2)));
}

}  // namespace

at::Tensor attend_segment(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionRule& rule) {
  const std::int64_t n = q.size(0), m = k.size(0), group = q.size(1) / k.size(1);
  const at::Tensor queries = q.transpose(0, 1),  // [heads, n, width]
      keys = k.transpose(0, 1).repeat_interleave(group, 0),
                   values = v.transpose(0, 1).repeat_interleave(group, 0);
  at::Tensor scores = at::bmm(queries, keys.transpose(1, 2)) * scale_of(q, rule);
  if (rule.cap > 0) scores = at::tanh(scores / rule.cap) * rule.cap;
  scores = scores.masked_fill(unseen(n, m, rule.window, q.device()), -std::numeric_limits<float>::infinity());
  return at::bmm(at::softmax(scores, -1), values).transpose(0, 1);
}

bool flash_attends(const at::Tensor& q, const AttentionRule& rule) {
  return q.is_cuda() && rule.cap == 0 && q.size(2) <= 256 && q.size(2) % 8 == 0;
}

at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const VarlenLayout& offsets, const AttentionRule& rule,
                           const at::Tensor& used_keys) {
  const auto left = rule.window > 0 ? std::optional<std::int64_t>(rule.window - 1) : std::nullopt,
             right = rule.window > 0 ? std::optional<std::int64_t>(0) : std::nullopt;
  return std::get<0>(at::_flash_attention_forward(
      q, k, v, offsets.query_offsets, offsets.key_offsets, offsets.longest_queries, offsets.longest_keys, 0.0,
      true, false, scale_of(q, rule), left, right,
      used_keys.defined() ? std::optional<at::Tensor>(used_keys) : std::nullopt));
}

VarlenLayout varlen_layout(const AttentionLayout& layout, const at::Device& device, bool rounds) {
  VarlenLayout made;
  made.rounds = rounds;
  made.queries.push_back(0), made.keys.push_back(0);
  std::vector<std::int64_t> rows;
  for (const AttentionLayout::Segment& s : layout.segments) {
    for (const AttentionLayout::Piece& piece : s.pieces)
      for (std::int64_t i = 0; i < piece.length; ++i)
        rows.push_back(piece.begin + i);
    made.queries.push_back(made.queries.back() + s.own().length);
    made.keys.push_back(made.keys.back() + s.positions());
    made.longest_queries = std::max(made.longest_queries, s.own().length);
    made.longest_keys = std::max(made.longest_keys, s.positions());
  }
  made.query_offsets = offsets_on(device, made.queries), made.key_offsets = offsets_on(device, made.keys);
  if (made.keys.back() != made.queries.back()) made.key_rows = on(device, rows);
  return made;
}

at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& keys, const at::Tensor& values,
                            const VarlenLayout& layout, const AttentionRule& rule) {
  const std::int64_t heads = q.size(1), width = q.size(2);
  const auto gathered = [&](const at::Tensor& t) {
    return layout.key_rows.defined() ? t.index_select(0, layout.key_rows) : t;
  };
  if (layout.rounds && flash_attends(q, rule)) {
    const at::Tensor out = flash_attention(q.to(at::kBFloat16), gathered(keys.to(at::kBFloat16)),
                                           gathered(values.to(at::kBFloat16)), layout, rule);
    return out.to(at::kFloat).reshape({q.size(0), heads * width});
  }
  const at::Tensor k = gathered(keys), v = gathered(values);
  std::vector<at::Tensor> parts;
  for (std::size_t s = 0; s + 1 < layout.queries.size(); ++s) {
    const auto from = layout.keys[s], length = layout.keys[s + 1] - from;
    parts.push_back(attend_segment(q.narrow(0, layout.queries[s], layout.queries[s + 1] - layout.queries[s]),
                                   k.narrow(0, from, length), v.narrow(0, from, length), rule));
  }
  return at::cat(parts).reshape({q.size(0), heads * width});
}

}  // namespace cai
