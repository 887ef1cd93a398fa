#include "cai/base/error.hpp"
#include "cai/base/text.hpp"
#include "cai/text/bpe.hpp"
#include "cai/text/bpe_tables.hpp"

namespace cai {

std::shared_ptr<const Tokenizer> bpe_from_gguf(const GgufFile& gguf, const std::string& file) {
  const auto find = [&](const std::string& key) -> const GgufValue* {
    const auto it = gguf.metadata.find("tokenizer." + key);
    return it == gguf.metadata.end() ? nullptr : &it->second;
  };
  const auto text = [&](const std::string& key) {
    const GgufValue* v = find(key);
    const std::string* s = v ? std::get_if<std::string>(v) : nullptr;
    return s ? *s : std::string();
  };
  const auto number = [&](const std::string& key) -> std::optional<int> {
    const GgufValue* v = find(key);
    const double* d = v ? std::get_if<double>(v) : nullptr;
    return d && *d >= 0 && *d < 1e9 ? std::optional<int>(static_cast<int>(*d)) : std::nullopt;
  };
  const auto strings = [&](const std::string& key) {
    const GgufValue* v = find(key);
    const GgufArray* a = v ? std::get_if<GgufArray>(v) : nullptr;
    const auto* s = a ? std::get_if<std::vector<std::string>>(a) : nullptr;
    if (!s) throw InputError(file, 0, "metadata \"tokenizer." + key + "\" must be a list of texts");
    return *s;
  };
  if (text("ggml.model") != "gpt2")
    throw InputError(file, 0,
                     "tokenizer.ggml.model " + in_quotes(text("ggml.model")) + "; accepted: gpt2, llama");
  auto bpe = std::make_shared<Bpe>();
  const std::string pre = text("ggml.pre");
  const NamedPre named = pre_of_name(pre, file);
  bpe->pre_tokenizer = PreTokenizer::from_json(named.pre_tokenizer, file);
  bpe->normalizer = Normalizer::from_json(named.normalizer, file);
  bpe->ignore_merges = named.ignore_merges;

  std::vector<std::string> tokens = strings("ggml.tokens");
  std::vector<double> types(tokens.size(), 1);
  if (const GgufValue* v = find("ggml.token_type"))
    if (const GgufArray* a = std::get_if<GgufArray>(v))
      if (const auto* d = std::get_if<std::vector<double>>(a); d && d->size() == tokens.size()) types = *d;
  for (std::size_t i = 0; i < tokens.size(); ++i)
    if (types[i] == 3 || types[i] == 4)
      bpe->added.push_back({tokens[i], static_cast<int>(i),
                            is_special_token(types[i] == 3, tokens[i])});  // control, user-defined
  MergeList merges;
  for (const std::string& m : strings("ggml.merges"))
    merges.push_back(split_merge(m, file));
  fill_tables(*bpe, tokens, merges, file);
  const auto valid = [&](std::optional<int> id) {
    return id && *id >= 0 && *id < bpe->vocabulary() ? id : std::nullopt;
  };
  bpe->bos_id = valid(number("ggml.bos_token_id"));
  bpe->eos_id = valid(number("ggml.eos_token_id"));
  for (const char* key : {"ggml.eot_token_id", "ggml.eom_token_id"})
    if (const auto id = valid(number(key)); id && id != bpe->eos_id) bpe->ends.push_back(*id);
  if (const GgufValue* v = find("ggml.add_bos_token"))
    if (const bool* b = std::get_if<bool>(v)) bpe->add_bos = *b;
  bpe->template_text = text("chat_template");
  if (!is_utf8(bpe->template_text)) throw InputError(file, 0, "tokenizer.chat_template is not valid UTF-8");

  bpe->config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false},
                 {"add_bos_token", bpe->add_bos}};
  const auto name = [&](const char* key, std::optional<int> id) {
    if (id) bpe->config[key] = tokens[static_cast<std::size_t>(*id)];
  };
  name("bos_token", bpe->bos_id), name("eos_token", bpe->eos_id),
      name("pad_token", valid(number("ggml.padding_token_id"))),
      name("unk_token", valid(number("ggml.unknown_token_id")));
  bpe->json = [tokens = std::move(tokens), merges = std::move(merges), named, added = bpe->added,
               ignore_merges = bpe->ignore_merges] {
    SortedJson vocab = SortedJson::object(), added_list = SortedJson::array(),
               merge_list = SortedJson::array();
    for (std::size_t i = 0; i < tokens.size(); ++i)
      vocab[tokens[i]] = i;
    for (const AddedToken& t : added)
      added_list.push_back({{"id", t.id},
                            {"content", t.content},
                            {"single_word", false},
                            {"lstrip", false},
                            {"rstrip", false},
                            {"normalized", false},
                            {"special", t.special}});
    for (const auto& [a, b] : merges)
      merge_list.push_back({a, b});
    return SortedJson{
        {"version", "1.0"},
        {"truncation", nullptr},
        {"padding", nullptr},
        {"added_tokens", added_list},
        {"normalizer", named.normalizer},
        {"pre_tokenizer", named.pre_tokenizer},
        {"post_processor", nullptr},
        {"decoder",
         {{"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}}},
        {"model",
         {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", ignore_merges},
          {"vocab", vocab},
          {"merges", merge_list}}}};
  };
  bpe->finish();
  return bpe;
}

}  // namespace cai
