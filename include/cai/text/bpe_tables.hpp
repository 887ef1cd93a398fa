// What the readers of BPE files share: filling the tables.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cai/text/bpe_model.hpp"

namespace cai {

using MergeList = std::vector<std::pair<std::string, std::string>>;

/// Tokens by id and merges by rank into `bpe`, whose `added` and `pre_tokenizer` are set. Throws InputError
/// for a token that is not UTF-8, a merge of tokens that are not there, or one that makes a control token.
void fill_tables(Bpe& bpe, const std::vector<std::string>& tokens, const MergeList& merges,
                 const std::string& file);

/// "a b" as {"a", "b"}. Throws InputError for anything else.
std::pair<std::string, std::string> split_merge(const std::string& text, const std::string& file);

/// Whether no text may become this token: one that is declared so, or that a chat format writes.
bool is_special_token(bool declared, const std::string& content);

}  // namespace cai
