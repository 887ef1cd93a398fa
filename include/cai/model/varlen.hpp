// Attention over packed sequences on any device, in ATen's steps.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "cai/model/attention.hpp"

namespace cai {

/// An AttentionLayout as tensors on a device: each segment's queries meet the keys of its pieces end to end.
struct VarlenLayout {
  at::Tensor query_offsets, key_offsets;  // [segments + 1] int32
  at::Tensor key_rows;  // [all keys] int64: the row of each; undefined where they are the rows in order
  bool rounds = false;  // whether what is multiplied may be rounded to bfloat16
  std::int64_t longest_queries = 0, longest_keys = 0;
  std::vector<std::int64_t> queries, keys;  // the offsets again, for the host
};

VarlenLayout varlen_layout(const AttentionLayout& layout, const at::Device& device, bool rounds);

/// As packed_attention, on any device: q [rows, heads, head_width], k, v [rows, kv_heads, head_width]
/// float32, [rows, heads * head_width]. Differentiable. On CUDA in bfloat16 by FlashAttention 2 (Dao 2023)
/// where layout.rounds, it takes the heads and there is no cap; else in float32, segment by segment.
at::Tensor varlen_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                            const VarlenLayout& layout, const AttentionRule& rule);

/// The same of one segment: q [n, heads, head_width], k, v [m, kv_heads, head_width], of which the queries
/// are the last n positions; [n, heads, head_width].
at::Tensor attend_segment(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const AttentionRule& rule);

/// Whether FlashAttention takes these queries under this rule.
bool flash_attends(const at::Tensor& q, const AttentionRule& rule);

/// FlashAttention 2 of bfloat16 q [all, heads, head_width] and k, v [all, kv_heads, head_width] by offsets
/// [segments + 1] int32; `used_keys` [segments] int32: how many keys each has, where they do not end at the
/// next offset. [all, heads, head_width] bfloat16.
at::Tensor flash_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                           const VarlenLayout& offsets, const AttentionRule& rule,
                           const at::Tensor& used_keys = {});

}  // namespace cai
